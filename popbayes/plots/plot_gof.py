"""Pictures of goodness of fit: predictions, residuals and random effects."""

from collections.abc import Callable

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from popbayes.plots.smooth import smooth
from popbayes.plots.style import (
    BLUE,
    GREY,
    INK,
    NOUGHT,
    VERMILLION,
    expect,
    label_of,
    on_log,
    picture,
    styled,
)

FAR = 3.0
"""Weighted residual beyond which a point is named by its subject."""
MOST_NAMED = 8
USUAL = 1.96


@styled
def plot_gof(fitted: xr.Dataset, *, what: str = "fit") -> Figure:
    """Draw goodness of fit.

    Parameters
    ----------
    fitted : Dataset
        What `popbayes.gof` returned.
    what : {"fit", "eta"}
        ``"fit"``: observations against predictions, linear and logarithmic, with the line of identity and a
        smooth; individual weighted residuals (of an
        estimate: conditional ones, CWRES) against time, time after dose and population prediction, with a
        smooth and the lines at 0 and ±1.96; and their normal quantiles. ``"eta"``: for each random effect the
        distribution of its estimates over subjects, their normal quantiles, and the estimates against each
        covariate.

    Returns
    -------
    matplotlib Figure
    """
    expect(fitted, xr.Dataset, "iwres", "plot_gof", "gof")
    if what == "fit":
        return _fit(fitted)
    if what == "eta":
        return _etas(fitted)
    raise ValueError(f'what must be "fit" or "eta", not {what!r}.')


def _fit(fitted: xr.Dataset) -> Figure:
    figure = picture(12.0, 6.2)
    axes = figure.subplots(2, 4)
    for column, name in enumerate(("pred", "ipred")):
        _agreement(axes[0, column], fitted, name, log=False)
        _agreement(axes[0, column + 2], fitted, name, log=True)
    for column, name in enumerate(("time", "tad", "pred")):
        _residuals(axes[1, column], fitted, name)
    which = weighted(fitted)
    residuals = fitted[which].to_numpy()
    _quantiles(axes[1, 3], residuals, fitted[which].attrs["long_name"])
    figure.suptitle("Goodness of fit", x=0.01, ha="left")
    missing = int((~np.isfinite(residuals)).sum())
    if missing:
        _foot(
            figure, f"{missing} observations have no weighted residual (beyond a limit, or residual SD of 0)"
        )
    return figure


def weighted(fitted: xr.Dataset) -> str:
    """The residuals that are drawn: conditional ones of an estimate, individual ones of a fit."""
    return str(fitted.attrs.get("weighted", "iwres"))


def _agreement(ax: Axes, fitted: xr.Dataset, name: str, log: bool) -> None:
    """Observed against predicted: identity and smooth."""
    x, y = fitted[name].to_numpy(), fitted["dv"].to_numpy()
    shown = np.minimum(x, y) > NOUGHT * max(x.max(), y.max()) if log else np.isfinite(x)
    hidden = int((~shown).sum())
    x, y = x[shown], y[shown]
    both = np.r_[x, y, fitted["ipred" if name == "pred" else "pred"].to_numpy()[shown]]
    if log:
        on_log(ax, "x", both)
        on_log(ax, "y", both)
    else:
        low, high = min(0.0, np.nanmin(both)), np.nanmax(both)
        ax.set_xlim(low - 0.03 * (high - low), high + 0.05 * (high - low))
        ax.set_ylim(ax.get_xlim())
    ax.plot(ax.get_xlim(), ax.get_xlim(), color=GREY, lw=1.0, zorder=1)
    _points(ax, x, y)
    to, back = (np.log, np.exp) if log else (_same, _same)
    grid, curve = smooth(to(x), to(y))
    ax.plot(back(grid), back(curve), color=VERMILLION, zorder=3)
    ax.set_box_aspect(1)
    ax.set_xlabel(label_of(fitted[name]))
    ax.set_ylabel(label_of(fitted["dv"]))
    if hidden:
        ax.set_title(f"{hidden} of 0 or less not shown", fontsize=7.5, fontweight="normal", color=GREY)


def _same(values: np.ndarray) -> np.ndarray:
    return values


def _residuals(ax: Axes, fitted: xr.Dataset, name: str) -> None:
    """Weighted residuals against something, far ones named."""
    x, y = fitted[name].to_numpy(), fitted[weighted(fitted)].to_numpy()
    _zero_and_usual(ax)
    _points(ax, x, y)
    grid, curve = smooth(x, y)
    ax.plot(grid, curve, color=VERMILLION, zorder=3)
    known = np.isfinite(x) & np.isfinite(y)
    far = np.flatnonzero(known & (np.abs(y) > FAR))
    for i in far[np.argsort(-np.abs(y[far]), kind="stable")][:MOST_NAMED]:
        ax.annotate(
            str(fitted["subject"].to_numpy()[i]), (x[i], y[i]), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=7.5, color=INK,
        )  # fmt: skip
    ax.set_ylim(*_symmetric(y))
    ax.set_xlabel(label_of(fitted[name]))
    ax.set_ylabel(fitted[weighted(fitted)].attrs["long_name"])
    hidden = int((~known).sum())
    if hidden:
        ax.set_title(f"{hidden} not shown (no {label_of(fitted[name]).split(' (')[0].lower()})", fontsize=7.5,
                     fontweight="normal", color=GREY)  # fmt: skip


