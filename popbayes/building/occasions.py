r"""Random effects of occasions, sites and studies as variables, centred or not.

Centred effects of groups within subjects (occasions) are sampled as the parameters of each group,

.. math:: \varphi_{ik} \sim \mathrm{Normal}(\mu_{ik} + \eta_i, \gamma), \qquad
          \kappa_{ik} = \varphi_{ik} - \mu_{ik} - \eta_i:

the data say what the parameter was on an occasion, and little of how it divides into that of the subject
and that of the occasion. Effects of groups that several subjects share are sampled as they are.
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
from popbayes.model.levels import Grouping
from popbayes.parameters.grouped import Occasion
from popbayes.parameters.priors import Fixed


def level_effects(
    model: PopModel,
    design: Design,
    places: Mapping[str, Any],
    effects: Mapping[str, Any],
    known: Mapping[str, Information],
) -> dict[str, TensorVariable]:
    """Random effects of every level beside the subject: name of the level -> (n_group, n_names).

    Registers their SDs, correlations and the effects themselves (see `Grouping`).

    Parameters
    ----------
    places
        Locations of the parameters, each scalar or (n_segment,).
    effects
        Random effects of the subjects, (n_subject,) each.
    known
        Level -> what the data say of each of its groups.
    """
    found = {}
    for one in model.groupings:
        centres = group_places(one, design, places, effects) if is_nested(one) else None
        found[one.key] = _effects(one, centres, None if one.block.centred is not None else known.get(one.key))
    return found


def is_nested(one: Grouping) -> bool:
    """Whether every group lies within a subject."""
    return isinstance(one.block, Occasion)


def group_places(
    one: Grouping, design: Design, places: Mapping[str, Any], effects: Mapping[str, Any]
) -> list[Any]:
    """Parameters of each group within a subject without its own effects, in its first segment, (n_group,)."""
    group = design.groups[one.key]
    first = np.unique(group.of_segment, return_index=True)[1]
    found = []
    for name in one.names:
        place = (places[name][first] if np.ndim(places[name]) else places[name]) + np.zeros(group.size)
        found.append(place + effects[name][group.of_subject] if name in effects else place)
    return found


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
    model: PopModel, design: Design, places: Mapping[str, Any], groups: Mapping[str, Information]
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
        if one.block.centred and is_nested(one):
            found[one.phi] = np.stack(group_places(one, design, places, {}), axis=1)
        else:
            standard = one.white if one.block.centred is None and one.key in groups else one.raw
            found[one.eta if one.block.centred else standard] = np.zeros(
                (design.groups[one.key].size, len(one.names))
            )
    return found


def _effects(one: Grouping, centres: list[Any] | None, known: Information | None) -> TensorVariable:
    """Effects of one level; `centres` of the parameters of its groups, where these lie within subjects."""
    sds = scales(one.sd, one.priors, one.of)
    number, over = len(one.names), (one.dim, one.of)
    factor = None
    if one.block.correlated:
        factor = cholesky(
            [(tuple(range(number)), float(one.block.lkj))], number, one.partial, f"{one.corr}_pair"
        )
        pm.Deterministic(one.corr, square(factor), dims=(one.of, one.of2))
    if known is not None and centres is not None:
        root = None if factor is None else matrix(factor)
        columns = informed_effects(known, sds, root, centres, one.white, over)
        return pm.Deterministic(one.eta, pt.stack(columns, axis=1), dims=over)
    if one.block.centred:
        mean = np.zeros(number) if centres is None else pt.stack(centres, axis=1)
        name = one.eta if centres is None else one.phi
        if factor is None:
            drawn = pm.Normal(name, mean, sds, dims=over)
        else:
            drawn = pm.MvNormal(name, mean, chol=sds[:, None] * matrix(factor), dims=over)
        return drawn if centres is None else pm.Deterministic(one.eta, drawn - mean, dims=over)
    raw = pm.Normal(one.raw, 0.0, 1.0, dims=over)
    columns = [raw[:, k] for k in range(number)]
    standard = columns if factor is None else times(factor, columns)
    effects = pt.stack([sds[k] * column for k, column in enumerate(standard)], axis=1)
    return pm.Deterministic(one.eta, effects, dims=over)
