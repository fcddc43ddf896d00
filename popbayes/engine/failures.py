"""Solutions that failed, counted by subject while somebody watches.

Compiled code cannot raise: a solution that needs too many steps, or whose rates are not finite, gives nan, so
that the sampler rejects the point. It also says so here, by a call out of the compiled code that costs
nothing where nothing fails. Chains in forked processes count into memory that they share with their parent. A
study is known by a checksum of its schedule, which every sampler and estimator shares; two fits of the same
data at the same time count each other's failures.
"""

import ctypes
import math
import mmap
import multiprocessing
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numba
import numpy as np
from llvmlite import binding

SYMBOL = "popbayes_failed_solve"
_JIT = {"nogil": True, "cache": True, "_nrt": True}
Counts = tuple[np.ndarray, AbstractContextManager[Any]]
_watched: dict[int, list[Counts]] = {}
"""Study -> counts of those who watch it, and what keeps two processes from counting at the same time."""


@ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)
def _count(study: int, subject: int) -> None:
    """Called by compiled code, from any thread."""
    for counts, alone in _watched.get(study, ()):
        with alone:
            counts[subject] += 1


def _shared(size: int) -> Counts:
    """Zeros in memory that a forked process shares with its parent."""
    counts = np.frombuffer(mmap.mmap(-1, max(1, size) * np.dtype(np.int64).itemsize), dtype=np.int64)[:size]
    try:
        return counts, multiprocessing.Lock()
    except (OSError, ImportError):  # a system without semaphores forks no chains either
        return counts, nullcontext()


# under a name, not an address: code that comes from the disk cache finds it in every process
binding.add_symbol(SYMBOL, ctypes.cast(_count, ctypes.c_void_p).value)
_failed_solve = numba.types.ExternalFunction(SYMBOL, numba.types.void(numba.types.int64, numba.types.int64))


@numba.njit(**_JIT)
def checksum(ptr, rt, sf):
    """A number that tells one schedule from another: subjects, times and doses."""
    total = np.int64(17 * ptr.shape[0] + sf.shape[0])
    for k in range(rt.shape[0]):
        total = total * np.int64(1_000_003) + np.int64(rt[k] * 1048576.0)
    for k in range(sf.shape[0]):
        for j in range(sf.shape[1]):
            total = total * np.int64(1_000_003) + np.int64(sf[k, j] * 1048576.0)
    return total


@numba.njit(**_JIT)
def report_failure(ptr, rt, sf, theta, low, high, subject):
    """Count a solution of `subject` that failed; not where its parameters were no numbers to begin with."""
    for k in range(low, high):
        for j in range(theta.shape[1]):
            if not abs(theta[k, j]) < math.inf:
                return
    _failed_solve(checksum(ptr, rt, sf), subject)


@contextmanager
def watching(schedule: Any) -> Iterator[np.ndarray]:
    """Count the failed solutions of each subject of a schedule until the block ends.

    Yields
    ------
    (n_subject,) int
        Grows while it is watched, by what processes forked meanwhile count too.
    """
    key = int(checksum(schedule.subjects, schedule.times, schedule.amounts))
    own = _shared(len(schedule.subjects) - 1)
    _watched.setdefault(key, []).append(own)
    try:
        yield own[0]
    finally:
        _watched[key] = [one for one in _watched[key] if one is not own]
        if not _watched[key]:
            del _watched[key]
