"""`variability`: which parameters differ between subjects, occasions and sites, and how much."""

from collections.abc import Mapping
from typing import Any

from popbayes.parameters.covariates import covariate_from_dict
from popbayes.parameters.grouped import AbstractGrouped, Level, Occasion
from popbayes.parameters.mixture import Mixture
from popbayes.parameters.priors import prior_from_dict
from popbayes.parameters.random_effects import (
    AbstractVariability,
    Block,
    Correlated,
    Fixed,
    Independent,
    positive_prior,
)
from popbayes.parameters.spread import InverseWishart
from popbayes.wording import listed, nearest

__all__ = [
    "AbstractGrouped",
    "AbstractVariability",
    "Block",
    "Correlated",
    "Fixed",
    "Independent",
    "Level",
    "Mixture",
    "Occasion",
    "positive_prior",
    "variability_from_dict",
]

KINDS = {kind.__name__: kind for kind in (Independent, Correlated, Block, Fixed, Occasion, Level)}


def variability_from_dict(values: Mapping[str, Any]) -> AbstractVariability | Mixture:
    """Make random effects from what `to_dict` gave.

    Raises
    ------
    ValueError
        If the kind is unknown.
    """
    given = dict(values)
    kind = given.pop("kind", None)
    if kind == Mixture.kind:
        given["shift"] = {name: prior_from_dict(one) for name, one in given["shift"].items()}
        return Mixture(**{**given, "covariates": [covariate_from_dict(one) for one in given["covariates"]]})
    if kind not in KINDS:
        raise ValueError(
            f"There is no variability {kind!r}; there are {listed(KINDS)}.{nearest(kind, KINDS)}"
        )
    if kind == "Fixed":
        return Fixed(given["sd"], {(a, b): value for a, b, value in given["corr"]}, given["centred"])
    if given.get("covariance") is not None:
        given["covariance"] = InverseWishart.from_dict(given["covariance"])
    else:
        given["sd"] = {name: prior_from_dict(one) for name, one in given["sd"].items()}
    if given.get("nu") is not None:
        given["nu"] = prior_from_dict(given["nu"])
    return KINDS[kind](**given)
