"""How every figure looks: colours that all eyes tell apart, sizes for a notebook, units in labels."""

import io
from collections.abc import Callable
from functools import wraps
from typing import Any, final

import numpy as np
import xarray as xr
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

# Okabe & Ito's colours, told apart with any colour vision and in grey (their order of lightness differs).
BLUE, SKY, ORANGE, VERMILLION, GREEN = "#0072B2", "#56B4E9", "#E69F00", "#D55E00", "#009E73"
INK, GREY, LIGHT = "#222222", "#6E6E6E", "#D9D9D9"

RC: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "figure.titlesize": 11.0,
    "figure.titleweight": "bold",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}
SCREEN_DPI = 120
NOUGHT = 1e-9
"""Fraction of the largest value below which one counts as 0 on a logarithmic axis: what rounding leaves."""


@final
class Picture(Figure):
    """A matplotlib Figure of no window; a notebook shows it where it is the last value of a cell."""

    def _repr_png_(self) -> bytes:
        return png(self, SCREEN_DPI)


def png(figure: Figure, dpi: int) -> bytes:
    """Return the figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def styled[**P](draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw with the settings of `RC`, whatever the user's own are, and leave those as they were."""

    @wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with style.context(["default", RC]):
            return draw(*args, **kwargs)

    return wrapped


def expect(given: object, kind: type, holds: str, plot: str, source: str) -> None:
    """Refuse what a picture cannot be drawn from; `holds` is a name that is in the right object."""
    if not isinstance(given, kind) or (holds and holds not in given):  # type: ignore[operator]
        raise TypeError(
            f"This {type(given).__name__} is not what is drawn: give {plot} the result of {source}."
        )


def picture(width: float, height: float) -> Picture:
    """Return an empty figure of this size, in inches."""
    return Picture(figsize=(width, height), layout="constrained")


def legend_of(figure: Figure, place: Any, ncols: int) -> None:
    """Make one legend of all panels: what is drawn in some of them, each name once."""
    found: dict[str, Any] = {}
    for ax in figure.axes:
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True):
            if ax.get_visible():
                found.setdefault(name, handle)
    figure.legend(list(found.values()), list(found), loc=place, ncols=ncols)


def label(name: str, unit: str) -> str:
    """Return an axis label: ``Time (h)``."""
    return f"{name} ({unit})" if unit else name


def label_of(variable: xr.DataArray) -> str:
    """Return the axis label of a variable, from its attributes."""
    return label(variable.attrs.get("long_name", str(variable.name)), variable.attrs.get("units", ""))


def on_log(ax: Axes, axis: str, values: np.ndarray) -> int:
    """Make an axis logarithmic, with limits around the positive values; return how many are not positive.

    An axis with nothing positive to show stays linear. What is below `NOUGHT` of the largest counts as 0.
    """
    finite = values[np.isfinite(values)]
    positive = finite[finite > NOUGHT * finite.max(initial=0.0)]
    if len(positive) == 0:
        return len(finite)
    getattr(ax, f"set_{axis}scale")("log")
    low, high = positive.min(), positive.max()
    margin = (high / low) ** 0.06 if high > low else 1.5
    getattr(ax, f"set_{axis}lim")(low / margin, high * margin)
    ticks = getattr(ax, f"{axis}axis")
    narrow = high * margin / (low / margin) < 30
    ticks.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,)))
    ticks.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ticks.set_minor_formatter(NullFormatter())
    return len(finite) - len(positive)
