"""Panels of goodness of fit: agreement, residuals and quantiles."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.text import Annotation
from scipy import stats

from popbayes.plots.limits import count_beyond, draw_beyond
from popbayes.plots.smooth import smooth
from popbayes.plots.style import BLUE, GREY, INK, NOUGHT, VERMILLION, label_of, on_log

FAR = 3.0
"""Weighted residual beyond which a point is named by its subject."""
MOST_NAMED = 8
USUAL = 1.96
REFERENCE = "identity, or 0"


def weighted(fitted: xr.Dataset) -> str:
    """The residuals that are drawn: conditional ones of an estimate, individual ones of a fit."""
    return str(fitted.attrs.get("weighted", "iwres"))


def agreement(ax: Axes, fitted: xr.Dataset, name: str, log: bool) -> None:
    """Observed against predicted: identity, and a smooth of what is measured."""
    x, y, side = (fitted[one].to_numpy() for one in (name, "dv", "cens"))
    known = np.isfinite(x) & np.isfinite(y)
    nought = NOUGHT * max(np.max(x, where=known, initial=0.0), np.max(y, where=known, initial=0.0))
    shown = known & (np.minimum(x, y) > nought) if log else known
    other = fitted["ipred" if name == "pred" else "pred"].to_numpy()
    both = np.r_[x[shown], y[shown], other[shown]]
    if log:
        on_log(ax, "x", both)
        on_log(ax, "y", both)
    else:
        low, high = np.nanmin(both, initial=0.0), np.nanmax(both, initial=0.0)
        ax.set_xlim(low - 0.03 * (high - low), high + 0.05 * (high - low))
        ax.set_ylim(ax.get_xlim())
    ax.plot(ax.get_xlim(), ax.get_xlim(), color=GREY, lw=1.0, zorder=1, label=REFERENCE)
    measured = shown & (side == 0)
    points(ax, x[measured], y[measured])
    draw_beyond(ax, x[shown], y[shown], side[shown])
    draw_smooth(ax, x[measured], y[measured], log=log)
    ax.set_box_aspect(1)
    ax.set_xlabel(label_of(fitted[name]))
    ax.set_ylabel(label_of(fitted["dv"]))
    hidden = int((known & ~shown).sum())
    less = [f"{hidden} of 0 or less not shown"] if hidden else []
    _said(ax, [*less, *_missing(fitted, name, "dv"), *count_beyond(side[shown])])


def residuals(ax: Axes, fitted: xr.Dataset, name: str) -> list[Annotation]:
    """Weighted residuals against something; the labels of far ones are returned, to be kept apart."""
    which = weighted(fitted)
    x, y, side = (fitted[one].to_numpy() for one in (name, which, "cens"))
    ax.axhline(0, color=GREY, lw=1.0, zorder=1, label=REFERENCE)
    for end in (-USUAL, USUAL):
        ax.axhline(end, color=GREY, lw=0.9, ls=(0, (4, 3)), zorder=1, label=f"±{USUAL}")
    known = np.isfinite(x) & np.isfinite(y)
    measured = known & (side == 0)
    points(ax, x[measured], y[measured])
    draw_beyond(ax, x[known], y[known], side[known])
    draw_smooth(ax, x[measured], y[measured])
    far = np.flatnonzero(known & (np.abs(y) > FAR))
    labels = [
        ax.annotate(
            str(fitted["subject"].to_numpy()[i]), (x[i], y[i]), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=7.5, color=INK,
        )
        for i in far[np.argsort(-np.abs(y[far]), kind="stable")][:MOST_NAMED]
    ]  # fmt: skip
    reach = max(2.5, 1.08 * float(np.max(np.abs(y), where=np.isfinite(y), initial=0.0)))
    ax.set_ylim(-reach, reach)
    ax.set_xlabel(label_of(fitted[name]))
    ax.set_ylabel(fitted[which].attrs["long_name"])
    _said(ax, [*_missing(fitted, name, which), *count_beyond(side[known])])
    return labels


def _missing(fitted: xr.Dataset, x: str, y: str) -> list[str]:
    """How many points are not shown since x or y is missing, and which of the two, in words."""
    no_x, no_y = (~np.isfinite(fitted[one].to_numpy()) for one in (x, y))
    beyond = fitted["cens"].to_numpy() != 0
    name = "residual" if y == weighted(fitted) else _lower(fitted[y])
    counts = {
        f"no {name} (beyond a limit)": no_y & beyond,
        f"no {name}": no_y & ~beyond,
        f"no {_lower(fitted[x])}": no_x & ~no_y,
    }
    return [f"{n} not shown: {why}" for why, which in counts.items() if (n := int(which.sum()))]


def _lower(variable: xr.DataArray) -> str:
    return str(variable.attrs["long_name"]).lower()


def _said(ax: Axes, lines: list[str]) -> None:
    """Say above a panel what it does not show, or shows in another way."""
    if lines:
        ax.set_title("\n".join(lines), fontsize=7.5, fontweight="normal", color=GREY)


def quantiles(ax: Axes, values: np.ndarray, name: str, of: str = "observation") -> None:
    """Quantiles of values against those of a standard normal."""
    values = np.sort(values[np.isfinite(values)])
    if len(values) == 0:
        ax.set_visible(False)
        return
    expected = stats.norm.ppf((np.arange(1, len(values) + 1) - 0.5) / len(values))
    reach = 1.08 * max(np.abs(values).max(), np.abs(expected).max(), 2.0)
    ax.plot([-reach, reach], [-reach, reach], color=GREY, lw=1.0, zorder=1, label=REFERENCE)
    points(ax, expected, values, of)
    ax.set_xlim(-reach, reach)
    ax.set_ylim(-reach, reach)
    ax.set_xlabel("Standard normal quantile")
    ax.set_ylabel(name)


def points(ax: Axes, x: np.ndarray, y: np.ndarray, of: str = "observation") -> None:
    """Draw points, smaller and paler where they are many."""
    many = len(x) > 400
    ax.plot(
        x,
        y,
        "o",
        ms=2.6 if many else 3.6,
        mfc=BLUE,
        mec="white",
        mew=0.3,
        alpha=0.45 if many else 0.75,
        zorder=2,
        label=of,
    )


def draw_smooth(ax: Axes, x: np.ndarray, y: np.ndarray, *, log: bool = False, span: float = 0.75) -> None:
    """Draw a smooth through points, of their logarithms where both axes are logarithmic."""
    grid, curve = smooth(np.log(x), np.log(y), span) if log else smooth(x, y, span)
    if np.isfinite(curve).any():
        grid, curve = (np.exp(grid), np.exp(curve)) if log else (grid, curve)
        ax.plot(grid, curve, color=VERMILLION, zorder=3, label="smooth")
