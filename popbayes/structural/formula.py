"""Formulas as values: a scalar expression as a list of operations, which compares, hashes and goes into JSON.

A function that a user writes is called once, with symbols; what it returned is kept as a `Program`, not the
function. So two models with the same formulas are equal, share compiled code and survive in a file.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytensor.tensor as pt
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.traversal import toposort
from pytensor.tensor.elemwise import DimShuffle, Elemwise

from popbayes.engine.expression import simplify

NAMES = {
    "Add": "add", "Mul": "mul", "Sub": "sub", "TrueDiv": "true_div", "Neg": "neg", "Sqr": "sqr", "Pow": "pow",
    "Reciprocal": "reciprocal", "Switch": "switch", "GT": "gt", "GE": "ge", "LT": "lt", "LE": "le",
    "EQ": "eq", "NEQ": "neq", "ScalarMaximum": "maximum", "ScalarMinimum": "minimum", "Abs": "abs",
    "AND": "and_", "OR": "or_", "XOR": "xor", "Invert": "invert",
}  # fmt: skip
"""Class of a scalar operation -> its function in pytensor.tensor, if not its name in lower case."""
SYMBOLS = {"add": "+", "sub": "-", "mul": "*", "true_div": "/", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
TIGHTNESS = {"add": 1, "sub": 1, "neg": 2, "mul": 2, "true_div": 2, "gt": 0, "ge": 0, "lt": 0, "le": 0}
ATOM = 9
LINE = "#"


@dataclass(frozen=True)
class Program:
    """A scalar formula.

    Attributes
    ----------
    lines : tuple of tuples
        Name of an operation and its arguments: names of symbols, numbers, or ``"#3"`` for line 3.
    result : str or float
        What the formula is: an argument of the same kinds.
    """

    lines: tuple[tuple[Any, ...], ...]
    result: str | float

    @classmethod
    def of(cls, expression: Any, names: Mapping[Variable, str], what: str) -> "Program":
        """Write down `expression`.

        Raises
        ------
        TypeError
            It is not a number and not a scalar expression of `names`; the message says `what` it is.
        """
        if isinstance(expression, bool) or not isinstance(expression, int | float | Variable):
            try:
                expression = float(expression)
            except (TypeError, ValueError):
                raise TypeError(
                    f"{what} must be a number or a scalar expression, not {expression!r}."
                ) from None
        if isinstance(expression, int | float):
            if not math.isfinite(expression):
                raise ValueError(f"{what} is {expression}, which is no finite number.")
            return cls((), float(expression))
        if expression.type.ndim != 0:
            raise TypeError(
                f"{what} is an array with {expression.type.ndim} dimension(s); write scalar arithmetic."
            )
        (root,) = simplify([expression])
        known: dict[Variable, str | float] = dict(names)
        lines: list[tuple[Any, ...]] = []
        for node in toposort([root], blockers=list(names)):
            arguments = [known[v] if v in known else _number(v, what) for v in node.inputs]
            (out,) = node.outputs
            if _cuts(node):
                raise TypeError(
                    f"{what} makes whole numbers of others (a cast to {node.outputs[0].dtype}). Write "
                    "pt.floor or pt.trunc."
                )
            if _passes(node):
                known[out] = arguments[0]
                continue
            lines.append((_name_of(node, what), *arguments))
            known[out] = f"{LINE}{len(lines) - 1}"
        return cls(tuple(lines), known[root] if root in known else _number(root, what))

    @property
    def names(self) -> set[str]:
        """Symbols that it uses."""
        used = [argument for _, *arguments in self.lines for argument in arguments] + [self.result]
        return {one for one in used if isinstance(one, str) and not one.startswith(LINE)}

    def build(self, values: Mapping[str, Any]) -> Any:
        """The expression, for symbols by name."""
        found: list[Any] = []

        def value(argument: str | float) -> Any:
            if not isinstance(argument, str):
                return pt.constant(float(argument), dtype="float64")
            return found[int(argument[1:])] if argument.startswith(LINE) else values[argument]

        for name, *arguments in self.lines:
            found.append(getattr(pt, name)(*(value(a) for a in arguments)))
        return value(self.result)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"lines": [list(line) for line in self.lines], "result": self.result}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Program":
        """Read what `to_dict` wrote."""
        for name, *_ in value["lines"]:
            if not isinstance(name, str) or name.startswith("_") or not hasattr(pt, name):
                raise ValueError(f"There is no operation {name!r} that a formula may hold.")
        return cls(tuple(tuple(line) for line in value["lines"]), value["result"])

    def __str__(self) -> str:
        """The formula as one line of text."""
        texts: list[tuple[str, int]] = []

        def shown(argument: str | float, tightness: int) -> str:
            if not isinstance(argument, str):
                return f"{argument:g}"
            if not argument.startswith(LINE):
                return argument.rsplit(".", 1)[-1]
            text, own = texts[int(argument[1:])]
            return text if own >= tightness else f"({text})"

        for name, *arguments in self.lines:
            texts.append(operation_text(name, arguments, shown))
        return shown(self.result, 0)


def operation_text(name: str, arguments: list[Any], shown: Any) -> tuple[str, int]:
    """Text of one operation, and how tightly it holds together."""
    tightness = TIGHTNESS.get(name, ATOM)
    if name == "neg":
        return f"-{shown(arguments[0], tightness)}", tightness
    if name == "sqr":
        return f"{shown(arguments[0], ATOM)}^2", 3
    if name == "pow":
        return f"{shown(arguments[0], ATOM)}^{shown(arguments[1], ATOM)}", 3
    if name in SYMBOLS:
        first = shown(arguments[0], tightness)
        # what follows a minus or a division needs its own brackets
        rest = [shown(a, tightness + (name in ("sub", "true_div"))) for a in arguments[1:]]
        return f" {SYMBOLS[name]} ".join([first, *rest]), tightness
    return f"{name}({', '.join(shown(a, 0) for a in arguments)})", ATOM


def _passes(node: Apply) -> bool:
    return isinstance(node.op, DimShuffle) or (
        isinstance(node.op, Elemwise) and type(node.op.scalar_op).__name__ in ("Identity", "Cast")
    )


def _cuts(node: Apply) -> bool:
    """Whether an operation casts numbers that may have a fraction to whole ones."""
    cast = isinstance(node.op, Elemwise) and type(node.op.scalar_op).__name__ == "Cast"
    return cast and "float" in node.inputs[0].dtype and "float" not in node.outputs[0].dtype


def _name_of(node: Apply, what: str) -> str:
    if isinstance(node.op, Elemwise):
        kind = type(node.op.scalar_op).__name__
        name = NAMES.get(kind, kind.lower())
        if hasattr(pt, name):
            return name
    raise TypeError(
        f"{what} uses {node.op}, which is not scalar arithmetic. Write it with +, -, *, /, ** and "
        "functions such as pt.exp, pt.log, pt.sqrt, pt.switch and pt.maximum."
    )


def _number(variable: Variable, what: str) -> float:
    if isinstance(variable, Constant) and variable.data.size == 1:
        return float(variable.data)
    raise TypeError(
        f"{what} uses {variable.name or variable!r}, which is neither the time nor one of its states, "
        "parameters and covariates."
    )
