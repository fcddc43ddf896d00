"""`covariate`: how columns of the event table change a typical value."""

from collections.abc import Callable, Mapping
from typing import Any

from popbayes.parameters.continuous import Exponential, Linear, Power
from popbayes.parameters.effect import AbstractCovariate
from popbayes.parameters.equation import Equation, Interaction
from popbayes.parameters.growth import Allometry, Maturation
from popbayes.parameters.impute import Impute
from popbayes.parameters.levels import Categorical, Diplotype, Genotype
from popbayes.parameters.priors import prior_from_dict
from popbayes.parameters.selection import Select, selection_from_dict
from popbayes.wording import listed, nearest

__all__ = [
    "AbstractCovariate",
    "Allometry",
    "Categorical",
    "Diplotype",
    "Equation",
    "Exponential",
    "Genotype",
    "Impute",
    "Interaction",
    "Linear",
    "Maturation",
    "Power",
    "Select",
    "covariate_from_dict",
    "imputation_from_dict",
]

KINDS: dict[str, Callable[..., AbstractCovariate]] = {
    kind.__name__: kind
    for kind in (
        Power,
        Exponential,
        Linear,
        Categorical,
        Genotype,
        Diplotype,
        Allometry,
        Maturation,
        Interaction,
    )
}


def covariate_from_dict(values: Mapping[str, Any]) -> AbstractCovariate:
    """Make a covariate effect from what `to_dict` gave.

    Raises
    ------
    ValueError
        If the kind is unknown.
    """
    given = dict(values)
    kind = given.pop("kind", None)
    if kind == "Equation":
        return Equation(given["text"], **{name: _read(one) for name, one in given["coefficients"].items()})
    if kind == "Select":
        members = tuple(covariate_from_dict(one) for one in given["members"])
        together = selection_from_dict(given["prior"])
        return Select(members, together, given["scales"], given["n_subject"])
    if kind not in KINDS:
        raise ValueError(
            f"There is no covariate effect {kind!r}; there are {listed(KINDS)}.{nearest(kind, KINDS)}"
        )
    return KINDS[kind](**{name: _read(one) for name, one in given.items()})


def imputation_from_dict(values: Mapping[str, Any]) -> Impute:
    """Make the model of a covariate from what `to_dict` gave."""
    given = dict(values)
    covariates = tuple(covariate_from_dict(one) for one in given.pop("covariates"))
    return Impute(covariates=covariates, **{name: _read(one) for name, one in given.items()})


def _read(value: Any) -> Any:
    if isinstance(value, Mapping) and "kind" in value:
        return covariate_from_dict(value)
    if isinstance(value, Mapping) and "family" in value:
        return prior_from_dict(value)
    return value
