"""Laws that hold for every regimen and parameter set, tried on random ones."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from popbayes.data.design import Design
from popbayes.data.events import read_events
from popbayes.data.regimen import Regimen, regimens
from popbayes.engine.solve import evaluate, solve
from popbayes.structural import pk
from tests.engine.scenarios import SAMPLES, SCENARIOS
from tests.engine.test_gradients import compare
from tests.tolerances import EXACT, SOLVER, STEADY

MODEL = pk.TwoCompartment(pk.FirstOrder(Tlag=True, F=True), pk.Intravenous(F=True, D=True, R=True))
TIMES = np.array([0.0, 0.7, 1.9, 4.2, 7.7, 11.3, 16.1, 23.9, 31.0, 47.0])
# sums of modes leave this part of the largest concentration as rounding
ROUNDING = 1e-12
pytestmark = pytest.mark.filterwarnings("ignore:Identical dose records")
laws = settings(max_examples=60, deadline=None, derandomize=True, database=None)
few = settings(max_examples=15, deadline=None, derandomize=True, database=None)


def log_uniform(low, high):
    return st.floats(np.log(low), np.log(high)).map(lambda x: float(np.exp(x)))


PARAMETERS = st.fixed_dictionaries(
    {name: log_uniform(0.05, 5.0) for name in ("ka", "CL", "Q")}
    | {name: log_uniform(2.0, 100.0) for name in ("V1", "V2")}
    | {"Tlag": st.floats(0.0, 3.0), "F": st.floats(0.1, 1.0), "F2": st.floats(0.1, 1.0)}
    | {"D2": st.floats(0.2, 9.0), "R2": st.floats(2.0, 50.0)}
)
# never at a sample: at the bits of a time it would depend which comes first
TIME = st.integers(0, 3000).map(lambda x: x / 100 + 0.003)
AMOUNTS = st.floats(1.0, 200.0)


@st.composite
def doses(draw, steady=True):
    """One dosing record of any kind: the arguments of `Regimen.dose`."""
    record = {"time": draw(TIME), "cmt": draw(st.sampled_from(["depot", "central"]))}
    if record["cmt"] == "central":
        record["rate"] = draw(st.sampled_from([0, 0, 5.0, 40.0, -1, -2]))
    kinds = ["one", "several", "steady"] if steady else ["one", "several"]
    kind = draw(st.sampled_from(kinds))
    if kind != "one":
        record |= {"ii": draw(st.floats(0.5, 12.0)), "addl": draw(st.integers(1, 30))}
    if kind == "steady":
        record |= {"ss": draw(st.sampled_from([1, 2]))}
    return record


REGIMENS = st.lists(st.tuples(AMOUNTS, doses()), min_size=1, max_size=4)
SIMPLE = st.lists(st.tuples(AMOUNTS, doses(steady=False)), min_size=1, max_size=4)


def regimen(records, times=TIMES, scale=1.0, shift=0.0):
    out = Regimen(np.asarray(times) + shift)
    for amount, record in sorted(records, key=lambda one: one[1]["time"]):
        out = out.dose(amount * scale, **record | {"time": record["time"] + shift})
    return out


def conc(one, values, model=MODEL):
    """Concentrations; a second subject brings all events about, so that one kernel serves all examples."""
    study = regimens({"it": one, "everything": SCENARIOS["steady state, infusion"]})
    found = solve(model, study, values)
    return found["conc"].to_numpy()[found["subject"].to_numpy() == "it"]


def assert_same(a, b, tolerance=EXACT):
    size = max(np.abs(a).max(), np.abs(b).max(), 1e-300)
    np.testing.assert_allclose(a, b, rtol=tolerance["rtol"], atol=max(ROUNDING, tolerance["rtol"]) * size)


def without_rates(records):
    """The same doses as boluses: infusions of a given or estimated rate last longer for larger doses."""
    return [(amount, {k: v for k, v in record.items() if k != "rate"}) for amount, record in records]


@laws
@given(REGIMENS, PARAMETERS, st.floats(0.1, 10.0))
def test_concentrations_are_linear_in_the_dose(records, values, factor):
    records = without_rates(records)
    assert_same(conc(regimen(records, scale=factor), values), factor * conc(regimen(records), values))


@laws
@given(SIMPLE, PARAMETERS)
def test_doses_superpose(records, values):
    together = conc(regimen(records), values)
    apart = sum(conc(regimen([one]), values) for one in records)
    assert_same(together, apart)


@laws
@given(REGIMENS, PARAMETERS, st.floats(0.0, 1000.0))
def test_only_differences_of_time_matter(records, values, shift):
    # times near 1000 h are known to 1e-13 h; a rate of 5 / h makes 5e-13 of it, a fast distribution more
    assert_same(conc(regimen(records, shift=shift), values), conc(regimen(records), values), SOLVER)


@laws
@given(AMOUNTS, doses(), PARAMETERS, st.floats(0.01, 0.99))
def test_a_dose_split_in_two_at_one_time_is_the_dose(amount, record, values, share):
    record = {k: v for k, v in record.items() if k not in ("rate", "ss")}
    halves = [(amount * share, record), (amount * (1 - share), record)]
    assert_same(conc(regimen(halves), values), conc(regimen([(amount, record)]), values))


@few
@given(AMOUNTS, doses(), PARAMETERS)
def test_a_steady_state_is_many_doses_before(amount, record, values):
    """As many as it takes to forget the first, at the slowest rate that the strategy can draw."""
    record = record | {"ss": 1, "ii": record.get("ii", 6.0), "time": 0.0}
    slow = min(values["CL"] / (values["V1"] + values["V2"]), values["Q"] / values["V2"]) / 4
    number = int(40 / (slow * record["ii"])) + 20
    given_long_ago = record | {"ss": 0, "addl": number + record.get("addl", 0)}
    start = number * record["ii"]
    many = regimen([(amount, given_long_ago)], times=TIMES[1:] + start)
    steady = regimen([(amount, record)], times=TIMES[1:])
    assert_same(conc(steady, values), conc(many, values), STEADY)


@laws
@given(AMOUNTS, PARAMETERS, st.integers(1, 20))
def test_an_infusion_without_duration_is_a_bolus(amount, values, number):
    times = TIMES[1:]
    short = {"time": 0.0, "cmt": "central", "ii": 2.37, "addl": number, "rate": amount / 1e-9}
    bolus = {k: v for k, v in short.items() if k != "rate"}
    found = conc(regimen([(amount, short)], times), values)
    # they differ by the rates (up to 10 / h here) times half the duration
    np.testing.assert_allclose(found, conc(regimen([(amount, bolus)], times), values), rtol=1e-7)


@few
@given(REGIMENS, PARAMETERS)
def test_segment_boundaries_at_which_nothing_changes_change_nothing(records, values):
    data = regimens({"it": regimen(records), "everything": SCENARIOS["steady state, infusion"]})
    whole = Design.of(data)
    cut = np.arange(data.n_record)
    parts = dataclasses.replace(
        whole, record_segment=cut, segment_subject=data.record_subject, obs_segment=cut[data.obs_record]
    )
    theta = {name: np.array([value]) for name, value in values.items()}
    assert_same(evaluate(MODEL, parts, theta), evaluate(MODEL, whole, theta))


@few
@given(st.permutations(range(4)), PARAMETERS)
def test_the_order_of_subjects_does_not_matter(order, values):
    names = list(SCENARIOS)[5:9]
    studies = regimens({name: SCENARIOS[name] for name in names}).to_frame()
    parts = [studies[studies["ID"] == names[i]] for i in order]
    mixed = read_events(pd.concat(parts))
    found = solve(MODEL, mixed, values)
    straight = solve(MODEL, read_events(studies), values)
    for name in names:
        a, b = (x["conc"].to_numpy()[x["subject"].to_numpy() == name] for x in (found, straight))
        np.testing.assert_array_equal(a, b)


@few
@given(REGIMENS, PARAMETERS)
def test_gradients_equal_differences(records, values):
    """Away from coincidences: a sample nearer to an event than the differences' step sees it move past."""
    study = regimens({"it": regimen(records), "everything": SCENARIOS["steady state, infusion"]})
    design = Design.of(study)
    theta = {name: np.full(design.n_segment, value) for name, value in values.items()}
    theta["Tlag"] = np.maximum(theta["Tlag"], 0.01)
    other = (100.0, {"time": 0.0, "cmt": "central", "rate": 20.0, "ii": 12.0, "ss": 1, "addl": 2})
    if is_near_an_event(records, values, TIMES) or is_near_an_event([other], values, SAMPLES):
        return
    compare(MODEL, design, theta, rounding=1e-14)


