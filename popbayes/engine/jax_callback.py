"""The structural Ops under JAX: a host callback to the same compiled kernels.

JAX differentiates through the callback by the adjoint kernel, so a model sampled with NumPyro or
BlackJAX has the same density and gradient as with nutpie; each call crosses from JAX to numba and back,
which costs some tens of microseconds.
"""

import sys
from functools import cache
from typing import Any

import numpy as np
from pytensor.graph.basic import Apply, Constant


def register_if_loaded(predict_type: type, pull_type: type) -> None:
    """Make the Ops known to PyTensor's JAX linker, if this process has loaded JAX."""
    if "jax" in sys.modules:
        register(predict_type, pull_type)


@cache
def register(predict_type: type, pull_type: type) -> None:
    """Make the Ops known to PyTensor's JAX linker (loads JAX)."""
    import jax
    import jax.numpy as jnp
    from pytensor.link.jax.dispatch.basic import jax_funcify

    def call_pull(op: Any, args: Any, cotangent: Any, kept: Any) -> Any:
        shapes = tuple(jax.ShapeDtypeStruct(args[0].shape, jnp.float64) for _ in range(op.n_parameters))
        pull_op = op.adjoint
        return jax.pure_callback(_host(pull_op), shapes, *args, cotangent, *kept, vmap_method="sequential")

    @jax_funcify.register(predict_type)
    def _predict(op: Any, node: Apply, **kwargs: Any) -> Any:
        n_obs = _number(node.inputs[op.n_parameters])

        def shapes(args: Any) -> Any:
            n = op.n_parameters
            kept = op.kept_shapes(args[0].shape[0], args[n + 3].shape[0], args[n + 4].shape[0])
            floats = [jax.ShapeDtypeStruct(s, jnp.float64) for s in [(n_obs,), *kept[:-1]]]
            return (*floats, jax.ShapeDtypeStruct(kept[-1], jnp.int64))

        @jax.custom_vjp
        def predict(*args: Any) -> Any:
            return jax.pure_callback(_host(op), shapes(args), *args, vmap_method="sequential")

        def forward(*args: Any) -> Any:
            out = predict(*args)
            return out, (args, out[1:])

        def backward(residuals: Any, cotangents: Any) -> Any:
            args, kept = residuals
            pulled = call_pull(op, args, cotangents[0], kept)
            return (*pulled, *(None for _ in args[op.n_parameters :]))

        predict.defvjp(forward, backward)
        return predict

    @jax_funcify.register(pull_type)
    def _pull(op: Any, node: Apply, **kwargs: Any) -> Any:
        n = op.n_inputs

        def pull(*args: Any) -> Any:
            out = call_pull(op, args[:n], args[n], args[n + 1 :])
            return out if op.n_parameters > 1 else out[0]

        return pull


def _host(op: Any) -> Any:
    # writable copies, as the kernels were compiled for
    return lambda *args: op.run(*(np.array(a) for a in args))


def _number(variable: Any) -> int:
    """Value of an integer that the graph holds: JAX needs shapes before it runs."""
    held = variable.data if isinstance(variable, Constant) else variable.get_value(borrow=True)
    return int(held)
