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
from popbayes.plots.style import label, on_log, picture, smooth, styled
from tests.tolerances import EXACT


def test_a_smooth_of_a_line_is_the_line():
    x = np.random.default_rng(0).uniform(0, 10, 50)
    grid, curve = smooth(x, 3 - 2 * x)
    np.testing.assert_allclose(curve, 3 - 2 * grid, rtol=1e-8, atol=1e-8)
    assert (grid[0], grid[-1]) == (x.min(), x.max())


def test_a_smooth_is_the_weighted_regression_of_its_neighbourhood():
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0, 1, 20), rng.standard_normal(20)
    grid, curve = smooth(x, y, span=0.5, points=7)
    reach = np.sort(np.abs(x - grid[3]))[9] + 1e-9 * np.ptp(x)
    weight = np.clip(1 - (np.abs(x - grid[3]) / reach) ** 3, 0, None) ** 3
    design = np.stack([np.ones(20), x - grid[3]], axis=1) * np.sqrt(weight)[:, None]
    intercept = np.linalg.lstsq(design, y * np.sqrt(weight))[0][0]
    np.testing.assert_allclose(curve[3], intercept, rtol=1e-9)


def test_missing_values_do_not_trouble_a_smooth():
    x = np.r_[np.arange(10.0), np.nan, 3.0]
    y = np.r_[np.arange(10.0), 5.0, np.nan]
    np.testing.assert_allclose(smooth(x, y)[1], smooth(x[:10], y[:10])[1], **EXACT)


@pytest.mark.parametrize("x", [np.arange(4.0), np.ones(20)])
def test_too_little_to_smooth_gives_no_curve(x):
    assert len(smooth(x, x)[0]) == 0


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
