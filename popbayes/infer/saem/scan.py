"""Before and between iterations: a place to begin from, and subjects brought out of minor modes.

Neither leaves the distribution of the random effects unchanged: both belong to the exploratory phase.
"""

from typing import Any

import numpy as np

from popbayes import dims
from popbayes.infer.estimation.modes import searched
from popbayes.infer.prior_density import log_densities
from popbayes.infer.saem.layout import Layout
from popbayes.infer.saem.likelihood import SubjectLikelihood, Values
from popbayes.infer.saem.metropolis import Population, Walk

ROUNDS = ((1.5, 400), (0.5, 200), (0.2, 100))
"""SDs of the candidates around the best so far, on the scales of the parameters, and their number."""
ERRORS = (1.0, 3.0, 10.0)
"""Factors of residual parameters that are tried: far from the truth errors look large."""
WORTH = 100.0
"""Independent observations that pooled data are worth at most: those of a subject depend on each other."""
LEAST_LOG_DENSITY = -1e3
"""Of an observation that a candidate cannot make: bad, but comparable."""
CHUNK = 2**20
"""Predictions (candidates x observations) computed at a time: 8 MiB."""
CLEARLY = 6.0
"""Log density that another mode must have more than a present place, beyond what is usual, to be taken."""


def better_start(
    layout: Layout, likelihood: SubjectLikelihood, x: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Typical values that describe the pooled data better than `x`, where there are any.

    Candidates around `x`, the prior medians and the best so far, each judged by the density of the
    observations without random effects, and of the priors, which decide where two places describe the data
    alike (flip-flop).
    """
    typical = [k for k, one in enumerate(layout.coordinates) if one.name.endswith(dims.pop(""))]
    if not typical:
        return x
    priors = log_densities([layout.coordinates[k].prior for k in typical])
    best, height = x, -np.inf
    weight = min(1.0, WORTH / max(1, layout.study.design.n_obs))
    for k, (sd, count) in enumerate(ROUNDS):
        candidates = np.tile(best, (count + 1, 1))
        if k == 0:
            candidates[count // 2 :, typical] = layout.start[typical]
        candidates[1:-1, typical] += sd * rng.standard_normal((count - 1, len(typical)))
        heights = weight * _pooled(layout, likelihood, candidates)
        natural = np.stack([layout.coordinates[k].natural(candidates[:, k]) for k in typical])
        heights = heights + np.nan_to_num(priors(natural), nan=-np.inf, neginf=-1e6).sum(axis=0)
        if heights.max() > height:
            best, height = candidates[int(heights.argmax())], float(heights.max())
    return best


def _pooled(layout: Layout, likelihood: SubjectLikelihood, candidates: np.ndarray) -> np.ndarray:
    """Log density of all observations without random effects, the best of several errors, (n,)."""
    residual = [k for k, moves in enumerate(layout.moves_predictions) if not moves]
    place = len(layout.linear) + np.array(residual, dtype=int)
    size = max(1, CHUNK // max(1, layout.study.design.n_obs))
    out = []
    for start in range(0, len(candidates), size):
        some = candidates[start : start + size]
        prediction = likelihood.predictions(layout.values(some), None)
        tries = []
        for factor in ERRORS:
            moved = some.copy()
            moved[:, place] += np.log(factor)
            each = likelihood.each(prediction, layout.values(moved))
            tries.append(np.maximum(each, LEAST_LOG_DENSITY).sum(axis=-1))
        out.append(np.max(tries, axis=0))
    return np.concatenate(out)


def rescue(
    likelihood: SubjectLikelihood, values: Values, point: Any, walk: Walk, population: Population, seed: int
) -> bool:
    """Move subjects whose random effects are in a minor mode to a far more probable one; whether any was.

    Parameters
    ----------
    values, point : the population values as the kernels and as `modes` take them
    """
    number = walk.eta.shape[-1]
    if number == 0:
        return False
    height = walk.loglik + population.log_normalised(walk.eta)
    best = np.argmax(height, axis=0)
    subjects = np.arange(walk.eta.shape[1])
    now = walk.eta[best, subjects]
    found, there, _ = searched(likelihood.density, point, now, seed=seed)
    with np.errstate(invalid="ignore"):
        better = there.logp > height[best, subjects] + 0.5 * number + CLEARLY
    if not better.any():
        return False
    walk.eta = np.where(better[:, None], found, walk.eta)
    walk.loglik = likelihood(values, walk.eta)
    return True
