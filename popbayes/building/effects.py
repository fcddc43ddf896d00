"""Random effects as variables: their SDs, correlations and both ways to sample them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.shape_utils import rv_size_is_none
from pytensor.tensor.variable import TensorVariable

from popbayes import dims
from popbayes.building.between import Information, Triangle, informed_effects, inverse_triangle
from popbayes.building.families import family as family_of
from popbayes.building.starts import ETA_RAW, PAIR, PARTIAL, PHI, centring, first_segments, omega_together
from popbayes.building.wishart import covariance_potentials
from popbayes.data.design import Design
from popbayes.model import PopModel
from popbayes.parameters.family import AbstractPrior
from popbayes.parameters.priors import Fixed


def variable(name: str, prior: AbstractPrior, over: str | None = None) -> Any:
    """A free variable, or the known value."""
    if isinstance(prior, Fixed):
        return np.float64(prior.value)
    family, arguments = prior.pymc
    return family_of(family)(name, **arguments, dims=over)


def _omega(model: PopModel) -> TensorVariable:
    """SDs of the random effects, (eta_of,): one variable where the priors are of one family."""
    together = omega_together(model.omega_priors)
    if together is not None:
        family, arguments = together
        return family_of(family)(dims.OMEGA, **arguments, dims=dims.ETA_OF)
    each = [variable(f"{dims.OMEGA}_{name}", prior) for name, prior in model.omega_priors.items()]
    stacked = pt.stack([pt.as_tensor(one, dtype="float64") for one in each])
    return pm.Deterministic(dims.OMEGA, stacked, dims=dims.ETA_OF)


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


def _matrix(triangle: Triangle) -> TensorVariable:
    """A triangle of scalars as a square matrix."""
    number = len(triangle)
    cells = [one for row in triangle for one in [*row, *[0.0] * (number - len(row))]]
    return pt.stack([pt.as_tensor(one, dtype="float64") for one in cells]).reshape((number, number))


def _square(factor: Triangle) -> TensorVariable:
    """A lower triangular matrix of scalars times its transpose."""
    number = len(factor)
    below = [[_dot(factor[i], factor[j]) for j in range(i)] for i in range(number)]
    cells = [1.0 if i == j else below[max(i, j)][min(i, j)] for i in range(number) for j in range(number)]
    return pt.stack([pt.as_tensor(one, dtype="float64") for one in cells]).reshape((number, number))


def _dot(row: Sequence[Any], columns: Sequence[Any]) -> Any:
    """Sum of products, as far as both go; what is known to be zero is left out."""
    pairs = ((a, b) for a, b in zip(row, columns, strict=False) if not (_is_zero(a) or _is_zero(b)))
    return sum((a * b for a, b in pairs), start=0.0)


def random_effects(
    model: PopModel,
    design: Design,
    places: Mapping[str, TensorVariable],
    information: Information | None = None,
) -> dict[str, TensorVariable]:
    """Random effect of every parameter that has one, (subject,) each; registers `omega`, `corr` and `eta`.

    Each effect is written out over columns and scalars, without matrix products: PyTensor fuses it
    into the loop that computes the parameter, and less is compiled.
    """
    if not model.eta_names:
        return {}
    omega, factor = _omega(model), _cholesky(model)
    covariance_potentials(model, omega, factor)
    if factor is not None:
        pm.Deterministic(dims.CORR, _square(factor), dims=(dims.ETA_OF, dims.ETA_OF2))
    ways = centring(model, information)
    mixed = sum(map(bool, ways)) > 1
    effects: dict[str, TensorVariable] = {}
    for names, make in zip(ways, (_centred, _non_centred, _between(information)), strict=True):
        if names:
            index = [model.eta_names.index(name) for name in names]
            sds = omega[np.array(index)] if mixed else omega
            rows = None if factor is None else [[factor[i][j] for j in index if j <= i] for i in index]
            columns = make(sds, rows, mixed, design, [places[name] for name in names])
            effects |= dict(zip(names, columns, strict=True))
    in_order = {name: effects[name] for name in model.eta_names}
    pm.Deterministic(dims.ETA, pt.stack(list(in_order.values()), axis=1), dims=(dims.SUBJECT, dims.ETA_OF))
    return in_order


def _non_centred(
    omega: TensorVariable, factor: Triangle | None, mixed: bool, design: Design, places: Sequence[Any]
) -> list[TensorVariable]:
    """Standard normal variables, correlated and scaled."""
    over = (dims.SUBJECT, f"{ETA_RAW}_of" if mixed else dims.ETA_OF)
    raw = pm.Normal(ETA_RAW, 0.0, 1.0, dims=over)
    columns = [raw[:, k] for k in range(len(places))]
    standard = columns if factor is None else _times(factor, columns)
    return [omega[k] * column for k, column in enumerate(standard)]


def _centred(
    omega: TensorVariable, factor: Triangle | None, mixed: bool, design: Design, places: Sequence[Any]
) -> list[TensorVariable]:
    """Individual parameters as variables around their locations: the distances from these."""
    over = (dims.SUBJECT, f"{PHI}_of" if mixed else dims.ETA_OF)
    centres = _centres(design, places)
    if any(one.ndim for one in centres):
        centre = pt.stack([one + np.zeros(design.n_subject) for one in centres], axis=1)
    else:
        centre = pt.stack(centres)
    if factor is None:
        phi = pm.Normal(PHI, centre, omega, dims=over)
    else:
        phi = _correlated_normal(centre, omega, factor, over)
    return [phi[:, k] - one for k, one in enumerate(centres)]


def _between(information: Information | None) -> Any:
    """Standardised by the information on each subject; its place among the ways to sample an effect."""

    def make(
        omega: TensorVariable, factor: Triangle | None, mixed: bool, design: Design, places: Sequence[Any]
    ) -> list[TensorVariable]:
        assert information is not None  # `centring` puts no parameter here without it
        return informed_effects(information, omega, factor, _centres(design, places))

    return make


def _centres(design: Design, places: Sequence[Any]) -> list[TensorVariable]:
    """Locations of each subject in its first segment, (subject,); scalars where they are the same for all."""
    first = first_segments(design)
    return [place if place.ndim == 0 else place[first] for place in map(pt.as_tensor, places)]


def _correlated_normal(
    centre: TensorVariable, omega: TensorVariable, factor: Triangle, over: tuple[str, str]
) -> TensorVariable:
    r"""Multivariate normal variable with covariance :math:`D L L^T D`, `D` = diag(omega).

    PyMC's own takes a triangular solve for each evaluation, and twice the time; here the inverse of
    :math:`D L` comes with the factor, as the numbers of its lower triangle.
    """
    scale = omega[:, None] * _matrix(factor)
    whitening = [entry / omega[j] for row in inverse_triangle(factor) for j, entry in enumerate(row)]
    return pm.CustomDist(
        PHI,
        centre,
        scale,
        pt.stack(whitening),
        logp=_normal_logp,
        dist=_normal_draw,
        support_point=_normal_centre,
        signature="(n),(n,n),(m)->(n)",
        class_name="MvNormal",
        dims=over,
    )


def _normal_logp(
    value: TensorVariable, centre: TensorVariable, scale: TensorVariable, whitening: TensorVariable
) -> TensorVariable:
    """Log density of `_correlated_normal`, (subject,)."""
    number = scale.type.shape[-1]
    distance = [value[..., k] - centre[..., k] for k in range(number)]
    entries = [whitening[k] for k in range(number * (number + 1) // 2)]
    rows = [entries[i * (i + 1) // 2 : (i + 1) * (i + 2) // 2] for i in range(number)]
    squares = sum(one**2 for one in _times(rows, distance))
    return sum(pt.log(row[-1]) for row in rows) - 0.5 * squares - 0.5 * number * np.log(2 * np.pi)


def _normal_draw(
    centre: TensorVariable, scale: TensorVariable, whitening: TensorVariable, size: Any
) -> TensorVariable:
    """The same distribution, to draw from."""
    each = centre.shape if rv_size_is_none(size) else pt.concatenate([size, centre.shape[-1:]])
    return centre + pm.Normal.dist(0.0, 1.0, size=each) @ scale.T


def _normal_centre(rv: TensorVariable, size: Any, centre: TensorVariable, *rest: Any) -> TensorVariable:
    """Where PyMC starts: the mean."""
    return pt.broadcast_to(centre, rv.shape)


def _times(triangle: Triangle, columns: Sequence[TensorVariable]) -> list[TensorVariable]:
    """A lower triangular matrix times columns; entries known to be zero are left out."""
    return [_dot(row, columns) for row in triangle]


def _is_zero(entry: Any) -> bool:
    return isinstance(entry, float) and entry == 0.0
