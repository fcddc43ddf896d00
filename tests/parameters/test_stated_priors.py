"""Priors as a pharmacologist states them: quantiles, variances, half-lives, published tables."""

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from scipy import stats

from popbayes.building.derived import derived_priors
from popbayes.building.families import density, family
from popbayes.building.wishart import inverse_wishart_logp, uniform_logp
from popbayes.data.datasets import load_dataset
from popbayes.data.regimen import Regimen
from popbayes.infer.population import prior_values
from popbayes.model import PopModel
from popbayes.model.derived import body_parameters, derived_log_weights, derived_values, half_life
from popbayes.observation import residual
from popbayes.parameters import prior, variability
from popbayes.parameters.derived import Cmax
from popbayes.parameters.parameter import Parameter
from popbayes.structural import pk
from tests.tolerances import EXACT

TABULATED = {"rtol": 0.0, "atol": 2e-3}  # a density from tabulated quantiles
GRID = {"rtol": 2e-3, "atol": 0.0}  # a maximum over 200 times: second order in the distance of the times
QUANTILE_OF_DRAWS = {"rtol": 0.08, "atol": 0.0}  # 4000 draws: 4 standard errors of a 5 % quantile


def model(structural=None, **changes):
    structural = structural or pk.OneCompartment()
    parts = {
        "structural": structural,
        "parameters": {
            name: Parameter(prior.LogNormal(30.0 if name[0] == "V" else 3.0, 0.5))
            for name in structural.parameters
        },
        "residual": residual.Proportional(prior.HalfNormal(0.3)),
    }
    return PopModel(**(parts | changes))


def test_a_lognormal_has_the_quantiles_that_were_stated():
    one = prior.LogNormal.from_quantiles(1.5, 40.0)
    np.testing.assert_allclose(one.quantile([0.05, 0.95]), [1.5, 40.0], **EXACT)
    one = prior.LogNormal.from_quantiles(2.0, 3.0, probability=(0.1, 0.5))
    np.testing.assert_allclose(one.quantile([0.1, 0.5]), [2.0, 3.0], **EXACT)
    draws = prior.LogNormal.from_cv(2.8, 30)
    sd = stats.lognorm(draws.log_sd, scale=2.8)
    np.testing.assert_allclose(sd.std() / sd.mean(), 0.3, **EXACT)


@pytest.mark.parametrize("wrong", [(0, 1), (2, 1), (1, 2, (0.9, 0.1)), ("1", 2)])
def test_quantiles_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="0 < low < high"):
        prior.LogNormal.from_quantiles(*wrong)
    with pytest.raises(ValueError, match="30 for 30 %"):
        prior.LogNormal.from_cv(1.0, -3)


def test_a_scaled_inverse_chi_square_is_that_of_the_variance():
    one = prior.ScaledInverseChiSquared(3.0, 0.05)
    p = np.array([0.02, 0.3, 0.5, 0.9])
    variance = stats.invgamma(1.5, scale=1.5 * 0.05)
    np.testing.assert_allclose(one.quantile(p) ** 2, variance.ppf(p), **EXACT)
    x = one.quantile(p)
    expected = variance.logpdf(x**2) + np.log(2 * x)
    np.testing.assert_allclose(
        density("ScaledInverseChiSquared", pt.as_tensor(x), nu=3.0, sigma2=0.05).eval(), expected, **EXACT
    )


def test_a_scaled_inverse_chi_square_can_be_drawn_from_and_started():
    with pm.Model() as graph:
        x = family("ScaledInverseChiSquared")("x", nu=np.float64(5.0), sigma2=np.float64(0.2))
    draws = pm.draw(x, 4000, random_seed=1)
    expected = prior.ScaledInverseChiSquared(5.0, 0.2).quantile([0.05, 0.5, 0.95])
    np.testing.assert_allclose(np.quantile(draws, [0.05, 0.5, 0.95]), expected, **QUANTILE_OF_DRAWS)
    assert np.isfinite(graph.initial_point()["x_log__"])


def test_an_inverse_wishart_has_its_density_over_sds_and_correlations():
    """SciPy's density of the matrix, times the Jacobian by central differences."""
    one = prior.InverseWishart(6.0, [[0.2, 0.05, 0.0], [0.05, 0.3, 0.1], [0.0, 0.1, 0.4]])
    sds, r = np.array([0.4, 0.7, 0.5]), np.array([0.3, -0.2, 0.5])
    pairs = [(1, 0), (2, 0), (2, 1)]

    def matrix(x):
        corr = np.eye(3)
        for value, (i, j) in zip(x[3:], pairs, strict=True):
            corr[i, j] = corr[j, i] = value
        return corr * np.outer(x[:3], x[:3])

    x, step = np.concatenate([sds, r]), 1e-6
    low = np.tril_indices(3)
    columns = [(matrix(x + step * e)[low] - matrix(x - step * e)[low]) / (2 * step) for e in np.eye(6)]
    expected = stats.invwishart(6.0, one.scale).logpdf(matrix(x)) + np.linalg.slogdet(columns)[1]
    corr = matrix(np.concatenate([np.ones(3), r]))
    lower = np.linalg.cholesky(corr)
    got = inverse_wishart_logp(list(sds), [list(row[: i + 1]) for i, row in enumerate(lower)], one).eval()
    np.testing.assert_allclose(got, expected, rtol=1e-7)


