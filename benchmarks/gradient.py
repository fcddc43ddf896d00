"""CPU time of one gradient: all in, as nutpie calls it, and the engine's two kernels alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import pytensor
import pytensor.tensor as pt

import popbayes as pb
from benchmarks.timing import Spread, cpu_per_call, nutpie_gradient
from popbayes.building import design_for, initial_values
from popbayes.engine.op import predict
from popbayes.infer.compiled_density import Compiled, compiled_density
from popbayes.infer.starts import starts_of

SEED = 3
JITTER = 0.1


@dataclass(frozen=True)
class Gradient:
    """CPU microseconds of the log density with its gradient, and of the engine's part in it."""

    n_dim: int
    n_obs: int
    all_in: Spread
    engine: Spread


def time_gradient(model: pb.PopModel, data: pb.EventTable) -> Gradient:
    """Measure both at a point near the prior medians."""
    rng = np.random.default_rng(SEED)
    compiled, point = near_medians(model, data, rng)
    return Gradient(
        compiled.size,
        data.n_obs,
        cpu_per_call(nutpie_gradient(compiled, point)),
        cpu_per_call(engine_calls(model, data, rng)),
    )


def near_medians(
    model: pb.PopModel, data: pb.EventTable, rng: np.random.Generator
) -> tuple[Compiled, np.ndarray]:
    """The compiled log density, and a point near the prior medians."""
    graph = pb.build(model, data)
    compiled = compiled_density(graph)
    start = starts_of(graph, initial_values(model, data), SEED).centre
    return compiled, start + JITTER * rng.standard_normal(compiled.size)


def engine_calls(
    model: pb.PopModel, data: pb.EventTable, rng: np.random.Generator
) -> Callable[[int], object]:
    """Loop over a function of nothing but the engine's Op and its gradient, compiled as nutpie compiles."""
    design = design_for(model, data)
    names = model.structural.parameters
    theta = {name: pt.dvector(name) for name in names}
    prediction = predict(model.structural, design, theta)
    weights = pt.dvector("weights")
    gradients = pytensor.grad((weights * prediction).sum(), list(theta.values()))
    function = pytensor.function([*theta.values(), weights], [prediction, *gradients], mode="NUMBA")
    shared = [variable.get_value(borrow=True) for variable in function.get_shared()]
    medians = [model.parameters[name].prior.start() for name in names]
    around = np.exp(JITTER * rng.standard_normal((len(names), design.n_segment)))
    values = [median * factor for median, factor in zip(medians, around, strict=True)]
    return call_loop(function.vm.jit_fn, (*values, rng.standard_normal(design.n_obs), *shared))


def call_loop(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Callable[[int], object]:
    """Call a compiled function again and again from compiled code."""

    @numba.njit
    def loop(number, arguments):
        total = 0.0
        for _ in range(number):
            total += function(*arguments)[0][0]
        return total

    return lambda number: loop(number, arguments)
