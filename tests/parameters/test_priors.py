"""`prior`: the table of families against what PyMC offers, its densities and its draws."""

import copy
import inspect
import json
import pickle

import numpy as np
import pymc as pm
import pytest
from pymc.distributions import continuous, discrete

from popbayes.parameters import prior
from popbayes.parameters.priors import families
from tests.tolerances import EXACT

ONE_OF_EACH = {
    "Normal": prior.Normal(1.0, 2.0),
    "SkewNormal": prior.SkewNormal(3.0, 1.0, 2.0),
    "StudentT": prior.StudentT(4.0, 1.0, sigma=2.0),
    "SkewStudentT": prior.SkewStudentT(3.0, 5.0, mu=1.0, sigma=2.0),
    "Cauchy": prior.Cauchy(1.0, 2.0),
    "Laplace": prior.Laplace(1.0, 2.0),
    "AsymmetricLaplace": prior.AsymmetricLaplace(1.5, 1.0, 2.0),
    "Logistic": prior.Logistic(1.0, 2.0),
    "Gumbel": prior.Gumbel(1.0, 2.0),
    "Moyal": prior.Moyal(1.0, 2.0),
    "ExGaussian": prior.ExGaussian(1.0, 2.0, nu=1.5),
    "LogNormal": prior.LogNormal(2.0, 0.7),
    "HalfNormal": prior.HalfNormal(2.0),
    "HalfStudentT": prior.HalfStudentT(4.0, 2.0),
    "HalfCauchy": prior.HalfCauchy(2.0),
    "Exponential": prior.Exponential(2.0),
    "Gamma": prior.Gamma(3.0, 2.0),
    "InverseGamma": prior.InverseGamma(3.0, 2.0),
    "ChiSquared": prior.ChiSquared(3.0),
    "Weibull": prior.Weibull(1.5, 2.0),
    "Wald": prior.Wald(mu=1.5, lam=2.0, alpha=0.5),
    "Pareto": prior.Pareto(3.0, 2.0),
    "Rice": prior.Rice(nu=1.0, sigma=2.0),
    "Uniform": prior.Uniform(-1.0, 3.0),
    "TruncatedNormal": prior.TruncatedNormal(1.0, 2.0, lower=0.0),
    "Beta": prior.Beta(2.0, 3.0),
    "LogitNormal": prior.LogitNormal(0.5, 1.2),
    "Kumaraswamy": prior.Kumaraswamy(2.0, 3.0),
    "Triangular": prior.Triangular(0.0, 3.0, 1.0),
    "VonMises": prior.VonMises(0.3, 2.0),
    "Interpolated": prior.Interpolated([0.0, 1.0, 3.0], [0.0, 2.0, 1.0]),
    "Bernoulli": prior.Bernoulli(0.3),
    "Binomial": prior.Binomial(10, 0.3),
    "BetaBinomial": prior.BetaBinomial(2.0, 3.0, 10),
    "HyperGeometric": prior.HyperGeometric(20, 7, 12),
    "Poisson": prior.Poisson(3.5),
    "NegativeBinomial": prior.NegativeBinomial(mu=3.5, alpha=2.0),
    "Geometric": prior.Geometric(0.3),
    "DiscreteUniform": prior.DiscreteUniform(2, 9),
    "DiscreteWeibull": prior.DiscreteWeibull(0.8, 1.3),
    "Flat": prior.Flat(),
    "HalfFlat": prior.HalfFlat(),
}
PROPER = {name: one for name, one in ONE_OF_EACH.items() if one.proper}
CONTINUOUS = {name: one for name, one in PROPER.items() if not one.discrete}
OTHER_ARGUMENTS = [
    (prior.Normal(1.0, tau=0.25), prior.Normal(1.0, 2.0)),
    (prior.HalfNormal(tau=0.25), prior.HalfNormal(2.0)),
    (prior.StudentT(4.0, 1.0, lam=0.25), prior.StudentT(4.0, 1.0, sigma=2.0)),
    (prior.Exponential(scale=0.5), prior.Exponential(2.0)),
    (prior.Gamma(mu=1.5, sigma=0.5), prior.Gamma(9.0, 6.0)),
    (prior.InverseGamma(mu=1.5, sigma=0.5), prior.InverseGamma(11.0, 15.0)),
    (prior.Beta(mu=0.4, nu=5.0), prior.Beta(2.0, 3.0)),
    (prior.Beta(mu=0.4, sigma=0.2), prior.Beta(2.0, 3.0)),
    (prior.AsymmetricLaplace(q=0.5, mu=1.0, b=2.0), prior.Laplace(1.0, 0.5)),
    (prior.Wald(mu=1.5, phi=2.0), prior.Wald(mu=1.5, lam=3.0)),
    (prior.Wald(lam=3.0, phi=2.0), prior.Wald(mu=1.5, lam=3.0)),
    (prior.Rice(sigma=2.0, b=0.5), prior.Rice(nu=1.0, sigma=2.0)),
    (prior.NegativeBinomial(n=2.0, p=0.4), prior.NegativeBinomial(mu=3.0, alpha=2.0)),
    (prior.LogNormal(2.0, cv=0.5), prior.LogNormal(2.0, np.sqrt(np.log(1.25)))),
]
NOT_PRIORS_OF_ONE_NUMBER = {
    "Categorical": "its p is a vector of any length",
    "OrderedLogistic": "a likelihood of ordered categories, with a vector of cut points",
    "OrderedProbit": "a likelihood of ordered categories, with a vector of cut points",
    "PolyaGamma": "PyMC needs a package of its own (polyagamma) to draw from it",
}
KINKED = {"Laplace", "AsymmetricLaplace", "Triangular", "Interpolated", "SkewStudentT"}
TAKEN_BY_PYMC = {"args", "kwargs"}


