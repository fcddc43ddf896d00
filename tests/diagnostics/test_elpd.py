import arviz_stats
import numpy as np
import pytest
import xarray as xr

from popbayes.diagnostics.compare import compare
from popbayes.diagnostics.loo import loo
from popbayes.diagnostics.summary import summary
from popbayes.diagnostics.vpc import vpc
from popbayes.diagnostics.waic import pointwise_waic, waic
from popbayes.infer.pointwise import add_log_likelihood
from popbayes.infer.tree import study_of
from tests.diagnostics.posed import posed_fit, with_dv
from tests.tolerances import EXACT

N_OBS = 132


def with_log_likelihood(dt: xr.DataTree, values: np.ndarray) -> xr.DataTree:
    """Return the tree with these pointwise values, (chain, draw, obs), as its log-likelihood."""
    out = dt.copy()
    out["log_likelihood"] = xr.DataTree(xr.Dataset({"dv": (("chain", "draw", "obs"), values)}))
    return out


@pytest.fixture(scope="module")
def normal() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Observations of N(mu, 1) with a flat prior; draws of mu from its posterior; log densities."""
    rng = np.random.default_rng(5)
    y = rng.normal(3.0, 1.0, N_OBS)
    mu = y.mean() + rng.standard_normal((4, 2000)) / np.sqrt(N_OBS)
    return y, mu, -0.5 * np.log(2 * np.pi) - 0.5 * (y - mu[..., None]) ** 2


@pytest.fixture(scope="module")
def normal_fit(normal) -> xr.DataTree:
    return with_log_likelihood(posed_fit(draws=2000), normal[2])


def test_waic_is_its_formula_computed_term_by_term(normal, normal_fit):
    draws = normal[2].reshape(-1, N_OBS)
    elpd_i, p_i = [], []
    for i in range(N_OBS):
        density = np.exp(draws[:, i])
        p_i.append(sum((draws[:, i] - draws[:, i].mean()) ** 2) / (len(draws) - 1))
        elpd_i.append(np.log(density.mean()) - p_i[-1])
    result = waic(normal_fit)
    np.testing.assert_allclose(result.pointwise["elpd"], elpd_i, **EXACT)
    np.testing.assert_allclose(result.pointwise["p"], p_i, **EXACT)
    assert result.elpd == pytest.approx(sum(elpd_i))
    assert result.p == pytest.approx(sum(p_i))
    spread = sum((np.array(elpd_i) - np.mean(elpd_i)) ** 2) / (N_OBS - 1)
    assert result.se == pytest.approx(np.sqrt(N_OBS * spread))


def test_waic_of_a_normal_mean_is_the_known_value(normal):
    """With posterior N(m, v): lpd_i = log N(y_i | m, 1 + v) and p_i = v (y_i - m)^2 + v^2 / 2, exactly."""
    y = normal[0]
    rng = np.random.default_rng(6)
    m, v, batches = y.mean(), 1 / N_OBS, 40
    estimates = []
    for _ in range(batches):
        mu = m + np.sqrt(v) * rng.standard_normal((2000, 1))
        result = pointwise_waic(-0.5 * np.log(2 * np.pi) - 0.5 * (y - mu) ** 2)
        estimates.append([result.elpd.sum(), result.p.sum()])
    lpd = -0.5 * np.log(2 * np.pi * (1 + v)) - 0.5 * (y - m) ** 2 / (1 + v)
    p = v * (y - m) ** 2 + v**2 / 2
    error = np.std(estimates, axis=0, ddof=1) / np.sqrt(batches)
    assert np.all(np.abs(np.mean(estimates, axis=0) - [(lpd - p).sum(), p.sum()]) < 5 * error)


def test_loo_of_a_normal_mean_is_exact_cross_validation(normal, normal_fit):
    """Leaving out y_i, the predictive density is N(mean of the rest, 1 + 1 / (n - 1))."""
    y = normal[0]
    rest = (y.sum() - y) / (N_OBS - 1)
    variance = 1 + 1 / (N_OBS - 1)
    exact = -0.5 * np.log(2 * np.pi * variance) - 0.5 * (y - rest) ** 2 / variance
    result = loo(normal_fit)
    np.testing.assert_allclose(result.pointwise["elpd"], exact, atol=0.01)
    assert result.elpd == pytest.approx(exact.sum(), abs=0.1)
    assert result.messages == ()


def test_loo_is_that_of_arviz(normal, normal_fit):
    result = loo(normal_fit)
    groups = {name: normal_fit[name].to_dataset() for name in ("posterior", "log_likelihood")}
    groups["posterior"] = groups["posterior"].drop_vars("corr")  # constant elements have no ESS
    tree = xr.DataTree.from_dict(groups)
    reference = arviz_stats.loo(tree, pointwise=True, var_name="dv")
    assert result.elpd == pytest.approx(float(reference.elpd), abs=1e-3)
    assert result.se == pytest.approx(float(reference.se), abs=1e-3)
    np.testing.assert_allclose(result.pointwise["p"].sum(), reference.p, atol=1e-3)


def test_loo_and_waic_agree_where_both_hold(normal_fit):
    assert loo(normal_fit).elpd == pytest.approx(waic(normal_fit).elpd, abs=0.05)


@pytest.mark.parametrize("function", [loo, waic])
def test_a_stored_log_likelihood_gives_what_a_computed_one_gives(posed, function):
    assert function(posed).elpd == function(add_log_likelihood(posed)).elpd


def test_an_influential_observation_is_named_by_subject_and_time(normal, normal_fit):
    _, mu, values = normal
    values = values.copy()
    values[..., 25] = -0.5 * (40.0 - mu) ** 2
    events = study_of(normal_fit).events
    place = f"subject {events.subjects[events.obs_subject[25]]} at {events.obs_time[25]:g}"
    dt = with_log_likelihood(normal_fit, values)
    result = loo(dt)
    assert len(result.messages) == 1
    assert "1 of 132 observations" in result.messages[0]
    assert place in result.messages[0]
    assert str(result).startswith("! Leave-one-out is unreliable")
    assert place in waic(dt).messages[0]
    assert "p_waic is above 0.4 for 1 of 132" in waic(dt).messages[0]


def test_the_result_says_what_is_left_out_and_what_that_means(normal_fit):
    result = loo(normal_fit)
    assert result.unit == "obs"
    assert 'unit="obs": how well is another observation of the same subjects predicted?' in str(result)
    assert "another observation of the same subjects" in result._repr_html_()


@pytest.mark.parametrize("function", [loo, waic])
def test_the_subject_as_unit_is_not_there_yet_and_says_why(posed, function):
    with pytest.raises(
        NotImplementedError, match=r"later version.*integrated out.*must not be used in its place"
    ):
        function(posed, unit="subject")


@pytest.mark.parametrize("function", [loo, waic])
def test_an_unknown_unit_is_refused(posed, function):
    with pytest.raises(ValueError, match='unit must be "obs" or "subject"'):
        function(posed, unit="patient")


def test_a_log_likelihood_that_is_not_finite_is_refused_with_its_place(normal, normal_fit):
    values = normal[2].copy()
    values[1, 3, 0] = -np.inf
    with pytest.raises(
        ValueError, match=r"not finite in some draws for 1 of 132 observations \(subject 1 at 0\)"
    ):
        loo(with_log_likelihood(normal_fit, values))


@pytest.fixture(scope="module")
def worse(normal, normal_fit) -> xr.DataTree:
    rng = np.random.default_rng(8)
    mu = 2.0 + rng.standard_normal(normal[1].shape) / np.sqrt(N_OBS)
    return with_log_likelihood(normal_fit, -0.5 * np.log(2 * np.pi) - 0.5 * (normal[0] - mu[..., None]) ** 2)


def test_compare_puts_the_better_model_first_and_names_the_unit(normal_fit, worse):
    result = compare({"worse": worse, "better": normal_fit})
    assert result.table.index.tolist() == ["better", "worse"]
    assert result.table["unit"].tolist() == ["obs", "obs"]
    assert 'unit="obs"' in str(result)
    assert result.table.loc["better", "weight"] > 0.95


def test_compare_gives_the_paired_difference_and_its_error(normal_fit, worse):
    table = compare({"worse": worse, "better": normal_fit}).table
    difference = (loo(worse).pointwise["elpd"] - loo(normal_fit).pointwise["elpd"]).to_numpy()
    assert table.loc["worse", "elpd_diff"] == pytest.approx(difference.sum())
    assert table.loc["worse", "dse"] == pytest.approx(np.sqrt(N_OBS * difference.var()))


def test_compare_repeats_the_warnings_of_each_model(normal, normal_fit):
    values = normal[2].copy()
    values[..., 3] = -0.5 * (30.0 - normal[1]) ** 2
    result = compare({"a": normal_fit, "b": with_log_likelihood(normal_fit, values)})
    assert len(result.messages) == 1
    assert result.messages[0].startswith("b: Leave-one-out is unreliable")
    assert "k̂" in result.table.loc["b", "diagnosis"]


def test_compare_refuses_fits_to_other_observations(posed, theophylline):
    other = posed_fit(data=with_dv(theophylline, theophylline.obs_dv + 0.5), draws=5)
    with pytest.raises(ValueError, match=r"same observations: number 1 has dv 0\.74 in one and 1\.24"):
        compare({"a": posed, "b": other})
    fewer = posed_fit(data=theophylline.subset([1, 2]), draws=5)
    with pytest.raises(ValueError, match="132 observations and 'b' to 22"):
        compare({"a": posed, "b": fewer})


def test_compare_needs_two_fits_and_a_known_method_and_unit(posed):
    with pytest.raises(ValueError, match="two fits or more"):
        compare({"a": posed})
    with pytest.raises(ValueError, match="method must be one of"):
        compare({"a": posed, "b": posed}, method="vote")
    with pytest.raises(NotImplementedError, match="later version"):
        compare({"a": posed, "b": posed}, unit="subject")


def test_compare_says_that_it_takes_names(posed):
    for wrong in ([posed, posed], posed):
        with pytest.raises(TypeError, match="mapping of name -> fit"):
            compare(wrong)


@pytest.mark.parametrize("ask", [loo, waic])
def test_a_tree_without_posterior_is_refused(simulated, ask):
    with pytest.raises(ValueError, match="has no posterior draws"):
        ask(simulated)


@pytest.mark.parametrize("ask", [loo, waic, summary, vpc])
def test_what_is_no_tree_is_refused(model, ask):
    for wrong, kind in ((None, "NoneType"), (model, "PopModel")):
        with pytest.raises(TypeError, match=f"needs the DataTree that popbayes.fit .*, not {kind}"):
            ask(wrong)
