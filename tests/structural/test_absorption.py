"""Every absorption model and further output: against brute force, against each other, and its gradients."""

import dataclasses

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import gammaln

from popbayes.data.design import Design
from popbayes.data.regimen import Regimen, regimens
from popbayes.engine.solve import solve
from popbayes.structural import pk
from popbayes.structural.base import structural_from_dict
from tests.engine.oracle import brute_force, by_expm
from tests.engine.scenarios import PARAMETERS, SCENARIOS
from tests.engine.test_gradients import changing, check_segment, compare, operation
from tests.tolerances import EXACT, SOLVER, STEADY

VALUES = {
    **PARAMETERS,
    "ka2": 0.31, "D1": 2.7, "Fr": 0.37, "MTT": 2.2, "n": 3.0, "MTT2": 4.1, "Tlag": 0.37, "fe": 0.43,
    "k": 0.13, "k10": 0.13, "k12": 0.08, "k21": 0.05, "k13": 0.03, "k31": 0.007,
}  # fmt: skip
ALL_OUT = ("A_central", "AUC", "urine")
ALONE = {
    "zero order": pk.ZeroOrder(Tlag=True),
    "sequential": pk.Sequential(Tlag=True, F=True),
    "two first-order": pk.Parallel(pk.FirstOrder(), pk.FirstOrder(Tlag=True), F=True),
    "first and zero": pk.Parallel(pk.FirstOrder(Tlag=True), pk.ZeroOrder(Tlag=True)),
    "zero and first": pk.Parallel(pk.ZeroOrder(), pk.FirstOrder(Tlag=True)),
    "first and sequential": pk.Parallel(pk.FirstOrder(), pk.Sequential()),
    "transit": pk.Transit(3, Tlag=True, F=True),
    "transit into central": pk.Transit(2, first_order=False),
    "no transit": pk.Transit(0),
    "Savic": pk.Savic(Tlag=True),
    "Savic into central": pk.Savic(first_order=False, F=True),
    "first and transit": pk.Parallel(pk.FirstOrder(), pk.Transit(2)),
}
MODELS = {name: pk.TwoCompartment(one) for name, one in ALONE.items()} | {
    "all outputs": pk.OneCompartment(pk.FirstOrder(), also=("A_depot", *ALL_OUT)),
    "three, all outputs": pk.ThreeCompartment(pk.FirstOrder(), also=ALL_OUT),
    "transit, all outputs": pk.OneCompartment(pk.Transit(1), also=ALL_OUT),
    "rate constants, one": pk.OneCompartment(pk.FirstOrder(), rate_constants=True),
    "rate constants, two": pk.TwoCompartment(pk.FirstOrder(), rate_constants=True, also=("urine",)),
    "rate constants, three": pk.ThreeCompartment(rate_constants=True),
}
# The others run with the slow suite: each kind of kernel takes seconds to compile.
OFTEN = (
    "zero order", "two first-order", "first and sequential", "transit", "Savic into central", "all outputs",
    "transit, all outputs", "rate constants, two",
)  # fmt: skip
EACH = [pytest.param(name, marks=() if name in OFTEN else pytest.mark.slow) for name in MODELS]
NEEDS = {"modelled duration", "modelled rate", "steady state, modelled duration"}
INFUSED_DEPOT = {"infusion into the depot"}


def values(model):
    return {name: VALUES[name] for name in model.parameters}


def taken(model):
    """Scenarios that a model takes."""
    through = any(channel.stages is not None for channel in model.channels.values())
    left_out = NEEDS | (INFUSED_DEPOT if through else set())
    return [name for name in SCENARIOS if name not in left_out]


