"""The affine map of random effects as a PyTensor Op with its gradient: one call for all subjects.

Written out in scalars and columns the map takes minutes to compile where effects are correlated. The numba
linker calls the kernels of `popbayes.building.affine`; `perform` and JAX (by a callback) run the same ones.
"""

import sys
from abc import abstractmethod
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.gradient import DisconnectedType, disconnected_type
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import register_funcify_and_cache_key

from popbayes.building.affine import backward_kernel, forward_kernel
from popbayes.engine.specialise import Kernel, compile_source

N_KEPT = 4
KEPT = "root, shift, white, known"


def _centre_lines(per_subject: Sequence[bool]) -> list[str]:
    return [
        f"centre[{k}, :] = c_{k}" if own else f"centre[{k}, :] = c_{k}[()]"
        for k, own in enumerate(per_subject)
    ]


@cache
def _map_kernel(per_subject: tuple[bool, ...]) -> Kernel:
    """``informed(z, omega, factor, data, pull, c_...)`` -> effects, density and what the gradient needs."""
    n = len(per_subject)
    lines = [
        "number = z.shape[0]",
        f"eta, centre = np.empty(({n}, number)), np.empty(({n}, number))",
        f"root, shift = np.zeros((number, {n}, {n})), np.empty((number, {n}))",
        f"white, known = np.empty(({n}, {n})), np.empty(({n}, {n}))",
        *_centre_lines(per_subject),
        f"density = forward(z, omega, factor, centre, data, pull, eta, {KEPT})",
        f"return {', '.join(f'eta[{k}].copy()' for k in range(n))}, np.array(density), {KEPT}",
    ]
    arguments = ", ".join(f"c_{k}" for k in range(n))
    source = f"def informed(z, omega, factor, data, pull, {arguments}):\n    " + "\n    ".join(lines) + "\n"
    return compile_source(source, "informed", {"forward": forward_kernel(n)}, entry=True)


@cache
def _pull_kernel(per_subject: tuple[bool, ...]) -> Kernel:
    """``pull_informed(...)`` -> cotangents of z, omega, factor and the centres."""
    n = len(per_subject)
    backward, unwhitening = backward_kernel(n)
    each = [f"{what}_{k}" for what in ("e", "g") for k in range(n)]
    lines = [
        "number = z.shape[0]",
        *(f"{name} = np.empty(({n}, number))" for name in ("eta", "geta", "gcentre")),
        "gz, gknown = np.empty(z.shape), np.zeros(known.shape)",
        "gomega, gfactor = np.empty(omega.shape), np.empty(known.shape)",
        *(f"eta[{k}, :] = e_{k}" for k in range(n)),
        *(f"geta[{k}, :] = g_{k}" for k in range(n)),
        "scale = gdensity[()]",
        "backward(z, data, eta, root, shift, known, geta, scale, gz, gcentre, gknown)",
        "unwhitening(number, omega, factor, white, gknown, scale, gomega, gfactor)",
        *(
            f"gc_{k} = gcentre[{k}].copy()" if own else f"gc_{k} = np.array(gcentre[{k}].sum())"
            for k, own in enumerate(per_subject)
        ),
        f"return gz, gomega, gfactor, {', '.join(f'gc_{k}' for k in range(n))}",
    ]
    arguments = f"z, omega, factor, data, {KEPT}, gdensity, {', '.join(each)}"
    source = f"def pull_informed({arguments}):\n    " + "\n    ".join(lines) + "\n"
    return compile_source(
        source, "pull_informed", {"backward": backward, "unwhitening": unwhitening}, entry=True
    )


class _AffineOp(Op):
    """What both Ops share: they are equal if their centres are of the same kinds."""

    __props__ = ("per_subject",)

    def __init__(self, per_subject: tuple[bool, ...]):
        self.per_subject = per_subject

    @property
    def size(self) -> int:
        """Number of random effects of a subject."""
        return len(self.per_subject)

    @property
    @abstractmethod
    def kernel(self) -> Kernel:
        """The compiled function."""

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        """Call the kernel on numpy arrays."""
        return self.kernel(*(np.asarray(one, order="C") for one in inputs))

    def perform(self, node: Apply, inputs: Sequence[np.ndarray], output_storage: Any) -> None:
        """Evaluate with the compiled kernel."""
        for cell, value in zip(output_storage, self.run(*inputs), strict=True):
            cell[0] = value


