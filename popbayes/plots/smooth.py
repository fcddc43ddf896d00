"""Smooth curves through points, drawn only where there are points."""

import numpy as np

LEAST_REACH = 0.2
"""Fraction of the range that a smooth looks to either side at least, so that clumps do not make it swing."""
FEWEST = 5
"""Pairs of which a curve, or a piece of one, can be made."""
EMPTY = 0.05
"""Gap between neighbours, as a fraction of the range, over which the curve is a straight line."""
BREAK = 0.35
"""Gap over which there is no curve: what it would do there, no point says."""
BEYOND = 2.5
"""Standard deviations from the middle of the points that a value rests on; farther out it is extrapolated."""


def smooth(
    x: np.ndarray, y: np.ndarray, span: float = 0.75, points: int = 60
) -> tuple[np.ndarray, np.ndarray]:
    r"""Local linear regression with tricube weights (loess of degree 1, without robustness steps).

    The regression is evaluated between the least and the largest x, near points only: within a gap of more
    than `EMPTY` of the range it would follow the slopes at the ends of the gap, and make up hills. The
    curve is straight over such a gap, and broken by nan over one of more than `BREAK`. A value that rests on
    points nearly all of which lie far to one side is not drawn either: a lone point beside a cluster.

    Parameters
    ----------
    x, y : (n,) pairs; those with a missing value are left out.
    span : float
        Fraction of the pairs in each neighbourhood.
    points : int
        Places at which the curve is evaluated, over the range of x; fewer within gaps, and the ends of these.

    Returns
    -------
    (m,), (m,)
        The curve, nan between its pieces; empty for fewer than 5 pairs or a single value of x.

    References
    ----------
    Cleveland, *Journal of the American Statistical Association* 74 (1979) 829-836.
    """
    keep = np.isfinite(x) & np.isfinite(y)
    x, y = x[keep], y[keep]
    if len(x) < FEWEST or np.ptp(x) == 0:
        return np.array([]), np.array([])
    grid = places(x, points)
    distance = np.abs(grid[:, None] - x)
    nearest = np.sort(distance, axis=1)[:, max(FEWEST - 1, int(np.ceil(span * len(x))) - 1)]
    reach = np.maximum(nearest, LEAST_REACH * np.ptp(x)) + 1e-9 * np.ptp(x)
    weight = np.clip(1 - (distance / reach[:, None]) ** 3, 0, None) ** 3
    total = weight.sum(axis=1)
    mean_x, mean_y = weight @ x / total, weight @ y / total
    centred = x - mean_x[:, None]
    spread = (weight * centred**2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(spread > 0, (weight * centred * y).sum(axis=1) / spread, 0.0)
    beyond = np.abs(grid - mean_x) > BEYOND * np.sqrt(spread / total) + 1e-9 * np.ptp(x)
    return _broken(x, grid, np.where(beyond, np.nan, mean_y + slope * (grid - mean_x)))


def places(x: np.ndarray, points: int) -> np.ndarray:
    """Where a curve through points at `x` is evaluated: all along the range, but not within empty gaps."""
    ordered, grid = np.unique(x), np.linspace(x.min(), x.max(), points)
    empty = np.diff(ordered) > EMPTY * np.ptp(x)
    before = np.clip(np.searchsorted(ordered, grid, side="right") - 1, 0, len(empty) - 1)
    within = empty[before] & (grid > ordered[before]) & (grid < ordered[before + 1])
    return np.unique(np.r_[grid[~within], ordered[:-1][empty], ordered[1:][empty]])


def _broken(x: np.ndarray, grid: np.ndarray, curve: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The curve in pieces, with nan between them; pieces of too few pairs are left out."""
    ordered = np.unique(x)
    starts = ordered[1:][np.diff(ordered) > BREAK * np.ptp(x)]
    piece = np.searchsorted(starts, grid, side="right")
    count = np.bincount(np.searchsorted(starts, x, side="right"), minlength=len(starts) + 1)
    curve = np.where(count[piece] < FEWEST, np.nan, curve)
    ends = np.flatnonzero(np.diff(piece)) + 1
    return np.insert(grid, ends, np.nan), np.insert(curve, ends, np.nan)
