"""PyMC's discrete univariate families, by PyMC's names and arguments."""

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from scipy import special, stats

from popbayes.parameters.family import AbstractPrior, argument

COUNTS = (0.0, math.inf)
P_OR_LOGIT_P = ((("p",), ("logit_p",)),)


def _probability(p: float | None, logit_p: float | None) -> float:
    """A probability, given as such or as a logit."""
    return p if p is not None else float(special.expit(logit_p))


@final
@dataclass(frozen=True)
class Bernoulli(AbstractPrior):
    """One with probability `p` (or `logit_p`), else zero."""

    p: float | None = argument("fraction", optional=True)
    logit_p: float | None = argument("real", optional=True)
    choices = P_OR_LOGIT_P
    bounds = (0.0, 1.0)
    discrete = True

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return stats.bernoulli.ppf(p, _probability(self.p, self.logit_p))


@final
@dataclass(frozen=True)
class Binomial(AbstractPrior):
    """Successes in `n` trials with probability `p` (or `logit_p`)."""

    n: int = argument("whole")
    p: float | None = argument("fraction", optional=True)
    logit_p: float | None = argument("real", optional=True)
    choices = P_OR_LOGIT_P
    discrete = True

    @property
    def support(self) -> tuple[float, float]:
        """From 0 to `n`."""
        return 0.0, float(self.n)

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return stats.binom.ppf(p, self.n, _probability(self.p, self.logit_p))


@final
@dataclass(frozen=True)
class BetaBinomial(AbstractPrior):
    """Successes in `n` trials whose probability is Beta(`alpha`, `beta`)."""

    alpha: float = argument("positive")
    beta: float = argument("positive")
    n: int = argument("whole")
    discrete = True

    @property
    def support(self) -> tuple[float, float]:
        """From 0 to `n`."""
        return 0.0, float(self.n)

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return stats.betabinom.ppf(p, self.n, self.alpha, self.beta)


@final
@dataclass(frozen=True)
class HyperGeometric(AbstractPrior):
    """Successes in `n` draws without replacement from `N`, of which `k` are successes."""

    N: int = argument("whole")
    k: int = argument("whole")
    n: int = argument("whole")
    discrete = True

    def check(self) -> None:
        """Check that the parts are no larger than the whole."""
        if max(self.k, self.n) > self.N:
            raise ValueError(
                f"prior.HyperGeometric: k and n must not exceed N = {self.N}, but k = {self.k}, n = {self.n}."
            )

    @property
    def support(self) -> tuple[float, float]:
        """What is left for the other side sets the lower end."""
        return float(max(0, self.n - (self.N - self.k))), float(min(self.k, self.n))

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return stats.hypergeom.ppf(p, self.N, self.k, self.n)


@final
@dataclass(frozen=True)
class Poisson(AbstractPrior):
    """Poisson with mean `mu`."""

    mu: float = argument("positive")
    bounds = COUNTS
    discrete = True

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return stats.poisson.ppf(p, self.mu)


@final
@dataclass(frozen=True)
class NegativeBinomial(AbstractPrior):
    """Negative binomial by mean `mu` and `alpha`, or by `n` successes and probability `p` (or a mixture)."""

    mu: float | None = argument("positive", optional=True)
    alpha: float | None = argument("positive", optional=True)
    p: float | None = argument("fraction", optional=True)
    n: float | None = argument("positive", optional=True)
    choices = ((("mu", "alpha"), ("mu", "n"), ("alpha", "p"), ("n", "p")),)
    bounds = COUNTS
    discrete = True

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        n = float(self.n or self.alpha or math.nan)
        success = self.p if self.mu is None else n / (self.mu + n)
        return stats.nbinom.ppf(p, n, success)


@final
@dataclass(frozen=True)
class Geometric(AbstractPrior):
    """Trials until the first success with probability `p`, that one included."""

    p: float = argument("fraction")
    bounds = (1.0, math.inf)
    discrete = True

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return stats.geom.ppf(p, self.p)


@final
@dataclass(frozen=True)
class DiscreteUniform(AbstractPrior):
    """Whole numbers from `lower` to `upper`, all alike."""

    lower: int = argument("integer")
    upper: int = argument("integer")
    ordered = (("lower", "upper"),)
    discrete = True

    @property
    def support(self) -> tuple[float, float]:
        """From `lower` to `upper`, both included."""
        return float(self.lower), float(self.upper)

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return stats.randint.ppf(p, self.lower, self.upper + 1)


@final
@dataclass(frozen=True)
class DiscreteWeibull(AbstractPrior):
    r"""Weibull for counts: :math:`P(X \ge x) = q^{x^\beta}`."""

    q: float = argument("fraction")
    beta: float = argument("positive")
    bounds = COUNTS
    discrete = True

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return np.maximum(np.ceil((np.log1p(-p) / math.log(self.q)) ** (1 / self.beta) - 1), 0.0)
