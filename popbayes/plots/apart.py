"""Labels of points that do not cover each other."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

PLACES = (
    (4, 0, "left", "center"),
    (-4, 0, "right", "center"),
    (0, 4, "center", "bottom"),
    (0, -4, "center", "top"),
    (4, 6, "left", "bottom"),
    (4, -6, "left", "top"),
    (-4, 6, "right", "bottom"),
    (-4, -6, "right", "top"),
    (16, 0, "left", "center"),
    (-16, 0, "right", "center"),
)
"""Of a label around its point, the best first: shift in points, and its alignment."""


def keep_apart(figure: Figure, labels: Sequence[Annotation]) -> None:
    """Move each label to the first place where it is free; one for which there is none is taken away.

    The first labels choose first. Call it last: what the figure holds decides where its panels are.
    """
    if not labels:
        return
    figure.draw_without_rendering()  # a layout is made when a figure is drawn
    taken: dict[Any, list[Bbox]] = defaultdict(list)
    for label in labels:
        box = _free_place(label, taken[label.axes])
        if box is None:
            label.remove()
        else:
            taken[label.axes].append(box)


def _free_place(label: Annotation, taken: Sequence[Bbox]) -> Bbox | None:
    """Put a label where it covers none of the others, within its panel, and return its box."""
    if label.axes is None:
        return None
    panel = label.axes.bbox.padded(2)
    for x, y, horizontal, vertical in PLACES:
        label.set_position((x, y))
        label.set(ha=horizontal, va=vertical)
        box = label.get_window_extent()
        within = panel.x0 <= box.x0 and box.x1 <= panel.x1 and panel.y0 <= box.y0 and box.y1 <= panel.y1
        if within and not any(box.overlaps(other) for other in taken):
            return box
    return None
