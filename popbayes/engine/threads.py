"""Work of compiled code, which lets go of the interpreter, shared among threads."""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

_HELPERS: dict[int, ThreadPoolExecutor] = {}
_LOCK = threading.Lock()


def shared_out[Part](call: Callable[[Sequence[Part]], object], parts: Sequence[Part], threads: int) -> None:
    """Call `call` with shares of the parts, on at most `threads` threads, of which the caller's is one.

    Each thread has its share from the beginning: parts are many and short, and handing them out one by one
    would cost more than an uneven end. What any call raises is raised, when all are done.
    """
    shares = [parts[k::threads] for k in range(min(threads, len(parts)))]
    others = [_helpers(len(shares) - 1).submit(call, share) for share in shares[1:]]
    try:
        if shares:
            call(shares[0])
    finally:
        failed = [one.exception() for one in others]
    for error in failed:
        if error is not None:
            raise error


def _helpers(number: int) -> ThreadPoolExecutor:
    """Threads that wait for work: starting them anew takes a tenth of a millisecond each."""
    with _LOCK:
        if number not in _HELPERS:
            _HELPERS[number] = ThreadPoolExecutor(number, thread_name_prefix="popbayes")
        return _HELPERS[number]


# a forked process has none of its parent's threads
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_HELPERS.clear)
