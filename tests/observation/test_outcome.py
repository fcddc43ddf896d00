"""`outcome`: probabilities and draws against SciPy, graphs against arrays, events by their definitions."""

import json

import numpy as np
import pandas as pd
import pytensor
import pytensor.tensor as pt
import pytest
from scipy import integrate, special, stats

from popbayes.data.events import read_events
from popbayes.observation import outcome, residual
from popbayes.observation.endpoints import ObservationModel, law_from_dict
from popbayes.observation.observed import Observed
from popbayes.parameters import prior

HALF, REAL = prior.HalfNormal(1.0), prior.Normal(0.0, 1.0)
PLAIN = pytensor.compile.mode.Mode(linker="py", optimizer=None)
EXACT = {"rtol": 1e-12, "atol": 1e-14}  # the same probability by another route
F = np.array([0.3, 0.8, 0.5, 0.9, 0.6])
SIGMA = {
    "intercept": -0.5, "slope": 1.3, "dispersion": 0.4, "threshold": -0.2, "step_1": 0.7, "step_2": 1.1,
    "hazard": 0.2, "scale": 4.0, "shape": 1.6, "growth": 0.1,
}  # fmt: skip
LINE = SIGMA["intercept"] + SIGMA["slope"] * F


def table(dv, time=None, **columns):
    n = len(dv)
    time = np.arange(n) + 1.0 if time is None else time
    frame = pd.DataFrame({"ID": 1, "TIME": [0.0, *time], "AMT": [100.0] + [0.0] * n, "DV": [np.nan, *dv]})
    for name, values in columns.items():
        frame[name] = [0, *values]
    return read_events(frame)


def densities(law, data, f=F):
    """Log densities, after checking that the graph has the same and finite gradients."""
    observed = Observed.of(ObservationModel({"conc": law}, ("conc",)), data)
    part = observed.parts[0]
    assert not np.any(law.complaint(part.rows)[0])
    own = {name: np.float64(SIGMA[name]) for name in law.given}
    values = observed.log_density(f, own)
    symbols = {name: pt.dscalar(name) for name in own}
    x = pt.dvector()
    graph = part.log_density(x, symbols, pt)
    slopes = pt.grad(graph.sum(), [x, *symbols.values()], disconnected_inputs="ignore")
    compiled = pytensor.function(
        [x, *symbols.values()], [graph, *slopes], mode=PLAIN, on_unused_input="ignore"
    )
    got, *gradients = compiled(f, *own.values())
    np.testing.assert_allclose(got, values, **EXACT)
    assert all(np.isfinite(one).all() for one in gradients)
    return values