def rv(one):
    family, arguments = one.pymc
    return getattr(pm, family).dist(**arguments)


def test_every_univariate_family_of_pymc_has_its_name_here():
    offered = {*continuous.__all__, *discrete.__all__} - set(NOT_PRIORS_OF_ONE_NUMBER)
    ours = set(families()) - {"Fixed", "ScaledInverseChiSquared"}
    assert ours == offered
    assert set(ONE_OF_EACH) == ours
    assert ours <= set(prior.__all__)


@pytest.mark.parametrize("name", sorted(set(ONE_OF_EACH) - {"LogNormal"}))
def test_arguments_have_pymcs_names_in_pymcs_order(name):
    theirs = [one for one in inspect.signature(getattr(pm, name).dist).parameters if one not in TAKEN_BY_PYMC]
    ours = list(inspect.signature(type(ONE_OF_EACH[name])).parameters)
    assert ours == theirs


@pytest.mark.parametrize("name", sorted(ONE_OF_EACH))
def test_no_argument_has_a_silent_default(name):
    shown = {"alpha"} if name == "Wald" else set()
    for argument, parameter in inspect.signature(type(ONE_OF_EACH[name])).parameters.items():
        assert parameter.default in (inspect.Parameter.empty, None) or argument in shown


@pytest.mark.parametrize("name", sorted(CONTINUOUS))
def test_quantiles_invert_the_density_of_pymc(name):
    one = CONTINUOUS[name]
    probability = np.linspace(0.02, 0.98, 25)
    x = one.quantile(probability)
    middle, half = (x[1:] + x[:-1]) / 2, np.diff(x) / 2
    node, weight = np.polynomial.legendre.leggauss(40)
    grid = middle[:, None] + half[:, None] * node
    density = np.exp(pm.logp(rv(one), grid).eval())
    mass = (density * weight).sum(axis=1) * half
    # a kink of the density (Laplace, Triangular, Interpolated) costs the quadrature some digits
    np.testing.assert_allclose(mass, np.diff(probability), rtol=1e-2 if name in KINKED else 1e-6)


@pytest.mark.parametrize("name", sorted(name for name, one in PROPER.items() if one.discrete))
def test_discrete_quantiles_invert_the_masses_of_pymc(name):
    one = PROPER[name]
    low = int(one.support[0])
    values = np.arange(low, low + 200 if np.isinf(one.support[1]) else int(one.support[1]) + 1)
    cumulative = np.cumsum(np.exp(pm.logp(rv(one), values).eval()))
    probability = np.array([0.05, 0.37, 0.5, 0.81, 0.99])
    np.testing.assert_array_equal(one.quantile(probability), values[np.searchsorted(cumulative, probability)])


@pytest.mark.parametrize("name", sorted(PROPER))
def test_support_holds_the_quantiles_and_ends_where_the_density_does(name):
    one = PROPER[name]
    low, high = one.support
    inside = one.quantile(np.array([0.001, 0.5, 0.999]))
    assert np.all((inside >= low) & (inside <= high))
    for bound, step in ((low, -1), (high, 1)):
        if np.isfinite(bound):
            assert pm.logp(rv(one), bound + step).eval() == -np.inf


@pytest.mark.parametrize(("given", "same"), OTHER_ARGUMENTS, ids=lambda one: one.describe())
def test_other_arguments_describe_the_same_distribution_as_in_pymc(given, same):
    x = same.quantile(np.array([0.1, 0.4, 0.8]))
    np.testing.assert_allclose(given.quantile(np.array([0.1, 0.4, 0.8])), x, **EXACT)
    np.testing.assert_allclose(pm.logp(rv(given), x).eval(), pm.logp(rv(same), x).eval(), **EXACT)


@pytest.mark.parametrize("name", sorted(ONE_OF_EACH))
def test_a_prior_survives_json_pickle_and_copy(name):
    one = ONE_OF_EACH[name]
    assert prior.prior_from_dict(json.loads(json.dumps(one.to_dict()))) == one
    assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one


