"""`Parameter` and `variability`: scales, and what may be said of a population."""

import json

import numpy as np
import pytest
from scipy import special

from popbayes.data.regimen import Regimen
from popbayes.model import PopModel
from popbayes.observation import residual
from popbayes.parameters import covariate, prior, variability
from popbayes.parameters.parameter import Parameter, parameter_from_dict
from popbayes.structural import pk
from tests.tolerances import EXACT

ETA = np.array([[0.3, -0.2, 0.0]])
WEIGHT = np.array([50.0, 70.0, 100.0])
BY_WEIGHT = (covariate.Power("WT", 70, prior.Normal(1, 1)),)


def value(parameter, pop):
    values = {"CL_pop": np.array([[pop]]), "beta_CL_WT": np.array([[0.75]])}
    place = parameter.location("CL", values, {"WT": WEIGHT}, np)
    return parameter.value(place + ETA, np)


def test_log_scale_multiplies_by_the_exponential_of_the_random_effect():
    parameter = Parameter(prior.LogNormal(2, 1), covariates=BY_WEIGHT)
    np.testing.assert_allclose(value(parameter, 2.0), 2.0 * (WEIGHT / 70) ** 0.75 * np.exp(ETA), **EXACT)


def test_identity_scale_adds_the_random_effect():
    parameter = Parameter(prior.Normal(2, 1), scale="identity", covariates=BY_WEIGHT)
    np.testing.assert_allclose(value(parameter, -2.0), -2.0 * (WEIGHT / 70) ** 0.75 + ETA, **EXACT)


def test_logit_scale_stays_between_its_bounds_and_adds_on_the_logit():
    parameter = Parameter(prior.Uniform(1, 3), scale="logit", lower=1, upper=3, covariates=BY_WEIGHT)
    logit = special.logit((1.5 - 1) / 2) + 0.75 * np.log(WEIGHT / 70) + ETA
    np.testing.assert_allclose(value(parameter, 1.5), 1 + 2 * special.expit(logit), **EXACT)
    far = parameter.value(np.array([-800.0, 800.0]), np)
    assert far.tolist() == [1.0, 3.0]


def test_a_parameter_survives_json():
    parameter = Parameter(0.5, scale="logit", lower=0.1, upper=0.9, covariates=BY_WEIGHT, unit="1/h")
    assert parameter_from_dict(json.loads(json.dumps(parameter.to_dict()))) == parameter
    assert parameter.is_fixed


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (
            lambda: Parameter(prior.LogNormal(1, 1), scale="lgo"),
            r"log, logit, identity, boxcox, not 'lgo'.*'log'",
        ),
        (
            lambda: Parameter(prior.Normal(1, 1)).check_support("CL"),
            r"of CL is on the log scale and positive, but Normal.*prior.LogNormal",
        ),
        (lambda: Parameter(0.0).check_support("CL"), r"of CL is on the log scale and positive, but 0 FIX"),
        (
            lambda: Parameter(prior.Poisson(3)).check_support("CL"),
            r"of CL is on the log scale and positive, but Poisson",
        ),
        (
            lambda: Parameter(prior.LogNormal(1, 1), scale="logit").check_support("F"),
            r"of F lies between 0 and 1 \(logit scale\)",
        ),
        (
            lambda: Parameter(1.0, scale="logit").check_support("F"),
            r"of F lies between 0 and 1 \(logit scale\)",
        ),
        (lambda: Parameter(prior.LogNormal(1, 1), upper=2), r"bounds of the logit scale; with scale='log'"),
        (lambda: Parameter(0.5, scale="logit", lower=2), r"lower must be below upper"),
        (lambda: Parameter(1.0, covariates=[*BY_WEIGHT, *BY_WEIGHT]), r"WT is there more than once"),
    ],
)
def test_what_a_scale_cannot_take_is_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_covariates_must_be_effects():
    with pytest.raises(TypeError, match=r"covariates must be effects such as .* not 'WT'"):
        Parameter(1.0, covariates=["WT"])
    with pytest.raises(TypeError, match=r"A parameter's typical value needs a prior .* not str '1'"):
        Parameter("1")


def test_a_single_sd_prior_is_that_of_every_parameter():
    block = variability.Independent(["ka", "CL"], sd=prior.HalfNormal(0.5))
    assert block.sd == {"ka": prior.HalfNormal(0.5), "CL": prior.HalfNormal(0.5)}
    mixed = variability.Correlated(["ka", "CL"], sd={"CL": 0.3, "ka": prior.HalfNormal(1)}, centred=True)
    assert mixed.sd["CL"] == prior.Fixed(0.3)
    for one in (block, mixed):
        assert variability.variability_from_dict(json.loads(json.dumps(one.to_dict()))) == one


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: variability.Independent([], sd=1), ValueError, r"names of 1 or more parameters"),
        (lambda: variability.Correlated(["CL"], sd=1), ValueError, r"names of 2 or more parameters"),
        (lambda: variability.Independent(["CL", "CL"], sd=1), ValueError, r"more than once: CL, CL"),
        (lambda: variability.Independent(["CL"]), TypeError, r"sd of the random effect of CL needs a prior"),
        (lambda: variability.Independent(["CL"], sd=prior.Normal(0, 1)), ValueError, r"must be positive"),
        (lambda: variability.Independent(["CL"], sd=0), ValueError, r"must be positive, but 0 FIX"),
        (lambda: variability.Independent(["CL"], sd=prior.Poisson(1)), ValueError, r"whole numbers only"),
        (lambda: variability.Independent(["CL"], sd={"Cl": 1}), ValueError, r"has 'Cl'.*among .* CL.*'CL'"),
        (lambda: variability.Independent(["CL", "V"], sd={"CL": 1}), ValueError, r"no prior for V"),
        (
            lambda: variability.Independent(["CL"], sd=1, centred="yes"),
            TypeError,
            r"not 'yes'",
        ),
        (lambda: variability.Correlated(["CL", "V"], sd=1, lkj=0), ValueError, r"lkj must be .* > 0, not 0"),
        (lambda: variability.variability_from_dict({"kind": "Indep"}), ValueError, r"'Indep'.*'Independent'"),
    ],
)
def test_random_effects_that_make_no_sense_are_refused(make, error, match):
    with pytest.raises(error, match=match):
        make()


def test_a_clearance_on_the_identity_scale_has_no_value_below_zero():
    design = Regimen().dose(1).sample([1]).to_events(subjects=2)
    parameters = {
        "CL": Parameter(prior.TruncatedNormal(2, 1, lower=0), scale="identity"),
        "V": Parameter(prior.LogNormal(3, 1)),
    }
    model = PopModel(
        pk.OneCompartment(), parameters, variability.Independent(["CL"], sd=1.0), residual.Additive(1.0)
    )
    values = {"CL_pop": np.array([[2.0]]), "V_pop": np.array([[3.0]])}
    got = model.individual_parameters(values, np.array([[[-1.0], [-3.0]]]), model.design(design))
    np.testing.assert_array_equal(got["CL"], [[1.0, np.nan]])
