"""Equations as text and in LaTeX: symbols of parameters, and formulas that are written as expressions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytensor.tensor as pt

from popbayes.engine.declaration import Symbols
from popbayes.structural.formula import LINE, SYMBOLS, TIGHTNESS, Program, operation_text

if TYPE_CHECKING:
    from popbayes.structural.ode_base import AbstractOde

ATOM = 9
NAMED = {
    "gamma": (r"\gamma", ""),
    "Circ0": (r"\mathrm{Circ}", "0"),
    "lambda_": (r"\lambda", ""),
    "lambda0": (r"\lambda", "0"),
    "lambda1": (r"\lambda", "1"),
}
"""Parameters whose symbol does not follow from their name."""
COMPARED = {"gt": ">", "ge": r"\ge", "lt": "<", "le": r"\le"}


def split_symbol(name: str) -> tuple[str, str]:
    r"""Symbol of a parameter and its subscript: ``ka`` -> ``k`` and ``a``, ``slope`` -> the word alone."""
    if name in NAMED:
        return NAMED[name]
    if name.islower() and name.isalpha() and len(name) > 3 and not name.startswith("k"):
        return rf"\mathrm{{{name}}}", ""
    found = re.fullmatch(r"([A-Z]+|[a-z])(.*)", name)
    base, below = found.groups() if found else (name, "")
    base = rf"\mathrm{{{base}}}" if len(base) > 1 else base
    below = below.replace("_", r"\_")
    return base, rf"\mathrm{{{below}}}" if len(below) > 1 and below.isalpha() else below


def symbol(name: str) -> str:
    """A parameter's symbol: ``ka`` -> ``k_{a}``."""
    base, below = split_symbol(name)
    return f"{base}_{{{below}}}" if below else base


def upright(name: str) -> str:
    """A state's or an output's name."""
    escaped = name.replace("_", r"\_")
    return rf"\mathrm{{{escaped}}}"


def tree(program: Program) -> Any:
    """A formula as nested tuples, ``(operation, argument, ...)``: equal where the formulas are the same."""
    found: list[Any] = []

    def node(argument: str | float) -> Any:
        if isinstance(argument, str) and argument.startswith(LINE):
            return found[int(argument[len(LINE) :])]
        return argument

    for name, *arguments in program.lines:
        found.append((name, *map(node, arguments)))
    return node(program.result)


def written(node: Any, named: Mapping[Any, str], tightness: int = 0) -> str:
    """A formula in LaTeX; what is in `named` (symbols, and formulas that have a name) by its name."""
    if node in named:
        return named[node]
    if not isinstance(node, tuple):
        return node if isinstance(node, str) else _number(node)
    text, own = _operation(*node, named=named)
    return text if own >= tightness else rf"\left({text}\right)"


def _number(value: float) -> str:
    text = f"{value:g}"
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    return rf"{mantissa} \times 10^{{{int(exponent)}}}"


def _operation(name: str, *arguments: Any, named: Mapping[Any, str]) -> tuple[str, int]:
    """LaTeX of one operation, and how tightly it holds together."""
    tightness = TIGHTNESS.get(name, ATOM)
    plain = [written(one, named) for one in arguments]
    if name in ("sqr", "pow"):
        return f"{written(arguments[0], named, ATOM)}^{{{'2' if name == 'sqr' else plain[1]}}}", 3
    if name == "true_div":
        return rf"\frac{{{plain[0]}}}{{{plain[1]}}}", 4
    if name == "switch":
        condition, yes, no = plain
        return rf"\begin{{cases}} {yes} & {condition} \\ {no} & \text{{else}} \end{{cases}}", ATOM
    if name == "neg":
        return f"-{written(arguments[0], named, tightness)}", tightness
    if name in SYMBOLS:
        return _joined(name, arguments, named), tightness
    known = {
        "exp": (f"e^{{{plain[0]}}}", 3),
        "sqrt": (rf"\sqrt{{{plain[0]}}}", ATOM),
        "abs": (rf"\left|{plain[0]}\right|", ATOM),
        "log1p": (rf"\log\left(1 + {plain[0]}\right)", ATOM),
    }
    word = {"maximum": r"\max", "minimum": r"\min", "log": r"\log"}.get(name)
    word = word or rf"\mathrm{{{name.replace('_', '')}}}"
    return known.get(name, (rf"{word}\left({', '.join(plain)}\right)", ATOM))


