"""Models of covariates that are missing for some subjects."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, final

import numpy as np

from popbayes.parameters.effect import AbstractCovariate, Coefficient, Columns, Values, level
from popbayes.parameters.odds import Odds, concentrations
from popbayes.parameters.priors import Fixed, as_prior
from popbayes.parameters.random_effects import positive_prior
from popbayes.wording import listed, nearest

LAWS = ("lognormal", "normal", "categorical")


@final
@dataclass(frozen=True)
class Impute:
    r"""A model of a covariate whose value is missing for some subjects; it is estimated with the rest.

    .. math::

        \text{lognormal:} &\ \log x_i \sim \mathrm{Normal}(\log\theta + \textstyle\sum_m \log f_m,\ s^2) \\
        \text{normal:} &\ x_i \sim \mathrm{Normal}(\theta + \textstyle\sum_m \log f_m,\ s^2) \\
        \text{categorical:} &\ P(x_i = l) / P(x_i = 1) = p_l / p_1 \textstyle\prod_m f_{ml}

    with the factors `f` of other covariates. Subjects whose value is known inform :math:`\theta`, `s` and
    `p`. Missing numbers are sampled; missing categories are summed out of the likelihood, exactly, and drawn
    afterwards. The value is one for each subject: a covariate that varies in time is refused.

    Attributes
    ----------
    column : str
        Covariate of the event table, read with ``read_events(..., missing=[column])``.
    law : "lognormal", "normal" or "categorical"
        "bernoulli" is a categorical one of two levels.
    typical : prior or number
        Of :math:`\theta`, in the column's units; of "lognormal" and "normal".
    sd : prior or number
        Of `s`; on the log scale for "lognormal".
    covariates : sequence of covariate effects
        The regression: the logarithm of each effect's factor is added, as
        ``covariate.Exponential("AGE", ref=40, coefficient=prior.Normal(0, 0.01))`` adds
        :math:`\beta (AGE - 40)`.
    levels : sequence of str, optional
        Of "categorical", the first being that of the odds; those of the data, in order, where left out.
    concentration : float or sequence
        Of the Dirichlet prior of `p`.

    References
    ----------
    Little & Rubin, *Statistical Analysis with Missing Data*, 3rd ed. (2019), ch. 10; missing at random is
    assumed.
    """

    column: str
    law: str = "lognormal"
    typical: Any = None
    sd: Any = None
    covariates: Sequence[AbstractCovariate] = ()
    levels: Any = None
    concentration: Any = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.column, str) or not self.column:
            raise TypeError(f"covariate.Impute needs the name of a column first, not {self.column!r}.")
        law = "categorical" if self.law == "bernoulli" else self.law
        if law not in LAWS:
            raise ValueError(
                f"law of covariate.Impute must be one of {listed((*LAWS, 'bernoulli'))}, not {self.law!r}."
                f"{nearest(self.law, LAWS)}"
            )
        each = (self.covariates,) if isinstance(self.covariates, AbstractCovariate) else self.covariates
        if not all(isinstance(one, AbstractCovariate) for one in each):
            raise TypeError(f"covariates of covariate.Impute must be covariate effects, not {each!r}.")
        if any(self.column in one.columns for one in each):
            raise ValueError(f"covariate.Impute({self.column!r}) cannot regress {self.column} on itself.")
        object.__setattr__(self, "covariates", tuple(each))
        if self.law == "bernoulli" and self.levels is not None and len(tuple(self.levels)) != 2:
            raise ValueError(f"A Bernoulli covariate has two levels, not {self.levels!r}.")
        object.__setattr__(self, "law", law)
        if law == "categorical":
            self._check_categories()
        else:
            self._check_number()

    def _check_number(self) -> None:
        where = f"covariate.Impute({self.column!r})"
        if self.levels is not None:
            raise ValueError(f"levels of {where} are for law='categorical', not {self.law!r}.")
        object.__setattr__(self, "typical", as_prior(self.typical, f"typical of {where}"))
        object.__setattr__(self, "sd", positive_prior(self.sd, f"sd of {where}"))
        low = self.typical.support[0]
        if self.law == "lognormal" and (low < 0 or (isinstance(self.typical, Fixed) and low <= 0)):
            raise ValueError(
                f"typical of {where} is positive, but {self.typical.describe()} allows other values. Use "
                "prior.LogNormal, or law='normal'."
            )

    def _check_categories(self) -> None:
        where = f"covariate.Impute({self.column!r})"
        if self.typical is not None or self.sd is not None:
            raise ValueError(f"typical and sd of {where} are for numbers; categories have concentration.")
        if self.levels is None:
            return
        levels = tuple(level(one) for one in self.levels)
        if len(levels) < 2 or len(set(levels)) < len(levels):
            raise ValueError(f"levels of {where} must be two or more different ones, not {self.levels!r}.")
        object.__setattr__(self, "levels", levels)
        object.__setattr__(self, "concentration", concentrations(self.concentration, len(levels), where))

    @property
    def kind(self) -> str:
        """Impute."""
        return type(self).__name__

    @property
    def discrete(self) -> bool:
        """Whether missing values are categories, which are summed out."""
        return self.law == "categorical"

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of its regression."""
        return tuple(dict.fromkeys(name for one in self.covariates for name in one.columns))

    @property
    def is_resolved(self) -> bool:
        """Whether levels and references are known."""
        known = not self.discrete or self.levels is not None
        return known and all(one.is_resolved for one in self.covariates)

    def resolved_from(self, first: Columns) -> Self:
        """The same with levels and references known, from subjects none of whose values is missing."""
        covariates = tuple(one.resolved_from(first) for one in self.covariates)
        if not self.discrete or self.levels is not None:
            return replace(self, covariates=covariates)
        found = np.unique(first[self.column])
        levels = tuple(level(one.item() if hasattr(one, "item") else one) for one in found)
        if len(levels) < 2:
            raise ValueError(
                f"covariate.Impute({self.column!r}): all known values are {listed(levels)}; name the levels "
                "with levels=."
            )
        return replace(self, covariates=covariates, levels=levels)

    @property
    def typical_name(self) -> str:
        """Variable of the typical value."""
        return f"typical_{self.column}"

    @property
    def sd_name(self) -> str:
        """Variable of the standard deviation."""
        return f"sd_{self.column}"

    @property
    def name(self) -> str:
        """Variable of the missing values."""
        return f"imputed_{self.column}"

    @property
    def dim(self) -> str:
        """Dimension of the subjects whose value is missing."""
        return f"{self.column}_missing"

    @property
    def odds(self) -> Odds:
        """Probabilities of the levels of a categorical one."""
        numbers = tuple(float(one) for one in np.atleast_1d(self.concentration))
        return Odds(self.column, tuple(self.levels or ()), numbers, tuple(self.covariates))

    @property
    def coefficients(self) -> tuple[Coefficient, ...]:
        """Those of its regression."""
        if self.discrete:
            return self.odds.coefficients
        return tuple(c for one in self.covariates for c in one.coefficients(self.column))

    def check_values(self, known: np.ndarray) -> None:
        """Refuse known values that the model of the column does not allow."""
        where = f"covariate.Impute({self.column!r}, law={self.law!r})"
        if self.discrete:
            labels = {level(one.item()) for one in known}
            odd = sorted(labels - set(self.levels or labels))
            if odd:
                raise ValueError(
                    f"{where} knows the levels {listed(self.levels)}; the data have {listed(odd)}."
                )
        elif known.dtype.kind != "f":
            raise ValueError(f"{where} needs numbers, but the column holds text. Use law='categorical'.")
        elif self.law == "lognormal" and np.any(known <= 0):
            raise ValueError(f"{where} needs positive values, but the column has {known.min():g}.")

    def centre(self, columns: Columns, values: Any, xp: Any) -> Values:
        """Mean of the value, or of its logarithm, (..., n)."""
        place = values[self.typical_name]
        place = xp.log(place) if self.law == "lognormal" else place
        for one in self.covariates:
            place = place + one.log_factor(columns, values, self.column, xp)
        return place

    def log_density(self, columns: Columns, values: Any, xp: Any) -> Values:
        """Log density of the column's values, (..., n); that of the logarithm where lognormal."""
        x, sd = columns[self.column], values[self.sd_name]
        x = (np.log(x) if isinstance(x, np.ndarray) else xp.log(x)) if self.law == "lognormal" else x
        standard = (x - self.centre(columns, values, xp)) / sd
        return -0.5 * standard**2 - xp.log(sd) - 0.5 * math.log(2 * math.pi)

    def value(self, place: Values, xp: Any) -> Values:
        """The value at a place on the scale where it is normal."""
        return xp.exp(place) if self.law == "lognormal" else place

    def codes(self, column: np.ndarray) -> np.ndarray:
        """Number of the level of each value."""
        place = {name: k for k, name in enumerate(self.levels or ())}
        names, inverse = np.unique(column, return_inverse=True)
        each = np.array([place[level(one.item())] for one in names], dtype=np.int64)
        return each[inverse].reshape(column.shape)

    def of_codes(self, codes: np.ndarray) -> np.ndarray:
        """Values of levels as columns hold them: numbers where all are numbers, else text."""
        try:
            known = np.array([float(one) for one in self.levels or ()])
        except ValueError:
            known = np.array(self.levels)
        return known[codes]

    def to_dict(self) -> dict[str, Any]:
        """The model of the covariate as JSON values."""
        shared = {
            "column": self.column,
            "law": self.law,
            "covariates": [one.to_dict() for one in self.covariates],
        }
        if not self.discrete:
            return {**shared, "typical": self.typical.to_dict(), "sd": self.sd.to_dict()}
        levels = None if self.levels is None else list(self.levels)
        spread = self.concentration
        return {
            **shared,
            "levels": levels,
            "concentration": list(spread) if isinstance(spread, tuple) else spread,
        }