class InformedEffects(_AffineOp):
    """Random effects, a column (n_subject,) for each, and the term of the log density; the rest is kept.

    Inputs: `z` (n_subject, n), `omega` (n,), `factor` (n, n) lower, `data` (n_subject, n, n), `pull`
    (n_subject, n), and a centre for each effect, a scalar or (n_subject,) as `per_subject` says.
    """

    def make_node(self, *inputs: Any) -> Apply:
        """Check nothing but that there are as many centres as effects."""
        variables = [pt.as_tensor_variable(one, dtype="float64") for one in inputs]
        if tuple(one.type.ndim == 1 for one in variables[5:]) != self.per_subject:
            raise TypeError(f"Centres must be scalars or vectors as {self.per_subject} says.")
        _register_if_loaded()
        columns = [pt.tensor(dtype="float64", shape=variables[0].type.shape[:1]) for _ in self.per_subject]
        kept = [pt.tensor3(dtype="float64"), *(pt.matrix(dtype="float64") for _ in range(N_KEPT - 1))]
        return Apply(self, variables, [*columns, pt.scalar(dtype="float64"), *kept])

    @property
    def kernel(self) -> Kernel:
        """The compiled map."""
        return _map_kernel(self.per_subject)

    def shapes(self, number: Any) -> list[tuple[Any, ...]]:
        """Shapes of all outputs for a number of subjects."""
        n = self.size
        return [*[(number,)] * n, (), (number, n, n), (number, n), (n, n), (n, n)]

    def infer_shape(self, node: Apply, shapes: Any) -> list[tuple[Any, ...]]:
        """Shapes without evaluating."""
        return self.shapes(shapes[0][0])

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Sequence[Variable]
    ) -> list[Variable]:
        """Cotangents of `z`, `omega`, `factor` and the centres; what the data say is known."""
        n = self.size
        given = [
            pt.zeros_like(out) if isinstance(one.type, DisconnectedType) else one
            for one, out in zip(cotangents[: n + 1], outputs, strict=False)
        ]
        z, omega, factor, data = inputs[:4]
        pulled = PullInformed(self.per_subject)(
            z, omega, factor, data, *outputs[n + 1 :], given[n], *outputs[:n], *given[:n], return_list=True
        )
        return [*pulled[:3], disconnected_type(), disconnected_type(), *pulled[3:]]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """What is kept is not to be differentiated, nor is what the data say."""
        n = self.size
        return [
            [k not in (3, 4) and out <= n for out in range(len(node.outputs))]
            for k in range(len(node.inputs))
        ]


class PullInformed(_AffineOp):
    """Gradient of `InformedEffects`."""

    def make_node(self, *inputs: Any) -> Apply:
        """Inputs: `z`, `omega`, `factor`, `data`, what was kept, the density's cotangent, effects, theirs."""
        variables = [pt.as_tensor_variable(one, dtype="float64") for one in inputs]
        z, omega, factor = (one.type.shape for one in variables[:3])
        shapes = [z, omega, factor, *(z[:1] if own else () for own in self.per_subject)]
        outputs = [pt.tensor(dtype="float64", shape=shape) for shape in shapes]
        return Apply(self, variables, outputs)

    @property
    def kernel(self) -> Kernel:
        """The compiled gradient."""
        return _pull_kernel(self.per_subject)

    def shapes(self, number: Any) -> list[tuple[Any, ...]]:
        """Shapes of all outputs for a number of subjects."""
        n = self.size
        return [(number, n), (n,), (n, n), *((number,) if own else () for own in self.per_subject)]

    def infer_shape(self, node: Apply, shapes: Any) -> list[tuple[Any, ...]]:
        """Shapes without evaluating."""
        return self.shapes(shapes[0][0])


@register_funcify_and_cache_key(InformedEffects)
@register_funcify_and_cache_key(PullInformed)
def _funcify(op: _AffineOp, node: Apply, **kwargs: Any) -> tuple[Any, str | None]:
    return op.kernel.function, op.kernel.key if op.kernel.cached else None


def _register_if_loaded() -> None:
    """Make the Ops known to PyTensor's JAX linker, if this process has loaded JAX."""
    if "jax" in sys.modules:
        _register_jax()


@cache
def _register_jax() -> None:
    import jax
    from pytensor.link.jax.dispatch.basic import jax_funcify

    def hosted(op: Any, *args: Any) -> Any:
        def host(*values: Any) -> Any:
            return op.run(*(np.array(one, dtype=np.float64) for one in values))

        shapes = tuple(jax.ShapeDtypeStruct(one, np.float64) for one in op.shapes(args[0].shape[0]))
        return jax.pure_callback(host, shapes, *args, vmap_method="sequential")

    @jax_funcify.register(InformedEffects)
    def _informed(op: Any, node: Apply, **kwargs: Any) -> Any:
        n, pull = op.size, PullInformed(op.per_subject)

        @jax.custom_vjp
        def informed(*args: Any) -> Any:
            return hosted(op, *args)

        def forward(*args: Any) -> Any:
            out = informed(*args)
            return out, (args[:4], out)

        def backward(residuals: Any, cotangents: Any) -> Any:
            args, out = residuals
            pulled = hosted(pull, *args, *out[n + 1 :], cotangents[n], *out[:n], *cotangents[:n])
            return (*pulled[:3], None, None, *pulled[3:])

        informed.defvjp(forward, backward)
        return informed

    @jax_funcify.register(PullInformed)
    def _pull(op: Any, node: Apply, **kwargs: Any) -> Any:
        return lambda *args: hosted(op, *args)
