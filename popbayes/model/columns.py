"""What a model takes from the covariates of a table: references, levels, and which values may be missing."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from popbayes import dims
from popbayes.data.events import EventTable
from popbayes.data.values import missing
from popbayes.parameters.effect import AbstractCovariate
from popbayes.parameters.mixture import Mixture
from popbayes.wording import listed

if TYPE_CHECKING:
    from popbayes.model.popmodel import PopModel

ROWS_SHOWN = 8


def resolved(model: "PopModel", data: EventTable) -> "PopModel":
    """The model with references and levels taken from data; missing values do not count."""
    starts = np.unique(data.record_subject, return_index=True)[1]
    first = {column: data.covariates[column][starts] for column in model.covariate_columns}

    def known(one: Any, *more: str) -> Any:
        columns = (*one.columns, *more)
        here = ~np.any([missing(first[name]) for name in columns], axis=0)
        return one.resolved_from({name: values[here] for name, values in first.items()})

    parameters = {
        name: replace(parameter, covariates=tuple(known(one) for one in parameter.covariates))
        for name, parameter in model.parameters.items()
    }
    variability = tuple(
        replace(block, covariates=tuple(known(one) for one in block.covariates))
        if isinstance(block, Mixture)
        else block
        for block in model.variability
    )
    imputation = tuple(known(one, one.column) for one in model.imputation)
    return replace(model, parameters=parameters, variability=variability, imputation=imputation)


def check_values(model: "PopModel", data: EventTable) -> None:
    """Refuse missing values that are not imputed, and values that the effects are not defined for."""
    imputed = {one.column: one for one in model.imputation}
    gone = {name: missing(data.covariates[name]) for name in model.covariate_columns}
    structural = tuple(getattr(model.structural, "covariates", ()))
    for name, lost in gone.items():
        if lost.any() and (name not in imputed or name in structural):
            _refuse_missing(data, name, lost, name in structural)
    for name, one in imputed.items():
        if name in data.time_varying:
            raise ValueError(
                f"covariate.Impute({name!r}): {name} varies within a subject. Only a covariate that is one "
                "for each subject is imputed; fill the missing values of this one."
            )
        one.check_values(data.covariates[name][~gone[name]])
    _check_constant(model, data)
    for one in _effects(model):
        here = ~np.any([gone[name] for name in one.columns], axis=0)
        one.check_columns({name: values[here] for name, values in data.covariates.items()})


def _effects(model: "PopModel") -> list[AbstractCovariate]:
    found = [one for parameter in model.parameters.values() for one in parameter.covariates]
    found += [] if model.mixture is None else model.mixture.covariates
    return found + [one for each in model.imputation for one in each.covariates]


def _check_constant(model: "PopModel", data: EventTable) -> None:
    """Classes and imputed values are one for each subject, and so must be what they depend on."""
    uses = {f"covariate.Impute({one.column!r})": one.columns for one in model.imputation}
    if model.mixture is not None:
        uses["variability.Mixture"] = tuple(n for one in model.mixture.covariates for n in one.columns)
    for what, columns in uses.items():
        varying = [name for name in columns if name in data.time_varying]
        if varying:
            raise ValueError(
                f"{what} depends on {listed(varying)}, which varies within a subject; it needs covariates "
                "that are one for each subject."
            )


def _refuse_missing(data: EventTable, name: str, lost: np.ndarray, structural: bool) -> None:
    rows = np.flatnonzero(lost)
    shown = ", ".join(
        f"row {data.row[k]} (ID {data.subjects[data.record_subject[k]]})" for k in rows[:ROWS_SHOWN]
    )
    more = f" and {len(rows) - ROWS_SHOWN} more" if len(rows) > ROWS_SHOWN else ""
    remedy = (
        "The structural model reads it, which cannot be imputed: fill it."
        if structural
        else f"Fill it, or give it a model: PopModel(imputation=[covariate.Impute({name!r}, ...)])."
    )
    raise ValueError(f"The covariate {name} is missing in {shown}{more}. {remedy}")


def check_mixture(model: "PopModel") -> None:
    """Refuse more than one mixture, and one that asks for what it cannot have."""
    each = [block for block in model.variability if isinstance(block, Mixture)]
    if len(each) > 1:
        raise ValueError("variability has two mixtures; name all their parameters in one.")
    mixture = model.mixture
    if mixture is None:
        return
    if dims.CLASS in model.parameters:
        raise ValueError("A parameter cannot be called 'class' in a model with a mixture.")
    without = [name for name in mixture.names if name not in model.eta_names]
    if mixture.centred and without:
        raise ValueError(
            f"variability.Mixture(centred=True) needs random effects on all its parameters; "
            f"{listed(without)} has none. Leave centred out."
        )


def check_imputation(model: "PopModel") -> None:
    """Refuse two models of one column, names that clash, and regressions on what is imputed later."""
    columns = [one.column for one in model.imputation]
    for k, one in enumerate(model.imputation):
        if one.column in columns[:k]:
            raise ValueError(f"imputation has two models of {one.column}; keep one.")
        if one.column in model.parameters:
            raise ValueError(f"The covariate {one.column} has the name of a parameter; rename the column.")
        later = [name for name in one.columns if name in columns[k:]]
        if later:
            raise ValueError(
                f"covariate.Impute({one.column!r}) regresses on {listed(later)}, which is imputed after it; "
                "put that first."
            )
