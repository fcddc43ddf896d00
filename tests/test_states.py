"""Mixtures and missing covariates: densities against sums written out, gradients, draws, and refusals."""

import numpy as np
import pandas as pd
import pytensor
import pytensor.tensor as pt
import pytest
from scipy import stats
from scipy.special import logsumexp

from popbayes import covariate, pk, prior, residual, variability
from popbayes.building import build, initial_values
from popbayes.building.skewed import straightened
from popbayes.data.events import read_events
from popbayes.data.regimen import Regimen
from popbayes.dims import ETA_BASE, STATE_PROB
from popbayes.infer.fit import _stored
from popbayes.infer.population import given_values
from popbayes.infer.starts import starts_of
from popbayes.infer.states import resolved_states
from popbayes.infer.tree import Study
from popbayes.model import PopModel
from popbayes.model.states import shared_names
from popbayes.parameters.parameter import Parameter, skewed
from popbayes.simulation import simulate
from tests.tolerances import EXACT, GRADIENT

TIMES = (1.0, 4.0, 12.0)
DOSE = 100.0
SIGMAS = 5.0  # Monte-Carlo shares: within this many standard errors


def study(n=6, missing_wt=(0, 3), missing_sex=(1, 3), seed=1, fill=()):
    """A bolus and three samples; `fill` gives the missing sexes."""
    rng = np.random.default_rng(seed)
    weights, filled = rng.normal(70, 8, n), dict(zip(missing_sex, fill, strict=bool(fill)))
    rows = []
    for i in range(n):
        sex = filled.get(i, None if i in missing_sex else "FM"[i % 2])
        shared = {"ID": i + 1, "WT": np.nan if i in missing_wt else weights[i], "SEX": sex, "AGE": 40.0 + i}
        rows.append({**shared, "TIME": 0.0, "AMT": DOSE, "DV": np.nan})
        for time in TIMES:
            dv = 3.3 * np.exp(-0.1 * time + 0.2 * rng.normal())
            rows.append({**shared, "TIME": time, "AMT": 0.0, "DV": dv})
    columns = ["WT", "SEX", "AGE"]
    return read_events(pd.DataFrame(rows), covariates=columns, missing=["WT", "SEX"])


def model(variabilities, imputation=(), on_cl=(), on_v=(), **changes):
    parts = {
        "structural": pk.OneCompartment(),
        "parameters": {
            "CL": Parameter(prior.LogNormal(3.0, 0.5), covariates=on_cl),
            "V": Parameter(prior.LogNormal(30.0, 0.5), covariates=on_v),
        },
        "variability": list(variabilities),
        "residual": residual.Proportional(prior.HalfNormal(0.3)),
        "imputation": imputation,
    }
    return PopModel(**{**parts, **changes})


BOTH = variability.Correlated(["CL", "V"], sd=prior.HalfNormal(0.5))
AGE = covariate.Exponential("AGE", ref=42, coefficient=prior.Normal(0, 0.2))
SEX = covariate.Categorical("SEX", ref="F", coefficient=prior.Normal(0, 1))
WEIGHT = covariate.Power("WT", ref=70, exponent=prior.Normal(0.75, 0.2))
IMPUTE = (
    covariate.Impute("SEX", law="bernoulli", covariates=AGE),
    covariate.Impute("WT", typical=prior.LogNormal(70, 0.3), sd=prior.HalfNormal(0.3), covariates=SEX),
)


def three_classes(**changes):
    shift = {"CL": prior.HalfNormal(1.0), "V": prior.Normal(0, 1)}
    return variability.Mixture(["CL", "V"], shift=shift, classes=3, covariates=AGE, **changes)


def some_point(graph, seed=2, size=0.3):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, size, np.shape(value)) for name, value in graph.initial_point().items()}


def computed(graph, names, point):
    values = graph.replace_rvs_by_values([graph[name] for name in names])
    compiled = graph.compile_fn(
        values, inputs=graph.value_vars, mode="FAST_COMPILE", on_unused_input="ignore"
    )
    return dict(zip(names, compiled(point), strict=True))


def log_softmax(scores):
    return scores - logsumexp(scores, axis=-1, keepdims=True)


