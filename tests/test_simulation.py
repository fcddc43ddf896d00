import numpy as np
import pytest

from popbayes import covariate, pk, prior, residual, variability
from popbayes.building import build
from popbayes.data.regimen import Regimen
from popbayes.infer import pointwise
from popbayes.infer.new_levels import lkj_correlations
from popbayes.infer.population import given_values, random_effects
from popbayes.model import PopModel
from popbayes.parameters.parameter import Parameter
from popbayes.simulation import as_data, same_design, simulate
from tests.infer.posing import posed
from tests.tolerances import MCSE, SOLVER

MANY = 4000
DOSE = 100.0


def bolus(omega=0.3, sigma=0.5, **changes):
    """Intravenous bolus with a known typical subject; V varies, so that C(0) = dose / V is log-normal."""
    parts = {
        "structural": pk.OneCompartment(),
        "parameters": {"CL": Parameter(2.0), "V": Parameter(10.0)},
        "variability": variability.Independent(["V"], sd=omega),
        "residual": residual.Additive(sigma),
    }
    return PopModel(**{**parts, **changes})


def at_the_dose(n_subject=1):
    return Regimen().dose(DOSE).sample([0]).to_events(n_subject)


def near(values, truth, count=MANY, kurtosis=3.0):
    """Whether a sample variance is that of the truth, by its Monte-Carlo error."""
    return abs(values.var() - truth) < MCSE * truth * np.sqrt((kurtosis - 1) / count)


@pytest.fixture(scope="module")
def correlated():
    return PopModel(
        structural=pk.OneCompartment(absorption=pk.FirstOrder()),
        parameters={
            "ka": Parameter(prior.LogNormal(1.5, 0.5)),
            "CL": Parameter(
                prior.LogNormal(2.8, 0.5),
                covariates=[covariate.Power("WT", exponent=prior.Normal(0.75, 0.1))],
            ),
            "V": Parameter(prior.LogNormal(32.0, 0.5)),
        },
        variability=[
            variability.Correlated(["ka", "V"], sd=prior.HalfNormal(0.3), lkj=2),
            variability.Independent(["CL"], sd=0.2),
        ],
        residual=residual.Combined(add=0.1, prop=prior.HalfNormal(0.2)),
    )


@pytest.fixture(scope="module")
def tree(correlated, theophylline):
    return posed(correlated, theophylline, n=4)


def test_the_spread_of_new_subjects_is_omega():
    drawn = simulate(bolus(omega=0.3), at_the_dose(), seed=1, n=MANY)["prior_predictive"]
    log_v = np.log(DOSE / drawn["ipred"].to_numpy().ravel())
    assert near(log_v, 0.3**2)
    assert abs(log_v.mean() - np.log(10.0)) < MCSE * 0.3 / np.sqrt(MANY)


def test_the_scatter_around_the_prediction_is_sigma():
    drawn = simulate(bolus(sigma=0.5), at_the_dose(), seed=1, n=MANY)["prior_predictive"]
    assert near((drawn["dv"] - drawn["ipred"]).to_numpy(), 0.5**2)


def test_the_prediction_of_a_typical_subject_has_no_random_effect():
    drawn = simulate(bolus(), at_the_dose(), seed=1, n=5)["prior_predictive"]
    np.testing.assert_allclose(drawn["pred"], DOSE / 10.0, **SOLVER)


def test_subjects_are_drawn_independently():
    drawn = simulate(bolus(), at_the_dose(2), seed=1, n=MANY)["prior_predictive"]["ipred"].to_numpy()[0]
    r = np.corrcoef(np.log(drawn).T)[0, 1]
    assert abs(r) < MCSE / np.sqrt(MANY)


def test_random_effects_have_the_covariance_that_they_are_given(correlated, theophylline):
    model = correlated.resolved(theophylline)
    values = {
        "omega": np.array([[0.3, 0.2, 0.5]]),
        "corr": np.array([[[1.0, 0.0, 0.8], [0.0, 1.0, 0.0], [0.8, 0.0, 1.0]]]),
    }
    normal = np.random.default_rng(2).standard_normal((1, MANY, 3))
    eta = random_effects(model, values, normal)[0]
    truth = values["corr"][0] * np.outer(values["omega"], values["omega"])
    error = np.sqrt((np.outer(np.diag(truth), np.diag(truth)) + truth**2) / MANY)
    assert np.all(np.abs(np.cov(eta.T) - truth) < MCSE * error)


