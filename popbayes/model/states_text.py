"""Classes and the models of covariates as lines of a printed model."""

from typing import TYPE_CHECKING

from popbayes import dims
from popbayes.parameters.impute import Impute
from popbayes.parameters.odds import Odds

if TYPE_CHECKING:
    from popbayes.model.popmodel import PopModel

LAWS = {"lognormal": "LogNormal", "normal": "Normal"}
"""Names of the laws of numbers, as they are printed."""


def class_text(name: str, model: "PopModel") -> str:
    """What the class adds to the location of a parameter; empty where there is nothing."""
    mixture = model.mixture
    if mixture is None or name not in mixture.names:
        return ""
    if mixture.classes == 2:
        return f"δ_{name} [class_i = 2]"
    return f"Σ_(1<k≤class_i) δ_{name},k" if name == mixture.names[0] else f"δ_{name},class_i"


def class_latex(name: str, model: "PopModel") -> str:
    """The same in LaTeX."""
    mixture = model.mixture
    if mixture is None or name not in mixture.names:
        return ""
    if mixture.classes == 2:
        return rf"\delta_{{{name}}} [k_i = 2]"
    first = name == mixture.names[0]
    return rf"\sum_{{1 < k \le k_i}} \delta_{{{name},k}}" if first else rf"\delta_{{{name},k_i}}"


def states_text(model: "PopModel") -> list[str]:
    """How the class and the imputed covariates are distributed."""
    lines = []
    if model.mixture is not None:
        way = "   [one prediction for each class]" if model.mixture.centred is False else ""
        lines += [f"class_i ~ {_categorical(model.mixture.odds)}, summed out{way}"]
    for one in model.imputation:
        lines.append(_imputed_text(one))
    return lines


def states_latex(model: "PopModel") -> list[str]:
    """The same in LaTeX."""
    lines = []
    if model.mixture is not None:
        lines.append(r"k_i &\sim \mathrm{Categorical}(p)")
    for one in model.imputation:
        column = rf"\mathrm{{{one.column}}}"
        if one.discrete:
            lines.append(rf"{column}_i &\sim \mathrm{{Categorical}}(p_{{{column}}})")
            continue
        law = LAWS[one.law]
        centre = rf"\theta_{{{column}}}" if not one.covariates else rf"\theta_{{{column}}} + \ldots"
        lines.append(rf"{column}_i &\sim \mathrm{{{law}}}({centre}, s_{{{column}}}^2)")
    return lines


def odds_priors(model: "PopModel") -> list[str]:
    """Priors of the probabilities."""
    return [f"{_symbol(odds)} ~ {odds.describe()}" for odds in model.odds]


def _symbol(odds: Odds) -> str:
    return "p" if odds.of == dims.CLASS else f"p_{odds.of}"


def _categorical(odds: Odds) -> str:
    if not odds.covariates:
        return f"Categorical({_symbol(odds)})"
    target = odds.of + ("k" if odds.of == dims.CLASS else "_l")
    factors = " · ".join(one.written(target) for one in odds.covariates)
    return f"Categorical(odds {_symbol(odds)},k / {_symbol(odds)},1 · {factors})"


def _imputed_text(one: Impute) -> str:
    end = ", where missing summed out" if one.discrete else ", where missing sampled"
    if one.discrete:
        return f"{one.column}_i ~ {_categorical(one.odds)}{end}"
    law = LAWS[one.law]
    logs = [f"log {effect.written(one.column)}" for effect in one.covariates]
    if one.law == "lognormal":
        centre = " · ".join([f"θ_{one.column}", *(effect.written(one.column) for effect in one.covariates)])
    else:
        centre = " + ".join([f"θ_{one.column}", *logs])
    return f"{one.column}_i ~ {law}({centre}, s_{one.column}²){end}"
