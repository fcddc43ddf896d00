"""The standard problems: each a model and a data set, the same on every machine."""

from collections.abc import Callable

import numpy as np

import popbayes as pb
from popbayes import covariate, pk, prior, residual, variability
from popbayes.data.regimen import regimens

SEED = 120
DOSES = (10.0, 30.0, 60.0, 120.0)
SUBJECTS_A_DOSE = 30
RICH = (0, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 4, 6, 8, 12, 16, 20)
TIMES = sorted([24, 48, 96, 120, 168, 180, 192, 204, 216, *(72 + t for t in RICH), *(144 + t for t in RICH)])
TRUTH = {"ka": 1.0, "CL": 4.0, "V": 70.0}
OMEGA = 0.3
SIGMA = 0.2

Study = tuple[pb.PopModel, pb.EventTable]


def theophylline() -> Study:
    """Twelve subjects, one oral dose, 132 concentrations; non-centred etas, combined error."""
    model = pb.PopModel(
        structural=pk.OneCompartment(absorption=pk.FirstOrder()),
        parameters={
            "ka": pb.Parameter(prior.LogNormal(1.5, 0.5)),
            "CL": pb.Parameter(prior.LogNormal(2.8, 0.5)),
            "V": pb.Parameter(prior.LogNormal(32.0, 0.5)),
        },
        variability=variability.Independent(["ka", "CL", "V"], sd=prior.HalfNormal(0.5)),
        residual=residual.Combined(add=prior.HalfNormal(1.0), prop=prior.HalfNormal(0.3)),
    )
    return model, pb.load_dataset("theophylline")


def oral_model(medians: dict[str, float], centred: bool) -> pb.PopModel:
    """One compartment, first-order absorption, log-normal error, vague priors around `medians`."""
    return pb.PopModel(
        structural=pk.OneCompartment(absorption=pk.FirstOrder()),
        parameters={name: pb.Parameter(prior.LogNormal(value, 1.0)) for name, value in medians.items()},
        variability=variability.Independent(list(medians), sd=prior.HalfNormal(0.4), centred=centred),
        residual=residual.LogNormal(prior.HalfNormal(0.5)),
    )


def simulated(design: pb.EventTable, truth: pb.PopModel, seed: int) -> pb.EventTable:
    """Return `design` with one simulated value for each of its samples."""
    draw = pb.simulate(truth, design, seed=seed, n=1)["prior_predictive"]["dv"]
    table = design.to_frame()
    table.loc[np.asarray(design.is_obs), "DV"] = draw.to_numpy().reshape(-1)
    return pb.read_events(table, covariates=list(design.covariates))


def the_truth() -> pb.PopModel:
    """Give the model that the multiple-dose study is simulated from: every value known."""
    return pb.PopModel(
        structural=pk.OneCompartment(absorption=pk.FirstOrder()),
        parameters={name: pb.Parameter(prior.Fixed(value)) for name, value in TRUTH.items()},
        variability=variability.Independent(list(TRUTH), sd=prior.Fixed(OMEGA)),
        residual=residual.LogNormal(prior.Fixed(SIGMA)),
    )


def multiple_dose() -> Study:
    """120 subjects, seven oral doses, 39 concentrations each (4,680); centred etas, log-normal error."""
    doses = [dose for dose in DOSES for _ in range(SUBJECTS_A_DOSE)]
    design = regimens(
        {i + 1: pb.Regimen().dose(dose, ii=24.0, addl=6).sample(TIMES) for i, dose in enumerate(doses)}
    )
    return oral_model(TRUTH, centred=True), simulated(design, the_truth(), SEED)


def two_compartment() -> Study:
    """100 subjects, oral, 6 to 8 doses 12 h apart, about 14 concentrations each; weight, 5 x 5 Omega."""
    rng = np.random.default_rng(SEED)
    parts = {}
    for i in range(100):
        addl = int(rng.integers(5, 8))
        last = 12.0 * addl
        times = [0.5, 1, 2, 4, 8, 12, *(last + t for t in (-0.2, 0.5, 1, 2, 4, 8, 12, 24, 48))]
        keep = np.sort(rng.permutation(len(times))[: 14 + int(rng.uniform() < 0.3)])
        weight = {"WT": float(np.round(rng.normal(75.0, 14.0), 1))}
        regimen = pb.Regimen(np.array(times)[keep], covariates=weight)
        parts[i + 1] = regimen.dose(float(rng.choice([50, 100, 200])), ii=12.0, addl=addl)
    design = regimens(parts)
    return two_compartment_model(), simulated(design, two_compartment_model(known=True), SEED)


def two_compartment_model(known: bool = False) -> pb.PopModel:
    """Two compartments, oral, allometric weight, all five effects correlated; or with the true values."""

    def typical(median: float, sd: float, power: float | None = None) -> pb.Parameter:
        effects = [] if power is None else [covariate.Power("WT", ref=70, exponent=power)]
        return pb.Parameter(prior.Fixed(median) if known else prior.LogNormal(median, sd), covariates=effects)

    names = ["CL", "V1", "Q", "V2", "ka"]
    together = variability.Correlated(names, sd=prior.HalfNormal(0.5), lkj=2)
    apart = variability.Independent(names, sd=prior.Fixed(OMEGA))
    error = (
        (prior.Fixed(0.12), prior.Fixed(0.03)) if known else (prior.HalfNormal(0.3), prior.HalfNormal(0.3))
    )
    return pb.PopModel(
        structural=pk.TwoCompartment(absorption=pk.FirstOrder()),
        parameters={
            "CL": typical(5.0, 0.5, 0.75),
            "V1": typical(30.0, 0.2, 1.0),
            "Q": typical(4.0, 0.5, 0.75),
            "V2": typical(50.0, 0.5, 1.0),
            "ka": typical(1.0, 0.2),
        },
        variability=apart if known else together,
        residual=residual.Combined(prop=error[0], add=error[1]),
    )


STUDIES: dict[str, Callable[[], Study]] = {
    "theophylline": theophylline,
    "multiple_dose": multiple_dose,
    "two_compartment": two_compartment,
}
