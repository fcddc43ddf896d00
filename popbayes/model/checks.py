"""What a population model refuses: parts that do not fit each other, and data that it cannot be used on."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from popbayes import dims
from popbayes.data.events import EventTable
from popbayes.engine.declaration import Symbols
from popbayes.model.derived import body_parameters, body_states
from popbayes.parameters.continuous import Exponential, Linear, Power
from popbayes.parameters.derived import AbstractDerived, Cmax
from popbayes.parameters.equation import Equation, Interaction
from popbayes.parameters.grouped import AbstractGrouped, Level, Occasion
from popbayes.parameters.growth import Allometry, Maturation
from popbayes.parameters.impute import Impute
from popbayes.parameters.levels import AbstractLevels, Categorical, Diplotype, Genotype
from popbayes.parameters.mixture import Mixture
from popbayes.parameters.parameter import Parameter
from popbayes.parameters.priors import Fixed
from popbayes.parameters.random_effects import AbstractVariability, Block, Correlated, Independent
from popbayes.parameters.random_effects import Fixed as FixedEffects
from popbayes.structural.base import AbstractStructural
from popbayes.wording import listed, nearest

if TYPE_CHECKING:
    from popbayes.model.popmodel import PopModel

HONOURED = (Independent, Correlated, Block, FixedEffects, Occasion)
"""Random effects that point estimates integrate over."""
HONOURED_COVARIATES = (
    Allometry, Categorical, Diplotype, Equation, Exponential, Genotype, Interaction, Linear, Maturation,
    Power,
)  # fmt: skip
"""Covariate effects that are functions of the table and of coefficients with priors of their own."""


def check_parts(model: "PopModel") -> None:
    """Refuse parts of a wrong type."""
    if not isinstance(model.structural, AbstractStructural):
        raise TypeError(
            "structural must be a structural model such as pk.OneCompartment(), "
            f"not {type(model.structural).__name__} {model.structural!r}."
        )
    if not isinstance(model.parameters, Mapping):
        raise TypeError(f"parameters must map names to pb.Parameter, not {model.parameters!r}.")
    _ = model.observation  # refuses what does not fit


def check_parameters(model: "PopModel") -> None:
    """Refuse parameters that the structural model has not, and ask for those that are missing."""
    known = tuple(dict.fromkeys((*model.structural.parameters, *model.observation.parameters)))
    kind = type(model.structural).__name__
    for name, parameter in model.parameters.items():
        if name not in known:
            raise ValueError(
                f"{kind} has no parameter {name!r}; it has {listed(known)}.{nearest(name, known)}"
            )
        if not isinstance(parameter, Parameter):
            raise TypeError(
                f"parameters[{name!r}] must be a pb.Parameter, not {parameter!r}: "
                "write pb.Parameter(prior.LogNormal(median, sd)), or pb.Parameter(number) if it is known."
            )
        parameter.check_support(name)
    missing = [name for name in known if name not in model.parameters]
    if missing:
        raise ValueError(
            f"{kind} needs a prior (or a number) for {listed(missing)}; parameters has only "
            f"{listed(model.parameters)}."
        )


def check_variability(model: "PopModel") -> None:
    """Refuse random effects on what is no parameter, and two on one."""
    seen: list[str] = []
    keys = [block.key for block in model.variability if isinstance(block, AbstractGrouped)]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"variability has two parts by {key}; put their parameters into one.")
        if key in model.parameters or f"{key}_of" == dims.ETA_OF:
            raise ValueError(f"variability.Level({key!r}) has the name of a parameter; rename the column.")
    for block in model.variability:
        for name in block.names:
            if name not in model.parameters:
                raise ValueError(
                    f"variability names {name!r}, which is no parameter of the model; there are "
                    f"{listed(model.parameters)}.{nearest(name, model.parameters)}"
                )
            if isinstance(block, AbstractGrouped | Mixture):
                continue
            if name in seen:
                raise ValueError(f"{name} is in more than one part of variability; keep it in one.")
            seen.append(name)


def named_parameter(name: str, parameter: Any) -> Any:
    """The parameter with the effects that depend on its name; anything else as it is."""
    if not isinstance(parameter, Parameter):
        return parameter
    covariates = tuple(one.for_parameter(name) for one in parameter.covariates)
    return parameter if covariates == parameter.covariates else replace(parameter, covariates=covariates)


def check_categories(model: "PopModel") -> None:
    """A column has one set of levels, since its coefficients share a dimension."""
    seen: dict[str, tuple[str, AbstractLevels]] = {}
    for name, parameter in model.parameters.items():
        for one in parameter.covariates:
            if not isinstance(one, AbstractLevels):
                continue
            other, first = seen.setdefault(one.column, (name, one))
            if (first.ref, first.others) != (one.ref, one.others):
                raise ValueError(
                    f"covariate.{one.kind}({one.column!r}) has other levels on {name} than on {other}; "
                    "give them the same ref and others."
                )


def check_observed(model: "PopModel", data: EventTable) -> None:
    """Refuse observations of a compartment other than those of the output that the model gives them."""
    structural, observation = model.structural, model.observation
    weights = structural.weights(Symbols(dict.fromkeys(structural.parameters, 1.0)))
    compartments, endpoint_of = structural.compartments, observation.endpoint_of
    first = next(iter(observation.endpoints))
    for k in data.obs_record[data.cmt[data.obs_record] != ""]:
        output = endpoint_of.get(int(data.dvid[k]), first)
        if output not in weights:
            continue  # an outcome that needs no prediction
        label, seen = str(data.cmt[k]).removeprefix("-"), tuple(weights[output])
        if compartments.get(label) not in seen:
            where = compartments.get(label)
            others = [name for name in observation.endpoints if where in weights.get(name, ())]
            remedy = "Correct CMT, leave it empty on observations, or leave these records out."
            if others:
                told = ", ".join(f"{number} is {name}" for number, name in endpoint_of.items())
                remedy = (
                    f"That is where {listed(others)} is seen; endpoints are told apart by DVID, not CMT: "
                    f"write it in a column DVID ({told}; this record has {data.dvid[k]})."
                )
            raise ValueError(
                f"row {data.row[k]} (ID {data.subjects[data.record_subject[k]]}) is an observation of "
                f"CMT {label}, but the model predicts {output} of the compartment {listed(seen)} "
                f"(the compartments are {listed(structural.states)}, numbered from 1). {remedy}"
            )


def check_columns(model: "PopModel", data: EventTable) -> None:
    """Refuse a table without the covariates that the model uses."""
    known = tuple(data.covariates)
    for column in model.covariate_columns:
        if column not in known:
            raise ValueError(
                f"The model uses the covariate {column!r}, which the event table does not have; it has "
                f"{listed(known)}.{nearest(column, known)} Columns become covariates with "
                f"pb.read_events(..., covariates=[{column!r}])."
            )


def derived_priors(given: Any) -> tuple[AbstractDerived, ...]:
    """One, several or no priors of derived quantities, as a tuple."""
    several = (given,) if isinstance(given, AbstractDerived) else tuple(given or ())
    for one in several:
        if not isinstance(one, AbstractDerived):
            raise TypeError(f"derived takes prior.on_half_life(...) and prior.on_cmax(...), not {one!r}.")
    if len({one.name for one in several}) < len(several):
        raise ValueError("derived states a prior of the same quantity twice; keep one.")
    return several


def check_derived(model: "PopModel") -> None:
    """Priors of derived quantities must be ones that follow from this model's parameters."""
    for one in model.derived:
        if not isinstance(one, Cmax):
            body_states(model.structural)
        if one.replaced is None:
            continue
        if one.replaced not in model.parameters:
            raise ValueError(
                f"instead_of names {one.replaced!r}, which is no parameter of the model; there are "
                f"{listed(model.parameters)}.{nearest(one.replaced, model.parameters)}"
            )
        prior = model.parameters[one.replaced].prior
        if isinstance(prior, Fixed) or not prior.proper:
            raise ValueError(
                f"The half-life's prior stands in for that of {one.replaced}, which must be a proper prior, "
                f"where chains start, not {prior.describe()}."
            )
        names = body_parameters(model.structural)
        if len(names) > 4 or one.replaced not in names:
            raise ValueError(
                f"A prior of the half-life can stand in for that of {listed(names[:4])} in models of one or "
                f"two compartments, not for that of {one.replaced} here. Leave instead_of out: it is a "
                "potential then."
            )


