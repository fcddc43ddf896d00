"""`Parameter`: the prior of a typical value, its scale, and the covariates that change it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from popbayes import dims
from popbayes.parameters.covariates import AbstractCovariate, covariate_from_dict
from popbayes.parameters.effect import AbstractColumn, Columns, Values
from popbayes.parameters.equation import Equation
from popbayes.parameters.family import AbstractPrior, real_number
from popbayes.parameters.priors import Fixed, as_prior, prior_from_dict
from popbayes.wording import listed, nearest

SCALES = ("log", "logit", "identity", "boxcox")


@final
@dataclass(frozen=True)
class Parameter:
    r"""A parameter of the structural model in the population.

    With typical value :math:`\theta`, covariate multipliers :math:`m_k` and random effect
    :math:`\eta_i` of subject `i`:

    .. math::

        \text{log:}      &\quad P_i = \theta \prod_k m_k \, e^{\eta_i} \\
        \text{logit:}    &\quad P_i = l + (u - l)\,\mathrm{expit}\Big(\mathrm{logit}\frac{\theta - l}{u - l}
                           + \sum_k \log m_k + \eta_i\Big) \\
        \text{identity:} &\quad P_i = \theta \prod_k m_k + \eta_i \\
        \text{boxcox:}   &\quad P_i = \theta \prod_k m_k \,
                           \exp\Big(\frac{(e^{\eta_i})^\lambda - 1}{\lambda}\Big)

    Parameters
    ----------
    prior : prior or number
        Of the typical value, in the parameter's own units; a number is known and not estimated.
    scale : "log", "logit", "identity" or "boxcox"
        Where the random effect is normal; "boxcox" is the log scale with a skewed random effect, the log
        scale itself where :math:`\lambda = 0`.
    shape : prior or number
        Of :math:`\lambda` of the Box-Cox scale: positive for a tail of high values, negative for one of low
        values. ``shape_{P}`` in tables.
    covariates : sequence of covariate effects
    lower, upper : float
        Bounds of the logit scale.
    unit : str
        For tables and axis labels.

    References
    ----------
    Petersson, Hanze, Savic & Karlsson, *Pharm. Res.* 26 (2009) 2174-2185, on the Box-Cox transformation of
    random effects.
    """

    prior: Any
    scale: str = "log"
    covariates: Sequence[AbstractCovariate] = ()
    lower: float = 0.0
    upper: float = 1.0
    unit: str = ""
    shape: Any = None

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise ValueError(
                f"scale must be one of {listed(SCALES)}, not {self.scale!r}.{nearest(self.scale, SCALES)}"
            )
        object.__setattr__(self, "prior", as_prior(self.prior, "A parameter's typical value"))
        self._check_bounds()
        self._check_shape()
        self._check_covariates()

    def _check_bounds(self) -> None:
        lower, upper = real_number(self.lower), real_number(self.upper)
        if lower is None or upper is None or not -math.inf < lower < upper < math.inf:
            raise ValueError(
                f"lower must be below upper, both finite; not {self.lower!r} and {self.upper!r}."
            )
        if self.scale != "logit" and (lower, upper) != (0.0, 1.0):
            raise ValueError(
                "lower and upper are the bounds of the logit scale; "
                f"with scale={self.scale!r} they mean nothing."
            )
        object.__setattr__(self, "lower", lower)
        object.__setattr__(self, "upper", upper)

    def _check_shape(self) -> None:
        if self.scale == "boxcox":
            object.__setattr__(
                self, "shape", as_prior(self.shape, "shape of a parameter on the Box-Cox scale")
            )
        elif self.shape is not None:
            raise ValueError(f"shape is of the Box-Cox scale; with scale={self.scale!r} it means nothing.")

    @property
    def is_logarithmic(self) -> bool:
        """Whether the parameter's location is the logarithm of a positive value."""
        return self.scale in ("log", "boxcox")

    def check_support(self, name: str) -> None:
        """Refuse a prior of the typical value that allows what the scale cannot take.

        Parameters
        ----------
        name : str
            Of the parameter, for the message.
        """
        low, high = self.prior.support
        at_a_point = isinstance(self.prior, Fixed) or self.prior.discrete
        if self.is_logarithmic and (low < 0 or (at_a_point and low <= 0)):
            raise ValueError(
                f"The typical value of {name} is on the {self.scale} scale and positive, but "
                f"{self.prior.describe()} "
                "allows values that are not. Use a positive prior such as prior.LogNormal, "
                "or scale='identity'."
            )
        outside = low < self.lower or high > self.upper
        touching = at_a_point and (low <= self.lower or high >= self.upper)
        if self.scale == "logit" and (outside or touching):
            raise ValueError(
                f"The typical value of {name} lies between {self.lower:g} and {self.upper:g} "
                f"(logit scale), but {self.prior.describe()} allows {low:g} to {high:g}. "
                "Use a prior within the bounds, such as prior.Beta or prior.Uniform."
            )

    def _check_covariates(self) -> None:
        if isinstance(self.covariates, AbstractCovariate):
            object.__setattr__(self, "covariates", (self.covariates,))
        for one in self.covariates:
            if not isinstance(one, AbstractCovariate):
                raise TypeError(
                    "covariates must be effects such as covariate.Power('WT', ref=70, exponent=0.75), "
                    f"not {one!r}."
                )
        keys = [_key(one) for one in self.covariates]
        names = [name for key in keys for name in key]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(
                "Each column may act on a parameter once, but "
                f"{listed(sorted(twice))} is there more than once."
            )
        object.__setattr__(self, "covariates", tuple(self.covariates))

    @classmethod
    def from_column(cls, column: str, unit: str = "") -> "Parameter":
        """A parameter that is known for each subject: the value of a column of the data, as it is.

        Parameters
        ----------
        column : str
            A covariate of the event table, in the parameter's own units; it may change in time.
        unit : str
            For tables and axis labels.

        Examples
        --------
        >>> Parameter.from_column("CL_PK", unit="L/h").column
        'CL_PK'
        """
        return cls(1.0, scale="identity", covariates=(Equation(column),), unit=unit)

    @property
    def column(self) -> str:
        """The column that the parameter is taken from; empty where it is not."""
        known = self.scale == "identity" and self.is_fixed and self.prior.value == 1.0
        if not known or len(self.covariates) != 1 or not isinstance(self.covariates[0], Equation):
            return ""
        text = self.covariates[0].text
        return text if text.isidentifier() else ""

    @property
    def is_fixed(self) -> bool:
        """Whether the typical value is known rather than estimated."""
        return isinstance(self.prior, Fixed)

    def allows(self, pop: float) -> bool:
        """Whether a typical value is one that the scale can take."""
        low, high = self._open_range()
        return low < pop < high

    def range_text(self) -> str:
        """What `allows` asks for, in words: ``> 0 (log scale)``."""
        low, high = self._open_range()
        wanted = f"> {low:g}" if high == math.inf else f"between {low:g} and {high:g}, bounds excluded"
        return f"{wanted} ({self.scale} scale)" if self.scale != "identity" else "finite"

    def _open_range(self) -> tuple[float, float]:
        if self.scale == "logit":
            return self.lower, self.upper
        return (0.0, math.inf) if self.is_logarithmic else (-math.inf, math.inf)

    def location(self, name: str, values: Mapping[str, Values], columns: Columns, xp: Any) -> Values:
        """The typical value with its covariates, on the scale where the random effect is added.

        Parameters
        ----------
        name : str
            Of the parameter.
        values : name of a typical value or coefficient -> scalar or (..., 1); (..., n_label) for several
        columns : column -> its values (n,)
        xp : the array module, numpy or pytensor.tensor

        Returns
        -------
        (..., n), or the shape of `pop` where no covariate acts
        """
        pop = values[dims.pop(name)]
        if self.scale == "identity":
            for one in self.covariates:
                pop = pop * one.factor(columns, values, name, xp)
            return pop
        place = xp.log(pop) if self.is_logarithmic else xp.log((pop - self.lower) / (self.upper - pop))
        for one in self.covariates:
            place = place + one.log_factor(columns, values, name, xp)
        return place

    def place(self, value: Any) -> Any:
        """Where a value lies on the scale of random effects, in NumPy: the inverse of `value`."""
        if self.scale == "log":
            return np.log(value)
        if self.scale == "logit":
            return np.log((value - self.lower) / (self.upper - value))
        return value

    def value(self, place: Values, xp: Any) -> Values:
        """The parameter's value at a place on the scale where random effects are added."""
        if self.is_logarithmic:
            return xp.exp(place)
        if self.scale == "logit":
            return self.lower + (self.upper - self.lower) * (0.5 + 0.5 * xp.tanh(0.5 * place))
        return place

    def to_dict(self) -> dict[str, Any]:
        """The parameter as JSON values."""
        return {
            "prior": self.prior.to_dict(),
            "scale": self.scale,
            "covariates": [one.to_dict() for one in self.covariates],
            "lower": self.lower,
            "upper": self.upper,
            "unit": self.unit,
            **({} if self.shape is None else {"shape": self.shape.to_dict()}),
        }


