"""CPU time of the compiled log density and its gradient, called from a compiled loop."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

REPEATS = 15
SECONDS_A_REPEAT = 0.2


@dataclass(frozen=True)
class Spread:
    """Median, minimum and maximum of repeated measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """Summarise `values`."""
        return cls(statistics.median(values), min(values), max(values))


def cpu_per_call(calls: Callable[[int], object]) -> Spread:
    """CPU microseconds of one of the calls that ``calls(n)`` makes n times.

    The process's own CPU time, so that a busy machine disturbs it little; what is left of the disturbance
    (caches, clock rate) shows in the spread.
    """
    calls(1)
    number = 1
    while (spent := _cpu(calls, number)) < SECONDS_A_REPEAT / 4:
        number *= 4
    number = max(1, round(number * SECONDS_A_REPEAT / max(spent, 1e-9)))
    return Spread.of([1e6 * _cpu(calls, number) / number for _ in range(REPEATS)])


def _cpu(calls: Callable[[int], object], number: int) -> float:
    start = time.process_time()
    calls(number)
    return time.process_time() - start


def nutpie_gradient(compiled: Any, point: np.ndarray) -> Callable[[int], object]:
    """Loop over the very function that nutpie calls: log density and gradient at `point`."""
    function = compiled.function.ctypes
    n_dim = np.uint64(compiled.size)
    gradient, logp = np.zeros(compiled.size), np.zeros(1)

    @numba.njit
    def loop(number, point, gradient, logp, table):
        failed = 0
        for _ in range(number):
            failed += function(n_dim, point.ctypes, gradient.ctypes, logp.ctypes, table.ctypes) != 0
        return failed

    if loop(1, point, gradient, logp, compiled.table):
        raise ValueError("The log density or its gradient is not finite at the point chosen for timing.")
    return lambda number: loop(number, point, gradient, logp, compiled.table)
