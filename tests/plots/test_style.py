import matplotlib
import numpy as np
import pytest
import xarray as xr
from matplotlib import colors
from matplotlib.figure import Figure

from popbayes.plots import style
from popbayes.plots.plot_gof import plot_gof
from popbayes.plots.plot_individual import plot_individual
from popbayes.plots.plot_shrinkage import plot_shrinkage
from popbayes.plots.plot_vpc import plot_vpc
from popbayes.plots.style import label, on_log, picture, styled


def test_a_label_has_its_unit_where_there_is_one():
    assert label("Time", "h") == "Time (h)"
    assert label("Time", "") == "Time"


def test_a_logarithmic_axis_counts_what_it_cannot_show_rounding_included():
    ax = picture(3, 3).subplots()
    assert on_log(ax, "y", np.array([0.0, -1.0, 1e-17, 2.0, 8.0, np.nan])) == 3
    assert ax.get_yscale() == "log"
    assert 1 < ax.get_ylim()[0] < 2
    assert 8 < ax.get_ylim()[1] < 10


def test_nothing_positive_leaves_the_axis_linear():
    ax = picture(3, 3).subplots()
    assert on_log(ax, "y", np.array([0.0, -1.0])) == 2
    assert ax.get_yscale() == "linear"


def test_the_users_own_settings_are_neither_used_nor_changed():
    @styled
    def draw() -> Figure:
        figure = picture(2, 2)
        figure.subplots().set_title("x")
        return figure

    with matplotlib.rc_context({"axes.titlesize": 40, "font.size": 33}):
        figure = draw()
        assert matplotlib.rcParams["font.size"] == 33
    assert figure.axes[0].title.get_fontsize() < 12


def test_a_picture_shows_itself_in_a_notebook_and_opens_no_window():
    figure = picture(2, 2)
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert figure.canvas.manager is None


def luminance(colour: str) -> float:
    channels = np.array(colors.to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_colours_of_lines_stand_out_from_the_paper():
    for colour in (style.BLUE, style.VERMILLION, style.INK, style.GREY):
        assert 1.05 / (luminance(colour) + 0.05) >= 3, colour


@pytest.mark.parametrize(
    ("plot", "source"),
    [(plot_gof, "gof"), (plot_individual, "fit"), (plot_shrinkage, "fit"), (plot_vpc, "vpc")],
)
@pytest.mark.parametrize("wrong", [None, xr.Dataset()])
def test_what_cannot_be_drawn_is_refused_with_where_it_comes_from(plot, source, wrong):
    with pytest.raises(TypeError, match=f"give {plot.__name__} the result of {source}"):
        plot(wrong)
