from dataclasses import replace

import numpy as np
import pytest

from popbayes.data.datasets import load_dataset
from popbayes.diagnostics.vpc import vpc
from popbayes.plots.plot_vpc import percent, plot_vpc
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