@pytest.mark.parametrize("name", EACH)
def test_every_event_equals_brute_force(name):
    """Stages are solved as so many compartments more; steady states as 500 doses."""
    model = MODELS[name]
    data = regimens({scenario: SCENARIOS[scenario] for scenario in taken(model)})
    got = solve(model, data, values(model))
    subject = got["subject"].to_numpy()
    for output in model.outputs:
        mine = got[output].to_numpy()
        for scenario in taken(model):
            events = SCENARIOS[scenario].to_events()
            expected = brute_force(model, events, values(model), by_expm, output)
            tolerance = STEADY if "steady" in scenario else SOLVER
            label = f"{output}, {scenario}"
            np.testing.assert_allclose(mine[subject == scenario], expected, **tolerance, err_msg=label)


@pytest.mark.parametrize("name", EACH)
def test_gradients_equal_differences_through_every_event(name):
    model = MODELS[name]
    data = regimens({scenario: SCENARIOS[scenario] for scenario in taken(model)})
    design = Design.of(data)
    theta = {n: np.full(design.n_segment, v) for n, v in values(model).items()}
    dvid = 1 + np.arange(design.n_record) % len(model.outputs)
    design = dataclasses.replace(design, dvid=dvid)
    compare(model, design, theta, output=dict(enumerate(model.outputs, start=1)))


@pytest.mark.parametrize("n", [0.0, 0.7, 2.5, 11.3, 60.0])
@pytest.mark.parametrize(
    "fast", [0.3, 1.0, 30.0], ids=["slow transit", "transit as fast as k", "fast transit"]
)
def test_a_broken_number_of_stages_equals_quadrature(n, fast):
    """Savic's input, integrated by SciPy, for a regimen with doses under way at every sample."""
    values = {"CL": 2.0, "V": 10.0, "MTT": (n + 1) / (0.2 * fast), "n": n}
    regimen = Regimen([1.0, 4.0, 9.0, 24.0, 30.0]).dose(100, ii=6.0, addl=2).dose(40, time=9.0)
    got = solve(pk.OneCompartment(pk.Savic(first_order=False)), regimen, values)["conc"].to_numpy()
    ktr, k = (n + 1) / values["MTT"], 0.2

    def conc(t):
        if t <= 0:
            return 0.0

        def rate(s):
            return np.exp((n + 1) * np.log(ktr) + n * np.log(s) - ktr * s - gammaln(n + 1) - k * (t - s))

        peak = min(max(n / max(ktr - k, 1e-3), 1e-3), 0.999 * t)
        return quad(rate, 0, t, epsabs=1e-14, epsrel=1e-12, limit=400, points=[peak])[0] / 10.0

    doses = [(100, 0.0), (100, 6.0), (100, 12.0), (40, 9.0)]
    expected = [sum(a * conc(t - s) for a, s in doses) for t in (1.0, 4.0, 9.0, 24.0, 30.0)]
    np.testing.assert_allclose(got, expected, **SOLVER)


def test_a_whole_number_of_stages_is_a_chain():
    chain = solve(pk.TwoCompartment(pk.Transit(3)), SCENARIOS["additional oral doses"],
                  values(pk.TwoCompartment(pk.Transit(3))))["conc"]  # fmt: skip
    model = pk.TwoCompartment(pk.Savic())
    free = solve(model, SCENARIOS["additional oral doses"], values(model))["conc"]
    np.testing.assert_allclose(free, chain, **EXACT)


def test_both_depots_may_empty_equally_fast():
    """The same `ka` twice, without a lag, is one depot."""
    both = pk.OneCompartment(pk.Parallel(pk.FirstOrder(), pk.FirstOrder()))
    one = pk.OneCompartment(pk.FirstOrder())
    regimen = SCENARIOS["additional oral doses"]
    twice = solve(both, regimen, {"Fr": 0.3, "ka": 1.1, "ka2": 1.1, "CL": 2.0, "V": 10.0})["conc"]
    once = solve(one, regimen, {"ka": 1.1, "CL": 2.0, "V": 10.0})["conc"]
    np.testing.assert_allclose(twice, once, **EXACT)