def test_the_uniform_density_of_correlation_matrices_is_one_over_their_volume():
    np.testing.assert_allclose(np.exp(-uniform_logp(2)), 2.0, **EXACT)
    np.testing.assert_allclose(np.exp(-uniform_logp(3)), np.pi**2 / 2, **EXACT)


def test_the_sds_of_an_inverse_wishart_have_the_stated_marginals():
    one = prior.InverseWishart(7.0, [[0.2, 0.05], [0.05, 0.3]])
    sd, corr = one.sample(np.random.default_rng(1), 4000)
    for k in (0, 1):
        expected = one.marginal(k).quantile([0.05, 0.5, 0.95])
        np.testing.assert_allclose(np.quantile(sd[:, k], [0.05, 0.5, 0.95]), expected, **QUANTILE_OF_DRAWS)
    assert np.all(np.abs(corr[:, 0, 1]) < 1)


def test_a_model_with_an_inverse_wishart_round_trips_and_prints_it():
    one = prior.InverseWishart(2, [[0.04, 0.0], [0.0, 0.04]])
    made = model(variability=variability.Correlated(["V", "CL"], covariance=one))
    assert PopModel.from_json(made.to_json()) == made
    assert "covariance of V, CL ~ InverseWishart(nu 2" in str(made)
    assert "LKJ" not in str(made) + made.latex()
    with pytest.raises(ValueError, match="covariance is a prior of 2 random effects"):
        variability.Correlated(["V", "CL", "ka"], covariance=one)
    with pytest.raises(ValueError, match="not both"):
        variability.Correlated(["V", "CL"], sd=prior.HalfNormal(1), covariance=one)
    with pytest.raises(ValueError, match="positive definite"):
        prior.InverseWishart(2, [[0.04, 0.05], [0.05, 0.04]])


def test_a_half_life_in_place_of_a_prior_is_distributed_as_stated():
    stated = prior.LogNormal(8.0, 0.3)
    made = model(derived=prior.on_half_life(stated, instead_of="V"))
    values = prior_values(made, 4000, np.random.default_rng(2))
    t = np.log(2) * values["V_pop"] / values["CL_pop"]
    p = [0.05, 0.5, 0.95]
    np.testing.assert_allclose(np.quantile(t, p), stated.quantile(p), **QUANTILE_OF_DRAWS)
    clearance = made.parameters["CL"].prior.quantile(p)
    np.testing.assert_allclose(np.quantile(values["CL_pop"], p), clearance, **QUANTILE_OF_DRAWS)


def test_a_half_life_as_a_potential_multiplies_the_priors():
    """Log-normal throughout: precisions add; the density 1 / t of log t moves the mean by one variance."""
    made = model(derived=[prior.on_half_life(prior.LogNormal(4.0, 0.4))])
    values = prior_values(made, 4000, np.random.default_rng(3))
    t = np.log(np.log(2) * values["V_pop"] / values["CL_pop"])
    precision = np.array([1 / 0.5, 1 / 0.16])  # of log V - log CL (variance 2 x 0.25), and as stated
    centre = (
        np.array([np.log(10 * np.log(2)), np.log(4.0)]) @ precision / precision.sum() - 1 / precision.sum()
    )
    np.testing.assert_allclose(t.mean(), centre, atol=4 / np.sqrt(precision.sum() * 4000))
    np.testing.assert_allclose(t.std(), precision.sum() ** -0.5, **QUANTILE_OF_DRAWS)


@pytest.mark.parametrize("structural", [pk.OneCompartment(), pk.TwoCompartment(pk.FirstOrder())])
def test_the_graph_adds_what_the_draws_are_weighted_by(structural):
    stated = prior.on_half_life(prior.LogNormal(8.0, 0.3), instead_of=body_parameters(structural)[1])
    made = model(structural, derived=[stated, prior.on_cmax(100, prior.LogNormal(5.0, 0.5), until=24)])
    point = {f"{name}_pop": np.array([[2.0 + 0.7 * k]]) for k, name in enumerate(structural.parameters)}
    with pm.Model() as graph:
        derived_priors(made, {name: pt.as_tensor(np.ravel(value)[0]) for name, value in point.items()})
    got = sum(float(one.eval()) for one in graph.potentials)
    np.testing.assert_allclose(got, derived_log_weights(made, point)[0], **TABULATED)


