"""`residual`: densities, draws and standardised residuals against SciPy, for arrays and graphs alike."""

import json
from dataclasses import replace

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from scipy import stats

from popbayes.observation import residual
from popbayes.observation.rows import Rows
from popbayes.parameters import prior
from tests.tolerances import EXACT

HALF = prior.HalfNormal(1.0)
F = np.array([0.5, 2.0, 8.0])
DV = np.array([0.7, 1.5, 9.0])
SIGMA = {
    "sigma_add": np.array([[0.3], [0.5]]),
    "sigma_prop": np.array([[0.1], [0.2]]),
    "sigma_log": np.array([[0.2], [0.4]]),
    "sigma_pow": np.array([[0.2], [0.4]]),
    "power": np.array([[0.5], [0.8]]),
    "nu": np.array([[4.0], [7.0]]),
}
ALL = {
    "Additive": residual.Additive(HALF),
    "Proportional": residual.Proportional(HALF),
    "Combined": residual.Combined(HALF, HALF),
    "LogNormal": residual.LogNormal(HALF),
    "CombinedSD": residual.CombinedSD(HALF, HALF),
    "Power": residual.Power(HALF, prior.Normal(1.0, 0.5)),
    "StudentT": residual.Combined(HALF, HALF, nu=prior.Gamma(alpha=2, beta=0.1)),
}
SCIPY = {
    "Additive": lambda f, s: stats.norm(f, s["sigma_add"]),
    "Proportional": lambda f, s: stats.norm(f, s["sigma_prop"] * f),
    "Combined": lambda f, s: stats.norm(f, np.hypot(s["sigma_add"], s["sigma_prop"] * f)),
    "LogNormal": lambda f, s: stats.lognorm(s["sigma_log"], scale=f),
    "CombinedSD": lambda f, s: stats.norm(f, s["sigma_add"] + s["sigma_prop"] * f),
    "Power": lambda f, s: stats.norm(f, s["sigma_pow"] * f ** s["power"]),
    "StudentT": lambda f, s: stats.t(s["nu"], f, np.hypot(s["sigma_add"], s["sigma_prop"] * f)),
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


BOX = residual.BoxCox(HALF, prior.Normal(0.5, 0.5))


@pytest.mark.parametrize("lam", [1.0, 0.5, 1e-9, 0.0, -0.4])
def test_box_cox_is_a_normal_of_the_transformed_observation(lam):
    sigma = {"sigma_boxcox": 0.2, "lambda": lam}
    h = stats.boxcox(np.array([*DV, *F]), lam)
    expected = stats.norm(h[3:], 0.2).logpdf(h[:3]) + (lam - 1) * np.log(DV)
    np.testing.assert_allclose(BOX.logp(DV, F, sigma), expected, rtol=1e-8)  # SciPy's own loss near lam = 0
    np.testing.assert_allclose(BOX.back(BOX.transform(DV, sigma), sigma), DV, rtol=1e-8)


@pytest.mark.parametrize(("lam", "name"), [(0.0, "LogNormal"), (1.0, "Additive")])
def test_box_cox_has_log_normal_and_additive_error_as_special_cases(lam, name):
    sigma = {"sigma_boxcox": 0.3, "lambda": lam, "sigma_log": 0.3, "sigma_add": 0.3}
    np.testing.assert_allclose(BOX.logp(DV, F, sigma), ALL[name].logp(DV, F, sigma), **EXACT)


def test_the_gradient_of_box_cox_is_smooth_through_zero():
    lam, y = pt.dscalar(), pt.as_tensor(DV)
    slope = pt.grad(BOX.transform(y, {"lambda": lam}, pt).sum(), lam)
    at = [float(slope.eval({lam: value})) for value in (-1e-4, -1e-6, 0.0, 1e-6, 1e-4)]
    np.testing.assert_allclose(at, np.sum(np.log(DV) ** 2) / 2, rtol=1e-3)
    assert np.all(np.diff(at) > 0)


def rows_of(time, subject_start=(0,)):
    n = len(time)
    previous = np.arange(n) - 1
    previous[list(subject_start)] = -1
    since = np.where(previous < 0, time, time[previous])
    none = np.full(n, np.inf)
    state, origin, reset = np.zeros(n, dtype=int), np.zeros(n), np.zeros(n, dtype=bool)
    return Rows(np.zeros(n), state, -none, none, -none, previous, time, since, origin, reset)


def test_correlated_errors_have_the_density_of_a_multivariate_normal():
    error = residual.Combined(HALF, HALF, rho=prior.Beta(alpha=2, beta=2))
    time = np.array([0.5, 1.0, 3.0, 0.0, 0.7])
    rows = rows_of(time, (0, 3))
    f, y = np.array([0.5, 2.0, 8.0, 4.0, 3.0]), np.array([0.7, 1.5, 9.0, 4.4, 2.7])
    rows = replace(rows, dv=y)
    sigma = {"sigma_add": 0.3, "sigma_prop": 0.1, "rho": 0.6}
    sd = np.hypot(0.3, 0.1 * f)
    corr = 0.6 ** np.abs(time[:, None] - time)
    corr[:3, 3:] = corr[3:, :3] = 0.0
    expected = stats.multivariate_normal(f, corr * np.outer(sd, sd)).logpdf(y)
    np.testing.assert_allclose(error.log_density(rows, f, sigma).sum(), expected, **EXACT)
    graph = error.log_density(rows, pt.as_tensor(f), {k: pt.as_tensor(v) for k, v in sigma.items()}, pt)
    np.testing.assert_allclose(graph.sum().eval(), expected, **EXACT)


def test_draws_of_correlated_errors_are_correlated_over_time():
    error = residual.Additive(HALF, rho=0.5)
    rows = rows_of(np.array([0.0, 1.0, 3.0]))
    draws = error.draw(
        np.random.default_rng(1), rows, np.zeros((20000, 3)), {"sigma_add": 2.0, "rho": np.array([[0.5]])}
    )
    np.testing.assert_allclose(
        np.cov(draws.T), 4 * np.array([[1, 0.5, 0.125], [0.5, 1, 0.25], [0.125, 0.25, 1]]), atol=0.13
    )  # 3 standard errors of a covariance of 20000


def test_what_a_residual_error_cannot_have_is_refused():
    with pytest.raises(ValueError, match="both nu and rho"):
        residual.Additive(HALF, nu=4, rho=0.5)
    with pytest.raises(ValueError, match=r"rho of residual\.Additive lies between 0 and 1"):
        residual.Additive(HALF, rho=prior.HalfNormal(1))
