"""PyMC's families on the whole real line, by PyMC's names and arguments."""

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from scipy import stats

from popbayes.parameters.family import AbstractPrior, argument, standard_deviation

SIGMA_OR_TAU = ((("sigma",), ("tau",)),)
SIGMA_OR_LAM = ((("sigma",), ("lam",)),)


@final
@dataclass(frozen=True)
class Normal(AbstractPrior):
    """Normal, by mean and standard deviation (or precision `tau`)."""

    mu: float = argument("real")
    sigma: float | None = argument("positive", optional=True)
    tau: float | None = argument("positive", optional=True)
    choices = SIGMA_OR_TAU

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return stats.norm.ppf(p, self.mu, standard_deviation(self.sigma, self.tau))


@final
@dataclass(frozen=True)
class SkewNormal(AbstractPrior):
    """Normal with skewness `alpha`."""

    alpha: float = argument("real")
    mu: float = argument("real")
    sigma: float | None = argument("positive", optional=True)
    tau: float | None = argument("positive", optional=True)
    choices = SIGMA_OR_TAU

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return stats.skewnorm.ppf(p, self.alpha, self.mu, standard_deviation(self.sigma, self.tau))


@final
@dataclass(frozen=True)
class StudentT(AbstractPrior):
    """Student's t with `nu` degrees of freedom, location `mu` and scale `sigma`."""

    nu: float = argument("positive")
    mu: float = argument("real")
    sigma: float | None = argument("positive", optional=True, keyword=True)
    lam: float | None = argument("positive", optional=True, keyword=True)
    choices = SIGMA_OR_LAM

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return stats.t.ppf(p, self.nu, self.mu, standard_deviation(self.sigma, self.lam))


@final
@dataclass(frozen=True)
class SkewStudentT(AbstractPrior):
    """Student's t with two tail parameters (Jones and Faddy)."""

    a: float = argument("positive")
    b: float = argument("positive")
    mu: float = argument("real", keyword=True)
    sigma: float | None = argument("positive", optional=True, keyword=True)
    lam: float | None = argument("positive", optional=True, keyword=True)
    choices = SIGMA_OR_LAM

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return stats.jf_skew_t.ppf(p, self.a, self.b, self.mu, standard_deviation(self.sigma, self.lam))


@final
@dataclass(frozen=True)
class Cauchy(AbstractPrior):
    """Cauchy with location `alpha` and scale `beta`."""

    alpha: float = argument("real")
    beta: float = argument("positive")

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return stats.cauchy.ppf(p, self.alpha, self.beta)


@final
@dataclass(frozen=True)
class Laplace(AbstractPrior):
    """Double exponential with location `mu` and scale `b`."""

    mu: float = argument("real")
    b: float = argument("positive")

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return stats.laplace.ppf(p, self.mu, self.b)


@final
@dataclass(frozen=True)
class AsymmetricLaplace(AbstractPrior):
    """Double exponential with rate `b` and asymmetry `kappa` (or `q`, the share of it below `mu`)."""

    kappa: float | None = argument("positive", optional=True)
    mu: float | None = argument("real", optional=True)
    b: float | None = argument("positive", optional=True)
    q: float | None = argument("fraction", optional=True)
    choices = ((("kappa",), ("q",)), (("mu", "b"),))

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        kappa = self.kappa if self.q is None else math.sqrt(self.q / (1 - self.q))
        return stats.laplace_asymmetric.ppf(p, kappa, self.mu, 1 / float(self.b or math.nan))


@final
@dataclass(frozen=True)
class Logistic(AbstractPrior):
    """Logistic with location `mu` and scale `s`."""

    mu: float = argument("real")
    s: float = argument("positive")

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return stats.logistic.ppf(p, self.mu, self.s)


@final
@dataclass(frozen=True)
class Gumbel(AbstractPrior):
    """Gumbel (largest extreme value) with location `mu` and scale `beta`."""

    mu: float = argument("real")
    beta: float = argument("positive")

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return stats.gumbel_r.ppf(p, self.mu, self.beta)


@final
@dataclass(frozen=True)
class Moyal(AbstractPrior):
    """Moyal with location `mu` and scale `sigma`."""

    mu: float = argument("real")
    sigma: float = argument("positive")

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return stats.moyal.ppf(p, self.mu, self.sigma)


@final
@dataclass(frozen=True)
class ExGaussian(AbstractPrior):
    """Sum of a normal (`mu`, `sigma`) and an exponential with mean `nu`."""

    mu: float = argument("real")
    sigma: float = argument("positive")
    nu: float = argument("positive", keyword=True)

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return stats.exponnorm.ppf(p, self.nu / self.sigma, self.mu, self.sigma)


@final
@dataclass(frozen=True)
class Flat(AbstractPrior):
    """The improper uniform on the real line; nothing can be drawn from it."""

    proper = False

    def start(self) -> float:
        """Where PyMC starts it: 0."""
        return 0.0

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return np.full_like(p, np.nan)
