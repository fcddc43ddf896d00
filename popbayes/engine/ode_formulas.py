"""The formulas of an ODE declaration -> compiled functions of numbers, and their derivatives.

What depends on parameters alone is computed once for each segment, not at each stage of each step:
`hoist` cuts it out of the right-hand side and names it as a coefficient. PyTensor derives the
vector-Jacobian products, so a user writes the rates and nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytensor.tensor as pt
from pytensor.gradient import DisconnectedType, grad
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.traversal import toposort

from popbayes.engine.expression import assignments, is_division, share_reciprocals, simplify
from popbayes.engine.specialise import Kernel, compile_source


@dataclass
class Hoisted:
    """Subexpressions of parameters alone, and the symbols that stand for them."""

    values: list[Variable] = field(default_factory=list)
    symbols: list[Variable] = field(default_factory=list)
    known: dict[Variable, Variable] = field(default_factory=dict)

    def symbol(self, value: Variable) -> Variable:
        """The symbol that stands for `value`."""
        if value not in self.known:
            self.known[value] = pt.dscalar(f"q{len(self.values)}")
            self.values.append(value)
            self.symbols.append(self.known[value])
        return self.known[value]


def hoist(outputs: Sequence[Variable], moving: Sequence[Variable], hoisted: Hoisted) -> list[Variable]:
    """Rewrite `outputs` in terms of `moving` and of symbols for what does not depend on them.

    Parameters
    ----------
    outputs
        0-d expressions.
    moving
        Variables that change along a solution: time and states.
    hoisted
        Collects the subexpressions that were cut out; shared between calls.
    """
    outputs = simplify(outputs)
    new: dict[Variable, Variable] = {v: v for v in moving}
    inverse: dict[Variable, Variable] = {}

    def constant_part(v: Variable) -> Variable:
        return v if isinstance(v, Constant) else hoisted.symbol(v)

    def is_float(v: Variable) -> bool:
        return bool(v.type.dtype == "float64" and v.type.ndim == 0)

    for node in toposort(outputs, blockers=list(moving)):
        (out,) = node.outputs
        moves = any(v in new for v in node.inputs)
        if not moves and is_float(out):
            continue
        inputs = [new[v] if v in new else constant_part(v) for v in node.inputs]
        if moves and is_division(node.op) and node.inputs[1] not in new:
            # one division for each segment in place of one at each stage
            divisor = node.inputs[1]
            if divisor not in inverse:
                inverse[divisor] = 1.0 / divisor
            new[out] = inputs[0] * constant_part(inverse[divisor])
        else:
            new[out] = node.clone_with_new_inputs(inputs).outputs[0]
    return [new[v] if v in new else constant_part(v) for v in outputs]


@dataclass(frozen=True)
class Names:
    """Variables of the formulas: time, integrated states, driver's states, coefficients."""

    time: Variable
    states: tuple[Variable, ...]
    driven: tuple[Variable, ...]
    coefficients: tuple[Variable, ...]

    @property
    def loads(self) -> list[str]:
        """Lines that read all of them from the kernels' arrays."""
        return [
            *(f"x{i} = y[at + {i}]" for i in range(len(self.states))),
            *(f"d{i} = w[D + stage + {i}]" for i in range(len(self.driven))),
            *(f"q{i} = coefs[seg, {i}]" for i in range(len(self.coefficients))),
        ]

    @property
    def inputs(self) -> dict[Variable, str]:
        """Variable -> the name that the text gives it."""
        return {
            self.time: "t",
            **{v: f"x{i}" for i, v in enumerate(self.states)},
            **{v: f"d{i}" for i, v in enumerate(self.driven)},
            **{v: f"q{i}" for i, v in enumerate(self.coefficients)},
        }


HERE = "t, y, at, stage, w, coefs, seg"
"""Arguments of every formula: time, states at ``y[at:]``, driver at ``w[D + stage:]``, coefficients."""


def _function(
    name: str, arguments: str, lines: Sequence[str], env: dict[str, Any], places: Mapping[str, int]
) -> Kernel:
    source = f"def {name}({arguments}):\n    " + "\n    ".join([*lines, ""])
    return compile_source(source, name, {"foreign": env, **places})


def _unless_off(value: str, i: int, switches: bool) -> str:
    """A number, or 0 where state `i` is off: chosen, not multiplied, as what is off may be infinite."""
    return f"(({value}) if w[ON + {i}] > 0.0 else 0.0)" if switches else value


def rhs_kernel(
    names: Names, rates: Sequence[Variable], inputs: bool, switches: bool, places: Mapping[str, int]
) -> Kernel:
    """``rhs(HERE, to)``: write the states' rates, inputs at ``w[U:]`` included, to ``w[K + to:]``.

    With `switches`, the rate of a state that is off (0 at ``w[ON:]``) is 0.
    """
    body = assignments(names.inputs, simplify(rates))
    add = " + w[U + {}]" if inputs else ""
    values = [_unless_off(f"{r}{add.format(i)}", i, switches) for i, r in enumerate(body.results)]
    stores = [f"w[K + to + {i}] = {value}" for i, value in enumerate(values)]
    return _function("rhs", f"{HERE}, to", [*names.loads, *body.lines, *stores, "return"], body.env, places)


def _pulled(names: Names, values: Sequence[Variable], seeds: Sequence[Variable]) -> list[Variable | None]:
    """Derivatives of ``seeds . values`` by states, driver and coefficients; None: it does not depend."""
    wrt = [*names.states, *names.driven, *names.coefficients]
    terms = [g * v for g, v in zip(seeds, values, strict=True)]
    if not wrt or not terms:
        return [None for _ in wrt]
    total = sum(terms[1:], terms[0])
    found = grad(total, wrt, disconnected_inputs="ignore", return_disconnected="disconnected")
    return [None if isinstance(d.type, DisconnectedType) else d for d in found]


