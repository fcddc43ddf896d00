"""SDs and correlations of random effects as variables of the graph."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from popbayes.building.families import family as family_of
from popbayes.building.together import omega_together
from popbayes.parameters.family import AbstractPrior
from popbayes.parameters.priors import Fixed

Triangle = list[list[Any]]
"""A lower triangular matrix as scalars, zeros above left out."""


def variable(name: str, prior: AbstractPrior, over: str | None = None) -> Any:
    """A free variable, or the known value."""
    if isinstance(prior, Fixed):
        return np.float64(prior.value)
    family, arguments = prior.pymc
    return family_of(family)(name, **arguments, dims=over)


def scales(name: str, priors: Mapping[str, AbstractPrior], over: str) -> TensorVariable:
    """SDs of random effects, (over,): one variable where the priors are of one family."""
    together = omega_together(priors)
    if together is not None:
        family, arguments = together
        return family_of(family)(name, **arguments, dims=over)
    each = [variable(f"{name}_{key}", prior) for key, prior in priors.items()]
    stacked = pt.stack([pt.as_tensor(one, dtype="float64") for one in each])
    return pm.Deterministic(name, stacked, dims=over)


def cholesky(blocks: Sequence[tuple[Sequence[int], float]], number: int, partial: str, over: str) -> Triangle:
    r"""Cholesky factor of the correlation matrix of `number` random effects; registers `partial`.

    The LKJ distribution of a `d` x `d` correlation matrix is that of independent canonical partial
    correlations :math:`r_{ij} = 2 b_{ij} - 1` with :math:`b_{ij} \sim \mathrm{Beta}(a_j, a_j)`,
    :math:`a_j = \text{lkj} + (d - 1 - j) / 2` for `j < i`, counted from 1; then
    :math:`L_{ij} = r_{ij} \prod_{k<j} \sqrt{1 - r_{ik}^2}` and
    :math:`L_{ii} = \prod_{k<i} \sqrt{1 - r_{ik}^2}`.

    Parameters
    ----------
    blocks : sequence of (places, LKJ shape)
        Which effects are correlated with each other.

    References
    ----------
    Lewandowski, Kurowicka & Joe, J. Multivariate Anal. 100 (2009) 1989-2001, section 2.
    """
    shapes = [
        lkj + (len(index) - 2 - low) / 2
        for index, lkj in blocks
        for high in range(1, len(index))
        for low in range(high)
    ]
    shape = np.float64(shapes[0]) if len(set(shapes)) == 1 else np.array(shapes)
    share = pm.Beta(partial, alpha=shape, beta=shape, dims=over)
    factor = identity(number)
    at = 0
    for index, _ in blocks:
        for row, high in enumerate(index):
            rest: Any = 1.0
            for low in index[:row]:
                one = share[at]
                factor[high][low] = (2.0 * one - 1.0) * rest
                rest = 2.0 * pt.sqrt(one * (1.0 - one)) * rest
                at += 1
            factor[high][high] = rest
    return factor


def identity(number: int) -> Triangle:
    """The factor without correlations."""
    return [[0.0] * row + [1.0] for row in range(number)]


def matrix(triangle: Triangle) -> TensorVariable:
    """A triangle of scalars as a square matrix."""
    number = len(triangle)
    cells = [one for row in triangle for one in [*row, *[0.0] * (number - len(row))]]
    return pt.stack([pt.as_tensor(one, dtype="float64") for one in cells]).reshape((number, number))


def square(factor: Triangle) -> TensorVariable:
    """A lower triangular matrix of scalars times its transpose."""
    number = len(factor)
    below = [[dot(factor[i], factor[j]) for j in range(i)] for i in range(number)]
    cells = [1.0 if i == j else below[max(i, j)][min(i, j)] for i in range(number) for j in range(number)]
    return pt.stack([pt.as_tensor(one, dtype="float64") for one in cells]).reshape((number, number))


def dot(row: Sequence[Any], columns: Sequence[Any]) -> Any:
    """Sum of products, as far as both go; what is known to be zero is left out."""
    pairs = ((a, b) for a, b in zip(row, columns, strict=False) if not (is_zero(a) or is_zero(b)))
    return sum((a * b for a, b in pairs), start=0.0)


def times(triangle: Triangle, columns: Sequence[TensorVariable]) -> list[TensorVariable]:
    """A lower triangular matrix times columns; entries known to be zero are left out."""
    return [dot(row, columns) for row in triangle]


def is_zero(entry: Any) -> bool:
    """Whether an entry is known to be zero."""
    return isinstance(entry, float) and entry == 0.0
