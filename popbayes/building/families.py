"""PyMC's families by name, and those of popbayes that PyMC has not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions import transforms
from pytensor.tensor.variable import TensorVariable


def family(name: str) -> Callable[..., Any]:
    """What makes a variable of this family: ``family("Normal")("x", 0, 1)``."""
    return OWN.get(name) or getattr(pm, name)


def density(name: str, value: Any, **arguments: Any) -> TensorVariable:
    """Log density of a family at a value."""
    arguments = {key: np.float64(one) if isinstance(one, float) else one for key, one in arguments.items()}
    if name in OWN:
        return LOGP[name](value, *arguments.values())
    return pm.logp(getattr(pm, name).dist(**arguments), value)


def distribution(name: str, **arguments: Any) -> TensorVariable:
    """An unnamed variable of a family, outside any model."""
    if name in OWN:
        return pm.CustomDist.dist(*arguments.values(), **PARTS[name])
    return getattr(pm, name).dist(**arguments)


def _variance_logp(value: Any, nu: Any, sigma2: Any) -> TensorVariable:
    half = 0.5 * nu
    constant = np.log(2.0) + half * pt.log(half * sigma2) - pt.gammaln(half)
    inside = constant - (nu + 1.0) * pt.log(value) - half * sigma2 / pt.sqr(value)
    return pt.switch(pt.gt(value, 0.0), inside, -float("inf"))


def _variance_draw(nu: Any, sigma2: Any, size: Any) -> TensorVariable:
    return pt.sqrt(pm.InverseGamma.dist(alpha=0.5 * nu, beta=0.5 * nu * sigma2, size=size))


def _variance_point(rv: Any, size: Any, nu: Any, sigma2: Any) -> TensorVariable:
    return pt.broadcast_to(pt.sqrt(sigma2), rv.shape)


def _scaled_inverse_chi_squared(name: str, nu: Any, sigma2: Any, dims: Any = None) -> Any:
    parts = PARTS["ScaledInverseChiSquared"]
    return pm.CustomDist(name, nu, sigma2, transform=transforms.log, dims=dims, **parts)


PARTS: dict[str, dict[str, Any]] = {
    "ScaledInverseChiSquared": {
        "logp": _variance_logp,
        "dist": _variance_draw,
        "support_point": _variance_point,
        "class_name": "ScaledInverseChiSquared",
    }
}
OWN: dict[str, Callable[..., Any]] = {"ScaledInverseChiSquared": _scaled_inverse_chi_squared}
LOGP: dict[str, Callable[..., Any]] = {"ScaledInverseChiSquared": _variance_logp}
