"""Formulas of equations that users write: conditions, time, one parameter alone."""

import json

import numpy as np
import pytensor.tensor as pt
import pytest

from popbayes import PopModel, build, fit, ode, pk, prior, residual, variability
from popbayes.data.design import Design
from popbayes.data.events import read_events
from popbayes.data.regimen import Regimen
from popbayes.engine.solve import solve
from popbayes.parameters.parameter import Parameter
from popbayes.structural.base import structural_from_dict
from tests.engine.test_gradients import operation

CONDITIONS = {
    "and": (lambda t, k: (t > 2) & (t < 5), [0, 1, 3]),
    "or": (lambda t, k: (t < 2) | (t > 5), [1, 2, 3]),
    "not": (lambda t, k: ~(t < 2), [0, 1, 4]),
    "either": (lambda t, k: (t < 2) ^ (t < 5), [0, 1, 3]),
    "of a parameter too": (lambda t, k: (k > 0.2) & (t < 5) & (k < 1), [1, 3, 5]),
    "of none": (lambda t, k: (k > 0.2) & (t > 2) & (k > 0.4), [0, 0, 0]),
    "whole numbers": (lambda t, k: pt.eq(pt.floor(t / 2), 1) | pt.eq(pt.trunc(t / 2), 2), [0, 1, 4]),
}
AT_A_JUMP = 1e-4
"""Error of a solution whose rates jump in time, where no record is: a few hundred tolerances."""


@pytest.mark.parametrize("name", CONDITIONS)
def test_conditions_in_a_formula_are_joined_by_and_or_not(name):
    condition, duration = CONDITIONS[name]
    model = ode.System(
        "a", "k", lambda t, s, p: {"a": -pt.switch(condition(t, p.k), p.k, 0.0) * s.a},
        {"y": lambda s, p: s.a},
    )  # fmt: skip
    assert structural_from_dict(json.loads(json.dumps(model.to_dict()))) == model
    got = solve(model, Regimen(times=[1.0, 3.0, 6.0]).dose(10), {"k": 0.3})["y"]
    np.testing.assert_allclose(got, 10 * np.exp(-0.3 * np.array(duration)), rtol=AT_A_JUMP)
    # with a record at each jump, and the derivative
    times = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    op, arrays = operation(model, Design.of(Regimen(times=times).dose(10).to_events()))
    value, *kept = op.run(np.array([0.3]), *arrays)
    slopes = op.adjoint.run(np.array([0.3]), *arrays, np.array([1.0, 0, 1, 0, 0, 1]), *kept)
    expected = -np.array(duration) * value[[0, 2, 5]]
    np.testing.assert_allclose(slopes[0], expected.sum(), rtol=AT_A_JUMP, atol=1e-12)


@pytest.mark.parametrize("sampler", ["nutpie", "pymc"])
@pytest.mark.parametrize("kind", ["system", "linear"])
def test_a_model_of_one_parameter_is_differentiated_and_fitted(kind, sampler):
    """The gradient Op has one output then, which PyTensor passes on without a tuple."""
    model = pk.LinearSystem(["a"], {("a", None): "k"}, {"y": "a"})
    if kind == "system":
        model = ode.System("a", "k", lambda t, s, p: {"a": -p.k * s.a}, {"y": lambda s, p: s.a})
    table = Regimen(times=[1.0, 10.0, 30.0]).dose(10).to_events(4).to_frame()
    table.loc[table["EVID"] == 0, "DV"] = [9.0, 8.0, 7.0] * 4
    effects = variability.Independent(["k"], sd=prior.HalfNormal(0.5))
    made = PopModel(model, {"k": Parameter(prior.LogNormal(0.02, 0.5))}, effects, residual.Additive(0.3))
    graph = build(made, read_events(table))
    start = graph.initial_point()
    logp, names = graph.compile_logp(), list(start)
    got = graph.compile_dlogp()(start)
    ends = [logp(start | {names[0]: start[names[0]] + h}) for h in (-1e-4, 1e-4)]
    np.testing.assert_allclose(got[0], (ends[1] - ends[0]) / 2e-4, rtol=1e-4)
    dt = fit(made, read_events(table), draws=20, tune=20, chains=1, sampler=sampler, warm_start=None, seed=1)
    assert np.isfinite(dt["posterior"]["k"]).all()


CIRCADIAN = ode.System(
    "a", "k", lambda t, s, p: {"a": -p.k * (1 + 0.8 * pt.cos(2 * np.pi * t / 24)) * s.a},
    {"y": lambda s, p: s.a},
)  # fmt: skip


@pytest.mark.parametrize("time", [0.0, 6.0])
def test_a_steady_state_of_rates_that_repeat_is_that_of_doses_since_long_ago(time):
    for ii in (24, 48):
        steady = solve(
            CIRCADIAN, Regimen(times=[time, time + 5]).dose(10, time=time, ii=ii, ss=1), {"k": 0.3}
        )
        n = 40
        past = Regimen(times=[time + ii * n, time + ii * n + 5]).dose(10, time=time, ii=ii, addl=n)
        np.testing.assert_allclose(steady["y"], solve(CIRCADIAN, past, {"k": 0.3})["y"], rtol=2e-6)


@pytest.mark.parametrize("dose", [
    {"amt": 10, "ii": 8, "ss": 1}, {"amt": 10, "ii": 12, "ss": 2}, {"amt": 10, "ii": 12, "ss": 1, "rate": 5},
    {"amt": 0, "rate": 2, "ss": 1},
])  # fmt: skip
def test_a_steady_state_of_rates_that_do_not_repeat_is_refused(dose):
    """There is none: the state before a dose differs from dose to dose, by 1.6 % here."""
    for time in (0.0, 6.0):
        with pytest.raises(ValueError, match=r"row 1 \(ID 1\) asks for .* do not repeat from dose to dose"):
            solve(CIRCADIAN, Regimen(times=[time, time + 5]).dose(time=time, **dose), {"k": 0.3})
