"""Metropolis kernels over the random effects of all subjects at once, adapted to each subject.

Every kernel leaves the conditional distribution of the random effects given the data and the population
values unchanged, for all subjects and chains in one evaluation of the model.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.special import gammaln

LogLikelihood = Callable[[np.ndarray], np.ndarray]
"""Random effects (chain, subject, n_eta) -> log density of each subject's observations (chain, subject)."""

COMPONENT_RATE = 0.4
"""Acceptance rate that moves of one component are scaled to."""
BLOCK_RATE = 0.25
"""Acceptance rate that moves of all components are scaled to."""
DEGREES = 5.0
"""Degrees of freedom of the independence proposals: tails heavier than those of what they stand for."""
WIDER = 1.2
"""Variance of the independence proposals relative to the conditional distribution as known so far."""
LEAST = 1e-4
"""Least conditional variance relative to the population's, so that proposals never degenerate."""


@dataclass(eq=False)
class Walk:
    """Random effects of all chains and subjects on their way, and what was learnt of their distribution.

    Attributes
    ----------
    eta : (chain, subject, n_eta)
    loglik : (chain, subject)
    component, block : (subject, n_eta), (subject,)
        Scales of the moves.
    mean, covariance : (subject, n_eta), (subject, n_eta, n_eta)
        Of the individual parameters given the data, averaged over the recent past.
    known : int
        Iterations that the averages rest on.
    """

    eta: np.ndarray
    loglik: np.ndarray
    component: np.ndarray
    block: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    known: int = 0
    accepted: dict[str, float] = field(default_factory=dict)

    @classmethod
    def begin(cls, eta: np.ndarray, loglik: np.ndarray, omega: np.ndarray) -> "Walk":
        """Begin at `eta`, with moves as large as the population is wide."""
        subjects, number = eta.shape[1:]
        wide = np.tile(np.sqrt(np.diag(omega)), (subjects, 1))
        size = np.full(subjects, 2.4 / np.sqrt(max(number, 1)))
        return cls(eta, loglik, wide, size, eta.mean(axis=0), np.tile(omega, (subjects, 1, 1)))

    def learn(self, zeta: np.ndarray, forget: float) -> None:
        """Take in the present individual parameters, (chain, subject, n_eta)."""
        self.known += 1
        gain = max(forget, 1.0 / self.known)
        away = zeta - self.mean
        step = away.mean(axis=0)
        spread = np.einsum("cni,cnj->nij", away, away) / len(zeta)
        self.mean = self.mean + gain * step
        moved = gain**2 * step[:, :, None] * step[:, None, :]
        self.covariance = (1 - gain) * self.covariance + gain * spread - moved


@dataclass(frozen=True, eq=False)
class Population:
    """The distribution of random effects at one iteration."""

    omega: np.ndarray
    root: np.ndarray
    precision: np.ndarray

    @classmethod
    def of(cls, omega: np.ndarray) -> "Population":
        """From a covariance matrix."""
        root = np.linalg.cholesky(omega) if len(omega) else omega
        return cls(omega, root, np.linalg.inv(omega) if len(omega) else omega)

    def log_density(self, eta: np.ndarray) -> np.ndarray:
        """Of random effects, up to a constant, (...,)."""
        return -0.5 * np.sum((eta @ self.precision) * eta, axis=-1)

    def log_normalised(self, eta: np.ndarray) -> np.ndarray:
        """Of random effects, with its constant, (...,)."""
        size = np.log(np.diag(self.root)).sum() + 0.5 * len(self.omega) * np.log(2 * np.pi)
        return self.log_density(eta) - size


def sweep(
    walk: Walk,
    population: Population,
    centre: np.ndarray,
    loglik: LogLikelihood,
    rng: np.random.Generator,
    adapt: float,
) -> None:
    """One round of all kernels: population, components, block, and conditional distribution.

    Parameters
    ----------
    centre : (subject, n_eta)
        What is added to random effects to give the individual parameters that `walk` has learnt of.
    adapt : float
        Gain of the adaptation of scales; 0 keeps them.
    """
    if walk.eta.shape[-1] == 0:
        return
    _from_population(walk, population, loglik, rng)
    if walk.known >= LEARNT:
        _from_conditional(walk, population, centre, loglik, rng)
    _components(walk, population, loglik, rng, adapt)
    _block(walk, population, loglik, rng, adapt)


LEARNT = 15
"""Iterations after which the conditional distribution is known well enough to propose from."""


