"""PyMC's families of positive numbers, by PyMC's names and arguments; `LogNormal` by its median."""

import math
from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np
from scipy import special, stats

from popbayes.parameters.family import AbstractPrior, argument, double, real_number, standard_deviation

POSITIVE = (0.0, math.inf)
SIGMA_OR_TAU = ((("sigma",), ("tau",)),)
SIGMA_OR_LAM = ((("sigma",), ("lam",)),)
SHAPE_OR_MOMENTS = ((("alpha", "beta"), ("mu", "sigma")),)


@final
@dataclass(frozen=True)
class LogNormal(AbstractPrior):
    r"""Log-normal, by its median and the SD of its logarithm, or its coefficient of variation.

    .. math:: \log x \sim \mathrm{Normal}(\log \text{median}, \text{sd}^2), \qquad
              \text{sd} = \sqrt{\log(1 + \text{cv}^2)}

    Parameters
    ----------
    median : float
        Half of the prior lies below; in the units of the parameter.
    sd : float
        Standard deviation of the logarithm.
    cv : float
        Instead of `sd`: the coefficient of variation as a fraction, 0.3 for 30 %.
    """

    median: float = argument("positive")
    sd: float | None = argument("positive", optional=True)
    cv: float | None = argument("positive", optional=True, keyword=True)
    choices = ((("sd",), ("cv",)),)
    bounds = POSITIVE

    @classmethod
    def from_quantiles(cls, low: float, high: float, probability: tuple[float, float] = (0.05, 0.95)) -> Self:
        """The log-normal with these two quantiles; by default those at 5 % and 95 %.

        Parameters
        ----------
        low, high : float
            In the units of the parameter.
        probability : pair of float
            What lies below each of them.

        Examples
        --------
        >>> clearance = LogNormal.from_quantiles(1.0, 9.0)   # 90 % between 1 and 9 L/h
        >>> round(clearance.median, 6), round(float(clearance.quantile(0.95)), 6)
        (3.0, 9.0)
        """
        values = [real_number(one) for one in (low, high, *probability)]
        a, b, p, q = (math.nan if one is None else one for one in values)
        if not (0 < a < b < math.inf and 0 < p < q < 1):
            raise ValueError(
                "prior.LogNormal.from_quantiles needs 0 < low < high at probabilities that increase between "
                f"0 and 1, not {low!r} and {high!r} at {probability!r}."
            )
        below, above = float(special.ndtri(p)), float(special.ndtri(q))
        sd = math.log(b / a) / (above - below)
        return cls(a * math.exp(-sd * below), sd)

    @classmethod
    def from_cv(cls, median: float, cv_percent: float) -> Self:
        """The log-normal with this median and coefficient of variation in percent.

        Examples
        --------
        >>> LogNormal.from_cv(2.8, 30)
        LogNormal(median=2.8, sd=None, cv=0.3)
        """
        percent = real_number(cv_percent)
        if percent is None or not 0 < percent < math.inf:
            raise ValueError(
                f"prior.LogNormal.from_cv: cv_percent must be a finite number > 0 (30 for 30 %), "
                f"not {cv_percent!r}."
            )
        return cls(median, cv=percent / 100)

    @property
    def log_sd(self) -> float:
        """Standard deviation of the logarithm."""
        return self.sd if self.sd is not None else math.sqrt(math.log1p(float(self.cv or math.nan) ** 2))

    @property
    def pymc(self) -> tuple[str, dict[str, Any]]:
        """Family and arguments as PyMC takes them: mean and SD of the logarithm."""
        return "LogNormal", double({"mu": math.log(self.median), "sigma": self.log_sd})

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return self.median * np.exp(self.log_sd * special.ndtri(p))


@final
@dataclass(frozen=True)
class HalfNormal(AbstractPrior):
    """Absolute value of a normal with mean 0; `sigma` is the SD of that normal."""

    sigma: float | None = argument("positive", optional=True)
    tau: float | None = argument("positive", optional=True)
    choices = SIGMA_OR_TAU
    bounds = POSITIVE

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return stats.halfnorm.ppf(p, scale=standard_deviation(self.sigma, self.tau))


@final
@dataclass(frozen=True)
class HalfStudentT(AbstractPrior):
    """Absolute value of Student's t with location 0; `sigma` is the scale."""

    nu: float = argument("positive")
    sigma: float | None = argument("positive", optional=True)
    lam: float | None = argument("positive", optional=True)
    choices = SIGMA_OR_LAM
    bounds = POSITIVE

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return stats.t.ppf((1 + p) / 2, self.nu, 0.0, standard_deviation(self.sigma, self.lam))


@final
@dataclass(frozen=True)
class HalfCauchy(AbstractPrior):
    """Absolute value of a Cauchy with location 0 and scale `beta`."""

    beta: float = argument("positive")
    bounds = POSITIVE

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return stats.halfcauchy.ppf(p, scale=self.beta)


