"""Several endpoints and strata: names, DVID, densities in graphs and arrays, draws, refusals."""

import warnings

import numpy as np
import pandas as pd
import pytensor
import pytest

from popbayes import PopModel, build, censoring, outcome, pk, prior, residual, simulate, variability, vpc
from popbayes import pd as pd_models
from popbayes.building.observations import check_observations
from popbayes.data.events import read_events
from popbayes.diagnostics.curves import curves, measured_endpoints
from popbayes.diagnostics.gof import gof
from popbayes.infer import pointwise
from popbayes.infer.tree import Study
from popbayes.observation.endpoints import ObservationModel
from popbayes.parameters.parameter import Parameter
from popbayes.plots.plot_individual import plot_individual
from popbayes.plots.plot_vpc import plot_vpc
from tests.infer.posing import posed
from tests.tolerances import EXACT

HALF, REAL = prior.HalfNormal(1.0), prior.Normal(0.0, 1.0)
PLAIN = pytensor.compile.mode.Mode(linker="py", optimizer=None)


def joint_data(n=4):
    """Concentrations (two assays), counts, answers, severity and a time to an event, some censored."""
    rng = np.random.default_rng(0)
    rows = []
    for subject in range(1, n + 1):
        rows.append((subject, 0.0, 100.0, np.nan, 0, 0))
        for time in (1.0, 4.0, 8.0):
            conc = 10 * np.exp(-0.3 * time + 0.1 * rng.standard_normal())
            rows.append((subject, time, 0.0, max(conc, 1.0), 1, int(conc < 1.0)))
            rows.append((subject, time, 0.0, float(rng.poisson(2)), 2, 0))
            rows.append((subject, time, 0.0, float(rng.random() < 0.5), 3, 0))
            rows.append((subject, time, 0.0, float(rng.integers(3)), 4, 0))
        rows.append((subject, 9.0, 0.0, float(subject % 2), 5, 0))
    table = pd.DataFrame(rows, columns=["ID", "TIME", "AMT", "DV", "DVID", "CENS"])
    return read_events(
        table.assign(ASSAY=np.where(table["ID"] <= n // 2, "old", "new")), covariates=["ASSAY"]
    )


def joint_model(**changes):
    parts = {
        "parameters": {
            "CL": Parameter(prior.LogNormal(3.0, 0.5)),
            "V": Parameter(10.0),
            "base": Parameter(prior.Normal(0.5, 0.5), scale="identity"),
            "sig": Parameter(prior.LogNormal(0.2, 0.5)),
        },
        "variability": variability.Independent(["CL", "base", "sig"], sd=prior.HalfNormal(0.3)),
        "residual": {
            "conc": residual.Stratified(
                "ASSAY", {"old": residual.Combined(HALF, "sig"), "new": residual.LogNormal(HALF, nu=5)}
            ),
            "falls": outcome.Poisson(output="conc", intercept="base", slope=REAL),
            "answer": outcome.Binary(output="conc", intercept=REAL, slope=REAL),
            "severity": outcome.Ordered(REAL, (HALF,), REAL, output="conc"),
            "death": outcome.WeibullTime(HALF, HALF),
        },
        "censoring": censoring.M3(),
    }
    return PopModel(pk.OneCompartment(), **(parts | changes))


def test_the_graph_and_the_arrays_have_the_same_densities_for_every_endpoint():
    model, data = joint_model(), joint_data()
    graph = build(model, data)
    point = {name: value + 0.1 for name, value in graph.initial_point().items()}
    names = [one.name for one in graph.observed_RVs]
    assert names == ["dv_conc_old", "dv_conc_new", "dv_falls", "dv_answer", "dv_severity", "dv_death"]
    free = graph.unobserved_RVs
    densities = graph.logp(vars=graph.observed_RVs, sum=False)
    compiled = graph.compile_fn([*densities, *graph.replace_rvs_by_values(free)], mode=PLAIN)
    values = compiled(point)
    draws = {rv.name: np.atleast_1d(one)[None] for rv, one in zip(free, values[len(names) :], strict=True)}
    expected = pointwise.log_density(Study(model, data), draws)[0]
    for name, own in zip(names, values, strict=False):
        index = np.asarray(graph.coords[graph.named_vars_to_dims[name][0]])
        np.testing.assert_allclose(own, expected[index], **EXACT)
    assert np.isfinite(expected).all()


def test_a_joint_model_is_simulated_printed_and_survives_json():
    model, data = joint_model(), joint_data()
    assert PopModel.from_json(model.to_json()) == model
    text = str(model)
    for words in (
        "DVID 2",
        "σ_add,conc,old",
        "exp(base_i + β_falls conc)",
        "ASSAY new",
        "hazard k_death/τ_death",
        "(M3)",
    ):
        assert words in text, words
    assert r"\sigma_\mathrm{add,conc,old}" in model.latex()
    dt = simulate(model, data, n=20, seed=1)
    drawn = dt["prior_predictive"]["dv"].to_numpy()[0]
    assert np.isfinite(drawn).all()
    dvid = dt["constant_data"]["dvid"].to_numpy()
    assert set(np.unique(drawn[:, dvid == 3])) <= {0.0, 1.0}
    assert set(np.unique(drawn[:, dvid == 4])) <= {0.0, 1.0, 2.0}
    with pytest.warns(UserWarning, match="answer, death, severity are categories or events"):
        checked = vpc(dt)
    assert checked["stratum"].to_numpy().tolist() == ["dvid 1", "dvid 2"]


def test_an_explicit_mapping_changes_which_dvid_is_which():
    model = ObservationModel(
        {"conc": residual.Additive(HALF), "effect": residual.Proportional(HALF)},
        ("conc", "effect"),
        {3: "conc", 7: "effect"},
    )
    assert [kind.dvid for kind in model.kinds] == [(3,), (7,)]
    assert list(model.priors) == ["sigma_add_conc", "sigma_prop_effect"]


TWO = {"conc": residual.Additive(HALF), "effect": residual.Additive(HALF)}


@pytest.mark.parametrize(
    ("given", "dvid", "match"),
    [
        ({"cone": residual.Additive(HALF)}, None, r"output 'cone'.* has conc.*Did you mean"),
        (TWO, {1: "conc", 2: "efect"}, r"maps 2 to 'efect'.*effect"),
        (TWO, {1: "conc"}, r"no number for effect"),
        (residual.Additive(HALF), {1: "conc"}, r"needs residual to be a mapping"),
    ],
)
def test_endpoints_that_do_not_fit_are_refused(given, dvid, match):
    with pytest.raises(ValueError, match=match):
        ObservationModel(given, ("conc", "effect"), dvid)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            {"dvid": {1: "conc", 2: "falls", 3: "answer", 4: "severity", 9: "death"}},
            r"what DVID 5 is .*row 14 \(ID 1\)",
        ),
        (
            {
                "residual": {
                    **joint_model().residual,
                    "conc": residual.Stratified("ASSAY", {"old": residual.Combined(HALF, "sig")}),
                }
            },
            r"no residual error for the value of ASSAY in row",
        ),
        (
            {
                "residual": {
                    **joint_model().residual,
                    "conc": residual.Stratified("SITE", {"a": residual.Combined(HALF, "sig")}),
                }
            },
            r"splits by SITE.*ASSAY",
        ),
    ],
)
def test_data_that_endpoints_do_not_describe_are_refused_with_their_rows(change, match):
    with pytest.raises(ValueError, match=match):
        build(joint_model(**change), joint_data())


