"""Standard errors: the Fisher information of the marginal likelihood, and what it is made of."""

from dataclasses import dataclass
from typing import Any

import numpy as np

COVARIANCES = ("observed", "scores", "sandwich")
STEP = 1e-2
"""Of a coordinate, in its standard errors by the scores, between the gradients of the observed Hessian."""


@dataclass(frozen=True, eq=False)
class Curvature:
    """Second derivatives of the objective (-2 log L, priors included) at the estimates.

    Attributes
    ----------
    gradient : (size,)
    hessian : (size, size)
        Observed: differences of gradients, the modes found anew at each.
    scores : (n_subject, size)
        Each subject's derivatives of -2 log L.
    """

    gradient: np.ndarray
    hessian: np.ndarray
    scores: np.ndarray

    @property
    def positive(self) -> bool:
        """Whether the place is a minimum: all eigenvalues of the scaled Hessian are positive."""
        diagonal = np.diag(self.hessian)
        if not (np.isfinite(self.hessian).all() and (diagonal > 0).all()):
            return False
        scaled = self.hessian / np.sqrt(np.outer(diagonal, diagonal))
        return bool(np.linalg.eigvalsh(scaled)[0] > 1e-10)


def observed_hessian(method: Any, problem: Any, x: np.ndarray, eta: np.ndarray) -> Curvature:
    """Second derivatives of a conditional method's objective by differences of its gradient.

    Parameters
    ----------
    method : AbstractConditional
    problem : Problem
    x : (size,)
    eta : (n_subject, n_eta)
        The modes at `x`.
    """
    density, coordinates = problem.density.precise, problem.coordinates
    if density is not problem.density:
        closer = method.settle(density, coordinates.values(x), eta)
        if np.isfinite(method.slope(density, coordinates, x, closer).scores).all():
            eta = closer
        else:  # what cannot be solved so closely
            density = problem.density
    here = method.slope(density, coordinates, x, eta)
    steps = STEP * _widths(here.scores, coordinates.steps)
    hessian = np.empty((len(x), len(x)))
    for k in range(len(x)):
        ends = []
        for sign in (1.0, -1.0):
            moved = x.copy()
            moved[k] += sign * steps[k]
            there = method.settle(density, coordinates.values(moved), eta + sign * steps[k] * here.moves[k])
            slope = method.slope(density, coordinates, moved, there).scores.sum(axis=0)
            ends.append(slope + penalty_gradient(problem, moved))
        hessian[k] = (ends[0] - ends[1]) / (2 * steps[k])
    gradient = here.scores.sum(axis=0) + penalty_gradient(problem, x)
    return Curvature(gradient, 0.5 * (hessian + hessian.T), here.scores)


def _widths(scores: np.ndarray, most: np.ndarray) -> np.ndarray:
    """About one standard error of each coordinate, from the scores, at most a factor of e."""
    size = np.sqrt(0.25 * np.sum(scores**2, axis=0))
    with np.errstate(divide="ignore"):
        return np.minimum(np.where(size > 0, 1.0 / size, most), most)


def penalty_gradient(problem: Any, x: np.ndarray) -> np.ndarray:
    """Gradient of -2 log prior by the coordinates, (size,); 0 where priors are not used."""
    found = np.zeros(len(x))
    if problem.log_prior is None:
        return found
    for k in range(len(x)):
        step = np.zeros(len(x))
        step[k] = 1e-5 * problem.coordinates.steps[k]
        found[k] = (problem.penalty(x + step) - problem.penalty(x - step)) / (2 * step[k])
    return found


def covariance_of(curvature: Curvature, kind: str = "observed") -> tuple[np.ndarray | None, str]:
    """Covariance of the estimates in coordinates, or None and why not.

    Parameters
    ----------
    curvature : Curvature
    kind : {"observed", "scores", "sandwich"}
        The inverse of the observed information of log L (NONMEM's MATRIX=R), of the sum of squared scores
        (MATRIX=S), or both (NONMEM's default), which holds for a misspecified model too.
    """
    if kind != "scores" and not curvature.positive:
        return None, (
            "Standard errors could not be computed: the objective is not curved in every direction at the "
            "estimates. Either some value is not determined by these data (look for an omega near 0 or a "
            "correlation near 1): use a simpler model, or priors (use_priors=True); or equations are not "
            "solved closely enough for second derivatives: lower their rtol."
        )
    scores = 0.25 * curvature.scores.T @ curvature.scores
    if kind == "scores":
        if np.linalg.matrix_rank(scores) < len(scores):
            return None, (
                "Standard errors by scores need more subjects than estimated values. Use "
                'covariance="observed".'
            )
        return np.linalg.inv(scores), ""
    observed = np.linalg.inv(0.5 * curvature.hessian)
    return (observed if kind == "observed" else observed @ scores @ observed), ""
