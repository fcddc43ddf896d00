"""Random effects sampled in coordinates that fit each subject: between centred and non-centred.

The coordinates are an affine map of the random effects, exact for every value of the population
parameters, so that the posterior is that of the model; only its shape, as the sampler sees it, changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt

from popbayes import dims
from popbayes.building.affine_op import InformedEffects

ETA_WHITE = "eta_white"
"""Random effects given the data's information on each subject, standardised: nearly standard normal."""
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
    groups : mapping of level to Information
        The same of groups within subjects (occasions) in place of subjects. That of subjects is then what
        their observations say where the effects of their groups are not known.
    """

    names: tuple[str, ...]
    precision: np.ndarray
    pull: np.ndarray
    groups: Mapping[str, "Information"] = field(default_factory=dict)

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
        precision = self.precision[:, index][:, :, index]
        return Information(tuple(names), precision, self.pull[:, index], self.groups)

    def standardised(self, effects: np.ndarray, covariance: np.ndarray, places: np.ndarray) -> np.ndarray:
        """The standardised coordinates of random effects, (n_subject, n): the inverse of `informed_effects`.

        Parameters
        ----------
        effects, places : (n_subject, n)
        covariance : (n, n)
        """
        factor = np.linalg.cholesky(self.precision + np.linalg.inv(covariance))
        pull = self.pull - np.einsum("nij,nj->ni", self.precision, places)
        shift = np.linalg.solve(factor, pull[..., None])[..., 0]
        return np.einsum("nji,nj->ni", factor, effects) - shift


def informed_effects(
    information: Information,
    omega: Any,
    correlation: Any | None,
    centres: Sequence[Any],
    white: str = ETA_WHITE,
    over: tuple[str, str] | None = None,
) -> list[Any]:
    r"""Random effects as an affine map of standardised ones, subject by subject (or group by group).

    With :math:`P = \Omega^{-1}` and :math:`C_i C_i^\top = \Lambda_i + P`:

    .. math:: \eta_i = (\Lambda_i + P)^{-1} (b_i - \Lambda_i \mu_i) + C_i^{-\top} z_i

    Without information (:math:`\Lambda_i = 0`) this is the non-centred form, with much information the
    centred one; the likelihood being normal, :math:`z_i` is standard normal and independent of the
    population parameters whatever these are. The density of the random effects, with the Jacobian
    :math:`1 / |C_i|`, replaces that of :math:`z_i` in a term of its own.

    Parameters
    ----------
    omega : (n,) SDs of the random effects
    correlation : (n, n) Cholesky factor of their correlation matrix, or None
    centres : each scalar or (n_subject,): :math:`\mu_i` of each parameter
    white, over
        Name and dimensions of the standardised effects.

    Returns
    -------
    list of (n_subject,), in the order of `information.names`

    References
    ----------
    Papaspiliopoulos, Roberts & Sköld, *Statistical Science* 22 (2007) 59-73, on partial centring.
    """
    number = len(information.names)
    drawn = pm.Normal(white, 0.0, 1.0, dims=over or (dims.SUBJECT, information.eta_dim))
    factor = pt.constant(np.eye(number)) if correlation is None else correlation
    op = InformedEffects(tuple(pt.as_tensor(one).ndim == 1 for one in centres))
    # shared, not constants: they differ from one warm start to the next, compiled code need not
    known = (pytensor.shared(information.precision), pytensor.shared(information.pull))
    *eta, density = op(drawn, omega, factor, *known, *centres, return_list=True)[: number + 1]
    pm.Potential(f"{white}_density", density)
    return eta


def inverse_triangle(factor: Triangle) -> Triangle:
    """Inverse of a lower triangular matrix."""
    out: Triangle = []
    for i, row in enumerate(factor):
        diagonal = 1.0 / row[i]
        new = [-diagonal * sum(row[k] * out[k][j] for k in range(j, i)) for j in range(i)]
        out.append([*new, diagonal])
    return out
