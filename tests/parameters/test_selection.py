"""Candidates selected by a joint prior: the prior drawn, the graph, and what is refused."""

import numpy as np
import pandas as pd
import pymc as pm
import pytest

from popbayes.building import build, initial_values
from popbayes.building.selection import selected_coefficients
from popbayes.data.datasets import load_dataset
from popbayes.data.events import read_events
from popbayes.diagnostics.covariate_table import covariate_table
from popbayes.infer.population import prior_values
from popbayes.model import PopModel
from popbayes.observation import residual
from popbayes.parameters import covariate, prior, variability
from popbayes.parameters.parameter import Parameter
from popbayes.plots.plot_forest import plot_forest
from popbayes.simulation import simulate
from popbayes.structural import pk
from tests.infer.posing import posed
from tests.tolerances import EXACT

QUANTILE_OF_DRAWS = {"rtol": 0.12, "atol": 0.0}  # two samples of 4000 draws: 4 standard errors of a quartile


@pytest.fixture(scope="module")
def data():
    return load_dataset("phenobarb")


def candidates(data):
    number, other = [name for name in data.covariates if data.covariates[name].dtype.kind == "f"][:2]
    return [covariate.Power(number, exponent=0), covariate.Exponential(other, coefficient=0)]


def model(data, joint=None, **changes):
    select = covariate.Select(candidates(data), prior=joint or prior.Horseshoe(expected=1))
    parts = {
        "structural": pk.OneCompartment(),
        "parameters": {
            "CL": Parameter(prior.LogNormal(0.007, 0.5), covariates=[select]),
            "V": Parameter(prior.LogNormal(1.4, 0.5)),
        },
        "variability": variability.Independent(["CL", "V"], sd=prior.HalfNormal(0.5)),
        "residual": residual.Additive(prior.HalfNormal(3)),
    }
    return PopModel(**(parts | changes)).resolved(data)


@pytest.mark.parametrize("joint", [prior.Horseshoe(expected=1, slab=0.4), prior.R2D2(mean=0.4)])
def test_the_graph_and_the_draws_have_the_same_prior(data, joint):
    made = model(data, joint)
    with pm.Model():
        found = selected_coefficients(made)
    names = list(found)
    graph = dict(zip(names, pm.draw(list(found.values()), 4000, random_seed=1), strict=True))
    drawn = prior_values(made, 4000, np.random.default_rng(2))
    for name in names:
        middle = [0.5, 0.75, 0.9]
        expected = np.quantile(np.abs(drawn[name]), middle)
        np.testing.assert_allclose(np.quantile(np.abs(graph[name]), middle), expected, **QUANTILE_OF_DRAWS)


def test_coefficients_are_standardised_by_the_terms_of_the_subjects(data):
    made = model(data)
    (_, select) = made.selections[0]
    first = np.unique(data.record_subject, return_index=True)[1]
    columns = {name: data.covariates[name][first] for name in made.covariate_columns}
    np.testing.assert_allclose(select.scales, [np.std(one.term(columns)) for one in select.members], **EXACT)
    assert select.n_subject == data.n_subject
    values = {name: np.array([[0.3]]) for name in (c.name for c in made.coefficients("CL"))}
    total = sum(0.3 * one.term(columns) for one in select.members)
    np.testing.assert_allclose(select.log_factor(columns, values, "CL", np)[0], total, **EXACT)


def test_a_model_that_selects_builds_prints_and_round_trips(data):
    made = model(data)
    assert PopModel.from_json(made.to_json()) == made
    assert "Horseshoe(expected 1" in str(made)
    assert made.latex()
    graph = build(made, data)
    assert set(initial_values(made, data)) == {one.name for one in graph.free_RVs}
    assert {c.name for c in made.coefficients("CL")} <= set(graph.named_vars)
    assert np.isfinite(simulate(made, data, seed=1, n=5)["prior_predictive"]["ipred"]).all()


