"""Pictures of goodness of fit: predictions, residuals and random effects."""

import json

import numpy as np
import xarray as xr
from matplotlib.figure import Figure, SubFigure
from matplotlib.text import Annotation

from popbayes.plots.apart import keep_apart
from popbayes.plots.gof_panels import FAR, agreement, quantiles, residuals, weighted
from popbayes.plots.plot_gof_etas import draw_etas
from popbayes.plots.style import GREY, expect, legend_of, picture, styled


@styled
def plot_gof(fitted: xr.Dataset, *, what: str = "fit") -> Figure:
    """Draw goodness of fit.

    Parameters
    ----------
    fitted : Dataset
        What `popbayes.gof` returned.
    what : {"fit", "eta"}
        ``"fit"``, for each endpoint: observations against predictions, linear and logarithmic, with the line
        of identity and a smooth; weighted residuals (of an estimate: conditional ones, CWRES) against time,
        time after dose and population prediction, with a smooth and the lines at 0 and ±1.96; and their
        normal quantiles. Observations beyond a limit are triangles at it, and no part of smooths and
        quantiles. ``"eta"``: for each random effect the distribution of its estimates over subjects, their
        normal quantiles, and the estimates against each covariate.

    Returns
    -------
    matplotlib Figure
    """
    expect(fitted, xr.Dataset, "iwres", "plot_gof", "gof")
    if what == "fit":
        return _fit(fitted)
    if what == "eta":
        return draw_etas(fitted)
    raise ValueError(f'what must be "fit" or "eta", not {what!r}.')


def _fit(fitted: xr.Dataset) -> Figure:
    """Two rows of panels for each endpoint, in the order of the model."""
    parts = _by_endpoint(fitted)
    figure = picture(12.0, 0.4 + 5.8 * len(parts))
    labels: list[Annotation] = []
    if len(parts) == 1:
        ((name, only),) = parts.items()
        labels += _panels(figure, only)
        figure.suptitle(f"Goodness of fit{f': {name}' if name else ''}", x=0.01, ha="left")
    else:
        places = np.ravel(figure.subfigures(len(parts), 1))  # type: ignore[arg-type]
        for place, (name, part) in zip(places, parts.items(), strict=True):
            labels += _panels(place, part)
            place.suptitle(name, x=0.01, ha="left", fontsize=10)
        figure.suptitle("Goodness of fit", x=0.01, ha="left")
    legend_of(figure, "outside upper right", ncols=6)
    notes = _notes(fitted, parts, bool(labels))
    if notes:
        words = "; ".join(notes)
        figure.supxlabel(words[0].upper() + words[1:], fontsize=7.5, color=GREY, x=0.01, ha="left")
    keep_apart(figure, labels)
    return figure


def _by_endpoint(fitted: xr.Dataset) -> dict[str, xr.Dataset]:
    """Observations of each measured endpoint by name; all of them, without one, where there is one."""
    if "endpoint" not in fitted:
        return {"": fitted}
    of = fitted["endpoint"].to_numpy()
    units = json.loads(fitted["endpoint"].attrs["dv_units"])
    known = np.atleast_1d(fitted["endpoint"].attrs["measured"])  # a file gives a list of one back as text
    names = [str(name) for name in known if (of == name).any()]
    parts = {name: _in_unit(fitted.isel(obs=np.flatnonzero(of == name)), units[name]) for name in names}
    return parts or {"": fitted}


def _in_unit(part: xr.Dataset, unit: str) -> xr.Dataset:
    """The observations of one endpoint, whose unit is its own."""
    return part.assign(
        {name: part[name].assign_attrs(units=unit) for name in ("dv", "pred", "ipred", "ires")}
    )


def _panels(figure: Figure | SubFigure, fitted: xr.Dataset) -> list[Annotation]:
    """Draw the eight panels of one endpoint; return the labels of far residuals."""
    axes = figure.subplots(2, 4)
    for column, name in enumerate(("pred", "ipred")):
        agreement(axes[0, column], fitted, name, log=False)
        agreement(axes[0, column + 2], fitted, name, log=True)
    labels: list[Annotation] = []
    for column, name in enumerate(("time", "tad", "pred")):
        labels += residuals(axes[1, column], fitted, name)
    which = weighted(fitted)
    values = fitted[which].to_numpy()
    measured = fitted["cens"].to_numpy() == 0
    quantiles(axes[1, 3], values[measured], fitted[which].attrs["long_name"])
    return labels


def _notes(fitted: xr.Dataset, parts: dict[str, xr.Dataset], named: bool) -> list[str]:
    """What is not in the panels, and what their labels are."""
    residual = np.concatenate([part[weighted(part)].to_numpy() for part in parts.values()])
    beyond = np.concatenate([part["cens"].to_numpy() for part in parts.values()]) != 0
    none = ~np.isfinite(residual)
    why = {"beyond a limit": int((none & beyond).sum()), "residual SD of 0": int((none & ~beyond).sum())}
    notes = []
    if none.any():
        reasons = ", ".join(f"{reason}: {n}" for reason, n in why.items() if n)
        notes.append(f"{none.sum()} observations have no weighted residual ({reasons})")
    if (beyond & ~none).any():
        notes.append("triangles among residuals: of values put in the place of those beyond a limit")
    if named:
        notes.append(f"residuals beyond ±{FAR:g} have the label of their subject, where there is room")
    others = len(fitted["obs"]) - len(residual)
    if others:
        notes.append(f"{others} observations that do not scatter around a prediction are not drawn")
    return notes
