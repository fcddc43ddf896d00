"""What a prior is: a frozen value with a PyMC family, checked arguments and quantiles."""

import math
import numbers
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, Self, final

import numpy as np

from popbayes.wording import listed, nearest

KINDS: dict[str, tuple[str, Callable[[float], bool] | None]] = {
    "real": ("a finite number", math.isfinite),
    "positive": ("a finite number > 0", lambda value: math.isfinite(value) and value > 0),
    "nonnegative": ("a finite number >= 0", lambda value: math.isfinite(value) and value >= 0),
    "fraction": ("a number between 0 and 1, both excluded", lambda value: 0 < value < 1),
    "whole": (
        "a whole number >= 0",
        lambda value: math.isfinite(value) and value >= 0 and value == int(value),
    ),
    "points": ("a sequence of finite numbers", None),
    "integer": ("a whole number", lambda value: math.isfinite(value) and value == int(value)),
}
"""What an argument may be: in words, and as a check of a float."""


def argument(kind: str, *, optional: bool = False, keyword: bool = False, default: Any = MISSING) -> Any:
    """Declare an argument of a family: what it may be, and whether it may be left out."""
    default = None if optional else default
    return field(default=default, kw_only=keyword, metadata={"kind": kind})


@dataclass(frozen=True)
class AbstractPrior:
    """A univariate distribution by its PyMC name, with PyMC's argument names.

    Subclasses declare their arguments with `argument`, the sets of arguments that may stand in for
    each other in `choices`, the distribution's support, and its quantiles. Arguments are checked
    when the prior is made, and none has a default that PyMC would fill in unseen.
    """

    choices: ClassVar[tuple[tuple[tuple[str, ...], ...], ...]] = ()
    """For each group of exchangeable arguments: the sets of which exactly one is given."""
    ordered: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Pairs of arguments of which the first must be below the second."""
    bounds: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    discrete: ClassVar[bool] = False
    proper: ClassVar[bool] = True

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Refuse unknown argument names, with those that exist."""
        known = [one.name for one in fields(cls)]
        for name in kwargs:
            if name not in known:
                raise TypeError(
                    f"prior.{cls.__name__} has no argument {name!r}; it takes {listed(known)}."
                    f"{nearest(name, known)}"
                )
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if value is not None:
                object.__setattr__(self, one.name, self._checked(one.name, value, one.metadata["kind"]))
        for group in self.choices:
            self._check_choice(group)
        for low, high in self.ordered:
            below, above = getattr(self, low), getattr(self, high)
            if below is not None and above is not None and not below < above:
                raise ValueError(
                    f"prior.{self.family}: {low} must be below {high}, but {below:g} is not below {above:g}."
                )
        self.check()

    def _checked(self, name: str, value: Any, kind: str) -> Any:
        words, holds = KINDS[kind]
        if holds is None:
            return self._points(name, value, words)
        number = real_number(value)
        if number is None or not holds(number):
            raise ValueError(f"prior.{self.family}: {name} must be {words}, not {value!r}.")
        return int(number) if kind in ("whole", "integer") else number

    def _points(self, name: str, value: Any, words: str) -> tuple[float, ...]:
        numbers = [real_number(one) for one in value] if isinstance(value, list | tuple | np.ndarray) else []
        if not numbers or not all(one is not None and math.isfinite(one) for one in numbers):
            raise ValueError(f"prior.{self.family}: {name} must be {words}, not {value!r}.")
        return tuple(float(one) for one in numbers if one is not None)

    def _check_choice(self, group: tuple[tuple[str, ...], ...]) -> None:
        names = {name for choice in group for name in choice}
        given = {name for name in names if getattr(self, name) is not None}
        if given not in [set(choice) for choice in group]:
            wanted = " or ".join(f"({', '.join(choice)})" for choice in group)
            order = [one.name for one in fields(self) if one.name in given]
            raise TypeError(f"prior.{self.family} takes {wanted}; given: {listed(order)}.")

    def check(self) -> None:
        """Check what concerns several arguments at once; most families have nothing to add."""

    @property
    def family(self) -> str:
        """Name of the family, PyMC's where PyMC has it."""
        return type(self).__name__

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments that were given, by name."""
        pairs = ((one.name, getattr(self, one.name)) for one in fields(self))
        return {name: value for name, value in pairs if value is not None}

    @property
    def pymc(self) -> tuple[str, dict[str, Any]]:
        """Family and arguments as PyMC takes them."""
        return self.family, double(self.arguments)

    @property
    def support(self) -> tuple[float, float]:
        """Lowest and highest value that the prior allows."""
        return self.bounds

    @final
    def quantile(self, probability: Any) -> Any:
        """Quantiles, element by element; the median, `quantile(0.5)`, is where chains start.

        Parameters
        ----------
        probability : array_like, between 0 and 1

        Returns
        -------
        array of the same shape, in the units of the variable

        Raises
        ------
        ValueError
            If the prior is improper: it has no quantiles.
        """
        if not self.proper:
            raise ValueError(
                f"prior.{self.family} is improper: it has no median to start from and nothing can be drawn "
                "from it. Give a proper prior."
            )
        return self._inverse_cdf(np.asarray(probability, dtype=np.float64))

    @abstractmethod
    def _inverse_cdf(self, p: np.ndarray) -> Any:
        """Quantiles of a proper family."""

    def start(self) -> float:
        """Where chains start: the median."""
        return float(self.quantile(0.5))

    @final
    def sample(self, rng: np.random.Generator, size: Any = None) -> Any:
        """Draw independently, by inversion."""
        return self.quantile(rng.random(size))

    def describe(self) -> str:
        """The prior in words: ``LogNormal(median 1.5, sd 1)``."""
        given = ", ".join(f"{name} {_short(value)}" for name, value in self.arguments.items())
        return f"{self.family}({given})"

    def latex(self) -> str:
        r"""The prior in LaTeX: ``\mathrm{LogNormal}(\text{median } 1.5, \text{sd } 1)``."""
        given = (rf"{_latex_name(name)}{_short(value)}" for name, value in self.arguments.items())
        return rf"\mathrm{{{self.family}}}({r',\ '.join(given)})"

    def to_dict(self) -> dict[str, Any]:
        """The prior as JSON values: the family and the arguments given."""
        return {"family": self.family, **self.arguments}


def double(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for a graph: PyTensor would take a Python float such as 2.0 in single precision."""
    return {name: np.float64(one) if isinstance(one, float) else one for name, one in arguments.items()}


def between(lower: float | None, upper: float | None) -> tuple[float, float]:
    """A support from two bounds, of which either may be absent."""
    return -math.inf if lower is None else lower, math.inf if upper is None else upper


def standard_deviation(sigma: float | None, precision: float | None) -> float:
    """A standard deviation, given as such or as a precision (1 / variance)."""
    return sigma if sigma is not None else float(precision or math.nan) ** -0.5


def real_number(value: Any) -> float | None:
    """A real number as float, or None for anything else (text, booleans, arrays)."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        return None
    return float(value)


def _latex_name(name: str) -> str:
    """An argument before its value: Greek letters and single letters with a sign, words as they are."""
    greek = {"mu", "sigma", "tau", "alpha", "beta", "nu", "kappa"}
    symbol = rf"\{name}" if name in greek else r"\lambda" if name == "lam" else name if len(name) == 1 else ""
    return f"{symbol} = " if symbol else rf"\text{{{name.replace('_', ' ')} }}"


def _short(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_short(one) for one in value)}]"
    return f"{value:.6g}"
