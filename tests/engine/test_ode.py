"""Differential equations: against the exact engine through every event, and against SciPy."""

import dataclasses
import json
import math

import numpy as np
import pandas
import pytensor.tensor as pt
import pytest

from popbayes import ode, pd, pk
from popbayes.data.design import Design
from popbayes.data.events import read_events
from popbayes.data.regimen import Regimen, regimens
from popbayes.engine.op import Predict, route
from popbayes.engine.sensitivities import Solver
from popbayes.engine.solve import evaluate, solve
from popbayes.structural.base import structural_from_dict
from tests.engine.scenarios import PARAMETERS, SCENARIOS
from tests.engine.systems import EXACT, by_scipy, driven, michaelis_menten, written_out

MORE = {**PARAMETERS, "ke0": 0.3}
TIGHT = 1e-10
VALUE, GRADIENT = 1e-8, 1e-6  # of solutions whose steps err by TIGHT
MM = {"ka": 1.0, "V": 40.0, "Vmax": 15.0, "Km": 3.0}


def operation(model, design, output):
    """The Op of a model on a design, and the arrays that it reads."""
    way = route(model, design, output)
    op = Predict(model, way.outputs, way.channels, way.schedule.features)
    return op, (np.array(way.schedule.n_obs), *way.schedule.arrays)


def values_and_gradient(model, design, theta, cotangent, output="conc"):
    """Predictions, and the cotangent times their Jacobian for each parameter."""
    op, arrays = operation(model, design, output)
    vectors = [np.array(theta[n], dtype=float) for n in model.parameters]
    out = op.run(*vectors, *arrays)
    return out[0], dict(
        zip(model.parameters, op.adjoint.run(*vectors, *arrays, cotangent, *out[1:]), strict=True)
    )


def compare_with_exact(model, design, theta, seed=0):
    """Values and gradients of the exact engine, subject by subject."""
    cotangent = np.random.default_rng(seed).normal(size=design.n_obs)
    exact, by_exact = values_and_gradient(EXACT, design, theta, cotangent)
    got, by_steps = values_and_gradient(model, design, theta, cotangent)
    for i in range(design.n_subject):
        own = design.obs_subject == i
        largest = np.abs(exact[own]).max() + 1e-300
        np.testing.assert_allclose(
            got[own], exact[own], rtol=VALUE, atol=VALUE * largest, err_msg=f"subject {i}"
        )
        rows = design.segment_subject == i
        for name in EXACT.parameters:
            error = np.abs(by_steps[name][rows] - by_exact[name][rows])
            size = np.abs(by_exact[name][rows]) + np.abs(cotangent[own]).max() * largest / theta[name][rows]
            assert np.all(error <= GRADIENT * size), (i, name, by_steps[name][rows], by_exact[name][rows])


def all_scenarios():
    design = Design.of(regimens(SCENARIOS))
    rng = np.random.default_rng(3)
    return design, {n: v * np.exp(0.05 * rng.normal(size=design.n_subject)) for n, v in MORE.items()}


def test_a_driver_in_closed_form_equals_the_exact_engine_through_every_event():
    design, theta = all_scenarios()
    compare_with_exact(driven(rtol=TIGHT, solver="explicit"), design, theta)


@pytest.mark.slow
def test_linear_equations_equal_the_exact_engine_through_every_event():
    design, theta = all_scenarios()
    compare_with_exact(written_out(rtol=TIGHT, solver="explicit"), design, theta)


@pytest.mark.slow
@pytest.mark.parametrize("make", [driven, written_out])
def test_parameters_that_change_between_records_equal_the_exact_engine(make):
    from tests.engine.test_gradients import changing

    for scenario in ("oral and intravenous", "infusions that overlap", "steady state on top", "reset"):
        design = Design.of(changing(scenario), ["X"])
        assert design.n_segment > 3
        rng = np.random.default_rng(2)
        theta = {n: v * np.exp(0.1 * rng.normal(size=design.n_segment)) for n, v in MORE.items()}
        compare_with_exact(make(rtol=TIGHT, solver="explicit"), design, theta)


@pytest.fixture(scope="module")
def saturable():
    """A study of boluses into either compartment, its SciPy solution and a loose and a tight model."""
    times = np.array([0.0, 0.5, 1.0, 3.0, 8.0, 12.0, 24.0, 30.0, 48.0])
    studies = {
        "oral": Regimen(times=times).dose(400, ii=12, addl=2),
        "bolus": Regimen(times=times).dose(300, cmt="central").dose(100, time=8.0),
    }
    doses = {"oral": [(0, 0, 400), (12, 0, 400), (24, 0, 400)], "bolus": [(0, 1, 300), (8, 0, 100)]}

    def rates(t, x):
        c = x[1] / MM["V"]
        return [-MM["ka"] * x[0], MM["ka"] * x[0] - MM["Vmax"] * c / (MM["Km"] + c)]

    expected = [by_scipy(rates, np.zeros(2), doses[name], times)[:, 1] / MM["V"] for name in studies]
    return Design.of(regimens(studies)), np.concatenate(expected)


