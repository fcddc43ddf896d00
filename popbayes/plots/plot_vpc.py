"""Picture of a visual predictive check."""

from itertools import cycle
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from popbayes.plots.bands import draw_band
from popbayes.plots.limits import draw_beyond
from popbayes.plots.plot_vpc_outcomes import draw_categories, draw_survival
from popbayes.plots.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    SKY,
    VERMILLION,
    expect,
    label,
    on_log,
    picture,
    styled,
)

NAMES = {
    "prior_predictive": "prior predictive check",
    "posterior_predictive": "visual predictive check",
    "predictions": "visual predictive check",
}
SUBJECTS = {"new": " of new subjects", "own": " of the same subjects (own random effects)", "none": ""}
MOST_COLUMNS = 3
OTHERS = (BLUE, GREEN, ORANGE, SKY)
"""Colours of the percentiles beside the central one, from the lowest."""
MOST_LIMITS = 4
"""Limits of quantification drawn as lines; more of them say nothing."""


@styled
def plot_vpc(checked: xr.Dataset, *, log: bool = False, points: bool = True) -> Figure:
    """Draw observed percentiles over the intervals of the simulated ones.

    Black lines are percentiles of the observations. Each has a band of its own colour behind it, in which
    the same percentile of the simulated studies lies, and a thin line at the median of these. Bands reach to
    the outer edges of the first and the last bin.

    Parameters
    ----------
    checked : Dataset
        What `popbayes.vpc` returned.
    log : bool
        Logarithmic axis of the observations; values that are not positive are left out and counted.
    points : bool
        Draw the observations too.

    Returns
    -------
    matplotlib Figure
        One panel for each stratum; below it, where there are limits of quantification, one of the percentage
        of observations below them. For an endpoint of categories one panel for each; for one of events the
        survival curve (`log` and `points` have no meaning there).
    """
    for holds, draw in (("category", draw_categories), ("at_risk", draw_survival)):
        if isinstance(checked, xr.Dataset) and holds in checked:
            return draw(checked, _bands(checked.attrs), _title({"pred_corr": 0, **checked.attrs}))
    expect(checked, xr.Dataset, "stratum_of", "plot_vpc", "vpc")
    n = checked.sizes["stratum"]
    columns = min(n, MOST_COLUMNS)
    rows = -(-n // columns)
    below = "below" in checked
    figure = picture(*_size(n, rows, columns, below))
    apart = "endpoint" in checked.coords  # several endpoints, each in its own units
    axes, under = _axes(figure, rows, columns, below, apart)
    hidden, floor = (0, -np.inf) if apart else _scale(axes[0], checked, log, points)
    for number, ax in enumerate(axes):
        if number >= n:
            for empty in (ax, *under[number : number + 1]):
                empty.set_visible(False)
            continue
        one = checked.isel(stratum=number)
        if apart:
            more, floor = _scale(ax, _alone(checked, number), log, points)
            hidden += more
        one = one.sel(bin=np.isfinite(one["middle"]))
        if points:
            inside = ((checked["stratum_of"] == number) & (checked["bin_of"] >= 0)).to_numpy()
            _observations(ax, checked.isel(obs=inside))
        _panel(ax, one, floor)
        if below:
            _limits(ax, checked, number)
            _fraction_below(under[number], one)
        if n > 1:
            ax.set_title(str(one["endpoint" if apart else "stratum"].item()))
        if apart:
            ax.set_ylabel(_observed_label(checked.attrs, str(one["unit"].item())))
        elif number % columns == 0:
            ax.set_ylabel(_observed_label(checked.attrs, checked.attrs["dv_unit"]))
        if number % columns == 0:
            for lower in under[number : number + 1]:
                lower.set_ylabel("Below LLOQ (%)")
        if number + columns >= n:
            name = "Time" if checked.attrs["against"] == "time" else "Time after dose"
            last = under[number] if below else ax
            last.set_xlabel(label(name, checked.attrs["time_unit"]))
            last.xaxis.set_tick_params(labelbottom=True)
    _legend(figure, 2 if columns < 3 else 4, _note(checked.attrs, hidden))
    figure.suptitle(_title(checked.attrs), x=0.01, ha="left")
    return figure


def _legend(figure: Figure, columns: int, note: str) -> None:
    """What was observed, then what was simulated; a band and the line in it are one entry."""
    found: dict[str, list[Any]] = {}
    for ax in figure.axes:
        own: dict[str, list[Any]] = {}
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True):
            own.setdefault(name, []).append(handle)
        found |= {name: handles for name, handles in own.items() if name not in found}
    order = sorted(found, key=lambda name: ("simulated" in name, "LLOQ" in name, name != "observed median"))
    handles: list[Any] = [tuple(found[name][::-1]) for name in order]  # the band first, the line upon it
    figure.legend(
        handles,
        order,
        loc="outside lower left",
        ncols=columns,
        title=note,
        title_fontproperties={"size": 7.5},
        alignment="left",
    )


