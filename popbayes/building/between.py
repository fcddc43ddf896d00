"""Random effects sampled in coordinates that fit each subject: between centred and non-centred.

The coordinates are an affine map of the random effects, exact for every value of the population
parameters, so that the posterior is that of the model; only its shape, as the sampler sees it, changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from popbayes import dims

ETA_WHITE = "eta_white"
"""Random effects given the data's information on each subject, standardised: nearly standard normal."""
JACOBIAN = "eta_white_density"
"""Name of the term of the log density that accounts for the change of variables."""

Triangle = list[list[Any]]
"""A lower triangular matrix as scalars or columns, zeros above left out."""


@dataclass(frozen=True, eq=False)
class Information:
    r"""What the observations of each subject alone say of its random effects, as a normal likelihood.

    With :math:`\varphi_i = \mu_i + \eta_i` the individual parameters on the scales where random effects
    are added, the likelihood of subject `i` is taken to be near
    :math:`\exp(-\tfrac12 \varphi_i^\top \Lambda_i \varphi_i + b_i^\top \varphi_i)`. It decides how well the
    sampler moves, and nothing else.

    Attributes
    ----------
    names : tuple of str
        The parameters, in the order of the model's random effects.
    precision : (n_subject, n, n)
        :math:`\Lambda_i`, symmetric with no negative eigenvalue.
    pull : (n_subject, n)
        :math:`b_i = \Lambda_i \hat\varphi_i`.
    """

    names: tuple[str, ...]
    precision: np.ndarray
    pull: np.ndarray

    @classmethod
    def of_mean(
        cls, names: Sequence[str], precision: np.ndarray, mean: np.ndarray, prior: np.ndarray, mu: np.ndarray
    ) -> "Information":
        r"""From its precision, and each subject's conditional mean at one set of population values.

        .. math:: b_i = (\Lambda_i + \Omega^{-1})\, m_i - \Omega^{-1} \mu_i

        Eigenvalues of the precision below 0 are set to 0, and so are those of a millionth of the population's
        precision and less: rounding.

        Parameters
        ----------
        precision : (n_subject, n, n)
        mean : (n_subject, n)
            :math:`m_i` of :math:`\varphi_i` given the data and population values.
        prior : (n, n)
            :math:`\Omega` there.
        mu : (n_subject, n)
            :math:`\mu_i` there.
        """
        root = np.linalg.cholesky(prior)
        inverse = np.linalg.inv(root)
        # in units in which the population has covariance 1, so that "little" means the same in all directions
        size, vectors = np.linalg.eigh(root.T @ precision @ root)
        size = np.where(size > 1e-6, size, 0.0)
        precision = inverse.T @ (vectors * size[:, None, :]) @ np.swapaxes(vectors, 1, 2) @ inverse
        precision = (precision + np.swapaxes(precision, 1, 2)) / 2
        known = inverse.T @ inverse
        return cls(tuple(names), precision, np.einsum("nij,nj->ni", precision + known, mean) - mu @ known)

    @cached_property
    def eta_dim(self) -> str:
        """Dimension of the sampled variable over `names`."""
        return f"{ETA_WHITE}_of"

    def only(self, names: Sequence[str]) -> "Information":
        """The same for some of the parameters, the others left where they are."""
        index = [self.names.index(name) for name in names]
        return Information(tuple(names), self.precision[:, index][:, :, index], self.pull[:, index])