def check_subject_effects_only(model: "PopModel", what: str) -> None:
    """Refuse all but what a method for normal effects of subjects and their occasions can honour.

    What is honoured is on a list (`HONOURED`); whatever is not, and so all that is added to popbayes later,
    is refused.

    Raises
    ------
    ValueError
        With the parts of `variability` and the covariate effects concerned, why, and what to do.
    """
    beyond = beyond_subject_effects(model)
    every = ((name, one) for name, parameter in model.parameters.items() for one in parameter.covariates)
    beyond += [
        f"covariate.{type(one).__name__} on {name}, whose coefficients or values have no prior of their own"
        for name, one in every
        if not isinstance(one, HONOURED_COVARIATES)
    ]
    if beyond:
        raise ValueError(
            f"{what} needs normal random effects of subjects and their occasions, with estimated or no "
            "correlations, and coefficients with priors of their own; the model has "
            f"{'; '.join(beyond)}. Use pb.fit, which samples them all."
        )


def beyond_subject_effects(model: "PopModel") -> list[str]:
    """What a model has beyond normal random effects of subjects and their occasions, and why it is beyond."""
    beyond = []
    for block in model.variability:
        if isinstance(block, Level):
            text = f"by {', '.join(block.columns)}: subjects that share an effect are not independent"
            beyond.append(f"variability.Level ({text})")
        elif not isinstance(block, HONOURED):
            beyond.append(f"variability.{type(block).__name__} of {', '.join(block.names)}")
    beyond += [f"Student-t effects of {', '.join(names)} (they are not normal)" for names, _ in model.tails]
    beyond += [f"covariate.Impute of {one.column}" for one in model.imputation]
    beyond += [f"the Box-Cox scale of {n}" for n, one in model.parameters.items() if one.scale == "boxcox"]
    beyond += [f"known correlations of {', '.join(names)}" for names, _ in model.fixed_correlations]
    return beyond


