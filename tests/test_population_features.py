"""Every feature of the population layer goes through build, simulation, tables and plots' data.

Prior draws pose as a posterior: what is shown is that the parts fit together and that nothing is lost, not
that a posterior is right.
"""

import numpy as np
import pandas as pd
import pytest

from popbayes import censoring, covariate, pk, prior, residual, variability
from popbayes.building import build, initial_values
from popbayes.data.events import read_events
from popbayes.diagnostics.gof import gof
from popbayes.diagnostics.prior_table import prior_table
from popbayes.diagnostics.summary import summary
from popbayes.diagnostics.vpc import vpc
from popbayes.infer.subject_logp import SubjectDensity
from popbayes.infer.tree import Study
from popbayes.model import PopModel
from popbayes.parameters.parameter import Parameter
from popbayes.simulation import simulate
from tests.infer.posing import posed
from tests.tolerances import EXACT

HALF = prior.HalfNormal(0.3)
BETA = prior.Normal(0, 0.3)


def study():
    """Six subjects in two occasions, with covariates of every kind and samples beyond several limits."""
    rng = np.random.default_rng(7)
    rows = []
    for i in range(6):
        own = {
            "ID": i + 1, "SEX": "FM"[i % 2], "SITE": "AB"[i // 3], "GENE": ("*1/*1", "*1/*2", "*2/*2")[i % 3],
            "WT0": np.nan if i == 2 else 60.0 + 4 * i, "RACE": None if i == 4 else str(1 + i % 3),
            "ASSAY": i % 2,
        }  # fmt: skip
        for occasion in (1, 2):
            start = 48.0 * (occasion - 1)
            shared = {**own, "OCC": occasion, "WT": 60.0 + 3 * i + occasion, "AGE": 30.0 + 4 * i}
            rows.append({**shared, "TIME": start, "AMT": 100.0, "DV": np.nan, "EVID": 1})
            for time in (1.0, 4.0, 12.0, 30.0):
                f = 100 / 30 * np.exp(-0.1 * time) * np.exp(0.2 * rng.normal())
                limit = (0.3, 0.5)[i % 2]
                rows.append(
                    {
                        **shared,
                        "TIME": start + time,
                        "AMT": 0.0,
                        "DV": f,
                        "EVID": 0,
                        "LLOQ": limit,
                        "BLQ": int(f < limit),
                    }
                )
    columns = ["SEX", "SITE", "GENE", "WT0", "RACE", "ASSAY", "WT", "AGE"]
    return read_events(pd.DataFrame(rows), covariates=columns, missing=["WT0", "RACE"])


def model(variabilities=None, cl=(), v=(), scale=None, **changes):
    parts = {
        "structural": pk.OneCompartment(),
        "parameters": {
            "CL": Parameter(prior.LogNormal(3.0, 0.2), covariates=cl, **(scale or {})),
            "V": Parameter(prior.LogNormal(30.0, 0.2), covariates=v),
        },
        "variability": variabilities or variability.Independent(["CL", "V"], sd=HALF),
        "residual": residual.Proportional(HALF),
    }
    return PopModel(**{**parts, **changes})


def individual_sigma():
    return model(
        variability.Independent(["CL", "V", "RUV"], sd=HALF),
        parameters={
            "CL": Parameter(prior.LogNormal(3.0, 0.2)),
            "V": Parameter(prior.LogNormal(30.0, 0.2)),
            "RUV": Parameter(
                prior.LogNormal(0.2, 0.2), covariates=[covariate.Categorical("SEX", coefficient=BETA)]
            ),
        },
        residual=residual.Proportional("RUV"),
    )


BY_SITE = variability.Level("SITE", ["V"], sd=HALF)
CATEGORY = covariate.Impute("RACE", law="categorical", concentration=2.0)
NUMBER = covariate.Impute("WT0", law="normal", typical=prior.Normal(70, 10), sd=prior.HalfNormal(10))
MIXED = variability.Mixture(
    ["CL"], shift=prior.HalfNormal(0.5), covariates=covariate.Categorical("SEX", coefficient=BETA)
)
BOTH = variability.Independent(["CL", "V"], sd=HALF)
MODELS = {
    "no random effects": model(variability=None),
    "block and occasions": model(
        [
            variability.Block(["CL", "V"], sd=HALF, correlated_names=["CL", "V"]),
            variability.Occasion(["CL", "V"], sd=HALF, lkj=2),
            BY_SITE,
        ]
    ),
    "inverse Wishart": model(
        variability.Correlated(["CL", "V"], covariance=prior.InverseWishart(8, np.diag([0.3, 0.4])))
    ),
    "known omegas": model(variability.Fixed({"CL": 0.3, "V": 0.2}, {("CL", "V"): 0.5})),
    "Student-t": model(variability.Correlated(["CL", "V"], sd=HALF, nu=prior.Gamma(4.0, 1.0))),
    "logit": model(
        parameters={
            "CL": Parameter(prior.Uniform(1.0, 9.0), scale="logit", upper=10.0),
            "V": Parameter(prior.Normal(30.0, 1.0), scale="identity"),
        },
        variability=variability.Independent(["CL"], sd=HALF),
    ),
    "Box-Cox": model(scale={"scale": "boxcox", "shape": prior.Normal(0, 0.5)}),
    "Box-Cox, known shape, occasions": model(
        [BOTH, variability.Occasion(["CL"], sd=HALF)], scale={"scale": "boxcox", "shape": 0.5}
    ),
    "mixture": model([BOTH, MIXED]),
    "mixture, occasions and sites": model([BOTH, MIXED, variability.Occasion(["CL"], sd=HALF), BY_SITE]),
    "mixture of three": model(
        [BOTH, variability.Mixture(["V", "CL"], shift={"V": HALF, "CL": BETA}, classes=3)]
    ),
    "mixture by predictions": model(
        [variability.Independent(["V"], sd=HALF), MIXED, variability.Occasion(["V"], sd=HALF), BY_SITE]
    ),
    "mixture of Student-t": model([variability.Independent(["CL", "V"], sd=HALF, nu=5), MIXED]),
    "imputation": model(
        [BOTH],
        cl=[covariate.Power("WT0", exponent=0.75), covariate.Categorical("RACE", coefficient=BETA)],
        imputation=[CATEGORY, NUMBER],
    ),
    "imputation by predictions": model(
        [variability.Independent(["V"], sd=HALF), variability.Occasion(["V"], sd=HALF)],
        cl=[covariate.Equation("(WT0/70)**a", a=BETA), covariate.Categorical("RACE", coefficient=BETA)],
        imputation=[CATEGORY, NUMBER],
    ),
    "mixture and imputation": model(
        [variability.Correlated(["CL", "V"], sd=HALF), MIXED],
        v=[covariate.Categorical("RACE", coefficient=BETA)],
        imputation=[CATEGORY],
    ),
    "covariates": model(
        cl=[
            covariate.Allometry("WT"),
            covariate.Maturation("AGE", tm50=prior.LogNormal(10, 0.2), hill=prior.LogNormal(3, 0.2)),
            covariate.Genotype("GENE", coefficient=BETA, model="dominant", variant="*2"),
            covariate.Equation("exp(k * (SEX == 'M'))", k=BETA),
        ],
        v=[
            covariate.Linear("AGE", coefficient=prior.Normal(0, 0.001)),
            covariate.Diplotype("GENE", ref="*1/*1", coefficient=BETA),
            covariate.Interaction(covariate.Power("WT", 70, 0), covariate.Exponential("AGE", 40, 0), BETA),
        ],
    ),
    "selection": model(
        cl=[
            covariate.Select(
                [covariate.Power("WT", exponent=0), covariate.Exponential("AGE", coefficient=0)],
                prior=prior.Horseshoe(1),
            )
        ]
    ),
    "individual sigma": individual_sigma(),
    "sigma by stratum": model(
        residual=residual.Stratified(
            "ASSAY", {"0": residual.Proportional(HALF), "1": residual.Additive(HALF)}
        )
    ),
    "M4": model(residual=residual.Combined(add=HALF, prop=HALF), censoring=censoring.M4()),
    "M1": model(censoring=censoring.M1()),
}  # fmt: skip


@pytest.fixture(scope="module")
def data():
    return study()


@pytest.mark.filterwarnings("ignore:Values that are not finite were simulated")
@pytest.mark.parametrize("name", MODELS)
def test_every_feature_goes_through_everything(name, data):
    made = MODELS[name].resolved(data)
    assert PopModel.from_json(made.to_json()) == made
    assert len(made.equations()) > 5
    graph = build(made, data)
    assert set(initial_values(made, data)) == {one.name for one in graph.free_RVs}
    dt = posed(made, data)
    rows = [row.label for row in made.population_rows()]
    assert summary(dt).table.index.tolist() == rows
    assert {row for row in rows if "[" not in row} <= set(prior_table(made, seed=1).table.index)
    fitted = gof(dt)
    assert np.isfinite(fitted["ipred"]).all()
    own = simulate(made, data, dt, new_subjects=False, seed=1) if made.eta_names else dt
    if made.eta_names:
        same = own["posterior_predictive"]["ipred"].mean(("chain", "draw"))
        np.testing.assert_allclose(same, fitted["ipred"], **EXACT)
    new = simulate(made, data, dt, seed=1, new_levels=True)
    assert vpc(new).sizes["bin"] > 1
    drawn = simulate(made, data, seed=2, n=20)["prior_predictive"]["dv"]
    assert np.isfinite(drawn).mean() > 0.9


BEYOND = ["Box-Cox", "mixture", "imputation", "Student-t"]


@pytest.mark.parametrize("name", BEYOND)
def test_methods_that_integrate_over_subjects_refuse_it_with_the_reason(name, data):
    words = {"Box-Cox": "Box-Cox scale of CL", "mixture": "Mixture of CL", "imputation": "Impute of RACE"}
    with pytest.raises(ValueError, match=words.get(name, name)):
        SubjectDensity(Study(MODELS[name].resolved(data), data))
