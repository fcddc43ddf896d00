"""The graph: typical values, parameters, predictions and the likelihood."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from popbayes import dims
from popbayes.building.between import ETA_WHITE, Information
from popbayes.building.derived import derived_priors
from popbayes.building.effects import random_effects
from popbayes.building.likelihood import likelihood, likelihood_coords
from popbayes.building.observations import check_observations
from popbayes.building.occasions import level_coords, moved, occasion_effects, shared_effects
from popbayes.building.omegas import variable
from popbayes.building.selection import selected_coefficients
from popbayes.building.starts import (
    ETA_RAW,
    PAIR,
    PHI,
    centred_tails,
    centring,
    design_for,
    first_segments,
    population_priors,
)
from popbayes.building.states import (
    imputed_numbers,
    observations_of_states,
    odds_variables,
    state_coords,
    summed_out,
)
from popbayes.data.design import Design
from popbayes.data.events import EventTable
from popbayes.data.regimen import as_events
from popbayes.engine.op import predict
from popbayes.model import PopModel
from popbayes.model.levels import varying
from popbayes.model.states import shared_names


def build(model: PopModel, data: EventTable, information: Information | None = None) -> pm.Model:
    """Write a population model on its data as a PyMC model.

    Names and dimensions are those of the DataTree: `{P}_pop`, `beta_{P}_{COV}`, `omega` (eta_of), `corr`
    (`eta_of`, `eta_of_`), `eta` (subject, eta_of), `{P}` (subject, or segment where it varies in time),
    `gamma` and `eta_occ` of occasions, `omega_SITE` and `eta_SITE` of a level,
    `sigma_*`, and the likelihood `dv` (obs), or `dv_{endpoint}` where there are several. What is sampled
    beside them: `eta_raw` (non-centred), `phi` (centred) or `eta_white` (between) in place of `eta`, the same
    for occasions (`eta_occ_raw`, `phi_occ`, `eta_occ_white`), and `corr_partial` in place of `corr`.

    Parameters
    ----------
    model : PopModel
    data : EventTable
        With observations; covariate references that the model leaves open are taken from it.
    information : Information, optional
        What the data say of each subject, as `popbayes.fit` finds it: random effects whose `centred` is left
        open are then sampled in coordinates that fit each subject. Without it they are non-centred.

    Returns
    -------
    pymc.Model

    Raises
    ------
    ValueError
        If model and data do not fit: a covariate is not in the table, there are no observed values,
        an observation is of a kind (DVID) without a residual error, an observation or a prediction is not
        positive where the residual error needs it, or the structural model cannot take a dosing record.
    """
    data = as_events(data)
    model = model.resolved(data)
    model.check(data)
    observed = check_observations(model, data)
    design = design_for(model, data)
    with pm.Model(coords=_coords(model, data, design, information) | likelihood_coords(observed)) as graph:
        values = _population(model) | selected_coefficients(model)
        values |= odds_variables(model) | imputed_numbers(model, design)
        derived_priors(model, values)
        states = model.states(design)
        base = None if states is None else states.at_base(values, pt)
        places = model.locations(values, design, pt, base)
        levels = shared_effects(model, design, places)
        around = moved(model, design, places, levels)
        effects, density = random_effects(model, design, around, _usable(model, information), states, values)
        groups = {} if information is None else information.groups
        levels |= occasion_effects(model, design, around, effects, groups)
        sigma = {name: variable(name, prior) for name, prior in model.observation.priors.items()}
        if states is not None:
            weight = states.log_prior(values, pt)
            if states.several and density is None:
                seen = observations_of_states(states, observed, values, effects, levels, sigma)
                summed_out(states, weight + seen)
                return graph
            summed_out(states, weight if density is None else weight + density)
        theta = model.parameters_at(places, effects, design, pt, levels, model.shapes(values))
        theta = _registered(model, design, theta)
        sigma |= {name: theta[name][design.obs_segment] for name in model.observation.parameters}
        likelihood(observed, predict(model.structural, design, theta, observed.output), sigma)
    return graph


def _registered(model: PopModel, design: Design, theta: Mapping[str, Any]) -> dict[str, TensorVariable]:
    """Individual parameters by their names: over subjects, or over segments where they vary in time."""
    changing, first, single = varying(model, design), first_segments(design), design.one_segment_per_subject
    found = {}
    for name, each in theta.items():
        value = pt.as_tensor(each)
        if name in changing or single:
            found[name] = pm.Deterministic(name, value, dims=dims.SUBJECT if single else dims.SEGMENT)
        else:
            found[name] = pm.Deterministic(name, value[first], dims=dims.SUBJECT)[design.segment_subject]
    return found


def _usable(model: PopModel, information: Information | None) -> Information | None:
    """The information on the random effects that are sampled between centred and non-centred."""
    between = centring(model, information)[2]
    return information.only(between) if information is not None and between else None


def _coords(
    model: PopModel, data: EventTable, design: Design, information: Information | None
) -> dict[str, Any]:
    """Labels of all dimensions."""
    coords: dict[str, Any] = {
        dims.SUBJECT: data.subjects.tolist(),
    }
    if not design.one_segment_per_subject:
        coords[dims.SEGMENT] = np.arange(design.n_segment)
    if model.eta_names:
        coords[dims.ETA_OF] = list(model.eta_names)
    coords |= level_coords(model, design) | state_coords(model, design, data.subjects.tolist())
    if model.has_correlations:
        coords[dims.ETA_OF2] = list(model.eta_names)
    if model.correlated_blocks:
        coords[PAIR] = [
            f"{block[low]}, {block[high]}"
            for block, _ in model.correlated_blocks
            for high in range(1, len(block))
            for low in range(high)
        ]
    for name in model.parameters:
        coords |= {one.dim: list(one.labels) for one in model.coefficients(name) if one.labels}
    states = model.states(design)
    shared = () if states is None else shared_names(states)
    each = (tuple(one for one in way if one not in shared) for way in centring(model, information))
    ways = dict(zip((PHI, ETA_RAW, ETA_WHITE), each, strict=True))
    if sum(map(bool, ways.values())) > 1 or ways[ETA_WHITE] or shared or centred_tails(model):
        coords |= {f"{name}_of": list(parameters) for name, parameters in ways.items() if parameters}
    return coords


def _population(model: PopModel) -> dict[str, Any]:
    """Typical values and coefficients: variables where estimated, numbers where known."""
    levels = {one.name: one.dim for name in model.parameters for one in model.coefficients(name)}
    levels |= {one.name: one.dim for one in model.further}
    return model.fixed | {
        name: variable(name, prior, levels[name] if size else None)
        for name, (prior, size) in population_priors(model).items()
    }
