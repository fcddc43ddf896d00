"""SAEM with observations below a limit and of several kinds, against methods that integrate otherwise."""

import numpy as np
import pytest

from popbayes import censoring, pk, prior, residual, variability
from popbayes.data.events import EventTable, read_events
from popbayes.data.regimen import Regimen, regimens
from popbayes.infer.estimation.estimate import estimate
from popbayes.infer.estimation.linearised import Foce
from popbayes.infer.estimation.quadrature import Quadrature
from popbayes.infer.saem.method import Saem
from popbayes.model import PopModel
from popbayes.parameters.parameter import Parameter
from popbayes.simulation import simulate

IN_STANDARD_ERRORS = 0.2  # 2 SE/10
FOCEI_BIAS = 0.3  # of the linearised method where observations are many and precise
LIMIT = 0.4
TRUTH = {"CL": 4.0, "V": 40.0}


def bolus(error, known: bool = False, **more) -> PopModel:
    typical = {n: prior.Fixed(v) if known else prior.LogNormal(v, 1) for n, v in TRUTH.items()}
    return PopModel(
        structural=more.pop("structural", pk.OneCompartment()),
        parameters={name: Parameter(one) for name, one in typical.items()} | more.pop("parameters", {}),
        variability=variability.Independent(
            ["CL", "V"], sd=prior.Fixed(0.3) if known else prior.HalfNormal(0.5)
        ),
        residual=error,
        **more,
    )


def drawn(model: PopModel, design: EventTable) -> "np.ndarray":
    return simulate(model, design, seed=3, n=1)["prior_predictive"]["dv"].to_numpy().reshape(-1)


def censored_study() -> EventTable:
    """Forty subjects, five samples after a bolus of 100, those below 0.4 known to be so: a quarter."""
    design = regimens({i + 1: Regimen().dose(100.0).sample([1, 4, 8, 16, 24]) for i in range(40)})
    values = drawn(bolus(residual.Combined(add=0.3, prop=0.15), known=True), design)
    table = design.to_frame()
    seen = np.asarray(design.is_obs)
    table["CENS"] = 0
    table.loc[seen, "CENS"] = (values < LIMIT).astype(int)
    table.loc[seen, "DV"] = np.maximum(values, LIMIT)
    table["LLOQ"] = LIMIT
    return read_events(table)


def close(found, reference, tolerance):
    assert found.attrs["converged"] == 1
    one, other = found["estimates"].to_dataset(), reference["estimates"].to_dataset()
    away = np.abs(one["value"] - other["value"]) / other["se"]
    assert (away < tolerance).all(), dict(zip(one["parameter"].to_numpy(), away.to_numpy(), strict=True))


@pytest.mark.parametrize("method", [censoring.M3(), censoring.M4()])
def test_values_below_the_limit_are_integrated_as_quadrature_does(method):
    data = censored_study()
    assert 0.2 < np.mean(data.cens[data.obs_record] == 1) < 0.4
    model = bolus(residual.Combined(add=prior.HalfNormal(1.0), prop=prior.HalfNormal(0.3)), censoring=method)
    exact = estimate(model, data, method=Quadrature(5), seed=1, progress=False)
    found = estimate(model, data, method=Saem(), seed=1, progress=False)
    close(found, exact, IN_STANDARD_ERRORS)
    error = float(found["objective"]["mc_error"][0])
    away = float(found["objective"]["minus2ll"][0]) - float(exact["objective"]["minus2ll"][0])
    assert -3 * error < away < 3 * error + 0.1  # SAEM's estimates are not quite at the maximum


def test_two_kinds_of_observations_have_errors_of_their_own():
    """Concentrations and the amount in urine, by DVID."""
    structural = pk.OneCompartment(also=("urine",))
    times = [1.0, 2.0, 4.0, 8.0, 16.0, 24.0]
    both = Regimen().dose(100.0)
    design = regimens({i + 1: both.sample(times).sample(times[2:], dvid=2) for i in range(25)})
    share = {"structural": structural, "parameters": {"fe": Parameter(prior.Fixed(0.6))}}
    truth = bolus({"conc": residual.Proportional(0.1), "urine": residual.Additive(3.0)}, known=True, **share)
    table = design.to_frame()
    table.loc[np.asarray(design.is_obs), "DV"] = drawn(truth, design)
    share["parameters"] = {"fe": Parameter(prior.LogNormal(0.5, 0.5))}
    model = bolus(
        {
            "conc": residual.Proportional(prior.HalfNormal(0.3)),
            "urine": residual.Additive(prior.HalfNormal(5)),
        },
        **share,
    )
    data = read_events(table)
    focei = estimate(model, data, method=Foce(), seed=1, progress=False)
    labels = focei["estimates"]["parameter"].to_numpy().tolist()
    assert {"sigma_prop_conc", "sigma_add_urine", "fe_pop"} < set(labels)
    close(estimate(model, data, method=Saem(), seed=1, progress=False), focei, FOCEI_BIAS)
