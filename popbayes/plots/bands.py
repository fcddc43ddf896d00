"""Bands over bins of time, as far as the bins reach."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

STRENGTH = 0.25
"""Opacity of a band, through which others are seen."""


def over_bins(one: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Times at which a band has its corners, and the bin whose value it has there.

    They are the middles of the bins, and the outer edges of the first and the last: what was observed
    before the first middle or after the last lies in these bins too.
    """
    middle, left, right = (one[name].to_numpy() for name in ("middle", "left", "right"))
    x = np.r_[left[0], middle, right[-1]]
    if len(middle) == 1 and left[0] == right[0]:  # all at one time: a band needs some width
        x = x + np.array([-0.5, 0.0, 0.5])
    return x, np.r_[0, np.arange(len(middle)), len(middle) - 1]


def draw_band(
    ax: Axes, one: xr.Dataset, low: np.ndarray, high: np.ndarray, colour: str, name: str | None
) -> None:
    """Draw an interval from value to value of the bins, with an outline that tells it from its neighbours."""
    x, of = over_bins(one)
    ax.fill_between(x, low[of], high[of], color=colour, alpha=STRENGTH, lw=0.8, zorder=1, label=name)
