"""The free variables of the graph, known without opening it: their priors and where chains start."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from popbayes import dims
from popbayes.building.between import ETA_WHITE, Information
from popbayes.building.occasions import level_starts
from popbayes.building.selection import selection_starts
from popbayes.building.tails import tail_starts
from popbayes.building.together import omega_together
from popbayes.data.design import Design
from popbayes.data.events import EventTable
from popbayes.data.regimen import as_events
from popbayes.model import PopModel
from popbayes.model.states import States, missing_subjects, shared_names
from popbayes.parameters.family import AbstractPrior
from popbayes.parameters.priors import Fixed

ETA_RAW = "eta_raw"
"""Standardised random effects, standard normal: sampled where non-centred."""
PHI = "phi"
"""Individual parameters on the scales where random effects are added: sampled where centred."""
PHI_SHARED = "phi_shared"
"""The same where a subject may be of several states (classes, missing categories), which share them."""
PARTIAL = "corr_partial"
"""Canonical partial correlations, from 0 to 1: what `corr` is made of."""
PAIR = "corr_pair"
"""Dimension of the pairs of correlated parameters."""


def design_for(model: PopModel, data: EventTable) -> Design:
    """The data laid out for the engine, with the covariates that the model uses."""
    return model.design(data)


def initial_values(
    model: PopModel,
    data: EventTable,
    information: Information | None = None,
    given: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Prior medians of all free variables of `build(model, data, information)`, on their natural scales.

    Values that are `given` replace medians, and individual parameters that are sampled centred follow them.
    Random effects are zero (at their likely values where there is information on them) and correlations
    none. An improper prior has no median: there, PyMC's
    own start (0 for `Flat`, 1 for `HalfFlat`).

    Returns
    -------
    dict of name -> number or array
    """
    model = model.resolved(as_events(data))
    design = design_for(model, as_events(data))
    found: dict[str, Any] = {}
    for name, (prior, size) in population_priors(model).items():
        found[name] = np.full(size, prior.start()) if size else prior.start()
    found |= {name: value for name, value in (given or {}).items() if name in found}
    places = model.locations({**model.fixed, **no_selection(model), **found}, design)
    spread = {name: prior.start() for name, prior in model.omega_priors.items()}
    if spread and omega_together(model.omega_priors) is not None:
        found[dims.OMEGA] = np.array(list(spread.values()))
    elif spread:
        estimated = (name for name, prior in model.omega_priors.items() if not isinstance(prior, Fixed))
        found |= {f"{dims.OMEGA}_{name}": spread[name] for name in estimated}
    pairs = sum(len(block) * (len(block) - 1) // 2 for block, _ in model.correlated_blocks)
    if pairs:
        found[PARTIAL] = np.full(pairs, 0.5)
    found |= {one.name: np.array(one.concentration) / sum(one.concentration) for one in model.odds}
    states = model.states(design)
    shared = () if states is None else shared_names(states)
    if states is not None:
        found |= state_starts(model, design, states, {**model.fixed, **no_selection(model), **found})
    each = (tuple(one for one in way if one not in shared) for way in centring(model, information))
    centred, raw, between = each
    if between:
        found[ETA_WHITE] = np.zeros((design.n_subject, len(between)))
    if raw:
        found[ETA_RAW] = np.zeros((design.n_subject, len(raw)))
    if centred:
        first = first_segments(design)
        columns = [np.broadcast_to(places[name], design.n_segment)[first] for name in centred]
        found[PHI] = np.stack(columns, axis=1)
    for name in centred_tails(model):
        found[phi_of(name)] = np.broadcast_to(places[name], design.n_segment)[first_segments(design)]
    known = {} if information is None else information.groups
    found |= level_starts(model, design, places, known) | tail_starts(model, design) | selection_starts(model)
    sigmas = model.observation.priors.items()
    found |= {name: prior.start() for name, prior in sigmas if not isinstance(prior, Fixed)}
    return found | dict(given or {})


def state_starts(
    model: PopModel, design: Design, states: States, values: Mapping[str, Any]
) -> dict[str, Any]:
    """Missing numbers in the middle of the known ones, individual values in the middle of the states."""
    lost = {one: len(missing_subjects(design, one)) for one in model.imputation if not one.discrete}
    found: dict[str, Any] = {f"{one.name}_raw": np.zeros(size) for one, size in lost.items() if size}
    names = shared_names(states)
    if names:
        places = model.locations(values, design, np, states.at_subjects(values, np))
        count = np.bincount(states.subject)
        found[PHI_SHARED] = np.stack(
            [
                np.bincount(states.subject, weights=np.broadcast_to(places[name], states.size)) / count
                for name in names
            ],
            axis=1,
        )
    return found


def no_selection(model: PopModel) -> dict[str, float]:
    """Coefficients of candidates (`covariate.Select`) at none, where chains start."""
    return {one.name: 0.0 for name in model.parameters for one in model.coefficients(name) if one.joint}


def population_priors(model: PopModel) -> dict[str, tuple[AbstractPrior, int]]:
    """Priors of the estimated typical values and coefficients, with the number of levels (0: a scalar)."""
    found: dict[str, tuple[AbstractPrior, int]] = {}
    for name, parameter in model.parameters.items():
        found[dims.pop(name)] = (parameter.prior, 0)
        for one in model.coefficients(name):
            if not one.joint:
                found[one.name] = (one.prior, len(one.labels))
    found |= {one.name: (one.prior, len(one.labels)) for one in model.further}
    return {name: pair for name, pair in found.items() if not isinstance(pair[0], Fixed)}


def centring(
    model: PopModel, information: Information | None = None
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Parameters sampled centred, those sampled non-centred, and those between, subject by subject."""
    apart, forced = centred_tails(model), set(model.forced_centring)
    centred = tuple(name for name in model.centred_names if name not in apart)
    left = tuple(name for name in model.eta_names if name not in (*centred, *apart))
    if information is None:
        return centred, left, ()
    between = tuple(name for name in left if name not in forced and name in information.names)
    return centred, tuple(name for name in left if name not in between), between


def centred_tails(model: PopModel) -> tuple[str, ...]:
    """Parameters with a Student-t distribution that are sampled centred, each as a variable of its own."""
    tailed = {name for names, _ in model.tails for name in names}
    return tuple(name for name in model.centred_names if name in tailed)


def phi_of(name: str) -> str:
    """The variable of one of them."""
    return f"{PHI}_{name}"


def first_segments(design: Design) -> np.ndarray:
    """First segment of each subject: where a centred parameter is centred, (n_subject,)."""
    return np.searchsorted(design.segment_subject, np.arange(design.n_subject))
