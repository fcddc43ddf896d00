"""Random effects as variables: their SDs, correlations and both ways to sample them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.shape_utils import rv_size_is_none
from pytensor.tensor.variable import TensorVariable

from popbayes import dims
from popbayes.building.starts import ETA_RAW, PAIR, PARTIAL, PHI, centring, first_segments, omega_together
from popbayes.data.design import Design
from popbayes.model import PopModel
from popbayes.parameters.family import AbstractPrior
from popbayes.parameters.priors import Fixed


def variable(name: str, prior: AbstractPrior, over: str | None = None) -> Any:
    """A free variable, or the known value."""
    if isinstance(prior, Fixed):
        return np.float64(prior.value)
    family, arguments = prior.pymc
    return getattr(pm, family)(name, **arguments, dims=over)


def _omega(model: PopModel) -> TensorVariable:
    """SDs of the random effects, (eta_of,): one variable where the priors are of one family."""
    together = omega_together(model.omega_priors)
    if together is not None:
        family, arguments = together
        return getattr(pm, family)(dims.OMEGA, **arguments, dims=dims.ETA_OF)
    each = [variable(f"{dims.OMEGA}_{name}", prior) for name, prior in model.omega_priors.items()]
    stacked = pt.stack([pt.as_tensor(one, dtype="float64") for one in each])
    return pm.Deterministic(dims.OMEGA, stacked, dims=dims.ETA_OF)


Triangle = list[list[Any]]
"""A lower triangular matrix as scalars, zeros left out."""


def _cholesky(model: PopModel) -> Triangle | None:
    r"""Cholesky factor of the correlation matrix of all random effects; None without correlations.

    The LKJ distribution of a `d` x `d` correlation matrix is that of independent canonical partial
    correlations :math:`r_{ij} = 2 b_{ij} - 1` with :math:`b_{ij} \sim \mathrm{Beta}(a_j, a_j)`,
    :math:`a_j = \text{lkj} + (d - 1 - j) / 2` for `j < i`, counted from 1; then
    :math:`L_{ij} = r_{ij} \prod_{k<j} \sqrt{1 - r_{ik}^2}` and
    :math:`L_{ii} = \prod_{k<i} \sqrt{1 - r_{ik}^2}`.

    References
    ----------
    Lewandowski, Kurowicka & Joe, J. Multivariate Anal. 100 (2009) 1989-2001, section 2.
    """
    blocks = model.correlated_blocks
    if not blocks:
        return None
    shapes = [
        lkj + (len(block) - 2 - low) / 2
        for block, lkj in blocks
        for high in range(1, len(block))
        for low in range(high)
    ]
    shape = np.float64(shapes[0]) if len(set(shapes)) == 1 else np.array(shapes)
    partial = pm.Beta(PARTIAL, alpha=shape, beta=shape, dims=PAIR)
    number = len(model.eta_names)
    factor: Triangle = [[0.0] * row + [1.0] for row in range(number)]
    at = 0
    for block, _ in blocks:
        index = [model.eta_names.index(name) for name in block]
        for row, high in enumerate(index):
            rest: Any = 1.0
            for low in index[:row]:
                share = partial[at]
                factor[high][low] = (2.0 * share - 1.0) * rest
                rest = 2.0 * pt.sqrt(share * (1.0 - share)) * rest
                at += 1
            factor[high][high] = rest
    return factor


def _inverse(factor: Triangle) -> Triangle:
    """Inverse of a lower triangular matrix."""
    out: Triangle = []
    for i, row in enumerate(factor):
        diagonal = 1.0 / row[i]
        new = [-diagonal * sum(row[k] * out[k][j] for k in range(j, i)) for j in range(i)]
        out.append([*new, diagonal])
    return out


def _matrix(triangle: Triangle) -> TensorVariable:
    """A triangle of scalars as a square matrix."""
    number = len(triangle)
    cells = [one for row in triangle for one in [*row, *[0.0] * (number - len(row))]]
    return pt.stack([pt.as_tensor(one, dtype="float64") for one in cells]).reshape((number, number))


def random_effects(
    model: PopModel, design: Design, places: Mapping[str, TensorVariable]
) -> TensorVariable | None:
    """Random effects, (subject, eta_of); None where nobody differs."""
    if not model.eta_names:
        return None
    omega, factor = _omega(model), _cholesky(model)
    if factor is not None:
        whole = _matrix(factor)
        pm.Deterministic(dims.CORR, whole @ whole.T, dims=(dims.ETA_OF, dims.ETA_OF2))
    centred, raw = centring(model)
    mixed = bool(centred and raw)
    parts: dict[str, TensorVariable] = {}
    for names, make in ((raw, _non_centred), (centred, _centred_effects)):
        if names:
            index = [model.eta_names.index(name) for name in names]
            sd = omega[index] if mixed else omega
            part = None if factor is None else [[factor[i][j] for j in index if j <= i] for i in index]
            correlated = any(name in names for block, _ in model.correlated_blocks for name in block)
            effects = make(sd, part if correlated else None, mixed, design, [places[name] for name in names])
            parts |= (
                {name: effects[:, column] for column, name in enumerate(names)} if mixed else {"": effects}
            )
    eta = parts[""] if not mixed else pt.stack([parts[name] for name in model.eta_names], axis=1)
    return pm.Deterministic(dims.ETA, eta, dims=(dims.SUBJECT, dims.ETA_OF))


def _non_centred(
    omega: TensorVariable, factor: Triangle | None, mixed: bool, design: Design, places: Sequence[Any]
) -> TensorVariable:
    """Standard normal variables, scaled and correlated: (subject, effect)."""
    over = (dims.SUBJECT, f"{ETA_RAW}_of" if mixed else dims.ETA_OF)
    raw = pm.Normal(ETA_RAW, 0.0, 1.0, dims=over)
    if factor is None:
        return raw * omega
    return raw @ (omega[:, None] * _matrix(factor)).T


def _centred_effects(
    omega: TensorVariable, factor: Triangle | None, mixed: bool, design: Design, places: Sequence[Any]
) -> TensorVariable:
    """Individual parameters as variables around their locations; their distances: (subject, effect)."""
    over = (dims.SUBJECT, f"{PHI}_of" if mixed else dims.ETA_OF)
    first = first_segments(design)
    columns = [pt.as_tensor(place) for place in places]
    if any(column.ndim for column in columns):
        spread = [column[first] if column.ndim else column + np.zeros(design.n_subject) for column in columns]
        centre = pt.stack(spread, axis=1)
    else:
        centre = pt.stack(columns)
    if factor is None:
        return pm.Normal(PHI, centre, omega, dims=over) - centre
    scale = omega[:, None] * _matrix(factor)
    whitening = _matrix(_inverse(factor)) / omega[None, :]
    phi = pm.CustomDist(
        PHI,
        centre,
        scale,
        whitening,
        logp=_normal_logp,
        dist=_normal_draw,
        support_point=_normal_centre,
        signature="(n),(n,n),(n,n)->(n)",
        class_name="MvNormal",
        dims=over,
    )
    return phi - centre


def _normal_logp(
    value: TensorVariable, centre: TensorVariable, scale: TensorVariable, whitening: TensorVariable
) -> TensorVariable:
    """Log density of a multivariate normal, given the Cholesky factor of its covariance and the inverse."""
    standard = (value - centre) @ whitening.T
    constant = 0.5 * np.log(2 * np.pi) * value.shape[-1]
    return -0.5 * pt.sum(standard**2, axis=-1) + pt.sum(pt.log(pt.diagonal(whitening))) - constant


def _normal_draw(
    centre: TensorVariable, scale: TensorVariable, whitening: TensorVariable, size: Any
) -> TensorVariable:
    """The same distribution, to draw from."""
    each = centre.shape if rv_size_is_none(size) else pt.concatenate([size, centre.shape[-1:]])
    return centre + pm.Normal.dist(0.0, 1.0, size=each) @ scale.T


def _normal_centre(rv: TensorVariable, size: Any, centre: TensorVariable, *rest: Any) -> TensorVariable:
    """Where PyMC starts: the mean."""
    return pt.broadcast_to(centre, rv.shape)