def test_a_mixture_of_random_effects_is_the_sum_over_classes():
    data = study(missing_wt=(), missing_sex=())
    made = model([BOTH, three_classes()])
    graph = build(made, data)
    names = ["CL_pop", "V_pop", "delta_CL", "delta_V", "p_class", "omega", "corr", "phi_shared"]
    names += ["beta_class2_AGE", "beta_class3_AGE", STATE_PROB, "subject_density", "CL"]
    got = computed(graph, names, some_point(graph))
    shift = np.stack([np.r_[0, np.cumsum(got["delta_CL"])], np.r_[0, got["delta_V"]]], axis=1)
    centre = np.log([got["CL_pop"], got["V_pop"]]) + shift
    covariance = got["corr"] * np.outer(got["omega"], got["omega"])
    age = 40.0 + np.arange(6) - 42
    slopes = np.array([0.0, got["beta_class2_AGE"], got["beta_class3_AGE"]])
    weight = log_softmax(np.log(got["p_class"]) + age[:, None] * slopes)
    for k in range(3):
        weight[:, k] += stats.multivariate_normal(centre[k], covariance).logpdf(got["phi_shared"])
    np.testing.assert_allclose(got["subject_density"], logsumexp(weight, axis=1).sum(), **EXACT)
    np.testing.assert_allclose(got[STATE_PROB].reshape(6, 3), np.exp(log_softmax(weight)), rtol=1e-9)
    np.testing.assert_allclose(got["CL"], np.exp(got["phi_shared"][:, 0]), **EXACT)


def test_classes_with_a_prediction_each_are_summed_over_the_likelihood():
    data = study(missing_wt=(), missing_sex=())
    made = model([variability.Independent(["V"], sd=prior.HalfNormal(0.5)), three_classes()])
    assert shared_names(made.states(made.design(data))) == ()  # CL has no random effect
    graph = build(made, data)
    names = ["CL_pop", "V_pop", "delta_CL", "delta_V", "p_class", "eta", "sigma_prop"]
    names += ["beta_class2_AGE", "beta_class3_AGE", "subject_density"]
    got = computed(graph, names, some_point(graph))
    cl = got["CL_pop"] * np.exp(np.r_[0, np.cumsum(got["delta_CL"])])
    v = got["V_pop"] * np.exp(np.r_[0, got["delta_V"]] + got["eta"])
    f = DOSE / v[..., None] * np.exp(-(cl[None, :] / v)[..., None] * np.array(TIMES))
    density = stats.norm(f, got["sigma_prop"] * f).logpdf(data.obs_dv.reshape(6, 1, 3)).sum(axis=-1)
    slopes = np.array([0.0, got["beta_class2_AGE"], got["beta_class3_AGE"]])
    age = 40.0 + np.arange(6) - 42
    weight = log_softmax(np.log(got["p_class"]) + age[:, None] * slopes) + density
    np.testing.assert_allclose(got["subject_density"], logsumexp(weight, axis=1).sum(), rtol=1e-9)


def test_both_ways_to_sample_a_mixture_have_the_same_likelihood():
    """The integral over the random effect of one subject, by the trapezoidal rule."""
    data = study(n=1, missing_wt=(), missing_sex=())
    found = []
    for centred in (None, False):
        one = PopModel(
            pk.OneCompartment(),
            {"CL": Parameter(3.0), "V": Parameter(30.0)},
            [
                variability.Independent(["CL"], sd=0.3, centred=False),
                variability.Mixture(["CL"], shift=0.8, concentration=(2.0, 1.0), centred=centred),
            ],
            residual.Proportional(0.2),
        )
        graph = build(one, data)
        point = graph.initial_point()
        name = next(value for value in point if value.startswith(("phi_shared", "eta_raw")))
        logp = graph.compile_logp(mode="FAST_COMPILE")
        span = np.linspace(-1.5, 4.5, 801) if centred is None else np.linspace(-9, 9, 801)
        values = [logp({**point, name: np.array([[x]])}) for x in span]
        found.append(np.log(np.trapezoid(np.exp(values), span)))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-8)