def _size(n: int, rows: int, columns: int, below: bool) -> tuple[float, float]:
    """Width and height of the figure, in inches."""
    if n == 1:
        return 7.0, 4.8 + 1.4 * below
    return 3.4 * columns + 0.6, 1.2 + 2.8 * rows * (1 + below / 3)


def _alone(checked: xr.Dataset, number: int) -> xr.Dataset:
    """One stratum with its observations."""
    mine = (checked["stratum_of"] == number).to_numpy()
    return checked.isel(stratum=[number], obs=np.flatnonzero(mine))


def _axes(figure: Figure, rows: int, columns: int, below: bool, apart: bool) -> tuple[list[Axes], list[Axes]]:
    """Panels of the percentiles, with one scale unless `apart`, and of the percentages below a limit."""
    if not below:
        return list(figure.subplots(rows, columns, squeeze=False, sharey=not apart).ravel()), []
    grid = figure.subplots(2 * rows, columns, squeeze=False, sharex="col", height_ratios=[3, 1] * rows)
    upper, lower = list(grid[::2].ravel()), list(grid[1::2].ravel())
    for panels in (lower,) if apart else (upper, lower):
        for ax in panels[1:]:
            ax.sharey(panels[0])
    return upper, lower


def _limits(ax: Axes, checked: xr.Dataset, number: int) -> None:
    """A line at each limit of quantification of a stratum; prediction correction has none."""
    if checked.attrs["pred_corr"]:
        return
    limits = checked["lloq"].to_numpy()[(checked["stratum_of"] == number).to_numpy()]
    for rank, limit in enumerate(np.unique(limits[np.isfinite(limits)])[:MOST_LIMITS]):
        name = "LLOQ" if rank == 0 else None
        ax.axhline(limit, color=GREY, lw=0.9, ls=(0, (4, 3)), zorder=1.5, label=name)


def _fraction_below(ax: Axes, one: xr.Dataset) -> None:
    """Percentage of observations below their limit over the interval of the simulated one."""
    x = one["middle"].to_numpy()
    low, middle, high, seen = (
        100 * one[name].to_numpy() for name in ("below_lower", "below_simulated", "below_upper", "below")
    )
    name = "simulated % below LLOQ: interval and median"
    draw_band(ax, one, low, high, GREY, name)
    ax.plot(x, middle, color=GREY, lw=0.9, zorder=2.5, label=name)
    ax.plot(x, seen, color=INK, marker="o", ms=3, zorder=3, label="observed % below LLOQ")
    ax.set_ylim(-4, 104)


def _observations(ax: Axes, own: xr.Dataset) -> None:
    """Observations, those beyond a limit as triangles at it."""
    time, dv = own["time"].to_numpy(), own["dv"].to_numpy()
    side = own["cens"].to_numpy() if "cens" in own else np.zeros(len(dv))
    look: dict[str, Any] = {"ms": 3.2, "mfc": "none", "mec": GREY, "mew": 0.7, "alpha": 0.75, "zorder": 2}
    ax.plot(time[side == 0], dv[side == 0], "o", label="observations", **look)
    draw_beyond(ax, time, dv, side, size=3.5)


