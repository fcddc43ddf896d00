"""Arrays that kernels write, made by whoever calls them.

A kernel that makes no array compiles in half the time and counts no references; one that is called for run
after run of subjects uses the same memory again instead of asking the system for fresh pages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LANE_BITS = 3
LANES = 1 << LANE_BITS
"""Segments whose coefficients lie side by side (see `lanes`)."""
SIZES = {
    "segment": "theta.shape[0]",
    "lanes": f"(theta.shape[0] + {LANES - 1}) // {LANES}",
    "record": "rt.shape[0]",
    "stream": "si.shape[0]",
    "observation": "n_obs[()]",
    "one": "1",
}
"""What rows are counted by -> its number, in the text of an entry point."""


@dataclass(frozen=True)
class Buffer:
    """Shape of one array, whose values are not set.

    Attributes
    ----------
    what
        What its rows count, a key of `SIZES`.
    number
        Rows for each.
    width
        Columns; None: a vector.
    integer
        Whole numbers instead of floats.
    """

    what: str
    number: int = 1
    width: int | None = None
    integer: bool = False

    @property
    def text(self) -> str:
        """Expression that makes the array."""
        rows = SIZES[self.what] if self.number == 1 else f"{SIZES[self.what]} * {self.number}"
        shape = rows if self.width is None else f"({rows}, {self.width})"
        return f"np.empty({shape}, np.{'int64' if self.integer else 'float64'})"

    def shape(self, sizes: Mapping[str, Any]) -> tuple[Any, ...]:
        """Its shape, from the number of each thing that rows can count: integers, or symbols for them."""
        each = (sizes["segment"] + LANES - 1) // LANES if self.what == "lanes" else sizes[self.what]
        rows = each * self.number
        return (rows,) if self.width is None else (rows, self.width)

    def make(self, sizes: Mapping[str, int]) -> np.ndarray:
        """The array."""
        return np.empty(self.shape(sizes), np.int64 if self.integer else np.float64)


def as_tuple(buffers: Sequence[Buffer]) -> str:
    """Text of a tuple of arrays, to be given as one argument."""
    return f"({', '.join(one.text for one in buffers)},)"