@final
@dataclass(frozen=True)
class Exponential(AbstractPrior):
    """Exponential with rate `lam`, or mean `scale`."""

    lam: float | None = argument("positive", optional=True)
    scale: float | None = argument("positive", optional=True, keyword=True)
    choices = ((("lam",), ("scale",)),)
    bounds = POSITIVE

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        scale = self.scale if self.lam is None else 1 / self.lam
        return stats.expon.ppf(p, scale=scale)


@final
@dataclass(frozen=True)
class Gamma(AbstractPrior):
    """Gamma with shape `alpha` and rate `beta`, or mean `mu` and standard deviation `sigma`."""

    alpha: float | None = argument("positive", optional=True)
    beta: float | None = argument("positive", optional=True)
    mu: float | None = argument("positive", optional=True)
    sigma: float | None = argument("positive", optional=True)
    choices = SHAPE_OR_MOMENTS
    bounds = POSITIVE

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        if self.mu is not None and self.sigma is not None:
            return stats.gamma.ppf(p, (self.mu / self.sigma) ** 2, scale=self.sigma**2 / self.mu)
        return stats.gamma.ppf(p, self.alpha, scale=1 / float(self.beta or math.nan))


@final
@dataclass(frozen=True)
class InverseGamma(AbstractPrior):
    """Inverse gamma with shape `alpha` and scale `beta`, or mean `mu` and standard deviation `sigma`."""

    alpha: float | None = argument("positive", optional=True)
    beta: float | None = argument("positive", optional=True)
    mu: float | None = argument("positive", optional=True)
    sigma: float | None = argument("positive", optional=True)
    choices = SHAPE_OR_MOMENTS
    bounds = POSITIVE

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        alpha, beta = self.alpha, self.beta
        if self.mu is not None and self.sigma is not None:
            alpha = 2 + (self.mu / self.sigma) ** 2
            beta = self.mu * (alpha - 1)
        return stats.invgamma.ppf(p, alpha, scale=beta)


@final
@dataclass(frozen=True)
class ChiSquared(AbstractPrior):
    """Chi-squared with `nu` degrees of freedom."""

    nu: float = argument("positive")
    bounds = POSITIVE

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return stats.chi2.ppf(p, self.nu)


@final
@dataclass(frozen=True)
class Weibull(AbstractPrior):
    """Weibull with shape `alpha` and scale `beta`."""

    alpha: float = argument("positive")
    beta: float = argument("positive")
    bounds = POSITIVE

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return stats.weibull_min.ppf(p, self.alpha, scale=self.beta)


@final
@dataclass(frozen=True)
class Wald(AbstractPrior):
    """Inverse Gaussian with two of mean `mu`, shape `lam` and `phi` = lam / mu, shifted by `alpha`."""

    mu: float | None = argument("positive", optional=True)
    lam: float | None = argument("positive", optional=True)
    phi: float | None = argument("positive", optional=True)
    alpha: float = argument("nonnegative", default=0.0)
    choices = ((("mu", "lam"), ("mu", "phi"), ("lam", "phi")),)

    @property
    def support(self) -> tuple[float, float]:
        """Above the shift."""
        return self.alpha, math.inf

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        lam = self.lam if self.lam is not None else float(self.mu or math.nan) * float(self.phi or math.nan)
        mu = self.mu if self.mu is not None else lam / float(self.phi or math.nan)
        return stats.invgauss.ppf(p, mu / lam, self.alpha, lam)


@final
@dataclass(frozen=True)
class Pareto(AbstractPrior):
    """Pareto with tail exponent `alpha` above the minimum `m`."""

    alpha: float = argument("positive")
    m: float = argument("positive")

    @property
    def support(self) -> tuple[float, float]:
        """Above `m`."""
        return self.m, math.inf

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return stats.pareto.ppf(p, self.alpha, scale=self.m)


@final
@dataclass(frozen=True)
class Rice(AbstractPrior):
    """Length of a normal vector in the plane: distance `nu` (or `b` = nu / sigma) and SD `sigma`."""

    nu: float | None = argument("positive", optional=True)
    sigma: float | None = argument("positive", optional=True)
    b: float | None = argument("positive", optional=True)
    choices = ((("nu", "sigma"), ("sigma", "b")),)
    bounds = POSITIVE

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        sigma = float(self.sigma or math.nan)
        b = self.b if self.nu is None else self.nu / sigma
        return stats.rice.ppf(p, b, scale=sigma)


@final
@dataclass(frozen=True)
class HalfFlat(AbstractPrior):
    """The improper uniform on the positive numbers; nothing can be drawn from it."""

    proper = False
    bounds = POSITIVE

    def start(self) -> float:
        """Where PyMC starts it: 1."""
        return 1.0

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return np.full_like(p, np.nan)
