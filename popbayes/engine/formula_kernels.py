"""Formulas of a segment -> kernels that evaluate them and their derivatives, one segment at a time.

`lanes` does the same for eight segments at once.
"""

from collections.abc import Mapping, Sequence

import pytensor.tensor as pt
from pytensor.gradient import DisconnectedType, grad
from pytensor.graph.basic import Variable

from popbayes.engine.expression import assignments, share_reciprocals, simplify
from popbayes.engine.specialise import Kernel, compile_source

Derivatives = list[tuple[int, Variable]]


def function_text(name: str, arguments: str, lines: Sequence[str]) -> str:
    """Text of a function that returns nothing."""
    body = "\n    ".join([*lines, "return"])
    return f"def {name}({arguments}):\n    {body}\n"


def by_channel(slots: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Places by channel as kernels index them: numba cannot index the empty tuple of a study without dose."""
    return {what: where or (-1,) for what, where in slots.items()}


def pulled(p: Mapping[str, Variable], values: Sequence[Variable]) -> tuple[list[Variable], Derivatives]:
    """Cotangents of `values`, and their sum over the Jacobian by every parameter that has a part in it."""
    seeds = [pt.dscalar(f"g{i}") for i in range(len(values))]
    terms = [g * v for g, v in zip(seeds, values, strict=True)]
    total = sum(terms[1:], terms[0])
    derivatives = grad(
        total, list(p.values()), disconnected_inputs="ignore", return_disconnected="disconnected"
    )
    return seeds, [(i, d) for i, d in enumerate(derivatives) if not isinstance(d.type, DisconnectedType)]


def value_kernel(names: Sequence[str], p: Mapping[str, Variable], values: Sequence[Variable]) -> Kernel:
    """``coefficients(theta, k, coefs)``: fill row `k` of `coefs` with the coefficients of segment `k`."""
    body = assignments({v: f"p_{n}" for n, v in p.items()}, simplify(values))
    stores = [f"coefs[k, {i}] = {r}" for i, r in enumerate(body.results)]
    source = function_text("coefficients", "theta, k, coefs", _loads(names) + body.lines + stores)
    return compile_source(source, "coefficients", {"foreign": body.env})


def pull_kernel(names: Sequence[str], p: Mapping[str, Variable], values: Sequence[Variable]) -> Kernel:
    """``pull_coefficients(theta, k, gcoefs, gtheta)``: add `gcoefs[k]` times the coefficients' Jacobian."""
    seeds, live = pulled(p, values)
    inputs = {v: f"p_{n}" for n, v in p.items()} | {g: f"gcoefs[k, {i}]" for i, g in enumerate(seeds)}
    body = assignments(inputs, share_reciprocals([d for _, d in live]))
    stores = [f"gtheta[k, {i}] += {r}" for (i, _), r in zip(live, body.results, strict=True)]
    lines = _loads(names) + body.lines + stores
    source = function_text("pull_coefficients", "theta, k, gcoefs, gtheta", lines)
    return compile_source(source, "pull_coefficients", {"foreign": body.env})


def _loads(names: Sequence[str]) -> list[str]:
    return [f"p_{name} = theta[k, {i}]" for i, name in enumerate(names)]
