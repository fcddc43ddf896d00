"""Priors of derived quantities in the graph: their values and what they add to the log density."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.gradient import grad
from pytensor.tensor.variable import TensorVariable

from popbayes import dims
from popbayes.building.families import density
from popbayes.engine.declaration import Symbols
from popbayes.engine.op import predict
from popbayes.model import PopModel
from popbayes.model.derived import body_states, cmax_design
from popbayes.parameters.derived import AbstractDerived, Cmax


def derived_priors(model: PopModel, values: Mapping[str, Any]) -> None:
    """Register each derived quantity and the potential of its prior."""
    typical = {name: pt.as_tensor(values[dims.pop(name)], dtype="float64") for name in model.parameters}
    for one in model.derived:
        quantity = _quantity(model, one, typical)
        pm.Deterministic(one.name, quantity)
        family, arguments = one.prior.pymc
        added = density(family, quantity, **arguments)
        if one.replaced is not None:
            variable = typical[one.replaced]
            own, given = model.parameters[one.replaced].prior.pymc
            added += pt.log(pt.abs(grad(quantity, variable))) - density(own, variable, **given)
        pm.Potential(f"{one.name}_prior", added)


def _quantity(model: PopModel, one: AbstractDerived, typical: Mapping[str, TensorVariable]) -> TensorVariable:
    structural: Any = model.structural
    if isinstance(one, Cmax):
        design = cmax_design(one)
        return pt.max(predict(structural, design, {n: v + np.zeros(1) for n, v in typical.items()}))
    body_states(structural)
    rates = structural.body_form(structural.rate_constant(Symbols(typical))).rates
    slowest = rates[0]
    for rate in rates[1:]:
        slowest = pt.minimum(slowest, rate)
    return np.log(2.0) / slowest
