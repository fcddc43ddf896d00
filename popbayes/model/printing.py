"""A model as the equations of a paper: structure, parameters, random effects, residual error, priors."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from popbayes.model.popmodel import PopModel


def text_lines(model: "PopModel") -> list[str]:
    """Lines of text."""
    return [*model.structural.equations()]


def latex(model: "PopModel") -> str:
    """An ``aligned`` block."""
    return "\n".join(model.structural.latex())
