"""Covariate effects written as an equation, and interactions of two effects."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np

from popbayes import dims
from popbayes.engine.formula import Formula
from popbayes.parameters.effect import AbstractCovariate, Coefficient, Columns, Values, latex_column, plain
from popbayes.parameters.priors import as_prior
from popbayes.wording import listed

__all__ = ["Equation", "Interaction"]


@final
@dataclass(frozen=True, init=False)
class Equation(AbstractCovariate):
    r"""A multiplier written as a formula of columns and coefficients.

    ``Equation("(WT/70)**theta * exp(-k*(AGE-40))", theta=0.75, k=prior.HalfNormal(0.05))``. Every name is a
    coefficient, if it is given as a keyword, or a column. Write the formula so that it is 1 at the reference.

    Parameters
    ----------
    text : str
        Numbers, names, ``+ - * / **``, comparisons (1 or 0; ``SEX == 'F'``), and the functions exp, log,
        log1p, expm1, sqrt, abs, tanh, min, max. It is read by this list, and never run as Python.
    **coefficients : prior or number
        In graphs and tables they are called ``beta_{P}_{name}``.

    Raises
    ------
    ValueError
        For anything that is not on the list, coefficients that the formula does not have, and no column.
    """

    text: str
    priors: tuple[tuple[str, Any], ...]

    def __init__(self, text: str, **coefficients: Any):
        formula = Formula(text)
        absent = [name for name in coefficients if name not in formula.names]
        if absent:
            raise ValueError(
                f"The formula {text!r} has no {listed(absent)}; its names are {listed(formula.names)}."
            )
        if not set(formula.names) - set(coefficients):
            raise ValueError(
                f"The formula {text!r} has no column in it: it would be the same for every subject."
            )
        each = tuple(
            (name, as_prior(one, f"{name} of covariate.Equation")) for name, one in coefficients.items()
        )
        object.__setattr__(self, "text", text.strip())
        object.__setattr__(self, "priors", each)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names that are no coefficients."""
        known = dict(self.priors)
        return tuple(name for name in Formula(self.text).names if name not in known)

    @property
    def is_resolved(self) -> bool:
        """Nothing is taken from data."""
        return True

    def coefficients(self, parameter: str) -> tuple[Coefficient, ...]:
        """One for each name that has a prior or a number."""
        return tuple(Coefficient(dims.beta(parameter, name), one, symbol=name) for name, one in self.priors)

    def resolved_from(self, first: Columns) -> Self:
        """The same."""
        return self

    def check_columns(self, columns: Columns) -> None:
        """Refuse missing numbers, and a formula that has no value at the middle of the priors."""
        for name in self.columns:
            values = np.asarray(columns[name])
            if values.dtype.kind == "f" and not np.all(np.isfinite(values)):
                raise ValueError(f"Column {name} has missing or infinite values; covariates need them all.")
        named = {name: np.float64(one.start()) for name, one in self.priors}
        try:
            with np.errstate(all="ignore"):
                found = np.asarray(Formula(self.text).value({**columns, **named}, np), dtype=float)
        except TypeError:
            raise ValueError(
                f"The formula {self.text!r} does arithmetic with a column of text; compare it with a "
                "value, as in "
                "(SEX == 'F')."
            ) from None
        bad = np.flatnonzero(~np.isfinite(np.atleast_1d(found)))
        if len(bad):
            where = ", ".join(f"{name} = {np.asarray(columns[name])[bad[0]]}" for name in self.columns)
            raise ValueError(
                f"The formula {self.text!r} has no finite value where {where}"
                + (" (coefficients at the middle of their priors)." if named else ".")
            )

    def log_factor(self, columns: Columns, values: Mapping[str, Values], parameter: str, xp: Any) -> Values:
        """Logarithm of the formula, by the rules for products and powers; NaN where it is negative."""
        return Formula(self.text).log(self._names(columns, values, parameter), xp)

    def factor(self, columns: Columns, values: Mapping[str, Values], parameter: str, xp: Any) -> Values:
        """The formula's value, which may be negative on the identity scale."""
        return Formula(self.text).value(self._names(columns, values, parameter), xp)

    def _names(self, columns: Columns, values: Mapping[str, Values], parameter: str) -> dict[str, Any]:
        own = {one.symbol: values[one.name] for one in self.coefficients(parameter)}
        return {**{name: columns[name] for name in self.columns}, **own}

    def written(self, parameter: str) -> str:
        """The formula, with its coefficients' symbols."""
        return f"[{self.text}]"

    def written_latex(self, parameter: str) -> str:
        """The formula as it is written."""
        escaped = self.text
        for sign in "_%#&$":
            escaped = escaped.replace(sign, "\\" + sign)
        escaped = escaped.replace("**", "^").replace("^", r"\^{}")
        return rf"\left[\texttt{{{escaped}}}\right]"

    def to_dict(self) -> dict[str, Any]:
        """The effect as JSON values."""
        return {
            "kind": self.kind,
            "text": self.text,
            "coefficients": {name: plain(one) for name, one in self.priors},
        }


