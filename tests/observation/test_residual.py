"""`residual`: densities, draws and standardised residuals against SciPy, for arrays and graphs alike."""

import json

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from scipy import stats

from popbayes.observation import residual
from popbayes.parameters import prior
from tests.tolerances import EXACT

HALF = prior.HalfNormal(1.0)
F = np.array([0.5, 2.0, 8.0])
DV = np.array([0.7, 1.5, 9.0])
SIGMA = {
    "sigma_add": np.array([[0.3], [0.5]]),
    "sigma_prop": np.array([[0.1], [0.2]]),
    "sigma_log": np.array([[0.2], [0.4]]),
}
ALL = {
    "Additive": residual.Additive(HALF),
    "Proportional": residual.Proportional(HALF),
    "Combined": residual.Combined(HALF, HALF),
    "LogNormal": residual.LogNormal(HALF),
}
SCIPY = {
    "Additive": lambda f, s: stats.norm(f, s["sigma_add"]),
    "Proportional": lambda f, s: stats.norm(f, s["sigma_prop"] * f),
    "Combined": lambda f, s: stats.norm(f, np.hypot(s["sigma_add"], s["sigma_prop"] * f)),
    "LogNormal": lambda f, s: stats.lognorm(s["sigma_log"], scale=f),
}


@pytest.mark.parametrize("name", ALL)
def test_density_and_sd_are_those_of_scipy(name):
    expected = SCIPY[name](F, SIGMA)
    np.testing.assert_allclose(ALL[name].logp(DV, F, SIGMA), expected.logpdf(DV), **EXACT)
    np.testing.assert_allclose(ALL[name].sd(F, SIGMA), expected.std() + 0 * F, **EXACT)


@pytest.mark.parametrize("name", ALL)
def test_the_graph_has_the_same_density(name):
    sigma = {key: pt.as_tensor(value[0, 0]) for key, value in SIGMA.items()}
    family, arguments = ALL[name].distribution(pt.as_tensor(F), sigma, pt)
    graph = pm.logp(getattr(pm, family).dist(**arguments), DV).eval()
    np.testing.assert_allclose(graph, ALL[name].logp(DV, F, SIGMA)[0], **EXACT)


@pytest.mark.parametrize("name", ALL)
def test_standardised_residuals_are_the_normal_scores_of_the_distribution(name):
    scores = stats.norm.ppf(SCIPY[name](F, SIGMA).cdf(DV))
    np.testing.assert_allclose(ALL[name].standardised(DV, F, SIGMA), scores, rtol=1e-7)


@pytest.mark.parametrize("name", ALL)
def test_draws_follow_the_distribution(name):
    many = np.broadcast_to(F, (4000, 3))
    sigma = {key: value[:1] for key, value in SIGMA.items()}
    draws = ALL[name].sample(np.random.default_rng(3), many, sigma)
    for column in range(3):
        test = stats.kstest(draws[:, column], _cdf(name, column, sigma))
        assert test.pvalue > 1e-4


def _cdf(name, column, sigma):
    one = SCIPY[name](F[column], {key: value[0, 0] for key, value in sigma.items()})
    return one.cdf


@pytest.mark.parametrize("name", ALL)
def test_a_residual_survives_json(name):
    assert residual.residual_from_dict(json.loads(json.dumps(ALL[name].to_dict()))) == ALL[name]


@pytest.mark.parametrize("name", ["Proportional", "LogNormal"])
def test_a_prediction_of_zero_has_density_zero_not_nan(name):
    assert ALL[name].logp(np.array([1.0]), np.array([0.0]), SIGMA).ravel().tolist() == [-np.inf, -np.inf]
    assert ALL[name].needs_positive_prediction


def test_names_in_graphs_and_tables_come_from_the_arguments():
    one = residual.Combined(add=HALF, prop=0.2)
    assert one.sigmas == {"sigma_add": HALF, "sigma_prop": prior.Fixed(0.2)}


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: residual.Additive(), TypeError, r"add of residual.Additive needs a prior"),
        (lambda: residual.Combined(HALF), TypeError, r"prop of residual.Combined needs a prior"),
        (lambda: residual.Proportional(prior.Normal(0, 1)), ValueError, r"must be positive, but Normal"),
        (lambda: residual.residual_from_dict({"kind": "Combind"}), ValueError, r"'Combind'.*'Combined'"),
    ],
)
def test_what_is_no_residual_error_is_refused(make, error, match):
    with pytest.raises(error, match=match):
        make()
