"""Marks of observations that are known only to lie beyond a limit."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from popbayes.diagnostics.limits import ABOVE, BELOW
from popbayes.plots.style import INK

MARKS = {BELOW: ("v", "below the limit"), ABOVE: ("^", "above the limit")}
"""Hollow triangles at the limit, that point to where the value lies."""


def draw_beyond(ax: Axes, x: np.ndarray, y: np.ndarray, side: np.ndarray, size: float = 4.5) -> None:
    """Draw the observations that are not measured, each at its limit."""
    for which, (marker, name) in MARKS.items():
        mine = side == which
        if mine.any():
            look: dict[str, Any] = {"ms": size, "mfc": "none", "mec": INK, "mew": 0.8, "ls": ""}
            ax.plot(x[mine], y[mine], marker=marker, zorder=2.5, label=name, **look)


def count_beyond(side: np.ndarray) -> list[str]:
    """How many observations lie on each side of a limit, in words."""
    counts = {name: int((side == which).sum()) for which, (_, name) in MARKS.items()}
    return [f"{count} {name} (triangles)" for name, count in counts.items() if count]
