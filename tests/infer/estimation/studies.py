"""Models of published estimations, and values at which they were evaluated."""

from pathlib import Path

import pandas as pd

from popbayes import covariate, pk, prior, residual, variability
from popbayes.data.datasets import load_dataset
from popbayes.data.events import EventTable, read_events
from popbayes.infer.estimation.estimate import starting_values
from popbayes.infer.subject_logp import SubjectDensity
from popbayes.infer.tree import Study
from popbayes.model import PopModel
from popbayes.parameters.parameter import Parameter

SHARED = Path(__file__).parents[3].parent / "shared" / "data"
SD = prior.HalfNormal(0.5)


def density_at(model, data, values):
    """Density of a study, and complete population values."""
    model = model.resolved(data)
    return SubjectDensity(Study(model, data)), starting_values(model, values)


def theophylline_model(error=None) -> PopModel:
    """Log-normal ka, CL, V; additive error unless another is given."""
    return PopModel(
        structural=pk.OneCompartment(absorption=pk.FirstOrder()),
        parameters={
            "ka": Parameter(prior.LogNormal(1.5, 1)),
            "CL": Parameter(prior.LogNormal(2.8, 1)),
            "V": Parameter(prior.LogNormal(32.0, 1)),
        },
        variability=variability.Independent(["ka", "CL", "V"], sd=SD),
        residual=error or residual.Additive(prior.HalfNormal(1.0)),
    )


def phenobarbital_covariates() -> tuple[PopModel, EventTable]:
    """Grasela & Donn 1985 as NONMEM estimated it: CL and V per kg, V larger where APGAR < 5."""
    table = load_dataset("phenobarb").to_frame()
    table["LOW"] = (table["APGR"] < 5).astype(int)
    data = read_events(table, covariates=["WT", "LOW"])
    weight = [covariate.Power("WT", ref=1.0, exponent=1.0)]
    model = PopModel(
        structural=pk.OneCompartment(),
        parameters={
            "CL": Parameter(prior.LogNormal(0.005, 1), covariates=weight),
            "V": Parameter(
                prior.LogNormal(1.0, 1),
                covariates=[*weight, covariate.Linear("LOW", ref=0, coefficient=prior.Normal(0, 0.5))],
            ),
        },
        variability=variability.Independent(["CL", "V"], sd=SD),
        residual=residual.Proportional(prior.HalfNormal(0.3)),
    )
    return model, data


def phenobarbital_correlated() -> tuple[PopModel, EventTable]:
    """The same study without covariates, correlated effects, additive error."""
    model = PopModel(
        structural=pk.OneCompartment(),
        parameters={
            "CL": Parameter(prior.LogNormal(0.007, 1)),
            "V": Parameter(prior.LogNormal(1.4, 1)),
        },
        variability=variability.Correlated(["CL", "V"], sd=SD),
        residual=residual.Additive(prior.HalfNormal(3.0)),
    )
    return model, load_dataset("phenobarb")


def shared_table(*path: str) -> pd.DataFrame | None:
    """A reference table, or None where the files are not there."""
    place = SHARED.joinpath(*path)
    return pd.read_csv(place) if place.exists() else None
