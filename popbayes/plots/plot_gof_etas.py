"""Pictures of the random effects of a fit; drawn by `plot_gof`."""

from collections.abc import Callable

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from popbayes.plots.gof_panels import REFERENCE, draw_smooth, points, quantiles
from popbayes.plots.style import BLUE, GREY, INK, VERMILLION, label_of, legend_of, picture


def draw_etas(fitted: xr.Dataset) -> Figure:
    """A row for each random effect: distribution, quantiles, and the estimates against each covariate."""
    names = [str(name) for name in fitted.data_vars if str(name).startswith("eta_")]
    if not names:
        raise ValueError("The model has no random effects to draw.")
    first = np.unique(fitted["subject"].to_numpy(), return_index=True)[1]
    by_subject = fitted.isel(obs=np.sort(first))
    covariates = [str(name) for name in fitted.data_vars if "covariate" in fitted[name].attrs]
    columns = 2 + len(covariates)
    figure = picture(min(2.9 * columns, 14.0), 0.5 + 2.5 * len(names))
    axes = figure.subplots(len(names), columns, squeeze=False)
    for row, name in enumerate(names):
        eta, omega = by_subject[name].to_numpy(), float(by_subject[name].attrs["omega"])
        _histogram(axes[row, 0], eta, omega, name)
        if omega > 0:
            quantiles(axes[row, 1], eta / omega, f"{name} / omega", "subject")
        else:
            axes[row, 1].set_visible(False)
        for column, covariate in enumerate(covariates):
            _against(axes[row, 2 + column], by_subject[covariate], eta, name)
    legend_of(figure, "outside lower left", ncols=2 if columns < 3 else 5)
    kind = "conditional modes" if fitted.attrs["estimate"] else "posterior means"
    figure.suptitle(f"Random effects: {kind} of the subjects", x=0.01, ha="left")
    return figure


def _histogram(ax: Axes, eta: np.ndarray, omega: float, name: str) -> None:
    """Estimates over subjects, beside the normal distribution that they are drawn from."""
    bins = max(6, int(np.ceil(np.sqrt(2 * len(eta)))))
    ax.hist(eta, bins=bins, density=True, color=BLUE, alpha=0.35, edgecolor="white", lw=0.6)
    ax.plot(eta, np.zeros_like(eta), "|", color=INK, ms=7, mew=0.8, label="subject (tick)")
    if omega > 0:
        reach = max(3 * omega, 1.1 * np.abs(eta).max())
        grid = np.linspace(-reach, reach, 200)
        ax.plot(grid, stats.norm.pdf(grid, 0, omega), color=VERMILLION, label="normal, SD omega")
        shrunk = 100 * (1 - eta.std(ddof=1) / omega) if len(eta) > 1 else np.nan
        ax.set_title(f"shrinkage {shrunk:.0f} %", fontsize=8.5, fontweight="normal")
    ax.axvline(0, color=GREY, lw=0.8, label=REFERENCE)
    ax.set_xlabel(name)
    ax.set_ylabel("Density")


def _against(ax: Axes, covariate: xr.DataArray, eta: np.ndarray, name: str) -> None:
    """Estimates against a covariate: a smooth over numbers, one column of points for each text."""
    values = covariate.to_numpy()
    ax.axhline(0, color=GREY, lw=1.0, zorder=1, label=REFERENCE)
    draw: Callable[[Axes, np.ndarray, np.ndarray], None] = _over_numbers
    if values.dtype.kind not in "iuf" or len(np.unique(values[~_missing(values)])) <= 4:
        draw = _over_levels
    draw(ax, values, eta)
    ax.set_xlabel(label_of(covariate))
    ax.set_ylabel(name)


def _missing(values: np.ndarray) -> np.ndarray:
    return np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), dtype=bool)


def _over_numbers(ax: Axes, values: np.ndarray, eta: np.ndarray) -> None:
    points(ax, values, eta, "subject")
    draw_smooth(ax, values.astype(float), eta, span=0.9)


def _over_levels(ax: Axes, values: np.ndarray, eta: np.ndarray) -> None:
    levels, index = np.unique(values, return_inverse=True)
    spread = 0.16 * np.sin(7.0 * np.arange(len(eta)))
    points(ax, index + spread, eta, "subject")
    for k in range(len(levels)):
        middle = [np.median(eta[index == k])] * 2
        ax.plot([k - 0.28, k + 0.28], middle, color=VERMILLION, zorder=3, label="median of a level")
    ax.set_xticks(range(len(levels)), [f"{v:g}" if not isinstance(v, str) else v for v in levels])
    ax.set_xlim(-0.6, len(levels) - 0.4)
