"""Compartments of differential equations that a negative CMT turns off: values and gradients."""

import dataclasses

import numpy as np
import pytensor.tensor as pt
import pytest

from popbayes import ode, pd, pk
from popbayes.data.design import Design
from popbayes.data.events import read_events
from popbayes.data.regimen import Regimen, regimens
from popbayes.engine.solve import evaluate, solve
from tests.engine.brute_force import Way, by_brute_force
from tests.engine.systems import driven, michaelis_menten, written_out
from tests.engine.test_gradients import compare
from tests.engine.test_ode import MORE, TIGHT, compare_with_exact

TIMES = [0.5, 2.0, 5.0, 7.0, 9.0, 13.0, 20.0, 30.0]
VALUES = {"rtol": 1e-8, "atol": 1e-10}  # steps of TIGHT, whose errors add up
ROUNDING = 1e-9  # of a solution whose steps err by TIGHT, in differences: steps are chosen anew


def _r():
    return Regimen(TIMES)


DEPOT_OFF = {
    "additional doses end": _r().dose(100, ii=4, addl=9, cmt="depot").off(6.0, "depot"),
    "filled again by a dose": _r().dose(100, ii=4, addl=2).off(6.0, 1).dose(50, time=8.0, ii=3, addl=2),
    "turned on, then a dose": _r().dose(100).off(1.0, "depot").on(3.0, "depot").dose(50, time=6.0),
    "an infusion ends": _r().dose(100, rate=10, ii=6, addl=1).off(4.0, "depot").dose(30, 4.0, cmt="central"),
    "others go on": _r().dose(90, cmt="central", rate=10, ii=12, addl=1).dose(50).off(2.5, "depot"),
    "a reset turns it on": _r().dose(100).off(2.0, "depot").reset(3.0).dose(50, time=4.0),
    "sampled, then off": _r().dose(100).sample(3.0, cmt="-depot"),
    "a steady state meanwhile": _r()
    .dose(100)
    .off(1.0, "depot")
    .dose(60, time=3.0, cmt="central", rate=20, ii=12, ss=1, addl=1),
    "a steady state on top": _r().dose(100).off(1.0, "depot").dose(60, time=3, cmt="central", ii=12, ss=2),
}


@pytest.mark.parametrize("make", [driven, pytest.param(written_out, marks=pytest.mark.slow)])
def test_a_depot_turned_off_equals_the_exact_engine(make):
    """Values and gradients, also where the linear part would keep its closed form (`driven`)."""
    design = Design.of(regimens(DEPOT_OFF))
    rng = np.random.default_rng(5)
    theta = {n: v * np.exp(0.05 * rng.normal(size=design.n_subject)) for n, v in MORE.items()}
    compare_with_exact(make(rtol=TIGHT, solver="explicit"), design, theta)


def test_parameters_that_change_while_a_compartment_is_off_equal_the_exact_engine():
    table = regimens(DEPOT_OFF).to_frame()
    table["X"] = table.groupby("ID").cumcount() // 2 * 1.0
    design = Design.of(read_events(table, covariates=["X"]), ["X"])
    rng = np.random.default_rng(6)
    theta = {n: v * np.exp(0.1 * rng.normal(size=design.n_segment)) for n, v in MORE.items()}
    assert design.n_segment > 3 * design.n_subject
    compare_with_exact(driven(rtol=TIGHT, solver="explicit"), design, theta)


FED_OFF = {
    "the middle is cut off": _r().dose(400).dose(100, 2.5, cmt="central").off(6.0, "central"),
    "and filled again": _r()
    .dose(400)
    .off(3.0, "central")
    .dose(50, time=8.0, cmt="central", rate=20, ii=6, addl=1),
    "and turned on": _r().dose(400, ii=12, addl=2).off(3.0, "central").on(9.0, "central"),
    "both": _r().dose(400, ii=12, addl=2).off(3.0, "central").off(4.0, "depot").on(8.0, 2).dose(200, time=10),
    "the depot, at steady state": _r()
    .dose(50)
    .off(2.0, "depot")
    .dose(60, time=4.0, cmt="central", ii=12, ss=1, addl=1),
}
MM = {"ka": 0.3, "V": 40.0, "Vmax": 15.0, "Km": 3.0}


@pytest.mark.parametrize("solver", ["explicit", "stiff"])
def test_a_compartment_that_is_fed_equals_scipy_and_its_gradients_differences(solver):
    model = michaelis_menten(rtol=TIGHT, solver=solver)

    def rates(t, x):
        c = x[1] / MM["V"]
        return [-MM["ka"] * x[0], MM["ka"] * x[0] - MM["Vmax"] * c / (MM["Km"] + c)]

    data = regimens(FED_OFF)
    design = Design.of(data)
    got = evaluate(model, design, MM)
    ways = {"": Way(0), "depot": Way(0), "1": Way(0), "central": Way(1), "2": Way(1)}
    frame = data.to_frame().replace({"CMT": {".": ""}})
    for name in FED_OFF:
        states = by_brute_force(rates, [0.0, 0.0], frame[frame["ID"] == name], ways)
        mine = got[data.subjects[data.obs_subject] == name]
        np.testing.assert_allclose(mine, states[:, 1] / MM["V"], **VALUES, err_msg=name)
    theta = {n: np.full(design.n_segment, v) for n, v in MM.items()}
    compare(model, design, theta, output="conc", rounding=ROUNDING)


def test_what_is_infinite_in_a_compartment_that_is_off_goes_nowhere():
    """Its rate and derivatives at 0 are no numbers: they are left out, not multiplied by 0."""
    model = ode.System(
        states=("a", "b"),
        parameters=("k",),
        rhs=lambda t, s, p: {"a": -p.k * pt.log(s.a) - 0.01 * s.b, "b": -p.k * s.b + 0.0 * s.a},
        outputs={"b": lambda s, p: s.b, "a": lambda s, p: s.a},
        initial={"a": 2.0},
    )
    regimen = Regimen([0.5, 2.0, 3.0]).dose(10, cmt="b").off(1.0, "a")
    design = Design.of(regimen.to_events())
    got = evaluate(model, design, {"k": 0.5})
    np.testing.assert_allclose(got, 10 * np.exp(-0.5 * np.array([0.5, 2.0, 3.0])), rtol=10 * model.rtol)
    compare(model, design, {"k": np.array([0.5])}, output="b", rounding=1e-8)


def test_a_response_in_the_library_can_be_turned_off():
    """The pharmacokinetics go on; the response is 0 from then on, and starts from 0 when it is on again."""
    model = pd.Turnover(pk.OneCompartment(), "inhibit production", pd.Imax())
    own = {"CL": 3.0, "V": 30.0, "R0": 10.0, "kout": 0.2, "Imax": 0.9, "IC50": 1.0}
    state = model.integrated[0]
    plain = Regimen([1.0, 4.0, 6.0, 12.0]).dose(100)
    got = solve(model, plain.off(5.0, state).on(8.0, state), own)
    undisturbed = solve(model, plain, own)
    np.testing.assert_allclose(got["conc"], undisturbed["conc"], rtol=10 * model.rtol)
    response = got[model.response].to_numpy()
    np.testing.assert_allclose(response[:2], undisturbed[model.response].to_numpy()[:2], rtol=10 * model.rtol)
    assert response[2] == 0.0
    assert 0.0 < response[3] < undisturbed[model.response].to_numpy()[3]
    again = dataclasses.replace(model, solver="stiff")
    np.testing.assert_allclose(
        solve(again, plain.off(5.0, state).on(8.0, state), own)[model.response], response, rtol=1e-5
    )
