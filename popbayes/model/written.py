"""A model as JSON values, and back."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from popbayes.observation.endpoints import observation_fields
from popbayes.parameters.covariates import imputation_from_dict
from popbayes.parameters.derived import derived_from_dict
from popbayes.parameters.parameter import parameter_from_dict
from popbayes.parameters.variability import variability_from_dict
from popbayes.structural.base import structural_from_dict

if TYPE_CHECKING:
    from popbayes.model.popmodel import PopModel

FORMAT = 1
"""Version of the JSON form."""


def to_dict(model: "PopModel") -> dict[str, Any]:
    """The model as JSON values."""
    found = {
        "format": FORMAT,
        "name": model.name,
        "structural": model.structural.to_dict(),
        "parameters": {name: one.to_dict() for name, one in model.parameters.items()},
        "variability": [block.to_dict() for block in model.variability],
        **model.observation.to_dict(),
        "covariate_rule": model.covariate_rule,
        "derived": [one.to_dict() for one in model.derived],
    }
    return found | ({"imputation": [one.to_dict() for one in model.imputation]} if model.imputation else {})


def from_dict(values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the model that `to_dict` gave.

    Raises
    ------
    ValueError
        If the values are of a later format than this version reads.
    """
    if values.get("format") != FORMAT:
        raise ValueError(
            f"The model is written in format {values.get('format')!r}; this popbayes reads {FORMAT}. "
            "Use the version that wrote it."
        )
    return {
        "structural": structural_from_dict(values["structural"]),
        "parameters": {name: parameter_from_dict(one) for name, one in values["parameters"].items()},
        "variability": [variability_from_dict(one) for one in values["variability"]],
        **observation_fields(values),
        "name": values["name"],
        "covariate_rule": values.get("covariate_rule", "nocb"),
        "derived": [derived_from_dict(one) for one in values.get("derived", ())],
        "imputation": [imputation_from_dict(one) for one in values.get("imputation", ())],
    }
