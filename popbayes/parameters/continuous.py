"""Covariate effects of numbers: power, exponential and linear."""

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from popbayes.parameters.effect import AbstractColumn, Columns, Values, logarithm


@final
@dataclass(frozen=True)
class Power(AbstractColumn):
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
        return beta * logarithm(values / self.ref)

    def term(self, columns: Columns) -> np.ndarray:
        """``log(x / ref)``."""
        return logarithm(columns[self.column] / self.ref)

    def text(self, value: str, beta: str) -> str:
        """``(WT / 70)^beta``."""
        return f"({value} / {self._written_reference()})^{beta}"

    def latex(self, value: str, beta: str) -> str:
        """A fraction to a power."""
        return rf"\left(\frac{{{value}}}{{{self._latex_reference()}}}\right)^{{{beta}}}"


@final
@dataclass(frozen=True)
class Exponential(AbstractColumn):
    r"""Exponential in the difference: :math:`e^{\beta (x - \text{ref})}`."""

    coefficient: Any = None

    def multiplier(self, values: np.ndarray, beta: Values, xp: Any) -> Values:
        """``exp(beta * (x - ref))``."""
        return xp.exp(self.log_multiplier(values, beta, xp))

    def log_multiplier(self, values: np.ndarray, beta: Values, xp: Any) -> Values:
        """``beta * (x - ref)``."""
        return beta * (values - self.ref)

    def term(self, columns: Columns) -> np.ndarray:
        """``x - ref``."""
        return columns[self.column] - self.ref

    def text(self, value: str, beta: str) -> str:
        """``exp(beta (AGE - 40))``."""
        return f"exp({beta} ({value} - {self._written_reference()}))"

    def latex(self, value: str, beta: str) -> str:
        """An exponential."""
        return rf"e^{{{beta} \left({value} - {self._latex_reference()}\right)}}"


@final
@dataclass(frozen=True)
class Linear(AbstractColumn):
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
