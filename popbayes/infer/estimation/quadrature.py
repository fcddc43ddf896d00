r"""Adaptive Gauss-Hermite quadrature of each subject's integral over its random effects."""

from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import ClassVar, final

import numpy as np

from popbayes.infer.estimation.conditional import AbstractConditional
from popbayes.infer.estimation.curvature import exact_curvature
from popbayes.infer.estimation.method import Found, Problem
from popbayes.infer.estimation.outer import minimise
from popbayes.infer.subject_logp import LOG_2PI, SubjectDensity, Values
from popbayes.infer.tree import Study

MOST_NODES = 100_000
"""Of one subject's grid; beyond it, importance sampling is the better method."""
ENOUGH_FOR_MOMENTS = 3
"""Nodes from which a pass gives moments worth using."""
MOST_RESCALED = 20.0
"""Factor between the covariance by moments and that at the mode beyond which the former is not believed."""
CHUNK = 2**21
"""Predictions (nodes x observations) computed at a time: 16 MiB."""


@cache
def grid(n: int, dimension: int) -> tuple[np.ndarray, np.ndarray]:
    r"""Nodes (n_node, dimension) and log weights (n_node,) for integrals against a standard normal.

    .. math:: \int g(z)\,\mathrm{Normal}(z \mid 0, 1)\,dz \approx \sum_q w_q\, g(z_q)
    """
    points, weights = np.polynomial.hermite_e.hermegauss(n)
    log_weights = np.log(weights) - 0.5 * LOG_2PI
    nodes = np.array(list(product(points, repeat=dimension))).reshape(-1, dimension)
    logs = np.array([sum(one) for one in product(log_weights, repeat=dimension)])
    return nodes, logs


def marginal(density: SubjectDensity, values: Values, eta: np.ndarray, n: int) -> np.ndarray:
    r"""-2 log of each subject's likelihood, (n_subject,), by adaptive quadrature.

    With a centre `c` and a root `C` of a covariance,

    .. math:: L_i \approx |C| (2\pi)^{n_\eta / 2} \sum_q w_q\, e^{|z_q|^2 / 2}\,
              p(y_i, c + C z_q \mid \theta)

    The first pass is centred at the mode, with the inverse of minus the second derivatives there; it gives
    the mean and covariance of the random effects given the data, around which the second pass is made: a
    skewed integrand then needs half the nodes.

    Parameters
    ----------
    density : SubjectDensity
    values : population values
    eta : (n_subject, n_eta)
        Conditional modes.
    n : int
        Nodes in each dimension; one is Laplace's approximation.

    References
    ----------
    Naylor & Smith, *Appl Stat* 31 (1982) 214-225; Pinheiro & Bates, *J Comput Graph Stat* 4 (1995) 12-35.
    """
    root = np.linalg.cholesky(np.linalg.inv(exact_curvature(density, values, eta)))
    found, centre, covariance = _pass(density, values, eta, root, n)
    if n < ENOUGH_FOR_MOMENTS:
        return found
    relative = np.linalg.solve(root, np.swapaxes(np.linalg.solve(root, covariance), 1, 2))
    fine = np.isfinite(relative).all(axis=(1, 2))
    size = (
        np.linalg.eigvalsh(np.where(fine[:, None, None], relative, 0.0)) if density.n_eta else np.ones((1, 1))
    )
    usable = (size[:, 0] > 1 / MOST_RESCALED) & (size[:, -1] < MOST_RESCALED)
    centre = np.where(usable[:, None], centre, eta)
    covariance = np.where(usable[:, None, None], covariance, root @ np.swapaxes(root, 1, 2))
    return _pass(density, values, centre, np.linalg.cholesky(covariance), n)[0]


def _pass(
    density: SubjectDensity, values: Values, centre: np.ndarray, root: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """-2 log L of each subject, with the mean and covariance of its random effects given its data."""
    nodes, log_weights = grid(n, density.n_eta)
    size = max(1, CHUNK // max(1, density.study.design.n_obs))
    heights = []
    for start in range(0, len(nodes), size):
        z = nodes[start : start + size]
        points = centre + np.einsum("ikl,ql->qik", root, z)
        heights.append(density.joint(values, points) + 0.5 * np.sum(z**2, axis=1)[:, None])
    height = np.concatenate(heights) + log_weights[:, None]
    height = np.where(np.isnan(height), -np.inf, height)
    top = np.max(height, axis=0)
    weight = np.exp(height - top)
    total = np.sum(weight, axis=0)
    weight = weight / total
    mean = weight.T @ nodes
    second = np.einsum("qi,qk,ql->ikl", weight, nodes, nodes) - mean[:, :, None] * mean[:, None, :]
    logdet = np.sum(np.log(np.einsum("ikk->ik", root)), axis=1)
    found = -2.0 * (top + np.log(total) + logdet) - density.n_eta * LOG_2PI
    place = centre + np.einsum("ikl,il->ik", root, mean)
    return found, place, root @ second @ np.swapaxes(root, 1, 2)


@final
@dataclass(frozen=True)
class Quadrature(AbstractConditional):
    """Adaptive Gauss-Hermite quadrature: as exact as one likes, for few random effects.

    Parameters
    ----------
    n : int
        Nodes in each dimension, `n` to the power of the number of random effects in all. 5 is enough for most
        studies, 9 for a reference; 1 is `Laplace`.
    """

    n: int = 5

    name: ClassVar[str] = "Quadrature"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.n, int) or isinstance(self.n, bool) or self.n < 1:
            raise ValueError(f"n of pb.Quadrature must be a whole number of at least 1, not {self.n!r}.")

    @property
    def label(self) -> str:
        """With the number of nodes: ``quadrature_5``."""
        return f"quadrature_{self.n}"

    def check(self, study: Study) -> None:
        """Refuse grids that are too large."""
        super().check(study)
        number = self.n ** len(study.model.eta_names)
        if number > MOST_NODES:
            raise ValueError(
                f"{len(study.model.eta_names)} random effects with n={self.n} nodes each need {number} "
                f"points for every subject; at most {MOST_NODES} are used. Take fewer nodes, or pb.Foce() or "
                "pb.Laplace(), whose cost does not grow so."
            )

    def objective(self, density: SubjectDensity, values: Values, eta: np.ndarray) -> np.ndarray:
        """-2 log L of each subject by quadrature around `eta`."""
        return marginal(density, values, eta, self.n)

    def run(self, problem: Problem) -> Found:
        """Minimise the objective over the population values."""
        return minimise(self, problem)