def test_predictions_are_within_ten_times_the_tolerance_of_scipy(saturable):
    design, expected = saturable
    for rtol in (1e-5, 1e-7, 1e-10):
        got = evaluate(michaelis_menten(rtol=rtol, solver="explicit"), design, MM)
        np.testing.assert_allclose(got, expected, rtol=10 * rtol, atol=0)


@pytest.mark.parametrize("name", ["stimulate loss", "neutropenia"])
def test_the_step_after_a_dose_looks_at_what_the_dose_will_do(name):
    """The response is near balance when the drug comes: its own rates do not say how soon it will move.

    A step that is too long by far can have an estimated error of zero by accident (the first case, after the
    second dose); one that is too short by far ends the solution (the second, from its baseline).
    """
    from tests.structural.test_nonlinear import PK, RESPONSES, studied

    model, own, _, _ = RESPONSES[name]
    got, tight = (
        studied(dataclasses.replace(model, rtol=rtol), PK | own, model.outputs[-1])
        for rtol in (model.rtol, TIGHT)
    )
    np.testing.assert_allclose(got, tight, rtol=10 * model.rtol)


@pytest.mark.parametrize(
    ("doses", "vmax", "conc"),
    [
        (Regimen().dose(100, ii=24, ss=1), 3.0, None),
        (Regimen().dose(100, ii=24, ss=1), 4.1, None),
        (Regimen().dose(100, ii=24, ss=1), 4.16, None),
        (Regimen().dose(0, rate=5, ss=1), 4.0, None),
        # a steady state far away: Km rate / (Vmax - rate)
        (Regimen().dose(0, rate=3.9999, ss=1), 4.0, 39_999.0),
        (Regimen().dose(0, rate=3, ss=1), 4.0, 3.0),
    ],
)
def test_a_steady_state_that_does_not_exist_is_refused_and_one_that_does_is_found(doses, vmax, conc):
    """A large enough amount changes by little of it in an interval, whatever comes in."""
    model, values = pk.MichaelisMenten(), {"V": 20.0, "Vmax": vmax, "Km": 1.0}
    if conc is None:
        with pytest.raises(ValueError, match=r"row 1 \(ID 1\).*does not exist"):
            solve(model, doses.sample([0, 12]), values)
    else:
        got = float(solve(model, doses.sample([0]), values)["conc"][0])
        assert got == pytest.approx(conc, rel=1e-3)


def test_nothing_accumulates_to_a_steady_state_where_nothing_leaves():
    model = ode.System(
        ("depot", "central"),
        ("ka", "k"),
        lambda t, s, p: {"depot": -p.ka * s.depot, "central": p.ka * s.depot - p.k * s.central},
        {"conc": lambda s, p: s.central},
    )
    with pytest.raises(ValueError, match="does not exist"):
        solve(model, Regimen().dose(100, ii=12, ss=1).sample([0, 12]), {"ka": 1.0, "k": 0.0})


def test_a_tumour_that_grows_has_no_steady_state_and_one_that_is_killed_vanishes():
    """Without a tumour nothing grows: a fixed point, to which doses do not lead."""
    model = pd.ClaretTumour(pk.OneCompartment(pk.FirstOrder()))
    regimen = Regimen().dose(100, ii=24, ss=1).sample([1, 24])
    values = {"ka": 1.0, "CL": 3.0, "V": 30.0, "kL": 0.001, "kD": 0.0001, "lambda_": 0.0, "y0": 60.0}
    with pytest.raises(ValueError, match=r"does not exist.*only grows"):
        solve(model, regimen, values)
    assert np.abs(solve(model, regimen, values | {"kD": 0.01})["size"]).max() < 1e-6 * values["y0"]


@pytest.mark.parametrize("rate", [0.0, 20.0])
def test_a_lag_shorter_than_any_step_is_none(rate):
    """At a steady state the interval between record and dose is integrated, however short it is."""
    model = ode.System(
        ("depot", "central"),
        ("ka", "k", "Tlag"),
        lambda t, s, p: {
            "depot": -p.ka * s.depot / (1.0 + 0.01 * s.depot),
            "central": p.ka * s.depot / (1.0 + 0.01 * s.depot) - p.k * s.central,
        },
        {"amount": lambda s, p: s.central},
        inputs={"depot": ode.Input(lag="Tlag")},
    )
    regimen = Regimen([0.5, 5, 12, 20]).dose(60, time=3, ii=12, ss=1, addl=1, rate=rate)
    values = {"ka": 1.0, "k": 0.3}
    none = solve(model, regimen, values | {"Tlag": 0.0})["amount"]
    for lag in (1e-14, 1e-13, 1e-12):
        np.testing.assert_allclose(solve(model, regimen, values | {"Tlag": lag})["amount"], none, rtol=1e-6)