def is_near_an_event(records, values, times):
    """Whether a dose begins or an infusion ends within the reach of the differences of a sample."""
    for amount, record in records:
        lag = values["Tlag"] if record["cmt"] == "depot" else 0.0
        rate = record.get("rate", 0)
        whole = amount * values["F2"]
        width = {0: 0.0, -1: whole / values["R2"], -2: values["D2"]}.get(rate, whole / max(rate, 1e-9))
        number = np.arange(-3 * (record.get("ss", 0) > 0) * 40, record.get("addl", 0) + 1)
        starts = record["time"] + max(lag, 0.01) + number * record.get("ii", 0.0)
        if record["cmt"] == "central":
            starts = record["time"] + number * record.get("ii", 0.0)
        for events, reach in ((starts, lag), (starts + width, width)):
            if reach > 0 and np.abs(events[:, None] - times).min() < 3e-3 * (reach + 0.1):
                return True
    return False


@pytest.mark.filterwarnings("ignore:All additional doses")
@laws
@given(REGIMENS, st.fixed_dictionaries({name: log_uniform(1e-6, 1e6) for name in MODEL.parameters}),
       st.integers(-6, 6))  # fmt: skip
def test_nothing_overflows_over_twelve_orders_of_magnitude(records, values, power):
    """Rates, volumes and times; a steady state of more infusions at once than can be is nan, and said so."""
    stretched = [(amount, record | {"time": record["time"] * 10.0**power}) for amount, record in records]
    stretched = [(a, {k: v for k, v in r.items() if k != "ss"} | {"rate": 0}) for a, r in stretched]
    values = values | {"F": 1.0, "F2": 1.0, "Tlag": min(values["Tlag"], 100.0)}
    found = conc(regimen(stretched, times=TIMES * 10.0**power), values)
    given_in_all = sum(amount * (1 + record.get("addl", 0)) for amount, record in records)
    assert np.isfinite(found).all()
    assert (np.abs(found) <= given_in_all / values["V1"] * (1 + 1e-8)).all()


