"""A model as the equations of a paper: structure, parameters, random effects, observations, priors."""

import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from popbayes import dims
from popbayes.model.effects_text import effects_latex, effects_text, eta_latex, eta_names, grouping_priors
from popbayes.model.states_text import class_latex, class_text, odds_priors, states_latex, states_text
from popbayes.parameters.effect import latex_column
from popbayes.parameters.family import AbstractPrior
from popbayes.parameters.parameter import Parameter
from popbayes.parameters.priors import Fixed
from popbayes.structural.typeset import split_symbol

if TYPE_CHECKING:
    from popbayes.model.popmodel import PopModel

NORMAL_90 = 1.6448536269514722
"""Standard deviations of a normal within which 90 % lie."""


def text_lines(model: "PopModel") -> list[str]:
    """The model as lines of text; known values are marked FIX, and what a prior implies stands after it."""
    title = model.name or "Population model"
    outputs = ", ".join(model.observation.endpoints)
    return [
        title,
        f"Structure: {type(model.structural).__name__}",
        *_indented(model.structural.equations()),
        "Parameters of subject i",
        *_indented(_parameter_text(name, one, model) for name, one in model.parameters.items()),
        *_indented(effects_text(model)),
        *_indented(states_text(model)),
        f"Observations j of subject i: {outputs} at their times",
        *_indented(model.observation.text_lines()),
        "Priors",
        *_indented(_priors_text(model)),
    ]


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _parameter_text(name: str, parameter: Parameter, model: "PopModel") -> str:
    typical = _typical_text(name, parameter)
    factors = [one.written(name) for one in parameter.covariates]
    eta = " + ".join(_added(name, parameter, eta_names(name, model), class_text(name, model)))
    if parameter.column:
        return f"{name}_i = {parameter.column}_i (known){f' + {eta}' if eta else ''}"
    if parameter.is_logarithmic:
        effect = [f"exp({eta})"] if eta else []
        return f"{name}_i = {' · '.join([typical, *factors, *effect])}"
    if parameter.scale == "identity":
        return f"{name}_i = {' · '.join([typical, *factors])}{f' + {eta}' if eta else ''}"
    inside = [f"logit({typical})", *(f"log {one}" for one in factors), *([eta] if eta else [])]
    if (parameter.lower, parameter.upper) == (0.0, 1.0):
        return f"{name}_i = expit({' + '.join(inside)})"
    width = f"{parameter.upper - parameter.lower:g}"
    inside[0] = f"logit(({typical} - {parameter.lower:g}) / {width})"
    return f"{name}_i = {parameter.lower:g} + {width} · expit({' + '.join(inside)})"


def _added(name: str, parameter: Parameter, etas: list[str], of_class: str) -> list[str]:
    """What is added to a location: the class, and random effects, the subject's skewed by Box-Cox."""
    own = f"η_{name},i"
    if parameter.scale == "boxcox" and own in etas:
        shape = f"{parameter.shape.value:.6g}" if isinstance(parameter.shape, Fixed) else f"λ_{name}"
        etas = [f"(exp({own})^{shape} - 1) / {shape}" if one == own else one for one in etas]
    return [*([of_class] if of_class else []), *etas]


def _typical_text(name: str, parameter: Parameter) -> str:
    return f"{parameter.prior.value:.6g}" if isinstance(parameter.prior, Fixed) else dims.pop(name)


def _priors_text(model: "PopModel") -> list[str]:
    """One line for each prior, known values included."""
    lines = []
    for name, parameter in model.parameters.items():
        if parameter.column:
            continue
        lines.append(_prior_text(dims.pop(name), parameter.prior, parameter.unit))
        each = model.coefficients(name)
        lines += [_prior_text(f"β_{name},{one.symbol}", one.prior, "") for one in each if not one.joint]
        lines += [f"β_{name},{one.symbol} ~ {one.prior.describe()}" for one in each if one.joint]
    lines += [_prior_text(one.symbol, one.prior, "") for one in model.further]
    lines += odds_priors(model)
    for name, prior in model.omega_priors.items():
        line = _prior_text(f"ω_{name}", prior, "")
        lines.append(f"{line}{_spread_text(prior) if model.parameters[name].scale == 'log' else ''}")
    wishart = {frozenset(names) for names, _ in model.covariance_priors}
    for number, (block, lkj) in enumerate(model.correlated_blocks, start=1):
        if frozenset(block) in wishart:
            continue
        which = f" of {', '.join(block)}" if len(model.correlated_blocks) > 1 else ""
        lines.append(f"R{number if which else ''} ~ LKJ({lkj:g}){which}")
    lines += [
        f"covariance of {', '.join(names)} ~ {prior.describe()}" for names, prior in model.covariance_priors
    ]
    symbols = model.observation.symbols
    return [
        *lines,
        *(_prior_text(label, prior, "") for label, prior in grouping_priors(model)),
        *(f"R_{one.block.index} ~ LKJ({one.block.lkj:g})" for one in model.groupings if one.block.correlated),
        *(_prior_text(f"ν of {', '.join(names)}", nu, "") for names, nu in model.tails),
        *(one.text() for one in model.derived),
        *(_prior_text(symbols[name][0], prior, "") for name, prior in model.observation.priors.items()),
    ]


def _prior_text(name: str, prior: AbstractPrior, unit: str) -> str:
    after = f" {unit}" if unit else ""
    if isinstance(prior, Fixed):
        return f"{name} = {prior.value:.6g}{after} FIX"
    if not prior.proper:
        return f"{name} ~ {prior.describe()}{after}   (improper)"
    low, high = prior.quantile([0.05, 0.95])
    return f"{name} ~ {prior.describe()}{after}   (90 %: {low:.3g} to {high:.3g})"