def _joined(name: str, arguments: Sequence[Any], named: Mapping[Any, str]) -> str:
    """A sum, a difference, a product or a comparison; ``a + -b`` becomes ``a - b``."""
    tightness = TIGHTNESS[name]
    sign = COMPARED.get(name, {"mul": r"\,"}.get(name, SYMBOLS[name]))
    text = written(arguments[0], named, tightness)
    for one in arguments[1:]:
        own = written(one, named, tightness + (name == "sub"))
        if own.startswith("-"):
            text += f" - {own[1:]}" if name == "add" else rf" {sign} \left({own}\right)"
        else:
            text += f" {sign} {own}"
    return text


@dataclass(frozen=True)
class Parts:
    """What the equations of a model are made of, as trees: rates by state, filled states, its own outputs."""

    rates: dict[str, Any]
    initial: dict[str, Any]
    outputs: dict[str, Any]
    first: tuple[str, Any]

    @classmethod
    def of(cls, model: "AbstractOde") -> "Parts":
        """Call the model's functions with symbols."""
        p = {name: pt.dscalar(name) for name in (*model.parameters, *model.covariates)}
        states = {name: pt.dscalar(name) for name in model.states}
        t, given = pt.dscalar("t"), model.driver.outputs if model.driver else ()
        names = {
            t: "t",
            **{v: f"state.{name}" for name, v in states.items()},
            **{v: f"p.{name}" for name, v in p.items()},
        }

        def trees(values: Mapping[str, Any]) -> dict[str, Any]:
            return {name: tree(Program.of(value, names, name)) for name, value in values.items()}

        outputs = trees(model.observables(t, Symbols(states), Symbols(p)))
        filled = {name: one for name, one in model.initials(Symbols(p)).items() if one != 0.0}
        # an output that is a state itself needs no line
        own = {n: one for n, one in outputs.items() if n not in given and one != f"state.{n}"}
        rates = trees(model.derivatives(t, Symbols(states), Symbols(p)))
        return cls(rates, trees(filled), own, next(iter(outputs.items())))


def equations(model: "AbstractOde", amounts: Sequence[str] = ()) -> list[str]:
    """The equations of a model in LaTeX: of its driver, rates of change, filled states, outputs.

    The first output, the concentration, stands by its name in the others.

    Parameters
    ----------
    amounts : sequence of str
        States that are written as amounts, ``A_{central}``; those of a driver always are.
    """
    parts, driver = Parts.of(model), model.driver
    amounts = (*amounts, *(driver.states if driver else ()))
    symbols = {f"p.{name}": symbol(name) for name in (*model.parameters, *model.covariates)}
    states = {name: rf"A_{{{name}}}" if name in amounts else upright(name) for name in model.states}
    symbols |= {f"state.{name}": text for name, text in states.items()}
    named = dict(symbols) | _by_name(parts, "C" if driver else upright(parts.first[0]))
    return [
        *(driver.latex() if driver else ()),
        *(rf"\frac{{d\,{states[n]}}}{{dt}} = {written(one, named)}" for n, one in parts.rates.items()),
        *(f"{states[n]}(0) = {written(one, named)}" for n, one in parts.initial.items()),
        *(
            f"{upright(n)} = {written(one, symbols if one == parts.first[1] else named)}"
            for n, one in parts.outputs.items()
        ),
    ]


def lines(model: "AbstractOde") -> list[str]:
    """The same as text."""
    parts = Parts.of(model)
    named = _by_name(parts, parts.first[0])
    return [
        *(model.driver.equations() if model.driver else ()),
        *(f"d{n}/dt = {text(one, named)}" for n, one in parts.rates.items()),
        *(f"{n}(0) = {text(one, named)}" for n, one in parts.initial.items()),
        *(f"{n} = {text(one, {} if one == parts.first[1] else named)}" for n, one in parts.outputs.items()),
    ]


def _by_name(parts: Parts, name: str) -> dict[Any, str]:
    """The first output by its name, where it is a formula."""
    return {parts.first[1]: name} if isinstance(parts.first[1], tuple) else {}


def text(node: Any, named: Mapping[Any, str]) -> str:
    """A formula as one line of text; what is in `named` by its name."""

    def shown(argument: Any, tightness: int) -> str:
        if argument in named:
            return named[argument]
        if isinstance(argument, tuple):
            words, own = operation_text(argument[0], list(argument[1:]), shown)
            return words if own >= tightness else f"({words})"
        return argument.rsplit(".", 1)[-1] if isinstance(argument, str) else f"{argument:g}"

    return shown(node, 0)