def test_the_table_of_effects_gives_factors_at_the_percentiles(data):
    made = model(data)
    dt = posed(made, data, n=50)
    got = covariate_table(dt).table
    column = made.covariate_columns[0]
    first = np.unique(data.record_subject, return_index=True)[1]
    values = data.covariates[column][first]
    beta = dt["posterior"][f"beta_CL_{column}"].to_numpy().ravel()
    factor = np.exp(beta * np.log(np.percentile(values, 95) / np.median(values)))
    row = got[(got["parameter"] == "CL") & (got["covariate"] == column)].iloc[1]
    np.testing.assert_allclose(row["effect"], np.median(factor), **EXACT)
    np.testing.assert_allclose(row["outside"], np.mean((factor < 0.8) | (factor > 1.25)), **EXACT)
    assert row["selected_from"].startswith("Horseshoe")
    exposure = got[(got["parameter"] == "AUC") & (got["covariate"] == column)].iloc[1]
    np.testing.assert_allclose(exposure["effect"], np.median(1 / factor), **EXACT)
    figure = plot_forest(covariate_table(dt), parameters=["CL"])
    assert len(figure.axes[0].get_yticklabels()) == (got["parameter"] == "CL").sum()
    with pytest.raises(ValueError, match="No covariate acts on Q"):
        plot_forest(covariate_table(dt), parameters="Q")
    with pytest.raises(TypeError, match=r"what popbayes\.covariate_table returned"):
        plot_forest(dt)


def test_a_covariate_that_changes_in_time_has_the_percentiles_of_the_observations():
    rows = [
        {
            "ID": i,
            "TIME": t,
            "AMT": 100.0 * (t == 0),
            "EVID": int(t == 0),
            "DV": None if t == 0 else 1.0,
            "DAY": t / 24 + i,
        }
        for i in (1, 2, 3)
        for t in (0.0, 6.0, 30.0, 54.0, 78.0)
    ]
    data = read_events(pd.DataFrame(rows), covariates=["DAY"])
    effect = covariate.Exponential("DAY", ref=0, coefficient=prior.Normal(0, 0.1))
    made = PopModel(
        pk.OneCompartment(),
        {
            "CL": Parameter(prior.LogNormal(5, 0.3), covariates=[effect]),
            "V": Parameter(prior.LogNormal(50, 0.3)),
        },
        variability.Independent(["CL"], sd=prior.HalfNormal(0.3)),
        residual.Additive(prior.HalfNormal(1.0)),
    )
    dt = posed(made, data, n=50)
    got = covariate_table(dt).table.query("parameter == 'CL'")
    values = data.covariates["DAY"][data.obs_record]
    away = np.percentile(values, [5, 95]) - np.median(values)
    factor = np.exp(dt["posterior"]["beta_CL_DAY"].to_numpy().reshape(-1, 1) * away)
    np.testing.assert_allclose(got["effect"], np.median(factor, axis=0), **EXACT)
    axis = plot_forest(covariate_table(dt)).axes[0].xaxis
    assert "1" in [one.get_text() for one in axis.get_ticklabels()]


def test_what_cannot_be_selected_from_is_refused(data):
    one, other = candidates(data)
    with pytest.raises(ValueError, match="expects 2 effects among 2 candidates"):
        covariate.Select([one, other], prior=prior.Horseshoe(expected=2))
    with pytest.raises(TypeError, match=r"needs prior=prior\.Horseshoe"):
        covariate.Select([one, other], prior=prior.Normal(0, 1))
    with pytest.raises(TypeError, match="two or more"):
        covariate.Select([one], prior=prior.R2D2())
    with pytest.raises(ValueError, match="share of variance between 0 and 1"):
        prior.R2D2(mean=1.5)
    constant = load_dataset("phenobarb")
    same = {name: np.full_like(values, 1.0) for name, values in constant.covariates.items()}
    columns = {name: values[:5] for name, values in same.items()}
    with pytest.raises(ValueError, match="is the same for all subjects"):
        covariate.Select([one, other], prior=prior.R2D2()).resolved_from(columns)