def _spread_text(prior: AbstractPrior) -> str:
    """What an SD on the log scale means: how far apart subjects are."""
    if not prior.proper:
        return ""
    fold = math.exp(NORMAL_90 * float(prior.quantile(0.5)))
    return f"; at its median 90 % of subjects are within a factor {fold:.3g} of typical"


def latex(model: "PopModel") -> str:
    """The model as an ``aligned`` block."""
    lines = [
        *(f"& {line}" for line in model.structural.latex()),
        *(_parameter_latex(name, one, model) for name, one in model.parameters.items()),
        *effects_latex(model),
        *states_latex(model),
        *model.observation.latex_lines(),
        *_priors_latex(model),
    ]
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"


def symbol(name: str, *subscripts: str) -> str:
    """A parameter's symbol in LaTeX: ``V1, i`` -> ``V_{1,i}``, ``ka`` -> ``k_{a}``."""
    base, sub = split_symbol(name)
    below = ",".join([*([sub] if sub else []), *subscripts])
    return f"{base}_{{{below}}}" if below else base


def _parameter_latex(name: str, parameter: Parameter, model: "PopModel") -> str:
    left = symbol(name, "i")
    typical = _typical_latex(name, parameter)
    factors = [one.written_latex(name) for one in parameter.covariates]
    eta = " + ".join(_added_latex(name, parameter, model))
    if parameter.column:
        return rf"{left} &= {latex_column(parameter.column)}_i{f' + {eta}' if eta else ''}"
    if parameter.is_logarithmic:
        return rf"{left} &= {r' \, '.join([typical, *factors, *([f'e^{{{eta}}}'] if eta else [])])}"
    if parameter.scale == "identity":
        return rf"{left} &= {r' \, '.join([typical, *factors])}{f' + {eta}' if eta else ''}"
    logs = [rf"\log {one}" for one in factors]
    if (parameter.lower, parameter.upper) == (0.0, 1.0):
        inside = [rf"\mathrm{{logit}}({typical})", *logs, *([eta] if eta else [])]
        return rf"{left} &= \mathrm{{expit}}\left({' + '.join(inside)}\right)"
    width = f"{parameter.upper - parameter.lower:g}"
    first = rf"\mathrm{{logit}}\frac{{{typical} - {parameter.lower:g}}}{{{width}}}"
    inside = [first, *logs, *([eta] if eta else [])]
    return rf"{left} &= {parameter.lower:g} + {width} \, \mathrm{{expit}}\left({' + '.join(inside)}\right)"


def _added_latex(name: str, parameter: Parameter, model: "PopModel") -> list[str]:
    etas, own, of_class = eta_latex(name, model), rf"\eta_{{{name},i}}", class_latex(name, model)
    if parameter.scale == "boxcox":
        power = rf"\lambda_{{{name}}}"
        skewed = rf"\left((e^{{{own}}})^{{{power}}} - 1\right) / {power}"
        etas = [skewed if one == own else one for one in etas]
    return [*([of_class] if of_class else []), *etas]


def _typical_latex(name: str, parameter: Parameter) -> str:
    fixed = isinstance(parameter.prior, Fixed)
    return f"{parameter.prior.value:.6g}" if fixed else symbol(name, r"\mathrm{pop}")


def _priors_latex(model: "PopModel") -> list[str]:
    lines = []
    for name, parameter in model.parameters.items():
        if parameter.column:
            continue
        unit = rf"\ \text{{{re.sub('([%_#&$])', r'\\\1', parameter.unit)}}}" if parameter.unit else ""
        lines.append(_prior_latex(symbol(name, r"\mathrm{pop}"), parameter.prior) + unit)
        for one in model.coefficients(name):
            lines.append(_prior_latex(rf"\beta_{{{name},{latex_column(one.symbol)}}}", one.prior))
    lines += [_prior_latex(_further_latex(one.symbol), one.prior) for one in model.further]
    lines += [rf"p_{{\mathrm{{{one.of}}}}} &\sim \mathrm{{{one.describe()}}}" for one in model.odds]
    lines += [_prior_latex(rf"\omega_{{{name}}}", prior) for name, prior in model.omega_priors.items()]
    wishart = {frozenset(names): prior for names, prior in model.covariance_priors}
    for block, lkj in model.correlated_blocks:
        of, prior = ",".join(block), wishart.get(frozenset(block))
        lines.append(
            rf"R_{{{of}}} &\sim \mathrm{{LKJ}}({lkj:g})"
            if prior is None
            else rf"\Omega_{{{of}}} &\sim {prior.latex()}"
        )
    lines += [rf"\mathrm{{{one.name.replace('_', ' ')}}} &\sim {one.prior.latex()}" for one in model.derived]
    lines += [_prior_latex(rf"\text{{{label}}}", prior) for label, prior in grouping_priors(model)]
    lines += [_prior_latex(rf"\nu_{{{','.join(names)}}}", nu) for names, nu in model.tails]
    symbols = model.observation.symbols
    sigmas = model.observation.priors.items()
    return [*lines, *(_prior_latex(symbols[name][1], prior) for name, prior in sigmas)]


def _further_latex(symbol: str) -> str:
    r"""``δ_CL`` -> ``\delta_{\mathrm{CL}}``."""
    letters = {"λ": r"\lambda", "δ": r"\delta", "θ": r"\theta", "β": r"\beta", "s": "s"}
    letter, _, below = symbol.partition("_")
    return rf"{letters[letter]}_{{{latex_column(below)}}}"


def _prior_latex(name: str, prior: AbstractPrior) -> str:
    return f"{name} &{'=' if isinstance(prior, Fixed) else r'\sim'} {prior.latex()}"