@pytest.mark.parametrize(("size", "shape"), [(2, 1.0), (3, 2.0), (4, 0.7)])
def test_correlations_have_the_margins_of_lkj(size, shape):
    corr = lkj_correlations(np.random.default_rng(3), MANY, size, shape)
    beta = shape - 1 + size / 2
    variance = 1 / (2 * beta + 1)
    kurtosis = 3 * (2 * beta + 1) / (2 * beta + 3)
    for high in range(1, size):
        for low in range(high):
            assert near(corr[:, high, low], variance, kurtosis=kurtosis), (high, low)
    assert np.linalg.eigvalsh(corr).min() > -1e-12


@pytest.mark.parametrize("source", ["prior", "posterior"])
def test_the_same_seed_gives_the_same_bits_whatever_the_chunks(
    correlated, theophylline, tree, monkeypatch, source
):
    dt = tree if source == "posterior" else None
    one = simulate(correlated, theophylline, dt, seed=9, n=8)
    monkeypatch.setattr(pointwise, "CHUNK", 300)
    same = simulate(correlated, theophylline, dt, seed=9, n=8)
    other = simulate(correlated, theophylline, dt, seed=10, n=8)
    group = f"{source}_predictive"
    assert one[group].identical(same[group])
    assert not np.any(one[group]["dv"] == other[group]["dv"])


def test_a_fresh_seed_is_drawn_and_recorded():
    one, other = (simulate(bolus(), at_the_dose(), n=1) for _ in range(2))
    assert one.attrs["seed"] != other.attrs["seed"]
    again = simulate(bolus(), at_the_dose(), n=1, seed=one.attrs["seed"])
    assert again["prior_predictive"].identical(one["prior_predictive"])


def test_prior_draws_are_kept_with_their_names(correlated, theophylline):
    drawn = simulate(correlated, theophylline, seed=1, n=7)
    prior_draws = drawn["prior"].to_dataset()
    assert set(prior_draws.data_vars) == {
        "ka_pop", "CL_pop", "beta_CL_WT", "V_pop", "omega", "corr", "sigma_prop",
    }  # fmt: skip
    assert prior_draws["omega"].dims == ("chain", "draw", "eta_of")
    assert np.all(prior_draws["omega"].sel(eta_of="CL") == 0.2), "a fixed one stays in omega"
    assert np.all(prior_draws["corr"].sel(eta_of="ka", eta_of_="CL") == 0)
    assert (drawn.attrs["source"], drawn.attrs["etas"]) == ("prior", "new")


def test_subjects_of_the_study_keep_their_random_effects_where_asked(correlated, theophylline, tree):
    drawn = simulate(correlated, theophylline, tree, seed=1, n=4, new_subjects=False)
    assert drawn.attrs["etas"] == "own"
    there = pointwise.ipred(tree).sel(draw=drawn["posterior_predictive"]["draw"])
    np.testing.assert_allclose(drawn["posterior_predictive"]["ipred"], there, **SOLVER)


def test_subjects_are_new_ones_unless_told_otherwise(correlated, theophylline, tree):
    drawn = simulate(correlated, theophylline, tree, seed=1, n=4)
    there = pointwise.ipred(tree).sel(draw=drawn["posterior_predictive"]["draw"])
    later = drawn["constant_data"]["time"].to_numpy() > 0
    assert drawn.attrs["etas"] == "new"
    assert not np.any(np.isclose(drawn["posterior_predictive"]["ipred"], there)[..., later])


def test_posterior_draws_are_spread_evenly_over_every_chain(correlated, theophylline):
    long = posed(correlated, theophylline, n=10)
    drawn = simulate(correlated, theophylline, long, seed=1, n=8)["posterior_predictive"]
    assert drawn.sizes["chain"] == 2
    assert drawn["draw"].to_numpy().tolist() == [0, 3, 6, 9]


def test_another_design_takes_new_subjects_even_where_labels_agree(correlated, tree):
    regimen = Regimen(times=[1, 4], covariates={"WT": 80.0}).dose(300)
    drawn = simulate(correlated, regimen, tree, seed=1, n=4)
    assert drawn.attrs["etas"] == "new"
    assert drawn["predictions"]["dv"].shape == (2, 2, 2)
    assert "observed_data" not in drawn.children


def test_subjects_of_the_study_may_be_given_another_design(correlated, tree, theophylline):
    subject = theophylline.subjects[3]
    weight = theophylline.covariate_by_subject("WT")[3]
    regimen = Regimen(times=[1, 4], covariates={"WT": weight}).dose(300).to_events([subject])
    drawn = simulate(correlated, regimen, tree, seed=1, n=8, new_subjects=False)["predictions"]
    theta = {name: tree["posterior"][name].sel(subject=subject).to_numpy() for name in ("ka", "CL", "V")}
    ka, k = theta["ka"], theta["CL"] / theta["V"]
    by_hand = 300 / theta["V"] * ka / (ka - k) * (np.exp(-k * 4) - np.exp(-ka * 4))
    np.testing.assert_allclose(drawn["ipred"].isel(obs=1), by_hand, **SOLVER)


