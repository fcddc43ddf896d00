"""Predicted curves of single subjects, between their samples too: what individual plots draw."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from popbayes.data.events import EventTable
from popbayes.engine.solve import evaluate
from popbayes.infer.pointwise import flat_draws, individual_theta
from popbayes.infer.tree import draws_or_estimate, study_of
from popbayes.model import PopModel
from popbayes.observation.endpoints import output_of
from popbayes.observation.stratified import Stratified
from popbayes.wording import listed

POINTS = 120
"""Points of a curve over a subject's whole time."""
MOST_DRAWS = 500
"""Posterior draws, evenly spaced, that a curve is computed from."""


def curves(
    dt: xr.DataTree,
    *,
    subjects: Sequence[Any] | None = None,
    interval: float = 0.9,
    endpoint: str | None = None,
) -> dict[Any, xr.Dataset]:
    """Individual and population predictions of some subjects along time.

    Parameters
    ----------
    dt : DataTree
        A fit, or an estimate.
    subjects : sequence of labels, optional
        Which ones; all of them.
    interval : float
        Probability of the band around the individual prediction (the uncertainty of the curve, without
        residual error).
    endpoint : str, optional
        What is predicted, of several endpoints; the first one that is measured.

    Returns
    -------
    label -> Dataset over `time`
        `ipred` and `pred` (posterior means; of an estimate, at the estimates and conditional modes), `lower`
        and `upper` (of an estimate the same as `ipred`: it has no band).
    """
    study = study_of(dt)
    endpoint = drawn_endpoint(study.model, endpoint)
    output = output_of(endpoint, study.model.observation.endpoints[endpoint])
    labels = study.events.subjects if subjects is None else list(subjects)
    part = study.events.subset(labels)
    dense = densified(part, study.model.covariate_rule)
    mine = np.isin(study.events.subjects, part.subjects)[study.design.segment_subject]
    draws = {name: thinned(values) for name, values in flat_draws(draws_or_estimate(dt)).items()}
    own = individual_theta(study, draws)
    typical = study.model.individual_parameters(draws, None, study.design, np)
    design = study.model.design(dense)
    ipred, pred = (
        evaluate(study.model.structural, design, {k: _of(v, mine) for k, v in theta.items()}, output)
        for theta in (own, typical)
    )
    low, high = np.quantile(ipred, ((1 - interval) / 2, (1 + interval) / 2), axis=0)
    values = {"ipred": ipred.mean(axis=0), "pred": pred.mean(axis=0), "lower": low, "upper": high}
    found = {}
    for i, label in enumerate(dense.subjects.tolist()):
        rows = dense.obs_subject == i
        found[label] = xr.Dataset(
            {name: ("time", v[rows]) for name, v in values.items()}, coords={"time": dense.obs_time[rows]}
        )
    return found


def measured_endpoints(model: PopModel) -> tuple[str, ...]:
    """Endpoints whose observations scatter around the output that they observe: no categories, no events."""
    return tuple(
        name
        for name, law in model.observation.endpoints.items()
        if isinstance(law, Stratified)
        or (law.uses_prediction and not law.categorical and getattr(law, "slope", None) is None)
    )


def drawn_endpoint(model: PopModel, endpoint: str | None) -> str:
    """The endpoint that is asked for, or the first that can be drawn.

    Raises
    ------
    ValueError
        For another name, or one whose observations do not scatter around an output.
    """
    known = measured_endpoints(model)
    if endpoint is None and known:
        return known[0]
    if endpoint not in known:
        asked = f"{endpoint!r} is not one of them" if endpoint else "there are none"
        raise ValueError(
            f"Curves are drawn of endpoints that are measured ({listed(known) or 'none'}): {asked}. "
            "See vpc(..., endpoint=...) for categories and events."
        )
    return endpoint


def thinned(values: np.ndarray) -> np.ndarray:
    """At most `MOST_DRAWS` evenly spaced draws; `values` is led by the draws."""
    return values[np.unique(np.linspace(0, len(values) - 1, MOST_DRAWS).astype(int))]


def _of(values: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Parameter values of some segments; one value for all stays as it is."""
    return values if np.shape(values)[-1:] in ((), (1,)) else values[..., segments]


def densified(events: EventTable, covariate_rule: str = "nocb") -> EventTable:
    """Return a table with samples all along each subject's time, and none at the original ones.

    The new samples in a gap between two records come after the first of them and before the second, at both
    their times too, so that a jump at a dose is seen from both sides; covariates and occasions are those
    of the record that ends the gap ("nocb") or begins it ("locf"). The original records stay, so that the
    parameter segments are the same.
    """
    source, new_time = [], []
    for k in range(events.n_record):
        gap = _gap(events, k)
        source += [k] * (len(gap) + 1)
        new_time += [*gap, np.nan]
    index, time = np.array(source), np.array(new_time)
    added = np.isfinite(time)
    held = index - added if covariate_rule == "locf" else index
    columns = {
        "record_subject": events.record_subject[index],
        "row": events.row[index],
        "time": np.where(added, time, events.time[index]),
        "dv": np.full(len(index), np.nan),
        "evid": np.where(added, 0, np.where(events.is_obs[index], 2, events.evid[index])),
        "mdv": np.where(added, 0, 1),
        "dvid": np.where(added, 1, events.dvid[index]),
        "cmt": np.where(added, "", events.cmt[index]),
        "occ": None if events.occ is None else events.occ[held],
        "limit": np.full(len(index), np.nan),
        "lloq": np.full(len(index), np.nan),
        "covariates": {name: values[held] for name, values in events.covariates.items()},
    }
    for name in ("amt", "rate", "ii", "addl", "ss", "cens"):
        columns[name] = np.where(
            added, np.zeros_like(getattr(events, name)[index]), getattr(events, name)[index]
        )
    return replace(events, **columns)


def _gap(events: EventTable, k: int) -> np.ndarray:
    """Times of the new samples between record k - 1 and record k, both ends included."""
    if k == 0 or events.record_subject[k] != events.record_subject[k - 1]:
        return np.array([])
    start, end = events.time[k - 1], events.time[k]
    if end <= start:
        return np.array([])
    mine = events.record_subject == events.record_subject[k]
    span = np.ptp(events.time[mine])
    count = max(2, int(np.ceil(POINTS * (end - start) / span)) + 1)
    return np.unique(np.r_[np.linspace(start, end, count), _additional(events, mine, start, end)])


def _additional(events: EventTable, mine: np.ndarray, start: float, end: float) -> np.ndarray:
    """Times of additional doses between two times, each with one just before it."""
    times = [
        events.time[k] + np.arange(1, events.addl[k] + 1) * events.ii[k]
        for k in np.flatnonzero(mine & events.is_dose & (events.addl > 0))
    ]
    inside = np.concatenate([t[(t > start) & (t < end)] for t in times]) if times else np.array([])
    return np.r_[inside, inside - 1e-9 * (end - start)]
