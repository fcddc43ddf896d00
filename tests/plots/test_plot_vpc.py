from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from popbayes.data.datasets import load_dataset
from popbayes.diagnostics.vpc import vpc
from popbayes.plots.plot_vpc import colours, percent, plot_vpc
from popbayes.simulation import simulate
from tests.diagnostics.posed import censored_check, theophylline_model


def named(ax, name: str) -> np.ndarray:
    return next(line.get_xydata() for line in ax.lines if line.get_label() == name)


def test_lines_are_the_observed_percentiles_at_the_middles(checked):
    ax = plot_vpc(checked).axes[0]
    one = checked.isel(stratum=0)
    np.testing.assert_array_equal(
        named(ax, "observed median"), np.stack([one["middle"], one["observed"][:, 1]], axis=1)
    )
    np.testing.assert_array_equal(named(ax, "observed 5 %, 95 %")[:, 1], one["observed"][:, 0])
    np.testing.assert_array_equal(named(ax, "observations")[:, 1], checked["dv"])


def test_bands_are_the_intervals_of_the_simulated_percentiles(checked):
    ax = plot_vpc(checked).axes[0]
    one = checked.isel(stratum=0)
    for q, band in enumerate(ax.collections):
        corners = band.get_paths()[0].vertices
        assert corners[:, 1].min() == one["lower"][:, q].min()
        assert corners[:, 1].max() == one["upper"][:, q].max()


def test_labels_have_units_and_the_title_says_what_it_is(checked):
    figure = plot_vpc(checked)
    assert figure.axes[0].get_xlabel() == "Time (h)"
    assert figure.axes[0].get_ylabel() == "Observed (mg/L)"
    assert figure.get_suptitle() == "Prior predictive check"


def test_the_legend_says_how_the_bands_were_made(checked):
    words = plot_vpc(checked).legends[0].get_title().get_text()
    assert "90 % intervals over 40 simulated studies of new subjects" in words


def test_what_is_not_corrected_or_not_shown_is_counted():
    simulated = simulate(theophylline_model(), load_dataset("theophylline"), seed=3, n=10)
    figure = plot_vpc(vpc(simulated, pred_corr=True), log=True)
    words = figure.legends[0].get_title().get_text()
    assert "12 observations with a prediction of 0 are not corrected" in words
    assert "9 observations of 0 or less are not shown" in words
    assert figure.axes[0].get_yscale() == "log"
    assert figure.axes[0].get_ylabel() == "Prediction-corrected observed (mg/L)"


def test_a_logarithmic_band_ends_at_the_axis_and_not_far_below(checked):
    ax = plot_vpc(checked, log=True).axes[0]
    low = ax.get_ylim()[0]
    assert all(band.get_paths()[0].vertices[:, 1].min() >= low for band in ax.collections)


def test_there_is_a_panel_for_each_stratum():
    data = load_dataset("theophylline")
    arm = np.where(data.record_subject < 5, "a", "b")
    data = replace(data, covariates={**data.covariates, "ARM": arm})
    checked = vpc(simulate(theophylline_model(), data, seed=3, n=10), by="ARM", bins=4)
    figure = plot_vpc(checked)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["ARM a", "ARM b"]
    counts = [len(named(ax, "observations")) for ax in figure.axes]
    assert counts == [55, 77]
    figure.canvas.draw()


@pytest.mark.parametrize("quantiles", [(0.5,), (0.1, 0.9), (0.25, 0.5, 0.75)])
def test_any_percentiles_can_be_drawn(quantiles):
    simulated = simulate(theophylline_model(), load_dataset("theophylline"), seed=3, n=10)
    figure = plot_vpc(vpc(simulated, quantiles=quantiles, bins=1), points=False)
    assert len(figure.axes[0].collections) == len(quantiles)
    figure.canvas.draw()


def test_percentiles_are_named_in_words():
    assert percent(np.array([0.5])) == "median"
    assert percent(np.array([0.05, 0.975])) == "5 %, 97.5 %"


def test_a_panel_below_shows_the_percentage_below_the_limit():
    checked = censored_check()
    upper, lower = plot_vpc(checked).axes[:2]
    assert lower.get_ylabel() == "Below LLOQ (%)"
    np.testing.assert_array_equal(lower.lines[1].get_ydata(), 100 * checked["below"].to_numpy()[0])
    assert next(line for line in upper.lines if line.get_label() == "LLOQ").get_ydata()[0] == 0.3


def test_observations_below_the_limit_are_triangles():
    checked = censored_check()
    figure = plot_vpc(checked)
    below = (checked["cens"] == 1).to_numpy()
    triangles = named(figure.axes[0], "below the limit")
    np.testing.assert_array_equal(triangles[:, 0], checked["time"].to_numpy()[below])
    assert set(triangles[:, 1]) == {0.3}
    assert len(named(figure.axes[0], "observations")) == (~below).sum()


@pytest.mark.parametrize("bins", [None, 1, 4, (0, 3, 30)])
def test_no_observation_lies_beside_the_bands(bins):
    simulated = simulate(theophylline_model(), load_dataset("theophylline"), seed=3, n=10)
    checked = vpc(simulated, bins=bins)
    one = checked.isel(stratum=0)
    for band in plot_vpc(checked).axes[0].collections:
        reach = band.get_paths()[0].vertices[:, 0]
        assert reach.min() == min(one["left"][0], checked["time"].min())
        assert reach.max() == max(one["right"][-1], checked["time"].max())


def test_every_percentile_has_a_colour_of_its_own_and_an_entry_for_band_and_line(checked):
    figure = plot_vpc(checked)
    ax = figure.axes[0]
    shades = [tuple(band.get_facecolor()[0][:3]) for band in ax.collections]
    assert len(set(shades)) == 3
    assert len(set(colours(5, 2))) == 5
    legend = figure.legends[0]
    entries = dict(zip([text.get_text() for text in legend.get_texts()], legend.legend_handles, strict=True))
    simulated = [f"simulated {q} %: interval and median" for q in (5, 50, 95)]
    assert list(entries) == ["observed median", "observations", "observed 5 %, 95 %", *simulated]
    for shade, name in zip(shades, simulated, strict=True):
        line = next(one for one in ax.lines if one.get_label() == name)
        assert to_rgb(line.get_color()) == shade


def test_the_legend_names_what_is_in_the_panel_below():
    names = [text.get_text() for text in plot_vpc(censored_check()).legends[0].get_texts()]
    assert {"LLOQ", "observed % below LLOQ", "simulated % below LLOQ: interval and median"} < set(names)
