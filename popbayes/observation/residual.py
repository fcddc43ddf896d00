"""`residual`: how observations scatter around predictions; formulas for NumPy and for graphs alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast, final

import numpy as np

from popbayes.observation.law import Sigma
from popbayes.observation.scatter import AbstractResidual
from popbayes.observation.stratified import Stratified as Stratified
from popbayes.wording import listed, nearest

__all__ = [
    "AbstractResidual",
    "Additive",
    "BoxCox",
    "Combined",
    "CombinedSD",
    "LogNormal",
    "Power",
    "Proportional",
    "Stratified",
    "residual_from_dict",
]


@final
@dataclass(frozen=True)
class Additive(AbstractResidual):
    r"""Constant error: :math:`y \sim \mathrm{Normal}(f, \sigma_\text{add}^2)`."""

    variables = {"add": "sigma_add"}  # noqa: RUF012 - never changed
    in_units = ("sigma_add",)
    add: Any = None

    def scale(self, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """``sigma_add``, whatever the prediction."""
        return sigma["sigma_add"] + xp.zeros_like(prediction)

    def variance_text(self, prediction: str) -> tuple[str, str]:
        """A constant."""
        return "σ_add²", r"\sigma_\mathrm{add}^2"


@final
@dataclass(frozen=True)
class Proportional(AbstractResidual):
    r"""Error in proportion: :math:`y \sim \mathrm{Normal}(f, (\sigma_\text{prop} f)^2)`."""

    variables = {"prop": "sigma_prop"}  # noqa: RUF012 - never changed
    needs_positive_prediction = True
    prop: Any = None

    def scale(self, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """``sigma_prop * |f|``."""
        return sigma["sigma_prop"] * xp.abs(prediction)

    def variance_text(self, prediction: str) -> tuple[str, str]:
        """In proportion to the square of the prediction."""
        return f"(σ_prop {prediction})²", rf"(\sigma_\mathrm{{prop}} {prediction})^2"


@final
@dataclass(frozen=True)
class Combined(AbstractResidual):
    r"""Additive and proportional error, by their variances (two epsilons in NONMEM).

    .. math:: y \sim \mathrm{Normal}(f, \sigma_\text{add}^2 + (\sigma_\text{prop} f)^2)
    """

    variables = {"add": "sigma_add", "prop": "sigma_prop"}  # noqa: RUF012 - never changed
    in_units = ("sigma_add",)
    add: Any = None
    prop: Any = None

    def scale(self, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """Square root of the sum of both variances."""
        return xp.sqrt(sigma["sigma_add"] ** 2 + (sigma["sigma_prop"] * prediction) ** 2)

    def variance_text(self, prediction: str) -> tuple[str, str]:
        """The sum of both variances."""
        return (
            f"σ_add² + (σ_prop {prediction})²",
            rf"\sigma_\mathrm{{add}}^2 + (\sigma_\mathrm{{prop}} {prediction})^2",
        )


@final
@dataclass(frozen=True)
class CombinedSD(AbstractResidual):
    r"""Additive and proportional error, by their SDs ("combined 1" of Monolix, "combined1" of nlmixr2).

    .. math:: y \sim \mathrm{Normal}(f, (\sigma_\text{add} + \sigma_\text{prop} |f|)^2)
    """

    variables = {"add": "sigma_add", "prop": "sigma_prop"}  # noqa: RUF012 - never changed
    in_units = ("sigma_add",)
    add: Any = None
    prop: Any = None

    def scale(self, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """The sum of both standard deviations."""
        return sigma["sigma_add"] + sigma["sigma_prop"] * xp.abs(prediction)

    def variance_text(self, prediction: str) -> tuple[str, str]:
        """The square of the sum of both standard deviations."""
        return (
            f"(σ_add + σ_prop {prediction})²",
            rf"(\sigma_\mathrm{{add}} + \sigma_\mathrm{{prop}} {prediction})^2",
        )


@final
@dataclass(frozen=True)
class Power(AbstractResidual):
    r"""Error in proportion to a power: :math:`y \sim \mathrm{Normal}(f, (\sigma_\text{pow} f^p)^2)`.

    The exponent `p` is 0 for a constant error and 1 for one in proportion.
    """

    variables = {"sigma": "sigma_pow", "exponent": "power"}  # noqa: RUF012 - never changed
    symbols = {**AbstractResidual.symbols, "power": ("p", "p")}  # noqa: RUF012 - never changed
    supports = {**AbstractResidual.supports, "exponent": "real"}  # noqa: RUF012 - never changed
    needs_positive_prediction = True
    sigma: Any = None
    exponent: Any = None

    def scale(self, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """``sigma_pow * |f| ** power``."""
        return sigma["sigma_pow"] * xp.abs(prediction) ** sigma["power"]

    def variance_text(self, prediction: str) -> tuple[str, str]:
        """In proportion to a power of the prediction."""
        return f"(σ_pow {prediction}^p)²", rf"(\sigma_\mathrm{{pow}} {prediction}^{{p}})^2"


@final
@dataclass(frozen=True)
class LogNormal(AbstractResidual):
    r"""Log-normal error, median `f`: :math:`\log y \sim \mathrm{Normal}(\log f, \sigma_\text{log}^2)`."""

    variables = {"sigma": "sigma_log"}  # noqa: RUF012 - never changed
    law_text = ("LogNormal", "LogStudentT")
    needs_positive_dv = True
    needs_positive_prediction = True
    sigma: Any = None

    def scale(self, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """``sigma_log``, that of the logarithm."""
        return sigma["sigma_log"] + xp.zeros_like(prediction)

    def transform(self, y: Any, sigma: Sigma, xp: Any = np) -> Any:
        """The logarithm."""
        return xp.log(y)

    def log_slope(self, y: Any, sigma: Sigma, xp: Any = np) -> Any:
        """``-log y``."""
        return -xp.log(y)

    def back(self, place: Any, sigma: Sigma) -> Any:
        """The exponential."""
        return np.exp(place)

    def sd(self, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """SD of an observation on its own scale, ``f sqrt(exp(s^2) (exp(s^2) - 1))``; else inf."""
        if self.nu is not None:
            return np.inf + xp.zeros_like(prediction)
        variance = sigma["sigma_log"] ** 2
        return prediction * xp.sqrt(xp.exp(variance) * xp.expm1(variance))

    def distribution(self, prediction: Any, sigma: Sigma, xp: Any = np) -> tuple[str, dict[str, Any]]:
        """PyMC family of an observation, with its arguments."""
        return "LogNormal", {"mu": xp.log(prediction), "sigma": sigma["sigma_log"]}

    def plain(self, prediction: Any, sigma: Sigma, xp: Any) -> tuple[str, dict[str, Any]] | None:
        """PyMC's log-normal; it has none with a Student-t or correlated errors."""
        return self.distribution(prediction, sigma, xp) if self.nu is None and self.rho is None else None

    def centre_text(self, prediction: str) -> tuple[str, str]:
        """The median as text; its logarithm in LaTeX."""
        return prediction, rf"\log {prediction}"

    def variance_text(self, prediction: str) -> tuple[str, str]:
        """That of the logarithm."""
        return "σ_log²", r"\sigma_\mathrm{log}^2"


