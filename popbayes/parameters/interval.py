"""PyMC's families between two bounds, by PyMC's names and arguments."""

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from scipy import special, stats

from popbayes.parameters.family import AbstractPrior, argument, between, standard_deviation

UNIT = (0.0, 1.0)
SIGMA_OR_TAU = ((("sigma",), ("tau",)),)


@final
@dataclass(frozen=True)
class Uniform(AbstractPrior):
    """Uniform between `lower` and `upper`."""

    lower: float = argument("real")
    upper: float = argument("real")
    ordered = (("lower", "upper"),)

    @property
    def support(self) -> tuple[float, float]:
        """From `lower` to `upper`."""
        return self.lower, self.upper

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return self.lower + (self.upper - self.lower) * p


@final
@dataclass(frozen=True)
class TruncatedNormal(AbstractPrior):
    """Normal cut off below `lower`, above `upper`, or both."""

    mu: float = argument("real")
    sigma: float | None = argument("positive", optional=True)
    tau: float | None = argument("positive", optional=True, keyword=True)
    lower: float | None = argument("real", optional=True, keyword=True)
    upper: float | None = argument("real", optional=True, keyword=True)
    choices = (*SIGMA_OR_TAU, (("lower",), ("upper",), ("lower", "upper")))
    ordered = (("lower", "upper"),)

    @property
    def support(self) -> tuple[float, float]:
        """From `lower` to `upper`, where given."""
        return between(self.lower, self.upper)

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        sd = standard_deviation(self.sigma, self.tau)
        low, high = ((bound - self.mu) / sd for bound in self.support)
        return stats.truncnorm.ppf(p, low, high, self.mu, sd)


@final
@dataclass(frozen=True)
class Beta(AbstractPrior):
    """Beta by `alpha` and `beta`, by mean `mu` and SD `sigma`, or by mean `mu` and size `nu`."""

    alpha: float | None = argument("positive", optional=True)
    beta: float | None = argument("positive", optional=True)
    mu: float | None = argument("fraction", optional=True)
    sigma: float | None = argument("positive", optional=True)
    nu: float | None = argument("positive", optional=True)
    choices = ((("alpha", "beta"), ("mu", "sigma"), ("mu", "nu")),)
    bounds = UNIT

    def check(self) -> None:
        """Check that the SD is one that a beta distribution with this mean can have."""
        if self.mu is not None and self.sigma is not None and self.sigma**2 >= self.mu * (1 - self.mu):
            raise ValueError(
                f"prior.Beta: sigma must be below sqrt(mu (1 - mu)) = "
                f"{math.sqrt(self.mu * (1 - self.mu)):.4g}, not {self.sigma:g}."
            )

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        if self.mu is None:
            return stats.beta.ppf(p, self.alpha, self.beta)
        nu = self.nu if self.sigma is None else self.mu * (1 - self.mu) / self.sigma**2 - 1
        return stats.beta.ppf(p, self.mu * float(nu or math.nan), (1 - self.mu) * float(nu or math.nan))


@final
@dataclass(frozen=True)
class LogitNormal(AbstractPrior):
    """A fraction whose logit is normal with mean `mu` and SD `sigma`."""

    mu: float = argument("real")
    sigma: float | None = argument("positive", optional=True)
    tau: float | None = argument("positive", optional=True)
    choices = SIGMA_OR_TAU
    bounds = UNIT

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return special.expit(self.mu + standard_deviation(self.sigma, self.tau) * special.ndtri(p))


@final
@dataclass(frozen=True)
class Kumaraswamy(AbstractPrior):
    """Kumaraswamy with shapes `a` and `b`: much like a beta, in closed form."""

    a: float = argument("positive")
    b: float = argument("positive")
    bounds = UNIT

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return (-np.expm1(np.log1p(-p) / self.b)) ** (1 / self.a)


@final
@dataclass(frozen=True)
class Triangular(AbstractPrior):
    """Triangle between `lower` and `upper` with its top at `c`."""

    lower: float = argument("real")
    upper: float = argument("real")
    c: float = argument("real")
    ordered = (("lower", "upper"),)

    def check(self) -> None:
        """Check that the top lies between the ends."""
        if not self.lower <= self.c <= self.upper:
            raise ValueError(
                f"prior.Triangular: c must lie between lower {self.lower:g} and upper {self.upper:g}, "
                f"not at {self.c:g}."
            )

    @property
    def support(self) -> tuple[float, float]:
        """From `lower` to `upper`."""
        return self.lower, self.upper

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        width = self.upper - self.lower
        return stats.triang.ppf(p, (self.c - self.lower) / width, self.lower, width)


@final
@dataclass(frozen=True)
class VonMises(AbstractPrior):
    """Normal on the circle: an angle with mean `mu` and concentration `kappa`."""

    mu: float = argument("real")
    kappa: float = argument("positive")
    bounds = (-math.pi, math.pi)

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        # SciPy's turn of the circle is centred at mu; PyMC's is from -pi to pi
        below = p + stats.vonmises.cdf(-math.pi, self.kappa, self.mu)
        turns = np.floor(below)
        return stats.vonmises.ppf(below - turns, self.kappa, self.mu) + 2 * math.pi * turns


@final
@dataclass(frozen=True)
class Interpolated(AbstractPrior):
    """A density drawn as straight lines between points; scaled to integrate to 1."""

    x_points: tuple[float, ...] = argument("points")
    pdf_points: tuple[float, ...] = argument("points")

    def check(self) -> None:
        """Check that the points describe a density."""
        x, density = np.array(self.x_points), np.array(self.pdf_points)
        if x.size != density.size or x.size < 2:
            raise ValueError(
                f"prior.Interpolated: x_points and pdf_points must be equally long, two or more, "
                f"not {x.size} and {density.size}."
            )
        if np.any(np.diff(x) <= 0) or np.any(density < 0) or not np.any(density > 0):
            raise ValueError(
                "prior.Interpolated: x_points must increase, and pdf_points must be >= 0 and not all zero."
            )

    @property
    def pymc(self) -> tuple[str, dict[str, Any]]:
        """Family and arguments as PyMC takes them: arrays."""
        return "Interpolated", {name: np.array(value) for name, value in self.arguments.items()}

    @property
    def support(self) -> tuple[float, float]:
        """From the first to the last point."""
        return self.x_points[0], self.x_points[-1]

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        x, density = np.array(self.x_points), np.array(self.pdf_points)
        density = density / np.trapezoid(density, x)
        mass = np.concatenate([[0.0], np.cumsum(np.diff(x) * (density[1:] + density[:-1]) / 2)])
        piece = np.clip(np.searchsorted(mass, p, side="right") - 1, 0, x.size - 2)
        start, rest = density[piece], np.maximum(p - mass[piece], 0.0)
        slope = (density[piece + 1] - start) / (x[piece + 1] - x[piece])
        root = np.sqrt(np.maximum(start**2 + 2 * slope * rest, 0.0))
        step = np.divide(2 * rest, start + root, out=np.zeros_like(rest), where=start + root > 0)
        return np.minimum(x[piece] + step, x[piece + 1])
