import numpy as np
import pytest
from scipy.stats import norm

from popbayes.data.regimen import Regimen
from popbayes.diagnostics.shrinkage import shrinkage
from popbayes.observation import residual
from popbayes.parameters import priors
from popbayes.plots.plot_shrinkage import plot_shrinkage
from tests.diagnostics.posed import posed_fit, theophylline_model, with_dv


def test_bars_are_shrinkage_and_pooling(posed):
    table = shrinkage(posed)
    widths = [bar.get_width() for bar in plot_shrinkage(posed).axes[0].patches]
    expected = [*(100 * table["shrinkage"]), *(100 * table["pooling"])]
    np.testing.assert_allclose(widths, expected)


def test_points_are_the_estimates_in_order_over_the_band_of_the_population(posed):
    ax = next(ax for ax in plot_shrinkage(posed).axes if ax.get_title(loc="left") == "eta of CL")
    eta = posed["posterior"]["eta"].sel(eta_of="CL").mean(("chain", "draw")).to_numpy()
    omega = float(posed["posterior"]["omega"].sel(eta_of="CL").mean())
    points = next(line for line in ax.lines if line.get_marker() == "o")
    np.testing.assert_allclose(points.get_xdata(), np.sort(eta))
    assert [tick.get_text() for tick in ax.get_yticklabels()] == [str(i + 1) for i in np.argsort(eta)]
    band = ax.patches[0]
    assert band.get_x() + band.get_width() == pytest.approx(omega * norm.ppf(0.95))


def test_many_subjects_are_counted_and_not_named():
    data = Regimen(covariates={"WT": 70.0}).dose(300).sample([1, 4]).to_events(subjects=60)
    figure = plot_shrinkage(posed_fit(data=with_dv(data, np.tile([6.0, 5.0], 60)), draws=5))
    assert figure.axes[1].get_ylabel() == "60 subjects in order"
    assert len(figure.axes[1].get_yticks()) == 0


def test_a_model_without_random_effects_is_refused():
    model = theophylline_model(variability=None, residual=residual.Additive(priors.HalfNormal(1)))
    with pytest.raises(ValueError, match="no random effects"):
        plot_shrinkage(posed_fit(model, draws=5))


def test_bars_of_residuals_are_by_endpoint(two):
    names = [tick.get_text() for tick in plot_shrinkage(two).axes[0].get_yticklabels()]
    assert names[-2:] == ["residuals of\nconc", "residuals of\nA_central"]


def test_an_estimate_has_modes_and_no_posterior(estimated, posed):
    figure = plot_shrinkage(estimated)
    assert "conditional mode and normal 90 % interval" in figure.get_supxlabel()
    assert "posterior" not in figure.get_supxlabel()
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["shrinkage (SD)"]
    assert "posterior mean and 90 % interval" in plot_shrinkage(posed).get_supxlabel()
