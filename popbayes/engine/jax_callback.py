"""The structural Op under JAX: a host callback to the same compiled kernels.

Importing this module registers the callback. JAX differentiates through it by the adjoint kernel, so a
model sampled with NumPyro or BlackJAX has the same density and gradient as with nutpie; each call
crosses from JAX to numba and back, which costs some tens of microseconds.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from pytensor.graph.basic import Apply, Constant
from pytensor.link.jax.dispatch.basic import jax_funcify

from popbayes.engine.op import N_SCHEDULE, Predict, PullPredict, run_predict, run_pull


def _arrays(values: Any) -> list[np.ndarray]:
    # writable and contiguous, as the kernels were compiled for
    return [np.array(v) for v in values]


def _number(variable: Any) -> int:
    """Value of an integer that the graph holds: JAX needs shapes before it runs."""
    held = variable.data if isinstance(variable, Constant) else variable.get_value(borrow=True)
    return int(held)


@jax_funcify.register(Predict)
def _predict(op: Predict, node: Apply, **kwargs: Any) -> Any:
    n = op.n_parameters

    def shapes(args: Any) -> tuple[jax.ShapeDtypeStruct, ...]:
        n_segment, n_record, n_stream = args[0].shape[0], args[n + 2].shape[0], args[n + 4].shape[0]
        n_obs = _number(node.inputs[n])
        sizes = op.kept_shapes(n_segment, n_record, n_stream)
        floats = [jax.ShapeDtypeStruct(s, jnp.float64) for s in [(n_obs,), *sizes[:-1]]]
        return (*floats, jax.ShapeDtypeStruct(sizes[-1], jnp.int64))

    def host(*args: Any) -> tuple[np.ndarray, ...]:
        return run_predict(op, *_arrays(args))

    @jax.custom_vjp
    def predict(*args: Any) -> Any:
        return jax.pure_callback(host, shapes(args), *args, vmap_method="sequential")

    def forward(*args: Any) -> Any:
        out = predict(*args)
        return out, (args, out[1:])

    def backward(residuals: Any, cotangents: Any) -> Any:
        args, kept = residuals
        pulled = _pull(op, args, cotangents[0], kept)
        return (*pulled, *(None for _ in range(N_SCHEDULE)))

    predict.defvjp(forward, backward)
    return predict


def _pull(op: Any, args: Any, cotangent: Any, kept: Any) -> Any:
    shapes = tuple(jax.ShapeDtypeStruct(args[0].shape, jnp.float64) for _ in range(op.n_parameters))

    def host(*values: Any) -> tuple[np.ndarray, ...]:
        return run_pull(op, *_arrays(values))

    return jax.pure_callback(host, shapes, *args, cotangent, *kept, vmap_method="sequential")


@jax_funcify.register(PullPredict)
def _pull_predict(op: PullPredict, node: Apply, **kwargs: Any) -> Any:
    n = op.n_parameters + N_SCHEDULE

    def pull(*args: Any) -> Any:
        out = _pull(op, args[:n], args[n], args[n + 1 :])
        return out if op.n_parameters > 1 else out[0]

    return pull
