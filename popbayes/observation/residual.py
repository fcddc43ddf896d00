"""`residual`: how observations scatter around predictions; formulas for NumPy and for graphs alike."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, final

import numpy as np

from popbayes.parameters.family import AbstractPrior
from popbayes.parameters.naming import listed, nearest
from popbayes.parameters.priors import prior_from_dict
from popbayes.parameters.variability import positive_prior

__all__ = ["AbstractResidual", "Additive", "Combined", "LogNormal", "Proportional", "residual_from_dict"]

LOG_SQRT_2PI = 0.5 * np.log(2 * np.pi)


@dataclass(frozen=True)
class AbstractResidual:
    """A distribution of observations given their predictions.

    In all methods `prediction` and `dv` are (..., n_obs) in the units of the observations, and
    `sigma` maps each name of `sigmas` to a scalar or (..., 1).
    """

    variables: ClassVar[dict[str, str]]
    """Names in graphs and tables of the arguments: ``{"add": "sigma_add"}``."""
    needs_positive_dv: ClassVar[bool] = False
    needs_positive_prediction: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for one in fields(self):
            where = f"{one.name} of residual.{self.kind}"
            object.__setattr__(self, one.name, positive_prior(getattr(self, one.name), where))

    @property
    def kind(self) -> str:
        """Additive, Proportional, Combined or LogNormal."""
        return type(self).__name__

    @property
    def sigmas(self) -> dict[str, AbstractPrior]:
        """Priors by their names in graphs and tables."""
        return {variable: getattr(self, name) for name, variable in self.variables.items()}

    @abstractmethod
    def sd(self, prediction: Any, sigma: Mapping[str, Any], xp: Any = np) -> Any:
        """Standard deviation of an observation, in its units."""

    def distribution(
        self, prediction: Any, sigma: Mapping[str, Any], xp: Any = np
    ) -> tuple[str, dict[str, Any]]:
        """PyMC family of an observation, with its arguments."""
        return "Normal", {"mu": prediction, "sigma": self.sd(prediction, sigma, xp)}

    def standardised(self, dv: np.ndarray, prediction: np.ndarray, sigma: Mapping[str, Any]) -> np.ndarray:
        """Residuals in standard deviations; IWRES for individual predictions."""
        return (dv - prediction) / self.sd(prediction, sigma)

    def logp(self, dv: np.ndarray, prediction: np.ndarray, sigma: Mapping[str, Any]) -> np.ndarray:
        """Log density of each observation given its prediction; -inf where the SD is 0."""
        sd = self.sd(prediction, sigma)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            density = -0.5 * ((dv - prediction) / sd) ** 2 - np.log(sd) - LOG_SQRT_2PI
        return np.where(sd > 0, density, -np.inf)

    def sample(
        self, rng: np.random.Generator, prediction: np.ndarray, sigma: Mapping[str, Any]
    ) -> np.ndarray:
        """Draw one observation for each prediction."""
        return prediction + self.sd(prediction, sigma) * rng.standard_normal(np.shape(prediction))

    @abstractmethod
    def text(self, prediction: str) -> str:
        """The distribution as text."""

    @abstractmethod
    def latex(self, prediction: str) -> str:
        """The distribution in LaTeX."""

    def to_dict(self) -> dict[str, Any]:
        """The residual error as JSON values."""
        return {"kind": self.kind, **{name: getattr(self, name).to_dict() for name in self.variables}}


@final
@dataclass(frozen=True)
class Additive(AbstractResidual):
    r"""Constant error: :math:`y \sim \mathrm{Normal}(f, \sigma_\text{add}^2)`."""

    variables = {"add": "sigma_add"}  # noqa: RUF012 - never changed
    add: Any = None

    def sd(self, prediction: Any, sigma: Mapping[str, Any], xp: Any = np) -> Any:
        """``sigma_add``, whatever the prediction."""
        return sigma["sigma_add"] + xp.zeros_like(prediction)

    def text(self, prediction: str) -> str:
        """A normal with constant SD."""
        return f"Normal({prediction}, σ_add²)"

    def latex(self, prediction: str) -> str:
        """A normal with constant SD."""
        return rf"\mathrm{{Normal}}\left({prediction},\ \sigma_\mathrm{{add}}^2\right)"


@final
@dataclass(frozen=True)
class Proportional(AbstractResidual):
    r"""Error in proportion: :math:`y \sim \mathrm{Normal}(f, (\sigma_\text{prop} f)^2)`."""

    variables = {"prop": "sigma_prop"}  # noqa: RUF012 - never changed
    needs_positive_prediction = True
    prop: Any = None

    def sd(self, prediction: Any, sigma: Mapping[str, Any], xp: Any = np) -> Any:
        """``sigma_prop * |f|``."""
        return sigma["sigma_prop"] * xp.abs(prediction)

    def text(self, prediction: str) -> str:
        """A normal with SD in proportion."""
        return f"Normal({prediction}, (σ_prop {prediction})²)"

    def latex(self, prediction: str) -> str:
        """A normal with SD in proportion."""
        return rf"\mathrm{{Normal}}\left({prediction},\ (\sigma_\mathrm{{prop}} {prediction})^2\right)"


@final
@dataclass(frozen=True)
class Combined(AbstractResidual):
    r"""Additive and proportional error, by their variances (two epsilons in NONMEM).

    .. math:: y \sim \mathrm{Normal}(f, \sigma_\text{add}^2 + (\sigma_\text{prop} f)^2)
    """

    variables = {"add": "sigma_add", "prop": "sigma_prop"}  # noqa: RUF012 - never changed
    add: Any = None
    prop: Any = None

    def sd(self, prediction: Any, sigma: Mapping[str, Any], xp: Any = np) -> Any:
        """Square root of the sum of both variances."""
        return xp.sqrt(sigma["sigma_add"] ** 2 + (sigma["sigma_prop"] * prediction) ** 2)

    def text(self, prediction: str) -> str:
        """A normal with the sum of both variances."""
        return f"Normal({prediction}, σ_add² + (σ_prop {prediction})²)"

    def latex(self, prediction: str) -> str:
        """A normal with the sum of both variances."""
        return (
            rf"\mathrm{{Normal}}\left({prediction},\ \sigma_\mathrm{{add}}^2 + "
            rf"(\sigma_\mathrm{{prop}} {prediction})^2\right)"
        )


@final
@dataclass(frozen=True)
class LogNormal(AbstractResidual):
    r"""Log-normal error, median `f`: :math:`\log y \sim \mathrm{Normal}(\log f, \sigma_\text{log}^2)`."""

    variables = {"sigma": "sigma_log"}  # noqa: RUF012 - never changed
    needs_positive_dv = True
    needs_positive_prediction = True
    sigma: Any = None

    def sd(self, prediction: Any, sigma: Mapping[str, Any], xp: Any = np) -> Any:
        """SD of an observation on its own scale, ``f sqrt(exp(s^2) (exp(s^2) - 1))``."""
        variance = sigma["sigma_log"] ** 2
        return prediction * xp.sqrt(xp.exp(variance) * xp.expm1(variance))

    def distribution(
        self, prediction: Any, sigma: Mapping[str, Any], xp: Any = np
    ) -> tuple[str, dict[str, Any]]:
        """PyMC family of an observation, with its arguments."""
        return "LogNormal", {"mu": xp.log(prediction), "sigma": sigma["sigma_log"]}

    def standardised(self, dv: np.ndarray, prediction: np.ndarray, sigma: Mapping[str, Any]) -> np.ndarray:
        """Residuals of the logarithm in standard deviations."""
        return np.log(dv / prediction) / sigma["sigma_log"]

    def logp(self, dv: np.ndarray, prediction: np.ndarray, sigma: Mapping[str, Any]) -> np.ndarray:
        """Log density of each observation given its prediction; -inf where the prediction is not positive."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            z = self.standardised(dv, prediction, sigma)
            density = -0.5 * z**2 - np.log(sigma["sigma_log"]) - np.log(dv) - LOG_SQRT_2PI
        return np.where((prediction > 0) & (dv > 0), density, -np.inf)

    def sample(
        self, rng: np.random.Generator, prediction: np.ndarray, sigma: Mapping[str, Any]
    ) -> np.ndarray:
        """Draw one observation for each prediction."""
        return prediction * np.exp(sigma["sigma_log"] * rng.standard_normal(np.shape(prediction)))

    def text(self, prediction: str) -> str:
        """A log-normal with constant SD of the logarithm."""
        return f"LogNormal({prediction}, σ_log²)"

    def latex(self, prediction: str) -> str:
        """A log-normal with constant SD of the logarithm."""
        return rf"\mathrm{{LogNormal}}\left(\log {prediction},\ \sigma_\mathrm{{log}}^2\right)"


def residual_from_dict(values: Mapping[str, Any]) -> AbstractResidual:
    """Make a residual error from what `to_dict` gave.

    Raises
    ------
    ValueError
        If the kind is unknown.
    """
    known = {kind.__name__: kind for kind in (Additive, Proportional, Combined, LogNormal)}
    given = dict(values)
    kind = given.pop("kind", None)
    if kind not in known:
        raise ValueError(f"There is no residual {kind!r}; there are {listed(known)}.{nearest(kind, known)}")
    return known[kind](**{name: prior_from_dict(one) for name, one in given.items()})
