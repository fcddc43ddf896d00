"""Work of compiled code, which lets go of the interpreter, shared among threads."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

_HELPERS: dict[int, ThreadPoolExecutor] = {}
_LOCK = threading.Lock()


def shared_out[Part](call: Callable[[Iterator[Part]], object], parts: Sequence[Part], threads: int) -> None:
    """Call `call` on at most `threads` threads, the caller's among them, each with parts to iterate over.

    A thread takes the next part when it is done with the last: processors are not equally fast at all times
    (a neighbour on the same core costs a third), and equal shares would wait for the slowest. What any call
    raises is raised, when all are done.
    """
    waiting = _Parts(parts)
    more = min(threads, len(parts)) - 1
    others = [_helpers(more).submit(call, waiting) for _ in range(more)]
    try:
        if len(parts) > 0:
            call(waiting)
    finally:
        failed = [one.exception() for one in others]
    for error in failed:
        if error is not None:
            raise error


class _Parts[Part]:
    """An iterator that several threads may use."""

    def __init__(self, parts: Sequence[Part]):
        self._parts = iter(parts)
        self._lock = threading.Lock()

    def __iter__(self) -> "_Parts[Part]":
        return self

    def __next__(self) -> Part:
        with self._lock:
            return next(self._parts)


def _helpers(number: int) -> ThreadPoolExecutor:
    """Threads that wait for work: starting them anew takes a tenth of a millisecond each."""
    with _LOCK:
        if number not in _HELPERS:
            _HELPERS[number] = ThreadPoolExecutor(number, thread_name_prefix="popbayes")
        return _HELPERS[number]


# a forked process has none of its parent's threads
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_HELPERS.clear)
