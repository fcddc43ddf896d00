"""Scalar PyTensor expressions -> the source text of one straight-line numba function.

A structural model writes its formulas once, as 0-d PyTensor expressions; PyTensor differentiates
them; this module prints the graph as Python assignments, every shared subexpression once. The text
is at the same time what numba compiles and what identifies the compiled code on disk, so a changed
formula can never meet an old entry. Scalar operations outside the table (`gammaln`, `erf`, ...) are
lowered by PyTensor's own numba dispatch.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytensor.scalar as ps
import pytensor.scalar.math as psm
from pytensor.compile.ops import ViewOp
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import MergeOptimizer
from pytensor.graph.traversal import toposort
from pytensor.tensor.basic import ScalarFromTensor, TensorFromScalar
from pytensor.tensor.elemwise import DimShuffle, Elemwise


def _infix(symbol: str) -> Callable[..., str]:
    return lambda *args: f" {symbol} ".join(args)


def _call(name: str) -> Callable[..., str]:
    return lambda *args: f"{name}({', '.join(args)})"


TEMPLATES: dict[type, Callable[..., str]] = {
    ps.Add: _infix("+"),
    ps.Mul: _infix("*"),
    ps.Sub: _infix("-"),
    ps.TrueDiv: _infix("/"),
    ps.Neg: lambda x: f"-{x}",
    ps.Sqr: lambda x: f"{x} * {x}",
    ps.Sqrt: _call("math.sqrt"),
    ps.Exp: _call("exp"),
    ps.Expm1: _call("math.expm1"),
    ps.Log: _call("log"),
    ps.Log1p: _call("log1p"),
    ps.Cos: _call("math.cos"),
    ps.Sin: _call("math.sin"),
    ps.Clip: lambda x, low, high: f"({low} if {x} < {low} else ({high} if {x} > {high} else {x}))",
    ps.Tanh: _call("math.tanh"),
    ps.Abs: _call("abs"),
    ps.Pow: lambda x, y: f"power({x}, {y})",
    ps.Reciprocal: lambda x: f"1.0 / {x}",
    ps.Switch: lambda c, x, y: f"({x} if {c} else {y})",
    ps.GT: _infix(">"),
    ps.GE: _infix(">="),
    ps.LT: _infix("<"),
    ps.LE: _infix("<="),
    ps.EQ: _infix("=="),
    ps.NEQ: _infix("!="),
    ps.AND: lambda x, y: f"({x} != 0) and ({y} != 0)",
    ps.OR: lambda x, y: f"({x} != 0) or ({y} != 0)",
    ps.XOR: lambda x, y: f"({x} != 0) != ({y} != 0)",
    ps.Invert: lambda x: f"not {x}",
    ps.ScalarMaximum: lambda x, y: f"({x} if {x} >= {y} else {y})",
    ps.ScalarMinimum: lambda x, y: f"({x} if {x} <= {y} else {y})",
    ps.Sign: lambda x: f"(1.0 if {x} > 0.0 else (-1.0 if {x} < 0.0 else 0.0))",
    psm.Sigmoid: lambda x: f"1.0 / (1.0 + exp(-{x}))",
}
"""How a scalar operation is printed. All arguments are names or literals, never compound."""


ONE = "(1.0)"


@dataclass
class Body:
    """Assignments of one function: `lines` in order, and the objects that they name in `env`."""

    lines: list[str]
    results: list[str]
    env: dict[str, Any] = field(default_factory=dict)


def _is_passthrough(op: object) -> bool:
    return isinstance(op, DimShuffle | ScalarFromTensor | TensorFromScalar | ViewOp)


def _literal(constant: Constant) -> str:
    value = constant.data
    if getattr(value, "ndim", 0) or getattr(value, "size", 1) != 1:
        raise TypeError(
            "A formula of a structural model must be made of scalars; "
            f"it holds an array of shape {value.shape}."
        )
    number = float(value)
    text = repr(number)
    # inf and nan have no literal in Python; numba knows math.inf and math.nan
    return f"math.{text}" if text in ("inf", "nan") else ("(-math.inf)" if text == "-inf" else f"({text})")


def _lower_foreign(op: ps.ScalarOp, node: Apply, position: int, env: dict[str, Any]) -> Callable[..., str]:
    """Use PyTensor's own numba lowering for an operation that has no template."""
    from pytensor.link.numba.dispatch.basic import numba_funcify

    inputs = [ps.float64() for _ in node.inputs]
    scalar_node = op.make_node(*inputs)
    name = f"foreign_{type(op).__name__}_{position}"
    env[name] = numba_funcify(op, node=scalar_node)
    return _call(name)