def skewed(eta: Values, shape: Values, xp: Any) -> Values:
    r"""Box-Cox transform of :math:`e^\eta`: :math:`((e^\eta)^\lambda - 1) / \lambda`, `eta` itself at 0.

    Finite and smooth in both arguments where :math:`\lambda\eta` goes through 0.
    """
    x = shape * eta
    small = abs(x) < 1e-4
    safe = xp.where(small, 1.0, x)
    # the series is exact to rounding below 1e-4
    ratio = xp.where(small, 1.0 + x / 2.0 + x**2 / 6.0 + x**3 / 24.0, xp.expm1(safe) / safe)
    return eta * ratio


def _key(one: AbstractCovariate) -> tuple[str, ...]:
    """What tells an effect from others on the same parameter: its coefficients' symbols."""
    return one.columns if isinstance(one, AbstractColumn) else tuple(c.symbol for c in one.coefficients(""))


def parameter_from_dict(values: Mapping[str, Any]) -> Parameter:
    """Make a parameter from what `to_dict` gave."""
    given = dict(values)
    prior: AbstractPrior = prior_from_dict(given.pop("prior"))
    covariates = tuple(covariate_from_dict(one) for one in given.pop("covariates", ()))
    if given.get("shape") is not None:
        given["shape"] = prior_from_dict(given["shape"])
    return Parameter(prior=prior, covariates=covariates, **given)