def test_the_highest_concentration_is_that_of_the_closed_form():
    structural = pk.OneCompartment(pk.FirstOrder())
    ka, k, v = 1.3, 0.1, 20.0
    top = np.log(ka / k) / (ka - k)
    expected = 100 / v * ka / (ka - k) * (np.exp(-k * top) - np.exp(-ka * top))
    theta = {"ka": np.array([ka]), "CL": np.array([k * v]), "V": np.array([v])}
    got = derived_values(structural, Cmax(prior.LogNormal(1, 1), 100, 24), theta)
    np.testing.assert_allclose(got, expected, **GRID)
    infused = derived_values(pk.OneCompartment(), Cmax(prior.LogNormal(1, 1), 100, 24, duration=2), theta)
    np.testing.assert_allclose(infused, 50 / (k * v) * (1 - np.exp(-k * 2)), **EXACT)


def test_the_half_life_of_two_compartments_is_that_of_the_slower_exponent():
    cl, v1, q, v2 = 2.0, 10.0, 3.0, 40.0
    k10, k12, k21 = cl / v1, q / v1, q / v2
    total = k10 + k12 + k21
    slow = (total - np.sqrt(total**2 - 4 * k10 * k21)) / 2
    got = half_life(pk.TwoCompartment(), {"CL": cl, "V1": v1, "Q": q, "V2": v2})
    np.testing.assert_allclose(got, np.log(2) / slow, **EXACT)


def test_derived_priors_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="instead_of names 'ka'"):
        model(derived=prior.on_half_life(prior.LogNormal(8, 0.3), instead_of="ka"))
    with pytest.raises(ValueError, match="states a prior of the same quantity twice"):
        model(derived=[prior.on_half_life(prior.LogNormal(8, 0.3))] * 2)
    with pytest.raises(ValueError, match="must be a proper prior"):
        model(
            parameters={"CL": Parameter(prior.LogNormal(3, 1)), "V": Parameter(20.0)},
            derived=prior.on_half_life(prior.LogNormal(8, 0.3), instead_of="V"),
        )
    with pytest.raises(ValueError, match="positive values"):
        prior.on_half_life(prior.Normal(8, 3))
    far = model(derived=prior.on_half_life(prior.LogNormal(5000, 0.01)))
    with pytest.raises(ValueError, match="disagree"):
        prior_values(far, 100, np.random.default_rng(1))
    assert PopModel.from_json(far.to_json()) == far
    assert "half_life ~ LogNormal(median 5000" in str(far)


def test_published_estimates_become_priors():
    known = prior.published(
        {
            "CL": {"estimate": 2.8, "rse": 10, "omega_cv": 30, "omega_rse": 40},
            "V": {"estimate": 30, "rse": 20},
        },
        correlations={("CL", "V"): 0.5},
    )
    one = stats.lognorm(known.typical["CL"].log_sd, scale=2.8)
    np.testing.assert_allclose(one.std() / one.mean(), 0.1, **EXACT)
    np.testing.assert_allclose(100 * np.sqrt(np.expm1(known.omega["CL"] ** 2)), 30, **EXACT)
    np.testing.assert_allclose(known.sd["CL"].log_sd, np.sqrt(np.log1p(0.2**2)), **EXACT)
    assert set(known.sd) == {"CL"}
    with pytest.raises(ValueError, match="No omega_cv was given for 'V'"):
        known.covariance(["CL", "V"], 10)
    with pytest.raises(ValueError, match="rse of CL must be a finite number > 0"):
        prior.published({"CL": {"estimate": 2.8}})
    with pytest.raises(ValueError, match="Did you mean 'omega_cv'"):
        prior.published({"CL": {"estimate": 2.8, "rse": 5, "omega_cvs": 3}})


def test_weak_priors_are_printed_and_hold_the_truth(capsys):
    data = load_dataset("theophylline")
    weak = prior.weakly_informative(pk.OneCompartment(pk.FirstOrder()), data)
    assert str(weak) in capsys.readouterr().out
    for name, value in {"ka": 1.5, "CL": 2.8, "V": 32.0}.items():
        low, high = weak[name].quantile([0.05, 0.95])
        assert low < value < high
    design = Regimen().dose(100).sample([1, 2]).to_events()
    with pytest.raises(ValueError, match="needs doses and observed values"):
        prior.weakly_informative(pk.OneCompartment(), design)