@final
@dataclass(frozen=True)
class Interaction(AbstractCovariate):
    r"""Interaction of two effects: :math:`e^{\beta\, t_1 t_2}`, with each effect's own term `t`.

    The term of ``Power("WT", ref=70)`` is :math:`\log(WT / 70)`, that of ``Exponential("AGE", ref=40)`` is
    :math:`AGE - 40`, that of a `Categorical` of two levels 1 away from the reference. The effects
    themselves are stated beside the interaction; what is given here says only which terms are multiplied.

    Attributes
    ----------
    first, second : covariate effects
        ``Power``, ``Exponential``, ``Genotype``, or ``Categorical`` of two levels; their coefficients are
        not used (write 0).
    coefficient : prior or number
    """

    first: AbstractCovariate
    second: AbstractCovariate
    coefficient: Any = None

    def __post_init__(self) -> None:
        for one in (self.first, self.second):
            if not isinstance(one, AbstractCovariate) or len(one.columns) != 1:
                raise TypeError(f"covariate.Interaction takes two effects of one column each, not {one!r}.")
        object.__setattr__(
            self, "coefficient", as_prior(self.coefficient, "coefficient of covariate.Interaction")
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of both effects."""
        return tuple(dict.fromkeys((*self.first.columns, *self.second.columns)))

    @property
    def is_resolved(self) -> bool:
        """Whether both references are known."""
        return self.first.is_resolved and self.second.is_resolved

    def coefficients(self, parameter: str) -> tuple[Coefficient, ...]:
        """One."""
        symbol = f"{self.first.columns[0]}_{self.second.columns[0]}"
        return (Coefficient(dims.beta(parameter, symbol), self.coefficient, symbol=symbol),)

    def resolved_from(self, first: Columns) -> Self:
        """Both effects with their references known."""
        made = type(self)(self.first.resolved_from(first), self.second.resolved_from(first), self.coefficient)
        made.term(first)
        return made

    def check_columns(self, columns: Columns) -> None:
        """Refuse what either effect refuses."""
        self.first.check_columns(columns)
        self.second.check_columns(columns)

    def term(self, columns: Columns) -> np.ndarray:
        """Product of both terms."""
        return self.first.term(columns) * self.second.term(columns)

    def log_factor(self, columns: Columns, values: Mapping[str, Values], parameter: str, xp: Any) -> Values:
        """Coefficient times both terms."""
        return values[self.coefficients(parameter)[0].name] * self.term(columns)

    def written(self, parameter: str) -> str:
        """An exponential."""
        beta = self.coefficients(parameter)[0].written(parameter)
        return f"exp({beta} · {self._term_text(self.first)} · {self._term_text(self.second)})"

    def written_latex(self, parameter: str) -> str:
        """An exponential."""
        beta = self.coefficients(parameter)[0].latex(parameter)
        columns = r" \, ".join(f"t({latex_column(one.columns[0])}_i)" for one in (self.first, self.second))
        return rf"e^{{{beta} \, {columns}}}"

    def _term_text(self, one: AbstractCovariate) -> str:
        column, ref = one.columns[0], getattr(one, "ref", None)
        written = f"median({column})" if ref is None else f"{ref:g}" if isinstance(ref, float) else ref
        known = {"Power": f"log({column}_i / {written})", "Exponential": f"({column}_i - {written})"}
        return known.get(one.kind, f"[{column}_i]")

    def to_dict(self) -> dict[str, Any]:
        """The effect as JSON values."""
        each = {name: plain(getattr(self, name)) for name in ("first", "second", "coefficient")}
        return {"kind": self.kind, **each}
