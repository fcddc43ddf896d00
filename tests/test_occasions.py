"""Occasions, sites, Student-t and known omegas: the graph, the numbers in it, and what is drawn anew."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from scipy.optimize import minimize

from popbayes import pk, prior, residual, variability
from popbayes.building import build, initial_values
from popbayes.building.between import Information
from popbayes.data.events import read_events
from popbayes.diagnostics.prior_table import prior_table
from popbayes.engine.solve import evaluate
from popbayes.infer.centring import centred_model, ratios_of_levels
from popbayes.infer.fit import _stored
from popbayes.infer.population import given_values, prior_values
from popbayes.infer.subject_logp import SubjectDensity
from popbayes.infer.tree import Study
from popbayes.model import PopModel
from popbayes.parameters.parameter import Parameter
from popbayes.simulation import simulate
from tests.infer.posing import posed
from tests.tolerances import EXACT, MCSE

TDM = Path(__file__).parents[1].parent / "shared" / "data" / "individual" / "map_posologyr_tdm_a"
MONOLIX = {"rtol": 1e-3, "atol": 0.0}  # printed with four digits
MANY = 4000


def crossover(n_subject=4, n_occasion=2):
    """A bolus with a reset at each occasion, sampled at the dose: log C(0) = log dose - log V is linear."""
    rows = [
        {
            "ID": i + 1,
            "TIME": 24.0 * k,
            "AMT": dose,
            "EVID": evid,
            "DV": np.nan if dose else 1.0,
            "OCC": k + 1,
            "SITE": "AB"[i % 2],
            "STUDY": "XY"[i // 2 % 2],
            "WT": 60.0 + 5 * i,
        }
        for i in range(n_subject)
        for k in range(n_occasion)
        for dose, evid in ((100.0, 4), (0.0, 0))
    ]
    return read_events(pd.DataFrame(rows), covariates=["SITE", "STUDY", "WT"])


def model(*blocks, **changes):
    parts = {
        "structural": pk.OneCompartment(),
        "parameters": {
            "CL": Parameter(prior.LogNormal(2.0, 0.3)),
            "V": Parameter(prior.LogNormal(10.0, 0.3)),
        },
        "variability": list(blocks),
        "residual": residual.Additive(prior.HalfNormal(1.0)),
    }
    return PopModel(**{**parts, **changes})


FULL = (
    variability.Block(
        ["CL", "V"], sd=prior.HalfNormal(0.3), correlated_names=["CL", "V"], nu=prior.Gamma(4.0, 1.0)
    ),
    variability.Occasion(["CL", "V"], sd=prior.HalfNormal(0.2), lkj=2),
    variability.Level("SITE", ["V"], sd=prior.HalfNormal(0.1), within="STUDY", centred=True),
)


@pytest.mark.skipif(not TDM.exists(), reason="the reference data are not at hand")
def test_occasions_give_the_published_map_estimate_of_a_patient():
    """Piperacillin in four occasions, each carrying over what the last one left."""
    table = pd.read_csv(TDM / "piperacillin.csv").assign(ID=1)
    data = read_events(table, covariates=["TBW"])
    omega = dict(
        zip(
            ("Tlag", "CL", "V1", "V2", "Q"),
            np.sqrt([0.1747673, 0.08507985, 0.0673745, 0.429067, 0.2247455]),
            strict=True,
        )
    )
    gamma = {"CL": np.sqrt(0.1934626), "V1": np.sqrt(0.05783106)}
    one = PopModel(
        pk.TwoCompartment(iv=pk.Intravenous(Tlag=True)),
        {
            name: Parameter(value)
            for name, value in {"Tlag": 0.07, "CL": 17.1 * 92 / 70, "V1": 7.2, "V2": 17.8, "Q": 52.0}.items()
        },
        [variability.Fixed(omega), variability.Occasion(["CL", "V1"], sd=gamma)],
        residual.Combined(add=3.2, prop=0.253),
    )
    design = one.design(data)
    assert design.groups["occasion"].labels.tolist() == ["1/1", "1/2", "1/3", "1/4"]
    spread = np.array([omega[name] for name in one.eta_names])

    def parameters(x):
        kappa = x[5:].reshape(4, 2) * np.array([gamma["CL"], gamma["V1"]])
        return one.individual_parameters({}, (x[:5] * spread)[None], design, levels={"occasion": kappa})

    def minus_log_posterior(x):
        f = evaluate(one.structural, design, parameters(x))
        sd = 3.2 + 0.253 * f
        return np.sum(((data.obs_dv - f) / sd) ** 2 + 2 * np.log(sd)) + np.sum(x**2)

    found = minimize(minus_log_posterior, np.zeros(13), method="BFGS", options={"gtol": 1e-7})
    clearance = parameters(found.x)["CL"]
    np.testing.assert_allclose(clearance, [10.576, 23.993, 18.387, 26.278], **MONOLIX)


def computed(graph, names, point):
    values = graph.replace_rvs_by_values([graph[name] for name in names])
    evaluated = graph.compile_fn(
        values, inputs=graph.value_vars, mode="FAST_COMPILE", on_unused_input="ignore"
    )
    return dict(zip(names, evaluated(point), strict=True))


def test_the_graph_has_the_numbers_of_the_parameter_equations_and_their_density():
    data, made = crossover(), model(*FULL)
    graph = build(made, data)
    assert set(initial_values(made, data)) == {one.name for one in graph.free_RVs}
    shapes = {name: tuple(over) for name, over in graph.named_vars_to_dims.items()}
    assert shapes["gamma"] == ("gamma_of",)
    assert shapes["eta_occ"] == ("occasion", "gamma_of")
    assert shapes["corr_occ"] == ("gamma_of", "gamma_of_")
    assert shapes["eta_SITE"] == ("SITE", "omega_SITE_of")
    assert shapes["CL"] == ("segment",)
    assert list(graph.coords["SITE"]) == ["X/A", "X/B", "Y/A", "Y/B"]
    rng = np.random.default_rng(1)
    point = {name: rng.normal(0, 0.3, np.shape(value)) for name, value in graph.initial_point().items()}
    names = ["CL_pop", "V_pop", "eta", "eta_occ", "eta_SITE", "gamma", "corr_occ", "omega_SITE", "CL", "V"]
    got = computed(graph, names, point)
    design = made.design(data)
    levels = {"occasion": got["eta_occ"], "SITE": got["eta_SITE"]}
    values = {name: got[name] for name in ("CL_pop", "V_pop")}
    theta = made.individual_parameters(values, got["eta"], design, np, levels)
    for name in ("CL", "V"):
        np.testing.assert_allclose(got[name], theta[name], **EXACT)
    occasion = design.groups["occasion"].of_segment
    np.testing.assert_allclose(
        np.log(got["CL"]),
        np.log(got["CL_pop"]) + got["eta"][design.segment_subject, 0] + got["eta_occ"][occasion, 0],
        **EXACT,
    )
    density = float(graph.compile_logp(vars=[graph["phi_SITE"]], mode="FAST_COMPILE")(point))
    np.testing.assert_allclose(
        density, stats.norm.logpdf(got["eta_SITE"], 0, got["omega_SITE"]).sum(), **EXACT
    )
    raw = point["eta_occ_raw"]
    lower = np.linalg.cholesky(got["corr_occ"])
    np.testing.assert_allclose(got["eta_occ"], (raw @ lower.T) * got["gamma"], **EXACT)


def test_a_model_with_levels_prints_them_round_trips_and_lists_their_rows():
    made = model(*FULL)
    assert PopModel.from_json(made.to_json()) == made
    text = str(made)
    assert "V_i = V_pop · exp(η_V,i + κ_V,ik + η_V,SITE)" in text
    assert "(κ_CL,ik, κ_V,ik) ~ Normal(0, D R_ik D), D = diag(γ_CL, γ_V)" in text
    assert "(η_CL,i, η_V,i) ~ Student-t(ν, 0, D R D)" in text
    labels = [row.label for row in made.population_rows()]
    assert {"gamma[CL]", "gamma[V]", "omega_SITE[V]", "nu_CL_V", "corr_occ[CL, V]"} <= set(labels)
    assert np.isfinite(prior_table(made, seed=1).table.loc["gamma[CL]", "fold_between_subjects"])
    assert made.latex()


def test_known_omegas_and_correlations_are_constants():
    made = model(variability.Fixed({"V": 0.2, "CL": 0.3}, corr={("CL", "V"): 0.6}))
    assert PopModel.from_json(made.to_json()) == made
    graph = build(made, crossover())
    assert {one.name for one in graph.free_RVs} == {"CL_pop", "V_pop", "sigma_add", "eta_raw"}
    raw = np.random.default_rng(2).normal(size=(4, 2))
    got = computed(graph, ["eta", "corr"], {**graph.initial_point(), "eta_raw": raw})
    lower = np.linalg.cholesky([[1, 0.6], [0.6, 1]])
    np.testing.assert_allclose(got["eta"], (raw @ lower.T) * [0.3, 0.2], **EXACT)
    (row,) = [row for row in made.population_rows() if row.kind == "corr"]
    assert row.fixed
    assert row.value == 0.6
    values = prior_values(made, 3, np.random.default_rng(1))
    np.testing.assert_allclose(values["corr"][:, 0, 1], 0.6, **EXACT)


def variance_is(values, truth):
    """Within the Monte-Carlo error of a sample variance of normal numbers."""
    assert abs(np.var(values) - truth) < MCSE * truth * np.sqrt(2 / len(values))


def test_new_subjects_occasions_and_sites_have_the_variances_of_their_levels():
    """Log C(0) of a bolus is linear in the effects of V, so that variances and covariances are sums."""
    made = model(
        variability.Independent(["V"], sd=0.3),
        variability.Occasion(["V"], sd=0.2),
        variability.Level("SITE", ["V"], sd=0.4),
        parameters={"CL": Parameter(2.0), "V": Parameter(10.0)},
        residual=residual.Additive(0.01),
    )
    data = crossover()
    log = np.log(simulate(made, data, {"omega": [0.3]}, n=MANY, seed=3)["predictions"]["ipred"].to_numpy()[0])
    variance_is(log[:, 0], 0.09 + 0.04 + 0.16)
    variance_is(log[:, 0] - log[:, 1], 2 * 0.04)  # two occasions of one subject
    variance_is(log[:, 0] - log[:, 4], 2 * (0.09 + 0.04))  # two subjects of one site
    variance_is(log[:, 0] - log[:, 2], 2 * (0.09 + 0.04 + 0.16))  # two subjects of two sites


def test_student_t_effects_have_heavy_tails_together():
    made = model(
        variability.Fixed({"CL": 0.3}),
        variability.Independent(["V"], sd=0.3, nu=5.0),
        parameters={"CL": Parameter(2.0), "V": Parameter(10.0)},
        residual=residual.Additive(0.01),
    )
    log = np.log(
        simulate(made, crossover(1, 1), {"omega": [0.3, 0.3]}, n=MANY, seed=4)["predictions"][
            "ipred"
        ].to_numpy()[0, :, 0]
    )
    scaled = (log - np.log(10.0)) / 0.3
    assert stats.kstest(scaled, stats.t(5).cdf).pvalue > 1e-3
    assert stats.kstest(scaled, stats.norm.cdf).pvalue < 1e-3


@pytest.fixture(scope="module")
def fitted():
    """Prior draws that pose as a fit, with effects of occasions and sites that can be told apart."""
    data = crossover()
    made = model(
        variability.Independent(["V"], sd=prior.HalfNormal(0.3)),
        variability.Occasion(["V"], sd=prior.HalfNormal(0.2)),
        variability.Level("SITE", ["V"], sd=prior.HalfNormal(0.3)),
    )
    dt = posed(made, data, n=10)
    own = dt["posterior"].to_dataset().drop_vars(["CL", "V"])
    design = made.design(data)
    sizes = {"eta_occ": ("occasion", "gamma_of"), "eta_SITE": ("SITE", "omega_SITE_of")}
    for name, over in sizes.items():
        group = design.groups[over[0]]
        values = np.arange(20 * group.size).reshape(2, 10, group.size, 1) / 100 - 0.5
        coords = {over[0]: group.labels, over[1]: ["V"]}
        own[name] = xr.DataArray(values, dims=("chain", "draw", *over), coords=coords)
    dt["posterior"] = xr.DataTree(own)
    return made, data, dt


def volume(tree, column=0):
    group = next(name for name in ("posterior_predictive", "predictions") if name in tree.children)
    return np.log(100.0 / tree[group]["ipred"].to_numpy()[..., column])


def test_the_same_subjects_have_their_own_occasions_and_sites(fitted):
    made, data, dt = fitted
    got = volume(simulate(made, data, dt, seed=1, n=20, new_subjects=False))
    p = dt["posterior"]
    expected = np.log(p["V_pop"]) + p["eta"][..., 0, 0] + p["eta_occ"][..., 0, 0] + p["eta_SITE"][..., 0, 0]
    np.testing.assert_allclose(got, expected.to_numpy(), rtol=1e-9)


def test_a_new_occasion_is_drawn_anew_and_a_known_site_is_kept(fitted):
    made, _, dt = fitted
    longer = crossover(4, 3)
    one, other = (volume(simulate(made, longer, dt, seed=s, n=20, new_subjects=False), 2) for s in (1, 2))
    assert np.all(one != other)
    p = dt["posterior"]
    known = np.log(p["V_pop"]) + p["eta"][..., 0, 0] + p["eta_SITE"][..., 0, 0]
    gamma = p["gamma"].to_numpy()[..., 0]
    assert np.all(np.abs(one - known.to_numpy()) < 6 * gamma)
    same = [volume(simulate(made, longer, dt, seed=s, n=20, new_subjects=False), 0) for s in (1, 2)]
    np.testing.assert_array_equal(*same)


def test_new_sites_are_drawn_when_asked_for(fitted):
    made, data, dt = fitted
    kept_site = [volume(simulate(made, data, dt, seed=5, n=20, new_levels=new)) for new in (False, True)]
    assert np.all(kept_site[0] != kept_site[1])


@pytest.fixture(scope="module")
def certain():
    """A fit that knows everything: the same population values and effects in each of its many draws."""
    data = crossover()
    made = model(
        variability.Independent(["V"], sd=prior.HalfNormal(0.3)),
        variability.Occasion(["V"], sd=prior.HalfNormal(0.2)),
        variability.Level("SITE", ["V"], sd=prior.HalfNormal(0.3)),
    )
    dt = posed(made, data, n=MANY // 2)
    own = dt["posterior"].to_dataset().drop_vars(["CL", "V"])
    known = {"V_pop": 10.0, "omega": 0.3, "gamma": 0.2, "omega_SITE": 0.4, "eta": 0.25}
    for name, value in known.items():
        own[name] = xr.full_like(own[name], value)
    groups = made.design(data).groups
    for name, (over, of, value) in {
        "eta_occ": ("occasion", "gamma_of", -0.1),
        "eta_SITE": ("SITE", "omega_SITE_of", 0.5),
    }.items():
        shape = (2, MANY // 2, groups[over].size, 1)
        coords = {over: groups[over].labels, of: ["V"]}
        own[name] = xr.DataArray(np.full(shape, value), dims=("chain", "draw", over, of), coords=coords)
    dt["posterior"] = xr.DataTree(own)
    return made, data, dt


@pytest.mark.parametrize(
    ("arguments", "centre", "variance"),
    [
        ({"new_subjects": False}, 0.25 - 0.1 + 0.5, 0.0),
        ({"new_subjects": False, "new_levels": True}, 0.25 - 0.1, 0.4**2),
        ({}, 0.5, 0.3**2 + 0.2**2),
        ({"new_levels": True}, 0.0, 0.3**2 + 0.2**2 + 0.4**2),
    ],
)
def test_predictions_vary_by_the_levels_that_are_new_and_keep_those_that_are_not(
    certain, arguments, centre, variance
):
    """Log V is a sum of normal effects: its mean is that of the known ones, its variance of the new ones."""
    made, data, dt = certain
    log = volume(simulate(made, data, dt, seed=7, n=MANY, **arguments)).ravel() - np.log(10.0)
    assert log.size == MANY
    assert abs(log.mean() - centre) < MCSE * np.sqrt(variance / MANY) + 1e-9
    variance_is(log, variance) if variance else np.testing.assert_allclose(log, centre, rtol=1e-9)


def test_a_new_occasion_of_a_known_patient_varies_by_gamma_alone(certain):
    made, _, dt = certain
    log = volume(simulate(made, crossover(4, 3), dt, seed=8, n=MANY, new_subjects=False), 2).ravel()
    away = log - np.log(10.0) - 0.25 - 0.5
    assert abs(away.mean()) < MCSE * 0.2 / np.sqrt(MANY)
    variance_is(away, 0.2**2)


def test_given_values_name_the_sds_of_levels(fitted):
    made, data, _ = fitted
    values = {
        "CL_pop": 2.0,
        "V_pop": 10.0,
        "omega": [0.1],
        "gamma": {"V": 0.2},
        "omega_SITE": [0.3],
        "sigma_add": 1.0,
    }
    assert given_values(made, values)["gamma"].tolist() == [[0.2]]
    with pytest.raises(ValueError, match=r"gamma\[V\] is a standard deviation"):
        given_values(made, {**values, "gamma": [-0.2]})
    assert simulate(made, data, values, seed=1)["predictions"]["dv"].shape == (1, 1, 8)


def test_methods_that_integrate_over_subjects_refuse_what_they_cannot_honour(fitted):
    made, data, _ = fitted
    with pytest.raises(ValueError, match=r"variability.Level \(by SITE.*Use pb.fit"):
        SubjectDensity(Study(made, data))
    heavy = model(variability.Independent(["V"], sd=0.3, nu=4))
    with pytest.raises(ValueError, match="Student-t effects of V"):
        SubjectDensity(Study(heavy, data))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: model(variability.Occasion(["Q"], sd=1)), "variability names 'Q'"),
        (lambda: model(*[variability.Occasion(["V"], sd=1)] * 2), "two parts by occasion"),
        (lambda: variability.Occasion(["V"], sd=1, lkj=2), "is one parameter"),
        (lambda: variability.Level("ID", ["V"], sd=1), "needs the name of a covariate column"),
        (lambda: variability.Correlated(["V", "CL"], sd=1, nu=4, centred=True), "sampled non-centred"),
        (lambda: variability.Block(["V", "CL"], sd=1, correlated_names=["V", "Q"]), "which is not among"),
        (lambda: variability.Fixed({"V": 1.0, "CL": 1.0}, corr={("V", "CL"): 1.2}), "no correlation matrix"),
        (lambda: model(variability.Level("CENTRE", ["V"], sd=1)).design(crossover()), "CENTRE"),
    ],
)
def test_what_cannot_be_is_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_occasions_need_their_column():
    frame = crossover().to_frame().drop(columns="OCC")
    data = read_events(frame, covariates=["SITE"])
    with pytest.raises(ValueError, match="the event table has no column OCC"):
        model(variability.Occasion(["V"], sd=1)).design(data)


def around_occasions(got, design):
    """Where the parameters of each occasion lie without its own effects: only CL has effects of subjects."""
    clearance = np.log(got["CL_pop"]) + got["eta"][design.groups["occasion"].of_subject, 0]
    return np.stack([clearance, np.full_like(clearance, np.log(got["V_pop"]))], axis=1)


@pytest.mark.parametrize("correlated", [True, False])
def test_occasions_between_centred_and_non_centred_have_the_same_density(correlated):
    """The affine map of their own, and the density that goes with it, for any information at all."""
    data, rng = crossover(), np.random.default_rng(5)
    made = model(
        variability.Independent(["CL"], sd=prior.HalfNormal(0.3)),
        variability.Occasion(["CL", "V"], sd=prior.HalfNormal(0.2), lkj=2 if correlated else None),
    )
    root = rng.normal(size=(8, 2, 2)) * 4
    of_occasions = Information(("CL", "V"), root @ np.swapaxes(root, 1, 2), rng.normal(size=(8, 2)) * 20)
    own = Information(("CL",), np.abs(rng.normal(size=(4, 1, 1))) * 9, rng.normal(size=(4, 1)))
    known = replace(own, groups={"occasion": of_occasions})
    between, plain = build(made, data, known), build(made, data)
    point = {k: v + 0.3 * rng.normal(size=np.shape(v)) for k, v in between.initial_point().items()}
    names = ["eta", "eta_occ", "gamma", "omega", "CL", "V", "CL_pop", "V_pop"]
    names += ["corr_occ"] if correlated else []
    got = computed(between, names, point)
    corr = got["corr_occ"] if correlated else np.eye(2)
    scale = np.diag(got["gamma"]) @ np.linalg.cholesky(corr)
    there = {name: one for name, one in point.items() if name in plain.initial_point()}
    there["eta_raw"] = got["eta"] / got["omega"]
    there["eta_occ_raw"] = np.linalg.solve(scale, got["eta_occ"].T).T
    again = computed(plain, names, there)
    for name in names:
        np.testing.assert_allclose(again[name], got[name], rtol=1e-9, atol=1e-12)
    around = around_occasions(got, made.design(data))
    back = of_occasions.standardised(got["eta_occ"], scale @ scale.T, around)
    np.testing.assert_allclose(back, point["eta_occ_white"], rtol=1e-8, atol=1e-9)
    volume = -0.5 * np.linalg.slogdet(of_occasions.precision + np.linalg.inv(scale @ scale.T))[1].sum()
    volume += -0.5 * np.log(own.precision[:, 0, 0] + got["omega"] ** -2).sum()
    plain_volume = 8 * np.linalg.slogdet(scale)[1] + 4 * np.log(got["omega"]).sum()
    logp = [graph.compile_logp(mode="FAST_COMPILE")(p) for graph, p in ((between, point), (plain, there))]
    np.testing.assert_allclose(logp[0] - volume, logp[1] - plain_volume, rtol=1e-9)


@pytest.mark.parametrize("correlated", [True, False])
def test_names_are_the_same_however_a_level_is_sampled(correlated):
    """What is stored, with its dims, and the density under the change of variables."""
    data, lkj = crossover(), 2 if correlated else None
    graphs, stored = {}, {}
    for centred in (True, False):
        made = model(
            variability.Independent(["CL"], sd=prior.HalfNormal(0.3), centred=centred),
            variability.Occasion(["CL", "V"], sd=prior.HalfNormal(0.2), lkj=lkj, centred=centred),
            variability.Level("SITE", ["V"], sd=prior.HalfNormal(0.1), centred=centred),
        )
        graph = graphs[centred] = build(made, data)
        stored[centred] = {
            name: graph.named_vars_to_dims.get(name) for name in _stored(made.resolved(data), graph)
        }
    assert stored[True] == stored[False]
    rng = np.random.default_rng(2)
    point = {name: rng.normal(0, 0.3, np.shape(one)) for name, one in graphs[False].initial_point().items()}
    names = ["eta", "eta_occ", "eta_SITE", "gamma", "omega_SITE", "omega", "CL", "V", "CL_pop", "V_pop"]
    got = computed(graphs[False], names, point)
    there = {name: one for name, one in point.items() if name in graphs[True].initial_point()}
    there["phi_SITE"] = np.log(got["V_pop"]) + got["eta_SITE"]
    there["phi"] = np.log(got["CL_pop"]) + got["eta"]
    groups = made.design(data).groups
    first = np.unique(groups["occasion"].of_segment, return_index=True)[1]
    site = got["eta_SITE"][groups["SITE"].of_segment[first], 0]
    there["phi_occ"] = got["eta_occ"] + around_occasions(got, made.design(data)) + np.outer(site, [0, 1])
    again = computed(graphs[True], names, there)
    for name in names:
        np.testing.assert_allclose(again[name], got[name], rtol=1e-9, atol=1e-12)
    logp = [graphs[way].compile_logp(mode="FAST_COMPILE")(p) for way, p in ((True, there), (False, point))]
    groups = {"gamma": 8, "omega_SITE": 2, "omega": 4}
    jacobian = sum(number * np.log(got[name]).sum() for name, number in groups.items())
    if correlated:
        corr = computed(graphs[False], ["corr_occ"], point)["corr_occ"]
        jacobian += 8 * np.log(np.linalg.det(corr)) / 2
    np.testing.assert_allclose(logp[0], logp[1] - jacobian, rtol=1e-9)


def test_student_t_effects_have_the_same_density_centred_and_not():
    data, rng = crossover(), np.random.default_rng(8)
    graphs = {}
    for centred in (True, False):
        parts = [
            variability.Independent(
                ["V"], sd=prior.HalfNormal(0.3), nu=prior.Gamma(2.0, 0.2), centred=centred
            ),
            variability.Independent(["CL"], sd=prior.HalfNormal(0.3)),
        ]
        graphs[centred] = build(model(*parts), data)
    assert {"phi_V", "eta_raw"} <= {one.name for one in graphs[True].free_RVs}
    names = ["eta", "omega", "nu_V", "weight_V", "V", "CL", "V_pop"]
    point = {k: v + 0.3 * rng.normal(size=np.shape(v)) for k, v in graphs[False].initial_point().items()}
    got = computed(graphs[False], names, point)
    there = {name: one for name, one in point.items() if name in graphs[True].initial_point()}
    there["eta_raw"] = point["eta_raw"][:, [0]]  # CL comes first
    there["phi_V"] = np.log(got["V_pop"]) + got["eta"][:, 1]
    again = computed(graphs[True], names, there)
    for name in names:
        np.testing.assert_allclose(again[name], got[name], rtol=1e-9, atol=1e-12)
    logp = [graphs[way].compile_logp(mode="FAST_COMPILE")(p) for way, p in ((True, there), (False, point))]
    spread = got["omega"][1] / np.sqrt(got["weight_V"])
    np.testing.assert_allclose(logp[0], logp[1] - np.log(spread).sum(), rtol=1e-9)


def test_what_the_data_say_of_a_level_decides_how_it_is_sampled():
    """Log C(0) is linear in V: the ratio of variances is that of the normal model."""
    data = crossover()
    data = replace(data, dv=np.where(data.is_obs, 10.0, np.nan))  # the prediction at the prior medians
    parts = [
        variability.Independent(["V"], sd=0.3),
        variability.Occasion(["V"], sd=0.2),
        variability.Level("SITE", ["V"], sd=0.4),
    ]
    for sigma, centred in ((0.05, True), (1.0, False)):
        made = model(*parts, residual=residual.LogNormal(sigma)).resolved(data)
        study = Study(made, data)
        ratios = ratios_of_levels(study)
        for (key, sd), number in zip({"": 0.3, "occasion": 0.2, "SITE": 0.4}.items(), (2, 1, 4), strict=True):
            np.testing.assert_allclose(ratios[key, "V"], 1 / (1 + number * sd**2 / sigma**2), rtol=1e-2)
        assert [one.centred for one in centred_model(study, "auto").variability] == [centred] * 3
    known = Study(model(variability.Fixed({"V": 0.3})).resolved(data), data)
    assert [one.centred for one in centred_model(known, "centred").variability] == [True]
