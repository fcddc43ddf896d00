"""A linear declaration -> compiled kernels: its coefficients, their derivatives, and the walks.

Where rates cross (`ka = k`), the closed form reads 0 / 0 although the solution is smooth. A subject
with a relative gap below `NEAR` is solved instead at eight points along a line through its parameters
on which the rates part, and interpolated back. The prediction is an entire function of the position
on that line, so the error is of order `STEP ** 8`, and values and gradients stay exact to rounding.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from popbayes.engine import (
    adjoint,
    adjoint_inputs,
    amplitudes,
    exponential_calls,
    kernels,
    lanes,
    matrix,
    modal,
    staged,
    walk,
)
from popbayes.engine.coefficients import Layout, coefficients_of
from popbayes.engine.declaration import EXPONENTIAL, LinearDeclaration, Symbols
from popbayes.engine.formula_kernels import by_channel
from popbayes.engine.schedule import Features
from popbayes.engine.specialise import Kernel, specialise

NEAR = 1e-3
"""Relative gap of two rates below which the closed form is not evaluated at the point itself: there
it loses a factor 1 / gap in values and 1 / gap**2 in gradients (1e-13 and 1e-10 at this gap)."""
STEP = 4e-3
"""Distance of the stencil's points: rates part by at least STEP relative, interpolation errs by
about (STEP * rate * time)**8 / 70, far below rounding where there is anything left of a dose."""
NODES = (-4.0, -3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 4.0)


def _lagrange_at_zero(nodes: Sequence[float]) -> tuple[float, ...]:
    """Weights that interpolate to 0 from `nodes`."""
    x = np.asarray(nodes)
    return tuple(float(np.prod([-b / (a - b) for b in x if b != a])) for a in x)


@dataclass(frozen=True)
class LinearKernels:
    """Compiled functions of one model.

    Attributes
    ----------
    forward, pull
        The walk over all subjects and its adjoint (see `popbayes.engine.kernels`).
    evaluate
        Predictions only, for a batch of parameter sets.
    key : str
        Names the machine code.
    """

    forward: Kernel
    pull: Kernel
    evaluate: Kernel
    layout: Layout
    parameters: tuple[str, ...]
    bound: Mapping[str, Any]
    """What further templates of the same model are specialised with."""

    @property
    def key(self) -> str:
        """Hash of everything that decides the compiled code."""
        return f"{self.forward.key}{self.pull.key}"


def _symbols(names: Sequence[str]) -> dict[str, Variable]:
    return {name: pt.dscalar(name) for name in names}


def _templates(solution: str, layout: Layout) -> list[Callable[..., Any]]:
    """What is compiled, each after those that it calls."""
    templates: list[Callable[..., Any]] = [
        *staged.FORWARD,
        *modal.TEMPLATES,
        *walk.TEMPLATES,
        *staged.BACKWARD,
        *adjoint_inputs.TEMPLATES,
        *adjoint.TEMPLATES,
        *kernels.TEMPLATES,
    ]
    if solution == EXPONENTIAL:
        exponential_calls.register()
        instead = {template.__name__: template for template in matrix.REPLACED}
        templates = [*matrix.FIRST, *(instead.get(t.__name__, t) for t in templates)]
    elif layout.amounts >= 0:
        instead = {template.__name__: template for template in amplitudes.REPLACED}
        templates = [instead.get(t.__name__, t) for t in templates]
    return templates


def _for_events(layout: Layout, features: Features) -> Layout:
    """The layout, once the events are known."""
    slots = by_channel(layout.slots)
    return replace(layout, streams=features.streams or max(slots["lag"]) >= 0, slots=slots)


@cache
def linear_kernels(
    structural: LinearDeclaration, outputs: tuple[str, ...], channels: tuple[str, ...], features: Features
) -> LinearKernels:
    """Compile (or take from the cache) the kernels of a model.

    Parameters
    ----------
    structural
        The declaration.
    outputs
        Outputs that are observed.
    channels
        Ways in that the doses use.
    features
        Kinds of event that the kernels must know.
    """
    changes = features.changes
    solution = EXPONENTIAL if features.switches else structural.solution
    names = tuple(structural.parameters)
    variables = _symbols(names)
    raw, layout = coefficients_of(structural, Symbols(variables), outputs, channels, changes, solution)
    layout = _for_events(layout, features)
    values = [pt.as_tensor_variable(v, dtype="float64") for v in raw]
    value = lanes.value_kernel(names, variables, values)
    # the gaps steer the choice of route and are not differentiated
    pull = lanes.pull_kernel(names, variables, values[: layout.size - layout.n_gaps], layout.size)
    bound: dict[str, Any] = {
        "N_MODES": layout.n_modes,
        "N_ROWS": len(layout.rows),
        "N_COLS": len(layout.columns),
        "FIRST_ROW": layout.first_row,
        "N_COLUMN": layout.n_column,
        "N_PARAMETERS": len(names),
        "N_COEFFICIENTS": layout.size,
        "N_GAPS": layout.n_gaps,
        "CHANGES": changes,
        "STREAMS": layout.streams,
        "INFUSIONS": features.infusions,
        "STAGED_INPUTS": features.staged,
        "SWITCHES": features.switches,
        "ACCUMULATES": layout.accumulates,
        "ACCUMULATED": layout.accumulated,
        "AMPLITUDES": layout.amounts >= 0,
        "AMOUNTS": layout.amounts,
        "FIRST_AMOUNT": layout.first_amount,
        "N_AMOUNTS": layout.n_amounts,
        "GIVEN": layout.given,
        "WIDTH": layout.width,
        "N_KEPT": layout.n_kept,
        "N_STREAM": layout.n_stream,
        "N_ADJOINT": adjoint_inputs.N_ADJOINT,
        "WEIGHTS": layout.weights,
        "OBSERVED": layout.observed,
        "COLUMN": layout.slots["column"],
        "SLOT_F": layout.slots["bioavailability"],
        "SLOT_LAG": layout.slots["lag"],
        "SLOT_RATE": layout.slots["rate"],
        "SLOT_DURATION": layout.slots["duration"],
        "SLOT_STAGES": layout.slots["stages"],
        "SLOT_PACE": layout.slots["stage_rate"],
        "NEAR": NEAR,
        "STEP": STEP,
        "NODES": NODES,
        "NODE_WEIGHTS": _lagrange_at_zero(NODES),
        "SPREAD": tuple(float(structural.stencil.get(n, 0.0)) for n in names),
        "coefficients": value,
        "pull_coefficients": pull,
    }
    for template in _templates(solution, layout):
        bound[template.__name__] = specialise(template, rewrite=lanes.in_lanes, **bound)
    forward = specialise(kernels.forward, rewrite=lanes.in_lanes, **bound)
    return LinearKernels(
        forward, specialise(kernels.pull, rewrite=lanes.in_lanes, **bound),
        specialise(kernels.evaluate, entry=True, **(bound | {"forward": forward})), layout, names,
        bound,
    )  # fmt: skip
