"""`build`: names and dimensions of the graph, its density against SciPy, centring, correlations, refusals."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pymc as pm
import pytest
from pymc.initial_point import make_initial_point_fn
from scipy import stats
from scipy.special import gammaln

from popbayes import pd as pharmacodynamics
from popbayes import pk
from popbayes.building import build, design_for, initial_values
from popbayes.data.events import read_events
from popbayes.data.regimen import Regimen
from popbayes.infer.compiled_density import density_function
from popbayes.model import PopModel
from popbayes.observation import residual
from popbayes.parameters import covariate, prior, variability
from popbayes.parameters.parameter import Parameter
from tests.tolerances import EXACT, GRADIENT

NAMES = ["ka", "CL", "V"]
MEDIANS = {"ka": 1.5, "CL": 2.8, "V": 32.0}
HALF = prior.HalfNormal(0.5)
BY_WEIGHT = (covariate.Power("WT", exponent=prior.Normal(1, 0.2)),)
QUICK = "FAST_COMPILE"
"""Compile no array operations: the tests call each function a few times."""
MOST_NODES = 66
"""Operations in the compiled log density of theophylline with its gradient: 61 when this was written."""


def spread(kind, centred):
    if kind == "independent":
        return variability.Independent(NAMES, sd=HALF, centred=centred)
    if kind == "correlated":
        return variability.Correlated(NAMES, sd=HALF, lkj=2, centred=centred)
    several = {"CL": HALF, "V": prior.Gamma(2, 8)}
    return [
        variability.Independent(["ka"], sd=0.4, centred=not centred),
        variability.Correlated(["V", "CL"], sd=several, lkj=1.5, centred=centred),
    ]


KINDS = ["independent", "correlated", "several"]


@pytest.fixture(scope="module")
def changing():
    """Two subjects, one of whose weights changes between samples."""
    rows = [
        (i, t, None if t == 0 else 2.0 + t / 10, 100.0 if t == 0 else None, weight + (5 * t if i == 2 else 0))
        for i, weight in ((1, 60.0), (2, 70.0), (3, 80.0))
        for t in (0.0, 1.0, 4.0, 8.0)
    ]
    return read_events(pd.DataFrame(rows, columns=["ID", "TIME", "DV", "AMT", "WT"]), covariates=["WT"])


@pytest.fixture(scope="module")
def weighted(theophylline_model):
    """Theophylline's model with an estimated effect of weight on V."""
    heavier = replace(theophylline_model.parameters["V"], covariates=BY_WEIGHT)
    return replace(theophylline_model, parameters={**theophylline_model.parameters, "V": heavier})


def log_density(graph):
    return graph.compile_logp(mode=QUICK)


def somewhere(graph, seed, size=0.3):
    rng = np.random.default_rng(seed)
    point = graph.initial_point()
    return {name: value + size * rng.standard_normal(np.shape(value)) for name, value in point.items()}


def computed(graph, names, point):
    """Values of named variables at a point of the unconstrained space."""
    wanted = graph.replace_rvs_by_values([graph[name] for name in names])
    evaluate = graph.compile_fn(wanted, inputs=graph.value_vars, on_unused_input="ignore", mode=QUICK)
    return dict(zip(names, evaluate(point), strict=True))


def bateman(t, dose, ka, cl, v):
    k = cl / v
    return dose * ka / (v * (ka - k)) * (np.exp(-k * t) - np.exp(-ka * t))