def _zero_and_usual(ax: Axes) -> None:
    ax.axhline(0, color=GREY, lw=1.0, zorder=1)
    for side in (-USUAL, USUAL):
        ax.axhline(side, color=GREY, lw=0.9, ls=(0, (4, 3)), zorder=1)


def _symmetric(y: np.ndarray) -> tuple[float, float]:
    reach = max(2.5, 1.08 * float(np.nanmax(np.abs(y), initial=0.0)))
    return -reach, reach


def _quantiles(ax: Axes, values: np.ndarray, name: str) -> None:
    """Quantiles of values against those of a standard normal."""
    values = np.sort(values[np.isfinite(values)])
    if len(values) == 0:
        ax.set_visible(False)
        return
    expected = stats.norm.ppf((np.arange(1, len(values) + 1) - 0.5) / len(values))
    reach = 1.08 * max(np.abs(values).max(), np.abs(expected).max(), 2.0)
    ax.plot([-reach, reach], [-reach, reach], color=GREY, lw=1.0, zorder=1)
    _points(ax, expected, values)
    ax.set_xlim(-reach, reach)
    ax.set_ylim(-reach, reach)
    ax.set_xlabel("Standard normal quantile")
    ax.set_ylabel(name)


def _points(ax: Axes, x: np.ndarray, y: np.ndarray) -> None:
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
    )


def _etas(fitted: xr.Dataset) -> Figure:
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
            _quantiles(axes[row, 1], eta / omega, f"{name} / omega")
        else:
            axes[row, 1].set_visible(False)
        for column, covariate in enumerate(covariates):
            _against(axes[row, 2 + column], by_subject[covariate], eta, name)
    figure.suptitle("Random effects: posterior means of the subjects", x=0.01, ha="left")
    return figure


def _histogram(ax: Axes, eta: np.ndarray, omega: float, name: str) -> None:
    """Estimates over subjects, beside the normal distribution that they are drawn from."""
    bins = max(6, int(np.ceil(np.sqrt(2 * len(eta)))))
    ax.hist(eta, bins=bins, density=True, color=BLUE, alpha=0.35, edgecolor="white", lw=0.6)
    ax.plot(eta, np.zeros_like(eta), "|", color=INK, ms=7, mew=0.8)
    if omega > 0:
        reach = max(3 * omega, 1.1 * np.abs(eta).max())
        grid = np.linspace(-reach, reach, 200)
        ax.plot(grid, stats.norm.pdf(grid, 0, omega), color=VERMILLION)
        shrunk = 100 * (1 - eta.std(ddof=1) / omega) if len(eta) > 1 else np.nan
        ax.set_title(f"shrinkage {shrunk:.0f} %", fontsize=8.5, fontweight="normal")
    ax.axvline(0, color=GREY, lw=0.8)
    ax.set_xlabel(name)
    ax.set_ylabel("Density")


def _against(ax: Axes, covariate: xr.DataArray, eta: np.ndarray, name: str) -> None:
    """Estimates against a covariate: a smooth over numbers, one column of points for each text."""
    values = covariate.to_numpy()
    ax.axhline(0, color=GREY, lw=1.0, zorder=1)
    draw: Callable[[Axes, np.ndarray, np.ndarray], None] = _over_numbers
    if values.dtype.kind not in "iuf" or len(np.unique(values[~_missing(values)])) <= 4:
        draw = _over_levels
    draw(ax, values, eta)
    ax.set_xlabel(label_of(covariate))
    ax.set_ylabel(name)


def _missing(values: np.ndarray) -> np.ndarray:
    return np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), dtype=bool)


def _over_numbers(ax: Axes, values: np.ndarray, eta: np.ndarray) -> None:
    _points(ax, values, eta)
    grid, curve = smooth(values.astype(float), eta, span=0.9)
    ax.plot(grid, curve, color=VERMILLION, zorder=3)


def _over_levels(ax: Axes, values: np.ndarray, eta: np.ndarray) -> None:
    levels, index = np.unique(values, return_inverse=True)
    spread = 0.16 * np.sin(7.0 * np.arange(len(eta)))
    _points(ax, index + spread, eta)
    for k in range(len(levels)):
        ax.plot([k - 0.28, k + 0.28], [np.median(eta[index == k])] * 2, color=VERMILLION, zorder=3)
    ax.set_xticks(range(len(levels)), [f"{v:g}" if not isinstance(v, str) else v for v in levels])
    ax.set_xlim(-0.6, len(levels) - 0.4)


def _foot(figure: Figure, words: str) -> None:
    figure.supxlabel(words, fontsize=7.5, color=GREY, x=0.01, ha="left")
