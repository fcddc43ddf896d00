"""Systems solved by the matrix exponential: against brute force, the closed forms, and each gradient."""

import dataclasses
from functools import cached_property

import numpy as np
import pytest
from scipy.linalg import expm, expm_frechet

from popbayes.data.design import Design
from popbayes.data.regimen import Regimen, regimens
from popbayes.engine.declaration import EXPONENTIAL
from popbayes.engine.exponential import write_exponential, write_pull_exponential
from popbayes.engine.solve import solve
from popbayes.structural import pk
from popbayes.structural.base import structural_from_dict
from tests.engine.oracle import brute_force, by_expm
from tests.engine.scenarios import PARAMETERS, SCENARIOS
from tests.engine.test_events import ALL_INPUTS
from tests.engine.test_gradients import changing, compare, operation
from tests.tolerances import EXACT, SOLVER, STEADY

VALUES = {
    **PARAMETERS,
    "fm": 0.6,
    "CLm": 3.1,
    "Vm": 8.0,
    "kb": 0.2,
    "kg": 0.4,
    "fe": 0.3,
    "D1": 1.3,
    "D5": 2.0,
    "R5": 9.0,
}
OPEN = pk.Input(Tlag=True, F=True, D=True, R=True)
PARENT = pk.LinearSystem(
    ("depot", "central", "metabolite", "urine"),
    rates={
        ("depot", "central"): "ka",
        ("central", "metabolite"): "fm * CL / V",
        ("central", "urine"): "(1 - fm) * CL / V",
        ("metabolite", None): "CLm / Vm",
    },
    outputs={"conc": "central / V", "metabolite_conc": "metabolite / Vm", "excreted": "urine"},
    inputs={"depot": pk.Input(Tlag=True, F=True), "central": OPEN},
    areas={"AUC": "central / V"},
)
LOOP = pk.LinearSystem(
    ("depot", "central", "bile", "gut"),
    rates={
        ("depot", "central"): "ka",
        ("central", "bile"): "kb",
        ("bile", "gut"): "kg",
        ("gut", "central"): "ka",
        ("central", None): "CL / V",
    },
    outputs={"conc": "central / V"},
    inputs={"central": OPEN},
)
CHAIN = pk.LinearSystem(
    ("depot", "a", "b", "c", "central"),
    rates=dict.fromkeys(zip(("depot", "a", "b", "c"), ("a", "b", "c", "central"), strict=True), "ka")
    | {("central", None): "ka"},
    outputs={"conc": "central / V"},
    inputs={"depot": pk.Input(F=True), "central": pk.Input(D=True, R=True)},
)
# ten squarings of a matrix of sums of products: 2 ** 10 rounding errors of 1e-16
ROUNDING = 1e-13
MODELS = {"parent and metabolite": PARENT, "enterohepatic loop": LOOP, "five equal rates": CHAIN}
# The others run with the slow suite: each kind of kernel takes ten seconds to compile.
EACH = [
    pytest.param(name, marks=() if name == "parent and metabolite" else pytest.mark.slow) for name in MODELS
]


def values(model):
    return {name: VALUES[name] for name in model.parameters}


@pytest.mark.parametrize("name", EACH)
def test_every_event_equals_brute_force(name):
    model = MODELS[name]
    got = solve(model, regimens(SCENARIOS), values(model))
    subject = got["subject"].to_numpy()
    for output in model.outputs:
        for scenario, regimen in SCENARIOS.items():
            expected = brute_force(model, regimen.to_events(), values(model), by_expm, output)
            tolerance = STEADY if "steady" in scenario else SOLVER
            mine = got[output].to_numpy()[subject == scenario]
            np.testing.assert_allclose(mine, expected, **tolerance, err_msg=f"{output}, {scenario}")


@pytest.mark.parametrize("name", EACH)
def test_gradients_equal_differences_through_every_event(name):
    model = MODELS[name]
    design = Design.of(regimens(SCENARIOS))
    theta = {n: np.full(design.n_segment, v) for n, v in values(model).items()}
    dvid = 1 + np.arange(design.n_record) % len(model.outputs)
    design = dataclasses.replace(design, dvid=dvid)
    compare(model, design, theta, output=dict(enumerate(model.outputs, start=1)), rounding=ROUNDING)


def test_urine_counts_what_comes_after_a_steady_state():
    """At steady state, all of a dose is excreted over one interval."""
    model = PARENT
    one = {**values(model), "fm": 0.0, "F": 1.0, "Tlag": 0.0}
    got = solve(model, Regimen([0.0, 12.0]).dose(100, ii=12, ss=1), one)["excreted"].to_numpy()
    assert got[0] == 0.0
    np.testing.assert_allclose(got[1], 100.0, rtol=1e-8)


class ByExponential:
    """A compartmental model that the engine is asked to solve by the other route."""

    def __init__(self, model):
        self.model = model

    def __getattr__(self, name):
        return getattr(self.model, name)

    @cached_property
    def solution(self):
        return EXPONENTIAL


