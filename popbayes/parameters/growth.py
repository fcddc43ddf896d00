"""Body size and age: allometric scaling by the parameter's kind, and maturation of an organ's function."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self, final

import numpy as np

from popbayes import dims
from popbayes.parameters.continuous import Power
from popbayes.parameters.effect import (
    AbstractColumn,
    AbstractCovariate,
    Coefficient,
    Columns,
    Values,
    latex_column,
    logarithm,
    plain,
)
from popbayes.parameters.family import AbstractPrior, real_number
from popbayes.parameters.kinds import KINDS, kind_of
from popbayes.parameters.priors import as_prior
from popbayes.parameters.real_line import Normal
from popbayes.wording import listed

__all__ = ["Allometry", "Maturation"]

EXPONENTS = {"clearance": 0.75, "volume": 1.0, "rate": -0.25}
"""Of body weight, by what a parameter is."""


@final
@dataclass(frozen=True)
class Allometry(AbstractColumn):
    r"""Allometric scaling: :math:`(x / \text{ref})^\beta` with the exponent of the parameter's kind.

    0.75 for clearances (`CL`, `Q`, `Vmax` ...), 1 for volumes (`V`, `V1` ...), -0.25 for rate constants
    (`ka`, `kout` ...). In a `PopModel` it becomes the `Power` that it stands for.

    Attributes
    ----------
    column : str
        Usually the weight, or the fat-free mass.
    ref : float
        70 by default.
    sd : float, optional
        Estimate the exponent, with a normal prior around the theoretical one; fixed without it.

    References
    ----------
    Holford & Anderson, *Clin. Pharmacokinet.* 58 (2019) 1315-1324.
    """

    column: str = "WT"
    ref: Any = 70.0
    sd: Any = None

    def __post_init__(self) -> None:
        self._check_reference()
        number = real_number(self.sd)
        if self.sd is not None and (number is None or not 0 < number < float("inf")):
            raise ValueError(f"sd of covariate.Allometry must be a finite number > 0, not {self.sd!r}.")

    @property
    def prior(self) -> AbstractPrior:
        """There is none before the parameter is known."""
        raise TypeError("covariate.Allometry has an exponent once it is on a parameter of a PopModel.")

    def for_parameter(self, parameter: str) -> Power:
        """The power that it stands for."""
        what = kind_of(parameter)
        if not what:
            known = ", ".join(f"{kind}s {listed(names)}" for kind, names in KINDS.items())
            raise ValueError(
                f"covariate.Allometry does not know what {parameter} is; it knows {known}. Use "
                f"covariate.Power({self.column!r}, ref={self.ref!r}, exponent=...)."
            )
        exponent = EXPONENTS[what]
        return Power(
            self.column, self.ref, as_prior(exponent if self.sd is None else Normal(exponent, self.sd), "")
        )

    def multiplier(self, values: np.ndarray, beta: Values, xp: Any) -> Values:
        """That of the power."""
        return self._power().multiplier(values, beta, xp)

    def log_multiplier(self, values: np.ndarray, beta: Values, xp: Any) -> Values:
        """That of the power."""
        return self._power().log_multiplier(values, beta, xp)

    def text(self, value: str, beta: str) -> str:
        """That of the power."""
        return self._power().text(value, beta)

    def latex(self, value: str, beta: str) -> str:
        """That of the power."""
        return self._power().latex(value, beta)

    def _power(self) -> Power:
        return Power(self.column, self.ref, 1.0)


@final
@dataclass(frozen=True)
class Maturation(AbstractCovariate):
    r"""Maturation: a sigmoid Emax function of age, 0.5 at `tm50` and 1 in the adult.

    .. math:: \frac{x^h}{TM_{50}^h + x^h}

    The typical value is that of full maturity; there is no `ref`.

    Attributes
    ----------
    column : str
        Usually the postmenstrual age.
    tm50 : prior or number
        Age at which half of the adult value is reached, in the unit of the column; positive.
    hill : prior or number
        Steepness; positive.

    References
    ----------
    Anderson & Holford, *Annu. Rev. Pharmacol. Toxicol.* 48 (2008) 303-332.
    """

    column: str
    tm50: Any = None
    hill: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.column, str) or not self.column:
            raise TypeError(f"covariate.Maturation needs the name of a column first, not {self.column!r}.")
        for name in ("tm50", "hill"):
            one = as_prior(getattr(self, name), f"{name} of covariate.Maturation({self.column!r})")
            if one.support[0] < 0:
                raise ValueError(
                    f"{name} of covariate.Maturation({self.column!r}) is positive, but {one.describe()} "
                    "allows other "
                    "values. Use prior.LogNormal."
                )
            object.__setattr__(self, name, one)

    @property
    def columns(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    @property
    def is_resolved(self) -> bool:
        """Nothing is taken from data."""
        return True

    def coefficients(self, parameter: str) -> tuple[Coefficient, ...]:
        """The half-way age and the steepness."""
        return tuple(
            Coefficient(
                dims.beta(parameter, f"{self.column}_{name}"),
                getattr(self, name),
                symbol=f"{self.column}_{name}",
            )
            for name in ("tm50", "hill")
        )

    def resolved_from(self, first: Columns) -> Self:
        """The same."""
        return self

    def check_columns(self, columns: Columns) -> None:
        """Refuse text and ages that are not positive."""
        values = np.asarray(columns[self.column])
        if not np.issubdtype(values.dtype, np.number) or not np.all(values > 0):
            raise ValueError(
                f"covariate.Maturation needs positive ages, but column {self.column} has "
                f"{values[0] if values.dtype.kind in 'US' else np.min(values)}."
            )

    def log_factor(self, columns: Columns, values: Mapping[str, Values], parameter: str, xp: Any) -> Values:
        """``-log(1 + (TM50 / x)^hill)``, which does not overflow."""
        tm50, hill = (values[one.name] for one in self.coefficients(parameter))
        return -xp.log1p(xp.exp(hill * (xp.log(tm50) - logarithm(columns[self.column]))))

    def written(self, parameter: str) -> str:
        """The sigmoid as text."""
        tm50, hill = (one.written(parameter) for one in self.coefficients(parameter))
        return f"1 / (1 + ({tm50} / {self.column}_i)^{hill})"

    def written_latex(self, parameter: str) -> str:
        """The sigmoid in LaTeX."""
        tm50, hill = (one.latex(parameter) for one in self.coefficients(parameter))
        return rf"\frac{{1}}{{1 + ({tm50} / {latex_column(self.column)}_i)^{{{hill}}}}}"

    def to_dict(self) -> dict[str, Any]:
        """The effect as JSON values."""
        return {"kind": self.kind, **{one.name: plain(getattr(self, one.name)) for one in fields(self)}}