def informed_effects(
    information: Information, omega: Any, correlation: Triangle | None, centres: Sequence[Any]
) -> list[Any]:
    r"""Random effects as an affine map of standardised ones, subject by subject.

    With :math:`P = \Omega^{-1}` and :math:`C_i C_i^\top = \Lambda_i + P`:

    .. math:: \eta_i = (\Lambda_i + P)^{-1} (b_i - \Lambda_i \mu_i) + C_i^{-\top} z_i

    Without information (:math:`\Lambda_i = 0`) this is the non-centred form, with much information the
    centred one; the likelihood being normal, :math:`z_i` is standard normal and independent of the
    population parameters whatever these are. The density of the random effects, with the Jacobian
    :math:`1 / |C_i|`, replaces that of :math:`z_i` in a term of its own.

    Parameters
    ----------
    omega : (n,) SDs of the random effects
    correlation : Cholesky factor of their correlation matrix, or None
    centres : each scalar or (n_subject,): :math:`\mu_i` of each parameter

    Returns
    -------
    list of (n_subject,), in the order of `information.names`

    References
    ----------
    Papaspiliopoulos, Roberts & Sköld, *Statistical Science* 22 (2007) 59-73, on partial centring.
    """
    number = len(information.names)
    white = pm.Normal(ETA_WHITE, 0.0, 1.0, dims=(dims.SUBJECT, information.eta_dim))
    z = [white[:, k] for k in range(number)]
    known, log_determinant = _population_precision(omega, correlation, number)
    data = information.precision
    both = [[data[:, i, j] + known[i][j] for j in range(i + 1)] for i in range(number)]
    factor = _factor(both)
    pull = [
        information.pull[:, k] - _sum(data[:, k, j] * centres[j] for j in range(number))
        for k in range(number)
    ]
    shifted = [one + own for one, own in zip(_forward(factor, pull), z, strict=True)]
    eta = _backward(factor, shifted)
    inside = _sum(
        known[i][j] * eta[i] * eta[j] * (1.0 if i == j else 2.0)
        for i in range(number)
        for j in range(i + 1)
        if i == j or correlation is not None
    )
    jacobian = _sum(pt.log(factor[k][k]) for k in range(number))
    moved = -0.5 * inside + 0.5 * _sum(one**2 for one in z) - jacobian + log_determinant
    pm.Potential(JACOBIAN, moved.sum())
    return eta


def _population_precision(omega: Any, correlation: Triangle | None, number: int) -> tuple[Triangle, Any]:
    """Lower triangle of the inverse covariance, and half the logarithm of its determinant."""
    rates = [1.0 / omega[k] for k in range(number)]
    log_determinant = _sum(pt.log(one) for one in rates)
    if correlation is None:
        zero = np.float64(0.0)
        return [[*[zero] * i, rates[i] ** 2] for i in range(number)], log_determinant
    inverse = inverse_triangle(correlation)
    log_determinant = log_determinant + _sum(pt.log(pt.as_tensor(inverse[k][k])) for k in range(number))
    rows = [
        [
            _sum(inverse[k][i] * inverse[k][j] for k in range(i, number)) * rates[i] * rates[j]
            for j in range(i + 1)
        ]
        for i in range(number)
    ]
    return rows, log_determinant


def inverse_triangle(factor: Triangle) -> Triangle:
    """Inverse of a lower triangular matrix."""
    out: Triangle = []
    for i, row in enumerate(factor):
        diagonal = 1.0 / row[i]
        new = [-diagonal * sum(row[k] * out[k][j] for k in range(j, i)) for j in range(i)]
        out.append([*new, diagonal])
    return out


def _factor(matrix: Triangle) -> Triangle:
    """Cholesky factor of a symmetric matrix given by its lower triangle of columns."""
    out: Triangle = []
    for i, row in enumerate(matrix):
        new: list[Any] = []
        for j in range(i):
            rest = row[j] - _sum(new[k] * out[j][k] for k in range(j))
            new.append(rest / out[j][j])
        new.append(pt.sqrt(row[i] - _sum(one**2 for one in new)))
        out.append(new)
    return out


def _forward(factor: Triangle, right: Sequence[Any]) -> list[Any]:
    """Solve ``C u = right``."""
    out: list[Any] = []
    for i, row in enumerate(factor):
        out.append((right[i] - _sum(row[k] * out[k] for k in range(i))) / row[i])
    return out


def _backward(factor: Triangle, right: Sequence[Any]) -> list[Any]:
    """Solve ``C^T u = right``."""
    number = len(factor)
    out: list[Any] = [None] * number
    for i in reversed(range(number)):
        out[i] = (right[i] - _sum(factor[k][i] * out[k] for k in range(i + 1, number))) / factor[i][i]
    return out


def _sum(terms: Any) -> Any:
    """Sum without a leading zero; 0 where there are none."""
    total: Any = None
    for term in terms:
        total = term if total is None else total + term
    return np.float64(0.0) if total is None else total
