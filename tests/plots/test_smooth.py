import numpy as np
import pytest

from popbayes.plots.smooth import BREAK, FEWEST, smooth
from tests.tolerances import EXACT


def test_a_smooth_of_a_line_is_the_line():
    x = np.random.default_rng(0).uniform(0, 10, 50)
    grid, curve = smooth(x, 3 - 2 * x)
    np.testing.assert_allclose(curve, 3 - 2 * grid, rtol=1e-8, atol=1e-8)
    assert (grid[0], grid[-1]) == (x.min(), x.max())


def test_a_smooth_is_the_weighted_regression_of_its_neighbourhood():
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0, 1, 20), rng.standard_normal(20)
    grid, curve = smooth(x, y, span=0.5, points=7)
    reach = np.sort(np.abs(x - grid[3]))[9] + 1e-9 * np.ptp(x)
    weight = np.clip(1 - (np.abs(x - grid[3]) / reach) ** 3, 0, None) ** 3
    design = np.stack([np.ones(20), x - grid[3]], axis=1) * np.sqrt(weight)[:, None]
    intercept = np.linalg.lstsq(design, y * np.sqrt(weight))[0][0]
    np.testing.assert_allclose(curve[3], intercept, rtol=1e-9)


def test_missing_values_do_not_trouble_a_smooth():
    x = np.r_[np.arange(10.0), np.nan, 3.0]
    y = np.r_[np.arange(10.0), 5.0, np.nan]
    np.testing.assert_allclose(smooth(x, y)[1], smooth(x[:10], y[:10])[1], **EXACT)


@pytest.mark.parametrize("x", [np.arange(4.0), np.ones(20)])
def test_too_little_to_smooth_gives_no_curve(x):
    assert len(smooth(x, x)[0]) == 0


def test_a_smooth_makes_up_no_hill_where_there_are_no_points():
    """Times after dose of a sparse study: a rise among the early samples must not go on into the gap."""
    rng = np.random.default_rng(2)
    x = np.r_[rng.uniform(0, 12, 100), np.linspace(60, 90, 20)]
    y = np.r_[0.1 * x[:100], np.full(20, 0.2)] + 0.01 * rng.standard_normal(120)
    grid, curve = smooth(x, y)
    inside = (grid > 12) & (grid < 60)
    assert not inside.any()
    assert np.nanmax(curve) < y.max() + 0.1
    assert np.isnan(curve).sum() == 1  # the gap is more than half of the range


def test_a_smooth_is_straight_over_a_gap_between_visits():
    x = np.repeat([0.0, 1.0, 2.0, 3.0], 6)
    grid, curve = smooth(x, x**2)
    assert grid.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert np.isfinite(curve).all()


def test_a_piece_of_too_few_pairs_is_left_out():
    x = np.r_[np.linspace(0, 1, 30), 1 + 2 * BREAK + np.arange(FEWEST - 1) / 100]
    grid, curve = smooth(x, np.sin(x))
    assert np.isnan(curve[grid > 1]).all()
    assert np.isfinite(curve[grid <= 1]).all()


def test_a_smooth_stays_within_the_range_of_its_points():
    x = np.random.default_rng(5).exponential(1, 60)
    grid, _ = smooth(x, x)
    assert (np.nanmin(grid), np.nanmax(grid)) == (x.min(), x.max())


def test_a_smooth_does_not_follow_the_slope_of_a_cluster_to_a_lone_point():
    """The rise among many early samples says nothing of what one sample much later stands on."""
    x = np.r_[np.linspace(0, 12, 100), 30.0, np.linspace(62, 260, 15)]
    y = np.r_[np.linspace(-0.2, 0.4, 100), 1.5, np.zeros(15)]
    grid, curve = smooth(x, y)
    assert np.isnan(curve[np.searchsorted(grid, 30.0)])
    assert np.nanmax(curve) < 0.6
