r"""Steps of typical values with the random effects held.

The regression of SAEM holds individual parameters and moves :math:`\mu`; these steps hold random effects, so
that the observations themselves say where :math:`\mu` is. Both have the same stationary points, where
:math:`E[\partial \log p(y, \eta \mid \mu) / \partial \mu] = 0`; where :math:`\omega` is small, or data on
each subject few, the first needs :math:`(1 - v / \omega^2)^{-1}` iterations for a step, with the conditional
variance `v`.

References
----------
Yu & Meng, *J. Comput. Graph. Stat.* 20 (2011) 531-570, on such pairs of augmentations.
"""

from typing import Any

import numpy as np

from popbayes.infer.saem.layout import Layout
from popbayes.infer.saem.likelihood import SubjectLikelihood
from popbayes.infer.saem.newton import newton_step, observed_expansion
from popbayes.infer.saem.spread import Quadratic

HARDLY_KNOWN = 0.95
"""Conditional variance of a random effect, as a part of the population's, from which on its typical value
takes such steps."""
SHARED_GAIN = 0.1
"""Largest gain of their curvature: from a single draw it would go with the slope."""


def shared_step(
    likelihood: SubjectLikelihood,
    layout: Layout,
    state: Any,
    values: Any,
    gain: float,
    prior: Quadratic | None,
) -> np.ndarray:
    """Stochastic Newton step of the linear coefficients whose random effects are hardly known, (n_linear,).

    Parameters
    ----------
    state : Progress
        Its `shared`, the curvature, is brought up to date.
    values : population values at ``state.x``
    prior : of the linear coefficients
    """
    step = np.zeros(len(layout.linear))
    variance = np.diagonal(state.walk.covariance, axis1=1, axis2=2).mean(axis=0)
    unknown = variance > HARDLY_KNOWN * np.diag(layout.effects.repeated(state.omega))
    shifted = np.any(layout.design_matrix != 0, axis=0)
    which = np.flatnonzero((shifted & unknown[:, None]).any(axis=0))
    if not len(which):
        return step
    prediction = likelihood.predictions(values, state.walk.eta)
    found = observed_expansion(layout, likelihood, state.x, state.walk.eta, prediction, which)
    if not np.all(np.isfinite(found.curvature)):
        return step
    block = np.ix_(which, which)
    before = np.where(np.isfinite(state.shared[block]), state.shared[block], found.curvature)
    state.shared[block] = before + min(gain, SHARED_GAIN) * (found.curvature - before)
    own = None if prior is None else Quadratic(prior.slope[which], prior.curvature[which])
    step[which] = gain * newton_step(found.slope, state.shared[block], own)
    return step


def moved_along(layout: Layout, state: Any, step: np.ndarray) -> np.ndarray:
    """Move what is known of individual parameters along with linear coefficients; by how much."""
    n, n_subject = layout.effects.n_eta, len(state.zeta)
    away = layout.design_matrix @ step
    cross = state.zeta[:, :n].T @ away[:, :n] / n_subject
    state.squares = state.squares.copy()
    state.squares[:n, :n] += cross + cross.T + away[:, :n].T @ away[:, :n] / n_subject
    state.zeta = state.zeta + away
    state.walk.mean = state.walk.mean + away
    return away
