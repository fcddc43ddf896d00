"""The rows of the parameter table: one for each quantity of the population, in model order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from popbayes import dims
from popbayes.model.further import Further
from popbayes.parameters.family import AbstractPrior
from popbayes.parameters.levels import AbstractLevels
from popbayes.parameters.priors import Fixed

if TYPE_CHECKING:
    from popbayes.model.popmodel import PopModel

Kind = Literal["pop", "beta", "shape", "delta", "prob", "omega", "level", "nu", "corr", "imputed", "sigma"]


@dataclass(frozen=True)
class Row:
    """One quantity of the population.

    Attributes
    ----------
    name : str
        Variable in graphs and DataTrees: ``CL_pop``, ``beta_CL_WT``, ``omega``, ``corr``, ``sigma_add``.
    index : str, pair of str, or None
        Where in the variable: the parameter for `omega`, two parameters for `corr`, the level for a
        coefficient of several; None where the variable is a scalar.
    kind : "pop", "beta", "omega", "level", "nu", "corr", "sigma", "shape", "delta", "prob" or "imputed"
        "level" is the SD of an occasion, site or study, "nu" the degrees of freedom of a Student-t, "shape"
        that of a Box-Cox scale, "delta" a step between the classes of a mixture, "prob" a probability of a
        class or of a level of an imputed category, "imputed" a value of the model of a covariate.
    parameter : str
        The structural parameter it belongs to; empty for `corr` and `sigma`.
    unit : str
    fixed : bool
        Known rather than estimated: there is no such variable among the draws, save within `omega`.
    value : float or None
        The known value of a fixed one.
    prior : str
        The prior in words.
    scale : str
        Scale of the parameter: log, logit or identity; empty where there is none.
    """

    name: str
    index: str | tuple[str, str] | None
    kind: Kind
    parameter: str
    unit: str
    fixed: bool
    value: float | None
    prior: str
    scale: str

    @property
    def label(self) -> str:
        """Name with its place: ``omega[CL]``, ``corr[ka, CL]``."""
        if self.index is None:
            return self.name
        return f"{self.name}[{self.index if isinstance(self.index, str) else ', '.join(self.index)}]"


def population_rows(model: "PopModel", unit: str | Mapping[str, str] = "") -> list[Row]:
    """All rows in model order; `unit` is that of the observations, or that of each endpoint.

    Raises
    ------
    ValueError
        If the levels of a categorical covariate are not known yet.
    """
    return [
        *_typical(model),
        *_further(model, ("shape", "delta")),
        *_probabilities(model, dims.CLASS),
        *_spread(model),
        *_correlations(model),
        *_tails(model),
        *_levels(model),
        *_imputed(model),
        *_residual(model, unit),
    ]


def _row(
    name: str, index: str | None, kind: Kind, parameter: str, unit: str, prior: AbstractPrior, scale: str
) -> Row:
    value = prior.value if isinstance(prior, Fixed) else None
    return Row(name, index, kind, parameter, unit, value is not None, value, prior.describe(), scale)


def _typical(model: "PopModel") -> list[Row]:
    rows = []
    for name, parameter in model.parameters.items():
        if parameter.column:
            continue  # known for each subject: there is nothing of the population
        scale = parameter.scale
        rows.append(_row(dims.pop(name), None, "pop", name, parameter.unit, parameter.prior, scale))
        for one in parameter.covariates:
            if isinstance(one, AbstractLevels) and not one.is_resolved:
                raise ValueError(
                    f"The levels of {one.column} are not known yet: use model.resolved(data), or name them "
                    "with others=."
                )
        for coefficient in model.coefficients(name):
            rows += [
                _row(coefficient.name, index, "beta", name, "", coefficient.prior, scale)
                for index in coefficient.labels or (None,)
            ]
    return rows


def _further(model: "PopModel", kinds: tuple[str, ...]) -> list[Row]:
    """Shapes and steps, with the coefficients of the classes' odds."""
    mixed = {one.name for one in model.mixture.odds.coefficients} if model.mixture else set()
    return [
        row for one in model.further if one.kind in kinds or one.name in mixed for row in _rows_of(one, model)
    ]


def _rows_of(one: Further, model: "PopModel") -> list[Row]:
    scale = model.parameters[one.parameter].scale if one.parameter else ""
    return [
        _row(one.name, index, cast(Kind, one.kind), one.parameter, "", one.prior, scale)
        for index in one.labels or (None,)
    ]


def _probabilities(model: "PopModel", of: str) -> list[Row]:
    return [
        Row(odds.name, label, "prob", "", "", False, None, odds.describe(), "")
        for odds in model.odds
        if odds.of == of
        for label in odds.labels
    ]


def _imputed(model: "PopModel") -> list[Row]:
    """Values of the models of covariates; coefficients of a column's regression after it."""
    rows = []
    for one in model.imputation:
        rows += _probabilities(model, one.column) if one.discrete else []
        mine = {one.typical_name, one.sd_name, *(c.name for c in one.coefficients)}
        rows += [row for each in model.further if each.name in mine for row in _rows_of(each, model)]
    return rows


def _spread(model: "PopModel") -> list[Row]:
    return [
        _row(dims.OMEGA, name, "omega", name, "", prior, model.parameters[name].scale)
        for name, prior in model.omega_priors.items()
    ]


def _correlations(model: "PopModel") -> list[Row]:
    wishart = {frozenset(names): prior.describe() for names, prior in model.covariance_priors}
    rows = []
    for block, lkj in model.correlated_blocks:
        prior = wishart.get(frozenset(block), f"LKJ({lkj:g})")
        rows += [
            Row(dims.CORR, (block[low], block[high]), "corr", "", "", False, None, prior, "")
            for high in range(1, len(block))
            for low in range(high)
        ]
    for block, matrix in model.fixed_correlations:
        rows += [
            Row(
                dims.CORR,
                (block[low], block[high]),
                "corr",
                "",
                "",
                True,
                float(matrix[low, high]),
                "FIX",
                "",
            )
            for high in range(1, len(block))
            for low in range(high)
        ]
    return rows


def _tails(model: "PopModel") -> list[Row]:
    return [_row(dims.nu(names), None, "nu", "", "", prior, "") for names, prior in model.tails]


def _levels(model: "PopModel") -> list[Row]:
    rows = []
    for one in model.groupings:
        for name, prior in one.priors.items():
            rows.append(_row(one.sd, name, "level", name, "", prior, model.parameters[name].scale))
        if one.block.correlated:
            rows += [
                Row(
                    one.corr,
                    (one.names[low], one.names[high]),
                    "corr",
                    "",
                    "",
                    False,
                    None,
                    f"LKJ({one.block.lkj:g})",
                    "",
                )
                for high in range(1, len(one.names))
                for low in range(high)
            ]
    return rows


def _residual(model: "PopModel", unit: str | Mapping[str, str]) -> list[Row]:
    observation = model.observation
    limits = observation.limits
    rows = []
    for kind in observation.kinds:
        own = unit if isinstance(unit, str) else unit.get(kind.endpoint, "")
        for name, prior in kind.priors.items():
            shown = own if name in observation.in_units else ""
            scale = "identity" if limits[name][0] < 0 else ""
            rows.append(_row(name, None, "sigma", "", shown, prior, scale))
    return rows
