"""The warm start: chains begin where the data put them, and the posterior stays what it is."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from popbayes import building, dims, prior, residual
from popbayes.infer.centring import centred_model, variance_ratios
from popbayes.infer.fit import WARM_START
from popbayes.infer.saem.layout import Coordinate, _same, positive
from popbayes.infer.starts import made_starts
from popbayes.infer.tree import Study
from popbayes.infer.warm_start import FARTHEST, started, within_reach
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
