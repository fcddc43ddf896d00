"""Coefficients that are shrunk together, as variables of the graph."""

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from popbayes.model import PopModel
from popbayes.parameters.selection import Horseshoe, Select


def selected_coefficients(model: PopModel) -> dict[str, TensorVariable]:
    """Coefficients of all candidates by their names; registers them and what they are made of."""
    found: dict[str, TensorVariable] = {}
    for parameter, one in model.selections:
        sizes = _horseshoe(parameter, one) if isinstance(one.prior, Horseshoe) else _r2d2(parameter, one)
        own = pm.Normal(f"select_{parameter}", 0.0, 1.0, shape=len(one.members)) * sizes
        for k, coefficient in enumerate(one.coefficients(parameter)):
            found[coefficient.name] = pm.Deterministic(coefficient.name, own[k] / np.float64(one.scales[k]))
    return found


def _horseshoe(parameter: str, one: Select) -> TensorVariable:
    prior, number = one.prior, len(one.members)
    tau0 = np.float64(prior.global_scale(number, one.n_subject))
    tau = pm.HalfCauchy(f"select_{parameter}_global", beta=tau0)
    local = pm.HalfCauchy(f"select_{parameter}_local", beta=np.float64(1.0), shape=number)
    half = np.float64(prior.slab_nu / 2)
    slab2 = pm.InverseGamma(f"select_{parameter}_slab2", alpha=half, beta=half * np.float64(prior.slab) ** 2)
    wide = tau * local
    return wide * pt.sqrt(slab2 / (slab2 + pt.sqr(wide)))


def _r2d2(parameter: str, one: Select) -> TensorVariable:
    prior, number = one.prior, len(one.members)
    share = pm.Beta(
        f"select_{parameter}_r2",
        alpha=np.float64(prior.mean * prior.nu),
        beta=np.float64((1 - prior.mean) * prior.nu),
    )
    parts = pm.Dirichlet(f"select_{parameter}_parts", a=np.full(number, prior.concentration))
    return np.float64(prior.omega) * pt.sqrt(share / (1.0 - share) * parts)


def selection_starts(model: PopModel) -> dict[str, Any]:
    """Where chains start: coefficients at 0, everything else at a typical value."""
    found: dict[str, Any] = {}
    for parameter, one in model.selections:
        name, number = f"select_{parameter}", len(one.members)
        found[name] = np.zeros(number)
        if isinstance(one.prior, Horseshoe):
            found[f"{name}_global"] = one.prior.global_scale(number, one.n_subject)
            found[f"{name}_local"] = np.ones(number)
            found[f"{name}_slab2"] = one.prior.slab**2
        else:
            found[f"{name}_r2"] = one.prior.mean
            found[f"{name}_parts"] = np.full(number, 1 / number)
    return found
