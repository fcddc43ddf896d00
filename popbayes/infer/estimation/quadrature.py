r"""Adaptive Gauss-Hermite quadrature of each subject's integral over its random effects."""

from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import ClassVar, final

import numpy as np

from popbayes.infer.estimation.conditional import AbstractConditional
from popbayes.infer.estimation.method import Found, Problem
from popbayes.infer.estimation.outer import minimise
from popbayes.infer.subject_logp import LOG_2PI, SubjectDensity, Values
from popbayes.infer.tree import Study

MOST_NODES = 100_000
"""Of one subject's grid; beyond it, importance sampling is the better method."""
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
    r"""-2 log of each subject's likelihood, (n_subject,), by quadrature around `eta`.

    With `C` a root of the inverse of the expected information at `eta`,

    .. math:: L_i \approx |C| (2\pi)^{n_\eta / 2} \sum_q w_q\, e^{|z_q|^2 / 2}\,
              p(y_i, \eta_i + C z_q \mid \theta)

    Parameters
    ----------
    density : SubjectDensity
    values : population values
    eta : (n_subject, n_eta)
        Conditional modes.
    n : int
        Nodes in each dimension; one is FOCEI.

    References
    ----------
    Pinheiro & Bates, *J Comput Graph Stat* 4 (1995) 12-35.
    """
    nodes, log_weights = grid(n, density.n_eta)
    here = density.local(values, eta)
    # H = L L' and C = L^-T: C C' is the inverse of H
    root = np.swapaxes(np.linalg.inv(np.linalg.cholesky(here.information)), 1, 2)
    size = max(1, CHUNK // max(1, density.study.design.n_obs))
    heights = []
    for start in range(0, len(nodes), size):
        z = nodes[start : start + size]
        points = eta + np.einsum("ikl,ql->qik", root, z)
        heights.append(density.joint(values, points) + 0.5 * np.sum(z**2, axis=1)[:, None])
    height = np.concatenate(heights) + log_weights[:, None]
    top = np.max(height, axis=0)
    total = top + np.log(np.sum(np.exp(height - top), axis=0))
    return -2.0 * total - density.n_eta * LOG_2PI + here.log_determinant


@final
@dataclass(frozen=True)
class Quadrature(AbstractConditional):
    """Adaptive Gauss-Hermite quadrature: as exact as one likes, for few random effects.

    Parameters
    ----------
    n : int
        Nodes in each dimension, `n` to the power of the number of random effects in all. 5 is enough for most
        studies, 9 for a reference; 1 is FOCEI.
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
