"""Picture of a visual predictive check."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from popbayes.plots.plot_vpc_outcomes import draw_categories, draw_survival
from popbayes.plots.style import BLUE, GREY, INK, VERMILLION, expect, label, on_log, picture, styled

NAMES = {
    "prior_predictive": "prior predictive check",
    "posterior_predictive": "visual predictive check",
    "predictions": "visual predictive check",
}
SUBJECTS = {"new": " of new subjects", "own": " of the same subjects (own random effects)", "none": ""}
MOST_COLUMNS = 3
MOST_LIMITS = 4
"""Limits of quantification drawn as lines; more of them say nothing."""


@styled
def plot_vpc(checked: xr.Dataset, *, log: bool = False, points: bool = True) -> Figure:
    """Draw observed percentiles over the intervals of the simulated ones.

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
            _observations(ax, checked["time"].to_numpy()[inside], checked["dv"].to_numpy()[inside])
        _panel(ax, one, floor)
        if below:
            _limits(ax, checked, number)
            _fraction_below(under[number], one)
        if n > 1:
            ax.set_title(str(one["endpoint" if apart else "stratum"].item()))
        if number % columns == 0:
            ax.set_ylabel(_observed_label(checked.attrs))
            for lower in under[number : number + 1]:
                lower.set_ylabel("Below LLOQ (%)")
        if number + columns >= n:
            name = "Time" if checked.attrs["against"] == "time" else "Time after dose"
            last = under[number] if below else ax
            last.set_xlabel(label(name, checked.attrs["time_unit"]))
            last.xaxis.set_tick_params(labelbottom=True)
    handles, names = axes[0].get_legend_handles_labels()
    order = sorted(range(len(names)), key=lambda i: ("simulated" in names[i], names[i] != "observed median"))
    figure.legend(
        [handles[i] for i in order],
        [names[i] for i in order],
        loc="outside lower left",
        ncols=3 if columns < 3 else 5,
        title=_note(checked.attrs, hidden),
        title_fontproperties={"size": 7.5},
        alignment="left",
    )
    figure.suptitle(_title(checked.attrs), x=0.01, ha="left")
    return figure


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
    _band(ax, one, low, high, BLUE, None)
    ax.plot(x, middle, color=BLUE, lw=0.8, alpha=0.8, zorder=2.5)
    ax.plot(x, seen, color=INK, marker="o", ms=3, zorder=3)
    ax.set_ylim(-4, 104)


def _observations(ax: Axes, time: np.ndarray, dv: np.ndarray) -> None:
    ax.plot(time, dv, "o", ms=3.2, mfc="none", mec=GREY, mew=0.7, alpha=0.75, zorder=2, label="observations")


def _panel(ax: Axes, one: xr.Dataset, floor: float) -> None:
    """Intervals and lines of every percentile; what lies below `floor` is drawn at it."""
    x, quantiles = one["middle"].to_numpy(), one["quantile"].to_numpy()
    lower, upper, simulated, observed = (
        np.maximum(one[name].to_numpy(), floor) for name in ("lower", "upper", "simulated", "observed")
    )
    central = int(np.argmin(np.abs(quantiles - 0.5)))
    names = {True: percent(quantiles[[central]]), False: percent(np.delete(quantiles, central))}
    for q in range(len(quantiles)):
        middle = q == central
        named = middle or q == (1 if central == 0 else 0)
        colour, name = VERMILLION if middle else BLUE, names[middle]
        _band(ax, one, lower[:, q], upper[:, q], colour, f"simulated {name}" if named else None)
        ax.plot(x, simulated[:, q], color=colour, lw=0.8, alpha=0.8, zorder=2.5)
        look: dict[str, Any] = {
            "color": INK,
            "ls": "-" if middle else "--",
            "marker": "o" if len(x) < 3 else None,
            "ms": 4,
        }
        ax.plot(x, observed[:, q], zorder=3, label=f"observed {name}" if named else None, **look)
    edges = np.unique(np.r_[one["left"].to_numpy(), one["right"].to_numpy()])
    ax.plot(
        edges, np.ones_like(edges), "|", color=GREY, ms=5, transform=ax.get_xaxis_transform(), clip_on=False
    )


def percent(quantiles: np.ndarray) -> str:
    """Return percentiles in words: ``median``, ``5 %, 95 %``."""
    return "median" if quantiles.tolist() == [0.5] else ", ".join(f"{100 * q:g} %" for q in quantiles)


def _band(
    ax: Axes, one: xr.Dataset, low: np.ndarray, high: np.ndarray, colour: str, name: str | None
) -> None:
    """Interval of a percentile: along the middles of the bins, or over the bin where there is only one."""
    x = one["middle"].to_numpy()
    if len(x) == 1:
        x = np.array([one["left"].item(), one["right"].item()])
        if x[0] == x[1]:
            x = x + np.array([-0.5, 0.5])
        low, high = np.repeat(low, 2), np.repeat(high, 2)
    ax.fill_between(x, low, high, color=colour, alpha=0.22, lw=0, zorder=1, label=name)


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


def _observed_label(attrs: dict[str, Any]) -> str:
    return label("Prediction-corrected observed" if attrs["pred_corr"] else "Observed", attrs["dv_unit"])


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
