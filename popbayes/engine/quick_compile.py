"""Compiling with less waste: no garbage collector, a memory of how operations are typed, no needless copies.

A compilation makes millions of objects that live until its end, through which the collector goes again and
again; for each `a * b` numba asks ten implementations in turn, although it has just found the right one
for these types; and a function that becomes part of its caller is translated for that one place, then copied
twice, block by block, each with all variables of the function. Together they are two fifths of the time.

This uses parts of numba that its documentation does not promise (`BaseFunction.get_call_type`, `ConfigStack`,
`InlineWorker`). A numba without them compiles its own way.
"""

import copy
import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from numba.core import inline_closurecall, targetconfig
from numba.core.types import functions

_METHOD = "get_call_type"
_GET_CALL_TYPE: Any = getattr(functions.BaseFunction, _METHOD, None)
_STACK: Any = getattr(targetconfig, "ConfigStack", None)
_WORKER: Any = getattr(inline_closurecall, "InlineWorker", None)
_INLINE = "inline_function"
_INLINE_FUNCTION: Any = getattr(_WORKER, _INLINE, None)
_WORKS = _GET_CALL_TYPE is not None and _STACK is not None
_INLINES = (
    _INLINE_FUNCTION is not None
    and getattr(inline_closurecall, "copy", None) is copy
    and hasattr(_WORKER, "run_untyped_passes")
    and hasattr(_WORKER, "inline_ir")
)


class _Memory:
    """Function, types of its arguments and compiler flags -> the signature that numba found."""

    def __init__(self) -> None:
        self.found: dict[Any, tuple[Any, Any]] = {}
        self.flags: dict[int, tuple[Any, int]] = {}
        self.numbers: dict[Any, int] = {}

    def number_of(self, flags: Any) -> int:
        """A number for equal flags: comparing them takes longer than all the rest."""
        if id(flags) not in self.flags:
            # the flags are held, so that nothing else gets their identity
            self.flags[id(flags)] = flags, self.numbers.setdefault(flags, len(self.numbers))
        return self.flags[id(flags)][1]

    def get_call_type(self, function: Any, context: Any, args: Any, kws: Any) -> Any:
        """What numba's method of that name gives."""
        if kws:
            return _GET_CALL_TYPE(function, context, args, kws)
        key = (function.key, context, args, self.number_of(_STACK.top_or_none()))
        if key in self.found:
            signature, implementation = self.found[key]
            function._impl_keys[signature.args] = implementation
            return signature
        signature = _GET_CALL_TYPE(function, context, args, kws)
        self.found[key] = signature, function._impl_keys[signature.args]
        return signature


def _inline_function(
    worker: Any, caller: Any, block: Any, at: int, function: Any, types: Any = None
) -> tuple[Any, ...]:
    """What numba's method of that name does, less copies of what was made for this one place.

    Numba holds its lock here, so nobody else copies by this module's name meanwhile.
    """
    made = worker.run_untyped_passes(function)
    inline_closurecall.copy = SimpleNamespace(deepcopy=lambda one: one)
    try:
        return worker.inline_ir(caller, block, at, made, function.__code__.co_freevars, arg_typs=types)
    finally:
        inline_closurecall.copy = copy


class _Session:
    """The time in which something is compiled, by however many callers at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.callers = 0
        self.collects = False

    def enter(self) -> None:
        """Begin with the first caller."""
        with self.lock:
            self.callers += 1
            if self.callers > 1:
                return
            self.collects = gc.isenabled()
            gc.disable()
            if _WORKS:
                memory = _Memory()

                def get_call_type(function: Any, context: Any, args: Any, kws: Any) -> Any:
                    return memory.get_call_type(function, context, args, kws)

                setattr(functions.BaseFunction, _METHOD, get_call_type)
            if _INLINES:
                setattr(_WORKER, _INLINE, _inline_function)

    def leave(self) -> None:
        """End with the last caller."""
        with self.lock:
            self.callers -= 1
            if self.callers > 0:
                return
            if _WORKS:
                setattr(functions.BaseFunction, _METHOD, _GET_CALL_TYPE)
            if _INLINES:
                setattr(_WORKER, _INLINE, _INLINE_FUNCTION)
            if self.collects:
                gc.enable()


_SESSION = _Session()


@contextmanager
def quick_compile() -> Iterator[None]:
    """What is compiled within compiles faster, into the same code."""
    _SESSION.enter()
    try:
        yield
    finally:
        _SESSION.leave()