@final
@dataclass(frozen=True)
class BoxCox(AbstractResidual):
    r"""Both sides transformed: a constant error of :math:`h(y) = (y^\lambda - 1) / \lambda`, median `f`.

    .. math:: h(y) \sim \mathrm{Normal}(h(f), \sigma_\text{boxcox}^2)

    `lam` of 0 is a log-normal error and 1 a constant one. The normal is not cut where :math:`h` ends
    (:math:`h(y) > -1 / \lambda`), as everywhere in the field; draws beyond it are 0.

    References
    ----------
    Box & Cox, J. R. Stat. Soc. B 26 (1964) 211-252; Dosne, Bergstrand & Karlsson, J. Pharmacokinet.
    Pharmacodyn. 43 (2016) 137-151.
    """

    variables = {"sigma": "sigma_boxcox", "lam": "lambda"}  # noqa: RUF012 - never changed
    symbols = {**AbstractResidual.symbols, "lambda": ("λ", r"\lambda")}  # noqa: RUF012 - never changed
    supports = {**AbstractResidual.supports, "lam": "real"}  # noqa: RUF012 - never changed
    needs_positive_dv = True
    needs_positive_prediction = True
    sigma: Any = None
    lam: Any = None

    def scale(self, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """``sigma_boxcox``, that of the transformed observation."""
        return sigma["sigma_boxcox"] + xp.zeros_like(prediction)

    def transform(self, y: Any, sigma: Sigma, xp: Any = np) -> Any:
        """``(y ** lam - 1) / lam``, smooth through ``lam = 0``."""
        log = xp.log(y)
        x = sigma["lambda"] * log
        small = xp.abs(x) < 1e-5
        away = xp.where(small, 1.0, x)
        return log * xp.where(small, 1.0 + x / 2.0 + x**2 / 6.0, xp.expm1(away) / away)

    def log_slope(self, y: Any, sigma: Sigma, xp: Any = np) -> Any:
        """``(lam - 1) log y``."""
        return (sigma["lambda"] - 1.0) * xp.log(y)

    def back(self, place: Any, sigma: Sigma) -> Any:
        """``(1 + lam h) ** (1 / lam)``, ``exp(h)`` where ``lam = 0``; 0 where `h` has no inverse below."""
        lam = np.broadcast_to(np.asarray(sigma["lambda"], dtype=np.float64), np.shape(place))
        base = lam * place
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            power = np.exp(np.log1p(np.maximum(base, -1.0)) / np.where(lam == 0, 1.0, lam))
            drawn = np.where(np.abs(lam) < 1e-12, np.exp(place), power)
        return np.where(base <= -1, np.where(lam > 0, 0.0, np.inf), drawn)

    def sd(self, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """SD of an observation on its own scale, to first order: the scale over `h'`."""
        return self.scale(prediction, sigma, xp) * xp.exp(-self.log_slope(prediction, sigma, xp))

    def plain(self, prediction: Any, sigma: Sigma, xp: Any) -> tuple[str, dict[str, Any]] | None:
        """PyMC has no such family."""
        return None

    def centre_text(self, prediction: str) -> tuple[str, str]:
        """The transformed prediction."""
        return f"h({prediction})", f"h({prediction})"

    def variance_text(self, prediction: str) -> tuple[str, str]:
        """That of the transformed observation."""
        return "σ_boxcox²", r"\sigma_\mathrm{boxcox}^2"

    def text(self, prediction: str) -> str:
        """The distribution as text, and what is distributed so."""
        return f"{super().text(prediction)} of h(dv) = (dv^λ - 1)/λ"


KINDS = {
    kind.__name__: kind for kind in (Additive, Proportional, Combined, CombinedSD, Power, LogNormal, BoxCox)
}


def residual_from_dict(values: Mapping[str, Any]) -> AbstractResidual:
    """Make a residual error from what `to_dict` gave.

    Raises
    ------
    ValueError
        If the kind is unknown.
    """
    given = dict(values)
    kind = given.pop("kind", None)
    if kind not in KINDS:
        raise ValueError(f"There is no residual {kind!r}; there are {listed(KINDS)}.{nearest(kind, KINDS)}")
    return cast(AbstractResidual, KINDS[kind].from_dict(given))
