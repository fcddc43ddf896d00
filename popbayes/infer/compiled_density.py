"""The log density of a graph and its gradient as one C function, kept on disk between processes.

nutpie's own compilation links and optimises the whole density anew in every process, and compiles a second
function for the variables that are stored. Here the C function is kept under a key of everything that
decides it, and reads shared variables through a table of addresses, so that a model with other values in
them is not compiled again. What is stored is computed from the draws (`popbayes.infer.expansion`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numba
import numpy as np
import pytensor.tensor as pt
from numba.extending import intrinsic
from pymc.pytensorf import compile as compile_graph
from pytensor.graph import clone_replace, rewrite_graph
from pytensor.link.numba.cache import CACHED_SRC_FUNCTIONS, compile_numba_function_src
from pytensor.link.numba.dispatch.basic import numba_njit

from popbayes.engine.lowering import SEALED
from popbayes.engine.quick_compile import quick_compile
from popbayes.engine.specialise import COMPILER

POINT = "position"
REWRITES = ("canonicalize", "stabilize", "local_remove_check_parameter")
"""Checks of parameters are left out: outside its support the density is not finite, which is rejected."""
NOT_FINITE = 3
RAISED = 1
DOUBLES = numba.types.CPointer(numba.types.double)
DENSITY_SIGNATURE = numba.types.int64(
    numba.types.uint64, DOUBLES, DOUBLES, DOUBLES, numba.types.CPointer(numba.types.uint64)
)
COPY_SIGNATURE = numba.types.int64(
    numba.types.uint64, numba.types.uint64, DOUBLES, DOUBLES, numba.types.voidptr
)


@dataclass(frozen=True, eq=False)
class Compiled:
    """The C function `density(n, x, gradient, value, table) -> code`, and what it reads.

    Attributes
    ----------
    function : numba C function
    size : int
        Number of coordinates of the unconstrained space.
    table : (k,) uint64
        Address and shape of every shared array.
    shared : sequence of arrays
        These arrays, kept alive.
    """

    function: Any
    size: int
    table: np.ndarray
    shared: Sequence[np.ndarray]

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Log density and gradient at a point; NaN where the function reports an error."""
        x = np.ascontiguousarray(x, dtype=np.float64)
        gradient, value = np.full(self.size, np.nan), np.full((), np.nan)
        pointers = (
            one.ctypes.data_as(ctype)
            for one, ctype in zip(
                (x, gradient, value, self.table), self.function.ctypes.argtypes[1:], strict=True
            )
        )
        code = self.function.ctypes(self.size, *pointers)
        if code == RAISED:
            return np.nan, np.full(self.size, np.nan)
        return float(value), gradient


@quick_compile()
def compiled_density(graph: Any) -> Compiled:
    """Compile the log density of a PyMC model over the joined coordinates of its free variables, or load it.

    Its key is that of the whole graph with its constants; a graph that PyTensor cannot name is compiled anew.
    """
    size, function = density_function(graph)
    shared = [np.array(one.get_value(borrow=True), order="C") for one in function.get_shared()]
    python = function.vm.jit_fn.py_func
    key = CACHED_SRC_FUNCTIONS.get(python)
    inner = numba_njit(python)
    source = _wrapper(shared)
    table = np.array(
        [number for one in shared for number in (one.ctypes.data, *one.shape)] or [0], dtype=np.uint64
    )
    made = _c_function(source, "density", DENSITY_SIGNATURE, key, {"inner": inner, "address": _as_pointer})
    return Compiled(made, size, table, shared)


def identity_function() -> Any:
    """The C function `copy(n, m, x, out, data) -> 0`: nutpie stores the coordinates themselves."""
    source = "def copy(n, m, x, out, data):\n    for k in range(n):\n        out[k] = x[k]\n    return 0\n"
    return _c_function(source, "copy", COPY_SIGNATURE, "copy", {})


def split_point(graph: Any, point: Any) -> dict[Any, Any]:
    """Value variable -> its part of the joined coordinates, in the order of the free variables."""
    start, parts = 0, {}
    for value, shape in zip(graph.value_vars, value_shapes(graph), strict=True):
        length = int(np.prod(shape))
        part = point[start : start + length].reshape(shape) if shape else point[start]
        parts[value] = part
        start += length
    return parts


def value_shapes(graph: Any) -> list[tuple[int, ...]]:
    """Shapes of the value variables."""
    initial = graph.initial_point()
    return [np.shape(initial[value.name]) for value in graph.value_vars]


def density_function(graph: Any) -> tuple[int, Any]:
    """Number of coordinates, and the function from joined coordinates to log density and gradient."""
    logp = rewrite_graph(graph.logp(), include=REWRITES)
    gradients = pt.grad(logp, graph.value_vars)
    joined = pt.concatenate([one.ravel() for one in gradients])
    size = sum(int(np.prod(shape)) for shape in value_shapes(graph))
    point = pt.TensorType("float64", shape=(size,))(POINT)
    outputs = clone_replace([logp, joined], split_point(graph, point))
    return size, compile_graph([point], outputs, mode="NUMBA")


def _wrapper(shared: Sequence[np.ndarray]) -> str:
    """Text of the C function: arrays from the table, the call, and a code for what is not finite."""
    lines, at = [], 0
    for k, one in enumerate(shared):
        shape = "".join(f"int(table[{at + 1 + d}]), " for d in range(one.ndim))
        lines.append(f"s_{k} = carray(address(table[{at}]), ({shape}), np.{one.dtype.name})")
        at += 1 + one.ndim
    arguments = ", ".join(["x", *(f"s_{k}" for k in range(len(shared)))])
    body = [
        "x, out = carray(x_, (n,)), carray(out_, (n,))",
        *lines,
        f"value, gradient = inner({arguments})",
        "value_[0] = value[()]",
        "finite = np.isfinite(value_[0])",
        "for k in range(n):",
        "    out[k] = gradient[k]",
        "    finite = finite and np.isfinite(out[k])",
        f"return 0 if finite else {NOT_FINITE}",
    ]
    inside = "\n        ".join(body)
    return (
        "def density(n, x_, out_, value_, table):\n"
        f"    try:\n        {inside}\n"
        f"    except Exception:\n        return {RAISED}\n"
    )


def _c_function(source: str, name: str, signature: Any, key: str | None, bound: dict[str, Any]) -> Any:
    """Compile a C function, under a key of its text and of what it calls where that has one."""
    own = None if key is None else sha256(repr((source, key, COMPILER)).encode()).hexdigest()
    environment = {"__name__": __name__, "carray": numba.carray, "np": np, **bound}
    python = compile_numba_function_src(source, name, environment, cache_key=own)
    return numba.cfunc(signature, cache=own is not None, pipeline_class=SEALED)(python)


@intrinsic
def _as_pointer(typing_context, address):
    """An address as a void pointer."""

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], numba.core.cgutils.voidptr_t)

    return numba.types.voidptr(address), generate
