"""What is refused before a likelihood is written: observations that their law cannot describe."""

import numpy as np

from popbayes.building.starts import design_for, initial_values, no_selection
from popbayes.data.complaints import say
from popbayes.data.events import EventTable
from popbayes.engine.solve import evaluate
from popbayes.model import PopModel
from popbayes.observation.observed import Observed, Part, rows_in_words
from popbayes.observation.rows import BETWEEN, MEASURED
from popbayes.wording import listed


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
    _check_endpoints(data, observed)
    for part in observed.parts:
        which, rule, remedy = part.kind.law.complaint(part.rows)
        if np.any(which):
            bad = _of_all(part, which)
            law = f"{part.kind.law.namespace}.{part.kind.law.kind}"
            raise ValueError(
                f"{law} {rule}, but DV is {_values(data, bad)} in {rows_in_words(data, bad)}. {remedy}."
            )
    positive = any(part.kind.law.needs_positive_prediction for part in observed.parts)
    undosed = _undosed(data, observed)
    if positive or undosed.any():
        prediction = _typical_predictions(model, data, observed)
        _check_predictions(prediction, data, observed)
        _check_doses(prediction, undosed, data)
    if model.censoring is None:
        _warn_below(data, observed)
    return observed


def _check_endpoints(data: EventTable, observed: Observed) -> None:
    """Refuse a model of an endpoint that was never observed: its numbers may be among those of another."""
    model, seen = observed.model, {part.kind.endpoint for part in observed.parts}
    absent = [name for name in model.endpoints if name not in seen]
    if absent and seen:
        numbers = [str(number) for number, name in model.endpoint_of.items() if name in absent]
        found = [f"{number} ({model.endpoint_of[number]})" for number in np.unique(data.obs_dvid).tolist()]
        raise ValueError(
            f"The model says how {listed(absent)} is distributed (DVID {', '.join(numbers)}), but no "
            f"observation is of it: all have DVID {', '.join(found)}. Number the endpoints in a column DVID "
            '(of another name: pb.read_events(..., columns={"FLAG": "DVID"})), or leave '
            f"{listed(absent)} out of residual."
        )


def _undosed(data: EventTable, observed: Observed) -> np.ndarray:
    """Whether each observation, (n_obs,), is predicted for a subject who has no dose."""
    dosed = np.bincount(data.record_subject, weights=data.is_dose, minlength=data.n_subject) > 0
    predicted = np.zeros(data.n_obs, dtype=bool)
    for part in observed.parts:
        predicted[part.index] = part.kind.law.uses_prediction
    return predicted & ~dosed[data.obs_subject]


def _check_doses(prediction: np.ndarray, undosed: np.ndarray, data: EventTable) -> None:
    """Look at subjects who have no dose: of one whose predictions are all 0 the data tell nothing."""
    empty = undosed & ~np.isin(data.obs_subject, data.obs_subject[prediction != 0])
    if empty.any() and data.n_dose == 0:
        raise ValueError(
            "No record is a dose, and all predictions are 0: nothing can be learnt. Doses are records with "
            'an AMT (of another name: pb.read_events(..., columns={"DOSE": "AMT"})).'
        )
    if empty.any():
        who = listed([str(data.subjects[s]) for s in np.unique(data.obs_subject[empty])])
        say(
            f"ID {who} has no dose, and all predictions there are 0: {rows_in_words(data, empty)}. Give the "
            "doses, or leave the subject out."
        )


def _values(data: EventTable, which: np.ndarray) -> str:
    """The first few of some observed values."""
    return ", ".join(f"{value:g}" for value in data.obs_dv[which][:4])


def _of_all(part: Part, which: np.ndarray) -> np.ndarray:
    bad = np.zeros(part.n_obs, dtype=bool)
    bad[part.index[which]] = True
    return bad


def _warn_below(data: EventTable, observed: Observed) -> None:
    """Say that measurements below their LLOQ are taken as measured."""
    below = observed.unmarked
    if below.any():
        say(
            f"{below.sum()} values are below their LLOQ but not marked as censored (CENS 1), and are taken "
            f"as measured: {rows_in_words(data, below)}. With censoring=censoring.M3() in the model they "
            "count as below the limit."
        )


def _typical_predictions(model: PopModel, data: EventTable, observed: Observed) -> np.ndarray:
    """Predictions (n_obs,) of typical subjects at the prior medians."""
    model = model.resolved(data)
    design = design_for(model, data)
    theta = model.individual_parameters(no_selection(model) | initial_values(model, data), None, design)
    return evaluate(model.structural, design, theta, observed.output)


def _check_predictions(prediction: np.ndarray, data: EventTable, observed: Observed) -> None:
    """Refuse predictions of zero, of a typical subject at the prior medians, where the error would vanish."""
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
