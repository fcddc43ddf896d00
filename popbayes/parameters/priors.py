"""`prior`: every univariate family of PyMC as a frozen value, and `Fixed`; numbers stand for `Fixed`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from popbayes.parameters.discrete import (
    Bernoulli,
    BetaBinomial,
    Binomial,
    DiscreteUniform,
    DiscreteWeibull,
    Geometric,
    HyperGeometric,
    NegativeBinomial,
    Poisson,
)
from popbayes.parameters.family import AbstractPrior, argument, real_number
from popbayes.parameters.interval import (
    Beta,
    Interpolated,
    Kumaraswamy,
    LogitNormal,
    Triangular,
    TruncatedNormal,
    Uniform,
    VonMises,
)
from popbayes.parameters.positive import (
    ChiSquared,
    Exponential,
    Gamma,
    HalfCauchy,
    HalfFlat,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    LogNormal,
    Pareto,
    Rice,
    Wald,
    Weibull,
)
from popbayes.parameters.real_line import (
    AsymmetricLaplace,
    Cauchy,
    ExGaussian,
    Flat,
    Gumbel,
    Laplace,
    Logistic,
    Moyal,
    Normal,
    SkewNormal,
    SkewStudentT,
    StudentT,
)
from popbayes.parameters.spread import InverseWishart, ScaledInverseChiSquared
from popbayes.wording import listed, nearest


@final
@dataclass(frozen=True)
class Fixed(AbstractPrior):
    """A known value: not estimated, marked FIX in tables. A plain number means the same."""

    value: float = argument("real")

    @property
    def support(self) -> tuple[float, float]:
        """The value alone."""
        return self.value, self.value

    @property
    def pymc(self) -> tuple[str, dict[str, Any]]:
        """PyMC has no variable for a known value: it is a constant of the graph."""
        raise TypeError("prior.Fixed is a constant of the graph, not a PyMC variable.")

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return np.full_like(p, self.value)

    def describe(self) -> str:
        """The value, marked as fixed."""
        return f"{self.value:.6g} FIX"

    def latex(self) -> str:
        """The value, marked as fixed."""
        return rf"{self.value:.6g}\ \text{{FIX}}"


__all__ = [
    "AbstractPrior",
    "AsymmetricLaplace",
    "Bernoulli",
    "Beta",
    "BetaBinomial",
    "Binomial",
    "Cauchy",
    "ChiSquared",
    "DiscreteUniform",
    "DiscreteWeibull",
    "ExGaussian",
    "Exponential",
    "Fixed",
    "Flat",
    "Gamma",
    "Geometric",
    "Gumbel",
    "HalfCauchy",
    "HalfFlat",
    "HalfNormal",
    "HalfStudentT",
    "HyperGeometric",
    "Interpolated",
    "InverseGamma",
    "InverseWishart",
    "Kumaraswamy",
    "Laplace",
    "LogNormal",
    "Logistic",
    "LogitNormal",
    "Moyal",
    "NegativeBinomial",
    "Normal",
    "Pareto",
    "Poisson",
    "Rice",
    "ScaledInverseChiSquared",
    "SkewNormal",
    "SkewStudentT",
    "StudentT",
    "Triangular",
    "TruncatedNormal",
    "Uniform",
    "VonMises",
    "Wald",
    "Weibull",
    "as_prior",
    "prior_from_dict",
]


def families() -> dict[str, type[AbstractPrior]]:
    """Every family by name."""
    return {kind.__name__: kind for kind in AbstractPrior.__subclasses__()}


def as_prior(value: Any, where: str) -> AbstractPrior:
    """Take a prior as it is and a number as `Fixed`; refuse anything else.

    Parameters
    ----------
    value : prior or number
    where : str
        What the prior is for, as the message names it.

    Raises
    ------
    TypeError
        If `value` is neither, a class that was not called included.
    """
    if isinstance(value, AbstractPrior):
        return value
    if isinstance(value, type) and issubclass(value, AbstractPrior):
        raise TypeError(f"{where} needs prior.{value.__name__} with its arguments, not the class itself.")
    number = real_number(value)
    if number is None:
        raise TypeError(
            f"{where} needs a prior such as prior.LogNormal(1.5, 1) or a number (a fixed value), "
            f"not {type(value).__name__} {value!r}."
        )
    return Fixed(number)


def prior_from_dict(values: Mapping[str, Any]) -> AbstractPrior:
    """Make a prior from what `to_dict` gave.

    Raises
    ------
    ValueError
        If the family is unknown.
    """
    known = families()
    arguments = dict(values)
    family = arguments.pop("family", None)
    if family not in known:
        raise ValueError(
            f"There is no prior family {family!r}; there are {listed(sorted(known))}.{nearest(family, known)}"
        )
    return known[family](**arguments)
