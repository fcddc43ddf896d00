"""The parameter equations, once: for NumPy arrays with any batch dimensions and for PyTensor graphs alike."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from popbayes.data.design import Design
from popbayes.parameters.effect import Values
from popbayes.parameters.kinds import never_negative
from popbayes.parameters.parameter import Parameter


def locations(
    parameters: Mapping[str, Parameter], values: Mapping[str, Values], design: Design, xp: Any
) -> dict[str, Values]:
    """Typical values with covariates, on the scales where random effects are added.

    Parameters
    ----------
    parameters : name -> Parameter, its covariates resolved
    values : graph name -> scalar or (..., 1); (..., n_level) for several coefficients
    design : the segments and their covariates
    xp : numpy or pytensor.tensor

    Returns
    -------
    name -> (..., n_segment), or the shape of the typical value where no covariate acts.
    """
    places = {}
    for name, parameter in parameters.items():
        places[name] = parameter.location(name, values, design.covariates, xp)
    return places


def individual_values(
    parameters: Mapping[str, Parameter],
    places: Mapping[str, Values],
    effects: Mapping[str, Values],
    design: Design,
    xp: Any,
    added: Mapping[str, Values] | None = None,
) -> dict[str, Values]:
    """Parameters of every segment from their locations and the random effects.

    Parameters
    ----------
    places : what `locations` gave
    effects : name -> (..., n_subject) random effect, of the parameters that have one
    added : name -> (..., n_segment), what occasions, sites and studies add

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
            place = place + (own if design.one_segment_per_subject else own[..., design.segment_subject])
        elif not parameter.covariates and not (added and name in added):
            place = place + np.zeros(design.n_segment)
        value = parameter.value(place, xp)
        if parameter.scale == "identity" and never_negative(name):
            # no clearance, volume or rate is negative: such draws have no density
            value = xp.where(value >= 0, value, np.nan)
        theta[name] = value
    return theta
