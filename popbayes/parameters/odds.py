"""Probabilities of a few classes: a Dirichlet prior, and covariates that change the odds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from popbayes.parameters.effect import AbstractCovariate, Coefficient, Columns, Values
from popbayes.parameters.family import real_number


@dataclass(frozen=True)
class Odds:
    r"""Probabilities of classes, with odds against the first that covariates multiply (multinomial logit).

    .. math:: \frac{P(k \mid x)}{P(1 \mid x)} = \frac{p_k}{p_1} \prod_m \mathrm{factor}_{mk}(x),
              \qquad p \sim \mathrm{Dirichlet}(a)

    Attributes
    ----------
    of : str
        What has classes: "class", or a column.
    labels : tuple of str
        The classes.
    concentration : tuple of float
        `a`, one number for each class.
    covariates : tuple of covariate effects
        Each has coefficients of its own for every class but the first.
    """

    of: str
    labels: tuple[str, ...]
    concentration: tuple[float, ...]
    covariates: tuple[AbstractCovariate, ...] = ()

    @property
    def name(self) -> str:
        """Variable of the probabilities where covariates are at their references: ``p_class``."""
        return f"p_{self.of}"

    @property
    def dim(self) -> str:
        """Dimension of the classes."""
        return self.of if self.of == "class" else f"{self.of}_category"

    def target(self, label: str) -> str:
        """What coefficients of one class are called after: ``beta_class2_AGE``, ``beta_SEX_F_AGE``."""
        return f"{self.of}{label}" if self.of == "class" else f"{self.of}_{label}"

    @property
    def coefficients(self) -> tuple[Coefficient, ...]:
        """Those of all classes but the first."""
        return tuple(
            one
            for label in self.labels[1:]
            for effect in self.covariates
            for one in effect.coefficients(self.target(label))
        )

    def describe(self) -> str:
        """The prior in words."""
        return f"Dirichlet({', '.join(f'{one:g}' for one in self.concentration)})"

    def log_probabilities(self, columns: Columns, values: Mapping[str, Values], xp: Any) -> list[Values]:
        """Logarithm of the probability of every class, each (..., n).

        Parameters
        ----------
        columns : column -> (..., n)
        values : `name` (..., n_class) and the coefficients, scalars or (..., 1)
        xp : numpy or pytensor.tensor
        """
        first = values[self.name]
        scores = []
        for k, label in enumerate(self.labels):
            score = xp.log(first[..., k : k + 1])
            for effect in self.covariates if k else ():
                score = score + effect.log_factor(columns, values, self.target(label), xp)
            scores.append(score)
        highest = scores[0]
        for score in scores[1:]:
            highest = xp.maximum(highest, score)
        total = highest + xp.log(sum(xp.exp(score - highest) for score in scores))
        return [score - total for score in scores]


def concentrations(value: Any, number: int, where: str) -> tuple[float, ...]:
    """The Dirichlet's numbers, one for each class.

    Raises
    ------
    ValueError
        If they are not positive, or not as many as there are classes.
    """
    each: Sequence[Any] = [value] * number if np.ndim(value) == 0 else list(value)
    found = [real_number(one) for one in each]
    if len(found) != number or not all(one is not None and 0 < one < math.inf for one in found):
        raise ValueError(
            f"concentration of {where} must be a number > 0, or one for each of its {number} classes, "
            f"not {value!r}."
        )
    return tuple(float(one) for one in found if one is not None)


def by_class(steps: Values, codes: Any, number: int, cumulative: bool, xp: Any) -> Values:
    """What each place adds: 0 in the first class, else the step of its class, or all steps up to it.

    Parameters
    ----------
    steps : scalar or (..., 1) where there are two classes; (..., number - 1)
    codes : (..., n) class of each place, from 0
    """
    if number == 2:
        return steps * (codes > 0).astype(np.float64)
    above = np.arange(1, number)[:, None]
    codes = np.asarray(codes)[..., None, :]
    taken = ((codes >= above) if cumulative else (codes == above)).astype(np.float64)
    if xp is np:
        return np.matmul(np.asarray(steps)[..., None, :], taken)[..., 0, :]
    return xp.dot(steps, taken)
