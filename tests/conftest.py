"""Fixtures that several layers share: one study, one model of it, one short real fit."""

import pytest
import xarray as xr

from popbayes import pk, prior, residual, variability
from popbayes.data.datasets import load_dataset
from popbayes.data.events import EventTable
from popbayes.infer.fit import fit
from popbayes.model import PopModel
from popbayes.parameters.parameter import Parameter

FIT = {"draws": 200, "tune": 200, "chains": 2, "seed": 20, "progress": False}


@pytest.fixture(scope="session")
def theophylline() -> EventTable:
    """Twelve subjects, 132 observations."""
    return load_dataset("theophylline")


@pytest.fixture(scope="session")
def theophylline_model() -> PopModel:
    """One compartment, oral; every parameter varies; combined error."""
    return PopModel(
        structural=pk.OneCompartment(absorption=pk.FirstOrder()),
        parameters={
            "ka": Parameter(prior.LogNormal(1.5, 0.5), unit="1/h"),
            "CL": Parameter(prior.LogNormal(2.8, 0.5), unit="L/h"),
            "V": Parameter(prior.LogNormal(32.0, 0.5), unit="L"),
        },
        variability=variability.Independent(["ka", "CL", "V"], sd=prior.HalfNormal(0.5)),
        residual=residual.Combined(add=prior.HalfNormal(1.0), prop=prior.HalfNormal(0.3)),
        name="theophylline",
    )


@pytest.fixture(scope="session")
def fitted(theophylline_model: PopModel, theophylline: EventTable) -> xr.DataTree:
    """A short fit by nutpie, 2 chains x (200 + 200); real draws, too few for conclusions."""
    return fit(theophylline_model, theophylline, **FIT)
