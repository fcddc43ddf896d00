r"""Coefficients of eight segments side by side: their formulas are evaluated for all eight at once.

Roots and divisions take most of the time of a formula, and a processor does four or eight of them in the
time of one where the numbers lie next to each other. Segment `seg` is lane ``seg % 8`` of row ``seg // 8``:
what templates write as ``coefs[seg, at]`` lies at ``coefs[seg // 8, 8 * at + seg % 8]`` (see `in_lanes`).
Behind the coefficients a row has room for the parameters, and for the derivatives by them.
"""

import ast
import re
from collections.abc import Mapping, Sequence

from pytensor.graph.basic import Variable

from popbayes.engine.buffers import LANE_BITS, LANES
from popbayes.engine.expression import assignments, share_reciprocals, simplify
from popbayes.engine.formula_kernels import function_text, pulled
from popbayes.engine.specialise import Kernel, compile_source

ARRAYS = ("coefs", "gcoefs")
"""Names under which templates know such arrays."""


def width(n_coefficients: int, n_parameters: int) -> int:
    """Columns of such an array."""
    return LANES * (n_coefficients + 2 * n_parameters)


class _InLanes(ast.NodeTransformer):
    """``coefs[seg, at]`` -> where it lies."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """Replace the indices."""
        self.generic_visit(node)
        if isinstance(node.value, ast.Name) and node.value.id in ARRAYS and isinstance(node.slice, ast.Tuple):
            segment, at = (ast.unparse(one) for one in node.slice.elts)
            text = f"({segment}) >> {LANE_BITS}, ({at}) * {LANES} + (({segment}) & {LANES - 1})"
            node.slice = ast.parse(f"x[{text}]", mode="eval").body.slice  # type: ignore[attr-defined]
        return node


def in_lanes(source: str) -> str:
    """Text of a template with every element of `ARRAYS` where it lies."""
    if not any(f"{name}[" in source for name in ARRAYS):
        return source
    return ast.unparse(_InLanes().visit(ast.parse(source))) + "\n"


def value_kernel(names: Sequence[str], p: Mapping[str, Variable], values: Sequence[Variable]) -> Kernel:
    """``coefficients(theta, low, high, coefs)``: the coefficients of segments `low .. high - 1`.

    Other lanes of the same rows are written too: from `theta`, of the last segment beyond the end.
    """
    given = {name: _lane(len(values) + i) for i, name in enumerate(names)}
    body = assignments({v: f"p_{n}" for n, v in p.items()}, simplify(values))
    lines = [
        "last = theta.shape[0] - 1",
        f"for row in range(low >> {LANE_BITS}, (high + {LANES - 1}) >> {LANE_BITS}):",
        f"    for lane in range({LANES}):",
        f"        k = min({LANES} * row + lane, last)",
        f"        for j in range({len(names)}):",
        f"            coefs[row, {LANES} * ({len(values)} + j) + lane] = theta[k, j]",
        f"    for lane in range({LANES}):",
        *(f"        p_{name} = coefs[{at}]" for name, at in given.items()),
        *(f"        {line}" for line in body.lines),
        *(f"        coefs[{_lane(i)}] = {r}" for i, r in enumerate(body.results)),
    ]
    source = function_text("coefficients", "theta, low, high, coefs", lines)
    return compile_source(source, "coefficients", {"foreign": body.env})


def pull_kernel(
    names: Sequence[str], p: Mapping[str, Variable], values: Sequence[Variable], n_coefficients: int
) -> Kernel:
    """``pull_coefficients(theta, low, high, gcoefs, gtheta)``: add `gcoefs` times the coefficients' Jacobian.

    `values` are those that are differentiated, the first of `n_coefficients`.
    """
    seeds, live = pulled(p, values)
    given = {name: _lane(n_coefficients + i) for i, name in enumerate(names)}
    found = {i: _lane(n_coefficients + len(names) + i) for i, _ in live}
    inputs = {v: f"p_{n}" for n, v in p.items()} | {g: f"g_{i}" for i, g in enumerate(seeds)}
    body = assignments(inputs, share_reciprocals([d for _, d in live]))
    used = set(re.findall(r"\bg_\d+\b", " ".join([*body.lines, *body.results])))
    lines = [
        "last = theta.shape[0] - 1",
        f"for row in range(low >> {LANE_BITS}, (high + {LANES - 1}) >> {LANE_BITS}):",
        f"    for lane in range({LANES}):",
        f"        k = min({LANES} * row + lane, last)",
        f"        for j in range({len(names)}):",
        f"            gcoefs[row, {LANES} * ({n_coefficients} + j) + lane] = theta[k, j]",
        f"    for lane in range({LANES}):",
        *(f"        p_{name} = gcoefs[{at}]" for name, at in given.items()),
        *(f"        g_{i} = gcoefs[{_lane(i)}]" for i in range(len(seeds)) if f"g_{i}" in used),
        *(f"        {line}" for line in body.lines),
        *(f"        gcoefs[{found[i]}] = {r}" for (i, _), r in zip(live, body.results, strict=True)),
        f"    for k in range(max(low, {LANES} * row), min(high, {LANES} * row + {LANES})):",
        f"        lane = k & {LANES - 1}",
        *(f"        gtheta[k, {i}] += gcoefs[{at}]" for i, at in found.items()),
    ]
    source = function_text("pull_coefficients", "theta, low, high, gcoefs, gtheta", lines)
    return compile_source(source, "pull_coefficients", {"foreign": body.env})


def _lane(column: int) -> str:
    return f"row, {LANES * column} + lane"
