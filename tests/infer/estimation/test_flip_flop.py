"""Absorption and elimination exchanged: the same curves, and the better solution kept."""

import numpy as np
import pytest

import popbayes as pb
from popbayes import pk, prior, residual, variability
from popbayes.data.regimen import Regimen, regimens
from popbayes.engine.solve import solve
from popbayes.infer.estimation.estimate import starting_values
from popbayes.infer.estimation.flip_flop import INDISTINCT, exchanged, verdict
from popbayes.infer.tree import Study
from popbayes.model import PopModel
from popbayes.parameters.parameter import Parameter

CURVES = {"rtol": 1e-9, "atol": 0}  # the same sum of exponentials by other rate constants
TIMES = (0.5, 1, 2, 4, 8, 12, 24, 48)
ONE = {"ka": 1.0, "CL": 4.0, "V": 70.0}
# ka above both rates of the body, and between them
TWO_FAST = {"ka": 3.0, "CL": 4.0, "V1": 20.0, "Q": 6.0, "V2": 60.0}
TWO_MIDDLE = {"ka": 0.2, "CL": 4.0, "V1": 20.0, "Q": 6.0, "V2": 60.0}


def study_of(structural, values, varying=(), **known):
    model = PopModel(
        structural,
        {
            name: Parameter(one if name in known else prior.LogNormal(one, 1.0))
            for name, one in values.items()
        },
        variability.Independent(list(varying), sd=prior.HalfNormal(0.5)) if varying else None,
        residual.LogNormal(prior.HalfNormal(0.5)),
    )
    return Study(model, Regimen().dose(100).sample(TIMES).to_events())


@pytest.mark.parametrize(
    ("structural", "values"),
    [
        (pk.OneCompartment(pk.FirstOrder()), ONE),
        (pk.OneCompartment(pk.FirstOrder(), rate_constants=True), {"ka": 1.0, "k": 0.06, "V": 70.0}),
        (pk.TwoCompartment(pk.FirstOrder()), TWO_FAST),
        (pk.TwoCompartment(pk.FirstOrder()), TWO_MIDDLE),
    ],
)
def test_the_exchanged_parameters_predict_the_same_and_exchange_back(structural, values):
    study = study_of(structural, values)
    start = starting_values(study.model, {})
    other = exchanged(study, start)
    assert other is not None
    theta = {name: float(other[f"{name}_pop"]) for name in values}
    assert abs(np.log(theta["ka"] / values["ka"])) > 0.1
    design = study.events
    np.testing.assert_allclose(
        solve(structural, design, theta)["conc"], solve(structural, design, values)["conc"], **CURVES
    )
    back = exchanged(study, other)
    np.testing.assert_allclose([back[f"{n}_pop"] for n in values], list(values.values()), rtol=1e-9)


def test_random_effects_are_exchanged_to_first_order():
    """With ka' = CL / V and V' = CL / ka, variances of the logarithms add."""
    study = study_of(pk.OneCompartment(pk.FirstOrder()), ONE, varying=("ka", "CL", "V"))
    other = exchanged(study, starting_values(study.model, {"omega": [0.5, 0.3, 0.2]}))
    expected = np.sqrt([0.3**2 + 0.2**2, 0.3**2, 0.3**2 + 0.5**2])
    np.testing.assert_allclose(other["omega"], expected, rtol=1e-6)


@pytest.mark.parametrize(
    "study",
    [
        study_of(pk.OneCompartment(), {"CL": 4.0, "V": 70.0}),
        study_of(pk.OneCompartment(pk.ZeroOrder()), {"D1": 1.0, "CL": 4.0, "V": 70.0}),
        study_of(pk.OneCompartment(pk.FirstOrder()), ONE, V=True),
        # the rates of the body are on both sides of k21 with any exchange: there is no other body
        study_of(pk.TwoCompartment(pk.FirstOrder()), TWO_FAST | {"ka": 0.075}),
    ],
)
def test_models_that_cannot_be_exchanged_have_no_other_solution(study):
    found = exchanged(study, starting_values(study.model, {}))
    assert found is None or study.model.structural == pk.TwoCompartment(pk.FirstOrder())


def test_the_better_solution_is_kept_and_the_faster_absorption_where_none_is():
    study = study_of(pk.OneCompartment(pk.FirstOrder()), ONE)
    fast = starting_values(study.model, {})
    slow = exchanged(study, fast)
    clear = INDISTINCT + 1
    assert not verdict(study, (fast, 100.0), (slow, 100.0 + clear)).keep_rival
    assert verdict(study, (slow, 100.0 + clear), (fast, 100.0)).keep_rival
    for told in (verdict(study, (fast, 100.0), (slow, 99.0)), verdict(study, (slow, 99.0), (fast, 100.0))):
        assert told.attrs["exchanged_difference"] == -1.0
        assert "do not tell which is which: -2 log L is 100.00 with ka 1 " in told.notes[0]
    assert not verdict(study, (fast, 100.0), (slow, 99.0)).keep_rival
    # priors decide wherever they say anything
    assert verdict(study, (fast, 100.0), (slow, 99.0), use_priors=True).keep_rival
    flipped = verdict(study, (fast, 100.0 + clear), (slow, 100.0))
    assert flipped.keep_rival
    assert "slower than elimination" in flipped.notes[0]
    assert not verdict(study, (fast, 100.0), (slow, 100.0 - clear), error=10.0).keep_rival


def simulated(seed):
    """Thirty subjects, ka 1, CL 4, V 70; the prior medians are those of the exchanged solution."""
    design = regimens({i + 1: pb.Regimen().dose(100.0).sample(TIMES[:7]) for i in range(30)})
    truth = _oral({name: prior.Fixed(value) for name, value in ONE.items()}, 0.3, 0.2)
    draw = pb.simulate(truth, design, seed=seed, n=1)["prior_predictive"]["dv"]
    table = design.to_frame()
    table.loc[np.asarray(design.is_obs), "DV"] = draw.to_numpy().reshape(-1)
    medians = {"ka": 4.0 / 70.0, "CL": 4.0, "V": 4.0}
    typical = {name: prior.LogNormal(value, 2.0) for name, value in medians.items()}
    return _oral(typical, prior.HalfNormal(0.5), prior.HalfNormal(0.5)), pb.read_events(table)


def _oral(typical, sd, error):
    return PopModel(
        pk.OneCompartment(pk.FirstOrder()),
        {name: Parameter(one) for name, one in typical.items()},
        variability.Independent(list(typical), sd=sd),
        residual.LogNormal(error),
    )


@pytest.mark.parametrize("method", [pb.Foce(), pb.Saem(draws=50, importance=100)])
def test_a_start_in_flip_flop_does_not_end_there(method):
    model, data = simulated(6)
    found = pb.estimate(model, data, method=method, seed=1, progress=False)
    table = found["estimates"].to_dataset()
    for name, value in ONE.items():
        assert abs(np.log(float(table[f"{name}_pop"]) / value)) < np.log(1.3), name
    assert found.attrs["converged"] == 1
    assert found.attrs["exchanged_difference"] > 10
