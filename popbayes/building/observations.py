"""What is refused before a likelihood is written: observations that their law cannot describe."""

import numpy as np

from popbayes.building.starts import design_for, initial_values, no_selection
from popbayes.data.complaints import say
from popbayes.data.events import EventTable
from popbayes.engine.solve import evaluate
from popbayes.model import PopModel
from popbayes.observation.observed import Observed, Part, quantification_limit, rows_in_words
from popbayes.observation.rows import BETWEEN, MEASURED


def check_observations(model: PopModel, data: EventTable) -> Observed:
    """Refuse observations that their residual errors cannot describe.

    Returns
    -------
    Observed
        The observations, each with its law.

    Raises
    ------
    ValueError
        With the rows concerned, why, and what to do.

    Warns
    -----
    UserWarning
        For measured values below their LLOQ, where the model does not say what to do with these.
    """
    if not data.has_dv:
        raise ValueError(
            "There are no observed values (DV) to build a likelihood on: this is a design. "
            "Use pb.simulate(model, data) for it, or pb.solve(structural, data, parameters)."
        )
    observed = Observed.of(model.observation, data)
    for part in observed.parts:
        which, rule, remedy = part.kind.law.complaint(part.rows)
        if np.any(which):
            bad = _of_all(part, which)
            law = f"{part.kind.law.namespace}.{part.kind.law.kind}"
            raise ValueError(
                f"{law} {rule}, but DV is {_values(data, bad)} in {rows_in_words(data, bad)}. {remedy}."
            )
    if any(part.kind.law.needs_positive_prediction for part in observed.parts):
        _check_predictions(model, data, observed)
    if model.censoring is None:
        _warn_below(data, observed)
    return observed


def _values(data: EventTable, which: np.ndarray) -> str:
    """The first few of some observed values."""
    return ", ".join(f"{value:g}" for value in data.obs_dv[which][:4])


def _of_all(part: Part, which: np.ndarray) -> np.ndarray:
    bad = np.zeros(part.n_obs, dtype=bool)
    bad[part.index[which]] = True
    return bad


def _warn_below(data: EventTable, observed: Observed) -> None:
    """Say that measurements below their LLOQ are taken as measured; an event (CENS 1) has no such limit."""
    limit = quantification_limit(data)
    for part in observed.parts:
        if part.kind.law.discrete:
            limit[part.index] = np.nan
    with np.errstate(invalid="ignore"):
        below = (data.cens[data.obs_record] == 0) & (data.obs_dv < limit)
    if below.any():
        say(
            f"{below.sum()} values are below their LLOQ but not marked as censored (CENS 1), and are taken "
            f"as measured: {rows_in_words(data, below)}. With censoring=censoring.M3() in the model they "
            "count as below the limit."
        )


def _check_predictions(model: PopModel, data: EventTable, observed: Observed) -> None:
    """Refuse predictions of zero, of a typical subject at the prior medians, where the error would vanish."""
    model = model.resolved(data)
    design = design_for(model, data)
    theta = model.individual_parameters(no_selection(model) | initial_values(model, data), None, design)
    prediction = evaluate(model.structural, design, theta, observed.output)
    for part in observed.parts:
        law, rows = part.kind.law, part.rows
        needs = (rows.state == MEASURED) | ((rows.state == BETWEEN) & np.isfinite(rows.floor))
        if not law.needs_positive_prediction or not np.any(needs & (prediction[part.index] <= 0)):
            continue
        bad = _of_all(part, needs & (prediction[part.index] <= 0))
        raise ValueError(
            f"residual.{law.kind} has no density where the prediction is 0, since its error "
            f"vanishes there; the model predicts 0 (as before the first dose) in "
            f"{rows_in_words(data, bad)}. Use residual.Combined, which has an additive part, or leave "
            "these records out."
        )
