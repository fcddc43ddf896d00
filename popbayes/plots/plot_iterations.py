"""Picture of the iterations of an estimate: values and objective, with the change of phase marked."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from popbayes.dims import ITERATION, PARAMETER
from popbayes.plots.style import BLUE, GREY, INK, LIGHT, expect, legend_of, picture, styled

COLUMNS = 4
WIDE, TALL = 2.6, 1.9
"""Of a panel, in inches."""


@styled
def plot_iterations(iterations: xr.Dataset) -> Figure:
    """Draw every value and the objective against the iterations.

    The band is the estimate with one standard error to either side. Where the method is SAEM a dashed line
    marks where it begins to average. The legend names what is there.

    Parameters
    ----------
    iterations : Dataset
        The result of `popbayes.iterations`.

    Returns
    -------
    matplotlib Figure
    """
    expect(iterations, xr.Dataset, "objective", "plot_iterations", "iterations")
    labels = [str(one) for one in iterations[PARAMETER].to_numpy()]
    rows = -(-(len(labels) + 1) // COLUMNS)
    figure = picture(WIDE * min(COLUMNS, len(labels) + 1), 0.9 + TALL * rows)
    axes = figure.subplots(rows, min(COLUMNS, len(labels) + 1), squeeze=False, sharex=True).ravel()
    for ax, label in zip(axes, labels, strict=False):
        own = iterations.sel({PARAMETER: label})
        _panel(ax, iterations, own["value"].to_numpy(), label)
        estimate, se = float(own["estimate"]), float(own["se"])
        if np.isfinite(se):
            ax.axhspan(
                estimate - se, estimate + se, color=LIGHT, alpha=0.6, lw=0, zorder=0, label="estimate ± SE"
            )
        ax.axhline(estimate, color=GREY, lw=0.8, zorder=1, label="estimate")
    is_saem = iterations.attrs["smoothing_from"] < iterations.sizes[ITERATION]
    title = "-2 log p(y | eta)" if is_saem else "-2 log L"
    _panel(axes[len(labels)], iterations, iterations["objective"].to_numpy(), title)
    for ax in axes[len(labels) + 1 :]:
        ax.set_visible(False)
    for ax in axes[max(0, len(labels) + 1 - COLUMNS) : len(labels) + 1]:
        ax.set_xlabel("Iteration")
        ax.tick_params(labelbottom=True)
    legend_of(figure, "outside lower left", ncols=4 if len(labels) > 2 else 2)
    ended = "converged" if iterations.attrs["converged"] else "NOT converged"
    figure.suptitle(f"Iterations of {iterations.attrs['method']}: {ended}", x=0.01, ha="left")
    return figure


def _panel(ax: Axes, iterations: xr.Dataset, values: np.ndarray, title: str) -> None:
    number = iterations[ITERATION].to_numpy()
    ax.plot(number, values, color=BLUE, lw=1.0, label="value at the iteration")
    if iterations.attrs["smoothing_from"] < len(number):
        ax.axvline(iterations.attrs["smoothing_from"], color=INK, lw=0.8, ls="--", label="averaging begins")
    ax.set_title(title, color=INK)
