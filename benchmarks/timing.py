"""CPU time of calls, at the full speed of the processor; the compiled log density as something to call."""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

REPEATS = 15
SECONDS_A_REPEAT = 0.02
LONGEST = 400
"""Repeats after which the search for undisturbed ones ends."""
UNDISTURBED = 1.1
"""A repeat counts as undisturbed if the probe took no longer than this times its best, before and after."""
_PROBED = np.linspace(-5.0, 5.0, 20_000)
_BEST = [math.inf]


@dataclass(frozen=True)
class Spread:
    """Median, minimum and maximum of repeated measurements.

    `disturbed` is the part of the repeats that the median leaves out (see `cpu_per_call`).
    """

    median: float
    low: float
    high: float
    disturbed: float = 0.0

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """Summarise `values`."""
        return cls(statistics.median(values), min(values), max(values))


def probe() -> float:
    """CPU microseconds of a fixed calculation within the processor's nearest cache: how fast it runs now."""
    start = time.process_time()
    np.exp(_PROBED)
    np.exp(_PROBED)
    spent = 1e6 * (time.process_time() - start)
    _BEST[0] = min(_BEST[0], spent)
    return spent


def cpu_per_call(calls: Callable[[int], object]) -> Spread:
    """CPU microseconds of one of the calls that ``calls(n)`` makes n times.

    A virtual processor whose physical core is shared runs 1.6 times slower while its neighbour works, which
    shows in no clock that this process can read. A probe before and after each repeat tells: the median is
    of the repeats at full speed (of all, where fewer than three are), the smallest and largest of all.
    """
    calls(1)
    number = 1
    while (spent := _cpu(calls, number)) < SECONDS_A_REPEAT / 4:
        number *= 4
    number = max(1, round(number * SECONDS_A_REPEAT / max(spent, 1e-9)))
    values, probes = [], []
    while len(values) < LONGEST:
        before = probe()
        values.append(1e6 * _cpu(calls, number) / number)
        probes.append(max(before, probe()))
        quiet = [v for v, p in zip(values, probes, strict=True) if p <= UNDISTURBED * _BEST[0]]
        if len(quiet) >= REPEATS and len(values) >= 4 * REPEATS:
            break
    middle = statistics.median(quiet if len(quiet) >= 3 else values)
    return Spread(middle, min(values), max(values), 1.0 - len(quiet) / len(values))


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