@pytest.mark.parametrize("seed", range(3))
def test_the_log_density_of_theophylline_is_that_of_scipy(theophylline_model, theophylline, seed):
    graph = build(theophylline_model, theophylline)
    point = somewhere(graph, seed)
    pop = {name: np.exp(point[f"{name}_pop_log__"]) for name in NAMES}
    omega = np.exp(point["omega_log__"])
    add, prop = np.exp(point["sigma_add_log__"]), np.exp(point["sigma_prop_log__"])
    theta = {n: pop[n] * np.exp(omega[k] * point["eta_raw"][:, k]) for k, n in enumerate(NAMES)}
    who = theophylline.obs_subject
    dose = theophylline.amt[theophylline.is_dose]
    f = bateman(theophylline.obs_time, dose[who], *(theta[name][who] for name in NAMES))
    expected = (
        sum(
            stats.norm(np.log(m), 0.5).logpdf(np.log(pop[n]))
            for n, m in zip(NAMES, (1.5, 2.8, 32.0), strict=True)
        )
        + (stats.halfnorm(scale=0.5).logpdf(omega) + np.log(omega)).sum()
        + stats.norm.logpdf(point["eta_raw"]).sum()
        + stats.halfnorm(scale=1.0).logpdf(add)
        + np.log(add)
        + stats.halfnorm(scale=0.3).logpdf(prop)
        + np.log(prop)
        + stats.norm(f, np.hypot(add, prop * f)).logpdf(theophylline.obs_dv).sum()
    )
    np.testing.assert_allclose(log_density(graph)(point), expected, **EXACT)