def test_missing_categories_are_summed_out_exactly():
    """The density with missing sexes is the sum over all ways to fill them in: another graph each."""
    one = model([BOTH], IMPUTE, on_cl=(WEIGHT, SEX), variability=None, on_v=())
    graph = build(one, study())
    assert {v.name for v in graph.free_RVs} >= {"imputed_WT_raw", "p_SEX"}
    point = some_point(graph)
    each = []
    for fill in ("FF", "FM", "MF", "MM"):
        filled = build(one, study(fill=fill))
        assert [v.name for v in filled.free_RVs] == [v.name for v in graph.free_RVs]
        each.append(filled.compile_logp(mode="FAST_COMPILE")(point))
    got = graph.compile_logp(mode="FAST_COMPILE")(point)
    np.testing.assert_allclose(got, logsumexp(each), rtol=1e-9)


def test_missing_categories_and_numbers_have_the_density_of_their_models():
    data = study()
    made = model([BOTH], IMPUTE, on_cl=(WEIGHT, SEX))
    graph = build(made, data)
    names = ["CL_pop", "V_pop", "beta_CL_WT", "beta_CL_SEX", "omega", "corr", "phi_shared", "p_SEX"]
    names += ["beta_SEX_M_AGE", "typical_WT", "sd_WT", "beta_WT_SEX", "imputed_WT", "subject_density"]
    got = computed(graph, names, some_point(graph))
    weight = data.covariate_by_subject("WT").copy()
    weight[[0, 3]] = got["imputed_WT"]
    male = np.array([0, np.nan, 0, np.nan, 0, 1.0])
    covariance = got["corr"] * np.outer(got["omega"], got["omega"])
    total = 0.0
    for i in range(6):
        each = []
        for sex in (0.0, 1.0) if np.isnan(male[i]) else (male[i],):
            odds = got["p_SEX"][1] / got["p_SEX"][0] * np.exp(got["beta_SEX_M_AGE"] * (40.0 + i - 42))
            centre = np.log(got["typical_WT"]) + got["beta_WT_SEX"] * sex
            mu = [
                np.log(got["CL_pop"]) + got["beta_CL_WT"] * np.log(weight[i] / 70) + got["beta_CL_SEX"] * sex,
                np.log(got["V_pop"]),
            ]
            each.append(
                stats.bernoulli(odds / (1 + odds)).logpmf(int(sex))
                + stats.norm(centre, got["sd_WT"]).logpdf(np.log(weight[i]))
                + stats.multivariate_normal(mu, covariance).logpdf(got["phi_shared"][i])
            )
        total += logsumexp(each)
    np.testing.assert_allclose(got["subject_density"], total, rtol=1e-9)


@pytest.mark.parametrize("centred", [None, False])
def test_the_gradient_is_that_of_the_density(centred):
    mixed = variability.Mixture(["CL"], shift=prior.HalfNormal(1.0), covariates=AGE, centred=centred)
    made = model(
        [variability.Independent(["CL", "V"], sd=prior.HalfNormal(0.5)), mixed],
        IMPUTE,
        on_cl=(WEIGHT, SEX),
    )
    graph = build(made, study())
    middle = initial_values(made.resolved(study()), study())
    assert set(middle) == {one.name for one in graph.free_RVs}
    starts = starts_of(graph, middle, seed=1)
    flat = starts.draw(np.random.default_rng(2))
    logp, slope = (f(mode="FAST_COMPILE") for f in (graph.compile_logp, graph.compile_dlogp))
    exact = np.ravel(slope(starts.point(flat)))

    def difference(step):
        moves = step * np.eye(len(flat))
        ends = [[logp(starts.point(flat + sign * e)) for sign in (1, -1)] for e in moves]
        return np.array([(up - down) / (2 * step) for up, down in ends])

    richardson = (4 * difference(1e-4) - difference(2e-4)) / 3
    np.testing.assert_allclose(exact, richardson, **GRADIENT)