COUNTS = np.array([0.0, 1, 3, 2, 7])
LINEAR = {"intercept": REAL, "slope": REAL}
SIZE = 1 / SIGMA["dispersion"]
DISCRETE = {
    "poisson": (outcome.Poisson(), COUNTS, stats.poisson(F).logpmf),
    "poisson linear": (outcome.Poisson(**LINEAR), COUNTS, stats.poisson(np.exp(LINE)).logpmf),
    "negative binomial": (
        outcome.NegativeBinomial(HALF, **LINEAR),
        COUNTS,
        stats.nbinom(SIZE, SIZE / (SIZE + np.exp(LINE))).logpmf,
    ),
    "binary": (outcome.Binary(), np.array([0.0, 1, 1, 0, 1]), stats.bernoulli(F).logpmf),
    "binary linear": (
        outcome.Binary(**LINEAR), np.array([0.0, 1, 1, 0, 1]), stats.bernoulli(special.expit(LINE)).logpmf,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DISCRETE)
def test_probabilities_are_those_of_scipy(name):
    law, dv, expected = DISCRETE[name]
    np.testing.assert_allclose(densities(law, table(dv)), expected(dv), **EXACT)


@pytest.mark.parametrize("name", DISCRETE)
def test_draws_have_the_moments_of_the_distribution(name):
    law, dv, _ = DISCRETE[name]
    part = Observed.of(ObservationModel({"conc": law}, ("conc",)), table(dv)).parts[0]
    many = np.broadcast_to(F, (20000, 5))
    drawn = law.draw(np.random.default_rng(2), part.rows, many, {k: SIGMA[k] for k in law.given})
    mean, sd = law.moments(F, SIGMA)
    assert np.all(np.abs(drawn.mean(axis=0) - mean) < 5 * sd / np.sqrt(20000))
    np.testing.assert_allclose(drawn.std(axis=0), sd, rtol=0.06)
    np.testing.assert_allclose(law.scores(part.rows, F, SIGMA), (dv - mean) / sd, **EXACT)


ORDERED = outcome.Ordered(REAL, (HALF, HALF), REAL)


def test_ordered_categories_are_differences_of_logistic_functions():
    dv = np.array([0.0, 1, 2, 3, 1])
    places = np.cumsum([SIGMA["threshold"], SIGMA["step_1"], SIGMA["step_2"]])[:, None] - SIGMA["slope"] * F
    below = np.vstack([np.zeros(5), special.expit(places), np.ones(5)])
    expected = np.log(np.diff(below, axis=0)[dv.astype(int), np.arange(5)])
    np.testing.assert_allclose(densities(ORDERED, table(dv)), expected, **EXACT)
    part = Observed.of(ObservationModel({"conc": ORDERED}, ("conc",)), table(dv)).parts[0]
    drawn = ORDERED.draw(np.random.default_rng(1), part.rows, np.broadcast_to(F, (20000, 5)), SIGMA)
    share = np.stack([(drawn == k).mean(axis=0) for k in range(4)])
    np.testing.assert_allclose(share, np.diff(below, axis=0), atol=0.018)  # 5 standard errors


HAZARDS = {
    "exponential": (outcome.ExponentialTime(HALF), lambda t: SIGMA["hazard"] + 0 * t),
    "weibull": (
        outcome.WeibullTime(HALF, HALF),
        lambda t: SIGMA["shape"] / SIGMA["scale"] * (t / SIGMA["scale"]) ** (SIGMA["shape"] - 1),
    ),
    "gompertz": (outcome.GompertzTime(HALF, REAL), lambda t: SIGMA["hazard"] * np.exp(SIGMA["growth"] * t)),
}


@pytest.mark.parametrize("name", HAZARDS)
def test_events_have_the_density_of_their_hazard(name):
    """No event, an exact one, none, one within an interval, none: with the hazard integrated numerically."""
    law, hazard = HAZARDS[name]
    time = np.array([1.0, 2.5, 3.0, 6.0, 9.0])
    data = table([0.0, 1, 0, 1, 0], time, CENS=[0, 0, 0, 1, 0])
    total = np.array([integrate.quad(hazard, a, b)[0] for a, b in zip([0, *time[:-1]], time, strict=True)])
    expected = -total
    expected[1] += np.log(hazard(2.5))
    expected[3] = np.log1p(-np.exp(-total[3]))
    np.testing.assert_allclose(densities(law, data), expected, rtol=1e-8)  # that of the integration


@pytest.mark.parametrize("evid", [3, 4])
@pytest.mark.parametrize("name", HAZARDS)
def test_a_reset_empties_the_body_and_leaves_the_hazard(name, evid):
    """Time goes on: the interval over a reset begins where the one before it ended."""
    law, hazard = HAZARDS[name]
    frame = pd.DataFrame(
        {
            "ID": 1,
            "TIME": [0.0, 1.0, 2.0, 2.5, 3.0],
            "AMT": [1.0, 0.0, float(evid == 4), 0.0, 0.0],
            "EVID": [1, 0, evid, 0, 0],
            "DV": [np.nan, 0.0, np.nan, 0.0, 1.0],
        }
    )
    total = np.array([integrate.quad(hazard, a, b)[0] for a, b in [(0, 1), (1, 2.5), (2.5, 3)]])
    expected = -total + [0.0, 0.0, np.log(hazard(3.0))]
    np.testing.assert_allclose(densities(law, read_events(frame), np.zeros(3)), expected, rtol=1e-8)


def test_an_integrated_hazard_that_a_reset_would_lose_is_refused():
    frame = pd.DataFrame(
        {
            "ID": 1,
            "TIME": [0.0, 1.0, 2.0, 3.0],
            "AMT": [1.0, 0, 0, 0],
            "EVID": [1, 0, 3, 0],
            "DV": [np.nan, 0, np.nan, 0],
        }
    )
    model = ObservationModel({"H": outcome.Survival()}, ("H",))
    law, rows = outcome.Survival(), Observed.of(model, read_events(frame)).parts[0].rows
    which, rule, _ = law.complaint(rows)
    assert which.tolist() == [False, True]
    assert "up to a reset" in rule
    kept = pd.concat([frame[:2], frame[1:2].assign(TIME=2.0), frame[2:]])
    observed = Observed.of(model, read_events(kept))
    assert not law.complaint(observed.parts[0].rows)[0].any()
    np.testing.assert_allclose(observed.log_density(np.array([0.3, 0.7, 0.2]), {}), [-0.3, -0.4, -0.2])


def test_an_output_acts_on_the_hazard_by_its_slope():
    law = outcome.ExponentialTime(HALF, slope=REAL)
    rate = SIGMA["hazard"] * np.exp(SIGMA["slope"] * F)
    np.testing.assert_allclose(
        densities(law, table([0.0, 1, 0, 0, 0])), -rate + [0, np.log(rate[1]), 0, 0, 0], **EXACT
    )


def test_an_integrated_hazard_and_its_rate_say_the_same_as_the_closed_form():
    """Weibull: H and h as outputs, an event as two records."""
    time = np.array([1.0, 2.5, 2.5])
    frame = pd.DataFrame(
        {"ID": 1, "TIME": [0.0, *time], "AMT": [1.0, 0, 0, 0], "DV": [np.nan, 0, 0, 1], "DVID": [0, 1, 1, 2]}
    )
    model = ObservationModel({"H": outcome.Survival(), "h": outcome.EventRate()}, ("H", "h"))
    observed = Observed.of(model, read_events(frame))
    assert observed.output == {1: "H", 2: "h"}
    hazard = HAZARDS["weibull"][1]
    outputs = np.array([integrate.quad(hazard, 0, 1)[0], integrate.quad(hazard, 0, 2.5)[0], hazard(2.5)])
    closed = densities(HAZARDS["weibull"][0], table([0.0, 1], time[:2]), np.zeros(2))
    np.testing.assert_allclose(observed.log_density(outputs, {}).sum(), closed.sum(), rtol=1e-8)


def test_draws_of_events_follow_the_cumulative_hazard():
    law = HAZARDS["weibull"][0]
    part = Observed.of(ObservationModel({"x": law}, ("conc",)), table(np.zeros(5))).parts[0]
    drawn = law.draw(np.random.default_rng(1), part.rows, np.zeros((20000, 5)), SIGMA)
    total = np.diff((np.arange(6) / SIGMA["scale"]) ** SIGMA["shape"])
    np.testing.assert_allclose(drawn.mean(axis=0), 1 - np.exp(-total), atol=0.018)  # 5 standard errors
    np.testing.assert_allclose(law.scores(part.rows, np.zeros(5), SIGMA), -total, **EXACT)


EVERY = [law for law, *_ in DISCRETE.values()] + [law for law, _ in HAZARDS.values()]
EVERY += [
    ORDERED,
    outcome.Survival(),
    outcome.EventRate(),
    outcome.Binary(output="effect", intercept="a", slope=REAL),
]


@pytest.mark.parametrize("law", EVERY)
def test_an_outcome_survives_json_and_says_what_it_is(law):
    assert law_from_dict(json.loads(json.dumps(law.to_dict()))) == law
    assert law.text("conc_ij")
    assert law.latex("f_{ij}")


@pytest.mark.parametrize(
    ("law", "dv", "columns", "words"),
    [
        (outcome.Poisson(), [0.5], {}, "whole numbers from 0"),
        (outcome.Binary(), [2.0], {}, "whole numbers from 0 to 1"),
        (outcome.Poisson(), [1.0], {"CENS": [1]}, "no censored"),
        (ORDERED, [4.0], {}, "categories 0 to 3"),
        (outcome.ExponentialTime(HALF), [2.0], {}, "DV 1"),
        (outcome.ExponentialTime(HALF), [1.0], {"CENS": [-1]}, "DV 1"),
        (outcome.Survival(), [1.0], {"CENS": [-1]}, "DV 1"),
        (outcome.Survival(), [1.0], {}, "knows no hazard"),
        (outcome.EventRate(), [0.0], {}, "events only"),
    ],
)
def test_what_an_outcome_cannot_be_is_said(law, dv, columns, words):
    part = Observed.of(ObservationModel({"conc": law}, ("conc",)), table(dv, **columns)).parts[0]
    which, rule, _ = law.complaint(part.rows)
    assert which.tolist() == [True]
    assert words in rule


def test_what_is_no_standard_deviation_is_not_called_one():
    for make in (outcome.NegativeBinomial, outcome.ExponentialTime):
        with pytest.raises(ValueError, match=r"must be positive, but Normal") as said:
            make(REAL)
        assert "standard deviation" not in str(said.value)
    with pytest.raises(ValueError, match=r"prop of residual\.Proportional is a standard deviation and must"):
        residual.Proportional(REAL)


def test_a_linear_predictor_needs_both_of_its_arguments():
    with pytest.raises(ValueError, match="both intercept and slope"):
        outcome.Binary(slope=REAL)
