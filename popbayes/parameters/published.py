"""Priors from what a paper or another tool reports: estimates with their RSE, omegas as CV%, correlations."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from popbayes.parameters.family import AbstractPrior, real_number
from popbayes.parameters.positive import LogNormal
from popbayes.parameters.spread import InverseWishart
from popbayes.wording import listed, nearest

__all__ = ["Published", "published"]

COLUMNS = ("estimate", "rse", "omega_cv", "omega_rse")


@final
@dataclass(frozen=True)
class Published:
    """Priors from a published table; see `published`.

    Attributes
    ----------
    typical : mapping of parameter to prior
        Of the typical value: ``pb.Parameter(known.typical["CL"])``.
    sd : mapping of parameter to prior
        Of the SD of the random effect: ``variability.Independent([...], sd=known.sd)``.
    omega : mapping of parameter to float
        The published SDs themselves.
    """

    typical: dict[str, AbstractPrior]
    sd: dict[str, AbstractPrior]
    omega: dict[str, float]
    correlations: dict[tuple[str, str], float] = field(default_factory=dict)

    def covariance(self, names: Any, nu: float) -> InverseWishart:
        """Inverse-Wishart prior with the published SDs and correlations as its guess.

        Parameters
        ----------
        names : sequence of str
            Parameters, in the order in which ``variability.Correlated`` names them.
        nu : float
            Degrees of freedom: how many subjects the published matrix is to count as.
        """
        names = tuple(names)
        for name in names:
            if name not in self.omega:
                raise ValueError(
                    f"No omega_cv was given for {name!r}; it was for "
                    f"{listed(self.omega)}.{nearest(name, self.omega)}"
                )
        corr = np.eye(len(names))
        for (one, other), value in self.correlations.items():
            if one in names and other in names:
                i, j = names.index(one), names.index(other)
                corr[i, j] = corr[j, i] = value
        sd = np.array([self.omega[name] for name in names])
        return InverseWishart(nu, corr * np.outer(sd, sd))

    def __str__(self) -> str:
        lines = ["Priors from a published table"]
        lines += [f"  {name}_pop ~ {one.describe()}" for name, one in self.typical.items()]
        lines += [f"  omega[{name}] ~ {one.describe()}" for name, one in self.sd.items()]
        lines += [f"  corr[{a}, {b}] = {value:g} in the paper" for (a, b), value in self.correlations.items()]
        return "\n".join(lines)


def published(
    table: Any, *, correlations: Mapping[tuple[str, str], float] | None = None, widen: float = 1.0
) -> Published:
    r"""Informative priors from a published table of estimates.

    A typical value gets a log-normal prior with the estimate as median and the RSE as coefficient of
    variation, :math:`\text{sd} = \sqrt{\log(1 + \text{RSE}^2)}`. The SD of its random effect is
    :math:`\omega = \sqrt{\log(1 + \text{CV}^2)}`, with a log-normal prior whose coefficient of variation is
    the RSE of the *variance* halved (as NONMEM and Monolix differ in what they print, say which it is by the
    number that you give).

    Parameters
    ----------
    table : DataFrame or mapping
        One row for each parameter: ``estimate``, ``rse`` (percent), and, where there is a random effect,
        ``omega_cv`` (CV percent) and ``omega_rse`` (percent, of the omega variance; 50 where left out).
    correlations : mapping of pair to float, optional
        ``{("CL", "V"): 0.6}``, for `Published.covariance`.
    widen : float
        Factor on all standard deviations: another population may differ from the published one.

    Examples
    --------
    >>> from popbayes import prior
    >>> known = prior.published({"CL": {"estimate": 2.8, "rse": 5, "omega_cv": 30}}, widen=2)
    >>> print(known)
    Priors from a published table
      CL_pop ~ LogNormal(median 2.8, sd 0.0999376)
      omega[CL] ~ LogNormal(median 0.29356, sd 0.492441)
    """
    rows = table.to_dict("index") if hasattr(table, "to_dict") else dict(table)
    typical: dict[str, AbstractPrior] = {}
    sd: dict[str, AbstractPrior] = {}
    omega: dict[str, float] = {}
    factor = _positive("widen", widen, "the table")
    for key, row in rows.items():
        name = str(key)
        for column in row:
            if column not in COLUMNS:
                raise ValueError(
                    f"The row of {name} has {column!r}; known are "
                    f"{listed(COLUMNS)}.{nearest(column, COLUMNS)}"
                )
        estimate, rse = (_positive(column, row.get(column), name) for column in ("estimate", "rse"))
        typical[name] = LogNormal(estimate, factor * _log_sd(rse / 100))
        if _absent(row.get("omega_cv")):
            continue
        omega[name] = _log_sd(_positive("omega_cv", row["omega_cv"], name) / 100)
        given = row.get("omega_rse")
        omega_rse = 50.0 if _absent(given) else _positive("omega_rse", given, name)
        sd[name] = LogNormal(omega[name], factor * _log_sd(omega_rse / 200))
    return Published(typical, sd, omega, dict(correlations or {}))


def _log_sd(cv: float) -> float:
    return math.sqrt(math.log1p(cv**2))


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _positive(column: str, value: Any, name: str) -> float:
    number = real_number(value)
    if number is None or not 0 < number < math.inf:
        raise ValueError(f"{column} of {name} must be a finite number > 0, not {value!r}.")
    return number