@pytest.mark.parametrize("centred", [None, False])
def test_the_states_drawn_after_sampling_are_those_of_the_draws(centred):
    data = study()
    mixed = variability.Mixture(["CL"], shift=prior.HalfNormal(1.0), covariates=AGE, centred=centred)
    made = model([BOTH, mixed], IMPUTE, on_cl=(WEIGHT, SEX))
    one = Study(made.resolved(data), data)
    graph = build(one.model, data)
    names = _stored(one.model, graph)
    assert ((ETA_BASE in names), ("CL" in names)) == ((centred is None),) * 2
    draws = 400
    point = some_point(graph, size=0.1)
    if centred is None:
        point["phi_shared"] = point["phi_shared"] + np.log([3.0, 30.0])
    got = computed(graph, names, point)
    arrays = {name: np.broadcast_to(value, (1, draws, *np.shape(value))) for name, value in got.items()}
    found = resolved_states(one, arrays, np.random.default_rng(3)).arrays
    assert not {STATE_PROB, ETA_BASE} & set(found)
    flat = {name: value[0].reshape(draws, *(value.shape[2:] or (1,))) for name, value in found.items()}
    theta = one.model.individual_parameters(flat, flat["eta"], one.design)
    for name in ("CL", "V"):
        np.testing.assert_allclose(theta[name], flat[name], **EXACT)
    share = (flat["class_of"] == 2).mean(axis=0)
    expected = flat["class_prob"][0, :, 1]
    np.testing.assert_array_less(
        np.abs(share - expected), SIGMAS * np.sqrt(expected * (1 - expected) / draws) + 1e-12
    )
    if centred is None:
        np.testing.assert_allclose(theta["CL"], np.broadcast_to(got["CL"], theta["CL"].shape), **EXACT)


def test_new_subjects_are_of_the_classes_and_categories_of_the_model():
    data = study()
    mixed = variability.Mixture(["CL"], shift=2.0, covariates=covariate.Exponential("AGE", 42, 0.5))
    imputation = (
        covariate.Impute("SEX", law="categorical", levels=["F", "M"]),
        covariate.Impute("WT", typical=70.0, sd=0.2, covariates=covariate.Categorical("SEX", "F", 0.3)),
    )
    made = model(
        [variability.Independent(["V"], sd=0.1), mixed],
        imputation,
        parameters={"CL": Parameter(3.0, covariates=[covariate.Power("WT", 70, 1.0)]), "V": Parameter(30.0)},
        residual=residual.Proportional(0.1),
    )
    n = 4000
    given = {"p_class": [0.7, 0.3], "p_SEX": [0.4, 0.6], "omega": [0.0]}
    dt = simulate(made, data, given, n=n, seed=4)
    f = dt["predictions"]["pred"].to_numpy()[0].reshape(n, 6, 3)
    rate = -np.log(f[:, :, 1] / f[:, :, 0]) / 3.0  # CL / V
    cl = rate * 30.0
    fast = cl > 3.0 * np.exp(1.0) * 1.0
    known = [1, 2, 4, 5]  # subjects whose weight is not missing
    weight = data.covariate_by_subject("WT")
    odds = 0.3 / 0.7 * np.exp(0.5 * (40.0 + np.arange(6) - 42))
    share, expected = fast[:, known].mean(axis=0), (odds / (1 + odds))[known]
    np.testing.assert_array_less(np.abs(share - expected), SIGMAS * np.sqrt(expected * (1 - expected) / n))
    slow = cl[:, known] / np.where(fast[:, known], np.exp(2.0), 1.0)
    np.testing.assert_allclose(slow, np.broadcast_to(3.0 * weight[known] / 70, slow.shape), rtol=1e-6)
    # subject 4: weight and sex are missing; its mean log weight is a mixture over sexes
    log_cl = np.log(cl[:, 3]) - np.log(3.0) - 2.0 * fast[:, 3]
    sd = np.sqrt(0.2**2 + 0.3**2 * 0.24)
    assert abs(log_cl.mean() - 0.3 * 0.6) < SIGMAS * sd / np.sqrt(n) + 0.02


def test_population_values_of_a_mixture_are_given_and_checked():
    made = model([BOTH, three_classes()]).resolved(study())
    given = {
        "CL_pop": 3, "V_pop": 30, "delta_CL": [0.5, 0.2], "delta_V": [0, 0], "beta_class2_AGE": 0,
        "beta_class3_AGE": 0, "omega": [0.2, 0.2], "corr": {}, "sigma_prop": 0.1,
    }  # fmt: skip
    assert given_values(made, {**given, "p_class": [0.5, 0.3, 0.2]})["p_class"].shape == (1, 3)
    with pytest.raises(ValueError, match=r"p_class must be probabilities that add up to 1"):
        given_values(made, {**given, "p_class": [0.5, 0.3, 0.3]})


