"""`outcome`: observations that are no measurements: counts, categories, events in time.

An outcome depends on an output of the structural model, either directly (the output is the mean count, the
probability) or through a linear predictor, `intercept + slope * output`, on the scale of its link. Its
arguments may be names of parameters of the model, which gives them covariates and random effects.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

import numpy as np
from scipy import special

from popbayes.observation.law import AbstractLaw, Sigma
from popbayes.observation.rows import Rows
from popbayes.observation.time_to_event import (
    EventRate,
    ExponentialTime,
    GompertzTime,
    Survival,
    WeibullTime,
)

__all__ = [
    "AbstractOutcome",
    "Binary",
    "EventRate",
    "ExponentialTime",
    "GompertzTime",
    "NegativeBinomial",
    "Ordered",
    "Poisson",
    "Survival",
    "WeibullTime",
]

OPTIONAL = {"optional": True}
TINY = 1e-300
"""A mean below it is 0: its logarithm is not taken."""


@dataclass(frozen=True)
class AbstractOutcome(AbstractLaw):
    """A distribution of whole numbers, given a quantity that the structural model predicts.

    Parameters
    ----------
    intercept, slope : prior, number or name, optional
        Both or neither. With them the link of the quantity is ``intercept + slope * output``; without, the
        output is the quantity itself.
    output : str
        The output of the structural model; that of the endpoint's name unless it is given.
    """

    intercept: Any = field(default=None, kw_only=True, metadata=OPTIONAL)
    slope: Any = field(default=None, kw_only=True, metadata=OPTIONAL)
    output: str = field(default="", kw_only=True)

    namespace: ClassVar[str] = "outcome"
    discrete: ClassVar[bool] = True
    supports = {"intercept": "real", "slope": "real"}  # noqa: RUF012 - never changed
    symbols = {  # noqa: RUF012 - never changed
        "intercept": ("α", r"\alpha"), "slope": ("β", r"\beta"), "dispersion": ("φ", r"\phi"),
    }  # fmt: skip
    link: ClassVar[tuple[str, str]] = ("log", r"\log")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Every outcome takes a linear predictor."""
        super().__init_subclass__(**kwargs)
        cls.variables = {**cls.__dict__.get("variables", {}), "intercept": "intercept", "slope": "slope"}

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.intercept is None) != (self.slope is None):
            raise ValueError(f"outcome.{self.kind} takes both intercept and slope, or neither.")

    def place(self, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """The quantity on the scale of its link."""
        if self.slope is None:
            return self.to_link(prediction, xp)
        return sigma["intercept"] + sigma["slope"] * prediction

    @abstractmethod
    def to_link(self, quantity: Any, xp: Any = np) -> Any:
        """The link."""

    @abstractmethod
    def moments(self, prediction: np.ndarray, sigma: Sigma) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of an observation."""

    def scores(self, rows: Rows, prediction: np.ndarray, sigma: Sigma) -> np.ndarray:
        """Pearson residuals, (..., n): (y - mean) / SD; nan where the SD is 0."""
        mean, sd = self.moments(prediction, sigma)
        with np.errstate(divide="ignore", invalid="ignore"):
            z = (rows.dv - mean) / sd
        return np.where(np.isfinite(z), z, np.nan)

    def complaint(self, rows: Rows) -> tuple[np.ndarray, str, str]:
        """Values that are no whole numbers from 0, and censored ones."""
        if np.any(rows.state != 0):
            return rows.state != 0, "takes no censored observations (CENS)", "Set CENS to 0"
        dv = np.asarray(rows.dv)
        highest = self.highest
        bad = (dv < 0) | (dv != np.round(dv)) | (dv > highest)
        upto = "" if highest == np.inf else f" to {highest:g}"
        return bad, f"needs whole numbers from 0{upto}", "Correct them"

    @property
    def highest(self) -> float:
        """The highest possible value."""
        return np.inf

    def words(self, prediction: str) -> tuple[str, str]:
        """The quantity as text and in LaTeX."""
        if self.slope is None:
            return prediction, prediction
        text, latex = self.link
        return (
            f"{text}⁻¹(α + β {prediction})" if text != "log" else f"exp(α + β {prediction})",
            rf"{latex}^{{-1}}(\alpha + \beta {prediction})",
        )

    def text(self, prediction: str) -> str:
        """The distribution as text."""
        return f"{self.kind}({self.words(self.output or prediction)[0]}{self.more[0]})"

    def latex(self, prediction: str) -> str:
        """The distribution in LaTeX."""
        return rf"\mathrm{{{self.kind}}}\left({self.words(prediction)[1]}{self.more[1]}\right)"

    more: ClassVar[tuple[str, str]] = ("", "")

    def to_dict(self) -> dict[str, Any]:
        """The outcome as JSON values."""
        return super().to_dict() | ({"output": self.output} if self.output else {})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AbstractLaw:
        """Make an outcome from what `to_dict` gave, its kind left out."""
        given = dict(values)
        output = given.pop("output", "")
        return cls(**cls.arguments(given), output=output)


@final
@dataclass(frozen=True)
class Poisson(AbstractOutcome):
    r"""Counts: :math:`y \sim \mathrm{Poisson}(\lambda)`, link :math:`\log\lambda`."""

    def to_link(self, quantity: Any, xp: Any = np) -> Any:
        """The logarithm of the mean."""
        return xp.log(xp.maximum(quantity, TINY))

    def log_density(self, rows: Rows, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """Log probability of each count, (..., n)."""
        place = self.place(prediction, sigma, xp)
        return rows.dv * place - xp.exp(place) - special.gammaln(rows.dv + 1.0)

    def draw(self, rng: np.random.Generator, rows: Rows, prediction: np.ndarray, sigma: Sigma) -> np.ndarray:
        """Draw one count for each prediction, (..., n)."""
        return rng.poisson(np.exp(self.place(prediction, sigma))).astype(np.float64)

    def moments(self, prediction: np.ndarray, sigma: Sigma) -> tuple[np.ndarray, np.ndarray]:
        """Mean and SD, the square root of the mean."""
        mean = np.exp(self.place(prediction, sigma))
        return mean, np.sqrt(mean)


@final
@dataclass(frozen=True)
class NegativeBinomial(AbstractOutcome):
    r"""Counts that scatter more: mean :math:`\mu`, variance :math:`\mu + \phi \mu^2`, link :math:`\log\mu`.

    Parameters
    ----------
    dispersion : prior, number or name
        :math:`\phi > 0`.
    """

    variables = {"dispersion": "dispersion"}  # noqa: RUF012 - never changed
    more = (", φ", r",\ \phi")
    dispersion: Any = None

    def to_link(self, quantity: Any, xp: Any = np) -> Any:
        """The logarithm of the mean."""
        return xp.log(xp.maximum(quantity, TINY))

    def log_density(self, rows: Rows, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """Log probability of each count, (..., n)."""
        gammaln = special.gammaln if xp is np else xp.gammaln
        place, size = self.place(prediction, sigma, xp), 1.0 / sigma["dispersion"]
        total = xp.log(size + xp.exp(place))
        counts = gammaln(rows.dv + size) - gammaln(size) - special.gammaln(rows.dv + 1.0)
        return counts + size * (xp.log(size) - total) + rows.dv * (place - total)

    def draw(self, rng: np.random.Generator, rows: Rows, prediction: np.ndarray, sigma: Sigma) -> np.ndarray:
        """Draw one count for each prediction, (..., n)."""
        mean = np.exp(self.place(prediction, sigma))
        size = np.broadcast_to(1.0 / np.asarray(sigma["dispersion"]), mean.shape)
        return rng.poisson(mean * rng.standard_gamma(size) / size).astype(np.float64)

    def moments(self, prediction: np.ndarray, sigma: Sigma) -> tuple[np.ndarray, np.ndarray]:
        """Mean and SD."""
        mean = np.exp(self.place(prediction, sigma))
        return mean, np.sqrt(mean + sigma["dispersion"] * mean**2)


@final
@dataclass(frozen=True)
class Binary(AbstractOutcome):
    r"""Yes (1) or no (0): :math:`y \sim \mathrm{Bernoulli}(p)`, link :math:`\mathrm{logit}\, p`."""

    link = ("logit", r"\mathrm{logit}")
    categorical = True

    @property
    def highest(self) -> float:
        """1."""
        return 1

    def to_link(self, quantity: Any, xp: Any = np) -> Any:
        """The logit of the probability."""
        return xp.log(quantity) - xp.log1p(-quantity)

    def log_density(self, rows: Rows, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """Log probability of each answer, (..., n)."""
        return log_expit((2.0 * rows.dv - 1.0) * self.place(prediction, sigma, xp), xp)

    def draw(self, rng: np.random.Generator, rows: Rows, prediction: np.ndarray, sigma: Sigma) -> np.ndarray:
        """Draw one answer for each prediction, (..., n)."""
        p = special.expit(self.place(prediction, sigma))
        return (rng.random(np.shape(p)) < p).astype(np.float64)

    def moments(self, prediction: np.ndarray, sigma: Sigma) -> tuple[np.ndarray, np.ndarray]:
        """Probability, and SD."""
        p = special.expit(self.place(prediction, sigma))
        return p, np.sqrt(p * (1 - p))


@final
@dataclass(frozen=True)
class Ordered(AbstractLaw):
    r"""Ordered categories 0, 1, ..., K (proportional odds).

    .. math:: \mathrm{logit}\, P(y \le k) = c_k - \beta f, \qquad c_0 = \text{first},\quad
              c_k = c_{k-1} + \text{step}_k

    Parameters
    ----------
    first : prior, number or name
        Logit of the lowest category where the output is 0.
    steps : sequence of priors, numbers or names, > 0
        One for each further threshold: ``K - 1`` of them for categories 0 to K.
    slope : prior, number or name
        Effect of the output: above 0 it makes higher categories likelier.
    output : str
        The output of the structural model; that of the endpoint's name unless it is given.
    """

    first: Any = None
    steps: tuple[Any, ...] = ()
    slope: Any = None
    output: str = field(default="", kw_only=True)

    variables = {"first": "threshold", "slope": "slope"}  # noqa: RUF012 - never changed
    supports = {"first": "real", "slope": "real"}  # noqa: RUF012 - never changed
    namespace = "outcome"
    discrete = True
    categorical = True

    def __post_init__(self) -> None:
        super().__post_init__()
        each = [one if isinstance(one, str) else self._argument("steps", one) for one in self.steps]
        object.__setattr__(self, "steps", tuple(each))

    @property
    def given(self) -> dict[str, Any]:
        """Priors and names of parameters by the names in graphs and tables."""
        steps = {f"step_{number}": one for number, one in enumerate(self.steps, start=1)}
        return {"threshold": self.first, **steps, "slope": self.slope}

    def support(self, variable: str) -> tuple[float, float]:
        """Lowest and highest value of an argument by its name in graphs and tables."""
        return (0.0, np.inf) if variable.startswith("step_") else (-np.inf, np.inf)

    def symbol(self, name: str) -> tuple[str, str]:
        """Symbol of an argument as text and in LaTeX."""
        known = {"threshold": ("c_0", "c_0"), "slope": ("β", r"\beta")}
        return known.get(name) or (f"Δ_{name[5:]}", rf"\Delta_{{{name[5:]}}}")

    @property
    def highest(self) -> int:
        """The highest category."""
        return len(self.steps) + 1

    def _thresholds(self, prediction: Any, sigma: Sigma) -> list[Any]:
        """``c_k - slope * f`` of every threshold."""
        place = sigma["threshold"] - sigma["slope"] * prediction
        places = [place]
        for number in range(1, self.highest):
            places.append(places[-1] + sigma[f"step_{number}"])
        return places

    def log_density(self, rows: Rows, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """Log probability of each category, (..., n)."""
        places = self._thresholds(prediction, sigma)
        dv, top = rows.dv, self.highest
        value = xp.where(dv == 0, log_expit(places[0], xp), log_expit(-places[-1], xp))
        for k in range(1, top):
            high, low = places[k], places[k - 1]
            # expit(a) - expit(b) = expit(a) expit(-b) (1 - exp(b - a))
            between = log_expit(high, xp) + log_expit(-low, xp) + xp.log(-xp.expm1(low - high))
            value = xp.where(dv == k, between, value)
        return value

    def _below(self, prediction: np.ndarray, sigma: Sigma) -> np.ndarray:
        """P(y <= k) for every k below the highest, (k, ..., n)."""
        return np.stack(np.broadcast_arrays(*map(special.expit, self._thresholds(prediction, sigma))))

    def draw(self, rng: np.random.Generator, rows: Rows, prediction: np.ndarray, sigma: Sigma) -> np.ndarray:
        """Draw one category for each prediction, (..., n)."""
        below = self._below(prediction, sigma)
        return (rng.random(below.shape[1:]) > below).sum(axis=0).astype(np.float64)

    def scores(self, rows: Rows, prediction: np.ndarray, sigma: Sigma) -> np.ndarray:
        """Pearson residuals of the category's number, (..., n)."""
        above = 1.0 - self._below(prediction, sigma)
        mean = above.sum(axis=0)
        odd = 2 * np.arange(self.highest).reshape(-1, *(1,) * (above.ndim - 1)) + 1
        variance = (odd * above).sum(axis=0) - mean**2
        return (rows.dv - mean) / np.sqrt(variance)

    def complaint(self, rows: Rows) -> tuple[np.ndarray, str, str]:
        """Values that are no category, and censored ones."""
        dv = np.asarray(rows.dv)
        bad = ~np.isin(dv, np.arange(self.highest + 1)) | (rows.state != 0)
        return (
            bad,
            f"needs categories 0 to {self.highest}, not censored",
            "Number them so, or give more steps",
        )

    def text(self, prediction: str) -> str:
        """The distribution as text."""
        return f"Ordered(logit P(y <= k) = c_k - β {self.output or prediction})"

    def latex(self, prediction: str) -> str:
        """The distribution in LaTeX."""
        return rf"\mathrm{{Ordered}}\left(\mathrm{{logit}}\,P(y \le k) = c_k - \beta {prediction}\right)"

    def to_dict(self) -> dict[str, Any]:
        """The outcome as JSON values."""
        steps = [one if isinstance(one, str) else one.to_dict() for one in self.steps]
        return super().to_dict() | {"steps": steps} | ({"output": self.output} if self.output else {})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AbstractLaw:
        """Make it from what `to_dict` gave, its kind left out."""
        given = dict(values)
        output = given.pop("output", "")
        steps = cls.arguments({str(k): one for k, one in enumerate(given.pop("steps"))})
        return cls(**cls.arguments(given), steps=tuple(steps.values()), output=output)


def log_expit(x: Any, xp: Any = np) -> Any:
    r"""Logarithm of :math:`1 / (1 + e^{-x})`, without overflow."""
    return special.log_expit(x) if xp is np else -xp.softplus(-x)


KINDS: dict[str, type[AbstractLaw]] = {
    kind.__name__: kind
    for kind in (
        Poisson, NegativeBinomial, Binary, Ordered, ExponentialTime, WeibullTime, GompertzTime, Survival,
        EventRate,
    )
}  # fmt: skip
