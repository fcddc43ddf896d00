"""The parameter equations, once: for NumPy arrays with any batch dimensions and for PyTensor graphs alike."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from popbayes import dims
from popbayes.data.design import Design
from popbayes.parameters.effect import Columns, Values
from popbayes.parameters.kinds import never_negative
from popbayes.parameters.mixture import Mixture
from popbayes.parameters.parameter import Parameter, skewed


def locations(
    parameters: Mapping[str, Parameter],
    values: Mapping[str, Values],
    columns: Columns,
    xp: Any,
    mixture: Mixture | None = None,
) -> dict[str, Values]:
    """Typical values with covariates, on the scales where random effects are added.

    Parameters
    ----------
    parameters : name -> Parameter, its covariates resolved
    values : graph name -> scalar or (..., 1); (..., n_level) for several coefficients
    columns : column -> (..., n), and "class" -> (..., n), from 0, where there is a mixture
    xp : numpy or pytensor.tensor
    mixture : subpopulations that differ in their typical values

    Returns
    -------
    name -> (..., n), or the shape of the typical value where no covariate acts.
    """
    places = {}
    for name, parameter in parameters.items():
        places[name] = parameter.location(name, values, columns, xp)
        if mixture is not None and name in mixture.names:
            added = mixture.added(name, values[dims.delta(name)], columns[dims.CLASS], xp)
            places[name] = places[name] + added
    return places


def individual_values(
    parameters: Mapping[str, Parameter],
    places: Mapping[str, Values],
    effects: Mapping[str, Values],
    design: Design,
    xp: Any,
    added: Mapping[str, Values] | None = None,
    shapes: Mapping[str, Values] | None = None,
) -> dict[str, Values]:
    """Parameters of every segment from their locations and the random effects.

    Parameters
    ----------
    places : what `locations` gave
    effects : name -> (..., n_subject) random effect, of the parameters that have one
    added : name -> (..., n_segment), what occasions, sites and studies add
    shapes : name -> shape of the random effect, of parameters on the Box-Cox scale

    Returns
    -------
    name -> (..., n_segment)
    """
    theta = {}
    for name, parameter in parameters.items():
        place = places[name]
        if added and name in added:
            place = place + added[name]
        if name in effects:
            own = effects[name]
            if parameter.scale == "boxcox":
                own = skewed(own, (shapes or {})[name], xp)
            place = place + (own if design.one_segment_per_subject else own[..., design.segment_subject])
        elif not parameter.covariates and not (added and name in added):
            place = place + np.zeros(design.n_segment)
        value = parameter.value(place, xp)
        if parameter.scale == "identity" and never_negative(name):
            # no clearance, volume or rate is negative: such draws have no density
            value = xp.where(value >= 0, value, np.nan)
        theta[name] = value
    return theta
