r"""Events in time: hazards in closed form, or integrated by the structural model.

Every record of such an endpoint ends an interval that begins at the record before it (the subject's first
record, for the first): DV 0 says that no event happened in it, DV 1 that one happened at its end, and DV 1
with CENS 1 that one happened at some time within it. With the hazard `h` and its integral `H` over the
interval, the three have the log densities :math:`-H`, :math:`\log h(t) - H` and
:math:`\log(1 - e^{-H})`. So right and interval censoring, delayed entry and repeated events are all said by
records.

References
----------
Andersen, Borgan, Gill & Keiding, *Statistical Models Based on Counting Processes* (1993).
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

import numpy as np

from popbayes.observation.law import AbstractLaw, Sigma
from popbayes.observation.rows import BETWEEN, MEASURED, Rows

OPTIONAL = {"optional": True}


@dataclass(frozen=True)
class AbstractEvent(AbstractLaw):
    """What events in time share: densities and draws from the cumulative hazard of every interval."""

    namespace: ClassVar[str] = "outcome"
    discrete: ClassVar[bool] = True
    categorical: ClassVar[bool] = True

    @abstractmethod
    def increment(self, rows: Rows, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """Integral of the hazard over the interval that each record ends, (..., n)."""

    @abstractmethod
    def log_hazard(self, rows: Rows, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """Logarithm of the hazard at each record, (..., n)."""

    def log_density(self, rows: Rows, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """Log density of what happened in each interval, (..., n)."""
        within = self.increment(rows, prediction, sigma, xp)
        exact = np.flatnonzero((rows.state == MEASURED) & (rows.dv == 1))
        inside = (rows.state == BETWEEN) & (rows.dv == 1)
        value = -within
        if inside.any():
            some = xp.where(inside, within, 1.0)
            value = xp.where(inside, xp.log(-xp.expm1(-some)), value)
        if len(exact):
            at = np.isin(np.arange(len(rows.state)), exact)
            value = value + xp.where(at, self.log_hazard(rows, prediction, sigma, xp), 0.0)
        return value

    def draw(self, rng: np.random.Generator, rows: Rows, prediction: np.ndarray, sigma: Sigma) -> np.ndarray:
        """Whether an event happens in each interval, (..., n): 0 or 1."""
        within = self.increment(rows, prediction, sigma) + 0.0 * prediction
        return (rng.standard_exponential(np.shape(within)) < within).astype(np.float64)

    def scores(self, rows: Rows, prediction: np.ndarray, sigma: Sigma) -> np.ndarray:
        """Martingale residuals, (..., n): events less the cumulative hazard of the interval."""
        return rows.dv - self.increment(rows, prediction, sigma) + 0.0 * prediction

    def complaint(self, rows: Rows) -> tuple[np.ndarray, str, str]:
        """Values other than 0 and 1, intervals without an event that are marked as censored, and CENS -1."""
        dv = np.asarray(rows.dv)
        # of CENS 1 the upper limit is DV; of CENS -1 the lower one
        within = (rows.state == BETWEEN) & (rows.upper == dv)
        bad = ~np.isin(dv, (0, 1)) | ((rows.state == BETWEEN) & ~(within & (dv == 1)))
        return bad, "needs DV 1 (an event) or 0 (none; CENS 0)", "CENS 1 marks an event within the interval"

    def text(self, prediction: str) -> str:
        """The hazard as text."""
        return f"an event with hazard {self.hazard_text[0]}"

    def latex(self, prediction: str) -> str:
        """The hazard in LaTeX."""
        return rf"\mathrm{{event}},\ h(t) = {self.hazard_text[1]}"

    hazard_text: ClassVar[tuple[str, str]]


@dataclass(frozen=True)
class AbstractHazard(AbstractEvent):
    """A hazard in closed form, of the time since the subject's first record.

    Parameters
    ----------
    slope : prior, number or name, optional
        Log hazard ratio for one unit of an output of the structural model; its value at a record holds over
        the interval that ends there, so that records must stand close where it changes fast.
    output : str
        That output; that of the endpoint's name unless it is given. Without `slope` none is needed.
    """

    slope: Any = field(default=None, kw_only=True, metadata=OPTIONAL)
    output: str = field(default="", kw_only=True)

    supports = {"slope": "real"}  # noqa: RUF012 - never changed
    symbols = {  # noqa: RUF012 - never changed
        "slope": ("β", r"\beta"), "hazard": ("λ", r"\lambda"), "scale": ("τ", r"\tau"), "shape": ("k", "k"),
        "growth": ("g", "g"),
    }  # fmt: skip

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Every hazard takes an effect of an output."""
        super().__init_subclass__(**kwargs)
        cls.variables = {**cls.__dict__.get("variables", {}), "slope": "slope"}

    @property
    def uses_prediction(self) -> bool:  # type: ignore[override]
        """Whether an output acts on the hazard."""
        return self.slope is not None

    @abstractmethod
    def cumulative(self, time: np.ndarray, sigma: Sigma, xp: Any) -> Any:
        """Integral of the hazard from 0, at times > 0."""

    @abstractmethod
    def log_at(self, time: np.ndarray, sigma: Sigma, xp: Any) -> Any:
        """Log hazard at times > 0."""

    def _ratio(self, prediction: Any, sigma: Sigma) -> Any:
        return 0.0 if self.slope is None else sigma["slope"] * prediction

    def increment(self, rows: Rows, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """Integral of the hazard over the interval that each record ends, (..., n)."""
        total = _from_zero(self, rows.time - rows.origin, sigma, xp)
        before = _from_zero(self, rows.since - rows.origin, sigma, xp)
        return (total - before) * xp.exp(self._ratio(prediction, sigma) + 0.0 * prediction)

    def log_hazard(self, rows: Rows, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """Logarithm of the hazard at each record, (..., n)."""
        time = rows.time - rows.origin
        return self.log_at(np.where(time > 0, time, 1.0), sigma, xp) + self._ratio(prediction, sigma)

    def complaint(self, rows: Rows) -> tuple[np.ndarray, str, str]:
        """As for all events; and an event at time 0."""
        bad, rule, remedy = super().complaint(rows)
        if bad.any():
            return bad, rule, remedy
        early = (np.asarray(rows.dv) == 1) & (rows.time <= rows.since)
        return early, "needs time before an event (records at one time?)", "Correct TIME"

    def to_dict(self) -> dict[str, Any]:
        """The hazard as JSON values."""
        return super().to_dict() | ({"output": self.output} if self.output else {})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AbstractLaw:
        """Make it from what `to_dict` gave, its kind left out."""
        given = dict(values)
        output = given.pop("output", "")
        return cls(**cls.arguments(given), output=output)


@final
@dataclass(frozen=True)
class ExponentialTime(AbstractHazard):
    r"""A constant hazard, :math:`h = \lambda`."""

    variables = {"hazard": "hazard"}  # noqa: RUF012 - never changed
    hazard_text = ("λ", r"\lambda")
    hazard: Any = None

    def cumulative(self, time: np.ndarray, sigma: Sigma, xp: Any) -> Any:
        """``hazard * t``."""
        return sigma["hazard"] * time

    def log_at(self, time: np.ndarray, sigma: Sigma, xp: Any) -> Any:
        """``log hazard``."""
        return xp.log(sigma["hazard"]) + 0.0 * time


@final
@dataclass(frozen=True)
class WeibullTime(AbstractHazard):
    r"""A Weibull hazard, :math:`h(t) = \frac{k}{\tau} (t / \tau)^{k - 1}`; 63 % happen before `tau`."""

    variables = {"scale": "scale", "shape": "shape"}  # noqa: RUF012 - never changed
    hazard_text = ("k/τ (t/τ)^(k-1)", r"\frac{k}{\tau} (t / \tau)^{k - 1}")
    scale: Any = None
    shape: Any = None

    def cumulative(self, time: np.ndarray, sigma: Sigma, xp: Any) -> Any:
        """``(t / scale) ** shape``."""
        return xp.exp(sigma["shape"] * (np.log(time) - xp.log(sigma["scale"])))

    def log_at(self, time: np.ndarray, sigma: Sigma, xp: Any) -> Any:
        """Log hazard."""
        scale, shape = xp.log(sigma["scale"]), sigma["shape"]
        return xp.log(shape) - scale + (shape - 1.0) * (np.log(time) - scale)


@final
@dataclass(frozen=True)
class GompertzTime(AbstractHazard):
    r"""A Gompertz hazard, :math:`h(t) = \lambda e^{g t}`."""

    variables = {"hazard": "hazard", "growth": "growth"}  # noqa: RUF012 - never changed
    supports = {**AbstractHazard.supports, "growth": "real"}  # noqa: RUF012 - never changed
    hazard_text = ("λ exp(g t)", r"\lambda e^{g t}")
    hazard: Any = None
    growth: Any = None

    def cumulative(self, time: np.ndarray, sigma: Sigma, xp: Any) -> Any:
        """``hazard * (exp(growth t) - 1) / growth``, smooth through ``growth = 0``."""
        x = sigma["growth"] * time
        small = xp.abs(x) < 1e-5
        away = xp.where(small, 1.0, x)
        return sigma["hazard"] * time * xp.where(small, 1.0 + x / 2.0 + x**2 / 6.0, xp.expm1(away) / away)

    def log_at(self, time: np.ndarray, sigma: Sigma, xp: Any) -> Any:
        """Log hazard."""
        return xp.log(sigma["hazard"]) + sigma["growth"] * time


@final
@dataclass(frozen=True)
class Survival(AbstractEvent):
    """Intervals without an event, or with one somewhere within, by a cumulative hazard that is an output.

    The output of the endpoint is the integral of the hazard from the subject's first record, a state of an
    ODE for example. An event at a known time takes two records at that time: DV 0 of this endpoint (no
    event until then) and DV 1 of an endpoint with `EventRate`, whose output is the hazard.
    """

    variables = {}  # noqa: RUF012 - never changed
    hazard_text = ("dH/dt", r"\frac{dH}{dt}")

    def increment(self, rows: Rows, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """Increase of the output since the record before, (..., n)."""
        before = prediction[..., np.maximum(rows.previous, 0)]
        return prediction - xp.where(rows.previous >= 0, before, 0.0)

    def log_hazard(self, rows: Rows, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """Never asked for: see `complaint`."""
        return 0.0 * prediction

    def complaint(self, rows: Rows) -> tuple[np.ndarray, str, str]:
        """As for all events; and an event at a known time."""
        bad, rule, remedy = super().complaint(rows)
        if bad.any():
            return bad, rule, remedy
        if rows.reset.any():
            return (
                rows.reset,
                "loses the hazard up to a reset (EVID 3 or 4) that has no observation just before it",
                "Put a record of this endpoint at the reset's time, before it",
            )
        exact = (rows.state == MEASURED) & (np.asarray(rows.dv) == 1)
        return (
            exact,
            "knows no hazard at the time of an event",
            (
                "Write DV 0 here, and a record with DV 1 of an endpoint of outcome.EventRate; or CENS 1 for "
                "an event within the interval"
            ),
        )


@final
@dataclass(frozen=True)
class EventRate(AbstractEvent):
    """The density of an event at a known time: the hazard, which is an output; see `Survival`."""

    variables = {}  # noqa: RUF012 - never changed
    hazard_text = ("h", "h")

    def increment(self, rows: Rows, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """Nothing: the endpoint with `Survival` holds it."""
        return 0.0 * prediction

    def log_hazard(self, rows: Rows, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """Logarithm of the output, (..., n)."""
        return xp.log(prediction)

    def draw(self, rng: np.random.Generator, rows: Rows, prediction: np.ndarray, sigma: Sigma) -> np.ndarray:
        """The events as they are recorded: when they happen is drawn by the endpoint with `Survival`."""
        return np.broadcast_to(np.nan_to_num(rows.dv, nan=1.0), np.shape(prediction)).copy()

    def complaint(self, rows: Rows) -> tuple[np.ndarray, str, str]:
        """Records that are no event."""
        bad = (np.asarray(rows.dv) != 1) | (rows.state != MEASURED)
        return bad, "has records of events only (DV 1, CENS 0)", "Leave the others out"


def _from_zero(law: AbstractHazard, time: np.ndarray, sigma: Sigma, xp: Any) -> Any:
    """Cumulative hazard, 0 at time 0 and before."""
    later = time > 0
    return xp.where(later, law.cumulative(np.where(later, time, 1.0), sigma, xp), 0.0)