def test_an_endpoint_that_was_never_observed_is_refused():
    """Without a DVID all values would be taken for those of the first endpoint."""
    table = joint_data().to_frame().query("EVID == 1 or DVID in (1, 2)").assign(ASSAY="old")
    with pytest.raises(
        ValueError,
        match=r"how answer, severity, death is distributed \(DVID 3, 4, 5\).*1 \(conc\), 2 \(falls",
    ):
        build(joint_model(), read_events(table, covariates=["ASSAY"]))
    with pytest.raises(ValueError, match=r"all have DVID 1 \(conc\)\. Number the endpoints in a column DVID"):
        build(joint_model(), read_events(table.query("DVID != 2").drop(columns="DVID"), covariates=["ASSAY"]))


def test_endpoints_told_apart_by_cmt_are_sent_to_dvid():
    response = pd_models.Turnover(pk.OneCompartment(), "inhibit production", pd_models.Imax())
    parameters = {name: Parameter(prior.LogNormal(1.0, 0.3)) for name in response.parameters}
    laws = {"conc": residual.Proportional(HALF), "response": residual.Additive(HALF)}
    table = pd.DataFrame(
        {"ID": 1, "TIME": [0, 1, 1], "AMT": [9, 0, 0], "DV": [None, 2.0, 8.0], "CMT": [1, 1, 2]}
    )
    model = PopModel(response, parameters, None, laws)
    with pytest.raises(
        ValueError, match=r"row 3 \(ID 1\).*where response is seen.*by DVID, not CMT.*has 1\)"
    ):
        model.check(read_events(table))


