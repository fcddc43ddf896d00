"""Formulas as text, read by an allow-list of operations and functions; never evaluated as Python."""

import ast
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from popbayes.wording import listed, nearest

FUNCTIONS = {
    "exp": ("exp", 1),
    "log": ("log", 1),
    "log1p": ("log1p", 1),
    "expm1": ("expm1", 1),
    "sqrt": ("sqrt", 1),
    "abs": ("abs", 1),
    "tanh": ("tanh", 1),
    "min": ("minimum", 2),
    "max": ("maximum", 2),
}
"""Name in a formula -> name in numpy and pytensor.tensor, and how many arguments it takes."""
OPERATIONS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
COMPARISONS: dict[type[ast.cmpop], tuple[Callable[[Any, Any], Any], str]] = {
    ast.Eq: (operator.eq, "eq"),
    ast.NotEq: (operator.ne, "neq"),
    ast.Lt: (operator.lt, "lt"),
    ast.LtE: (operator.le, "le"),
    ast.Gt: (operator.gt, "gt"),
    ast.GtE: (operator.ge, "ge"),
}
MOST_SHOWN = 120
"""Characters of a formula in a message."""
MOST_NODES = 500
"""Parts of a formula; a longer one is a mistake."""


@dataclass(frozen=True)
class Formula:
    """A formula that was read and found harmless.

    Attributes
    ----------
    text : str
        Numbers, names, ``+ - * / **``, comparisons (1 where true, else 0) and the functions of `FUNCTIONS`.
        A value of a text column is compared with a quoted string.
    """

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not self.text.strip():
            raise TypeError(f"A formula is text such as '(WT/70)**theta', not {self.text!r}.")
        nodes = list(ast.walk(self.tree))
        if len(nodes) > MOST_NODES:
            raise ValueError(f"The formula has {len(nodes)} parts, more than {MOST_NODES}: simplify it.")
        _check(self.tree, self.text)

    @property
    def tree(self) -> ast.expr:
        """The syntax tree.

        Raises
        ------
        ValueError
            If the text is no formula.
        """
        try:
            return ast.parse(self.text.strip(), mode="eval").body
        except SyntaxError as error:
            raise ValueError(f"The formula {shown(self.text)} cannot be read: {error.msg}.") from None

    @property
    def names(self) -> tuple[str, ...]:
        """Names that are not functions, in order of appearance."""
        nodes = list(ast.walk(self.tree))
        functions = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
        found = [n for n in nodes if isinstance(n, ast.Name) and id(n) not in functions]
        found.sort(key=lambda node: (node.lineno, node.col_offset))
        return tuple(dict.fromkeys(node.id for node in found))

    def value(self, names: Mapping[str, Any], xp: Any) -> Any:
        """The formula's value, with arrays or graph variables in place of names."""
        return _value(self.tree, names, xp)

    def log(self, names: Mapping[str, Any], xp: Any) -> Any:
        """Logarithm of the value, by the rules for products, quotients, powers and exponentials."""
        return _log(self.tree, names, xp)


def shown(text: str) -> str:
    """A formula as a message quotes it: a long one by its beginning and end."""
    half = MOST_SHOWN // 2
    return repr(text if len(text) <= MOST_SHOWN else f"{text[:half]} ... {text[-half:]}")


def _check(node: ast.expr, text: str) -> None:
    """Refuse whatever is not on the list."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            raise _refused(text, f"the constant {node.value!r}; text is compared with, as in SEX == 'F'")
        return
    if isinstance(node, ast.Name):
        return
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
        parts: Iterable[ast.expr] = (node.left, node.right)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        parts = (node.operand,)
    elif isinstance(node, ast.Compare):
        parts = _compared(node, text)
    elif isinstance(node, ast.Call):
        parts = _called(node, text)
    else:
        raise _refused(text, f"{ast.unparse(node)!r} ({type(node).__name__})")
    for part in parts:
        _check(part, text)


def _compared(node: ast.Compare, text: str) -> list[ast.expr]:
    if len(node.ops) != 1 or type(node.ops[0]) not in COMPARISONS:
        raise _refused(text, f"{ast.unparse(node)!r}: one comparison at a time")
    sides = [node.left, node.comparators[0]]
    words = [one for one in sides if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    names = [one for one in sides if isinstance(one, ast.Name)]
    if words and (len(names) != 1 or not isinstance(node.ops[0], ast.Eq | ast.NotEq)):
        raise _refused(text, f"{ast.unparse(node)!r}: text is compared with a column by == or !=")
    return [one for one in sides if one not in words]


def _called(node: ast.Call, text: str) -> list[ast.expr]:
    name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
    if name not in FUNCTIONS or node.keywords:
        raise _refused(text, f"the function {name!r}", nearest(name, FUNCTIONS))
    count = FUNCTIONS[name][1]
    if len(node.args) != count or any(isinstance(one, ast.Starred) for one in node.args):
        raise _refused(text, f"{ast.unparse(node)!r}: {name} takes {count} argument(s)")
    return node.args


def _refused(text: str, what: str, more: str = "") -> ValueError:
    return ValueError(
        f"The formula {shown(text)} has {what}, which formulas cannot have.{more} They are made of numbers, "
        f"names, + - * / **, comparisons, and {listed(FUNCTIONS)}."
    )


def _value(node: ast.expr, names: Mapping[str, Any], xp: Any) -> Any:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else np.float64(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.Name):
        return names[node.id]
    if isinstance(node, ast.BinOp):
        return OPERATIONS[type(node.op)](_value(node.left, names, xp), _value(node.right, names, xp))
    if isinstance(node, ast.UnaryOp):
        inside = _value(node.operand, names, xp)
        return -inside if isinstance(node.op, ast.USub) else inside
    if isinstance(node, ast.Compare):
        return _comparison(node, names, xp)
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    arguments = [_value(one, names, xp) for one in node.args]
    plain = all(isinstance(one, np.ndarray | np.generic) for one in arguments)
    return getattr(np if plain else xp, FUNCTIONS[node.func.id][0])(*arguments)


def _comparison(node: ast.Compare, names: Mapping[str, Any], xp: Any) -> Any:
    left, right = _value(node.left, names, xp), _value(node.comparators[0], names, xp)
    plain, symbolic = COMPARISONS[type(node.ops[0])]
    if all(isinstance(one, np.ndarray | np.generic | str) for one in (left, right)):
        return np.asarray(plain(left, right), dtype=np.float64)
    if hasattr(xp, symbolic):
        return getattr(xp, symbolic)(left, right).astype("float64")
    return np.asarray(plain(left, right), dtype=np.float64)


def _log(node: ast.expr, names: Mapping[str, Any], xp: Any) -> Any:
    if isinstance(node, ast.BinOp):
        if isinstance(node.op, ast.Mult):
            return _log(node.left, names, xp) + _log(node.right, names, xp)
        if isinstance(node.op, ast.Div):
            return _log(node.left, names, xp) - _log(node.right, names, xp)
        if isinstance(node.op, ast.Pow):
            return _value(node.right, names, xp) * _log(node.left, names, xp)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "exp":
        return _value(node.args[0], names, xp)
    inside = _value(node, names, xp)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (np if isinstance(inside, np.ndarray | np.generic) else xp).log(inside)
