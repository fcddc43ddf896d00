"""What priors imply, against closed forms; and the warnings."""

import numpy as np
import pytest

from popbayes.diagnostics.prior_table import prior_table
from popbayes.model import PopModel
from popbayes.observation import residual
from popbayes.parameters import covariate, prior, variability
from popbayes.parameters.parameter import Parameter
from popbayes.structural import pk

DRAWN = {"rtol": 0.1, "atol": 0.0}  # quantiles of 2000 draws: 4 standard errors


def model(**changes):
    parts = {
        "structural": pk.OneCompartment(),
        "parameters": {
            "CL": Parameter(prior.LogNormal(2.0, 0.4), unit="L/h"),
            "V": Parameter(prior.LogNormal(20.0, 0.3), unit="L"),
        },
        "variability": variability.Independent(["CL", "V"], sd=prior.HalfNormal(0.4)),
        "residual": residual.Proportional(prior.HalfNormal(0.3)),
    }
    return PopModel(**(parts | changes))


def row(table, label, *columns):
    return table.loc[label, list(columns)].astype(float)


def test_the_table_has_the_quantiles_of_the_priors_and_of_what_follows_from_them():
    got = prior_table(model(), dose=100, seed=1).table
    z = np.array([-1.6448536, 0, 1.6448536])
    np.testing.assert_allclose(row(got, "CL_pop", "low", "median", "high"), 2 * np.exp(0.4 * z), rtol=1e-6)
    half = np.log(2) * 10 * np.exp(z * 0.5)  # SD of log V - log CL: 0.5
    np.testing.assert_allclose(row(got, "half_life", "low", "median", "high"), half, **DRAWN)
    np.testing.assert_allclose(row(got, "cmax", "low", "median", "high"), 5 * np.exp(z * 0.3), **DRAWN)
    fold = np.exp(2 * z[2] * prior.HalfNormal(0.4).quantile(0.5))
    np.testing.assert_allclose(row(got, "omega[CL]", "fold_between_subjects"), fold, rtol=1e-6)


def test_sensible_priors_pass_without_a_word():
    assert prior_table(model(), seed=1).messages == ()


def test_the_absurd_is_said():
    wide = model(variability=variability.Independent(["CL"], sd=prior.HalfNormal(5)))
    (message,) = prior_table(wide, seed=1).messages
    assert message.startswith("omega[CL] ~ HalfNormal(sigma 5)")
    assert "-fold range" in message
    loose = model(parameters={"CL": Parameter(prior.LogNormal(2.0, 5)), "V": Parameter(prior.HalfFlat())})
    messages = " ".join(prior_table(loose, seed=1).messages)
    assert "CL_pop" in messages
    assert "V_pop" in messages
    assert "improper" in messages
    assert str(prior_table(loose, seed=1)).startswith("! CL_pop")


def test_priors_that_contradict_each_other_are_refused():
    with pytest.raises(ValueError, match="disagree"):
        prior_table(model(derived=prior.on_half_life(prior.LogNormal(1e6, 0.01))), dose=1, seed=1)


@pytest.mark.parametrize("joint", [prior.Horseshoe(expected=1), prior.R2D2()])
def test_candidates_of_a_selection_need_no_data(joint):
    """How wide a horseshoe is follows from the number of subjects; a typical one has no need of it."""
    candidates = [covariate.Exponential(name, ref=0.0, coefficient=0) for name in ("WT", "AGE")]
    clearance = Parameter(prior.LogNormal(2.0, 0.4), covariates=[covariate.Select(candidates, prior=joint)])
    got = prior_table(model(parameters={**model().parameters, "CL": clearance}), dose=100, seed=1).table
    plain = prior_table(model(), dose=100, seed=1).table
    for label in ("half_life", "cmax"):
        np.testing.assert_array_equal(row(got, label, "low", "high"), row(plain, label, "low", "high"))
    assert "beta_CL_WT" in " ".join(map(str, got.index))
