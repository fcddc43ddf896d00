"""Random effects on the Box-Cox scale, sampled as individual values."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from popbayes import dims
from popbayes.building.between import Triangle, inverse_triangle
from popbayes.building.omegas import times
from popbayes.building.starts import PHI


def skewed_centred(
    names: Sequence[str],
    shapes: Mapping[str, Any],
    omega: TensorVariable,
    factor: Triangle | None,
    centres: Sequence[TensorVariable],
    over: str,
) -> list[TensorVariable]:
    r"""Individual values :math:`\phi_i` as variables, of which some are on the Box-Cox scale.

    There :math:`\phi_i = \mu_i + ((e^{\eta_i})^\lambda - 1) / \lambda`, so that
    :math:`\eta_i = \log(1 + \lambda(\phi_i - \mu_i)) / \lambda` and
    :math:`\log |d\eta_i / d\phi_i| = -\lambda\eta_i`. Where :math:`1 + \lambda(\phi_i - \mu_i)` is not
    positive the density is zero.

    Returns
    -------
    list of (n_subject,)
        The random effects :math:`\eta_i`.
    """
    phi = pm.Flat(PHI, dims=(dims.SUBJECT, over))
    moved = [phi[:, k] - centre for k, centre in enumerate(centres)]
    eta = [
        straightened(one, shapes[name]) if name in shapes else one
        for name, one in zip(names, moved, strict=True)
    ]
    inside = [one / omega[k] for k, one in enumerate(eta)]
    size = sum(pt.log(omega[k]) for k in range(len(eta)))
    if factor is not None:
        inverse = inverse_triangle(factor)
        inside = times(inverse, inside)
        size = size - sum(pt.log(pt.as_tensor(row[-1])) for row in inverse)
    jacobian = sum(shapes[name] * one for name, one in zip(names, eta, strict=True) if name in shapes)
    density = -0.5 * sum(one**2 for one in inside) - size - 0.5 * len(eta) * np.log(2 * np.pi)
    pm.Potential(f"{PHI}_density", pt.sum(density - jacobian))
    return eta


def straightened(moved: TensorVariable, shape: Any) -> TensorVariable:
    """Inverse of the transform: ``log(1 + shape * moved) / shape``, smooth where shape goes through 0."""
    x = shape * moved
    small = pt.lt(pt.abs(x), 1e-4)
    safe = pt.where(small, 1.0, x)
    series = 1.0 - x / 2.0 + x**2 / 3.0 - x**3 / 4.0
    return moved * pt.where(small, series, pt.log1p(safe) / safe)
