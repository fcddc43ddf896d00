import numpy as np
import pytest
from matplotlib.axes import Axes

from popbayes.diagnostics.gof import gof
from popbayes.observation import residual
from popbayes.parameters import priors
from popbayes.plots.plot_gof import plot_gof
from tests.diagnostics.posed import posed_fit, theophylline_model


def points(ax: Axes) -> np.ndarray:
    """Coordinates of the points of a panel, (n, 2)."""
    return next(line.get_xydata() for line in ax.lines if line.get_marker() == "o")


@pytest.fixture(scope="module")
def axes(fitted):
    return plot_gof(fitted).axes


def test_observations_stand_against_predictions(axes, fitted):
    for ax, name in zip(axes[:2], ("pred", "ipred"), strict=True):
        np.testing.assert_array_equal(points(ax), np.stack([fitted[name], fitted["dv"]], axis=1))


def test_logarithmic_panels_show_the_positive_pairs_and_count_the_rest(axes, fitted):
    positive = int(((fitted["dv"] > 0) & (fitted["time"] > 0)).sum())
    for ax in axes[2:4]:
        assert ax.get_xscale() == ax.get_yscale() == "log"
        assert len(points(ax)) == positive
        assert ax.get_title(loc="left") == f"{132 - positive} of 0 or less not shown"


def test_residuals_stand_against_time_time_after_dose_and_prediction(axes, fitted):
    for ax, name in zip(axes[4:7], ("time", "tad", "pred"), strict=True):
        np.testing.assert_array_equal(points(ax), np.stack([fitted[name], fitted["iwres"]], axis=1))
        levels = sorted(float(line.get_ydata()[0]) for line in ax.lines if len(line.get_ydata()) == 2)
        assert levels == [-1.96, 0.0, 1.96]


def test_every_label_has_its_unit(axes):
    labels = [ax.get_xlabel() for ax in axes]
    assert labels == [
        "Population prediction (mg/L)", "Individual prediction (mg/L)", "Population prediction (mg/L)",
        "Individual prediction (mg/L)", "Time (h)", "Time after dose (h)", "Population prediction (mg/L)",
        "Standard normal quantile",
    ]  # fmt: skip
    assert {ax.get_ylabel() for ax in axes[:4]} == {"Observed (mg/L)"}


def test_far_residuals_are_named_by_their_subject(fitted):
    far = fitted.copy(deep=True)
    far["iwres"][30] = 4.5
    names = {text.get_text() for text in plot_gof(far).axes[4].texts}
    assert str(far["subject"].to_numpy()[30]) in names


def test_undefined_residuals_are_counted_and_not_drawn(fitted):
    some = fitted.copy(deep=True)
    some["iwres"][:3] = np.nan
    figure = plot_gof(some)
    assert "3 observations have no weighted residual" in figure.get_supxlabel()
    figure.canvas.draw()


def test_random_effects_have_a_row_each_with_their_covariate(fitted):
    figure = plot_gof(fitted, what="eta")
    labels = [ax.get_xlabel() for ax in figure.axes]
    assert labels == [
        x for p in ("ka", "CL", "V") for x in (f"eta_{p}", "Standard normal quantile", "WT (kg)")
    ]
    first = np.unique(fitted["subject"], return_index=True)[1]
    np.testing.assert_array_equal(points(figure.axes[5])[:, 1], fitted["eta_CL"].to_numpy()[first])


def test_a_covariate_of_few_values_is_drawn_by_level(fitted):
    text = fitted.assign(
        SEX=("obs", np.where(fitted["subject"] > 6, "f", "m"), {"covariate": 1, "units": ""})
    )
    figure = plot_gof(text, what="eta")
    levels = [tick.get_text() for tick in figure.axes[3].get_xticklabels()]
    assert levels == ["f", "m"]


def test_a_model_without_random_effects_has_no_picture_of_them():
    model = theophylline_model(variability=None, residual=residual.Additive(priors.HalfNormal(1)))
    fitted = gof(posed_fit(model, draws=5))
    with pytest.raises(ValueError, match="no random effects"):
        plot_gof(fitted, what="eta")
    assert len(plot_gof(fitted).axes) == 8


def test_an_unknown_picture_is_refused(fitted):
    with pytest.raises(ValueError, match='"fit" or "eta"'):
        plot_gof(fitted, what="cwres")