def test_subjects_without_random_effects_in_the_posterior_are_named(correlated, tree):
    regimen = Regimen(times=[1], covariates={"WT": 80.0}).dose(300).to_events(["new one"])
    with pytest.raises(ValueError, match="no random effects of subject"):
        simulate(correlated, regimen, tree, seed=1, new_subjects=False)


def test_a_reference_of_the_fit_is_kept_on_other_data(correlated, tree, theophylline):
    heavy = Regimen(times=[1], covariates={"WT": 200.0}).dose(300)
    drawn = simulate(correlated, heavy, tree, seed=1, n=4)
    kept = PopModel.from_json(drawn.attrs["model"]).parameters["CL"].covariates[0].ref
    assert kept == np.median(theophylline.covariate_by_subject("WT"))


def test_the_posterior_of_another_model_is_refused(tree, theophylline_model, theophylline):
    with pytest.raises(ValueError, match="not the one whose posterior the DataTree holds"):
        simulate(theophylline_model, theophylline, tree, seed=1)


def test_a_tree_without_posterior_is_refused(correlated, theophylline):
    with pytest.raises(ValueError, match="has no posterior"):
        simulate(correlated, theophylline, simulate(correlated, theophylline, seed=1, n=1), seed=1)


def test_given_values_are_used_as_they_are(correlated, theophylline):
    values = {
        "ka_pop": 1.5, "CL_pop": 2.8, "beta_CL_WT": 0.75, "V_pop": 32.0, "sigma_prop": 0.1,
        "omega": {"ka": 0.3, "CL": 0.2, "V": 0.1}, "corr": {("ka", "V"): 0.5},
    }  # fmt: skip
    drawn = simulate(correlated, theophylline, values, seed=1, n=3)
    assert drawn["predictions"]["dv"].shape == (1, 3, 132)
    assert np.ptp(drawn["predictions"]["pred"].to_numpy(), axis=1).max() == 0
    inside = given_values(correlated.resolved(theophylline), values)
    assert inside["corr"][0].tolist() == [[1, 0, 0.5], [0, 1, 0], [0.5, 0, 1]]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"Cl_pop": 1.0}, "no population value 'Cl_pop'.*'CL_pop'"),
        ({"sigma_add": 1.0}, "no population value 'sigma_add'.* It is fixed in the model"),
        ({"omega": [0.1, 0.2]}, "omega needs one value for each of ka, CL, V"),
        ({"omega": {"ka": 1.0}}, "omega needs one value for each of ka, CL, V; given: ka"),
        ({"corr": np.array([[1, 2, 0], [2, 1, 0], [0, 0, 1]])}, "must be a correlation matrix"),
        ({"corr": {("ka", "Q"): 0.1}}, r"the pair \(ka, Q\)"),
        ({"ka_pop": [1, 2]}, "ka_pop needs one number"),
    ],
)
def test_given_values_that_do_not_fit_are_refused(correlated, theophylline, change, match):
    values = {
        "ka_pop": 1.5, "CL_pop": 2.8, "beta_CL_WT": 0.75, "V_pop": 32.0, "omega": [0.3, 0.2, 0.1],
        "corr": np.eye(3), "sigma_prop": 0.1,
    }  # fmt: skip
    with pytest.raises(ValueError, match=match):
        simulate(correlated, theophylline, {**values, **change}, seed=1)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"CL_pop": 0.0}, r"CL_pop must be > 0 \(log scale\), not 0"),
        ({"F_pop": 1.0}, "F_pop must be between 0 and 1, bounds excluded"),
        (
            {"omega": {"CL": -0.1, "V": 0.1}},
            r"omega\[CL\] is a standard deviation and must be >= 0, not -0.1",
        ),
        ({"sigma_prop": -1}, "sigma_prop is a standard deviation and must be >= 0"),
        ({"sigma_prop": np.inf}, "sigma_prop must be a finite number, not inf"),
        ({"V_pop": np.nan}, "V_pop must be a finite number, not nan"),
    ],
)
def test_given_values_that_cannot_be_are_refused(change, match):
    free = {name: Parameter(prior.LogNormal(2.0, 0.5)) for name in ("ka", "CL", "V")}
    model = PopModel(
        structural=pk.OneCompartment(absorption=pk.FirstOrder(F=True)),
        parameters={**free, "F": Parameter(prior.Beta(2, 2), scale="logit")},
        variability=variability.Independent(["CL", "V"], sd=prior.HalfNormal(0.3)),
        residual=residual.Proportional(prior.HalfNormal(0.2)),
    )
    values = {
        "ka_pop": 1.5, "CL_pop": 2.8, "V_pop": 32.0, "F_pop": 0.5, "omega": [0.0, 0.2], "sigma_prop": 0.0,
    }  # fmt: skip
    simulate(model, at_the_dose(), values, seed=1)
    with pytest.raises(ValueError, match=match):
        simulate(model, at_the_dose(), {**values, **change}, seed=1)


