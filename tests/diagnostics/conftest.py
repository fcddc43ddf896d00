import pytest
import xarray as xr

from popbayes.data.datasets import load_dataset
from popbayes.data.events import EventTable
from popbayes.model import PopModel
from popbayes.simulation import simulate
from tests.diagnostics.posed import posed_fit, theophylline_model


@pytest.fixture(scope="session")
def theophylline() -> EventTable:
    return load_dataset("theophylline")


@pytest.fixture(scope="session")
def model() -> PopModel:
    return theophylline_model()


@pytest.fixture(scope="session")
def posed() -> xr.DataTree:
    return posed_fit()


@pytest.fixture(scope="session")
def simulated(model, theophylline) -> xr.DataTree:
    return simulate(model, theophylline, seed=3, n=60)
