"""Classes and missing covariates, drawn: given the data after a fit, or from the model for new subjects.

States are summed out while sampling. Afterwards one is drawn for every subject in every draw, with its
probability given the subject's data: the draws are then those of the joint posterior, and everything that
needs a subject's class or covariate finds it among them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from popbayes import dims
from popbayes.data.design import Design
from popbayes.infer.tree import Study
from popbayes.model import PopModel
from popbayes.model.states import (
    States,
    drawn_columns,
    first_segments,
    missing_subjects,
    shared_names,
)

Arrays = dict[str, np.ndarray]
Known = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Variable -> labels of its subjects (n_known,), and its draws (n_draw, n_known)."""
KEPT = (dims.STATE_PROB, dims.ETA_BASE)
"""What the graph keeps for `resolved_states`."""


@dataclass(frozen=True, eq=False)
class Resolved:
    """Draws with their states, and the dimensions that came with these."""

    arrays: Arrays
    dims_of: dict[str, tuple[str, ...]]
    coords: dict[str, list[str]]


def resolved_states(study: Study, drawn: Mapping[str, np.ndarray], rng: np.random.Generator) -> Resolved:
    """Draw the state of every subject in every draw, and what follows from it.

    Parameters
    ----------
    drawn : variable -> (chain, draw, ...), with `state_prob`

    Returns
    -------
    Resolved
        `class_of` and `class_prob`, `imputed_{column}`, `eta`, and individual parameters where these depend
        on the state, in place of what was drawn to make them.
    """
    if dims.STATE_PROB not in drawn:
        return Resolved(dict(drawn), {}, {})
    model, design = study.model, study.design
    states = model.states(design)
    assert states is not None
    shape = drawn[dims.STATE_PROB].shape[:2]
    flat = {name: one.reshape(shape[0] * shape[1], *(one.shape[2:] or (1,))) for name, one in drawn.items()}
    flat |= _states(states, flat.pop(dims.STATE_PROB), rng)
    dims_of = {dims.CLASS_OF: (dims.SUBJECT,), dims.CLASS_PROB: (dims.SUBJECT, dims.CLASS)}
    dims_of |= {one.name: (one.dim,) for one in model.imputation}
    if dims.ETA_BASE in flat:
        flat[dims.ETA] = _own_effects(states, flat, flat.pop(dims.ETA_BASE))
        dims_of[dims.ETA] = (dims.SUBJECT, dims.ETA_OF)
    if not all(name in flat for name in model.parameters):
        levels = {one.key: flat[one.eta] for one in model.groupings}
        theta = model.individual_parameters(flat, flat.get(dims.ETA), design, np, levels)
        over = dims.SUBJECT if design.one_segment_per_subject else dims.SEGMENT
        flat |= {name: np.broadcast_to(one, (len(one), design.n_segment)) for name, one in theta.items()}
        dims_of |= dict.fromkeys(theta, (over,))
    arrays = {
        name: one.reshape(*shape, *(one.shape[1:] if name not in drawn or drawn[name].ndim > 2 else ()))
        for name, one in flat.items()
    }
    return Resolved(arrays, dims_of, _coords(study))


def _coords(study: Study) -> dict[str, list[str]]:
    labels = study.events.subjects
    found = {
        one.dim: [str(labels[k]) for k in missing_subjects(study.design, one)]
        for one in study.model.imputation
    }
    return found | {
        dims.SUBJECT: labels.tolist(),
        dims.SEGMENT: list(range(study.design.n_segment)),
        dims.ETA_OF: list(study.model.eta_names),
    }


