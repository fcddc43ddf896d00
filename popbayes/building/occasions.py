r"""Random effects of occasions, sites and studies as variables, centred or not.

Centred effects are sampled as the parameters of each group. Those of occasions lie around their subject's,
and those of subjects around their site's,

.. math:: \varphi_{ik} \sim \mathrm{Normal}(\mu_{ik} + \eta_i, \gamma), \qquad
          \kappa_{ik} = \varphi_{ik} - \mu_{ik} - \eta_i:

the data say what the parameter was on an occasion, and little of how it divides into that of the subject
and that of the occasion.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from popbayes.building.between import Information, informed_effects
from popbayes.building.omegas import cholesky, matrix, scales, square, times
from popbayes.data.design import Design
from popbayes.model import PopModel
from popbayes.model.levels import Grouping, added
from popbayes.parameters.grouped import Occasion
from popbayes.parameters.priors import Fixed

Places = Mapping[str, Any]
"""Locations of the parameters on the scales where effects are added, each scalar or (n_segment,)."""
Columns = list[TensorVariable]
"""Random effects of a level, (n_group,) for each of its names."""


def shared_effects(model: PopModel, design: Design, places: Places) -> dict[str, Columns]:
    """Random effects of the levels that subjects share (sites, studies): level -> (n_group,) for each name.

    Registers their SDs, correlations and the effects themselves (see `Grouping`).
    """
    shared = (one for one in model.groupings if not is_nested(one))
    return {one.key: _effects(one, _group_means(one, design, places), None) for one in shared}


def occasion_effects(
    model: PopModel,
    design: Design,
    places: Places,
    effects: Mapping[str, Any],
    known: Mapping[str, Information],
) -> dict[str, Columns]:
    """The same of occasions, which lie within subjects.

    Parameters
    ----------
    places
        With what the levels above the subject add to them.
    effects
        Random effects of the subjects, (n_subject,) each.
    known
        Level -> what the data say of each of its groups.
    """
    found = {}
    for one in filter(is_nested, model.groupings):
        own = None if one.block.centred is not None else known.get(one.key)
        found[one.key] = _effects(one, group_places(one, design, places, effects), own)
    return found


def moved(model: PopModel, design: Design, places: Places, levels: Places) -> dict[str, Any]:
    """Locations with what some levels add to them."""
    more = added(model, design, levels)
    return {name: place + more[name] if name in more else place for name, place in places.items()}


def is_nested(one: Grouping) -> bool:
    """Whether every group lies within a subject."""
    return isinstance(one.block, Occasion)


def group_places(one: Grouping, design: Design, places: Places, effects: Mapping[str, Any]) -> list[Any]:
    """Parameters of each group within a subject without its own effects, in its first segment, (n_group,)."""
    group = design.groups[one.key]
    first = np.unique(group.of_segment, return_index=True)[1]
    found = []
    for name in one.names:
        place = (places[name][first] if np.ndim(places[name]) else places[name]) + np.zeros(group.size)
        found.append(place + effects[name][group.of_subject] if name in effects else place)
    return found


def _group_means(one: Grouping, design: Design, places: Places) -> list[Any]:
    """Mean location of each group that subjects share, (n_group,)."""
    group = design.groups[one.key]
    member = (group.of_segment == np.arange(group.size)[:, None]).astype(float)
    weights = member / member.sum(axis=1, keepdims=True)
    each = (places[name] for name in one.names)
    return [weights @ place if np.ndim(place) else place + np.zeros(group.size) for place in each]


def level_coords(model: PopModel, design: Design) -> dict[str, list[str]]:
    """Labels of the dimensions of these variables."""
    coords: dict[str, list[str]] = {}
    for one in model.groupings:
        coords |= {one.dim: design.groups[one.key].labels.tolist(), one.of: list(one.names)}
        if one.block.correlated:
            coords |= {one.of2: list(one.names), f"{one.corr}_pair": pairs(one)}
    return coords


def pairs(one: Grouping) -> list[str]:
    """Labels of the pairs of correlated effects."""
    return [
        f"{one.names[low]}, {one.names[high]}" for high in range(1, len(one.names)) for low in range(high)
    ]


def level_starts(
    model: PopModel, design: Design, places: Places, groups: Mapping[str, Information]
) -> dict[str, Any]:
    """Where chains start: prior medians of the SDs, no correlations, effects at 0."""
    found: dict[str, Any] = {}
    for one in model.groupings:
        known = {name: prior for name, prior in one.priors.items() if not isinstance(prior, Fixed)}
        if len(known) == len(one.priors):
            found[one.sd] = np.array([prior.start() for prior in one.priors.values()])
        else:
            found |= {f"{one.sd}_{name}": prior.start() for name, prior in known.items()}
        if one.block.correlated:
            found[one.partial] = np.full(len(pairs(one)), 0.5)
        if one.block.centred:
            nested = is_nested(one)
            around = group_places(one, design, places, {}) if nested else _group_means(one, design, places)
            found[one.phi] = np.stack(around, axis=1)
        else:
            standard = one.white if one.block.centred is None and one.key in groups else one.raw
            found[standard] = np.zeros((design.groups[one.key].size, len(one.names)))
    return found


def _effects(one: Grouping, centres: list[Any], known: Information | None) -> Columns:
    """Effects of one level; `centres`: where the parameters of its groups lie without them.

    They are registered as a matrix and returned as its columns, which the density uses one by one.
    """
    sds = scales(one.sd, one.priors, one.of)
    number, over = len(one.names), (one.dim, one.of)
    factor = None
    if one.block.correlated:
        factor = cholesky(
            [(tuple(range(number)), float(one.block.lkj))], number, one.partial, f"{one.corr}_pair"
        )
        pm.Deterministic(one.corr, square(factor), dims=(one.of, one.of2))
    if known is not None:
        root = None if factor is None else matrix(factor)
        effects = informed_effects(known, sds, root, centres, one.white, over)
    elif one.block.centred:
        mean = pt.stack(centres, axis=1)
        if factor is None:
            phi = pm.Normal(one.phi, mean, sds, dims=over)
        else:
            phi = pm.MvNormal(one.phi, mean, chol=sds[:, None] * matrix(factor), dims=over)
        effects = [phi[:, k] - centre for k, centre in enumerate(centres)]
    else:
        raw = pm.Normal(one.raw, 0.0, 1.0, dims=over)
        columns = [raw[:, k] for k in range(number)]
        standard = columns if factor is None else times(factor, columns)
        effects = [sds[k] * column for k, column in enumerate(standard)]
    pm.Deterministic(one.eta, pt.stack(effects, axis=1), dims=over)
    return effects
