"""CPU time of one gradient: all in, as nutpie calls it, and the engine's two kernels alone."""

from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np
import nutpie

import popbayes as pb
from benchmarks.timing import Spread, cpu_per_call, nutpie_gradient
from popbayes.building import design_for
from popbayes.engine.linear import linear_kernels
from popbayes.engine.op import route

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
    compiled = nutpie.compile_pymc_model(pb.build(model, data))
    rng = np.random.default_rng(SEED)
    start = compiled.initial_point_func(SEED)
    point = start + JITTER * rng.standard_normal(compiled.n_dim)
    return Gradient(
        compiled.n_dim,
        data.n_obs,
        cpu_per_call(nutpie_gradient(compiled, point)),
        cpu_per_call(engine_calls(model, data, rng)),
    )


def engine_calls(
    model: pb.PopModel, data: pb.EventTable, rng: np.random.Generator
) -> Callable[[int], object]:
    """Loop over forward and adjoint kernel, arrays allocated as the Op allocates them: once a call."""
    structural, design = model.structural, design_for(model, data)
    channels, schedule = route(structural, design)
    kernels = linear_kernels(
        structural, (structural.outputs[0],), channels, not design.one_segment_per_subject
    )
    medians = [model.parameters[name].prior.median() for name in structural.parameters]
    theta = np.exp(np.log(medians) + JITTER * rng.standard_normal((design.n_segment, len(medians))))
    forward, pull, layout = kernels.forward.function, kernels.pull.function, kernels.layout
    n_modes, n_kept, n_coefs = layout.n_modes, layout.n_modes * len(layout.rows), layout.size
    gpred = rng.standard_normal(design.n_obs)

    @numba.njit
    def loop(number, theta, gpred, ptr, ri, rt, si, sf, sptr):
        total = 0.0
        for _ in range(number):
            pred = np.empty(gpred.shape[0])
            coefs = np.empty((theta.shape[0], n_coefs))
            states = np.empty((rt.shape[0], n_kept))
            decays = np.empty((rt.shape[0], n_modes))
            streams = np.empty((si.shape[0], 5))
            log = np.empty((si.shape[0], 2), dtype=np.int64)
            gtheta = np.zeros(theta.shape)
            forward(theta, ptr, ri, rt, si, sf, sptr, pred, coefs, states, decays, streams, log)
            pull(theta, ptr, ri, rt, si, sf, sptr, gpred, coefs, states, decays, streams, log, gtheta)
            total += gtheta[0, 0]
        return total

    return lambda number: loop(number, theta, gpred, *schedule.arrays)
