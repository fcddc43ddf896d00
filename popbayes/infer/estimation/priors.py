"""The priors of the population values as one log density, for estimates that use them (MAP)."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt

from popbayes import dims
from popbayes.building.families import distribution
from popbayes.infer.estimation.coordinates import Coordinates
from popbayes.model import PopModel, Row
from popbayes.parameters.family import AbstractPrior


def log_prior(coordinates: Coordinates) -> Callable[[np.ndarray], float]:
    r"""Log density of the priors at coordinates `x`, up to a constant.

    It is the density of the values in their natural units (typical values, SDs, residual parameters;
    correlation matrices with :math:`p(R) \propto |R|^{\text{lkj} - 1}`), so that the estimate is the mode of
    their joint density, as `pymc.find_MAP` has it.
    """
    model = coordinates.model
    rows = [(k, row) for k, row in enumerate(coordinates.rows) if row.kind != "corr"]
    value = pt.dvector("value")
    terms = [pm.logp(_variable(prior_of(model, row)), value[i]) for i, (_, row) in enumerate(rows)]
    total = pt.sum(pt.stack(terms)) if terms else pt.as_tensor(0.0)
    density = pytensor.function([value], total, mode="FAST_COMPILE", on_unused_input="ignore")
    index = [k for k, _ in rows]

    def at(x: np.ndarray) -> float:
        correlations = _log_lkj(model, coordinates.values(x))
        return float(density(coordinates.natural(x)[index])) + correlations

    return at


def prior_of(model: PopModel, row: Row) -> AbstractPrior:
    """Prior of an estimated row that is not a correlation."""
    if row.kind == "omega":
        return model.omega_priors[str(row.index)]
    if row.kind == "level":
        return next(one for one in model.groupings if one.sd == row.name).priors[str(row.index)]
    if row.kind == "sigma":
        return model.observation.priors[row.name]
    if row.kind == "pop":
        return model.parameters[row.parameter].prior
    return next(one.prior for one in model.coefficients(row.parameter) if one.name == row.name)


def _variable(prior: AbstractPrior) -> Any:
    family, arguments = prior.pymc
    return distribution(family, **arguments)


def _log_lkj(model: PopModel, values: Mapping[str, Any]) -> float:
    total = 0.0
    for names, shape in model.correlated_blocks:
        place = [model.eta_names.index(name) for name in names]
        block = np.asarray(values[dims.CORR])[np.ix_(place, place)]
        total += (shape - 1.0) * float(np.linalg.slogdet(block)[1])
    for one in model.groupings:
        if one.block.correlated:
            total += (float(one.block.lkj) - 1.0) * float(np.linalg.slogdet(np.asarray(values[one.corr]))[1])
    return total
