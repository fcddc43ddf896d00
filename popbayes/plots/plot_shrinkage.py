"""Picture of shrinkage: how far each subject's estimate is its own."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import norm

from popbayes.diagnostics.shrinkage import in_words, shrinkage
from popbayes.dims import CHAIN, DRAW, ETA, ETA_OF, OMEGA, SUBJECT
from popbayes.infer.tree import draws_or_estimate, is_estimate
from popbayes.plots.style import BLUE, GREY, INK, LIGHT, ORANGE, expect, picture, styled

N_QUANTILES = 999
"""Of the normal that stands for a conditional distribution."""
MOST_LABELLED = 40
"""Subjects up to which each is named on the axis."""


@styled
def plot_shrinkage(dt: xr.DataTree, *, interval: float = 0.9) -> Figure:
    """Draw the random effects of the subjects, and the shrinkage of each.

    Left: shrinkage (SD scale) and pooling factor. Right, for each random effect: posterior mean and interval
    of every subject, in order, over the band that holds the same share of the population (at the posterior
    mean of omega). Of an estimate they are the conditional mode and the normal interval of its conditional
    SD, and there is no pooling factor. Where the data say little, estimates gather at 0 and every interval is
    as wide as the band.

    Parameters
    ----------
    dt : DataTree
        A fit, or an estimate.
    interval : float
        Probability of the intervals and of the band.

    Returns
    -------
    matplotlib Figure
    """
    expect(dt, xr.DataTree, "", "plot_shrinkage", "fit")
    draws = _normal_draws(dt) if is_estimate(dt) else draws_or_estimate(dt)
    if ETA not in draws:
        raise ValueError("The model has no random effects: nothing can be shrunk.")
    names = [str(name) for name in draws[ETA_OF].to_numpy()]
    n = draws.sizes[SUBJECT]
    tall = max(3.2, 0.9 + 0.16 * n) if n <= MOST_LABELLED else 4.6
    figure = picture(3.0 + 2.5 * min(len(names), 4), tall * -(-len(names) // 4))
    left, right = figure.subfigures(1, 2, width_ratios=[2.4, 2.4 * min(len(names), 4)])  # type: ignore[misc]
    _bars(left.subplots(), dt)
    axes = right.subplots(-(-len(names) // 4), min(len(names), 4), squeeze=False).ravel()
    for number, ax in enumerate(axes):
        if number < len(names):
            _subjects(ax, draws, names[number], interval)
        else:
            ax.set_visible(False)
    figure.suptitle("Shrinkage of the random effects", x=0.01, ha="left")
    share = f"{100 * interval:g} %"
    what = f"posterior mean and {share} interval"
    if is_estimate(dt):
        what = f"conditional mode and normal {share} interval (by the conditional SD)"
    figure.supxlabel(
        f"Points and lines: {what} of each subject; grey band: {share} of the population",
        fontsize=7.5, color=GREY, x=0.01, ha="left",
    )  # fmt: skip
    return figure


def _bars(ax: Axes, dt: xr.DataTree) -> None:
    table = shrinkage(dt)
    place = np.arange(len(table))[::-1]
    ax.axvline(0, color=GREY, lw=0.8)
    both = bool(table["pooling"].notna().any())  # point estimates have no pooling factor
    for column, shift, colour, name in (
        ("shrinkage", 0.17 if both else 0.0, BLUE, "shrinkage (SD)"),
        ("pooling", -0.17, ORANGE, "pooling factor"),
    )[: 1 + both]:
        percent = 100 * table[column].to_numpy()
        ax.barh(place + shift, percent, height=0.3, color=colour, label=name)
        for y, value in zip(place + shift, percent, strict=True):
            if np.isfinite(value):
                ax.annotate(f"{value:.0f}", (max(value, 0), y), xytext=(3, 0), textcoords="offset points",
                            va="center", fontsize=8)  # fmt: skip
    ax.set_yticks(place, [in_words(str(name)) for name in table.index])
    finite = 100 * table[["shrinkage", "pooling"]].to_numpy()
    ax.set_xlim(min(0.0, np.nanmin(finite, initial=0.0)), 100)
    ax.set_xlabel("%")
    ax.legend(loc="lower left", bbox_to_anchor=(-0.05, 1.0), fontsize=8, ncols=1, borderaxespad=0)


def _subjects(ax: Axes, draws: xr.Dataset, name: str, interval: float) -> None:
    eta = draws[ETA].sel({ETA_OF: name}).transpose(CHAIN, DRAW, SUBJECT)
    labels = eta[SUBJECT].to_numpy()
    values = eta.to_numpy().reshape(-1, len(labels))
    tails = ((1 - interval) / 2, (1 + interval) / 2)
    low, high = np.quantile(values, tails, axis=0)
    mean = values.mean(axis=0)
    order = np.argsort(mean, kind="stable")
    place = np.arange(len(labels))
    omega = draws[OMEGA].sel({ETA_OF: name}).to_numpy().mean()
    reach = omega * norm.ppf((1 + interval) / 2)
    ax.axvspan(-reach, reach, color=LIGHT, alpha=0.6, lw=0, zorder=0)
    ax.axvline(0, color=GREY, lw=0.8, zorder=1)
    ax.hlines(place, low[order], high[order], color=BLUE, lw=1.4, alpha=0.8)
    ax.plot(mean[order], place, "o", ms=4, color=BLUE, mec="white", mew=0.4)
    if len(labels) <= MOST_LABELLED:
        ax.set_yticks(place, [str(one) for one in labels[order]], fontsize=7.5)
    else:
        ax.set_yticks([])
        ax.set_ylabel(f"{len(labels)} subjects in order")
    ax.set_title(f"eta of {name}", color=INK)
    ax.set_ylim(-0.7, len(labels) - 0.3)


def _normal_draws(dt: xr.DataTree) -> xr.Dataset:
    """Quantiles of the normal around each conditional mode, in place of draws."""
    draws, own = draws_or_estimate(dt), dt[ETA].to_dataset()
    if ETA not in draws:
        return draws
    places = xr.DataArray(norm.ppf((np.arange(N_QUANTILES) + 0.5) / N_QUANTILES), dims=DRAW)
    spread = own["mode"] + own["sd"] * places
    return draws.isel({DRAW: 0}).drop_vars([ETA, DRAW]).assign({ETA: spread.expand_dims(CHAIN)})
