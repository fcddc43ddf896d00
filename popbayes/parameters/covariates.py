"""`covariate`: how a column of the event table changes a typical value; values per segment in, effects out.

An effect is a multiplier of the typical value, or, on a logit scale, the logarithm of that
multiplier added to the logit. A reference left out is taken from the data that the model is first
built on (`resolved`), and kept from then on.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self, final

import numpy as np

from popbayes.parameters.family import AbstractPrior, real_number
from popbayes.parameters.naming import listed, nearest
from popbayes.parameters.priors import as_prior, prior_from_dict

__all__ = ["AbstractCovariate", "Categorical", "Exponential", "Linear", "Power", "covariate_from_dict"]

Values = Any
"""A NumPy array or a PyTensor variable; the array module that fits is passed as `xp`."""


@dataclass(frozen=True)
class AbstractCovariate:
    """The effect of one column on one parameter, with a coefficient that is fixed or estimated.

    Attributes
    ----------
    column : str
        Column of the event table.
    ref : float, str or None
        Value at which the parameter has its typical value; None until taken from the data.
    """

    coefficient_name: ClassVar[str] = "coefficient"
    column: str
    ref: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.column, str) or not self.column:
            raise TypeError(
                f"covariate.{self.kind} needs the name of a column of the event table first, "
                f"not {self.column!r}."
            )
        where = f"{self.coefficient_name} of covariate.{self.kind}({self.column!r})"
        object.__setattr__(self, self.coefficient_name, as_prior(self.prior, where))
        self._check_reference()

    @property
    def kind(self) -> str:
        """Name of the effect: Power, Exponential, Linear or Categorical."""
        return type(self).__name__

    @property
    def prior(self) -> AbstractPrior:
        """Prior of the coefficient; of each coefficient where there are several."""
        return getattr(self, self.coefficient_name)

    @property
    def is_resolved(self) -> bool:
        """Whether everything that may be taken from data is known."""
        return self.ref is not None

    @property
    def levels(self) -> tuple[str, ...]:
        """Labels of the coefficients where there are several; empty where there is one."""
        return ()

    def _check_reference(self) -> None:
        """Check and tidy the reference; a number unless a subclass says otherwise."""
        if self.ref is None:
            return
        number = real_number(self.ref)
        if number is None or not math.isfinite(number):
            raise ValueError(
                f"ref of covariate.{self.kind}({self.column!r}) must be a finite number, not {self.ref!r}."
            )
        object.__setattr__(self, "ref", number)

    def resolved(self, first: np.ndarray) -> Self:
        """The same effect with its reference known; the median over subjects where it was left out.

        Parameters
        ----------
        first : (n_subject,)
            Each subject's first value of the column.
        """
        if self.is_resolved:
            return self
        self.check(first)
        return replace(self, ref=float(np.median(first)))

    def check(self, values: np.ndarray) -> None:
        """Refuse values that the effect is not defined for.

        Parameters
        ----------
        values : (n,) values of the column

        Raises
        ------
        ValueError
            With the first value that does not fit.
        """
        if not np.issubdtype(np.asarray(values).dtype, np.number):
            raise ValueError(
                f"covariate.{self.kind} needs numbers, but column {self.column} holds text "
                f"({str(values[0])!r}, ...). Use covariate.Categorical for it."
            )
        if not np.all(np.isfinite(values)):
            raise ValueError(
                f"Column {self.column} has missing or infinite values; covariates need them all."
            )

    @abstractmethod
    def multiplier(self, values: np.ndarray, beta: Values, xp: Any) -> Values:
        """The factor on the typical value.

        Parameters
        ----------
        values : (n,) values of the column
        beta : scalar or (..., 1) coefficient; (..., n_level) where there are several
        xp : the array module of `beta`, numpy or pytensor.tensor

        Returns
        -------
        (..., n) dimensionless
        """

    @abstractmethod
    def log_multiplier(self, values: np.ndarray, beta: Values, xp: Any) -> Values:
        """The logarithm of `multiplier`, in the same shapes."""

    @abstractmethod
    def text(self, value: str, beta: str) -> str:
        """The multiplier as text, with the column's value and the coefficient as they are to be written."""

    @abstractmethod
    def latex(self, value: str, beta: str) -> str:
        """The multiplier in LaTeX."""

    def to_dict(self) -> dict[str, Any]:
        """The effect as JSON values."""
        given = {one.name: getattr(self, one.name) for one in fields(self)}
        plain = {
            name: one.to_dict() if isinstance(one, AbstractPrior) else one for name, one in given.items()
        }
        return {"kind": self.kind, **plain}

    def _written_reference(self) -> str:
        return f"median({self.column})" if self.ref is None else f"{self.ref:g}"

    def _latex_reference(self) -> str:
        column = latex_column(self.column)
        return rf"\mathrm{{median}}({column})" if self.ref is None else f"{self.ref:g}"


