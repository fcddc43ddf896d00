"""Which states of an ODE model need no integration.

They are those that the declaration solves in closed form, or else those that only decay at a rate of their
own, as a depot does.

A state that decays exactly has no part in the choice of steps: an absorption that is over, or faster than
all else, costs nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.gradient import grad
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors

from popbayes.engine.declaration import ClosedForm, Expression, Symbols
from popbayes.engine.expression import assignments
from popbayes.engine.ode_declaration import OdeDeclaration
from popbayes.engine.specialise import PRELUDE

TRIALS = 3
CLOSE = 1e-12


@dataclass(frozen=True)
class Linear:
    """The part of a model that keeps a closed form.

    Attributes
    ----------
    states
        Its compartments.
    form
        Modes, as for a linear model.
    stencil
        Direction in which its rates part.
    """

    states: tuple[str, ...]
    form: ClosedForm
    stencil: Mapping[str, float]


def linear_part(
    structural: OdeDeclaration, state: Mapping[str, Variable], t: Variable, p: Symbols
) -> Linear | None:
    """Find the states that are not integrated; None where there are none.

    Parameters
    ----------
    structural
        The declaration.
    state
        Symbol of every state.
    t, p
        Symbols of time and parameters.
    """
    if structural.driver is not None:
        form = structural.driver.closed_form(p)
        return Linear(tuple(structural.driver.states), form, structural.driver.stencil)
    rates = structural.derivatives(t, Symbols(state), p)
    initials = structural.initials(p)
    found: dict[str, Any] = {}
    for name in structural.integrated:
        if _is_zero(initials[name]):
            decay = _own_decay(pt.as_tensor_variable(rates[name], dtype="float64"), name, state, t)
            if decay is not None:
                found[name] = decay
    if not found:
        return None
    names = tuple(found)
    transfers = {(n, n): [1.0 if m == n else 0.0 for m in names] for n in names}
    return Linear(names, ClosedForm(list(found.values()), transfers), {})


def rates_of_all(
    structural: OdeDeclaration, t: Expression, state: Symbols, p: Symbols
) -> dict[str, Expression]:
    """Rate of change of every state, those of the driver by its rate constants."""
    found: dict[str, Expression] = {}
    driver = structural.driver
    if driver is not None:
        found = dict.fromkeys(driver.states, 0.0)
        for (source, to), constant in driver.rates(p).items():
            flow = constant * state[source]
            found[source] = found[source] - flow
            if to is not None:
                found[to] = found[to] + flow
        for name, factors in driver.integrals(p).items():
            for source, factor in factors.items():
                found[name] = found[name] + factor * state[source]
    return {**found, **structural.derivatives(t, state, p)}


def _is_zero(value: Any) -> bool:
    if isinstance(value, Constant):
        value = value.data
    return isinstance(value, int | float | np.number | np.ndarray) and float(value) == 0.0


def _own_decay(rate: Variable, name: str, state: Mapping[str, Variable], t: Variable) -> Variable | None:
    """The constant `k` where the rate is ``-k * state``, else None."""
    own = state[name]
    used = set(ancestors([rate]))
    if own not in used or t in used or any(v in used for other, v in state.items() if other != name):
        return None
    slope = grad(rate, own)
    at_zero = graph_replace([slope], {own: pt.constant(0.0, dtype="float64")}, strict=False)[0]
    inputs = [v for v in used if v.owner is None and not isinstance(v, Constant)]
    return -at_zero if _is_linear(rate, slope, own, inputs) else None


def _number(expression: Variable, values: Mapping[Variable, float]) -> float:
    """Value of a formula, by running its text."""
    body = assignments({v: f"a{i}" for i, v in enumerate(values)}, [expression])
    if body.env:
        return math.nan  # an operation that only numba knows: not looked into
    names: dict[str, Any] = {f"a{i}": np.float64(x) for i, x in enumerate(values.values())}
    scope = {**PRELUDE, "exp": np.exp, "log": np.log, "log1p": np.log1p, "power": np.power}
    exec("\n".join([*body.lines, f"result = {body.results[0]}"]), scope, names)
    return float(names["result"])


def _is_linear(rate: Variable, slope: Variable, own: Variable, inputs: Sequence[Variable]) -> bool:
    """Compare rate and slope at a few points with those of a straight line through zero."""
    rng = np.random.default_rng(0)
    for _ in range(TRIALS):
        values = {v: float(rng.uniform(0.5, 2.0)) for v in inputs}
        slopes = []
        for x in (values[own], 7.0 * values[own]):
            point = {**values, own: x}
            slopes.append(_number(slope, point))
            if not abs(_number(rate, point) - slopes[0] * x) <= CLOSE * abs(slopes[0] * x):
                return False
        if not abs(slopes[1] - slopes[0]) <= CLOSE * abs(slopes[0]):
            return False
    return True


def tracked(linear: Linear | None, used: Sequence[str], changes: bool) -> tuple[str, ...]:
    """Rows of the linear part that must be known: all where parameters change, else those in use."""
    if linear is None:
        return ()
    return linear.states if changes else tuple(s for s in linear.states if s in used)
