"""`covariate`: formulas, references taken from data, refusals."""

import json

import numpy as np
import pytensor.tensor as pt
import pytest

from popbayes.parameters import covariate, prior
from tests.tolerances import EXACT

WEIGHT = np.array([50.0, 70.0, 100.0])
SEX = np.array(["F", "M", "F", "F"])
EFFECTS = [
    covariate.Power("WT", 70, 0.75),
    covariate.Exponential("WT", 70, -0.01),
    covariate.Linear("WT", 70, 0.02),
    covariate.Categorical("SEX", "F", prior.Normal(0, 1), others=["M"]),
    covariate.Categorical("RACE", "a", 0.1, others=["b", "c"]),
]


def test_each_effect_multiplies_by_its_formula():
    beta = np.array([[0.5], [-0.01]])
    relative, difference = WEIGHT / 70, WEIGHT - 70
    formulas = {
        covariate.Power("WT", 70, 1): relative**beta,
        covariate.Exponential("WT", 70, 1): np.exp(beta * difference),
        covariate.Linear("WT", 70, 1): 1 + beta * difference,
    }
    usable = beta * difference > -1
    for effect, expected in formulas.items():
        got = effect.multiplier(WEIGHT, beta, np)
        np.testing.assert_allclose(got, expected, **EXACT)
        log = effect.log_multiplier(WEIGHT, beta, np)
        np.testing.assert_allclose(log[usable], np.log(got[usable]), rtol=1e-10, atol=1e-14)


def test_categories_multiply_by_their_own_coefficient_and_the_reference_by_one():
    race = covariate.Categorical("RACE", "white", prior.Normal(0, 1), others=["asian", "black"])
    beta = np.array([[0.1, -0.2], [0.3, 0.4]])
    values = np.array(["black", "white", "asian", "black"])
    expected = np.exp([[-0.2, 0, 0.1, -0.2], [0.4, 0, 0.3, 0.4]])
    np.testing.assert_allclose(race.multiplier(values, beta, np), expected, **EXACT)
    assert race.levels == ("asian", "black")


def test_one_coefficient_of_a_category_is_a_scalar():
    sex = covariate.Categorical("SEX", "F", prior.Normal(0, 1), others=["M"])
    assert sex.levels == ()
    got = sex.multiplier(SEX, np.array([[0.2]]), np)
    np.testing.assert_allclose(got, [[1, np.exp(0.2), 1, 1]], **EXACT)


@pytest.mark.parametrize("effect", EFFECTS, ids=lambda one: one.kind)
def test_graphs_and_arrays_give_the_same_numbers(effect):
    values = (
        np.array(["b", "a", "c"]) if effect.column == "RACE" else SEX if effect.column == "SEX" else WEIGHT
    )
    beta = np.array([0.013, -0.2]) if effect.levels else np.float64(0.013)
    for method in (effect.multiplier, effect.log_multiplier):
        graph = method(values, pt.as_tensor(beta), pt).eval()
        np.testing.assert_allclose(graph, method(values, np.atleast_1d(beta), np), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("effect", EFFECTS, ids=lambda one: one.kind)
def test_an_effect_survives_json(effect):
    assert covariate.covariate_from_dict(json.loads(json.dumps(effect.to_dict()))) == effect


def test_a_missing_reference_is_the_median_over_subjects_and_stays():
    effect = covariate.Power("WT", exponent=0.75)
    assert "median(WT)" in effect.text("WT_i", "0.75")
    resolved = effect.resolved(WEIGHT)
    assert resolved.ref == 70.0
    assert resolved.resolved(WEIGHT * 2) == resolved


def test_missing_categories_come_from_the_data_the_commonest_as_reference():
    sex = covariate.Categorical("SEX", coefficient=prior.Normal(0, 1)).resolved(SEX)
    assert (sex.ref, sex.others) == ("F", ("M",))
    grade = covariate.Categorical("GRADE", ref=1, coefficient=prior.Normal(0, 1))
    assert grade.resolved(np.array([10.0, 2.0, 1.0, 2.0])).others == ("2", "10")


def test_a_linear_effect_below_zero_has_no_logarithm_and_makes_no_noise():
    effect = covariate.Linear("WT", 70, prior.Normal(0, 1))
    assert np.isnan(effect.log_multiplier(WEIGHT, np.array([0.1]), np)).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: covariate.Power(70, 70, 1), TypeError, r"Power needs the name of a column .* not 70"),
        (lambda: covariate.Power("WT", 70), TypeError, r"exponent of .*\('WT'\) needs a prior"),
        (lambda: covariate.Power("WT", -1, 1), ValueError, r"ref of .* must be > 0, not -1"),
        (lambda: covariate.Linear("AGE", "x", 1), ValueError, r"must be a finite number, not 'x'"),
        (lambda: covariate.Power("WT", 70, 1).check(np.array([0.0])), ValueError, r"WT has 0.*Exp"),
        (
            lambda: covariate.Linear("SEX", 0, 1).check(SEX),
            ValueError,
            r"holds text \('F', ...\).*Categorical",
        ),
        (lambda: covariate.Linear("AGE", 0, 1).check(np.array([np.nan])), ValueError, r"missing"),
        (lambda: covariate.Categorical("SEX", "F", 1, ["F"]), ValueError, r"differ from each other"),
        (lambda: covariate.Categorical("SEX", "f", 1).resolved(SEX), ValueError, r"level 'f'.*F, M.*'F'"),
        (lambda: covariate.Categorical("SEX", "F", 1).resolved(SEX[2:]), ValueError, r"single level 'F'"),
        (
            lambda: covariate.Categorical("SEX", "F", 1, ["N"]).check(SEX),
            ValueError,
            r"level 'M'.*knows F, N",
        ),
        (lambda: covariate.covariate_from_dict({"kind": "Powr"}), ValueError, r"no .* 'Powr'.*'Power'"),
    ],
)
def test_what_does_not_fit_is_refused(make, error, match):
    with pytest.raises(error, match=match):
        make()