def test_a_model_with_states_prints_and_is_the_same_after_json():
    made = model([BOTH, three_classes()], IMPUTE, on_cl=(WEIGHT, SEX)).resolved(study())
    assert PopModel.from_json(made.to_json()) == made
    text = str(made)
    for part in ("class_i ~ Categorical(odds", "SEX_i ~ Categorical", "WT_i ~ LogNormal", "summed out"):
        assert part in text
    assert r"\delta_{\mathrm{CL}}" in made.latex()
    labels = [row.label for row in made.population_rows()]
    assert labels[-1] == "sigma_prop"
    assert {"delta_CL[2]", "delta_CL[3]", "p_class[3]", "p_SEX[M]", "typical_WT", "beta_WT_SEX"} <= set(
        labels
    )


def varying_weight():
    table = study(missing_wt=(), missing_sex=()).to_frame()
    table["WT"] = table["WT"] + table["TIME"]
    return read_events(table, covariates=["WT", "SEX", "AGE"])


def half_missing():
    table = study(missing_wt=(), missing_sex=()).to_frame()
    table.loc[1, "WT"] = np.nan
    return read_events(table, covariates=["WT"], missing=["WT"])


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: model([BOTH], on_cl=[WEIGHT]).check(study()), r"WT is missing in row 1 \(ID 1\).*Impute"),
        (lambda: half_missing(), r"WT is known on other records of this subject; see row 2 \(ID 1\)"),
        (lambda: read_events(study().to_frame(), covariates=["WT"]), r"must not be missing; see row 1"),
        (lambda: read_events(study().to_frame(), missing=["WT"]), r"covariate that may be missing 'WT'"),
        (
            lambda: model([BOTH], IMPUTE[1:], on_cl=[WEIGHT]).check(varying_weight()),
            r"WT varies within a subject",
        ),
        (
            lambda: model([BOTH], (covariate.Impute("SEX", typical=1, sd=1),)).check(study()),
            r"the column holds text",
        ),
        (lambda: model([BOTH], IMPUTE[::-1]), r"regresses on SEX, which is imputed after it"),
        (lambda: model([BOTH], (IMPUTE[0], IMPUTE[0])), r"two models of SEX"),
        (lambda: covariate.Impute("WT", law="gamma"), r"law .* must be one of lognormal"),
        (lambda: covariate.Impute("WT", typical=prior.Normal(70, 10), sd=1), r"typical .* is positive"),
        (lambda: variability.Mixture(["CL"], shift=prior.Normal(0, 1)), r"orders the classes"),
        (lambda: variability.Mixture(["CL"], shift=1.0, classes=1), r"whole number >= 2"),
        (lambda: variability.Mixture(["CL"], shift=1.0, concentration=[1, 2, 3]), r"each of its 2 classes"),
        (
            lambda: model([variability.Mixture(["CL"], shift=1.0, centred=True)]),
            r"needs random effects on all its parameters; CL has none",
        ),
        (
            lambda: model([BOTH, *[variability.Mixture(["CL"], shift=1.0)] * 2]),
            r"two mixtures",
        ),
        (lambda: model([BOTH, variability.Mixture(["ke"], shift=1.0)]), r"'ke', which is no parameter"),
    ],
)
def test_what_cannot_be_is_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_values_known_for_all_need_no_imputation_but_inform_its_model():
    data = study(missing_wt=(), missing_sex=())
    graph = build(model([BOTH], IMPUTE, on_cl=(WEIGHT, SEX)), data)
    names = {one.name for one in graph.free_RVs}
    assert "imputed_WT_raw" not in names
    assert {"typical_WT", "sd_WT", "p_SEX"} <= names
    assert "dv" in {one.name for one in graph.observed_RVs}
    assert np.isfinite(graph.compile_logp(mode="FAST_COMPILE")(graph.initial_point()))


def by_hand(eta, shape):
    return eta if shape == 0 else ((np.exp(eta)) ** shape - 1) / shape


