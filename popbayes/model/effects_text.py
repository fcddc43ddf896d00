"""Random effects as lines of a printed model: of subjects, occasions, sites and studies."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from popbayes.parameters.family import AbstractPrior
from popbayes.parameters.grouped import Occasion
from popbayes.parameters.random_effects import Fixed

if TYPE_CHECKING:
    from popbayes.model.levels import Grouping
    from popbayes.model.popmodel import PopModel


def eta_names(name: str, model: "PopModel") -> list[str]:
    """The random effects of a parameter in its equation."""
    own = [f"η_{name},i"] if name in model.eta_names else []
    return own + [f"{_greek(one)}_{name},{one.block.index}" for one in model.groupings if name in one.names]


def eta_latex(name: str, model: "PopModel") -> list[str]:
    """The same in LaTeX."""
    own = [rf"\eta_{{{name},i}}"] if name in model.eta_names else []
    return own + [
        rf"{_latex(one)}_{{{name},\mathrm{{{one.block.index}}}}}"
        for one in model.groupings
        if name in one.names
    ]


def grouping_priors(model: "PopModel") -> list[tuple[str, AbstractPrior]]:
    """Priors of the SDs of occasions, sites and studies, with what they are called."""
    return [(_sd(one, name), prior) for one in model.groupings for name, prior in one.priors.items()]


def effects_text(model: "PopModel") -> list[str]:
    """How the random effects are distributed; those that belong together on one line."""
    lines = []
    for block in model.subject_blocks:
        names = [name for name in model.eta_names if name in block.names]
        way = {True: "   [centred]", False: "   [non-centred]", None: ""}[block.centred]
        together = block.correlated or (tuple(names) if isinstance(block, Fixed) and block.corr else ())
        law = "Normal(" if block.nu is None else "Student-t(ν, "
        if together:
            some = [name for name in names if name in together]
            effects, sds = (
                ", ".join(f"{sign}_{name}{end}" for name in some) for sign, end in (("η", ",i"), ("ω", ""))
            )
            lines.append(f"({effects}) ~ {law}0, D R D), D = diag({sds}){way}")
        lines += [f"η_{name},i ~ {law}0, ω_{name}²){way}" for name in names if name not in together]
    return [*lines, *(line for one in model.groupings for line in _grouping_text(one))]


def _grouping_text(one: "Grouping") -> Iterable[str]:
    way = {True: "   [centred]", False: "   [non-centred]", None: ""}[one.block.centred]
    effects = [f"{_greek(one)}_{name},{one.block.index}" for name in one.names]
    sds = [_sd(one, name) for name in one.names]
    if one.block.correlated:
        which = f"R_{one.block.index}"
        return [f"({', '.join(effects)}) ~ Normal(0, D {which} D), D = diag({', '.join(sds)}){way}"]
    return [f"{effect} ~ Normal(0, {sd}²){way}" for effect, sd in zip(effects, sds, strict=True)]


def effects_latex(model: "PopModel") -> list[str]:
    """The same in LaTeX."""
    lines = []
    for block in model.subject_blocks:
        names = [name for name in model.eta_names if name in block.names]
        together = block.correlated or (tuple(names) if isinstance(block, Fixed) and block.corr else ())
        some = [name for name in names if name in together]
        law = r"\mathrm{Normal}(0,\ " if block.nu is None else r"t_\nu(0,\ "
        if some:
            etas, sds = (", ".join(form % name for name in some) for form in (r"\eta_{%s,i}", r"\omega_{%s}"))
            lines.append(rf"({etas}) &\sim {law}D R D), \quad D = \mathrm{{diag}}({sds})")
        lines += [
            rf"\eta_{{{name},i}} &\sim {law}\omega_{{{name}}}^2)" for name in names if name not in together
        ]
    for one in model.groupings:
        lines += [
            rf"{_latex(one)}_{{{name},\mathrm{{{one.block.index}}}}} &\sim "
            rf"\mathrm{{Normal}}(0,\ \text{{{_sd(one, name)}}}^2)"
            for name in one.names
        ]
    return lines


def _greek(one: "Grouping") -> str:
    return "κ" if isinstance(one.block, Occasion) else "η"


def _latex(one: "Grouping") -> str:
    return r"\kappa" if isinstance(one.block, Occasion) else r"\eta"


def _sd(one: "Grouping", name: str) -> str:
    return f"γ_{name}" if isinstance(one.block, Occasion) else f"ω_{name},{one.block.index}"