def test_sampling_by_inversion_follows_the_quantiles():
    draws = prior.Gamma(3.0, 2.0).sample(np.random.default_rng(1), 4000)
    share = (draws < prior.Gamma(3.0, 2.0).quantile(0.25)).mean()
    assert abs(share - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 4000)


def test_lognormal_is_given_by_its_median_and_cv():
    one = prior.LogNormal(32, cv=0.3)
    assert one.quantile(0.5) == pytest.approx(32)
    assert np.exp(one.log_sd**2) - 1 == pytest.approx(0.3**2)
    assert one.pymc == ("LogNormal", {"mu": np.log(32), "sigma": one.log_sd})
    assert one.describe() == "LogNormal(median 32, cv 0.3)"


def test_improper_priors_start_where_pymc_starts_and_refuse_quantiles():
    for one in (prior.Flat(), prior.HalfFlat()):
        with pytest.raises(ValueError, match=r"improper.*Give a proper prior"):
            one.quantile(0.5)
        with pm.Model() as graph:
            getattr(pm, one.family)("x")
        point = graph.initial_point()
        assert one.start() == (np.exp(point["x_log__"]) if one.family == "HalfFlat" else point["x"])


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (
            lambda: prior.Normal(0, sgima=1),
            TypeError,
            r"no argument 'sgima'; it takes mu, sigma, tau.*'sigma'",
        ),
        (lambda: prior.Normal(0), TypeError, r"takes \(sigma\) or \(tau\); given: none"),
        (lambda: prior.Normal(0, 1, 1), TypeError, r"given: sigma, tau"),
        (lambda: prior.HalfNormal(-1), ValueError, r"sigma must be a finite number > 0, not -1"),
        (lambda: prior.HalfNormal("a"), ValueError, r"sigma must be a finite number > 0, not 'a'"),
        (lambda: prior.HalfNormal(True), ValueError, r"not True"),
        (lambda: prior.HalfNormal([1, 2]), ValueError, r"not \[1, 2\]"),
        (lambda: prior.HalfNormal(np.inf), ValueError, r"finite"),
        (lambda: prior.Normal(np.nan, 1), ValueError, r"mu must be a finite number"),
        (lambda: prior.Uniform(2, 1), ValueError, r"lower must be below upper, but 2 is not below 1"),
        (lambda: prior.TruncatedNormal(0, 1), TypeError, r"\(lower\) or \(upper\) or \(lower, upper\)"),
        (lambda: prior.TruncatedNormal(0, 1, lower=1, upper=0), ValueError, r"lower must be below upper"),
        (lambda: prior.Gamma(1, mu=2), TypeError, r"\(alpha, beta\) or \(mu, sigma\); given: alpha, mu"),
        (
            lambda: prior.Beta(mu=0.5, sigma=0.6),
            ValueError,
            r"sigma must be below sqrt\(mu \(1 - mu\)\) = 0.5",
        ),
        (lambda: prior.Triangular(0, 1, 2), ValueError, r"c must lie between"),
        (lambda: prior.Bernoulli(1.5), ValueError, r"p must be a number between 0 and 1"),
        (lambda: prior.Binomial(2.5, 0.1), ValueError, r"n must be a whole number >= 0, not 2.5"),
        (lambda: prior.HyperGeometric(5, 6, 2), ValueError, r"must not exceed N = 5"),
        (lambda: prior.Interpolated([0, 1], [1]), ValueError, r"equally long"),
        (lambda: prior.Interpolated([1, 0], [1, 1]), ValueError, r"x_points must increase"),
        (lambda: prior.Interpolated("ab", [1, 1]), ValueError, r"sequence of finite numbers"),
        (lambda: prior.LogNormal(0, 1), ValueError, r"median must be a finite number > 0"),
        (lambda: prior.LogNormal(mu=0, sigma=1), TypeError, r"no argument 'mu'; it takes median, sd, cv"),
        (lambda: prior.as_prior("1.5", "CL"), TypeError, r"CL needs a prior such as .* not str '1.5'"),
        (lambda: prior.as_prior(prior.Normal, "CL"), TypeError, r"not the class itself"),
        (lambda: prior.as_prior(None, "CL"), TypeError, r"NoneType"),
        (
            lambda: prior.prior_from_dict({"family": "Norml"}),
            ValueError,
            r"no prior family 'Norml'.*'Normal'",
        ),
    ],
)
def test_what_is_not_a_prior_is_refused_when_it_is_made(make, error, match):
    with pytest.raises(error, match=match):
        make()


def test_a_number_means_a_fixed_value():
    assert prior.as_prior(0.75, "exponent") == prior.Fixed(0.75)
    assert prior.as_prior(np.float64(0.75), "exponent") == prior.Fixed(0.75)
    assert prior.Fixed(0.75).describe() == "0.75 FIX"
    assert prior.Fixed(0.75).quantile([0.1, 0.9]).tolist() == [0.75, 0.75]
    with pytest.raises(TypeError, match="constant of the graph"):
        _ = prior.Fixed(0.75).pymc
