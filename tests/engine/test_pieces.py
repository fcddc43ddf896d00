"""Pieces of a mode against sums term by term."""

import math

import pytest

from popbayes.engine.pieces import FOREVER, SERIES_BELOW, train
from tests.tolerances import SUMMED

DECAYS = (0.0, 1e-300, 1e-12, 1e-7, 1e-3, 0.99 * SERIES_BELOW, 1.01 * SERIES_BELOW, 0.3, 0.5,
          2.0, 30.0, 800.0)  # fmt: skip
NUMBERS = (1, 2, 3, 7, 8, 63, 100, 9_501)


@pytest.mark.parametrize("x", DECAYS)
@pytest.mark.parametrize("n", NUMBERS)
def test_a_train_is_the_sum_of_its_doses(x, n):
    total, slope = train(x, n)
    assert total == pytest.approx(math.fsum(math.exp(-j * x) for j in range(n)), **SUMMED)
    # relative to the sum where the derivative is lost beside it: all that a gradient can show
    expected = -math.fsum(j * math.exp(-j * x) for j in range(n))
    assert slope == pytest.approx(expected, rel=SUMMED["rel"], abs=SUMMED["rel"] * total)


@pytest.mark.parametrize("x", [1e-7, 0.01, 1.0, 50.0])
def test_doses_since_ever_are_the_limit_of_many(x):
    total, slope = train(x, FOREVER)
    assert total == pytest.approx(1 / -math.expm1(-x), **SUMMED)
    assert slope == pytest.approx(-math.exp(-x) / math.expm1(-x) ** 2, abs=0.0, **SUMMED)
    if x > 1e-3:
        assert train(x, 100_000) == pytest.approx((total, slope), **SUMMED)


def test_the_derivative_of_a_train_is_that_of_its_sum():
    x, n, h = 0.04, 50, 1e-4
    ahead, behind = train(x + h, n)[0], train(x - h, n)[0]
    further, back = train(x + 2 * h, n)[0], train(x - 2 * h, n)[0]
    difference = (8 * (ahead - behind) - (further - back)) / (12 * h)
    assert train(x, n)[1] == pytest.approx(difference, rel=1e-8)