def check_separate_priors(model: "PopModel", what: str, *, to_start: bool = False) -> None:
    """Refuse priors that are not of one quantity each, where a method cannot honour them.

    An estimate that chains only start from (`to_start`) may take the marginals of an inverse-Wishart prior.

    Raises
    ------
    ValueError
        With the priors concerned, and what to do.
    """
    wishart = () if to_start else model.covariance_priors
    joint = [f"the inverse-Wishart prior of {', '.join(names)}" for names, _ in wishart]
    joint += [f"the prior of the {one.words}" for one in model.derived]
    if joint:
        raise ValueError(
            f"{what} would leave out {' and '.join(joint)}. Use use_priors=False (maximum likelihood), or "
            "pb.fit."
        )


def imputations(given: Any) -> tuple[Impute, ...]:
    """One, several or no models of covariates, as a tuple."""
    several = (given,) if isinstance(given, Impute) else tuple(given or ())
    for one in several:
        if not isinstance(one, Impute):
            raise TypeError(f"imputation takes covariate.Impute('WT', ...), not {one!r}.")
    return several


def variability_parts(variability: Any) -> tuple[AbstractVariability | Mixture, ...]:
    """One, several or no parts, as a tuple."""
    if variability is None:
        return ()
    blocks: Iterable[Any] = (
        (variability,) if isinstance(variability, AbstractVariability | Mixture) else tuple(variability)
    )
    for block in blocks:
        if not isinstance(block, AbstractVariability | Mixture):
            raise TypeError(
                "variability must be variability.Independent([...]) or variability.Correlated([...]), "
                f"not {block!r}."
            )
    return tuple(blocks)
