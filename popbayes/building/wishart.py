"""Inverse-Wishart priors of covariance matrices, stated on standard deviations and correlations."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable
from scipy import special, stats

from popbayes import dims
from popbayes.building.families import density
from popbayes.model import PopModel
from popbayes.parameters.spread import InverseWishart

Triangle = Sequence[Sequence[Any]]


def covariance_potentials(model: PopModel, omega: Any, factor: Triangle | None) -> None:
    r"""Turn marginal priors of the SDs and a uniform prior of the correlations into inverse-Wishart priors.

    The graph holds the SDs with the marginal priors of the inverse Wishart and the correlations with a
    uniform one; what is added is the logarithm of

    .. math:: \frac{\mathrm{IW}(D R D \mid \nu, S) \prod_i 2 \omega_i^d}{\prod_i p(\omega_i)\, p(R)},

    in which the product is the Jacobian of :math:`(\omega, R) \mapsto D R D`. Nothing is approximate.
    """
    for number, (names, prior) in enumerate(model.covariance_priors):
        index = [model.eta_names.index(name) for name in names]
        rows = [[factor[i][j] for j in index[: k + 1]] for k, i in enumerate(index)] if factor else []
        sds = [omega[i] for i in index]
        added = inverse_wishart_logp(sds, rows, prior) - uniform_logp(prior.size)
        for k, sd in enumerate(sds):
            family, arguments = prior.marginal(k).pymc
            added = added - density(family, sd, **arguments)
        pm.Potential(f"{dims.OMEGA}_prior" + (f"_{number}" if number else ""), added)


def inverse_wishart_logp(sds: Sequence[Any], rows: Triangle, prior: InverseWishart) -> TensorVariable:
    """Log density of SDs and the Cholesky factor of a correlation matrix, over SDs and correlations."""
    d, nu, scale = prior.size, prior.nu, prior.scale
    lower = pt.stack([pt.as_tensor(rows[i][j] * sds[i] if j <= i else 0.0, dtype="float64")
                      for i in range(d) for j in range(d)]).reshape((d, d))  # fmt: skip
    half = np.linalg.cholesky(scale)
    white = pt.linalg.solve_triangular(lower, half, lower=True)
    log_det = 2.0 * sum(pt.log(rows[i][i]) + pt.log(sds[i]) for i in range(d))
    constant = nu * np.log(np.diag(half)).sum() - 0.5 * nu * d * np.log(2.0) - special.multigammaln(nu / 2, d)
    density = constant - 0.5 * (nu + d + 1) * log_det - 0.5 * pt.sum(pt.sqr(white))
    return density + d * np.log(2.0) + d * sum(pt.log(sd) for sd in sds)


def uniform_logp(size: int) -> float:
    """Log density of the uniform distribution of correlation matrices: that of its factors at none."""
    shapes = [1.0 + (size - 2 - low) / 2 for high in range(1, size) for low in range(high)]
    return float(sum(stats.beta.logpdf(0.5, shape, shape) - np.log(2.0) for shape in shapes))