def _states(states: States, probability: np.ndarray, rng: np.random.Generator) -> Arrays:
    """A state for each subject and draw, as its class and the levels of its missing categories."""
    owner, first = states.subject, states.first
    total = np.cumsum(probability, axis=1)
    before = total[:, first] - probability[:, first]
    below = total - before[:, owner] < rng.random((len(probability), len(first)))[:, owner]
    last = np.append(first[1:], states.size) - 1
    state = np.minimum(first + np.add.reduceat(below.astype(np.int64), first, axis=1), last)
    found: Arrays = {}
    for one in states.model.imputation:
        if one.discrete:
            found[one.name] = states.code[one.column][state[:, missing_subjects(states.design, one)]]
    if states.model.mixture is not None:
        code = states.code[dims.CLASS]
        found[dims.CLASS_OF] = code[state] + 1
        each = [
            np.add.reduceat(probability * (code == k), first, axis=1)
            for k in range(states.model.mixture.classes)
        ]
        found[dims.CLASS_PROB] = np.stack(each, axis=-1)
    return found


def _own_effects(states: States, flat: Arrays, base: np.ndarray) -> np.ndarray:
    """Random effects in the state that was drawn, from those in the first one."""
    model, design = states.model, states.design
    here = model.locations(flat, design, np)
    there = model.locations(flat, design, np, states.at_base(flat, np))
    first, eta = first_segments(design), base.copy()
    for name in shared_names(states):
        moved = np.broadcast_to(here[name] - there[name], (len(base), design.n_segment))
        eta[..., model.eta_names.index(name)] -= moved[:, first]
    return eta


def drawn_states(
    model: PopModel,
    design: Design,
    values: Mapping[str, np.ndarray],
    n: int,
    rng: np.random.Generator,
    labels: np.ndarray,
    known: Known | None = None,
) -> Arrays:
    """Classes and missing covariates of the subjects of a design, drawn from the model.

    Parameters
    ----------
    values : population values of `n` draws
    labels : (n_subject,) labels of the subjects
    known : what a fit has drawn, by subject; the rest is drawn anew

    Returns
    -------
    dict
        `class_of` (n, n_subject) and `imputed_{column}` (n, n_missing), those that the model has.
    """
    found: Arrays = {}
    first = first_segments(design)
    known_values = {**model.fixed, **values}
    for one in model.imputation:
        lost = missing_subjects(design, one)
        columns = _at_subjects(model, {**known_values, **found}, design, first)
        if one.discrete:
            each = one.odds.log_probabilities(columns, known_values, np)
            drawn = _category(each, (n, design.n_subject), rng)[:, lost]
        else:
            centre = np.broadcast_to(one.centre(columns, known_values, np), (n, design.n_subject))
            normal = rng.standard_normal((n, design.n_subject)) * known_values[one.sd_name]
            drawn = one.value(centre + normal, np)[:, lost]
        found[one.name] = _replaced(drawn, labels[lost], known, one.name)
    if model.mixture is not None:
        columns = _at_subjects(model, {**known_values, **found}, design, first)
        each = model.mixture.odds.log_probabilities(columns, known_values, np)
        drawn = 1 + _category(each, (n, design.n_subject), rng)
        found[dims.CLASS_OF] = _replaced(drawn, labels, known, dims.CLASS_OF)
    return found


def _at_subjects(
    model: PopModel, values: Mapping[str, np.ndarray], design: Design, first: np.ndarray
) -> dict[str, np.ndarray]:
    return {name: one[..., first] for name, one in drawn_columns(model, values, design, np).items()}


def _category(
    log_probability: list[np.ndarray], shape: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """Number of a category for each draw and subject, from the logarithms of their probabilities."""
    total = np.cumsum([np.broadcast_to(np.exp(one), shape) for one in log_probability], axis=0)
    return np.sum(total[:-1] < rng.random(shape), axis=0)


def _replaced(drawn: np.ndarray, labels: np.ndarray, known: Known | None, name: str) -> np.ndarray:
    """The draws of subjects that a fit knows, in place of new ones."""
    if known and name in known:
        names, own = known[name]
        place = {str(label): k for k, label in enumerate(names)}
        have = [k for k, label in enumerate(labels) if str(label) in place]
        drawn[:, have] = own[:, [place[str(labels[k])] for k in have]]
    return drawn