def test_gradients_equal_differences_of_a_tight_solution(saturable):
    design, _ = saturable
    model = michaelis_menten(solver="explicit")
    tight = Solver.of(michaelis_menten(rtol=1e-12, solver="explicit"), design)
    theta = {n: np.full(design.n_subject, v) for n, v in MM.items()}
    cotangent = np.random.default_rng(0).normal(size=design.n_obs)
    _, got = values_and_gradient(model, design, theta, cotangent)
    for name, value in MM.items():
        h = 1e-4 * value

        def at(shift, name=name):
            return tight.predict(theta | {name: theta[name] + shift})

        slope = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
        expected = np.bincount(design.obs_subject, cotangent * slope)
        np.testing.assert_allclose(got[name], expected, rtol=1e-5)


def test_the_jacobian_equals_the_adjoint_row_by_row(saturable):
    design, _ = saturable
    model = michaelis_menten(solver="explicit")
    theta = {n: np.full(design.n_subject, v) for n, v in MM.items()}
    solver = Solver.of(model, design)
    pred, dpred = solver.sensitivities(theta, {n: np.ones((1, design.n_subject)) for n in ("V", "Km")})
    np.testing.assert_allclose(pred, solver.predict(theta), rtol=1e-14)
    for o in (4, 12):
        _, gradient = values_and_gradient(model, design, theta, (np.arange(design.n_obs) == o) * 1.0)
        np.testing.assert_allclose(dpred[0, o], gradient["V"].sum() + gradient["Km"].sum(), rtol=1e-12)


def test_a_solution_that_needs_too_many_steps_is_nan_for_that_subject_alone(saturable):
    design, expected = saturable
    hard = np.array([[1.0, 1.0], [1.0, 3e7]]).T  # the second subject's rates explode
    got = evaluate(michaelis_menten(solver="explicit", max_steps=2000), design, MM | {"Vmax": 15.0 * hard[1]})
    second = design.obs_subject == 1
    np.testing.assert_allclose(got[~second], expected[~second], rtol=1e-6)
    assert np.isnan(got[second][-1])


def test_a_system_is_a_value_that_compares_and_survives_in_json():
    model = written_out()
    assert model == written_out()
    assert hash(model) == hash(written_out())
    assert model != written_out(rtol=1e-9)
    assert structural_from_dict(json.loads(json.dumps(model.to_dict()))) == model
    assert structural_from_dict(json.loads(json.dumps(driven().to_dict()))) == driven()
    assert "dcentral/dt = ka * depot" in " ".join(model.equations())