@few
@given(SIMPLE, PARAMETERS, st.sampled_from([0.0, 1e-12, 1e-6, 1e-4]))
def test_rates_that_meet_make_no_difference(records, values, gap):
    """`ka` at a rate of the body, against the mean of its two neighbours."""
    k10, k12, k21 = values["CL"] / values["V1"], values["Q"] / values["V1"], values["Q"] / values["V2"]
    s = k10 + k12 + k21
    fast = 0.5 * (s + np.sqrt(s * s - 4 * k10 * k21))
    at = [conc(regimen(records), values | {"ka": fast * (1 + gap + d)}) for d in (-4e-3, 0.0, 4e-3)]
    # the mean of the neighbours differs by half the curvature, about (ka t)^2 / 2 times the distance squared
    size = np.abs(at[1]).max()
    np.testing.assert_allclose(at[1], 0.5 * (at[0] + at[2]), rtol=1e-2, atol=1e-3 * size)


def test_a_steady_state_without_elimination_is_refused_by_record():
    study = regimens({"a": Regimen([1.0]).dose(10), "b": Regimen([1.0]).dose(10, ii=12, ss=1)})
    with pytest.raises(ValueError, match=r"row 3 \(ID b\).*steady state.*nothing is eliminated"):
        solve(pk.OneCompartment(), study, {"CL": 0.0, "V": 10.0})
    once = solve(pk.OneCompartment(), Regimen([1.0]).dose(10), {"CL": 0.0, "V": 10.0})
    assert once["conc"][0] == 1.0
