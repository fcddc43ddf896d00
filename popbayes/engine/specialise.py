"""Kernel templates + the constants of one model -> compiled numba functions, cached on disk.

A template is an ordinary Python function that reads module-level names (the number of modes, the
model's formulas). `specialise` binds those names and compiles. The key under which numba's cache
keeps the machine code is a hash of everything that decides it: the template's text, the text of all
functions bound to it and the versions of popbayes' kernels, numba, and the compiler flags.
"""

import inspect
import math
import re
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core.extending import _Intrinsic
from numba.extending import intrinsic
from pytensor.link.numba.cache import compile_numba_function_src

from popbayes.engine import lowering, quick_exp
from popbayes.engine.lowering import ENTRY, INNER
from popbayes.engine.quick_compile import quick_compile
from popbayes.engine.quick_exp import exp

# No reassociation: sums keep the order in which they are written, so that the same input gives the
# same bits whatever surrounds the kernel, and compensated formulas stay compensated.
FLAGS: dict[str, Any] = {
    "fastmath": {"contract", "nsz", "arcp"},
    "error_model": "numpy",
    "nogil": True,
    "boundscheck": False,
}

ENTRY_FLAGS: dict[str, Any] = {"no_cfunc_wrapper": True, "pipeline_class": ENTRY}
INNER_FLAGS: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "pipeline_class": INNER}
"""Of functions that only other kernels call."""


LIBRARY = tuple(f"popbayes.engine.{name}" for name in ("failures", "pieces", "quick_exp", "roots"))
"""Modules of functions that kernels call, and Python or one another."""
MAKES_ARRAYS = re.compile(r"np\.(empty|zeros|ones|full)|\.copy\(|\.reshape\(|\[:")
"""What in a text makes an array, or a view of one."""


@dataclass(frozen=True)
class Kernel:
    """A compiled function.

    Attributes
    ----------
    function
        What numba made of it.
    key
        Names its machine code.
    cached
        Whether that may be kept on disk.
    counts
        Whether it makes arrays, by itself or in what became part of it, so that references are counted.
    inline
        Whether it becomes part of those that call it.
    """

    function: numba.core.dispatcher.Dispatcher
    key: str
    cached: bool
    counts: bool = True
    inline: bool = False

    def __call__(self, *args: Any) -> Any:
        """Call the compiled function, compiling it if this is the first time."""
        if not self.function.overloads:
            with quick_compile():
                return self.function(*args)
        return self.function(*args)


def _describe(value: Any) -> str:
    if isinstance(value, Kernel):
        return value.key
    if isinstance(value, int | float | bool | str | tuple):
        return repr(value)
    if isinstance(value, numba.core.dispatcher.Dispatcher):
        # a library function: it is known by the text of its whole module, callees included
        return _module_text(value.py_func)
    if isinstance(value, _Intrinsic):
        return _module_text(value._defn)
    if isinstance(value, numba.types.ExternalFunction):
        return f"{value.symbol}{value.sig}"
    if isinstance(value, np.ndarray):
        return sha256(value.tobytes()).hexdigest()
    raise TypeError(f"A kernel cannot depend on {type(value).__name__}: its text is not known.")


def _module_text(function: Any) -> str:
    return sha256(inspect.getsource(sys.modules[function.__module__]).encode()).hexdigest()


def compile_source(
    source: str, name: str, bound: Mapping[str, Any], *, entry: bool = False, inline: bool = False
) -> Kernel:
    """Compile `source`, which defines `name` and reads the names in `bound`.

    Parameters
    ----------
    source
        Python text of one function.
    name
        The function's name.
    bound
        Constants and other kernels that the text refers to.
    entry
        The function is called from Python, not only from other kernels: it gets a wrapper.
    inline
        The function becomes part of those that call it, and is not compiled by itself.
    """
    foreign: Mapping[str, Any] = bound.get("foreign", {})
    own = {name: value for name, value in bound.items() if name != "foreign"}
    called = [value for value in own.values() if isinstance(value, Kernel)]
    # counting references to the arrays that it is given takes a third of the time of a small kernel
    within = any(one.counts for one in called if one.inline)
    counts = entry or bool(MAKES_ARRAYS.search(source)) or within
    described = sorted((key, _describe(value)) for key, value in own.items())
    identity = (source, name, described, sorted(foreign), entry, inline, counts, COMPILER)
    key = sha256(repr(identity).encode()).hexdigest()
    environment = {k: v.function if isinstance(v, Kernel) else v for k, v in own.items()}
    # functions lowered by PyTensor may hold pointers, which must not go to disk
    cached = not foreign and all(one.cached for one in called)
    function = compile_numba_function_src(
        source, name, {**PRELUDE, **environment, **foreign}, cache_key=f"popbayes_{key}"
    )
    # `_nrt` is said in both cases: numba would take it from whichever function is compiled around this one
    flags = (
        FLAGS
        | (ENTRY_FLAGS if entry else INNER_FLAGS)
        | {"_nrt": counts}
        | ({"inline": "always"} if inline else {})
    )
    return Kernel(numba.njit(cache=cached and entry, **flags)(function), key, cached, counts, inline)


