"""What a covariate effect is: columns in, multipliers of a typical value out.

An effect is a multiplier of the typical value, or, on a logit scale, the logarithm of that
multiplier added to the logit. A reference left out is taken from the data that the model is first
built on (`resolved`), and kept from then on.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import numpy as np

from popbayes import dims
from popbayes.parameters.family import AbstractPrior, real_number
from popbayes.parameters.priors import Fixed, as_prior

Values = Any
"""A NumPy array or a PyTensor variable; the array module that fits is passed as `xp`."""
Columns = Mapping[str, np.ndarray]
"""Column -> its values, by segment or by subject."""


@dataclass(frozen=True)
class Coefficient:
    """One variable of the graph that belongs to an effect.

    Attributes
    ----------
    name : str
        In graphs and DataTrees: ``beta_CL_WT``.
    prior : prior
        Of each number in it.
    labels : tuple of str
        What the numbers belong to where there are several; empty for a scalar.
    dim : str
        Their dimension.
    symbol : str
        What it is called in equations, below its beta: ``WT``.
    joint : bool
        The prior is not of this variable alone: see `Select`.
    """

    name: str
    prior: Any
    labels: tuple[str, ...] = ()
    dim: str = ""
    symbol: str = ""
    joint: bool = False

    @property
    def is_fixed(self) -> bool:
        """Whether it is known rather than estimated."""
        return isinstance(self.prior, Fixed)

    def written(self, parameter: str) -> str:
        """The coefficient in an equation: its symbol, or its known value."""
        return f"{self.prior.value:.6g}" if self.is_fixed else f"β_{parameter},{self.symbol}"

    def latex(self, parameter: str) -> str:
        """The coefficient in LaTeX."""
        return (
            f"{self.prior.value:.6g}"
            if self.is_fixed
            else rf"\beta_{{{parameter},{latex_column(self.symbol)}}}"
        )


class AbstractCovariate(ABC):
    """The effect of one or more columns on one parameter."""

    @property
    def kind(self) -> str:
        """Name of the effect: Power, Exponential, Linear, ..."""
        return type(self).__name__

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """Columns of the event table that it reads."""

    @abstractmethod
    def coefficients(self, parameter: str) -> tuple[Coefficient, ...]:
        """Its variables, where it acts on this parameter."""

    @property
    @abstractmethod
    def is_resolved(self) -> bool:
        """Whether everything that may be taken from data is known."""

    @abstractmethod
    def resolved_from(self, first: Columns) -> Self:
        """The same effect with everything known.

        Parameters
        ----------
        first : column -> (n_subject,)
            Each subject's first value of the columns.
        """

    @abstractmethod
    def check_columns(self, columns: Columns) -> None:
        """Refuse values that the effect is not defined for."""

    @abstractmethod
    def log_factor(self, columns: Columns, values: Mapping[str, Values], parameter: str, xp: Any) -> Values:
        """Logarithm of the multiplier, (..., n).

        Parameters
        ----------
        columns : column -> (n,)
        values : name of a coefficient -> scalar or (..., 1); (..., n_label) where there are several
        parameter : str
            On which it acts.
        xp : the array module of the coefficients, numpy or pytensor.tensor
        """

    def factor(self, columns: Columns, values: Mapping[str, Values], parameter: str, xp: Any) -> Values:
        """The multiplier, (..., n)."""
        return xp.exp(self.log_factor(columns, values, parameter, xp))

    @abstractmethod
    def written(self, parameter: str) -> str:
        """The multiplier as text, for the printed model."""

    @abstractmethod
    def written_latex(self, parameter: str) -> str:
        """The multiplier in LaTeX."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """The effect as JSON values."""

    def for_parameter(self, parameter: str) -> "AbstractCovariate":
        """The effect as it acts on this parameter; most are the same on any."""
        return self

    def term(self, columns: Columns) -> np.ndarray:
        """What the coefficient is multiplied with in the logarithm of the multiplier, (n,).

        Raises
        ------
        ValueError
            If the effect is not a single coefficient times a term, on the log scale.
        """
        raise ValueError(
            f"covariate.{self.kind} is not one coefficient times a term on the log scale, as interactions "
            "and "
            "selection need. Use covariate.Power, covariate.Exponential, covariate.Genotype or a "
            "covariate.Categorical of two levels."
        )


@dataclass(frozen=True)
class AbstractColumn(AbstractCovariate):
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

    @property
    def columns(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def coefficients(self, parameter: str) -> tuple[Coefficient, ...]:
        """One, of a number for each level where there are several."""
        name, dim = dims.beta(parameter, self.column), dims.level_dim(self.column)
        return (Coefficient(name, self.prior, self.levels, dim, self.column),)

    def resolved_from(self, first: Columns) -> Self:
        """The same effect with its reference known."""
        return self.resolved(first[self.column])

    def check_columns(self, columns: Columns) -> None:
        """Refuse values that the effect is not defined for."""
        self.check(columns[self.column])

    def log_factor(self, columns: Columns, values: Mapping[str, Values], parameter: str, xp: Any) -> Values:
        """Logarithm of the multiplier, (..., n)."""
        return self.log_multiplier(columns[self.column], values[dims.beta(parameter, self.column)], xp)

    def factor(self, columns: Columns, values: Mapping[str, Values], parameter: str, xp: Any) -> Values:
        """The multiplier, (..., n)."""
        return self.multiplier(columns[self.column], values[dims.beta(parameter, self.column)], xp)

    def written(self, parameter: str) -> str:
        """The multiplier as text."""
        return self.text(f"{self.column}_i", self.coefficients(parameter)[0].written(parameter))

    def written_latex(self, parameter: str) -> str:
        """The multiplier in LaTeX."""
        beta = self.coefficients(parameter)[0].latex(parameter)
        return self.latex(f"{latex_column(self.column)}_i", beta)

    def to_dict(self) -> dict[str, Any]:
        """The effect as JSON values."""
        return {"kind": self.kind, **{one.name: plain(getattr(self, one.name)) for one in fields(self)}}

    def _written_reference(self) -> str:
        return f"median({self.column})" if self.ref is None else f"{self.ref:g}"

    def _latex_reference(self) -> str:
        column = latex_column(self.column)
        return rf"\mathrm{{median}}({column})" if self.ref is None else f"{self.ref:g}"


def logarithm(values: Any) -> Any:
    """Natural logarithm of a column, an array or (where it is imputed) a graph variable."""
    return np.log(values) if isinstance(values, np.ndarray) else values.log()


def level(value: Any) -> str:
    """The label of a level: text as it is, numbers without a trailing ``.0``."""
    number = real_number(value)
    return str(value) if number is None else f"{number:g}"


def latex_column(column: str) -> str:
    """A column's name in LaTeX."""
    return rf"\mathrm{{{column.replace('_', chr(92) + '_')}}}"


def plain(value: Any) -> Any:
    """A field as JSON values."""
    if isinstance(value, AbstractPrior | AbstractCovariate):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    return value
