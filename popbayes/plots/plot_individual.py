"""Pictures of individual fits, twelve subjects a page."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from popbayes.data.events import EventTable
from popbayes.diagnostics.curves import curves, drawn_endpoint
from popbayes.infer.tree import study_of
from popbayes.plots.style import BLUE, GREY, INK, VERMILLION, expect, label, on_log, picture, styled

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

    Points are observations, the solid line is the individual prediction with its band (the uncertainty of the
    curve, without residual error), the dashed one the population prediction at the subject's covariates.

    Parameters
    ----------
    dt : DataTree
        A fit.
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
    several = len(study.model.observation.endpoints) > 1
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
    own = study.model.observation.endpoint_of
    events = _of_endpoint(events, [number for number, one in own.items() if one == name] if several else None)
    for number, subject in enumerate(labels):
        _panel(axes[number], events, subject, found[subject], interval)
    for ax in axes[len(labels) :]:
        ax.set_visible(False)
    for ax in axes[max(0, len(labels) - columns) : len(labels)]:
        ax.xaxis.set_tick_params(labelbottom=True)
    hidden = _scale(axes[0], events.subset(labels), found, log)
    if hidden:
        words = f"{hidden} observations of 0 or less are not shown"
        figure.text(0.99, 0.005, words, ha="right", fontsize=7.5, color=GREY)
    figure.supxlabel(label("Time", events.units.get("TIME", "")), fontsize=10)
    figure.supylabel(label("Observed and predicted", events.units.get("DV", "")), fontsize=10)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles[::-1], names[::-1], loc="outside upper right", ncols=4 if columns > 2 else 2)
    where = f", page {page} of {pages}" if pages > 1 else ""
    figure.suptitle(f"Individual fits{f', {name}' if several else ''}{where}", x=0.01, ha="left")
    return figure


def _of_endpoint(events: EventTable, dvid: list[int] | None) -> EventTable:
    """The table with observations of some DVID only; as it is for None."""
    if dvid is None:
        return events
    other = events.is_obs & ~np.isin(events.dvid, dvid)
    return replace(events, evid=np.where(other, 2, events.evid), mdv=np.where(other, 1, events.mdv))


def _panel(ax: Axes, events: EventTable, subject: Any, curve: xr.Dataset, interval: float) -> None:
    mine = events.subjects[events.obs_subject] == subject
    time = curve["time"].to_numpy()
    ax.fill_between(
        time, curve["lower"].to_numpy(), curve["upper"].to_numpy(), color=BLUE, alpha=0.22, lw=0,
        label=f"{100 * interval:g} % band",
    )  # fmt: skip
    ax.plot(time, curve["pred"].to_numpy(), color=VERMILLION, ls=(0, (4, 2)), lw=1.3, label="population")
    ax.plot(time, curve["ipred"].to_numpy(), color=BLUE, label="individual")
    ax.plot(
        events.obs_time[mine],
        events.obs_dv[mine],
        "o",
        ms=4,
        mfc="white",
        mec=INK,
        mew=0.9,
        zorder=3,
        label="observed",
    )
    ax.set_title(f"Subject {subject}")


def _scale(ax: Axes, events: EventTable, found: dict[Any, xr.Dataset], log: bool) -> int:
    """Scale of the shared axis; a logarithmic one goes down to the smallest observation."""
    upper = np.concatenate([one["upper"].to_numpy() for one in found.values()])
    pred = np.concatenate([one["pred"].to_numpy() for one in found.values()])
    dv = events.obs_dv
    if not log:
        low, high = min(0.0, float(np.nanmin(dv))), float(np.nanmax(np.r_[dv, upper, pred]))
        ax.set_ylim(low - 0.04 * (high - low), high + 0.06 * (high - low))
        return 0
    return on_log(ax, "y", np.r_[dv, upper[upper > np.nanmin(dv, where=dv > 0, initial=np.inf)]])