def specialise(
    template: Callable[..., Any],
    *,
    entry: bool = False,
    inline: bool = False,
    rewrite: Callable[[str], str] = str,
    **bound: Any,
) -> Kernel:
    """Bind the module-level names of a template function and compile it.

    Names that are not in `bound` are taken from the template's own module; names in `bound` that the
    template does not use are left out, so that they do not decide its key. `rewrite` may change its text.
    """
    names = template.__code__.co_names
    module = {n: template.__globals__[n] for n in names if n in template.__globals__ and n not in PRELUDE}
    used = {n: _lowered(v) for n, v in module.items()} | {n: bound[n] for n in names if n in bound}
    source = textwrap.dedent(inspect.getsource(template))
    source = rewrite(source[source.index("def ") :])  # without what decorates it in the library
    return compile_source(source, template.__name__, used, entry=entry, inline=inline)


def _lowered(value: Any) -> Any:
    """A function of the library as other kernels call it: its own machine code is not needed."""
    if isinstance(value, numba.core.dispatcher.Dispatcher) and value.py_func.__module__ in LIBRARY:
        return _for_kernels(value)
    return value


@cache
def _for_kernels(function: numba.core.dispatcher.Dispatcher) -> Kernel:
    """Compile a function of the library for other kernels."""
    return specialise(function.py_func)


@numba.njit(inline="always", error_model="numpy")
def log(x):
    """Logarithm that is -inf at 0 and nan below, where `math.log` raises."""
    return np.log(x)


@numba.njit(inline="always", error_model="numpy")
def log1p(x):
    """`log(1 + x)`, -inf at -1 and nan below, where `math.log1p` raises."""
    return np.log1p(x)


@numba.njit(inline="always", error_model="numpy")
def power(x, y):
    """`x ** y` on floats: nan for a negative base with a broken exponent, never complex."""
    return np.power(x, y)


def _pick(low: bool) -> Any:
    """The lesser or the greater of two numbers, in place: numba compiles its own `min` for every type."""

    @intrinsic(prefer_literal=False)
    def pick(context, a, b):
        kind = numba.types.float64 if numba.types.float64 in (a, b) else numba.types.int64

        def codegen(target, builder, signature, values):
            x, y = (target.cast(builder, v, t, kind) for v, t in zip(values, signature.args, strict=True))
            compare = builder.fcmp_ordered if kind is numba.types.float64 else builder.icmp_signed
            return builder.select(compare("<" if low else ">", y, x), y, x)

        return kind(a, b), codegen

    return pick


# `__name__`: where numba finds the globals again when it loads code from disk
PRELUDE: dict[str, Any] = {
    "__name__": __name__,
    "math": math,
    "np": np,
    "log": log,
    "log1p": log1p,
    "power": power,
    "min": _pick(low=True),
    "max": _pick(low=False),
}
"""Names that the text of every kernel may use."""
PRELUDE_TEXT = "".join(
    inspect.getsource(one) for one in (quick_exp, log.py_func, log1p.py_func, power.py_func, _pick)
)
COMPILER = (
    *(numba.__version__, llvmlite.__version__, np.__version__, PRELUDE_TEXT),
    tuple(sorted((name, sorted(v) if isinstance(v, set) else v) for name, v in FLAGS.items())),
    *(ENTRY.__name__, INNER.__name__, inspect.getsource(lowering)),
)
"""What decides the machine code beside the text of a kernel."""
PRELUDE["exp"] = _for_kernels(exp).function
