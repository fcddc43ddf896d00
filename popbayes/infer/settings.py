"""Seeds, processors and clocks: what every computation here needs to know of its surroundings."""

import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

SEED_BITS = 32


@dataclass(frozen=True)
class Clock:
    """Wall and CPU seconds at one moment; the CPU time of finished child processes included."""

    wall: float
    cpu: float

    @classmethod
    def start(cls) -> "Clock":
        """Begin now."""
        return cls(time.perf_counter(), sum(os.times()[:4]))

    def stop(self) -> dict[str, float]:
        """Seconds since the start, as attributes of a DataTree."""
        now = Clock.start()
        return {"wall_time": now.wall - self.wall, "cpu_time": now.cpu - self.cpu}

    def since(self, earlier: Mapping[str, float]) -> dict[str, float]:
        """The same, less what an earlier part took."""
        return {name: value - earlier.get(name, 0.0) for name, value in self.stop().items()}


def processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def checked_seed(seed: Any) -> int:
    """The seed as an int, or a fresh one for None.

    Raises
    ------
    ValueError
        If it is not a whole number between 0 and 2**63 - 1.
    """
    if seed is None:
        return secrets.randbits(SEED_BITS)
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= int(seed) < 2**63:
        raise ValueError(
            f"seed must be a whole number from 0 to 2**63 - 1, or None for a fresh one; not {seed!r}."
        )
    return int(seed)
