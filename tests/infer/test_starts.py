import dataclasses

import numpy as np
import pymc as pm
import pytest

from popbayes import covariate, pk, prior, residual, variability
from popbayes.infer.fit import fit
from popbayes.infer.starts import is_usable, starts_of, usable_start, usable_starts
from popbayes.model import PopModel
from popbayes.parameters.parameter import Parameter
from tests.tolerances import EXACT


@pytest.fixture(scope="module")
def graph():
    with pm.Model() as graph:
        scale = pm.HalfNormal("scale", 0.5)
        pm.Normal("place", 3.0, scale, shape=2)
    return graph


@pytest.fixture(scope="module")
def starts(graph):
    return starts_of(graph, {"scale": 0.25, "place": np.array([3.0, 4.0])}, seed=1)


def slope(x):
    return float(-0.5 * x @ x), -x


def test_starts_are_centred_at_the_medians_on_the_unconstrained_scale(starts):
    assert starts.names == ("scale_log__", "place")
    np.testing.assert_allclose(starts.centre, [np.log(0.25), 3.0, 4.0], **EXACT)


def test_the_spread_of_the_starts_follows_the_prior(graph):
    with pm.Model() as other:
        pm.Normal("wide", 0.0, 10.0)
        pm.Normal("narrow", 0.0, 0.1)
    wide, narrow = starts_of(other, {}, seed=1).spread
    assert wide / narrow > 30


def test_every_coordinate_is_jittered(starts):
    start = starts.draw(np.random.default_rng(0))
    assert np.all(start != starts.centre)
    assert np.all(np.abs(start - starts.centre) <= 0.5 * starts.spread)


def test_starts_are_a_function_of_the_seed(starts):
    one, same, other = (usable_starts(starts, slope, seed, 3, str) for seed in (4, 4, 5))
    assert np.array_equal(one, same)
    assert not np.any(one == other)
    assert len(np.unique(one[:, 0])) == 3


def test_a_point_holds_the_same_numbers_by_name(starts):
    point = starts.point(np.array([1.0, 2.0, 3.0]))
    assert point["scale_log__"].shape == ()
    assert point["place"].tolist() == [2.0, 3.0]
    assert starts.coordinate(2) == "place[1]"


def test_a_zero_gradient_component_is_no_start():
    assert not is_usable(lambda x: (0.0, np.array([1.0, 0.0])), np.zeros(2))


def test_starts_draw_closer_to_the_centre_until_one_is_usable(starts):
    radius = 0.01 * starts.spread.max()

    def density(x):
        inside = np.all(np.abs(x - starts.centre) < radius)
        return (0.0 if inside else -np.inf), np.ones(3)

    start = usable_start(starts, density, np.random.default_rng(0), str)
    assert np.all(np.abs(start - starts.centre) < radius)


def test_a_start_that_is_finite_but_hopelessly_far_out_is_drawn_again(starts):
    """Such as predictions of 1e-80 under a proportional error: chains would stay there for ever."""
    radius = 0.1 * starts.spread.max()

    def density(x):
        inside = np.all(np.abs(x - starts.centre) < radius)
        return (0.0 if inside else -1e80), np.ones(3)

    start = usable_start(starts, density, np.random.default_rng(0), str)
    assert np.all(np.abs(start - starts.centre) < radius)
    with pytest.raises(ValueError, match=r"-1\.0e\+80 at the start.*starts="):
        usable_start(starts, lambda x: (-1e80, np.ones(3)), np.random.default_rng(0), str)


def test_a_coordinate_without_influence_is_named(starts):
    with pytest.raises(ValueError, match=r"does not depend on place\[1\]"):
        usable_start(starts, lambda x: (0.0, np.array([1.0, 1.0, 0.0])), np.random.default_rng(0), str)


def one_compartment(coefficient):
    return PopModel(
        structural=pk.OneCompartment(absorption=pk.FirstOrder()),
        parameters={
            "ka": Parameter(prior.LogNormal(1.5, 0.5)),
            "CL": Parameter(
                prior.LogNormal(2.8, 0.5),
                covariates=[covariate.Exponential("WT", ref=70, coefficient=coefficient)],
            ),
            "V": Parameter(prior.LogNormal(32.0, 0.5)),
        },
        variability=variability.Independent(["CL"], sd=prior.HalfNormal(0.5)),
        residual=residual.Additive(prior.HalfNormal(1.0)),
    )


def test_a_start_that_is_not_finite_names_subject_and_parameter(theophylline):
    weight = theophylline.covariates["WT"].copy()
    weight[theophylline.record_subject == 6] = 1e6
    data = dataclasses.replace(theophylline, covariates={"WT": weight})
    with pytest.raises(ValueError, match=r"subject 7\. Its parameter CL is not finite"):
        fit(
            one_compartment(prior.Normal(0.01, 0.001)),
            data,
            sampler="pymc",
            progress=False,
            chains=1,
            warm_start=None,
        )


def test_a_prior_that_excludes_the_start_is_named(theophylline):
    with pytest.raises(ValueError, match="prior density of CL_pop"):
        fit(
            one_compartment(0.01),
            theophylline,
            sampler="pymc",
            progress=False,
            chains=1,
            starts={"CL_pop": np.inf},
            warm_start=None,
        )


def test_variables_with_an_improper_prior_are_jittered_too():
    with pm.Model() as graph:
        pm.Flat("anywhere")
        pm.Normal("wide", 0.0, 10.0)
    spread = starts_of(graph, {}, seed=1).spread
    assert spread[0] == 1.0
    assert spread[1] > 3
