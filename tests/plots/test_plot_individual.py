import numpy as np
import pytest

from popbayes.data.datasets import load_dataset
from popbayes.data.regimen import Regimen
from popbayes.diagnostics.curves import curves
from popbayes.infer.tree import study_of
from popbayes.plots.plot_individual import n_pages, plot_individual
from tests.diagnostics.posed import posed_fit, with_dv


def line(ax, name: str) -> np.ndarray:
    return next(one.get_xydata() for one in ax.lines if one.get_label() == name)


def test_each_panel_has_the_points_and_curves_of_its_subject(posed):
    figure = plot_individual(posed)
    events, found = study_of(posed).events, curves(posed)
    assert [ax.get_title(loc="left") for ax in figure.axes] == [f"Subject {i}" for i in range(1, 13)]
    for ax, subject in zip(figure.axes, events.subjects.tolist(), strict=True):
        mine = events.subjects[events.obs_subject] == subject
        np.testing.assert_array_equal(line(ax, "observed")[:, 1], events.obs_dv[mine])
        np.testing.assert_array_equal(line(ax, "individual")[:, 1], found[subject]["ipred"])
        np.testing.assert_array_equal(line(ax, "population")[:, 1], found[subject]["pred"])


def test_labels_have_units(posed):
    figure = plot_individual(posed)
    assert figure.get_supxlabel() == "Time (h)"
    assert figure.get_supylabel() == "Observed and predicted (mg/L)"


@pytest.fixture(scope="module")
def fourteen():
    data = Regimen(covariates={"WT": 70.0}).dose(300).sample([1, 4, 9]).to_events(subjects=14)
    return posed_fit(data=with_dv(data, np.tile([6.0, 5.0, 3.0], 14)), draws=5)


def test_there_are_twelve_subjects_a_page(fourteen):
    assert n_pages(fourteen) == 2
    figure = plot_individual(fourteen, page=2)
    assert [ax.get_title(loc="left") for ax in figure.axes if ax.get_visible()] == [
        "Subject 13",
        "Subject 14",
    ]
    assert figure.get_suptitle() == "Individual fits, page 2 of 2"


@pytest.mark.parametrize("page", [0, 3])
def test_a_page_that_does_not_exist_is_refused(fourteen, page):
    with pytest.raises(ValueError, match="There are 2 pages"):
        plot_individual(fourteen, page=page)


def test_subjects_can_be_chosen(posed):
    figure = plot_individual(posed, subjects=[4, 9])
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["Subject 4", "Subject 9"]


def test_an_unknown_subject_is_refused(posed):
    with pytest.raises(ValueError, match="99"):
        plot_individual(posed, subjects=[99])


def test_a_logarithmic_axis_counts_the_observations_that_it_leaves_out(posed):
    figure = plot_individual(posed, log=True)
    zeros = int((load_dataset("theophylline").obs_dv <= 0).sum())
    assert [text.get_text() for text in figure.texts if "not shown" in text.get_text()] == [
        f"{zeros} observations of 0 or less are not shown"
    ]
    assert figure.axes[0].get_yscale() == "log"


def test_what_is_below_a_limit_is_a_triangle_at_a_line(censored):
    figure = plot_individual(censored)
    events = study_of(censored).events
    below = events.cens[events.obs_record] == 1
    for ax, subject in zip(figure.axes, events.subjects.tolist(), strict=True):
        mine = events.subjects[events.obs_subject] == subject
        np.testing.assert_array_equal(line(ax, "observed")[:, 1], events.obs_dv[mine & ~below])
        assert (mine & below).any()  # the sample before the dose
        triangles = next(one for one in ax.lines if one.get_marker() == "v")
        assert triangles.get_markerfacecolor() == "none"
        np.testing.assert_array_equal(triangles.get_xdata(), events.obs_time[mine & below])
        assert set(triangles.get_ydata()) == set(line(ax, "limit")[:, 1]) == {1.0}
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"below the limit", "limit"} < set(names)


def test_without_limits_there_is_neither_triangle_nor_line(posed):
    figure = plot_individual(posed)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["observed", "individual", "90 % band", "population"]
    assert not any(one.get_label() == "limit" or one.get_marker() == "v" for one in figure.axes[0].lines)


def test_an_estimate_has_no_band_and_none_in_the_legend(estimated):
    figure = plot_individual(estimated)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["observed", "individual", "population"]
    assert not figure.axes[0].collections