def spoilt(**changes):
    """A small system with something changed."""
    arguments = {
        "states": ("a", "b"),
        "parameters": ("k",),
        "rhs": lambda t, s, p: {"a": -p.k * s.a, "b": p.k * s.a},
        "outputs": {"y": lambda s, p: s.b},
    }
    return ode.System(**(arguments | changes))


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"rhs": lambda t, s, p: {"a": -p.k * s.a}}, ValueError, "no rate of change for b"),
        ({"rhs": lambda t, s, p: {"a": 0.0, "b": 0.0, "c": 0.0}}, ValueError, "returns one for c"),
        ({"rhs": lambda t, s, p: {"a": -p.kk * s.a, "b": 0.0}}, AttributeError, "Did you mean 'k'"),
        (
            {"rhs": lambda t, s, p: {"a": pt.dvector(), "b": 0.0}},
            TypeError,
            "rate of change of 'a' is an array",
        ),
        ({"rhs": lambda t, s, p: {"a": pt.dscalar("z") * s.a, "b": 0.0}}, TypeError, "uses 'z'"),
        (
            {"rhs": lambda t, s, p: {"a": "fast", "b": 0.0}},
            TypeError,
            "rate of change of 'a' must be a number",
        ),
        ({"states": ("a", "a")}, ValueError, "'a' is named twice"),
        ({"initial": {"c": 1.0}}, ValueError, "initial has 'c'"),
        (
            {"initial": {"a": lambda p: p.z}},
            AttributeError,
            "The initial state 'a': There is no 'z'",
        ),
        ({"outputs": {"y": "b / k"}}, TypeError, "The output 'y' must be a function"),
        (
            {"rhs": lambda t, s, p: {"a": -p.k * math.exp(s.a), "b": 0.0}},
            TypeError,
            "rhs uses a function of numbers, .* pt.exp",
        ),
        ({"inputs": {"a": "Tlag"}}, TypeError, r"inputs\['a'\] must be an ode.Input"),
        ({"outputs": {"y": lambda s, p: s.b / p.v}}, AttributeError, "The output 'y': There is no 'v'"),
        (
            {"rhs": lambda t, s, p: {"a": -p.k if s.a > 1 else 0.0, "b": 0.0}},
            TypeError,
            "rhs takes the truth .* pt.switch",
        ),
        ({"pk": pk.OneCompartment(pk.Transit(3))}, ValueError, "ode.System takes .* transit compartments"),
        ({"pk": pk.MichaelisMenten()}, ValueError, "ode.System takes .* is not linear"),
        ({"pk": pk.OneCompartment}, TypeError, "pk of ode.System .* Write it with brackets"),
        ({"inputs": {"c": ode.Input(lag="Tlag")}}, ValueError, "inputs has 'c'"),
        ({"outputs": {}}, ValueError, "at least one thing"),
        ({"outputs": [lambda s, p: s.b]}, TypeError, "outputs must map names to functions"),
        (
            {"pk": pk.OneCompartment(), "outputs": {"conc": lambda s, p: s.b}},
            ValueError,
            "'conc', which is an",
        ),
        ({"rhs": lambda t, s, p: {"a": math.nan, "b": 0.0}}, ValueError, "'a' is nan, which is no finite"),
        ({"rhs": lambda t, s, p: {"a": np.where(t > 1, p.k, 0), "b": 0.0}}, TypeError, "np.where.*pt.switch"),
        ({"rhs": lambda t, s, p: {"a": p.k * (t / 2).astype("int64"), "b": 0.0}}, TypeError, "pt.floor"),
        ({"parameters": ("k", "Km")}, ValueError, "Nothing depends on the parameter Km"),
        ({"rhs": lambda s, p: {"a": -p.k * s.a, "b": 0.0}}, TypeError, r"called as rhs\(t, state, p\)"),
        ({"outputs": {"y": lambda s: s.b}}, TypeError, r"The output 'y' is called as f\(state, p\)"),
        ({"initial": {"a": lambda: 1.0}}, TypeError, r"The initial state 'a' is called as f\(p\)"),
        ({"outputs": {"y": lambda s, p: s.b / p.WT}}, AttributeError, "those of p in .* covariates="),
        ({"covariates": ("k",)}, ValueError, "both a parameter and a covariate"),
        ({"solver": "magic"}, ValueError, "solver must be one of"),
        ({"rtol": 1.0}, ValueError, "rtol must lie"),
    ],
)
def test_what_is_wrong_with_a_system_is_refused_by_name(changes, error, text):
    with pytest.raises(error, match=text):
        spoilt(**changes)


@pytest.mark.parametrize(("given", "error", "text"), [
    ({"F": 0.5}, TypeError, r"F of ode.Input is the name of a parameter, not 0.5"),
    ({"zero_order": True}, ValueError, "needs the name of a duration"),
])  # fmt: skip
def test_what_is_wrong_with_an_input_is_refused(given, error, text):
    with pytest.raises(error, match=text):
        ode.Input(**given)


def test_time_covariates_and_initial_states_are_part_of_the_formulas():
    """A circadian turnover, whose baseline depends on weight."""
    model = ode.System(
        states=("R",),
        parameters=("kin", "kout", "amplitude"),
        rhs=lambda t, s, p: {
            "R": p.kin * (1.0 + p.amplitude * pt.cos(2.0 * np.pi * t / 24.0)) * p.WT / 70.0 - p.kout * s.R
        },
        outputs={"R": lambda s, p: s.R},
        initial={"R": lambda p: p.kin / p.kout * p.WT / 70.0},
        covariates=("WT",),
        solver="explicit",
    )
    times = np.array([0.0, 3.0, 11.0, 25.0, 40.0])
    frame = pandas.DataFrame({"ID": 1, "TIME": times, "DV": 1.0, "AMT": 0.0, "EVID": 0, "WT": 50.0})
    got = solve(model, read_events(frame, covariates=["WT"]), {"kin": 5.0, "kout": 0.2, "amplitude": 0.3})
    source = 5.0 * 50.0 / 70.0
    rates = lambda t, x: [source * (1 + 0.3 * np.cos(2 * np.pi * t / 24)) - 0.2 * x[0]]  # noqa: E731
    expected = by_scipy(rates, np.array([source / 0.2]), [], times)[:, 0]
    np.testing.assert_allclose(got["R"], expected, rtol=1e-6)
