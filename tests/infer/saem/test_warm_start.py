"""The warm start: chains begin where the data put them, and the posterior stays what it is."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from popbayes import building, dims, pk, prior, residual, variability
from popbayes.data.events import read_events
from popbayes.infer.centring import centred_model, variance_ratios
from popbayes.infer.fit import WARM_START
from popbayes.infer.saem.layout import Coordinate, _same, positive
from popbayes.infer.starts import made_starts
from popbayes.infer.tree import Study
from popbayes.infer.warm_start import FARTHEST, started, within_reach
from popbayes.model import PopModel
from popbayes.parameters.parameter import Parameter
from popbayes.simulation import as_data, simulate
from tests.tolerances import EXACT


@pytest.fixture(scope="module")
def study(theophylline_model, theophylline):
    return Study(theophylline_model.resolved(theophylline), theophylline)


@pytest.fixture(scope="module")
def warm(study):
    return started(study, WARM_START, 1, {})


@pytest.mark.parametrize("way", ["auto", "centred", "non-centred"])
def test_a_start_is_the_same_population_and_subjects_in_any_coordinates(study, warm, way):
    information = warm.information if way == "auto" else None
    own = study if way == "auto" else Study(centred_model(study, way, warm), study.events)
    graph = building.build(own.model, own.events, information)
    starts = made_starts(graph, lambda rng: warm.point(own, information, rng), 1)
    rng = np.random.default_rng(7)
    point = starts.point(starts.draw(rng))
    natural = graph.compile_fn(
        graph.replace_rvs_by_values([graph["eta"], graph["omega"], graph["CL_pop"], graph["CL"]]),
        inputs=graph.value_vars,
        on_unused_input="ignore",
        mode="FAST_COMPILE",
    )
    eta, omega, typical, individual = natural(point)
    x, covariance, _ = warm.population(np.random.default_rng(7))
    np.testing.assert_allclose(omega, np.sqrt(np.diag(covariance)), **EXACT)
    np.testing.assert_allclose(typical, warm.run.layout.values(x[None])["CL_pop"][0, 0], **EXACT)
    np.testing.assert_allclose(individual, typical * np.exp(eta[:, 1]), **EXACT)
    np.testing.assert_allclose(individual, individual_draw(warm, 7), **EXACT)


@pytest.mark.parametrize("way", ["auto", "centred", "non-centred"])
def test_a_start_is_the_same_occasions_in_any_coordinates(crossover, way):
    """Clearance on every occasion is that of the conditional draw, however both levels are sampled."""
    own, warm = crossover
    information = warm.information if way == "auto" else None
    own = own if way == "auto" else Study(centred_model(own, way, warm), own.events)
    graph = building.build(own.model, own.events, information)
    sampled = {"auto": "eta_occ_white", "centred": "phi_occ", "non-centred": "eta_occ_raw"}[way]
    assert sampled in {one.name for one in graph.free_RVs}
    starts = made_starts(graph, lambda rng: warm.point(own, information, rng), 1)
    point = starts.point(starts.draw(np.random.default_rng(7)))
    (clearance,) = graph.compile_fn(
        graph.replace_rvs_by_values([graph["CL"]]),
        inputs=graph.value_vars,
        on_unused_input="ignore",
        mode="FAST_COMPILE",
    )(point)
    rng = np.random.default_rng(7)
    warm.population(rng)
    design, effects = own.design, warm.run.effects
    picked = rng.integers(len(warm.conditional.eta), size=design.n_subject)
    drawn = warm.conditional.eta[picked, np.arange(design.n_subject)]
    centre = warm.run.layout.centre(warm.found.x[: len(warm.run.layout.linear)])
    kappa = effects.of_groups(drawn)[design.groups["occasion"].of_segment, 0]
    place = effects.names.index("CL")
    subject = (drawn + centre)[design.segment_subject, place]
    np.testing.assert_allclose(clearance, np.exp(subject + kappa), **EXACT)
    if way == "auto":
        white = [k for k in range(starts.centre.size) if starts.coordinate(k).startswith("eta_occ_white")]
        assert np.all(np.abs(starts.centre[white]) < 2.0)


@pytest.fixture(scope="module")
def crossover():
    """Two occasions of six subjects, the second on what the first has left."""
    rows = [
        {"ID": i, "TIME": 12.0 * k + t, "AMT": 100.0 * (t == 0), "EVID": int(t == 0), "OCC": k + 1}
        for i in range(1, 7)
        for k in range(2)
        for t in (0.0, 1.0, 6.0, 11.0)
    ]
    model = PopModel(
        structural=pk.OneCompartment(),
        parameters={
            "CL": Parameter(prior.LogNormal(5.0, 0.3)),
            "V": Parameter(prior.LogNormal(50.0, 0.3)),
        },
        variability=[
            variability.Independent(["CL", "V"], sd=prior.HalfNormal(0.3)),
            variability.Occasion(["CL"], sd=prior.HalfNormal(0.3)),
        ],
        residual=residual.LogNormal(prior.HalfNormal(0.2)),
    )
    simulated = simulate(model, read_events(pd.DataFrame(rows)), seed=1, n=1)
    data = as_data(simulated)
    own = Study(model.resolved(data), data)
    return own, started(own, WARM_START, 1, {})


def individual_draw(warm, seed):
    """CL of every subject as the conditional draws have it, whatever the population is moved to."""
    rng = np.random.default_rng(seed)
    warm.population(rng)
    picked = rng.integers(len(warm.conditional.eta), size=12)
    centre = warm.run.layout.centre(warm.found.x[: len(warm.run.layout.linear)])
    return np.exp(warm.conditional.eta[picked, np.arange(12), 1] + centre[:, 1])


def test_chains_start_where_data_put_each_subject(study, warm):
    information = warm.information
    graph = building.build(study.model, study.events, information)
    starts = made_starts(graph, lambda rng: warm.point(study, information, rng), 1)
    white = [k for k in range(starts.centre.size) if starts.coordinate(k).startswith("eta_white")]
    # the coordinates are nearly standard normal: this is what makes warm-up short
    assert np.all(np.abs(starts.centre[white]) < 1.5)
    assert 0.6 < np.median(starts.spread[white]) < 1.4


def test_informative_data_are_sampled_centred_and_uninformative_ones_are_not(study):
    ratio = variance_ratios(study)
    assert ratio.shape == (12, 3)
    assert np.all((ratio > 0) & (ratio < 1))
    assert all(block.centred for block in centred_model(study, "auto").variability)
    blurred = residual.Combined(add=prior.HalfNormal(100.0), prop=prior.HalfNormal(10.0))
    other = Study(replace(study.model, residual=blurred), study.events)
    assert np.all(variance_ratios(other) > ratio)
    assert not any(block.centred for block in centred_model(other, "auto").variability)


def test_the_tree_says_how_it_was_started(fitted):
    said = json.loads(fitted.attrs["warm_start"])
    assert said["method"] == "Saem"
    assert set(said["estimates"]) == {"ka_pop", "CL_pop", "V_pop", "sigma_add", "sigma_prop", dims.OMEGA}


def test_an_estimate_at_a_boundary_does_not_send_chains_away():
    """An additive error estimated at 0.002 had starts from 1e-9 to 1e23: its logarithm had an SE of 180."""
    intercept = Coordinate("a", None, prior.Normal(0, 100), _same, _same)
    layout = SimpleNamespace(coordinates=(intercept, positive("sigma_add", prior.HalfNormal(0.5))))
    root = np.array([[30.0, 0.0, 0.0], [20.0, 180.0, 0.0], [0.0, 0.0, 0.2]])  # the last: a log of an omega
    found = within_reach(root, SimpleNamespace(layout=layout))
    np.testing.assert_array_equal(found[[0, 2]], root[[0, 2]])
    np.testing.assert_allclose(np.linalg.norm(found[1]), FARTHEST)
    np.testing.assert_allclose(found[1, 1] / found[1, 0], 9.0)
