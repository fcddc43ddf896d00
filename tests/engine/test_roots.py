"""Roots to a few digits."""

import numpy as np
import pytest

from popbayes.engine.roots import ROOT_ERROR, inverse_root


@pytest.mark.parametrize("part", [0.1, 0.125])
def test_a_root_is_as_close_as_it_says_over_all_errors_that_a_step_can_have(part):
    x = np.concatenate([np.geomspace(1e-30, 1e30, 40_001), 2.0 ** np.arange(-100, 100)])
    found = np.array([inverse_root(one, part) for one in x])
    error = np.abs(found / x**-part - 1.0)
    assert error.max() < ROOT_ERROR
    # the bound is not idle: a tenth of it would not hold
    assert error.max() > ROOT_ERROR / 10


def test_a_larger_error_never_gives_a_longer_step():
    x = np.geomspace(1e-12, 1e12, 100_001)
    found = np.array([inverse_root(one, 0.1) for one in x])
    assert (np.diff(found) <= 0.0).all()
