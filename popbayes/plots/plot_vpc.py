"""Picture of a visual predictive check."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from popbayes.plots.style import BLUE, GREY, INK, VERMILLION, label, on_log, picture, styled

NAMES = {
    "prior_predictive": "prior predictive check",
    "posterior_predictive": "visual predictive check",
    "predictions": "visual predictive check",
}
MOST_COLUMNS = 3


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
        One panel for each stratum.
    """
    n = checked.sizes["stratum"]
    columns = min(n, MOST_COLUMNS)
    rows = -(-n // columns)
    figure = picture(*((7.0, 4.6) if n == 1 else (3.6 * columns, 0.9 + 3.0 * rows)))
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for number, ax in enumerate(axes):
        if number >= n:
            ax.set_visible(False)
            continue
        one = checked.isel(stratum=number)
        one = one.sel(bin=np.isfinite(one["middle"]))
        inside = ((checked["stratum_of"] == number) & (checked["bin_of"] >= 0)).to_numpy()
        _panel(ax, one, checked["time"].to_numpy()[inside], checked["dv"].to_numpy()[inside], points)
        if n > 1:
            ax.set_title(str(one["stratum"].item()))
        if number % columns == 0:
            ax.set_ylabel(_observed_label(checked.attrs))
        if number + columns >= n:
            name = "Time" if checked.attrs["against"] == "time" else "Time after dose"
            ax.set_xlabel(label(name, checked.attrs["time_unit"]))
    hidden = _scale(axes[:n], checked, log, points)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4 if figure.get_figwidth() > 6 else 2)
    figure.suptitle(_title(checked.attrs), x=0.01, ha="left")
    _foot(figure, checked.attrs, hidden)
    return figure


def _panel(ax: Axes, one: xr.Dataset, time: np.ndarray, dv: np.ndarray, points: bool) -> None:
    x, quantiles = one["middle"].to_numpy(), one["quantile"].to_numpy()
    central = int(np.argmin(np.abs(quantiles - 0.5)))
    if points:
        ax.plot(
            time, dv, "o", ms=3.2, mfc="none", mec=GREY, mew=0.7, alpha=0.75, zorder=2, label="observations"
        )
    outer_named = False
    names = [percent(quantiles[[central]]), percent(np.delete(quantiles, central))]
    for q in range(len(quantiles)):
        middle = q == central
        named = middle or not outer_named
        name = names[0] if middle else names[1]
        colour = VERMILLION if middle else BLUE
        low, high = one["lower"].to_numpy()[:, q], one["upper"].to_numpy()[:, q]
        _band(ax, one, low, high, colour, f"simulated {name}" if named else None)
        ax.plot(x, one["simulated"].to_numpy()[:, q], color=colour, lw=0.8, alpha=0.8, zorder=2.5)
        ax.plot(
            x,
            one["observed"].to_numpy()[:, q],
            color=INK,
            ls="-" if middle else "--",
            marker="o" if len(x) < 3 else None,
            ms=4,
            zorder=3,
            label=f"observed {name}" if named else None,
        )
        outer_named = outer_named or not middle
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


def _scale(axes: Any, checked: xr.Dataset, log: bool, points: bool) -> int:
    """Scale of the shared axis; returns how many observations a logarithmic one leaves out."""
    if not log:
        shown = np.r_[checked["upper"].to_numpy().ravel(), checked["dv"].to_numpy() if points else []]
        low = np.nanmin(np.r_[0.0, checked["lower"].to_numpy().ravel(), checked["dv"].to_numpy()])
        high = np.nanmax(shown)
        axes[0].set_ylim(low - 0.03 * (high - low), high + 0.05 * (high - low))
        return 0
    dv = checked["dv"].to_numpy()[checked["bin_of"].to_numpy() >= 0]
    medians = checked["observed"].to_numpy().ravel()
    upper = checked["upper"].to_numpy().ravel()
    hidden = [
        on_log(ax, "y", np.r_[dv if points else medians, upper[upper >= np.nanmin(np.abs(dv))]])
        for ax in axes
    ]
    return hidden[0] if points else 0


def _observed_label(attrs: dict[str, Any]) -> str:
    return label("Prediction-corrected observed" if attrs["pred_corr"] else "Observed", attrs["dv_unit"])


def _title(attrs: dict[str, Any]) -> str:
    name = NAMES[attrs["group"]]
    name = f"prediction-corrected {name}" if attrs["pred_corr"] else name
    return name[0].upper() + name[1:]


def _foot(figure: Figure, attrs: dict[str, Any], hidden: int) -> None:
    """Say what the bands are, and what is not as it seems."""
    words = [
        f"Bands: {100 * attrs['interval']:g} % intervals over {attrs['n_replicate']} simulated studies; "
        "ticks on top: edges of the bins"
    ]
    if attrs["n_uncorrected"]:
        words.append(f"{attrs['n_uncorrected']} observations with a prediction of 0 are not corrected")
    if hidden:
        words.append(f"{hidden} observations of 0 or less are not shown")
    figure.supxlabel("\n".join(words), fontsize=7.5, color=GREY, x=0.01, ha="left")
