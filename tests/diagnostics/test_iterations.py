"""Iterations of estimates, as a Dataset and as a picture."""

import numpy as np
import pytest

from popbayes.diagnostics.iterations import iterations
from popbayes.infer.estimation.estimate import estimate
from popbayes.infer.estimation.linearised import Foce
from popbayes.infer.saem.method import Saem
from popbayes.plots.plot_iterations import plot_iterations


@pytest.fixture(scope="module")
def saem(model, theophylline):
    short = Saem(exploratory=50, smoothing=50, draws=50, tolerance=1e-4)
    with pytest.warns(UserWarning, match="converge"):  # 100 iterations are not enough, and it says so
        return estimate(model, theophylline, method=short, seed=1, progress=False)


@pytest.fixture(scope="module")
def foce(model, theophylline):
    return estimate(model, theophylline, method=Foce(), seed=1, progress=False)


def test_saem_has_two_phases_and_ends_at_its_estimate(saem):
    found = iterations(saem)
    assert found["value"].dims == ("iteration", "parameter")
    first = found.attrs["smoothing_from"]
    smoothing = found["smoothing"].to_numpy()
    assert smoothing[:first].sum() == 0
    assert smoothing[first:].all()
    assert len(smoothing) - first == 50
    assert found.attrs["method"] == saem.attrs["method"]
    assert found.attrs["converged"] == int(saem.attrs["converged"]) == 0
    np.testing.assert_allclose(found["estimate"], saem["estimates"]["value"])
    left = np.abs(found["value"].isel(iteration=-1) - found["estimate"]) / found["se"]
    assert float(left.max()) < 0.5  # the estimate is the mean of the second phase, whose lines become flat
    assert np.all(np.isfinite(found["objective"]))


def test_a_method_that_minimises_has_one_phase_and_a_falling_objective(foce):
    found = iterations(foce)
    assert found.attrs["smoothing_from"] == found.sizes["iteration"]
    assert not found["smoothing"].any()
    assert found.attrs["converged"] == 1
    objective = found["objective"].to_numpy()
    assert objective[-1] <= objective[0]
    assert objective[-1] == pytest.approx(objective.min(), abs=1e-6)
    np.testing.assert_allclose(found["value"].isel(iteration=-1), found["estimate"], rtol=1e-3)


def test_a_fit_has_no_iterations(posed):
    with pytest.raises(ValueError, match="not the result of"):
        iterations(posed)


@pytest.mark.parametrize("which", ["saem", "foce"])
def test_the_picture_has_a_panel_for_each_value_and_one_for_the_objective(which, request):
    found = iterations(request.getfixturevalue(which))
    figure = plot_iterations(found)
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert len(shown) == found.sizes["parameter"] + 1
    for k, ax in enumerate(shown[:-1]):
        np.testing.assert_allclose(ax.lines[0].get_ydata(), found["value"].isel(parameter=k))
    np.testing.assert_allclose(shown[-1].lines[0].get_ydata(), found["objective"])
    text = figure.get_suptitle()
    assert ("NOT converged" in text) == (which == "saem")
    dashed = [line for line in shown[0].lines if line.get_linestyle() == "--"]
    assert len(dashed) == (1 if which == "saem" else 0)


@pytest.mark.parametrize("which", ["saem", "foce"])
def test_the_legend_names_lines_and_band_that_are_there(which, request):
    found = iterations(request.getfixturevalue(which))
    names = [text.get_text() for text in plot_iterations(found).legends[0].get_texts()]
    averages = ["averaging begins"] if which == "saem" else []
    assert sorted(names) == sorted(["value at the iteration", "estimate", "estimate ± SE", *averages])
    without = plot_iterations(found.assign(se=found["se"] * np.nan))
    assert "estimate ± SE" not in [text.get_text() for text in without.legends[0].get_texts()]


def test_anything_else_is_refused_by_the_picture(foce):
    with pytest.raises(TypeError, match="iterations"):
        plot_iterations(foce)
