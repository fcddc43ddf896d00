"""Random effects of occasions, sites and studies as variables, centred or not."""

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from popbayes.building.omegas import cholesky, matrix, scales, square, times
from popbayes.data.design import Design
from popbayes.model import PopModel
from popbayes.model.levels import Grouping
from popbayes.parameters.priors import Fixed


def level_effects(model: PopModel, design: Design) -> dict[str, TensorVariable]:
    """Random effects of every level beside the subject: name of the level -> (n_group, n_names).

    Registers their SDs, correlations and the effects themselves (see `Grouping`).
    """
    return {one.key: _effects(one) for one in model.groupings}


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


def level_starts(model: PopModel, design: Design) -> dict[str, Any]:
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
        found[one.eta if one.block.centred else one.raw] = np.zeros(
            (design.groups[one.key].size, len(one.names))
        )
    return found


def _effects(one: Grouping) -> TensorVariable:
    sds = scales(one.sd, one.priors, one.of)
    number, over = len(one.names), (one.dim, one.of)
    factor = None
    if one.block.correlated:
        factor = cholesky(
            [(tuple(range(number)), float(one.block.lkj))], number, one.partial, f"{one.corr}_pair"
        )
        pm.Deterministic(one.corr, square(factor), dims=(one.of, one.of2))
    if one.block.centred:
        if factor is None:
            return pm.Normal(one.eta, 0.0, sds, dims=over)
        return pm.MvNormal(one.eta, np.zeros(number), chol=sds[:, None] * matrix(factor), dims=over)
    raw = pm.Normal(one.raw, 0.0, 1.0, dims=over)
    columns = [raw[:, k] for k in range(number)]
    standard = columns if factor is None else times(factor, columns)
    effects = pt.stack([sds[k] * column for k, column in enumerate(standard)], axis=1)
    return pm.Deterministic(one.eta, effects, dims=over)