@final
@dataclass(frozen=True)
class Power(AbstractCovariate):
    r"""Power of the relative size, as in allometry: :math:`(x / \text{ref})^\beta`, for positive columns."""

    coefficient_name = "exponent"
    exponent: Any = None

    def _check_reference(self) -> None:
        super()._check_reference()
        if self.ref is not None and self.ref <= 0:
            raise ValueError(f"ref of covariate.Power({self.column!r}) must be > 0, not {self.ref:g}.")

    def check(self, values: np.ndarray) -> None:
        """Refuse text, missing values and values that are not positive."""
        super().check(values)
        if np.any(values <= 0):
            raise ValueError(
                f"covariate.Power needs positive values, but column {self.column} has {np.min(values):g}. "
                "Use covariate.Exponential or covariate.Linear for it."
            )

    def multiplier(self, values: np.ndarray, beta: Values, xp: Any) -> Values:
        """``(x / ref) ** beta``."""
        return xp.exp(self.log_multiplier(values, beta, xp))

    def log_multiplier(self, values: np.ndarray, beta: Values, xp: Any) -> Values:
        """``beta * log(x / ref)``."""
        return beta * np.log(values / self.ref)

    def text(self, value: str, beta: str) -> str:
        """``(WT / 70)^beta``."""
        return f"({value} / {self._written_reference()})^{beta}"

    def latex(self, value: str, beta: str) -> str:
        """A fraction to a power."""
        return rf"\left(\frac{{{value}}}{{{self._latex_reference()}}}\right)^{{{beta}}}"


@final
@dataclass(frozen=True)
class Exponential(AbstractCovariate):
    r"""Exponential in the difference: :math:`e^{\beta (x - \text{ref})}`."""

    coefficient: Any = None

    def multiplier(self, values: np.ndarray, beta: Values, xp: Any) -> Values:
        """``exp(beta * (x - ref))``."""
        return xp.exp(self.log_multiplier(values, beta, xp))

    def log_multiplier(self, values: np.ndarray, beta: Values, xp: Any) -> Values:
        """``beta * (x - ref)``."""
        return beta * (values - self.ref)

    def text(self, value: str, beta: str) -> str:
        """``exp(beta (AGE - 40))``."""
        return f"exp({beta} ({value} - {self._written_reference()}))"

    def latex(self, value: str, beta: str) -> str:
        """An exponential."""
        return rf"e^{{{beta} \left({value} - {self._latex_reference()}\right)}}"


