"""Pictures of individual fits, twelve subjects a page."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from popbayes.diagnostics.curves import curves, drawn_endpoint
from popbayes.diagnostics.gof import of_endpoint
from popbayes.diagnostics.limits import beyond_limits
from popbayes.dims import OBS
from popbayes.infer.tree import Study, is_estimate, study_of
from popbayes.plots.limits import draw_beyond
from popbayes.plots.style import (
    BLUE,
    GREY,
    INK,
    VERMILLION,
    expect,
    label,
    legend_of,
    on_log,
    picture,
    styled,
)

PER_PAGE = 12
COLUMNS = 4


def n_pages(dt: xr.DataTree) -> int:
    """Return the number of pages that the subjects of a fit fill."""
    return -(-study_of(dt).events.n_subject // PER_PAGE)


@styled
def plot_individual(
    dt: xr.DataTree,
    *,
    page: int = 1,
    subjects: Sequence[Any] | None = None,
    interval: float = 0.9,
    log: bool = False,
    endpoint: str | None = None,
) -> Figure:
    """Draw the observations of each subject with the predicted curves.

    Points are observations, hollow triangles those that are known only to lie below or above a limit (at a
    dotted line). The solid line is the individual prediction with its band (the uncertainty of the curve,
    without residual error), the dashed one the population prediction at the subject's covariates. An estimate
    has no band.

    Parameters
    ----------
    dt : DataTree
        A fit, or an estimate.
    page : int
        Which twelve subjects, from 1.
    subjects : sequence of labels, optional
        These subjects instead; at most twelve are drawn on a page.
    interval : float
        Probability of the band.
    log : bool
        Logarithmic axis of the observations.
    endpoint : str, optional
        Which endpoint, of several; the first one that is measured.

    Returns
    -------
    matplotlib Figure
    """
    expect(dt, xr.DataTree, "", "plot_individual", "fit")
    study = study_of(dt)
    events, name = study.events, drawn_endpoint(study.model, endpoint)
    several, units = len(study.model.observation.endpoints) > 1, study.model.observation.units(study.events)
    if subjects is not None:
        events = events.subset(subjects)
    pages = -(-events.n_subject // PER_PAGE)
    if page not in range(1, pages + 1):
        raise ValueError(f"There are {pages} pages of {PER_PAGE} subjects; page {page!r} is not one of them.")
    labels = events.subjects[PER_PAGE * (page - 1) : PER_PAGE * page].tolist()
    columns = COLUMNS if len(labels) > 6 or len(labels) == 4 else min(3, len(labels))
    rows = -(-len(labels) // columns)
    figure = picture(max(4.8, 2.7 * columns), 1.1 + 2.15 * rows)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    found = curves(dt, subjects=labels, interval=interval, endpoint=name)
    seen, band = _seen(study, name), "" if is_estimate(dt) else f"{100 * interval:g} % band"
    for number, subject in enumerate(labels):
        _observations(axes[number], seen.isel(obs=(seen["subject"] == subject).to_numpy()))
        _curves(axes[number], found[subject], band)
        axes[number].set_title(f"Subject {subject}")
    for ax in axes[len(labels) :]:
        ax.set_visible(False)
    for ax in axes[max(0, len(labels) - columns) : len(labels)]:
        ax.xaxis.set_tick_params(labelbottom=True)
    shown = seen["dv"].to_numpy()[np.isin(seen["subject"].to_numpy(), labels)]
    hidden = _scale(axes[0], shown, found, log)
    if hidden:
        words = f"{hidden} observations of 0 or less are not shown"
        figure.text(0.99, 0.005, words, ha="right", fontsize=7.5, color=GREY)
    figure.supxlabel(label("Time", events.units.get("TIME", "")), fontsize=10)
    figure.supylabel(label("Observed and predicted", units.get(name, "")), fontsize=10)
    legend_of(figure, "outside upper right", ncols=7 if columns > 3 else 3)
    where = f", page {page} of {pages}" if pages > 1 else ""
    figure.suptitle(f"Individual fits{f', {name}' if several else ''}{where}", x=0.01, ha="left")
    return figure


def _seen(study: Study, endpoint: str) -> xr.Dataset:
    """The observations of one endpoint; those beyond a limit are at it, and have a side."""
    events, (side, limit) = study.events, beyond_limits(study)
    columns = {
        "subject": events.subjects[events.obs_subject],
        "time": events.obs_time,
        "dv": np.where(side != 0, limit, events.obs_dv),
        "side": side,
    }
    seen = xr.Dataset({name: (OBS, values) for name, values in columns.items()})
    return seen.isel({OBS: of_endpoint(study, endpoint)})


def _curves(ax: Axes, curve: xr.Dataset, band: str) -> None:
    """Predictions of one subject; without a name for the band there is none."""
    time = curve["time"].to_numpy()
    ax.plot(time, curve["ipred"].to_numpy(), color=BLUE, zorder=2.1, label="individual")
    if band:
        low, high = curve["lower"].to_numpy(), curve["upper"].to_numpy()
        ax.fill_between(time, low, high, color=BLUE, alpha=0.22, lw=0, label=band)
    ax.plot(time, curve["pred"].to_numpy(), color=VERMILLION, ls=(0, (4, 2)), lw=1.3, label="population")


def _observations(ax: Axes, mine: xr.Dataset) -> None:
    """Observations of one subject, those beyond a limit at it, and a line at each such limit."""
    time, dv, side = (mine[name].to_numpy() for name in ("time", "dv", "side"))
    look: dict[str, Any] = {"ms": 4, "mfc": "white", "mec": INK, "mew": 0.9, "zorder": 3}
    ax.plot(time[side == 0], dv[side == 0], "o", label="observed", **look)
    draw_beyond(ax, time, dv, side)
    for limit in np.unique(dv[side != 0]):
        ax.axhline(limit, color=GREY, lw=1.0, ls=":", zorder=1, label="limit")


def _scale(ax: Axes, dv: np.ndarray, found: dict[Any, xr.Dataset], log: bool) -> int:
    """Scale of the shared axis; a logarithmic one goes down to the smallest observation."""
    upper = np.concatenate([one["upper"].to_numpy() for one in found.values()])
    pred = np.concatenate([one["pred"].to_numpy() for one in found.values()])
    if not log:
        low, high = min(0.0, float(np.nanmin(dv))), float(np.nanmax(np.r_[dv, upper, pred]))
        ax.set_ylim(low - 0.04 * (high - low), high + 0.06 * (high - low))
        return 0
    return on_log(ax, "y", np.r_[dv, upper[upper > np.nanmin(dv, where=dv > 0, initial=np.inf)]])
