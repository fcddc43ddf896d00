r"""Sensitivities as further states, for steps that keep them to the tolerance too.

They serve the choice of steps alone: the gradient stays the discrete adjoint, the derivative of the numbers
computed. For a parameter :math:`\theta_j` of the rates or of the initial states, and for the doses into a
state, there is one for each state:

.. math:: S_j = \frac{\partial x}{\partial \log\theta_j}, \qquad
          S_j' = \frac{\partial f}{\partial x} S_j + \theta_j \frac{\partial f}{\partial \theta_j},

with the unit of the states, so that :math:`\max(|x|, |S_j|)` is what its error is measured against. The
sensitivity by the amounts given (which that by a bioavailability is) gets the doses as the state does, and a
dose's lag or duration moves the solution along the same linear equations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytensor.tensor as pt
from pytensor.gradient import DisconnectedType, grad
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import ancestors


@dataclass(frozen=True)
class Tangents:
    """Further states, block by block: the sensitivities of all states by one thing.

    Attributes
    ----------
    symbols, rates, starts
        Symbol, rate of change and initial value of each.
    of_doses
        State -> number of the block of its doses, counted from 1: the states themselves are block 0.
    """

    symbols: tuple[Variable, ...] = ()
    rates: tuple[Variable, ...] = ()
    starts: tuple[Variable, ...] = ()
    of_doses: Mapping[int, int] | None = None


def _slopes(value: Variable, wrt: Sequence[Variable]) -> list[Variable | None]:
    if not wrt:
        return []
    found = grad(value, list(wrt), disconnected_inputs="ignore", return_disconnected="disconnected")
    return [None if isinstance(d.type, DisconnectedType) else d for d in found]


def tangents(
    states: Sequence[Variable],
    rates: Sequence[Variable],
    starts: Sequence[Variable],
    parameters: Mapping[str, Variable],
    dosed: Sequence[int],
) -> Tangents:
    """Derive the equations of the sensitivities.

    Parameters
    ----------
    states, rates, starts
        Symbols of the states, their rates of change and their initial values.
    parameters
        Name -> symbol; those on which neither rates nor initial values depend have no sensitivity here.
    dosed
        Numbers of the states that take doses.
    """
    used = set(ancestors([*rates, *starts]))
    by = [(name, p) for name, p in parameters.items() if p in used]
    n = len(states)
    across = [_slopes(rate, states) for rate in rates]
    symbols: list[Variable] = []
    equations: list[Variable] = []
    initial: list[Variable] = []
    for name, p in [*by, *((f"dose{i}", None) for i in dosed)]:
        block = [pt.dscalar(f"s_{name}_{i}") for i in range(n)]
        for i in range(n):
            flows = [d * s for d, s in zip(across[i], block, strict=True) if d is not None]
            own = None if p is None else _slopes(rates[i], [p])[0]
            begin = None if p is None else _slopes(starts[i], [p])[0]
            flows += [] if own is None else [p * own]
            equations.append(sum(flows[1:], flows[0]) if flows else pt.constant(0.0, dtype="float64"))
            initial.append(pt.constant(0.0, dtype="float64") if begin is None else p * begin)
        symbols += block
    of_doses = {i: 1 + len(by) + number for number, i in enumerate(dosed)}
    return Tangents(tuple(symbols), tuple(equations), tuple(initial), of_doses)
