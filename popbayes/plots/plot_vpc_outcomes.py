"""Pictures of visual predictive checks of categories and of events; drawn by `plot_vpc`."""

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from popbayes.plots.bands import draw_band
from popbayes.plots.style import BLUE, INK, label, picture

MOST_COLUMNS = 4


def draw_categories(checked: xr.Dataset, note: str, title: str) -> Figure:
    """One panel for each category: its fraction over the interval of the simulated one."""
    n = checked.sizes["category"]
    columns = min(n, MOST_COLUMNS)
    rows = -(-n // columns)
    figure = picture(2.6 * columns + 1.2, 1.3 + 2.5 * rows)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for k, ax in enumerate(axes):
        if k >= n:
            ax.set_visible(False)
            continue
        one = 100 * checked.isel(category=k)[["observed", "simulated", "lower", "upper"]]
        x = checked["middle"].to_numpy()
        low, high = one["lower"].to_numpy(), one["upper"].to_numpy()
        draw_band(ax, checked, low, high, BLUE, "simulated interval")
        ax.plot(x, one["simulated"], color=BLUE, lw=0.8, label="simulated median")
        ax.plot(x, one["observed"], color=INK, marker="o", ms=3, label="observed")
        ax.set_title(f"{checked.attrs['endpoint']} = {checked['category'].to_numpy()[k]}")
        ax.set_ylim(-3, 103)
        if k % columns == 0:
            ax.set_ylabel("Observations (%)")
        if k + columns >= n:
            _time_axis(ax, checked)
    return _finished(figure, axes[0], note, title)


def draw_survival(checked: xr.Dataset, note: str, title: str) -> Figure:
    """The observed survival curve over the interval of the simulated ones."""
    figure = picture(6.4, 4.4)
    ax = figure.subplots()
    x = checked["at"].to_numpy()
    low, middle, high, seen = (100 * checked[name] for name in ("lower", "simulated", "upper", "observed"))
    ax.fill_between(x, low, high, step="post", color=BLUE, alpha=0.22, lw=0, label="simulated interval")
    ax.step(x, middle, where="post", color=BLUE, lw=0.8, label="simulated median")
    ax.step(x, seen, where="post", color=INK, label="observed (Kaplan-Meier)")
    ax.set_ylim(-3, 103)
    ax.set_ylabel(f"Without {checked.attrs['endpoint']} (%)")
    _time_axis(ax, checked)
    return _finished(figure, ax, note, title)


def _time_axis(ax: Axes, checked: xr.Dataset) -> None:
    name = "Time" if checked.attrs["against"] == "time" else "Time after dose"
    ax.set_xlabel(label(name, checked.attrs["time_unit"]))


def _finished(figure: Figure, ax: Axes, note: str, title: str) -> Figure:
    handles, names = ax.get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        loc="outside lower left",
        ncols=3,
        title=note,
        title_fontproperties={"size": 7.5},
        alignment="left",
    )
    figure.suptitle(title, x=0.01, ha="left")
    return figure
