"""What all residual errors are: a normal or Student-t around a transformed prediction, correlated or not."""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from scipy import special

from popbayes.observation import tails
from popbayes.observation.law import AbstractLaw, Sigma
from popbayes.observation.rows import BETWEEN, MEASURED, Rows, assemble, cut

NU, RHO = "nu", "rho"
OPTIONAL = {"optional": True}


@dataclass(frozen=True)
class AbstractResidual(AbstractLaw):
    r"""A distribution of observations around their predictions.

    With a transformation `h` (none, unless the family says so) and a scale `s`:

    .. math:: h(y_{ij}) = h(f_{ij}) + s(f_{ij})\, \varepsilon_{ij}

    In all methods `prediction` and `dv` are (..., n_obs) in the units of the observations, and
    `sigma` maps each name of `variables` to a scalar, (..., 1) or (..., n_obs).

    Parameters
    ----------
    nu : prior, number or name, optional
        Degrees of freedom of a Student-t :math:`\varepsilon`: outlying observations weigh less. Without it
        the error is normal.
    rho : prior, number or name, optional
        Correlation of a subject's errors one unit of time apart, between 0 and 1; that of errors
        :math:`\Delta t` apart is :math:`\rho^{\Delta t}` (AR(1)). Without it they are independent.
    """

    nu: Any = field(default=None, kw_only=True, metadata=OPTIONAL)
    rho: Any = field(default=None, kw_only=True, metadata=OPTIONAL)

    supports = {RHO: "fraction"}  # noqa: RUF012 - never changed
    symbols = {NU: ("ν", r"\nu"), RHO: ("ρ", r"\rho")}  # noqa: RUF012 - never changed
    law_text: ClassVar[tuple[str, str]] = ("Normal", "StudentT")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Every residual error takes degrees of freedom and a correlation."""
        super().__init_subclass__(**kwargs)
        if "variables" in cls.__dict__:
            cls.variables = {**cls.variables, "nu": NU, "rho": RHO}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nu is not None and self.rho is not None:
            raise ValueError(
                f"residual.{self.kind} cannot have both nu and rho: a Student-t with correlated errors has "
                "no closed form here. Choose one."
            )

    @abstractmethod
    def scale(self, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """SD (scale, of a Student-t) of the error, where it is added."""

    def transform(self, y: Any, sigma: Sigma, xp: Any = np) -> Any:
        """`h`: where the error is added."""
        return y

    def log_slope(self, y: Any, sigma: Sigma, xp: Any = np) -> Any:
        """Log derivative of `h`."""
        return 0.0

    def back(self, place: Any, sigma: Sigma) -> Any:
        """Inverse of `h`."""
        return place

    def sd(self, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """Standard deviation of an observation, in its units."""
        scale = self.scale(prediction, sigma, xp)
        if self.nu is None:
            return scale
        nu = sigma[NU]
        heavy = xp.where(nu > 2, nu / xp.where(nu > 2, nu - 2.0, 1.0), np.inf)
        return scale * xp.sqrt(heavy)

    def distribution(self, prediction: Any, sigma: Sigma, xp: Any = np) -> tuple[str, dict[str, Any]]:
        """PyMC family of an observation, with its arguments."""
        scale = self.scale(prediction, sigma, xp)
        if self.nu is None:
            return "Normal", {"mu": prediction, "sigma": scale}
        return "StudentT", {"nu": sigma[NU], "mu": prediction, "sigma": scale}

    def plain(self, prediction: Any, sigma: Sigma, xp: Any) -> tuple[str, dict[str, Any]] | None:
        """PyMC family of an observation with its arguments; None where PyMC has none."""
        return None if self.rho is not None else self.distribution(prediction, sigma, xp)

    def noise_log_density(self, z: Any, sigma: Sigma, xp: Any = np) -> Any:
        """Log density of the standardised error."""
        return tails.normal_log_density(z) if self.nu is None else tails.student_log_density(z, sigma[NU], xp)

    def noise_log_cdf(self, z: Any, sigma: Sigma, xp: Any = np) -> Any:
        """Log distribution function of the standardised error."""
        return tails.normal_log_cdf(z, xp) if self.nu is None else tails.student_log_cdf(z, sigma[NU], xp)

    def errors(self, y: Any, prediction: Any, sigma: Sigma, xp: Any = np) -> tuple[Any, Any]:
        """Standardised errors that make `y` of the predictions, and their scale."""
        scale = self.scale(prediction, sigma, xp)
        return (self.transform(y, sigma, xp) - self.transform(prediction, sigma, xp)) / scale, scale

    def standardised(self, dv: np.ndarray, prediction: np.ndarray, sigma: Sigma) -> np.ndarray:
        """Residuals in standard deviations; normal scores of a Student-t. IWRES of individual fits."""
        z, _ = self.errors(dv, prediction, sigma)
        if self.nu is None:
            return z
        return -np.sign(z) * special.ndtri_exp(tails.student_log_cdf(-np.abs(z), sigma[NU]))

    def logp(self, dv: np.ndarray, prediction: np.ndarray, sigma: Sigma) -> np.ndarray:
        """Log density of each measured observation given its prediction; -inf where the scale is 0."""
        return self._measured(dv, prediction, sigma, np)

    def _measured(self, dv: Any, prediction: Any, sigma: Sigma, xp: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            z, scale = self.errors(dv, prediction, sigma, xp)
            density = (
                self.noise_log_density(z, sigma, xp) - xp.log(scale) + self.log_slope(dv, sigma, xp) + 0.0 * z
            )
            return self._possible(density, dv, prediction, scale) if xp is np else density

    def _possible(self, density: Any, dv: Any, prediction: Any, scale: Any) -> Any:
        """Density 0, and no nan, where no observation can come from the prediction."""
        fine = scale > 0
        if self.needs_positive_dv:
            fine = fine & (np.asarray(dv) > 0)
        if self.needs_positive_prediction:
            fine = fine & (prediction > 0)
        return np.where(fine, density, -np.inf)

    def log_density(self, rows: Rows, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """Log density of each observation, (..., n); see `AbstractLaw`."""
        if self.rho is not None:
            return self._correlated(rows, prediction, sigma, xp)
        n, parts = len(rows.state), []
        for index, function in (
            (rows.measured, self._of_measured),
            (rows.between["below"], self._of_below),
            (rows.between["above"], self._of_above),
            (rows.between["within"], self._of_within),
        ):
            if len(index):
                parts.append((index, function(rows, index, *self._cut(prediction, sigma, index, n), xp)))
        density = assemble(parts, n, xp) if parts else 0.0 * prediction
        if not len(rows.floored):
            return density
        index = rows.floored
        known = self._log_above(rows.floor[index], *self._cut(prediction, sigma, index, n), xp)
        return density - assemble([(index, known)], n, xp)

    def _cut(self, prediction: Any, sigma: Sigma, index: np.ndarray, n: int) -> tuple[Any, dict[str, Any]]:
        return cut(prediction, index, n), {name: cut(value, index, n) for name, value in sigma.items()}

    def _of_measured(self, rows: Rows, index: np.ndarray, prediction: Any, sigma: Sigma, xp: Any) -> Any:
        return self._measured(rows.dv[index], prediction, sigma, xp)

    def _of_below(self, rows: Rows, index: np.ndarray, prediction: Any, sigma: Sigma, xp: Any) -> Any:
        return self.log_cdf(rows.upper[index], prediction, sigma, xp)

    def _of_above(self, rows: Rows, index: np.ndarray, prediction: Any, sigma: Sigma, xp: Any) -> Any:
        return self._log_above(rows.lower[index], prediction, sigma, xp)

    def _of_within(self, rows: Rows, index: np.ndarray, prediction: Any, sigma: Sigma, xp: Any) -> Any:
        return self.log_within(rows.lower[index], rows.upper[index], prediction, sigma, xp)

    def log_cdf(self, limit: Any, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """Log probability of a value below a limit; 0 (certain) where a prediction of 0 has no error."""
        z, positive = self._limit(limit, prediction, sigma, xp)
        value = self.noise_log_cdf(z, sigma, xp)
        return value if positive is None else xp.where(positive, value, np.where(limit > 0, 0.0, -np.inf))

    def _log_above(self, limit: Any, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        z, positive = self._limit(limit, prediction, sigma, xp)
        value = self.noise_log_cdf(-z, sigma, xp)
        return value if positive is None else xp.where(positive, value, np.where(limit > 0, -np.inf, 0.0))

    def log_within(self, lower: Any, upper: Any, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """Log probability of an observation between two limits, from the nearer tail."""
        low, positive = self._limit(lower, prediction, sigma, xp)
        high, _ = self._limit(upper, prediction, sigma, xp)
        flip = low + high > 0
        near, far = xp.where(flip, -low, high), xp.where(flip, -high, low)
        value = tails.log_difference(
            self.noise_log_cdf(near, sigma, xp), self.noise_log_cdf(far, sigma, xp), xp
        )
        inside = np.where((lower <= 0) & (upper > 0), 0.0, -np.inf)
        return value if positive is None else xp.where(positive, value, inside)

    def _limit(self, limit: Any, prediction: Any, sigma: Sigma, xp: Any) -> tuple[Any, Any]:
        """Standardised limit, and where the prediction has a distribution (None: everywhere)."""
        if not self.needs_positive_prediction:
            return self.errors(limit, prediction, sigma, xp)[0], None
        positive = prediction > 0
        return self.errors(limit, xp.where(positive, prediction, 1.0), sigma, xp)[0], positive

    def _correlated(self, rows: Rows, prediction: Any, sigma: Sigma, xp: Any) -> Any:
        r"""AR(1): :math:`\varepsilon_j \mid \varepsilon_{j-1} \sim N(r \varepsilon_{j-1}, 1 - r^2)`."""
        n = len(rows.state)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            z, scale = self.errors(rows.dv, prediction, sigma, xp)
            before, r = self._before(rows, z, sigma, xp)
            rest = 1.0 - r**2
            density = (
                tails.normal_log_density((z - r * before) / xp.sqrt(rest))
                - 0.5 * xp.log(rest)
                - xp.log(scale)
                + self.log_slope(rows.dv, sigma, xp)
            )
            if xp is np:
                density = self._possible(density, rows.dv, prediction, scale)
        if len(rows.measured) == n:
            return density
        return xp.where(np.isin(np.arange(n), rows.measured), density, 0.0)

    def _before(self, rows: Rows, z: Any, sigma: Sigma, xp: Any) -> tuple[Any, Any]:
        """The error before each, and the correlation with it: 0 for the first."""
        gap = np.where(rows.previous >= 0, rows.time - rows.since, np.inf)
        finite = np.where(np.isfinite(gap), gap, 0.0)
        r = xp.where(np.isfinite(gap), sigma[RHO] ** finite, 0.0)
        return z[..., np.maximum(rows.previous, 0)], r

    def sample(self, rng: np.random.Generator, prediction: np.ndarray, sigma: Sigma) -> np.ndarray:
        """Draw one observation for each prediction, independently."""
        return self._observed(self._noise(rng, np.shape(prediction), sigma), prediction, sigma)

    def _noise(self, rng: np.random.Generator, shape: tuple[int, ...], sigma: Sigma) -> np.ndarray:
        normal = rng.standard_normal(shape)
        if self.nu is None:
            return normal
        nu = np.asarray(sigma[NU], dtype=np.float64)
        return normal / np.sqrt(2.0 * rng.standard_gamma(np.broadcast_to(0.5 * nu, shape)) / nu)

    def _noise_above_zero(self, rng: np.random.Generator, prediction: np.ndarray, sigma: Sigma) -> np.ndarray:
        """Errors cut where the observation would be negative, by the inverse of their distribution."""
        scale = self.scale(prediction, sigma)
        with np.errstate(divide="ignore", invalid="ignore"):
            furthest = np.where(scale > 0, prediction / scale, np.inf)
        uniform = 1.0 - rng.random(np.shape(furthest))
        if self.nu is None:
            return -special.ndtri_exp(np.log(uniform) + special.log_ndtr(furthest))
        return -special.stdtrit(sigma[NU], uniform * special.stdtr(sigma[NU], furthest))

    def _observed(self, noise: np.ndarray, prediction: np.ndarray, sigma: Sigma) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            place = self.transform(prediction, sigma) + self.scale(prediction, sigma) * noise
        drawn = self.back(place, sigma)
        return np.where(prediction == 0, 0.0, drawn) if self.needs_positive_prediction else drawn

    def draw(self, rng: np.random.Generator, rows: Rows, prediction: np.ndarray, sigma: Sigma) -> np.ndarray:
        """Draw one observation for each prediction, correlated where they are; (..., n)."""
        if rows.positive and not self.needs_positive_dv:
            noise = self._noise_above_zero(rng, prediction, sigma)
        else:
            noise = self._noise(rng, np.shape(prediction), sigma)
        if self.rho is not None:
            _, r = self._before(rows, noise, sigma, np)
            r = np.broadcast_to(r, noise.shape)
            for j in np.flatnonzero(rows.previous >= 0):
                share = r[..., j]
                noise[..., j] = share * noise[..., rows.previous[j]] + np.sqrt(1.0 - share**2) * noise[..., j]
        return self._observed(noise, prediction, sigma)

    def scores(self, rows: Rows, prediction: np.ndarray, sigma: Sigma) -> np.ndarray:
        """Weighted residuals of the measured values, (..., n); nan for the others."""
        with np.errstate(divide="ignore", invalid="ignore"):
            z = self.standardised(rows.dv, prediction, sigma)
        return np.where((rows.state == MEASURED) & np.isfinite(z), z, np.nan)

    def complaint(self, rows: Rows) -> tuple[np.ndarray, str, str]:
        """Values that are not positive where they must be, and what correlated errors cannot take."""
        limited = (rows.state == BETWEEN) | np.isfinite(rows.floor)
        if self.rho is not None and np.any(limited):
            return (
                limited,
                "has no closed form for observations beyond a limit, or known to be above one, where errors "
                "are correlated (rho)",
                "Use censoring.M1, M5, M6 or M7, or leave rho out",
            )
        if self.rho is not None:
            again = (rows.previous >= 0) & (rows.time == rows.since)
            rule = "cannot correlate (rho) two observations of a subject at one time"
            return again, rule, "Leave one out, or leave rho out"
        if not self.needs_positive_dv:
            return super().complaint(rows)
        bad = (rows.state == MEASURED) & ~(np.asarray(rows.dv) > 0)
        remedy = "Use residual.Combined or residual.Additive, or leave these records out"
        return bad, "needs positive observations", remedy

    @abstractmethod
    def variance_text(self, prediction: str) -> tuple[str, str]:
        """Variance of the error as text and in LaTeX."""

    def centre_text(self, prediction: str) -> tuple[str, str]:
        """Where the distribution is centred, as text and in LaTeX."""
        return prediction, prediction

    def text(self, prediction: str) -> str:
        """The distribution as text."""
        nu = "" if self.nu is None else "ν, "
        after = "" if self.rho is None else ", errors correlated by ρ^Δt"
        inside = f"{nu}{self.centre_text(prediction)[0]}, {self.variance_text(prediction)[0]}"
        return f"{self.law_text[self.nu is not None]}({inside}){after}"

    def latex(self, prediction: str) -> str:
        """The distribution in LaTeX."""
        nu = "" if self.nu is None else r"\nu,\ "
        after = "" if self.rho is None else r",\quad \mathrm{corr} = \rho^{\Delta t}"
        inside = rf"{nu}{self.centre_text(prediction)[1]},\ {self.variance_text(prediction)[1]}"
        return rf"\mathrm{{{self.law_text[self.nu is not None]}}}\left({inside}\right){after}"