def linear_clearance(coefficient):
    effect = covariate.Linear("CRCL", ref=100, coefficient=coefficient)
    parameters = {"CL": Parameter(2.0, covariates=[effect]), "V": Parameter(10.0)}
    return bolus(parameters=parameters)


def test_a_linear_factor_that_is_not_positive_is_named_in_one_warning():
    model = linear_clearance(prior.Normal(0.0, 0.02))
    design = Regimen(times=[1, 4], covariates={"CRCL": 50.0}).dose(DOSE)
    with pytest.warns(UserWarning, match=r"not finite.*CL in .* %.*Linear\('CRCL'\) on CL went to 0") as seen:
        drawn = simulate(model, design, seed=1, n=200)
    lost = drawn["prior"]["beta_CL_CRCL"].to_numpy() >= 1 / 50
    assert len(seen) == 1
    assert f"CL in {100 * lost.mean():.2g} %" in str(seen[0].message)
    assert np.array_equal(np.isnan(drawn["prior_predictive"]["dv"]).all("obs"), lost)
    assert seen[0].filename == __file__


def test_values_that_are_not_finite_for_another_reason_are_told_too():
    with pytest.warns(UserWarning, match="not finite.*V in .* % of the draws. Look at the priors"):
        simulate(bolus(omega=1e4), at_the_dose(), seed=1, n=20)


def test_missing_values_are_named(correlated, theophylline):
    with pytest.raises(ValueError, match="missing: ka_pop, beta_CL_WT, V_pop, omega, corr, sigma_prop"):
        simulate(correlated, theophylline, {"CL_pop": 2.0}, seed=1)


@pytest.mark.parametrize("effects", [
    variability.Independent(["CL", "V"], sd=0.3), variability.Fixed({"CL": 0.3, "V": 0.3}),
])  # fmt: skip
def test_known_standard_deviations_need_not_be_given(effects):
    model = PopModel(
        pk.OneCompartment(), {name: Parameter(prior.LogNormal(2.0, 0.5)) for name in ("CL", "V")}, effects,
        residual.Proportional(0.1),
    )  # fmt: skip
    values, design = {"CL_pop": 1.0, "V_pop": 2.0}, Regimen(times=[1.0]).dose(10).to_events(5)
    drawn = simulate(model, design, values, seed=1)["predictions"]
    same = simulate(model, design, values | {"omega": [0.3, 0.3]}, seed=1)["predictions"]
    np.testing.assert_array_equal(drawn["dv"], same["dv"])
    assert len(np.unique(drawn["ipred"])) == 5


def test_a_simulated_study_is_data_to_fit():
    design = Regimen(times=[1, 4, 12]).dose(DOSE).to_events(3)
    drawn = simulate(bolus(), design, seed=4, n=2)
    data = as_data(drawn, draw=1)
    assert data.has_dv
    np.testing.assert_array_equal(data.obs_dv, drawn["prior_predictive"]["dv"][0, 1])
    free = bolus(parameters={"CL": Parameter(2.0), "V": Parameter(prior.LogNormal(10, 1))})
    assert [v.name for v in build(free, data).observed_RVs] == ["dv"]


def test_designs_are_the_same_whatever_was_observed(theophylline):
    other = as_data(
        simulate(bolus(parameters={"CL": Parameter(1.0), "V": Parameter(10.0)}), at_the_dose(), seed=1)
    )
    assert same_design(other, at_the_dose())
    assert same_design(theophylline, theophylline.subset(theophylline.subjects))
    assert not same_design(theophylline, theophylline.subset([1, 2]))


def test_a_model_without_random_effects_simulates():
    drawn = simulate(bolus(variability=None), at_the_dose(), seed=1, n=3)
    assert drawn.attrs["etas"] == "none"
    assert np.array_equal(drawn["prior_predictive"]["ipred"], drawn["prior_predictive"]["pred"])
