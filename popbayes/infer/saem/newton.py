"""Coefficients that no regression gives, estimated from the observations by stochastic Newton steps."""

from dataclasses import dataclass

import numpy as np

from popbayes.infer.saem.layout import Layout
from popbayes.infer.saem.likelihood import SubjectLikelihood
from popbayes.infer.saem.spread import Quadratic

STEP = 1e-3
"""Of the differences, in free coordinates (logarithms of SDs and typical values)."""
FARTHEST = 0.7
"""Longest move in one iteration, in free coordinates."""


@dataclass(frozen=True, eq=False)
class Expansion:
    """Complete-data log likelihood of the observations to second order: slope and minus the curvature."""

    slope: np.ndarray
    curvature: np.ndarray


def stencil(n: int) -> np.ndarray:
    """Points of a second-order expansion in `n` coordinates, in steps: centre, pairs of sides, corners."""
    unit = np.eye(n)
    corners = [unit[i] + unit[j] for i in range(n) for j in range(i)]
    return np.concatenate([np.zeros((1, n)), unit, -unit, np.reshape(corners, (len(corners), n))])


def expansion(values: np.ndarray, n: int, step: float) -> Expansion:
    """Slope and minus the curvature from the values at the points of `stencil`, (n_point,)."""
    centre, up, down, corners = values[0], values[1 : n + 1], values[n + 1 : 2 * n + 1], values[2 * n + 1 :]
    slope = (up - down) / (2 * step)
    second = np.diag((up - 2 * centre + down) / step**2)
    at = 0
    for i in range(n):
        for j in range(i):
            pair = up[i] + up[j] - centre
            mixed = (corners[at] - pair) / step**2
            second[i, j] = second[j, i] = mixed
            at += 1
    return Expansion(slope, -second)


def observed_expansion(
    layout: Layout,
    likelihood: SubjectLikelihood,
    x: np.ndarray,
    eta: np.ndarray,
    prediction: np.ndarray,
    which: np.ndarray,
) -> Expansion:
    """Expand the mean over chains of the log density of all observations, in some coordinates.

    Random effects stay where they are: the individual parameters move with the coordinates.

    Parameters
    ----------
    x : all coordinates of the layout
    eta : (chain, subject, n_eta)
    prediction : (chain, n_obs) at `x`
    which : (n,) int
        Coordinates of the layout.
    """
    n = len(which)
    points = stencil(n)
    totals = np.empty((len(points), eta.shape[1]))
    moving = np.concatenate([np.ones(len(layout.linear), dtype=bool), layout.moves_predictions])[which]
    for row, point in enumerate(points):
        moved = x.copy()
        moved[which] += STEP * point
        values = layout.values(moved[None])
        there = likelihood.predictions(values, eta) if np.any(point[moving] != 0) else prediction
        totals[row] = likelihood.of_predictions(there, values).mean(axis=0)
    usable = np.all(np.isfinite(totals), axis=0)
    return expansion(totals[:, usable].sum(axis=1), n, STEP)


def newton_step(slope: np.ndarray, curvature: np.ndarray, prior: Quadratic | None) -> np.ndarray:
    """Step to the maximum, short and uphill whatever the curvature is."""
    if prior is not None:
        slope = slope + prior.slope
        curvature = curvature + np.diag(np.maximum(prior.curvature, 0.0))
    if not len(slope) or not (np.all(np.isfinite(slope)) and np.all(np.isfinite(curvature))):
        return np.zeros(len(slope))
    size, vectors = np.linalg.eigh(curvature)
    size = np.maximum(np.abs(size), 1e-6 * max(float(np.abs(size).max()), 1e-6))
    step = vectors @ ((vectors.T @ slope) / size)
    return step * min(1.0, FARTHEST / max(float(np.abs(step).max()), 1e-12))