def test_what_is_excreted_and_the_area_are_what_they_must_be_in_the_end():
    model = pk.TwoCompartment(pk.FirstOrder(F=True), also=("AUC", "urine"))
    late = solve(model, Regimen([1e4]).dose(100, ii=12, addl=3), {**values(model), "F": 0.8})
    np.testing.assert_allclose(late["AUC"][0], 0.8 * 400 / VALUES["CL"], **EXACT)
    np.testing.assert_allclose(late["urine"][0], 0.8 * 400 * VALUES["fe"], **EXACT)


def test_models_of_many_stages_neither_overflow_nor_vanish():
    model = pk.OneCompartment(pk.Savic())
    regimen = Regimen([1e-6, 0.1, 5.0, 20.0, 1e3, 1e6]).dose(100)
    for n in (0.0, 1e-3, 40.0, 300.0, 2000.0):
        for mtt in (1e-4, 1.0, 50.0):
            found = solve(model, regimen, {"ka": 1.0, "MTT": mtt, "n": n, "CL": 1.0, "V": 10.0})["conc"]
            assert np.isfinite(found).all()
            assert (found >= 0).all()
            # all of it has come where the mean transit time is over, and little before
            assert (found[2] > 1.0) == (mtt < 5.0)


def test_absorption_models_say_what_they_cannot_do():
    transit, zero = pk.OneCompartment(pk.Transit(2)), pk.OneCompartment(pk.ZeroOrder())
    with pytest.raises(ValueError, match=r"row 1 \(ID 1\) is an infusion .* transit"):
        solve(transit, Regimen([1.0]).dose(10, rate=5), values(transit))
    with pytest.raises(ValueError, match=r"row 1 \(ID 1\).*estimated rate"):
        solve(zero, Regimen([1.0]).dose(10, rate=-1), values(zero))
    both = pk.OneCompartment(pk.Parallel())
    with pytest.raises(ValueError, match=r"row 1 \(ID 1\).*CMT 2.*1 or 'depot', 3 or 'central'"):
        solve(both, Regimen([1.0]).dose(10, cmt=2), values(both))
    with pytest.raises(ValueError, match=r"n of Transit .* not 2.5.*Savic"):
        pk.Transit(2.5)
    with pytest.raises(ValueError, match=r"cannot be told apart from the fraction"):
        pk.Parallel(pk.FirstOrder(F=True))
    with pytest.raises(ValueError, match=r"no output 'A_peripheral'.*A_central, AUC, urine"):
        pk.OneCompartment(also=("A_peripheral",))
    with pytest.raises(TypeError, match=r"first of Parallel"):
        pk.Parallel(pk.Parallel())


@pytest.mark.parametrize("name", MODELS)
def test_models_go_through_json_and_print(name):
    model = MODELS[name]
    assert structural_from_dict(model.to_dict()) == model
    assert len(model.equations()) >= len(model.body_states) + 1
    assert all(line.count("{") == line.count("}") for line in model.latex())


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n == "transit" else pytest.mark.slow) for n in ALONE]
)
def test_parameters_that_change_within_a_subject(name):
    """Changes that change nothing leave no trace; every segment has the derivative of its own parameters."""
    for scenario in ("oral and intravenous", "reset"):
        check_changes(MODELS[name], scenario)


def check_changes(model, scenario):
    design = Design.of(changing(scenario), ["X"])
    op, arrays = operation(model, design)
    same = [np.full(design.n_segment, VALUES[n]) for n in model.parameters]
    alone = solve(model, SCENARIOS[scenario], values(model))["conc"]
    np.testing.assert_allclose(op.run(*same, *arrays)[0], alone, rtol=EXACT["rtol"], atol=1e-12)
    rng = np.random.default_rng(3)
    vectors = [v * np.exp(0.1 * rng.normal(size=design.n_segment)) for v in same]
    out = op.run(*vectors, *arrays)
    cotangent = rng.normal(size=design.n_obs)
    pulled = op.adjoint.run(*vectors, *arrays, cotangent, *out[1:])
    for j in range(len(vectors)):
        check_segment(op, arrays, vectors, cotangent, pulled, j, int(rng.integers(design.n_segment)))
