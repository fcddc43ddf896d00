import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes

from popbayes.diagnostics.gof import gof
from popbayes.observation import residual
from popbayes.parameters import priors
from popbayes.plots.plot_gof import plot_gof
from tests.diagnostics.posed import posed_fit, theophylline_model


def points(ax: Axes, marker: str = "o") -> np.ndarray:
    """Coordinates of the points of a panel, (n, 2)."""
    return next((line.get_xydata() for line in ax.lines if line.get_marker() == marker), np.empty((0, 2)))


def said(ax: Axes) -> str:
    """What is said above a panel."""
    return ax.get_title(loc="left")


def names(figure) -> list[str]:
    """Entries of the legend."""
    return [text.get_text() for text in figure.legends[0].get_texts()]


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
    assert "3 observations have no weighted residual (residual SD of 0: 3)" in figure.get_supxlabel()
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


def test_what_is_beyond_a_limit_is_a_triangle_at_it_and_counted(censored):
    fitted = gof(censored)
    below = fitted["cens"].to_numpy() == 1
    figure = plot_gof(fitted)
    for ax, name in zip(figure.axes[:2], ("pred", "ipred"), strict=True):
        assert len(points(ax)) == (~below).sum()
        np.testing.assert_array_equal(points(ax, "v"), np.stack([fitted[name], fitted["dv"]], axis=1)[below])
        assert said(ax) == f"{below.sum()} below the limit (triangles)"
    assert "below the limit" in names(figure)


def test_what_is_beyond_a_limit_does_not_enter_the_smooth(censored):
    def curve(fitted) -> np.ndarray:
        return next(
            line.get_xydata() for line in plot_gof(fitted).axes[0].lines if line.get_label() == "smooth"
        )

    fitted = gof(censored)
    np.testing.assert_array_equal(curve(fitted), curve(fitted.isel(obs=(fitted["cens"] == 0).to_numpy())))


def test_values_put_in_the_place_of_censored_ones_are_no_points_and_no_quantiles(fitted):
    some = fitted.copy(deep=True)
    some["cens"][:7] = -1
    figure = plot_gof(some)
    for ax in figure.axes[4:7]:
        assert len(points(ax)) == 125
        assert len(points(ax, "^")) == 7
    assert len(points(figure.axes[7])) == 125
    assert "above the limit" in names(figure)
    assert "values put in the place" in figure.get_supxlabel()


def test_a_panel_says_which_of_the_two_is_missing(fitted):
    some = fitted.copy(deep=True)
    some["tad"][:5] = np.nan
    some["iwres"][3:10] = np.nan
    some["cens"][3:7] = 1
    axes = plot_gof(some).axes
    residual = "4 not shown: no residual (beyond a limit)\n3 not shown: no residual"
    assert [said(ax).replace("\n3 below the limit (triangles)", "") for ax in axes[4:7]] == [
        residual, f"{residual}\n3 not shown: no time after dose", residual,
    ]  # fmt: skip


def test_each_endpoint_has_its_own_panels(two):
    fitted = gof(two)
    figure = plot_gof(fitted)
    assert [place.get_suptitle() for place in figure.subfigs] == ["conc", "A_central"]
    assert len(figure.axes) == 16
    for first, dvid in ((0, 1), (8, 2)):
        one = fitted.isel(obs=(fitted["dvid"] == dvid).to_numpy())
        np.testing.assert_array_equal(points(figure.axes[first])[:, 1], one["dv"])
        np.testing.assert_array_equal(points(figure.axes[first + 4])[:, 1], one["iwres"])
        np.testing.assert_array_equal(points(figure.axes[first + 7])[:, 1], np.sort(one["iwres"]))


def test_an_endpoint_that_is_asked_for_is_in_the_title(two):
    figure = plot_gof(gof(two, endpoint="A_central"))
    assert figure.get_suptitle() == "Goodness of fit: A_central"
    assert len(figure.axes) == 8


def test_what_scatters_around_nothing_is_not_drawn_but_counted(two):
    fitted = gof(two)
    fitted["endpoint"].attrs["measured"] = ["conc"]
    figure = plot_gof(fitted)
    assert len(points(figure.axes[0])) == 132
    assert "132 observations that do not scatter around a prediction" in figure.get_supxlabel()


def test_what_was_written_to_a_file_is_drawn_alike(two, tmp_path):
    fitted = gof(two)
    fitted["endpoint"].attrs["measured"] = ["conc"]
    fitted.to_netcdf(tmp_path / "gof.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "gof.nc", engine="h5netcdf") as again:
        assert plot_gof(again).get_suptitle() == "Goodness of fit: conc"


def test_the_legend_names_what_is_drawn_and_nothing_else(fitted):
    assert names(plot_gof(fitted)) == ["identity, or 0", "observation", "smooth", "±1.96"]
    few = plot_gof(fitted.isel(obs=slice(0, 4)))
    assert "smooth" not in names(few)
    etas = plot_gof(fitted, what="eta")
    assert names(etas) == ["subject (tick)", "normal, SD omega", "identity, or 0", "subject", "smooth"]


def test_labels_of_subjects_do_not_cover_each_other(fitted):
    """Residuals of one time that are nearly equal: side by side, above and below, or not named."""
    far = fitted.copy(deep=True)
    at_one = np.flatnonzero(far["time"].to_numpy() > 20)[:8]
    far["iwres"][at_one] = 4 + 0.02 * np.arange(8)
    figure = plot_gof(far)
    figure.draw_without_rendering()
    for ax in figure.axes[4:6]:
        boxes = [text.get_window_extent() for text in ax.texts]
        assert 2 <= len(boxes) <= 8
        assert not any(one.overlaps(other) for k, one in enumerate(boxes) for other in boxes[:k])
        assert all(ax.bbox.padded(3).containsx(box.x1) for box in boxes)
    assert "have the label of their subject, where there is room" in figure.get_supxlabel()


def test_etas_of_an_estimate_are_called_modes(fitted):
    estimated = fitted.assign_attrs(estimate=1)
    assert "conditional modes" in plot_gof(estimated, what="eta").get_suptitle()
    assert "posterior means" in plot_gof(fitted, what="eta").get_suptitle()
