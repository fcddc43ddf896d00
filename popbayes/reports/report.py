"""One self-contained HTML page of a fit."""

import os
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import xarray as xr
from jinja2 import Environment, StrictUndefined

from popbayes.infer.tree import is_estimate, study_of
from popbayes.reports.sections import all_sections
from popbayes.simulation import simulate

TEMPLATE = "report.html.jinja"


def report(
    dt: xr.DataTree,
    path: str | os.PathLike[str],
    *,
    simulated: xr.DataTree | None = None,
    seed: int | None = None,
    title: str = "",
) -> Path:
    """Write the report of a fit: one HTML page that needs no other file and no network.

    What speaks against the fit comes first; then parameters, data, model, individual fits, goodness of fit,
    shrinkage, visual predictive checks, predictive accuracy, and how it was made.

    Parameters
    ----------
    dt : DataTree
        A fit.
    path : path
        The page to write; the folder is made if it is not there.
    simulated : DataTree, optional
        Replicates for the visual predictive checks, as `popbayes.simulate` returns them; made here otherwise:
        500 studies of new subjects from the posterior.
    seed : int, optional
        Of those; the fit's own if not given.
    title : str, optional
        Title of the page; made of the names of data and model otherwise.

    Returns
    -------
    Path
        Of the page.

    Examples
    --------
    >>> pb.report(pb.load("theophylline.nc"), "theophylline.html")  # doctest: +SKIP
    PosixPath('theophylline.html')
    """
    study = study_of(dt)
    if simulated is None:
        chosen = int(dt.attrs["seed"]) if seed is None else seed
        simulated = simulate(study.model, study.events, dt, seed=chosen)
    name = study.model.name or type(study.model.structural).__name__
    data = study.events.name or "unnamed data"
    counts = f"{study.events.n_subject} subjects, {study.events.n_obs} observations"
    kind = "population estimate" if is_estimate(dt) else "Bayesian population fit"
    page = (
        Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        .from_string((files("popbayes.reports") / TEMPLATE).read_text(encoding="utf-8"))
        .render(
            title=title or (f"{name}: {data}" if name != data else name),
            lead=f"{counts}; {kind}.",
            version=version("popbayes"),
            sections=all_sections(dt, simulated),
        )
    )
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page, encoding="utf-8")
    return target
