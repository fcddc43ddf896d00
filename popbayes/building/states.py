r"""Classes and missing covariates in the graph: summed out where there are states, sampled where numbers.

With weights :math:`w_{is}` of the states of subject `i`, the log density gains
:math:`\sum_i \log \sum_s e^{w_{is}}`. A weight holds the log probability of the state and of the known
covariates, and one of two things. Where the state moves only locations of random effects, individual
values are sampled and the weight holds the density of the random effects that follow from them
(`effects_of_states`); the prediction is the same in all states. Otherwise random effects are shared by the
states, and the weight holds the likelihood of the subject, from a prediction for each state.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.gradient import disconnected_grad
from pytensor.tensor.variable import TensorVariable

from popbayes import dims
from popbayes.building.between import Triangle, inverse_triangle
from popbayes.building.omegas import times
from popbayes.building.repeated import repeated_design
from popbayes.building.starts import PHI_SHARED
from popbayes.data.design import Design
from popbayes.data.values import missing
from popbayes.engine.op import predict
from popbayes.model import PopModel
from popbayes.model.states import States, missing_subjects, shared_names
from popbayes.observation.observed import Observed
from popbayes.observation.rows import assemble
from popbayes.parameters.impute import Impute

LEAST = -1e30
"""Weight of a state that is not there."""


def odds_variables(model: PopModel) -> dict[str, TensorVariable]:
    """Probabilities of classes and of levels of imputed categories."""
    return {
        one.name: pm.Dirichlet(one.name, a=np.array(one.concentration), dims=one.dim) for one in model.odds
    }


def state_coords(model: PopModel, design: Design, labels: Sequence[Any]) -> dict[str, list[str]]:
    """Labels of the dimensions of these variables."""
    coords = {one.dim: list(one.labels) for one in model.odds}
    coords |= {one.dim: list(one.labels) for one in model.further if one.labels}
    states = model.states(design)
    if states is None:
        return coords
    for one in model.imputation:
        if not one.discrete:
            coords[one.dim] = [str(labels[k]) for k in missing_subjects(design, one)]
    if states.several:
        coords[dims.STATE] = state_labels(states, labels)
        names = shared_names(states)
        coords |= {f"{PHI_SHARED}_of": list(names)} if names else {}
    return coords


def state_labels(states: States, labels: Sequence[Any]) -> list[str]:
    """What each state is called: the subject, its class, the levels of its missing categories."""
    parts = [[str(labels[k]) for k in states.subject]]
    for name, code in states.code.items():
        known = next((one.levels for one in model_levels(states) if one.column == name), None)
        parts.append([_label(name, k, known) for k in code.tolist()])
    return [" | ".join(one for one in row if one) for row in zip(*parts, strict=True)]


def model_levels(states: States) -> tuple[Impute, ...]:
    """Imputed categories."""
    return tuple(one for one in states.model.imputation if one.discrete)


def _label(name: str, code: int, levels: Any) -> str:
    if code < 0:
        return ""
    return f"{name} {levels[code] if levels else code + 1}"


def imputed_numbers(model: PopModel, design: Design) -> dict[str, TensorVariable]:
    """Missing numbers as variables, (n_missing,) each; their density is in the weights of the states."""
    found = {}
    for one in model.imputation:
        if one.discrete or not len(missing_subjects(design, one)):
            continue
        centre, scale = known_spread(model, design, one)
        raw = pm.Flat(f"{one.name}_raw", dims=one.dim)
        found[one.name] = pm.Deterministic(one.name, one.value(centre + scale * raw, pt), dims=one.dim)
    return found


def known_spread(model: PopModel, design: Design, one: Impute) -> tuple[float, float]:
    """Mean and SD of the known values, on the scale where they are normal: units of the missing ones."""
    every = design.covariates[one.column][np.unique(design.segment_subject, return_index=True)[1]]
    known = every[~missing(every)]
    known = np.log(known) if one.law == "lognormal" else known
    if not len(known):
        start = float(one.typical.start())
        known = np.array([np.log(start) if one.law == "lognormal" else start])
    scale = float(np.std(known))
    return float(np.mean(known)), scale if scale > 0 else max(abs(float(np.mean(known))), 1.0)


def effects_of_states(
    states: States,
    values: Mapping[str, Any],
    names: Sequence[str],
    omega: Sequence[Any],
    factor: Triangle | None,
) -> tuple[list[TensorVariable], TensorVariable]:
    r"""Individual values as variables, and the log density of the random effects in every state.

    .. math:: w_{is} = \log \mathrm{Normal}(\phi_i - \mu_{is} \mid 0, \Omega)

    Returns
    -------
    list of (n_subject,)
        Random effects against the locations of each subject's first state.
    (n_state,)
        The log density.
    """
    columns = states.at_subjects(values, pt)
    places = states.model.locations(values, states.design, pt, columns)
    each = [pt.as_tensor(places[name]) + np.zeros(states.size) for name in names]
    phi = pm.Flat(PHI_SHARED, dims=(dims.SUBJECT, f"{PHI_SHARED}_of"))
    base = [phi[:, k] - place[states.first] for k, place in enumerate(each)]
    inside = [(phi[states.subject, k] - place) / omega[k] for k, place in enumerate(each)]
    size = sum(pt.log(one) for one in omega)
    if factor is not None:
        inverse = inverse_triangle(factor)
        inside = times(inverse, inside)
        size = size - sum(pt.log(pt.as_tensor(row[-1])) for row in inverse)
    squares = sum(one**2 for one in inside)
    return base, -0.5 * squares - size - 0.5 * len(each) * np.log(2 * np.pi)


def observations_of_states(
    states: States,
    observed: Observed,
    values: Mapping[str, Any],
    effects: Mapping[str, TensorVariable],
    levels: Mapping[str, TensorVariable],
    sigma: Mapping[str, Any],
) -> TensorVariable:
    """Log density of a subject's observations in every state, (n_state,), from a prediction for each."""
    model = states.model
    events, design, segment = repeated_design(model, observed.events, states)
    seen = Observed.of(model.observation, events)
    columns = states.columns(segment, design.segment_subject, values, pt)
    places = model.locations(values, design, pt, columns)
    own = {name: effect[states.subject] for name, effect in effects.items()}
    theta = model.parameters_at(places, own, design, pt, levels, model.shapes(values))
    theta = {name: pt.as_tensor(one) for name, one in theta.items()}
    sigma = {**sigma, **{name: theta[name][design.obs_segment] for name in model.observation.parameters}}
    prediction = predict(model.structural, design, theta, seen.output)
    parts = [(part.index, part.log_density(prediction, sigma, pt)) for part in seen.parts]
    each = assemble(parts, events.n_obs, pt)
    return pt.inc_subtensor(pt.zeros(states.size, dtype="float64")[design.obs_subject], each)


def summed_out(states: States, weight: TensorVariable) -> None:
    """Add the weights to the log density, states summed out; registers the states' probabilities."""
    if not states.several:
        pm.Potential("subject_density", weight.sum())
        return
    counts = np.diff(np.append(states.first, states.size))
    inside = np.arange(counts.max()) < counts[:, None]
    place = np.where(inside, states.first[:, None] + np.arange(counts.max()), states.size)
    padded = pt.concatenate([weight, pt.constant(np.array([LEAST]))])[place]
    highest = disconnected_grad(pt.max(padded, axis=1, keepdims=True))
    total = highest[:, 0] + pt.log(pt.sum(pt.exp(padded - highest), axis=1))
    pm.Potential("subject_density", total.sum())
    pm.Deterministic(dims.STATE_PROB, pt.exp(weight - total[states.subject]), dims=dims.STATE)