def test_the_gradient_is_that_of_the_density(weighted, theophylline):
    graph = build(replace(weighted, variability=(spread("correlated", True),)), theophylline)
    point = somewhere(graph, 4, 0.1)
    density, gradient = log_density(graph), graph.compile_dlogp(mode=QUICK)(point)
    names, flat = list(point), np.concatenate([np.ravel(value) for value in point.values()])
    ends = np.cumsum([np.size(point[name]) for name in names])[:-1]

    def at(x):
        pieces = np.split(x, ends)
        return float(density({n: p.reshape(np.shape(point[n])) for n, p in zip(names, pieces, strict=True)}))

    step = 1e-5
    moved = [step * row for row in np.eye(flat.size)]
    numeric = [(at(flat + one) - at(flat - one)) / (2 * step) for one in moved]
    np.testing.assert_allclose(gradient, numeric, rtol=GRADIENT["rtol"], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("time_varying", [False, True], ids=["constant", "time-varying"])
def test_both_centrings_are_one_density_under_the_change_of_variables(
    weighted, theophylline, changing, kind, time_varying
):
    data = changing if time_varying else theophylline
    plain, centred = (build(replace(weighted, variability=spread(kind, way)), data) for way in (False, True))
    point = somewhere(plain, 7, 0.2)
    model = weighted.resolved(data)
    # every random effect, and every location, from the first graph
    wanted = ["omega", "eta", *([] if kind == "independent" else ["corr"])]
    values = computed(plain, wanted, point)
    corr = values.get("corr", np.eye(3))
    scale = values["omega"][:, None] * np.linalg.cholesky(corr)
    natural = {f"{n}_pop": np.exp(point[f"{n}_pop_log__"]) for n in NAMES}
    natural["beta_V_WT"] = point["beta_V_WT"]
    design = design_for(model, data)
    first = np.searchsorted(design.segment_subject, np.arange(design.n_subject))
    places = model.locations(natural, design)
    centre = np.stack([np.broadcast_to(places[n], design.n_segment)[first] for n in NAMES], axis=1)
    phi = centre + values["eta"]
    z = np.linalg.solve(scale, values["eta"].T).T
    densities, jacobians = [], []
    for graph in (plain, centred):
        here = {name: value for name, value in point.items() if name in graph.initial_point()}
        raw = list(graph.coords.get("eta_raw_of", graph.coords["eta_of"])) if "eta_raw" in graph else []
        own = list(graph.coords.get("phi_of", graph.coords["eta_of"])) if "phi" in graph else []
        if raw:
            here["eta_raw"] = z[:, [NAMES.index(name) for name in raw]]
        if own:
            here["phi"] = phi[:, [NAMES.index(name) for name in own]]
        densities.append(log_density(graph)(here))
        # d phi / d z is `scale`, block by block triangular
        index = [NAMES.index(name) for name in raw]
        jacobians.append(data.n_subject * np.log(np.diag(scale))[index].sum())
        np.testing.assert_allclose(
            computed(graph, ["eta"], here)["eta"], values["eta"], rtol=1e-9, atol=1e-12
        )
    np.testing.assert_allclose(densities[0] - jacobians[0], densities[1] - jacobians[1], **EXACT)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("centred", [False, True])
def test_what_is_free_starts_at_its_prior_median(weighted, theophylline, kind, centred):
    model = replace(weighted, variability=spread(kind, centred))
    graph = build(model, theophylline)
    starts = initial_values(model, theophylline)
    assert set(starts) == {variable.name for variable in graph.free_RVs}
    assert starts["CL_pop"] == pytest.approx(2.8)
    point = make_initial_point_fn(model=graph, overrides=starts)(0)
    values = computed(graph, ["eta", *NAMES], point)
    np.testing.assert_allclose(values["eta"], 0.0, atol=1e-12)
    np.testing.assert_allclose(values["CL"], 2.8, **EXACT)
    assert np.isfinite(log_density(graph)(point))


@pytest.mark.parametrize("kind", KINDS)
def test_names_and_dimensions_are_those_of_the_datatree(weighted, theophylline, changing, kind):
    for data, over in ((theophylline, "subject"), (changing, "segment")):
        for centred in (False, True):
            graph = build(replace(weighted, variability=spread(kind, centred)), data)
            found = {name: tuple(over) for name, over in graph.named_vars_to_dims.items()}
            assert found["omega"] == ("eta_of",)
            assert found["eta"] == ("subject", "eta_of")
            assert found["dv"] == ("obs",)
            # only what varies is over segments
            assert {name: found[name] for name in NAMES} == {
                name: (over if name == "V" else "subject",) for name in NAMES
            }
            assert (found.get("corr") == ("eta_of", "eta_of_")) is (kind != "independent")
            assert {"CL_pop", "beta_V_WT", "sigma_add", "sigma_prop"} <= set(graph.named_vars)
            assert "ipred" not in graph.named_vars
            assert list(graph.coords["subject"]) == data.subjects.tolist()
            assert list(graph.coords["eta_of"]) == NAMES


def test_parameters_in_the_graph_are_those_of_the_model(weighted, changing):
    model = weighted.resolved(changing)
    graph = build(model, changing)
    point = somewhere(graph, 2)
    names = ["ka_pop", "CL_pop", "V_pop", "beta_V_WT", "eta"]
    values = computed(graph, names, point)
    design = design_for(model, changing)
    theta = model.individual_parameters(values, values["eta"], design)
    inside = computed(graph, NAMES, point)
    for name in NAMES:
        got = inside[name] if name == "V" else inside[name][design.segment_subject]  # only V varies
        np.testing.assert_allclose(got, theta[name], **EXACT)


def lkj_marginal(size, shape):
    """Each correlation is ``2 b - 1`` with ``b ~ Beta(a, a)``, ``a = shape - 1 + size / 2``."""
    a = shape - 1 + size / 2
    return stats.beta(a, a, loc=-1, scale=2)


@pytest.mark.parametrize("lkj", [1.0, 2.0])
def test_prior_correlations_have_lkj_marginals(theophylline_model, theophylline, lkj):
    block = variability.Correlated(["V", "ka", "CL"], sd=HALF, lkj=lkj)
    graph = build(replace(theophylline_model, variability=block), theophylline)
    draws = pm.draw(graph["corr"], 3000, random_seed=5, mode=QUICK)  # independent draws: ESS is their number
    np.testing.assert_allclose(np.einsum("dii->di", draws), 1.0, rtol=1e-12)
    assert np.linalg.eigvalsh(draws).min() > 0
    for low, high in ((0, 1), (0, 2), (1, 2)):
        assert stats.kstest(draws[:, low, high], lkj_marginal(3, lkj).cdf).pvalue > 1e-4


@pytest.mark.parametrize("lkj", [0.8, 2.0])
def test_the_density_of_correlations_is_exactly_lkj(theophylline, lkj):
    """p(b) = p(R(b)) |dR/db|, with the LKJ density p(R) = det(R)^(lkj - 1) / Z of the matrix itself."""
    names = ["CL", "V1", "Q", "V2"]
    model = PopModel(
        pk.TwoCompartment(pk.FirstOrder()),
        {"ka": Parameter(1.5), **{name: Parameter(prior.LogNormal(2, 1)) for name in names}},
        variability.Correlated(names, sd=HALF, lkj=lkj),
        residual.Combined(HALF, HALF),
    )
    graph = build(model, theophylline)
    corr = graph.compile_fn([graph["corr"]], inputs=[graph["corr_partial"]], point_fn=False, mode=QUICK)
    lower = np.tril_indices(4, -1)
    at = lambda b: corr(b)[0][lower]  # noqa: E731
    b = np.array([0.3, 0.6, 0.45, 0.7, 0.2, 0.55])
    step = 1e-6
    moved = [step * row for row in np.eye(6)]
    jacobian = np.stack([(at(b + one) - at(b - one)) / (2 * step) for one in moved])
    size = 4
    k = np.arange(1, size)
    # Lewandowski, Kurowicka & Joe (2009), eq. 16 in the form of Stan's reference manual
    log_z = (
        0.5 * k * np.log(np.pi) + gammaln(lkj + 0.5 * (size - 1 - k)) - gammaln(lkj + 0.5 * (size - 1))
    ).sum()
    expected = (lkj - 1) * np.log(np.linalg.det(corr(b)[0])) - log_z + np.linalg.slogdet(jacobian)[1]
    density = pm.logp(graph["corr_partial"], b).eval().sum()
    np.testing.assert_allclose(density, expected, rtol=1e-7)


def test_correlations_outside_a_block_are_zero(theophylline_model, theophylline):
    graph = build(replace(theophylline_model, variability=spread("several", False)), theophylline)
    corr = pm.draw(graph["corr"], random_seed=1, mode=QUICK)
    np.testing.assert_allclose(corr[0], [1, 0, 0], atol=1e-15)
    assert abs(corr[1, 2]) > 1e-3
    assert list(graph.coords["corr_pair"]) == ["CL, V"]


@pytest.mark.parametrize("centred", [False, True])
def test_prior_draws_of_random_effects_have_the_declared_covariance(
    theophylline_model, theophylline, centred
):
    sds = {"ka": 0.5, "CL": 0.3, "V": 0.2}
    block = variability.Correlated(NAMES, sd=sds, centred=centred)
    graph = build(replace(theophylline_model, variability=block), theophylline)
    eta, corr = pm.draw([graph["eta"], graph["corr"]], 400, random_seed=8, mode=QUICK)
    scale = np.array(list(sds.values()))[:, None] * np.linalg.cholesky(corr)
    z = np.linalg.solve(scale, np.swapaxes(eta, 1, 2))
    for row in range(3):
        assert stats.kstest(z[:, row].ravel(), "norm").pvalue > 1e-4
        assert abs(stats.pearsonr(z[:, row].ravel(), z[:, row - 1].ravel()).statistic) < 5 / np.sqrt(
            z[:, 0].size
        )


def test_known_values_are_constants_and_the_rest_is_as_before(theophylline_model, theophylline):
    parameters = {**theophylline_model.parameters, "ka": Parameter(2.0)}
    model = replace(
        theophylline_model,
        parameters=parameters,
        variability=variability.Independent(["CL", "V"], sd={"CL": 0.25, "V": HALF}),
        residual=residual.Combined(add=0.5, prop=HALF),
    )
    graph = build(model, theophylline)
    assert {variable.name for variable in graph.free_RVs} == {
        "CL_pop",
        "V_pop",
        "omega_V",
        "eta_raw",
        "sigma_prop",
    }
    point = somewhere(graph, 3)
    values = computed(graph, ["ka", "omega"], point)
    assert values["ka"].tolist() == [2.0] * 12
    assert values["omega"][0] == 0.25
    design = design_for(model, theophylline)
    natural = {f"{n}_pop": np.exp(point[f"{n}_pop_log__"]) for n in ("CL", "V")}
    eta = values["omega"] * point["eta_raw"]
    theta = model.individual_parameters(natural, eta, design)
    who = theophylline.obs_subject
    dose = theophylline.amt[theophylline.is_dose]
    f = bateman(theophylline.obs_time, dose[who], *(theta[name][who] for name in NAMES))
    sigma = {"sigma_add": 0.5, "sigma_prop": np.exp(point["sigma_prop_log__"])}
    expected = model.residual.logp(theophylline.obs_dv, f, sigma)
    got = graph.compile_logp(vars=[graph["dv"]], sum=False, mode=QUICK)(point)[0]
    np.testing.assert_allclose(got, expected, **EXACT)


def test_nothing_estimated_but_the_residual_is_still_a_model(theophylline):
    fixed = {"ka": Parameter(1.5), "CL": Parameter(2.8), "V": Parameter(32.0, scale="identity")}
    model = PopModel(pk.OneCompartment(pk.FirstOrder()), fixed, None, residual.Additive(HALF))
    graph = build(model, theophylline)
    assert [variable.name for variable in graph.free_RVs] == ["sigma_add"]
    assert np.isfinite(log_density(graph)(graph.initial_point()))


def test_categories_have_a_dimension_of_their_own():
    rows = [
        (i, t, None if t == 0 else 1.0, 100.0 if t == 0 else None, race)
        for i, race in enumerate("wwab")
        for t in (0.0, 2.0)
    ]
    data = read_events(pd.DataFrame(rows, columns=["ID", "TIME", "DV", "AMT", "RACE"]), covariates=["RACE"])
    by_race = [covariate.Categorical("RACE", coefficient=prior.Normal(0, 1))]
    parameters = {"CL": Parameter(prior.LogNormal(1, 1), covariates=by_race), "V": Parameter(10.0)}
    model = PopModel(pk.OneCompartment(), parameters, None, residual.Additive(HALF))
    graph = build(model, data)
    assert graph.named_vars_to_dims["beta_CL_RACE"] == ("RACE_level",)
    assert list(graph.coords["RACE_level"]) == ["a", "b"]
    point = {"CL_pop_log__": 0.0, "beta_CL_RACE": np.array([0.5, -1.0]), "sigma_add_log__": 0.0}
    np.testing.assert_allclose(computed(graph, ["CL"], point)["CL"], np.exp([0, 0, 0.5, -1.0]), **EXACT)


def test_prior_predictive_draws_and_the_picture_of_the_graph_work(theophylline_model, theophylline):
    for kind in KINDS:
        graph = build(replace(theophylline_model, variability=spread(kind, True)), theophylline)
        with graph:
            drawn = pm.sample_prior_predictive(20, random_seed=2, compile_kwargs={"mode": QUICK})
        assert drawn["prior_predictive"]["dv"].dims == ("chain", "draw", "obs")
        assert np.isfinite(drawn["prior_predictive"]["dv"]).all()
    picture = pm.model_to_mermaid(graph)
    assert "dv" in picture
    assert "omega" in picture


def test_the_compiled_density_stays_lean(theophylline_model, theophylline):
    """Deterministics and needless operations must not creep into what nutpie calls at every step."""
    graph = build(theophylline_model, theophylline)
    nodes = density_function(graph)[1].maker.fgraph.toposort()
    assert len(nodes) <= MOST_NODES
    assert sum("Predict" in str(node.op) for node in nodes) == 2


def refused_table(**columns):
    table = pd.DataFrame(
        {"ID": [1, 1, 1], "TIME": [0.0, 1.0, 2.0], "AMT": [100.0, 0, 0], "DV": [None, 3.0, 2.0]}
    )
    return read_events(table.assign(**columns))


@pytest.mark.parametrize(
    ("error", "columns", "match"),
    [
        (
            residual.LogNormal(HALF),
            {"DV": [None, 0.0, 2.0]},
            r"positive observations.* row 2 \(ID 1\)\. Use",
        ),
        (
            residual.Proportional(HALF, rho=0.5),
            {"CENS": [0, 0, 1], "LLOQ": [2, 2, 2]},
            r"no closed form for observations beyond a limit.* row 3 \(ID 1\)\. Use",
        ),
        (residual.Additive(HALF), {"DVID": [1, 1, 2]}, r"several kinds \(DVID 1, 2\).* \(conc\)"),
    ],
)
def test_observations_that_the_residual_cannot_describe_are_refused(error, columns, match):
    model = PopModel(pk.OneCompartment(), {"CL": Parameter(1.0), "V": Parameter(10.0)}, None, error)
    with pytest.raises(ValueError, match=match):
        build(model, refused_table(**columns))


@pytest.mark.parametrize("error", [residual.Proportional(HALF), residual.LogNormal(HALF)])
def test_a_prediction_of_zero_is_explained_with_its_rows(theophylline_model, theophylline, error):
    kept = theophylline.to_frame()
    kept.loc[kept["DV"] == 0, "DV"] = 0.01  # samples at time 0: positive values, predictions of zero
    data = read_events(kept)
    with pytest.raises(ValueError, match=r"predicts 0 .* in row 2 \(ID 1\), .*Combined"):
        build(replace(theophylline_model, residual=error), data)
    assert build(replace(theophylline_model, residual=residual.Combined(HALF, HALF)), data)["dv"].ndim == 1


def test_predictions_that_are_zero_for_want_of_a_dose_are_told(theophylline_model, theophylline):
    table = theophylline.to_frame()
    with pytest.raises(ValueError, match=r"No record is a dose, and all predictions are 0"):
        build(theophylline_model, read_events(table.query("EVID == 0")))
    lost = read_events(table[(table["EVID"] == 0) | (table["ID"] != 3)])
    with pytest.warns(
        UserWarning, match=r"ID 3 has no dose, and all predictions there are 0: row 25 \(ID 3\)"
    ):
        build(theophylline_model, lost)


def test_a_subject_on_placebo_has_a_baseline_and_needs_no_dose(theophylline):
    made = pharmacodynamics.Turnover(pk.OneCompartment(), "inhibit loss", pharmacodynamics.Imax())
    parameters = {name: Parameter(prior.LogNormal(1.0, 0.3)) for name in made.parameters}
    laws = {"response": residual.Additive(HALF)}
    model = PopModel(made, parameters, None, laws, dvid={1: "response"})
    placebo = read_events(theophylline.to_frame().query("EVID == 0"))
    assert build(model, placebo)["dv"].ndim == 1


def test_a_design_without_observations_has_no_likelihood(theophylline_model):
    design = Regimen().dose(100).sample([1.0, 2.0])
    with pytest.raises(ValueError, match=r"no observed values.*pb.simulate\(model, data\)"):
        build(theophylline_model, design)


def test_a_covariate_that_is_not_in_the_table_is_refused_with_the_nearest(theophylline_model, theophylline):
    wrong = replace(
        theophylline_model.parameters["V"], covariates=[covariate.Power("BWT", ref=70, exponent=1)]
    )
    model = replace(theophylline_model, parameters={**theophylline_model.parameters, "V": wrong})
    with pytest.raises(ValueError, match=r"'BWT'.*it has WT\. Did you mean 'WT'\?"):
        build(model, theophylline)
