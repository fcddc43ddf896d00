r"""Standard errors from draws of the random effects: Louis' formula.

.. math:: I(\theta) = \sum_i \Big( E\big[-\partial^2 l_i \mid y_i\big]
                      - \mathrm{Cov}\big[\partial l_i \mid y_i\big] \Big)

with :math:`l_i = \log p(y_i, \eta_i \mid \theta)` and expectations over each subject's conditional
distribution. In the first part the observations and the random effects stand apart: coefficients found by
regression and the covariance of random effects act through the latter alone, the rest through the former.

References
----------
Louis, *J. R. Stat. Soc. B* 44 (1982) 226-233.
"""

from dataclasses import dataclass

import numpy as np

from popbayes.infer.saem.algorithm import Found, Iterations
from popbayes.infer.saem.conditional import Conditional
from popbayes.infer.saem.newton import STEP, expansion, stencil
from popbayes.infer.saem.spread import Spread

MOST_DRAWS = 200
"""Draws that predictions are differentiated at."""
DIFFERENCE = 1e-4
"""Step in coefficients and in the coordinates of the covariance, for densities of random effects."""


@dataclass(frozen=True, eq=False)
class Information:
    """Observed information about all free coordinates, and the scores of the subjects.

    Attributes
    ----------
    matrix : (size, size)
        In the order of `Iterations.vector`: linear, others, covariance of random effects.
    scores : (n_subject, size)
        Derivatives of each subject's log likelihood (conditional means of those of the complete data).
    """

    matrix: np.ndarray
    scores: np.ndarray


def louis(run: Iterations, found: Found, conditional: Conditional) -> Information:
    """Observed information at the estimates, without priors."""
    q, n = len(run.layout.linear), len(run.layout.others)
    spread = Spread.of(run.pattern, found.omega)
    around, around_scores = _effects_part(run, found, conditional, spread)
    size = q + n + len(spread.free)
    own = np.r_[np.arange(q), np.arange(q + n, size)]
    draws = len(conditional.eta)
    thin = np.linspace(0, draws - 1, min(draws, MOST_DRAWS)).astype(int)
    curvature, seen_scores = _observed_part(run, found, conditional.eta[thin])
    complete = np.zeros((size, size))
    complete[np.ix_(own, own)] = around
    complete[q : q + n, q : q + n] = curvature
    scores = np.zeros((len(thin), run.n_subject, size))
    scores[..., own] = around_scores[thin]
    scores[..., q : q + n] = seen_scores
    missing = np.zeros((size, size))
    missing[np.ix_(own, own)] = _covariances(around_scores)
    joint = _covariances(scores)
    missing[q : q + n] = joint[q : q + n]
    missing[:, q : q + n] = joint[:, q : q + n]
    return Information(complete - missing, scores.mean(axis=0))


def _covariances(scores: np.ndarray) -> np.ndarray:
    """Sum over subjects of the covariance over draws, of (draw, subject, k)."""
    away = scores - scores.mean(axis=0)
    return np.einsum("snk,snl->kl", away, away) / max(len(scores) - 1, 1)


def _effects_part(
    run: Iterations, found: Found, conditional: Conditional, spread: Spread
) -> tuple[np.ndarray, np.ndarray]:
    """Curvature and scores of the density of random effects, by `linear` and the covariance's coordinates."""
    q, eta = len(run.layout.linear), run.effects.zeroed(conditional.eta)
    precision = run.population(found.omega).precision
    matrix = run.layout.design_matrix
    scores = [np.einsum("nik,ij,snj->snk", matrix, precision, eta, optimize=True)]
    points = stencil(len(spread.free))[1 : 2 * len(spread.free) + 1]
    if len(points):
        sides = [spread.log_density(DIFFERENCE * point, eta) for point in points]
        half = len(sides) // 2
        slopes = [(up - down) / (2 * DIFFERENCE) for up, down in zip(sides[:half], sides[half:], strict=True)]
        scores.append(np.stack(slopes, axis=-1))
    moments = np.einsum("sni,snj->nij", eta, eta) / len(eta)
    mean = eta.mean(axis=0)
    size = q + len(spread.free)
    values = []
    for point in stencil(size):
        moved = 10 * DIFFERENCE * point
        shift = matrix @ moved[:q]
        cross = mean[:, :, None] * shift[:, None, :]
        squares = moments - cross - np.swapaxes(cross, 1, 2) + shift[:, :, None] * shift[:, None, :]
        values.append(spread.log_density_of_moments(moved[q:], squares))
    return expansion(np.array(values), size, 10 * DIFFERENCE).curvature, np.concatenate(scores, axis=-1)


def _observed_part(run: Iterations, found: Found, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Curvature and scores (draw, subject, n) of the density of the observations, by `others`."""
    layout, n = run.layout, len(run.layout.others)
    first, moving = len(layout.linear), layout.moves_predictions
    prediction = run.likelihood.predictions(layout.values(found.x[None]), eta)
    totals, sides = [], []
    for k, point in enumerate(stencil(n)):
        moved = found.x.copy()
        moved[first:] += STEP * point
        values = layout.values(moved[None])
        there = run.likelihood.predictions(values, eta) if np.any(point[moving] != 0) else prediction
        each = run.likelihood.of_predictions(there, values)
        totals.append(each.mean(axis=0).sum())
        if 0 < k <= 2 * n:
            sides.append(each)
    slopes = [(up - down) / (2 * STEP) for up, down in zip(sides[:n], sides[n:], strict=True)]
    scores = np.stack(slopes, axis=-1) if n else np.zeros((len(eta), run.n_subject, 0))
    return expansion(np.array(totals), n, STEP).curvature, scores
