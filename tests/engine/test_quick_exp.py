"""The kernels' exponential against decimal arithmetic and the C library."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest

from popbayes.engine.quick_exp import ERROR, HIGHEST, LOWEST, exp


def errors(xs):
    """Errors in units of the last place of the result."""
    with localcontext() as context:
        context.prec = 50
        for x in xs:
            found = exp(x)
            yield abs(float(Decimal(found) - Decimal(float(x)).exp())) / np.spacing(found)


@pytest.mark.parametrize("reach", [1e-8, 1e-2, 1.0, 50.0, -LOWEST])
def test_it_is_as_close_as_it_says(reach):
    xs = np.random.default_rng(1).uniform(-reach, reach, 4_000)
    assert max(errors(xs)) < ERROR


def test_it_is_as_close_where_the_table_changes_its_entry():
    middles = (np.arange(-300, 300) + 0.5) * math.log(2.0) / 128
    xs = np.concatenate([middles, np.nextafter(middles, -np.inf), np.nextafter(middles, np.inf)])
    worst = max(errors(xs))
    # the bound is not idle: nothing is closer than half a unit
    assert 0.45 < worst < ERROR


@pytest.mark.parametrize("x", [0.0, -0.0, 5e-324, -1e-300, 709.5, 1e6, math.inf, -1e4, -1e300, -math.inf])
def test_ends_are_those_of_the_c_library(x):
    assert exp(x) == pytest.approx(math.exp(x) if x < HIGHEST else math.inf, rel=1e-15)


def test_what_has_fewer_digits_is_nothing():
    assert exp(LOWEST) == pytest.approx(math.exp(LOWEST), rel=1e-15)
    assert exp(LOWEST - 0.1) == 0.0


def test_what_is_not_a_number_stays_so():
    assert math.isnan(exp(math.nan))


def test_it_never_falls_between_neighbours():
    xs = np.linspace(-3.0, 3.0, 200_001)
    found = np.array([exp(x) for x in xs])
    assert (np.diff(found) > 0).all()