@pytest.mark.parametrize(
    "model",
    [
        pk.OneCompartment(pk.FirstOrder(Tlag=True, F=True), ALL_INPUTS, also=("AUC", "urine")),
        pytest.param(pk.ThreeCompartment(pk.Sequential(), ALL_INPUTS), marks=pytest.mark.slow),
    ],
    ids=["one", "three"],
)
def test_both_routes_give_equal_values_and_gradients(model):
    design = Design.of(regimens(SCENARIOS))
    dvid = 1 + np.arange(design.n_record) % len(model.outputs)
    design = dataclasses.replace(design, dvid=dvid)
    vectors = [np.full(design.n_segment, VALUES[n]) for n in model.parameters]
    cotangent = np.random.default_rng(0).normal(size=design.n_obs)
    found = []
    for one in (model, ByExponential(model)):
        op, arrays = operation(one, design, dict(enumerate(model.outputs, start=1)))
        out = op.run(*vectors, *arrays)
        found.append((out[0], *op.adjoint.run(*vectors, *arrays, cotangent, *out[1:])))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, rtol=STEADY["rtol"], atol=1e-9 * np.abs(a).max())


@pytest.mark.parametrize("cut_off", [False, True], ids=["", "Q is 0"])
def test_both_routes_agree_where_parameters_change(cut_off):
    """One amplitude for each mode against compartments, also where one is cut off for a while."""
    model = pk.TwoCompartment(pk.FirstOrder(Tlag=True, F=True), ALL_INPUTS)
    rng = np.random.default_rng(2)
    for scenario in ("oral and intravenous", "infusions that overlap", "steady state on top", "reset"):
        design = Design.of(changing(scenario), ["X"])
        assert design.n_segment > 3
        theta = {n: VALUES[n] * np.exp(0.3 * rng.normal(size=design.n_segment)) for n in model.parameters}
        if cut_off:
            # (there is no steady state of a compartment that nothing leaves)
            theta["Q"][slice(1, None, 2) if "steady" not in scenario else slice(0)] = 0.0
        cotangent = rng.normal(size=design.n_obs)
        found = []
        for one in (model, ByExponential(model)):
            op, arrays = operation(one, design, None)
            out = op.run(*theta.values(), *arrays)
            found.append((out[0], *op.adjoint.run(*theta.values(), *arrays, cotangent, *out[1:])))
        for name, a, b in zip(("conc", *theta), *found, strict=True):
            scale = np.abs(a).max()
            np.testing.assert_allclose(b, a, rtol=STEADY["rtol"], atol=1e-9 * scale, err_msg=name)


def test_a_chain_of_equal_rates_is_a_gamma_density():
    """Five equal eigenvalues, one Jordan block: transit compartments in closed form."""
    regimen = SCENARIOS["additional oral doses"]
    chain = solve(CHAIN, regimen, {**values(CHAIN), "ka": 0.8, "V": 17.0, "F": 1.0})["conc"]
    closed = pk.OneCompartment(pk.Transit(3, first_order=False))
    stages = solve(closed, regimen, {"MTT": 4 / 0.8, "CL": 0.8 * 17.0, "V": 17.0})["conc"]
    np.testing.assert_allclose(chain, stages, rtol=EXACT["rtol"], atol=1e-13)


@pytest.mark.parametrize("size", [1e-6, 0.3, 1.0, 30.0, 1e4])
def test_the_exponential_and_its_derivative_equal_those_of_scipy(size):
    rng = np.random.default_rng(1)
    a = rng.uniform(0, 1, (5, 5)) * size
    np.fill_diagonal(a, 0.0)
    np.fill_diagonal(a, -a.sum(axis=0) - rng.uniform(0, 0.1, 5) * min(size, 1.0))
    out = np.empty((5, 5))
    write_exponential(a, out)
    np.testing.assert_allclose(out, expm(a), rtol=1e-13 * max(1.0, size), atol=1e-15)
    direction, cotangent = rng.normal(size=(5, 5)), rng.normal(size=(5, 5))
    ga = np.zeros((5, 5))
    write_pull_exponential(a, cotangent.copy(), ga)
    expected = np.sum(cotangent * expm_frechet(a, direction, compute_expm=False))
    scale = np.abs(cotangent).sum() * np.abs(direction).max() / 25
    assert abs(np.sum(ga * direction) - expected) < 1e-12 * max(1.0, size) * scale


def test_amounts_stay_positive_and_are_conserved_over_twelve_orders_of_magnitude():
    rng = np.random.default_rng(2)
    regimen = Regimen([0.0, 1e-6, 1.0, 1e3, 1e6]).dose(1.0)
    for _ in range(100):
        draw = {n: 10 ** rng.uniform(-6, 6) for n in LOOP.parameters} | {"F2": 1.0, "Tlag2": 0.0}
        found = solve(LOOP, regimen, draw)["conc"].to_numpy() * draw["V"]
        assert np.isfinite(found).all()
        assert (found >= 0).all()
        assert (found <= 1 + 1e-6).all()