def _panel(ax: Axes, one: xr.Dataset, floor: float) -> None:
    """Intervals and lines of every percentile; what lies below `floor` is drawn at it."""
    x, quantiles = one["middle"].to_numpy(), one["quantile"].to_numpy()
    lower, upper, simulated, observed = (
        np.maximum(one[name].to_numpy(), floor) for name in ("lower", "upper", "simulated", "observed")
    )
    central = int(np.argmin(np.abs(quantiles - 0.5)))
    names = {True: percent(quantiles[[central]]), False: percent(np.delete(quantiles, central))}
    for q, colour in enumerate(colours(len(quantiles), central)):
        middle = q == central
        named = middle or q == (1 if central == 0 else 0)
        name = f"simulated {100 * quantiles[q]:g} %: interval and median"
        draw_band(ax, one, lower[:, q], upper[:, q], colour, name)
        ax.plot(x, simulated[:, q], color=colour, lw=0.9, zorder=2.5, label=name)
        look: dict[str, Any] = {
            "color": INK,
            "ls": "-" if middle else "--",
            "marker": "o" if len(x) < 3 else None,
            "ms": 4,
        }
        ax.plot(x, observed[:, q], zorder=3, label=f"observed {names[middle]}" if named else None, **look)
    edges = np.unique(np.r_[one["left"].to_numpy(), one["right"].to_numpy()])
    ax.plot(
        edges, np.ones_like(edges), "|", color=GREY, ms=5, transform=ax.get_xaxis_transform(), clip_on=False
    )


def colours(n: int, central: int) -> list[str]:
    """A colour for each of `n` percentiles; that of the central one is the same in every figure."""
    others = cycle(OTHERS)
    return [VERMILLION if q == central else next(others) for q in range(n)]


def percent(quantiles: np.ndarray) -> str:
    """Return percentiles in words: ``median``, ``5 %, 95 %``."""
    return "median" if quantiles.tolist() == [0.5] else ", ".join(f"{100 * q:g} %" for q in quantiles)


def _scale(ax: Axes, checked: xr.Dataset, log: bool, points: bool) -> tuple[int, float]:
    """Scale of the shared axis; how many observations a logarithmic one leaves out, and its lower end."""
    dv = checked["dv"].to_numpy()[checked["bin_of"].to_numpy() >= 0]
    upper = checked["upper"].to_numpy().ravel()
    shown = dv if points else checked["observed"].to_numpy().ravel()
    if log:
        least = np.nanmin(shown, where=shown > 0, initial=np.inf)
        hidden = on_log(ax, "y", np.r_[shown, upper[upper >= least]])
        return (hidden if points else 0), ax.get_ylim()[0]
    low = np.nanmin(np.r_[0.0, checked["lower"].to_numpy().ravel(), shown])
    high = np.nanmax(np.r_[upper, shown])
    ax.set_ylim(low - 0.03 * (high - low), high + 0.05 * (high - low))
    return 0, -np.inf


def _observed_label(attrs: dict[str, Any], unit: str) -> str:
    return label("Prediction-corrected observed" if attrs["pred_corr"] else "Observed", unit)


def _title(attrs: dict[str, Any]) -> str:
    name = NAMES[attrs["group"]]
    name = f"prediction-corrected {name}" if attrs["pred_corr"] else name
    return name[0].upper() + name[1:]


def _bands(attrs: dict[str, Any]) -> str:
    """Say what the bands are."""
    return (
        f"Bands: {100 * attrs['interval']:g} % intervals over {attrs['n_replicate']} simulated studies"
        f"{SUBJECTS[attrs['etas']]}"
    )


def _note(attrs: dict[str, Any], hidden: int) -> str:
    """Say what the bands are, and what is not as it seems."""
    words = [f"{_bands(attrs)}; ticks on top: edges of the bins."]
    if attrs["n_uncorrected"]:
        words.append(f"{attrs['n_uncorrected']} observations with a prediction of 0 are not corrected.")
    if hidden:
        words.append(f"{hidden} observations of 0 or less are not shown.")
    return "\n".join(words)