def _accept(
    walk: Walk,
    kernel: str,
    proposal: np.ndarray,
    loglik: np.ndarray,
    log_ratio: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Move where accepted; (chain, subject) of what was."""
    with np.errstate(invalid="ignore"):
        taken = np.log(rng.random(loglik.shape)) < log_ratio
    walk.eta = np.where(taken[..., None], proposal, walk.eta)
    walk.loglik = np.where(taken, loglik, walk.loglik)
    walk.accepted[kernel] = 0.95 * walk.accepted.get(kernel, taken.mean()) + 0.05 * taken.mean()
    return taken


def _from_population(
    walk: Walk, population: Population, loglik: LogLikelihood, rng: np.random.Generator
) -> None:
    """Propose from the population: far moves, from one mode to another too."""
    proposal = rng.standard_normal(walk.eta.shape) @ population.root.T
    new = loglik(proposal)
    _accept(walk, "population", proposal, new, _difference(new, walk.loglik), rng)


def _components(
    walk: Walk, population: Population, loglik: LogLikelihood, rng: np.random.Generator, adapt: float
) -> None:
    """Random walk of one component after the other."""
    for k in range(walk.eta.shape[-1]):
        proposal = walk.eta.copy()
        proposal[..., k] += walk.component[:, k] * rng.standard_normal(walk.loglik.shape)
        new = loglik(proposal)
        ratio = (
            _difference(new, walk.loglik)
            + population.log_density(proposal)
            - population.log_density(walk.eta)
        )
        taken = _accept(walk, "component", proposal, new, ratio, rng)
        walk.component[:, k] *= np.exp(adapt * (taken.mean(axis=0) - COMPONENT_RATE))


def _block(
    walk: Walk, population: Population, loglik: LogLikelihood, rng: np.random.Generator, adapt: float
) -> None:
    """Random walk of all components, in the shape of the conditional distribution."""
    root = np.linalg.cholesky(_regular(walk.covariance, population))
    away = np.einsum("nij,cnj->cni", root, rng.standard_normal(walk.eta.shape))
    proposal = walk.eta + walk.block[:, None] * away
    new = loglik(proposal)
    ratio = (
        _difference(new, walk.loglik) + population.log_density(proposal) - population.log_density(walk.eta)
    )
    taken = _accept(walk, "block", proposal, new, ratio, rng)
    walk.block *= np.exp(adapt * (taken.mean(axis=0) - BLOCK_RATE))


def _from_conditional(
    walk: Walk, population: Population, centre: np.ndarray, loglik: LogLikelihood, rng: np.random.Generator
) -> None:
    """Propose from Student's t with the conditional mean and covariance, as learnt."""
    proposals = Student.of(walk.mean - centre, WIDER * _regular(walk.covariance, population))
    proposal = proposals.sample(rng, len(walk.eta))
    new = loglik(proposal)
    ratio = (
        _difference(new, walk.loglik) + population.log_density(proposal) - population.log_density(walk.eta)
    )
    ratio += proposals.log_density(walk.eta) - proposals.log_density(proposal)
    _accept(walk, "conditional", proposal, new, ratio, rng)


def _difference(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """Of log densities; a possible place is always better than an impossible one."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isneginf(old), np.where(np.isneginf(new), 0.0, np.inf), new - old)


def _regular(covariance: np.ndarray, population: Population) -> np.ndarray:
    """With a little of the population's covariance added."""
    return covariance + LEAST * population.omega


@dataclass(frozen=True, eq=False)
class Student:
    """Multivariate Student's t for each subject: means and covariance-like scales."""

    mean: np.ndarray
    root: np.ndarray
    inverse: np.ndarray
    log_volume: np.ndarray

    @classmethod
    def of(cls, mean: np.ndarray, covariance: np.ndarray) -> "Student":
        """With a scale matrix of `covariance`, (subject, n, n)."""
        root = np.linalg.cholesky(covariance)
        log_volume = np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
        return cls(mean, root, np.linalg.inv(root), log_volume)

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Return `n` draws for each subject, (n, subject, n_eta)."""
        shape = (n, *self.mean.shape)
        normal = np.einsum("nij,cnj->cni", self.root, rng.standard_normal(shape))
        return self.mean + normal * np.sqrt(DEGREES / rng.chisquare(DEGREES, shape[:-1]))[..., None]

    def log_density(self, eta: np.ndarray) -> np.ndarray:
        """Of (n, subject, n_eta), normalised, (n, subject)."""
        number = self.mean.shape[-1]
        z = np.einsum("nij,cnj->cni", self.inverse, eta - self.mean)
        constant = (
            gammaln((DEGREES + number) / 2) - gammaln(DEGREES / 2) - number / 2 * np.log(DEGREES * np.pi)
        )
        tail = (DEGREES + number) / 2 * np.log1p((z**2).sum(axis=-1) / DEGREES)
        return constant - self.log_volume - tail