def test_systems_that_make_no_sense_are_refused_by_name():
    two = ("depot", "central")
    flow = {("depot", "central"): "ka"}
    out = {"conc": "central / V"}
    with pytest.raises(ValueError, match=r"no compartment 'centrl'.*Did you mean 'central'"):
        pk.LinearSystem(two, {("depot", "centrl"): "ka"}, out)
    with pytest.raises(ValueError, match=r"output 'conc', 'central \*\* 2', is not linear"):
        pk.LinearSystem(two, flow, {"conc": "central ** 2"})
    with pytest.raises(ValueError, match=r"'Vmax / central' from 'depot' names the compartment"):
        pk.LinearSystem(two, {("depot", "central"): "Vmax / central"}, out)
    with pytest.raises(ValueError, match=r"'k' leads from None to 'a'.*dose"):
        pk.LinearSystem(("a",), rates={(None, "a"): "k", ("a", None): "k"}, outputs={"c": "a"})
    with pytest.raises(ValueError, match="needs an output"):
        pk.LinearSystem(two, flow, {})
    with pytest.raises(ValueError, match="different names"):
        pk.LinearSystem(("a", "a"), {}, {"x": "a"})
    with pytest.raises(ValueError, match=r"cannot be read|cannot have"):
        pk.LinearSystem(two, {("depot", "central"): "__import__('os')"}, out)
    with pytest.raises(ValueError, match=r"no compartment 'gut', which inputs names"):
        pk.LinearSystem(two, flow, out, inputs={"gut": pk.Input()})
    with pytest.raises(ValueError, match="needs a duration"):
        pk.Input(zero_order=True)


@pytest.mark.parametrize("name", MODELS)
def test_systems_go_through_json_and_print(name):
    model = MODELS[name]
    assert structural_from_dict(model.to_dict()) == model
    assert hash(structural_from_dict(model.to_dict())) == hash(model)
    assert len(model.equations()) == len(model.latex()) == len(model.states) + len(model.readings)


SWITCHED = {
    "urine is collected": Regimen([1.0, 5.0, 9.0, 20.0])
    .dose(100)
    .sample(6.0, cmt=-4)
    .on(6.0, cmt=4)
    .sample(12.0, cmt="-urine")
    .on(14.0, cmt="urine"),
    "the depot is emptied": Regimen([1.0, 5.0, 9.0, 20.0, 30.0]).dose(100, ii=4, addl=9).off(6.0, cmt=1),
    "and filled again": Regimen([1.0, 5.0, 9.0, 20.0, 30.0])
    .dose(100, ii=4, addl=2)
    .off(6.0, cmt="depot")
    .dose(50, time=8.0, ii=3, addl=2),
    "an infusion into the depot ends": Regimen([1.0, 5.0, 9.0]).dose(100, rate=10).off(4.0, cmt=1),
    "a reset turns all on": Regimen([1.0, 5.0, 9.0]).dose(100).off(2.0, cmt=4).reset(3.0).dose(50, time=3),
}


def test_compartments_turned_off_equal_brute_force_and_their_gradients_differences():
    model = PARENT
    data = regimens(SWITCHED)
    got = solve(model, data, values(model))
    subject = got["subject"].to_numpy()
    for output in model.outputs:
        for scenario, regimen in SWITCHED.items():
            expected = brute_force(model, regimen.to_events(), values(model), by_expm, output)
            mine = got[output].to_numpy()[subject == scenario]
            np.testing.assert_allclose(mine, expected, **SOLVER, err_msg=f"{output}, {scenario}")
    design = Design.of(data)
    design = dataclasses.replace(design, dvid=1 + np.arange(design.n_record) % len(model.outputs))
    theta = {n: np.full(design.n_segment, v) for n, v in values(model).items()}
    compare(model, design, theta, output=dict(enumerate(model.outputs, start=1)), rounding=ROUNDING)


def test_compartments_that_cannot_be_turned_off_are_refused_by_row():
    with pytest.raises(ValueError, match=r"row 2 \(ID 1\) turns CMT 2 off.*\(depot, urine, AUC\)"):
        solve(PARENT, Regimen([5.0]).dose(10).off(1.0, cmt=2), values(PARENT))
    with pytest.raises(ValueError, match=r"row 1 \(ID 1\) has the negative CMT -1.*EVID 1"):
        solve(PARENT, Regimen([5.0]).dose(10, cmt=-1), values(PARENT))
    transit = pk.OneCompartment(pk.Transit(2), also=("urine",))
    some = {"ka": 1.0, "MTT": 1.0, "CL": 1.0, "V": 1.0, "fe": 0.5}
    with pytest.raises(ValueError, match=r"transit compartments .* cannot be combined"):
        solve(transit, Regimen([5.0]).dose(10).off(1.0, cmt=3), some)
