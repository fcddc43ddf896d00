"""`PopModel`: who has which parameters, how they differ and how they are observed; checked for names."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np

from popbayes import dims
from popbayes.data.design import COVARIATE_RULES, Design
from popbayes.data.events import EventTable
from popbayes.model import checks, columns, printing, written
from popbayes.model.further import Further, all_odds, further
from popbayes.model.individual import individual_values, locations
from popbayes.model.levels import Grouping, added
from popbayes.model.rows import Row, population_rows
from popbayes.model.states import States, drawn_columns, states_of
from popbayes.observation.endpoints import ObservationModel
from popbayes.parameters.effect import Coefficient, Columns, Values
from popbayes.parameters.family import AbstractPrior
from popbayes.parameters.mixture import Mixture
from popbayes.parameters.odds import Odds
from popbayes.parameters.parameter import Parameter
from popbayes.parameters.priors import Fixed
from popbayes.parameters.random_effects import Fixed as FixedEffects
from popbayes.parameters.selection import Select
from popbayes.parameters.spread import InverseWishart
from popbayes.parameters.variability import (
    AbstractGrouped,
    AbstractVariability,
    Correlated,
)
from popbayes.structural.base import AbstractStructural
from popbayes.wording import listed


@final
@dataclass(frozen=True, repr=False)
class PopModel:
    """A population model; a frozen value, made once and checked when made.

    Parameters
    ----------
    structural : structural model
        What the body does, such as ``pk.OneCompartment(absorption=pk.FirstOrder())``.
    parameters : mapping of name to Parameter
        One for each parameter of the structural model; their order is that of tables.
    variability : variability, sequence of them, or None
        Which parameters differ between subjects, occasions and sites, and their subpopulations
        (`variability.Mixture`); a parameter may be in one part of subjects only.
    residual : residual error, or mapping of output to residual error
        How observations scatter around predictions; ``{"conc": ..., "effect": ...}`` for several kinds.
    name : str
        For titles and tables.
    covariate_rule : "nocb" or "locf"
        Whose covariates and occasion hold between two records: the later one's (next observation carried
        backward, as NONMEM does), or the earlier one's (last observation carried forward).
    dvid : mapping of DVID to output, optional
        Which observations are which; without it they are numbered 1, 2, ... in the order of `residual`.
    censoring : censoring method, optional
        What is done with observations beyond a limit: ``censoring.M3()`` unless told otherwise. Where it is
        given, measured values below their LLOQ count as beyond it too.
    imputation : covariate.Impute, or sequence of them
        Models of covariates that are missing for some subjects. One may regress on another that comes
        before it.

    Raises
    ------
    TypeError, ValueError
        For whatever does not fit together, with the names that exist and the nearest one.
    """

    structural: AbstractStructural
    parameters: Mapping[str, Parameter]
    variability: Any = None
    residual: Any = None
    name: str = ""
    covariate_rule: str = "nocb"
    derived: Any = ()
    dvid: Mapping[int, str] | None = None
    censoring: Any = None
    imputation: Any = ()

    def __post_init__(self) -> None:
        if self.covariate_rule not in COVARIATE_RULES:
            raise ValueError(
                f"covariate_rule must be one of {listed(COVARIATE_RULES)}, not {self.covariate_rule!r}."
            )
        checks.check_parts(self)
        named = {name: checks.named_parameter(name, one) for name, one in self.parameters.items()}
        object.__setattr__(self, "parameters", named)
        object.__setattr__(self, "variability", checks.variability_parts(self.variability))
        object.__setattr__(self, "derived", checks.derived_priors(self.derived))
        object.__setattr__(self, "imputation", checks.imputations(self.imputation))
        checks.check_parameters(self)
        checks.check_variability(self)
        checks.check_categories(self)
        checks.check_derived(self)
        columns.check_mixture(self)
        columns.check_imputation(self)

    @cached_property
    def observation(self) -> ObservationModel:
        """How the observations are distributed: `residual`, `dvid` and `censoring`, checked together."""
        return ObservationModel(self.residual, self.structural.outputs, self.dvid, self.censoring)

    @cached_property
    def subject_blocks(self) -> tuple[AbstractVariability, ...]:
        """The parts of `variability` that are of subjects."""
        return tuple(
            block
            for block in self.variability
            if isinstance(block, AbstractVariability) and not isinstance(block, AbstractGrouped)
        )

    @cached_property
    def mixture(self) -> Mixture | None:
        """The subpopulations, where the model has any."""
        return next((block for block in self.variability if isinstance(block, Mixture)), None)

    @cached_property
    def further(self) -> tuple[Further, ...]:
        """Population values of Box-Cox scales, mixtures and imputation."""
        return further(self)

    @property
    def odds(self) -> tuple[Odds, ...]:
        """Probabilities of classes and of the levels of imputed categories."""
        return all_odds(self)

    @cached_property
    def groupings(self) -> tuple[Grouping, ...]:
        """The parts of `variability` that are of occasions, sites or studies."""
        grouped = (block for block in self.variability if isinstance(block, AbstractGrouped))
        return tuple(Grouping.of_block(block, self.parameters) for block in grouped)

    @property
    def fixed_correlations(self) -> tuple[tuple[tuple[str, ...], np.ndarray], ...]:
        """Parameters whose random effects have known correlations, in model order, and the matrix."""
        blocks = (block for block in self.subject_blocks if isinstance(block, FixedEffects) and block.corr)
        each = ((tuple(n for n in self.eta_names if n in block.names), block) for block in blocks)
        return tuple((names, block.matrix(names)) for names, block in each)

    @property
    def has_correlations(self) -> bool:
        """Whether random effects of subjects are correlated, estimated or known."""
        return bool(self.correlated_blocks or self.fixed_correlations)

    @property
    def tails(self) -> tuple[tuple[tuple[str, ...], AbstractPrior], ...]:
        """Parameters whose random effects are Student-t together, and the degrees of freedom."""
        each = ((tuple(n for n in self.eta_names if n in b.names), b.nu) for b in self.subject_blocks)
        return tuple((names, nu) for names, nu in each if nu is not None)

    @cached_property
    def eta_names(self) -> tuple[str, ...]:
        """Parameters with a random effect, in the order of `parameters`."""
        varying = {name for block in self.subject_blocks for name in block.names}
        return tuple(name for name in self.parameters if name in varying)

    @property
    def omega_priors(self) -> dict[str, AbstractPrior]:
        """Prior of the SD of each random effect, in the order of `eta_names`."""
        each = {name: prior for block in self.subject_blocks for name, prior in block.sd.items()}
        return {name: each[name] for name in self.eta_names}

    @property
    def centred_names(self) -> tuple[str, ...]:
        """Parameters whose individual values are sampled themselves (centred)."""
        names = {name for block in self.subject_blocks if block.centred for name in block.names}
        return tuple(name for name in self.eta_names if name in names)

    @property
    def forced_centring(self) -> tuple[str, ...]:
        """Parameters of which the model says how they are sampled; of the others `popbayes.fit` decides."""
        names = {name for block in self.subject_blocks if block.centred is not None for name in block.names}
        return tuple(name for name in self.eta_names if name in names)

    @property
    def correlated_blocks(self) -> tuple[tuple[tuple[str, ...], float], ...]:
        """Groups of correlated parameters, each in model order, with its LKJ shape."""
        blocks: list[Any] = [block for block in self.subject_blocks if block.correlated]
        wishart = {names for names, _ in self.covariance_priors}
        return tuple(
            (
                tuple(name for name in self.eta_names if name in block.correlated),
                1.0 if tuple(block.names) in wishart else block.lkj,
            )
            for block in blocks
        )

    @property
    def covariance_priors(self) -> tuple[tuple[tuple[str, ...], InverseWishart], ...]:
        """Parameters whose covariance matrix has an inverse-Wishart prior, each in its own order."""
        return tuple(
            (tuple(block.names), block.covariance)
            for block in self.subject_blocks
            if isinstance(block, Correlated) and block.covariance is not None
        )

    @cached_property
    def covariate_columns(self) -> tuple[str, ...]:
        """Columns of the event table that the model uses."""
        every = (parameter.covariates for parameter in self.parameters.values())
        effects = (name for covariates in every for one in covariates for name in one.columns)
        imputed = (name for one in self.imputation for name in (one.column, *one.columns))
        mixed = () if self.mixture is None else self.mixture.covariates
        of_class = (name for one in mixed for name in one.columns)
        own = getattr(self.structural, "covariates", ())
        return tuple(dict.fromkeys((*effects, *own, *of_class, *imputed)))

    def coefficients(self, parameter: str) -> tuple[Coefficient, ...]:
        """The coefficients of all covariate effects on a parameter, known ones included."""
        return tuple(
            one for effect in self.parameters[parameter].covariates for one in effect.coefficients(parameter)
        )

    @property
    def selections(self) -> tuple[tuple[str, Select], ...]:
        """Parameters with candidates to select from, and these."""
        pairs = ((name, one) for name, parameter in self.parameters.items() for one in parameter.covariates)
        return tuple((name, one) for name, one in pairs if isinstance(one, Select))

    def design(self, data: EventTable) -> Design:
        """The data laid out for the engine, with the segments that this model needs."""
        groups = {one.key: one.block.columns for one in self.groupings}
        return Design.of(data, self.covariate_columns, self.covariate_rule, groups)

    def states(self, design: Design) -> States | None:
        """Classes and missing categories of the subjects; None where the model has no such thing."""
        return states_of(self, design)

    @cached_property
    def fixed(self) -> dict[str, Any]:
        """Known values by their names in the equations: scalars, or (n_level,) for several coefficients."""
        found: dict[str, Any] = {}
        for name, parameter in self.parameters.items():
            if isinstance(parameter.prior, Fixed):
                found[dims.pop(name)] = np.float64(parameter.prior.value)
            for one in self.coefficients(name):
                if one.is_fixed:
                    found[one.name] = np.full(len(one.labels) or (), one.prior.value)
        found |= {one.name: one.known for one in self.further if one.known is not None}
        for level in self.groupings:
            if all(isinstance(prior, Fixed) for prior in level.priors.values()):
                found[level.sd] = np.array([float(prior.quantile(0.5)) for prior in level.priors.values()])
        sigmas = self.observation.priors.items()
        known = {name: np.float64(prior.value) for name, prior in sigmas if isinstance(prior, Fixed)}
        return found | known

    @property
    def is_resolved(self) -> bool:
        """Whether all covariate references and levels are known."""
        mixed = () if self.mixture is None else self.mixture.covariates
        effects = [one for parameter in self.parameters.values() for one in parameter.covariates]
        return all(one.is_resolved for one in (*effects, *mixed, *self.imputation))

    def resolved(self, data: EventTable) -> "PopModel":
        """The same model with the covariate references and levels that it takes from data.

        Fits keep the resolved model, so that other data are read with the references of the first.

        Raises
        ------
        ValueError
            If the event table lacks a covariate.
        """
        checks.check_columns(self, data)
        if self.is_resolved:
            return self
        return columns.resolved(self, data)

    def check(self, data: EventTable) -> None:
        """Refuse data that the model cannot be used on.

        Raises
        ------
        ValueError
            A covariate is not in the table or has values that its effect is not defined for; the
            structural model cannot take a dosing record; an observation is of a compartment (CMT) other
            than the one that the model predicts.
        """
        checks.check_columns(self, data)
        columns.check_values(self, data)
        self.structural.check_events(data)
        checks.check_observed(self, data)

    def locations(
        self, values: Mapping[str, Values], design: Design, xp: Any = np, columns: Columns | None = None
    ) -> dict[str, Values]:
        """Typical values with covariates, on the scales where random effects are added.

        See `individual_parameters` for the arguments; `columns` are covariates (and "class", from 0) in
        place of those of the design.
        """
        if not self.is_resolved:
            raise ValueError("Covariate references are not known yet: use model.resolved(data) first.")
        known = {**self.fixed, **values}
        at = drawn_columns(self, known, design, xp) if columns is None else columns
        return locations(self.parameters, known, at, xp, self.mixture)

    def individual_parameters(
        self,
        values: Mapping[str, Values],
        eta: Values | None,
        design: Design,
        xp: Any = np,
        levels: Mapping[str, Values] | None = None,
    ) -> dict[str, Values]:
        """Structural parameters of every segment: the parameter equations.

        Parameters
        ----------
        values : mapping
            ``{P}_pop`` and ``beta_{P}_{COV}``: scalars or (..., 1); (..., n_level) for several
            coefficients. Fixed ones may be left out. What was drawn of each subject's class (`class_of`)
            and missing covariates (`imputed_{column}`) too.
        eta : (..., n_subject, n_eta) or None
            Random effects in the order of `eta_names`; None for typical subjects.
        design : Design
            Of data that hold `covariate_columns`.
        xp : module
            numpy, or pytensor.tensor for graphs.
        levels : mapping, optional
            Name of a level (`Grouping.key`) -> (..., n_group, n_names), random effects of occasions,
            sites and studies; 0 where left out.

        Returns
        -------
        dict of (..., n_segment), in the order of `parameters` and in their units
        """
        own = {} if eta is None else {name: eta[..., k] for k, name in enumerate(self.eta_names)}
        places = self.locations(values, design, xp)
        return self.parameters_at(places, own, design, xp, levels, self.shapes(values))

    def shapes(self, values: Mapping[str, Values]) -> dict[str, Values]:
        """Shapes of the random effects on Box-Cox scales, by parameter."""
        known = {**self.fixed, **values}
        return {one.parameter: known[one.name] for one in self.further if one.kind == "shape"}

    def parameters_at(
        self,
        places: Mapping[str, Values],
        effects: Mapping[str, Values],
        design: Design,
        xp: Any = np,
        levels: Mapping[str, Values] | None = None,
        shapes: Mapping[str, Values] | None = None,
    ) -> dict[str, Values]:
        """Second half of `individual_parameters`: from `locations` and each parameter's random effect."""
        more = added(self, design, levels) if levels else None
        return individual_values(self.parameters, places, effects, design, xp, more, shapes)

    def population_rows(self, unit: str | Mapping[str, str] = "") -> list[Row]:
        """The rows of the parameter table; `unit` is that of the observations, or that of each endpoint."""
        return population_rows(self, unit)

    def to_dict(self) -> dict[str, Any]:
        """The model as JSON values."""
        return written.to_dict(self)

    def to_json(self, indent: int | None = None) -> str:
        """The model as JSON; `from_json` makes an equal one."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "PopModel":
        """Make the model that `to_json` wrote.

        Raises
        ------
        ValueError
            If the text is of a later format than this version reads.
        """
        return cls(**written.from_dict(json.loads(text)))

    def equations(self) -> list[str]:
        """The model's equations and priors as lines of text."""
        return printing.text_lines(self)

    def latex(self) -> str:
        """The model's equations and priors as an ``aligned`` block of LaTeX, without delimiters."""
        return printing.latex(self)

    def __str__(self) -> str:
        return "\n".join(self.equations())

    __repr__ = __str__

    def _repr_latex_(self) -> str:
        return f"$$\n{self.latex()}\n$$"