def _pull_lines(
    names: Names,
    derivatives: Sequence[Variable | None],
    seeds: dict[Variable, str],
    where: tuple[str, str],
    add: bool,
    switches: bool = False,
) -> tuple[list[str], dict[str, Any]]:
    live = [(i, d) for i, d in enumerate(derivatives) if d is not None]
    body = assignments({**names.inputs, **seeds}, share_reciprocals([d for _, d in live])) if live else None
    results = dict(zip((i for i, _ in live), body.results, strict=True)) if body else {}
    n, m = len(names.states), len(names.driven)
    sign = "+=" if add else "="
    stores = []
    for i in range(len(derivatives)):
        if i >= n + m:
            stores += [f"gcoefs[seg, {i - n - m}] += {results[i]}"] if i in results else []
            continue
        target = f"w[{where[0]} + {i}]" if i < n else f"w[{where[1]} + {i - n}]"
        if i in results or not add:
            value = results.get(i, "0.0")
            stores.append(f"{target} {sign} {_unless_off(value, i, switches and i < n)}")
    return [*names.loads, *(body.lines if body else []), *stores], body.env if body else {}


def pull_rhs_kernel(
    names: Names, rates: Sequence[Variable], switches: bool, places: Mapping[str, int]
) -> Kernel:
    """``pull_rhs(HERE, to, gcoefs)``: ``w[G + to:]`` times the Jacobian of the rates.

    Derivatives by states go to ``w[GY + to:]``, by the driver to ``w[GD + stage:]`` (both are written), by
    coefficients they are added to ``gcoefs[seg]``. With `switches`, states that are off have no part.
    """
    seeds = [pt.dscalar(f"g{i}") for i in range(len(rates))]
    texts = {g: f"w[G + to + {i}]" for i, g in enumerate(seeds)}
    if switches:
        lines, env = _pull_by_rate(names, rates, seeds, texts)
    else:
        derivatives = _pulled(names, rates, seeds)
        lines, env = _pull_lines(names, derivatives, texts, ("GY + to", "GD + stage"), add=False)
    return _function("pull_rhs", f"{HERE}, to, gcoefs", [*lines, "return"], env, places)


def _pull_by_rate(
    names: Names, rates: Sequence[Variable], seeds: Sequence[Variable], texts: dict[Variable, str]
) -> tuple[list[str], dict[str, Any]]:
    """The products rate by rate, those left out whose state is off: there they may be infinite."""
    lines = [*names.loads, *(f"w[GY + to + {i}] = 0.0" for i in range(len(names.states)))]
    lines += [f"w[GD + stage + {i}] = 0.0" for i in range(len(names.driven))]
    env: dict[str, Any] = {}
    for i, (rate, seed) in enumerate(zip(rates, seeds, strict=True)):
        derivatives = _pulled(names, [rate], [seed])
        own, more = _pull_lines(names, derivatives, texts, ("GY + to", "GD + stage"), True, switches=True)
        block = own[len(names.loads) :]
        lines += [f"if w[ON + {i}] > 0.0:", *(f"    {line}" for line in block)] if block else []
        env |= more
    return lines, env


def output_kernel(names: Names, values: Sequence[Variable], places: Mapping[str, int]) -> Kernel:
    """``output(out, HERE)``: value of output number `out`."""
    lines = list(names.loads)
    env: dict[str, Any] = {}
    for number, value in enumerate(values):
        body = assignments(names.inputs, simplify([value]), prefix=f"o{number}_")
        lines += [f"if out == {number}:", *(f"    {one}" for one in body.lines)]
        lines.append(f"    return {body.results[0]}")
        env |= body.env
    return _function("output", f"out, {HERE}", [*lines, "return math.nan"], env, places)


def pull_output_kernel(names: Names, values: Sequence[Variable], places: Mapping[str, int]) -> Kernel:
    """``pull_output(out, g, HERE, gcoefs)``: add `g` times an output's gradient at ``w[MU:]``, ``w[GR:]``."""
    seed = pt.dscalar("g")
    lines = list(names.loads)
    env: dict[str, Any] = {}
    for number, value in enumerate(values):
        derivatives = _pulled(names, [value], [seed])
        own, more = _pull_lines(names, derivatives, {seed: "g"}, ("MU", "GR"), add=True)
        lines += [f"if out == {number}:", *(f"    {one}" for one in own[len(names.loads) :]), "    return"]
        env |= more
    return _function("pull_output", f"out, g, {HERE}, gcoefs", [*lines, "return"], env, places)


def jacobian_kernel(
    names: Names, rates: Sequence[Variable], switches: bool, places: Mapping[str, int]
) -> Kernel:
    """``jacobian(HERE)``: derivatives of the rates by the states to ``w[JAC:]``, row by row."""
    n = len(rates)
    lines: list[str] = [f"w[JAC + {i}] = 0.0" for i in range(n * n)]
    entries: list[tuple[int, int, Variable]] = []
    for i, rate in enumerate(rates):
        found = grad(
            rate, list(names.states[:n]), disconnected_inputs="ignore", return_disconnected="disconnected"
        )
        entries += [(i, j, d) for j, d in enumerate(found) if not isinstance(d.type, DisconnectedType)]
    body = assignments(names.inputs, simplify([d for _, _, d in entries])) if entries else None
    if body:
        lines += body.lines
        stores = zip(entries, body.results, strict=True)
        lines += [f"w[JAC + {i * n + j}] = {_unless_off(value, i, switches)}" for (i, j, _), value in stores]
    env = body.env if body else {}
    return _function("jacobian", HERE, [*names.loads, *lines, "return"], env, places)