def _scalar_op(node: Apply) -> ps.ScalarOp:
    op = node.op
    if isinstance(op, Elemwise):
        return op.scalar_op
    if isinstance(op, ps.ScalarOp):
        return op
    raise TypeError(
        f"A formula of a structural model must be scalar arithmetic; {op} works on arrays. "
        "Write it with +, -, *, /, ** and functions like pt.exp on the scalar states and parameters."
    )


def simplify(outputs: Sequence[Variable]) -> list[Variable]:
    """Merge equal subexpressions; nothing is rearranged.

    PyTensor's algebraic rewrites are left out on purpose: terms that must cancel to the last bit (the
    modes of a dose that has not arrived) would be written in different ways.
    """
    graph = FunctionGraph(outputs=list(outputs), clone=True, copy_inputs=False)
    MergeOptimizer().rewrite(graph)
    return list(graph.outputs)


def is_division(op: Any) -> bool:
    """Tell a division of tensors."""
    return isinstance(op, Elemwise) and isinstance(op.scalar_op, ps.TrueDiv)


def share_reciprocals(outputs: Sequence[Variable]) -> list[Variable]:
    """Divide once by what is divided by more than once: ``a / b`` and ``c / b**2`` share ``1 / b``.

    The derivatives of a quotient hold both, and nothing else in them takes a processor as long.
    """
    outputs = simplify(outputs)
    nodes = list(toposort(outputs))
    divisors = {node: _base(node.inputs[1]) for node in nodes if is_division(node.op)}
    times = Counter(base for base, _ in divisors.values() if not isinstance(base, Constant))
    new: dict[Variable, Variable] = {}
    inverse: dict[Variable, Variable] = {}
    for node in nodes:
        inputs = [new.get(v, v) for v in node.inputs]
        base, power = divisors.get(node, (None, 0))
        if base is not None and times[base] > 1:
            by = inverse.setdefault(base, 1.0 / new.get(base, base))
            new[node.outputs[0]] = math.prod([by] * power, start=inputs[0])
        elif any(a is not b for a, b in zip(inputs, node.inputs, strict=True)):
            new[node.outputs[0]] = node.clone_with_new_inputs(inputs).outputs[0]
    return simplify([new.get(v, v) for v in outputs])


def _base(v: Variable) -> tuple[Variable, int]:
    """Base and exponent of a square; of anything else itself and 1."""
    node = v.owner
    if node is None or not isinstance(node.op, Elemwise):
        return v, 1
    op, first, last = node.op.scalar_op, node.inputs[0], node.inputs[-1]
    product = isinstance(op, ps.Mul) and len(node.inputs) == 2 and first is last
    power = isinstance(op, ps.Pow) and isinstance(last, Constant) and last.data == 2
    return (first, 2) if isinstance(op, ps.Sqr) or product or power else (v, 1)


def assignments(inputs: dict[Variable, str], outputs: Sequence[Variable], prefix: str = "v") -> Body:
    """Print `outputs` as straight-line code in terms of the names given to `inputs`.

    Parameters
    ----------
    inputs
        Variable -> the Python expression (a name) it is read from.
    outputs
        0-d expressions of the inputs.
    prefix
        Start of the names of intermediate results.

    Returns
    -------
    Body
        One assignment for each operation, and the names of the outputs.
    """
    names: dict[Variable, str] = dict(inputs)
    body = Body([], [])
    written: list[tuple[str, str, list[str]]] = []
    for position, node in enumerate(toposort(outputs, blockers=list(inputs))):
        args = [names[v] if v in names else _literal_or_fail(v) for v in node.inputs]
        (out,) = node.outputs
        if _is_passthrough(node.op):
            names[out] = args[0]
            continue
        op = _scalar_op(node)
        same = _same_as(op, args)
        if same is not None:
            names[out] = same
            continue
        template = TEMPLATES.get(type(op)) or _lower_foreign(op, node, position, body.env)
        names[out] = f"{prefix}{position}"
        written.append((names[out], template(*args), args))
    body.results = [names[o] if o in names else _literal_or_fail(o) for o in outputs]
    needed = set(body.results)
    for name, text, args in reversed(written):
        # a derivative also holds what it is the derivative of, and asks nothing of it
        if name in needed:
            body.lines.append(f"{name} = {text}")
            needed.update(args)
    body.lines.reverse()
    return body


def _same_as(op: ps.ScalarOp, args: Sequence[str]) -> str | None:
    """Which argument an operation returns as it is."""
    if isinstance(op, ps.Second):
        return args[1]
    if isinstance(op, ps.Identity | ps.Cast):
        return args[0]
    others = [one for one in args if one != ONE]
    return others[0] if isinstance(op, ps.Mul) and len(others) == 1 else None


def _literal_or_fail(variable: Variable) -> str:
    if isinstance(variable, Constant):
        return _literal(variable)
    raise ValueError(
        f"The formula uses {variable.name or variable!r}, "
        "which is neither a state nor a parameter of the model."
    )