@pytest.mark.parametrize("shape", [-1.3, -1e-3, 0.0, 1e-9, 1e-5, 0.7])
def test_a_skewed_effect_is_the_box_cox_transform_and_smooth_through_zero(shape):
    eta = np.array([-1.2, -1e-3, 0.0, 0.4, 2.0])
    exact = by_hand(eta, shape) if abs(shape) > 1e-4 else eta + shape * eta**2 / 2
    np.testing.assert_allclose(skewed(eta, shape, np), exact, rtol=1e-9, atol=1e-12)
    x, power = pt.dvector(), pt.dscalar()
    there = skewed(x, power, pt)
    back = straightened(there, power)
    slope = pytensor.grad(there.sum(), [x, power])
    f = pytensor.function([x, power], [there, back, *slope], mode="FAST_COMPILE")
    value, same, by_eta, by_shape = f(eta, shape)
    np.testing.assert_allclose(value, exact, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(same, eta, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(by_eta, np.exp(shape * eta), rtol=1e-9)
    if abs(shape) < 1e-4:
        np.testing.assert_allclose(by_shape, np.sum(eta**2 / 2 + shape * eta**3 / 3), rtol=1e-6)


@pytest.mark.parametrize("together", [True, False])
def test_a_skewed_effect_has_the_same_density_centred_or_not(together):
    """Centred is non-centred with the Jacobian of one sampled variable by the other."""
    kind = variability.Correlated if together else variability.Independent
    data, graphs = study(missing_wt=(), missing_sex=()), {}
    for centred in (True, False):
        parameters = {
            "CL": Parameter(prior.LogNormal(3.0, 0.5), scale="boxcox", shape=prior.Normal(0, 1)),
            "V": Parameter(prior.LogNormal(30.0, 0.5)),
        }
        one = kind(["CL", "V"], sd=prior.HalfNormal(0.5), centred=centred)
        graphs[centred] = build(model([one], parameters=parameters), data)
    point = some_point(graphs[False])
    got = computed(graphs[False], ["CL", "V", "omega", "shape_CL", "eta"], point)
    there = {name: value for name, value in point.items() if name != "eta_raw"}
    there["phi"] = np.log(np.stack([got["CL"], got["V"]], axis=1))
    again = computed(graphs[True], ["eta"], there)["eta"]
    np.testing.assert_allclose(again, got["eta"], rtol=1e-9, atol=1e-12)
    logp = [graphs[way].compile_logp(mode="FAST_COMPILE")(p) for way, p in ((False, point), (True, there))]
    whitening = 6 * np.log(got["omega"]).sum()
    if together:
        corr = computed(graphs[False], ["corr"], point)["corr"]
        whitening += 6 * np.log(np.linalg.det(corr)) / 2
    jacobian = -got["shape_CL"] * got["eta"][:, 0].sum() - whitening
    np.testing.assert_allclose(logp[1], logp[0] + jacobian, rtol=1e-9)


def test_a_trial_in_people_whose_covariates_are_unknown_draws_them():
    made = model([BOTH], IMPUTE, on_cl=(WEIGHT, SEX)).resolved(study())
    trial = Regimen(times=[1.0, 5.0], covariates={"WT": np.nan, "SEX": None, "AGE": [30, 50]}).dose(100)
    given = {
        "CL_pop": 3, "V_pop": 30, "beta_CL_WT": 1, "beta_CL_SEX": 0, "omega": [0, 0], "corr": {},
        "sigma_prop": 0.1, "p_SEX": [0.5, 0.5], "beta_SEX_M_AGE": 0, "typical_WT": 70, "sd_WT": 0.3,
        "beta_WT_SEX": 0,
    }  # fmt: skip
    n = 4000
    f = simulate(made, trial.to_events(2), given, n=n, seed=1)["predictions"]["pred"].to_numpy()[0]
    log_cl = np.log(np.log(f[:, 0] / f[:, 1]) / 4 * 30 / 3)
    assert abs(log_cl.std() - 0.3) < SIGMAS * 0.3 / np.sqrt(2 * n)
    assert "WT" in str(trial.to_events(2))
    with pytest.raises(ValueError, match="WT is missing in row 1"):
        simulate(model([BOTH], on_cl=[covariate.Power("WT", 70, 1.0)]), trial.to_events(2), n=2)
