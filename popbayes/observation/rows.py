"""The observations of one kind as a likelihood sees them: measured, known between limits, or left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

MEASURED, BETWEEN, LEFT_OUT = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Rows:
    """Observations of one kind, in the order of the table.

    Attributes
    ----------
    dv : (n,)
        The value used; what it is for observations that are not measured does not matter, but it is finite.
    state : (n,) int
        `MEASURED`, `BETWEEN` (``lower < y <= upper``) or `LEFT_OUT` (its log density is 0).
    lower, upper : (n,)
        Limits of what is known between them; infinite where there is none.
    floor : (n,)
        The density is that of an observation known to be above it; -inf where nothing is known.
    previous : (n,) int
        Index of the subject's observation of this kind before it that is not left out, -1 for the first
        and after a reset.
    time, since : (n,)
        Time of the observation, and of the subject's previous one of this kind, resets or not (the subject's
        first record where there is none).
    origin : (n,)
        Time of the subject's first record.
    reset : (n,) bool
        Whether the states were reset after `since`, at a later time: what they were until then is not known.
    positive : bool
        Whether observations are known to be positive, which draws then are too.
    """

    dv: Any
    state: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    floor: np.ndarray
    previous: np.ndarray
    time: np.ndarray
    since: np.ndarray
    origin: np.ndarray
    reset: np.ndarray
    positive: bool = False

    @property
    def all_measured(self) -> bool:
        """Whether every observation is a measured value with nothing else known of it."""
        return bool(np.all(self.state == MEASURED) and not np.isfinite(self.floor).any())

    @cached_property
    def measured(self) -> np.ndarray:
        """Indices of the measured values."""
        return np.flatnonzero(self.state == MEASURED)

    @cached_property
    def between(self) -> dict[str, np.ndarray]:
        """Indices of observations known to be "below" a limit, "above" one, or "within" two."""
        between, low, high = self.state == BETWEEN, np.isfinite(self.lower), np.isfinite(self.upper)
        kinds = {"below": ~low & high, "above": low & ~high, "within": low & high}
        return {name: np.flatnonzero(between & which) for name, which in kinds.items()}

    @cached_property
    def floored(self) -> np.ndarray:
        """Indices of observations that count and whose density is that above a floor."""
        return np.flatnonzero((self.state != LEFT_OUT) & np.isfinite(self.floor))


def cut(value: Any, index: np.ndarray, n: int) -> Any:
    """Some of the `n` last columns of an array or tensor; one value for all observations stays as it is."""
    if np.isscalar(value) or value.ndim == 0 or len(index) == n:
        return value
    known = value.type.shape[-1] if hasattr(value, "type") else value.shape[-1]
    return value if known == 1 and n != 1 else value[..., index]


def assemble(parts: Sequence[tuple[np.ndarray, Any]], n: int, xp: Any) -> Any:
    """Put values (..., k) of the observations `index` (k,) together, (..., n); 0 for all others."""
    used = [(index, values) for index, values in parts if len(index)]
    if len(used) == 1 and len(used[0][0]) == n:
        return used[0][1]
    if xp is np:
        shape = np.broadcast_shapes(*(values.shape[:-1] for _, values in used))
        out = np.zeros((*shape, n))
        for index, values in used:
            out[..., index] = values
        return out
    out = xp.zeros(n, dtype="float64")
    for index, values in used:
        out = xp.set_subtensor(out[index], values)
    return out
