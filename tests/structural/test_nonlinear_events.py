"""Every nonlinear model of the library through all kinds of event, against SciPy stopped at each of them."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from popbayes.data.design import Design
from popbayes.data.regimen import Regimen, regimens
from popbayes.engine.solve import evaluate
from popbayes.structural import pk
from tests.engine.brute_force import Way, by_brute_force
from tests.structural.test_nonlinear import APPROXIMATIONS, BODY, PK, RESPONSES, concentration, disposition

SAMPLES = [0.0, 0.5, 2.0, 6.0, 7.0, 12.0, 13.0, 20.0, 25.0, 27.0, 31.0, 36.0, 48.0]
ASKED = {"rtol": 1e-8, "atol": 1e-11}
AGREES = {"rtol": 1e-6, "atol": 1e-9}
"""A hundred times what is asked of a step: errors of the steps add up, and inhibition may amplify them."""
WITHOUT_STEADY_STATE = {"tumour, Simeoni", "tumour, Claret"}


def _r():
    return Regimen(times=SAMPLES)


ORAL = {
    "additional doses, reset": _r().dose(100, ii=6, addl=9).reset(25).dose(50, time=30),
    "infusions over an oral dose": _r().dose(100).dose(60, time=6, cmt="central", rate=20, ii=12, addl=1),
    "overlapping infusions, reset and dose": _r()
    .dose(100, cmt="central", rate=4, ii=12, addl=3)
    .dose(70, time=25, evid=4),
    "two at once, and a sample before": Regimen(times=[0, 1, 4, 6, 9])
    .dose(100, time=4)
    .dose(20, time=4, cmt="central"),
}
STEADY = {
    "steady state": _r().dose(50, ii=12, ss=1, addl=1),
    "steady state of infusions": _r().dose(40, cmt="central", rate=10, ii=12, ss=1, addl=2),
    "steady state of infusions longer than II": _r().dose(40, cmt="central", rate=4, ii=8, ss=1, addl=1),
    "steady state after others": _r().dose(80, ii=5, addl=9).dose(60, time=20, ii=12, ss=1),
}
MODELLED = {
    "duration": _r().dose(100, cmt="central", rate=-2, ii=24, addl=1),
    "rate": _r().dose(100, cmt="central", rate=-1),
    "steady state of a duration": _r().dose(40, cmt="central", rate=-2, ii=12, ss=1),
}


def into_central(scenarios):
    """The same for a model without a depot."""
    return {
        name: replace(
            one, records=tuple((*r[:3], "central" if r[1] in (1, 4) else "", *r[4:]) for r in one.records)
        )
        for name, one in scenarios.items()
    }


def agree(model, values, output, oracle, scenarios, ways, method="DOP853"):
    """One subject for each scenario: their predictions, with the oracle's."""
    data = regimens(scenarios)
    got = evaluate(replace(model, **ASKED), Design.of(data), values, output)
    rates, start, seen = oracle
    frame = data.to_frame()
    frame["CMT"] = frame["CMT"].replace([".", ""], next(iter(ways)))
    for name in scenarios:
        own = frame[frame["ID"] == name]
        expected = [seen(x) for x in by_brute_force(rates, start, own, ways, method)]
        mine = got[data.subjects[data.obs_subject] == name]
        np.testing.assert_allclose(mine, expected, **AGREES, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", RESPONSES)
def test_responses_through_all_events(name):
    model, own, (rates, start), seen = RESPONSES[name]
    scenarios = ORAL if name in WITHOUT_STEADY_STATE else ORAL | STEADY
    ways = {"depot": Way(0), "central": Way(1)}
    agree(model, PK | own, model.outputs[-1], (rates, start, seen), scenarios, ways)


def saturable(t, x):
    c = x[1] / 17.0
    return [-1.1 * x[0], 1.1 * x[0] - 0.5 * c - 9.0 * c / (0.8 + c)]


def test_saturable_elimination_through_all_events_with_lag_and_bioavailability():
    model = pk.MichaelisMenten(
        pk.FirstOrder(Tlag=True, F=True), pk.Intravenous(Tlag=True, F=True, D=True, R=True), linear=True
    )
    values = {"ka": 1.1, "V": 17.0, "CL": 0.5, "Vmax": 9.0, "Km": 0.8, "Tlag": 0.7, "F": 0.6}
    values |= {"Tlag2": 0.3, "F2": 0.9, "D2": 3.0, "R2": 12.0}
    ways = {"depot": Way(0, 0.6, 0.7), "central": Way(1, 0.9, 0.3, 3.0, 12.0)}
    agree(
        model, values, "conc", (saturable, [0.0, 0.0], lambda x: x[1] / 17.0), ORAL | STEADY | MODELLED, ways
    )


@pytest.mark.slow
@pytest.mark.parametrize(("approximation", "own", "start"), APPROXIMATIONS)
def test_target_mediated_disposition_through_all_events(approximation, own, start):
    model = pk.TargetMediated(peripheral=True, approximation=approximation)

    oracle = (disposition(approximation), start, partial(concentration, approximation))
    agree(model, BODY | own, "conc", oracle, into_central(ORAL | STEADY), {"central": Way(0)}, "Radau")


@pytest.mark.slow
def test_a_metabolite_through_all_events():
    values = {"ka": 1.1, "V": 17.0, "CL": 0.5, "Vmax": 9.0, "Km": 0.8, "CLm": 1.0, "Vm": 5.0}

    def rates(t, x):
        formed = 9.0 * (x[1] / 17.0) / (0.8 + x[1] / 17.0)
        return [-1.1 * x[0], 1.1 * x[0] - 0.5 * x[1] / 17.0 - formed, formed - 0.2 * x[2]]

    ways = {"depot": Way(0), "central": Way(1)}
    oracle = (rates, [0.0] * 3, lambda x: x[2] / 5.0)
    agree(pk.ParentMetabolite(pk.FirstOrder()), values, "metabolite", oracle, ORAL | STEADY, ways)