@final
@dataclass(frozen=True)
class Linear(AbstractCovariate):
    r"""Linear in the difference: :math:`1 + \beta (x - \text{ref})`.

    Where the multiplier would not be positive, a parameter on the log or logit scale has no value
    (NaN): such coefficients have zero posterior density.
    """

    coefficient: Any = None

    def multiplier(self, values: np.ndarray, beta: Values, xp: Any) -> Values:
        """``1 + beta * (x - ref)``."""
        return 1.0 + beta * (values - self.ref)

    def log_multiplier(self, values: np.ndarray, beta: Values, xp: Any) -> Values:
        """``log1p(beta * (x - ref))``, NaN where the multiplier is negative."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return xp.log1p(beta * (values - self.ref))

    def text(self, value: str, beta: str) -> str:
        """``(1 + beta (AGE - 40))``."""
        return f"(1 + {beta} ({value} - {self._written_reference()}))"

    def latex(self, value: str, beta: str) -> str:
        """A bracket."""
        return rf"\left(1 + {beta} \left({value} - {self._latex_reference()}\right)\right)"


@final
@dataclass(frozen=True)
class Categorical(AbstractCovariate):
    r"""One multiplier for each level but the reference: :math:`e^{\beta_\text{level}}`.

    Attributes
    ----------
    ref : str, float or None
        The reference level; the most frequent one among subjects where it is left out.
    coefficient : prior or number
        Of each level's coefficient.
    others : tuple of str or None
        The levels beside the reference; taken from the data where they are left out.
    """

    coefficient: Any = None
    others: Any = None

    def _check_reference(self) -> None:
        if self.ref is not None:
            object.__setattr__(self, "ref", level(self.ref))
        if self.others is None:
            return
        others = tuple(level(one) for one in self.others)
        if self.ref is None or self.ref in others or len(set(others)) < len(others) or not others:
            raise ValueError(
                f"others of covariate.Categorical({self.column!r}) must be levels that differ from each "
                f"other and from ref, which must be given; not {self.others!r} with ref {self.ref!r}."
            )
        object.__setattr__(self, "others", others)

    @property
    def is_resolved(self) -> bool:
        """Whether the reference and the other levels are known."""
        return self.ref is not None and self.others is not None

    @property
    def levels(self) -> tuple[str, ...]:
        """Labels of the coefficients where there are several; empty where there is one."""
        return self.others if self.others is not None and len(self.others) > 1 else ()

    def resolved(self, first: np.ndarray) -> Self:
        """The same effect with its levels known; the reference is the most frequent where it was left out."""
        if self.is_resolved:
            return self
        names, counts = np.unique([level(one) for one in first], return_counts=True)
        found = sorted((str(name) for name in names), key=_numbers_first)
        ref = str(names[np.argmax(counts)]) if self.ref is None else self.ref
        if ref not in found:
            raise ValueError(
                f"No subject has the reference level {ref!r} of column {self.column}; its levels are "
                f"{listed(found)}.{nearest(ref, found)}"
            )
        others = tuple(name for name in found if name != ref)
        if not others:
            raise ValueError(
                f"Column {self.column} has the single level {ref!r}: covariate.Categorical has nothing to "
                "estimate. Leave it out."
            )
        return replace(self, ref=ref, others=others)

    def check(self, values: np.ndarray) -> None:
        """Refuse levels that the effect does not know."""
        if self.is_resolved:
            self._codes(values)

    def multiplier(self, values: np.ndarray, beta: Values, xp: Any) -> Values:
        """``exp(beta[level])``, 1 at the reference."""
        return xp.exp(self.log_multiplier(values, beta, xp))

    def log_multiplier(self, values: np.ndarray, beta: Values, xp: Any) -> Values:
        """``beta[level]``, 0 at the reference."""
        codes = self._codes(values)
        if not self.levels:
            return beta * (codes > 0).astype(np.float64)
        is_level = (codes[None, :] == np.arange(1, len(self.others) + 1)[:, None]).astype(np.float64)
        return xp.matmul(beta, is_level)

    def _codes(self, values: np.ndarray) -> np.ndarray:
        """0 for the reference, then the place among the other levels, (n,)."""
        known = (self.ref, *(self.others or ()))
        place = {name: code for code, name in enumerate(known)}
        labels = [level(one) for one in values]
        for label in labels:
            if label not in place:
                raise ValueError(
                    f"Column {self.column} has the level {label!r}, which the model does not know; it knows "
                    f"{listed(known)}.{nearest(label, known)}"
                )
        return np.array([place[label] for label in labels])

    def text(self, value: str, beta: str) -> str:
        """``exp(beta [SEX = 2])``."""
        if self.others is None or self.levels:
            ref = "the most frequent level" if self.ref is None else self.ref
            return f"exp({beta}[{value}; 0 for {ref}])"
        return f"exp({beta} [{value} = {self.others[0]}])"

    def latex(self, value: str, beta: str) -> str:
        """An exponential of the level's coefficient."""
        if self.others is None or self.levels:
            ref = r"\text{most frequent}" if self.ref is None else rf"\text{{{self.ref}}}"
            return rf"e^{{{beta}[{value}]}}\ (0 \text{{ at }} {ref})"
        return rf"e^{{{beta} \, [{value} = \text{{{self.others[0]}}}]}}"


def level(value: Any) -> str:
    """The label of a level: text as it is, numbers without a trailing ``.0``."""
    number = real_number(value)
    return str(value) if number is None else f"{number:g}"


def latex_column(column: str) -> str:
    """A column's name in LaTeX."""
    return rf"\mathrm{{{column.replace('_', chr(92) + '_')}}}"


def _numbers_first(label: str) -> tuple[float, str]:
    try:
        return float(label), label
    except ValueError:
        return math.inf, label


def covariate_from_dict(values: Mapping[str, Any]) -> AbstractCovariate:
    """Make a covariate effect from what `to_dict` gave.

    Raises
    ------
    ValueError
        If the kind is unknown.
    """
    kinds: tuple[type[AbstractCovariate], ...] = (Power, Exponential, Linear, Categorical)
    known: dict[Any, Callable[..., AbstractCovariate]] = {kind.__name__: kind for kind in kinds}
    given = {name: prior_from_dict(one) if isinstance(one, Mapping) else one for name, one in values.items()}
    kind = given.pop("kind", None)
    if kind not in known:
        raise ValueError(
            f"There is no covariate effect {kind!r}; there are {listed(known)}.{nearest(kind, known)}"
        )
    return known[kind](**given)
