"""The conditional distribution of each subject's random effects at the estimates, from draws."""

from dataclasses import dataclass

import numpy as np

from popbayes.infer.saem.algorithm import Found, Iterations
from popbayes.infer.saem.metropolis import Population, sweep

SETTLE = 20
"""Sweeps before draws are kept."""


@dataclass(frozen=True, eq=False)
class Conditional:
    """Draws of random effects given the data and the estimates.

    Attributes
    ----------
    eta : (draw, subject, n_eta)
        Chains laid end to end, one after the other.
    loglik : (draw, subject)
        Log density of each subject's observations.
    """

    eta: np.ndarray
    loglik: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """(subject, n_eta)."""
        return self.eta.mean(axis=0)

    @property
    def covariance(self) -> np.ndarray:
        """(subject, n_eta, n_eta)."""
        away = self.eta - self.mean
        return np.einsum("cni,cnj->nij", away, away) / max(len(away) - 1, 1)

    def likeliest(self, population: Population) -> np.ndarray:
        """Of each subject the draw with the highest joint density, (subject, n_eta)."""
        height = self.loglik + population.log_density(self.eta)
        return self.eta[np.argmax(height, axis=0), np.arange(self.eta.shape[1])]

    @property
    def sd(self) -> np.ndarray:
        """(subject, n_eta)."""
        return self.eta.std(axis=0, ddof=1)


def conditional_draws(run: Iterations, found: Found, draws: int) -> Conditional:
    """At least `draws` draws for each subject, with the kernels as they were adapted."""
    walk, layout = found.walk, run.layout
    population = run.population(found.omega)
    values = layout.values(found.x[None])
    centre = layout.centre(found.x[: len(layout.linear)])
    etas, logliks = [], []
    for k in range(SETTLE + -(-draws // run.chains)):
        sweep(walk, population, centre, lambda eta: run.likelihood(values, eta), run.rng, 0.0)
        if k < SETTLE:
            walk.learn(walk.eta + centre, 0.02)
        else:
            etas.append(walk.eta)
            logliks.append(walk.loglik)
    chained = np.stack(etas, axis=1).reshape(-1, *walk.eta.shape[1:])
    return Conditional(chained, np.stack(logliks, axis=1).reshape(-1, walk.loglik.shape[1]))
