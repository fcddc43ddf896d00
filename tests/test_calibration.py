"""Simulation-based calibration: ranks of truths among draws of their posteriors are uniform."""

import numpy as np
import pytest

from benchmarks import calibration

RARE = 1e-3  # a correct sampler fails the claim about all quantities together less often than this
STUDIES = 20
"""Of the sixty of the committed tables; enough for a bias of a posterior SD, or intervals half as wide."""


@pytest.mark.slow
@pytest.mark.parametrize("name", calibration.CHECKS)
def test_ranks_are_uniform(name):
    results = calibration.run(calibration.CHECKS[name](), STUDIES)
    found = calibration.uniformity(calibration.by_name(results))
    for one in found:
        assert one.envelope > RARE / len(found), f"{one.name}: {one.histogram}"


@pytest.mark.parametrize("wrong", ["biased", "too narrow"])
def test_the_test_finds_what_is_wrong(wrong):
    """Ranks of a posterior that lies an SD too low, or is half as wide as it should be."""
    rng = np.random.default_rng(1)
    truth = rng.normal(size=STUDIES)
    draws = rng.normal(size=(calibration.DRAWS_KEPT, STUDIES))
    draws = draws - 1.0 if wrong == "biased" else 0.2 * draws
    (one,) = calibration.uniformity({"x": (draws < truth).sum(axis=0).tolist()})
    assert one.envelope < RARE


def test_ranks_of_the_right_posterior_pass():
    rng = np.random.default_rng(2)
    ranks = rng.integers(0, calibration.DRAWS_KEPT + 1, size=STUDIES)
    (one,) = calibration.uniformity({"x": ranks.tolist()})
    assert one.envelope > RARE
