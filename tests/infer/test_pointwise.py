import numpy as np
import pymc as pm
import pytest
import xarray as xr

from popbayes import covariate, pk, prior, residual, variability
from popbayes.building import build
from popbayes.data.events import read_events
from popbayes.data.regimen import Regimen
from popbayes.engine.solve import solve
from popbayes.infer import pointwise
from popbayes.infer.pointwise import (
    add_log_likelihood,
    individual_predictions,
    ipred,
    log_likelihood,
    mean_of_draws,
    pred,
)
from popbayes.infer.tree import study_of
from popbayes.model import PopModel
from popbayes.parameters.parameter import Parameter
from popbayes.simulation import as_data, simulate
from tests.infer.posing import posed
from tests.tolerances import EXACT, SOLVER


@pytest.fixture(scope="module")
def tree(theophylline_model, theophylline):
    return posed(theophylline_model, theophylline, n=2)


@pytest.fixture(scope="module")
def with_raw(tree):
    """The posterior with the standardised effects that the graph samples."""
    posterior = tree["posterior"].to_dataset()
    return posterior.assign(eta_raw=(posterior["eta"] / posterior["omega"]).transpose(*posterior["eta"].dims))


def test_the_log_likelihood_is_that_of_the_graph(tree, with_raw, theophylline_model, theophylline):
    graph = build(theophylline_model, theophylline)
    drawn = xr.DataTree.from_dict(
        {"posterior": with_raw, "observed_data": tree["observed_data"].to_dataset()}
    )
    there = pm.compute_log_likelihood(drawn, model=graph, progressbar=False, extend_inferencedata=False)
    np.testing.assert_allclose(log_likelihood(tree), there["dv"], **EXACT)


def test_individual_predictions_are_the_means_of_the_graph(tree, with_raw, theophylline_model, theophylline):
    graph = build(theophylline_model, theophylline)
    mean, _ = graph["dv"].owner.op.dist_params(graph["dv"].owner)
    evaluate = pm.compile([graph[name] for name in ("ka", "CL", "V")], mean, mode="FAST_COMPILE")
    first = with_raw.isel(chain=1, draw=0)
    there = evaluate(*(first[name].to_numpy() for name in ("ka", "CL", "V")))
    np.testing.assert_allclose(ipred(tree).isel(chain=1, draw=0), there, **EXACT)


def test_population_predictions_are_those_of_a_typical_subject(tree, theophylline_model, theophylline):
    draw = tree["posterior"].isel(chain=0, draw=1)
    typical = {name: float(draw[f"{name}_pop"]) for name in ("ka", "CL", "V")}
    there = solve(theophylline_model.structural, theophylline, typical)["conc"]
    np.testing.assert_allclose(pred(tree).isel(chain=0, draw=1), there, **SOLVER)


def test_chunks_change_no_value(tree, monkeypatch):
    whole, mean = log_likelihood(tree), mean_of_draws(tree, individual_predictions)
    monkeypatch.setattr(pointwise, "CHUNK", 140)
    assert [rows.stop - rows.start for rows in pointwise.chunks(4, 132)] == [1, 1, 1, 1]
    assert whole.identical(log_likelihood(tree))
    np.testing.assert_allclose(mean, mean_of_draws(tree, individual_predictions), **EXACT)


def test_the_mean_over_draws_is_that_of_all_of_them(tree):
    there = ipred(tree).mean(("chain", "draw"))
    np.testing.assert_allclose(mean_of_draws(tree, individual_predictions), there, **SOLVER)


def test_add_log_likelihood_returns_another_tree(tree):
    out = add_log_likelihood(tree)
    assert out["log_likelihood"]["dv"].dims == ("chain", "draw", "obs")
    assert "log_likelihood" not in tree.children
    assert out["posterior"].identical(tree["posterior"])


def test_predictions_need_no_individual_parameters_in_the_posterior(tree):
    less = tree.copy()
    less["posterior"] = less["posterior"].to_dataset().drop_vars(["ka", "CL", "V"])
    np.testing.assert_allclose(ipred(less), ipred(tree), **SOLVER)


def test_a_tree_without_its_model_is_refused(tree):
    bare = tree.copy()
    bare.attrs = {}
    with pytest.raises(ValueError, match="does not hold a popbayes model"):
        study_of(bare)


def test_time_varying_covariates_give_every_segment_its_parameters():
    model = PopModel(
        structural=pk.OneCompartment(),
        parameters={
            "CL": Parameter(
                prior.LogNormal(1.0, 0.2), covariates=[covariate.Linear("CRCL", 100, coefficient=0.01)]
            ),
            "V": Parameter(prior.LogNormal(10.0, 0.2)),
        },
        variability=variability.Independent(["CL"], sd=prior.HalfNormal(0.3)),
        residual=residual.Additive(0.1),
    )
    frame = (
        Regimen(covariates={"CRCL": 100.0})
        .dose(100, time=[0, 12])
        .sample([1, 6, 13, 20])
        .to_events(2)
        .to_frame()
    )
    frame.loc[frame["TIME"] >= 12, "CRCL"] = 50.0
    data = as_data(simulate(model, read_events(frame, covariates=["CRCL"]), seed=1, n=1))
    tree = posed(model, data, n=2)
    assert tree["posterior"]["CL"].dims == ("chain", "draw", "segment")
    told = tree["constant_data"].to_dataset()
    assert told["segment_subject"].dims == told["segment_time"].dims == ("segment",)
    assert told["segment_subject"].to_numpy().tolist() == np.repeat(data.subjects, 2).tolist()
    assert told["segment_time"].to_numpy().tolist() == [0, 12, 0, 12]
    less = tree.copy()
    less["posterior"] = less["posterior"].to_dataset().drop_vars(["CL", "V"])
    np.testing.assert_allclose(ipred(less), ipred(tree), **EXACT)
    assert np.all(np.isfinite(log_likelihood(tree)))