def test_every_endpoint_has_its_own_unit():
    table = joint_data().to_frame()
    data = read_events(table, covariates=["ASSAY"], units={"DV": {1: "mg/L", 5: "d"}})
    assert data.units == {"DV": "mg/L or d", "DV 1": "mg/L", "DV 5": "d"}
    assert "DV 1: 1 to " in str(data)
    assert "mg/L, 2: 0 to" in str(data)
    assert "mg/L" in data.explain(1)
    model = joint_model()
    units = model.observation.units(data)
    assert (units["conc"], units["death"]) == ("mg/L", "d")
    rows = {row.name: row.unit for row in model.population_rows(units)}
    assert rows["sigma_add_conc_old"] == "mg/L"
    with pytest.raises(TypeError, match="by DVID, which is a whole number, not 'conc'"):
        read_events(table, units={"DV": {"conc": "mg/L"}})
    with pytest.raises(TypeError, match="unit of TIME must be text"):
        read_events(table, units={"TIME": {1: "h"}})


def test_a_parameter_that_a_law_names_must_be_in_the_model():
    parameters = {name: one for name, one in joint_model().parameters.items() if name != "sig"}
    with pytest.raises(ValueError, match=r"needs a prior .* for sig"):
        joint_model(parameters=parameters, variability=None)


def test_one_endpoint_is_drawn_and_judged_with_its_own_output():
    """The curve is that of the output, the points those of its DVID; nothing is drawn of categories."""
    model, data = joint_model(censoring=None), joint_data()
    dt = posed(model, data, n=10)
    assert measured_endpoints(model) == ("conc",)
    with pytest.raises(ValueError, match=r"\(conc\): 'answer' is not one of them"):
        plot_individual(dt, endpoint="answer")
    figure = plot_individual(dt)
    assert figure.get_suptitle() == "Individual fits, conc"
    points = {one.get_label(): len(one.get_xdata()) for one in figure.axes[0].lines}
    assert (points["observed"], points["below the limit"]) == (2, 1)
    assert gof(dt, endpoint="falls").sizes["obs"] == 12
    with pytest.raises(ValueError, match="Did you mean 'falls'"):
        gof(dt, endpoint="fals")


def test_a_response_is_drawn_over_the_response():
    structural = pd_models.Direct(pk.OneCompartment(), effect=pd_models.Linear())
    names = {name: Parameter(prior.LogNormal(2.0, 0.2)) for name in structural.parameters}
    laws = {"conc": residual.Additive(HALF), "effect": residual.Additive(HALF)}
    model = PopModel(structural, names, variability.Independent(["CL"], sd=HALF), laws)
    times, nothing = (0.0, 1.0, 2.0), float("nan")
    rows = [
        (i, t, 10.0 * (t == 0), 1.0 + d if t else nothing, d) for i in (1, 2) for t in times for d in (1, 2)
    ]
    table = pd.DataFrame(rows, columns=["ID", "TIME", "AMT", "DV", "DVID"])
    table = table[(table["TIME"] > 0) | (table["DVID"] == 1)]
    dt = posed(model, read_events(table), n=10)
    conc, effect = (curves(dt, endpoint=name)[1]["ipred"].to_numpy() for name in ("conc", "effect"))
    # at eta = 0 the mean over draws of E0 + slope C lies above that of C by more than E0's smallest draw
    assert effect[0] > conc[0]
    assert np.all(effect > float(dt["posterior"]["E0"].min()))
    checked = vpc(simulate(model, read_events(table), n=20, seed=1))
    assert checked["endpoint"].to_numpy().tolist() == ["conc", "effect"]
    figure = plot_vpc(checked)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["conc", "effect"]
    assert figure.axes[0].get_ylim() != figure.axes[1].get_ylim()


def test_events_within_an_interval_are_no_values_below_a_limit():
    """CENS 1 of an event endpoint gave its DVID a limit of 1, and every record without an event a warning."""
    rows = [
        (i, t, 10.0 * (t == 0), float("nan") if t == 0 else 1.0 * (t == 8), 3)
        for i in (1, 2)
        for t in (0, 4, 8)
    ]
    table = pd.DataFrame(rows, columns=["ID", "TIME", "AMT", "DV", "DVID"])
    data = read_events(table.assign(CENS=(table["DV"] == 1).astype(int)))
    laws = {"death": outcome.ExponentialTime(HALF)}
    known = {"CL": Parameter(prior.LogNormal(1.0, 1.0)), "V": Parameter(10.0)}
    model = PopModel(pk.OneCompartment(), known, None, laws, dvid={3: "death"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_observations(model, data)
