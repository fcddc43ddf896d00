"""`estimate`: what it refuses, what the DataTree holds, and that everything after it takes the tree."""

import json

import numpy as np
import pytest
from scipy.optimize import least_squares

from popbayes import prior, residual
from popbayes.data.regimen import Regimen
from popbayes.diagnostics.compare import compare
from popbayes.diagnostics.gof import gof
from popbayes.diagnostics.loo import loo
from popbayes.diagnostics.shrinkage import shrinkage
from popbayes.diagnostics.summary import summary
from popbayes.diagnostics.vpc import vpc
from popbayes.diagnostics.waic import waic
from popbayes.engine.solve import solve
from popbayes.infer.estimation.estimate import estimate
from popbayes.infer.estimation.linearised import FirstOrder, Foce, Laplace
from popbayes.infer.estimation.quadrature import Quadrature
from popbayes.infer.storage import load, save
from popbayes.infer.subject_logp import LOG_2PI
from popbayes.plots.plot_gof import plot_gof
from popbayes.simulation import simulate
from tests.infer.estimation.studies import phenobarbital_covariates, theophylline_model

NEAR = {"ka_pop": 1.6, "CL_pop": 2.7, "V_pop": 32.0}


@pytest.fixture(scope="module")
def phenobarbital():
    model, data = phenobarbital_covariates()
    return estimate(model, data, method=Foce(), seed=1, progress=False)


def test_the_groups_hold_what_they_say(phenobarbital):
    estimates = phenobarbital["estimates"].to_dataset()
    assert estimates["CL_pop"].dims == ()
    assert estimates["omega"].dims == ("eta_of",)
    labels = ["CL_pop", "V_pop", "beta_V_LOW", "omega[CL]", "omega[V]", "sigma_prop"]
    assert estimates["parameter"].to_numpy().tolist() == labels
    np.testing.assert_allclose(
        estimates["value"].sel(parameter="omega[V]"), estimates["omega"].sel(eta_of="V")
    )
    np.testing.assert_allclose(np.diag(estimates["correlation"]), 1.0)
    assert estimates.attrs["condition_number"] > 1
    own = phenobarbital["eta"].to_dataset()
    assert own["mode"].dims == ("subject", "eta_of")
    weight = phenobarbital["constant_data"]["WT"].to_numpy()
    expected = float(estimates["CL_pop"]) * weight * np.exp(own["mode"].sel(eta_of="CL").to_numpy())
    np.testing.assert_allclose(own["CL"], expected, rtol=1e-12)
    trace = phenobarbital["trace"]["objective"].to_numpy()
    assert (np.diff(trace) <= 1e-9).all()
    assert phenobarbital.attrs["converged"] == 1


def test_information_criteria_by_hand(phenobarbital):
    one = phenobarbital["objective"].to_dataset().sel(approximation="focei")
    n, total, size, fixed_part = 59, 155, 6, 1
    minus2ll = float(one["minus2ll"])
    np.testing.assert_allclose(float(one["minus2ll_subject"].sum()), minus2ll)
    np.testing.assert_allclose(float(one["ofv"]), minus2ll - total * LOG_2PI)
    np.testing.assert_allclose(float(one["aic"]), minus2ll + 2 * size)
    np.testing.assert_allclose(float(one["bic_subjects"]), minus2ll + size * np.log(n))
    np.testing.assert_allclose(float(one["bic_observations"]), minus2ll + size * np.log(total))
    mixed = minus2ll + (size - fixed_part) * np.log(n) + fixed_part * np.log(total)
    np.testing.assert_allclose(float(one["bic_mixed"]), mixed)


def test_the_summary_says_what_priors_did_and_marks_what_is_fixed(phenobarbital):
    text = str(summary(phenobarbital))
    assert "priors were not used" in text
    assert "converged" in text
    assert "FIX" in text
    table = summary(phenobarbital).to_frame()
    row = table.loc["omega[CL]"]
    np.testing.assert_allclose([row["lower"] * row["upper"]], [row["estimate"] ** 2])
    np.testing.assert_allclose(row["cv_percent"], 100 * np.sqrt(np.expm1(row["estimate"] ** 2)))


def test_cwres_equal_nonmems(phenobarbital):
    """First observations of NONMEM's table of the same fit, within the digits of its estimates."""
    fitted = gof(phenobarbital)
    np.testing.assert_allclose(fitted["cwres"][:4], [-0.4011, 0.58777, -1.2788, 1.6707], atol=2e-3)
    figure = plot_gof(fitted)
    assert "Conditional weighted residual" in [ax.get_ylabel() for ax in figure.axes]


def test_what_comes_after_takes_the_tree(phenobarbital, tmp_path):
    model, data = phenobarbital_covariates()
    again = load(save(phenobarbital, tmp_path / "pheno.nc"))
    assert str(summary(again)) == str(summary(phenobarbital))
    assert 0 < shrinkage(again).loc["CL", "shrinkage"] < 1
    simulated = simulate(model, data, again, seed=1, n=50)
    assert simulated["posterior_predictive"].sizes["draw"] == 50
    assert simulated.attrs["source"] == "estimate"
    vpc(simulated)
    own = simulate(model, data, again, seed=1, n=2, new_subjects=False)["posterior_predictive"]["ipred"]
    np.testing.assert_allclose(own[0, 1], gof(again)["ipred"], rtol=1e-12)


def test_estimates_are_compared_by_their_likelihoods(phenobarbital):
    model, data = phenobarbital_covariates()
    reduced = estimate(model, data, method=Foce(interaction=False), progress=False)
    with pytest.raises(ValueError, match="no approximation of the likelihood in common"):
        compare({"focei": phenobarbital, "foce": reduced})
    table = compare({"one": phenobarbital, "two": phenobarbital}).to_frame()
    assert (table["aic_diff"] == 0).all()


@pytest.mark.parametrize("function", [loo, waic])
def test_what_needs_draws_refuses_estimates(phenobarbital, function):
    with pytest.raises(ValueError, match="point estimates"):
        function(phenobarbital)


def test_priors_pull_the_estimate(theophylline):
    """A prior of the volume sharp enough to decide: the mode lies between it and the likelihood's."""
    free = estimate(theophylline_model(), theophylline, method=Foce(), progress=False)
    model = theophylline_model()
    sharp = {**model.parameters, "V": type(model.parameters["V"])(prior.LogNormal(40.0, 0.05))}
    model = type(model)(model.structural, sharp, model.variability, model.residual)
    held = estimate(model, theophylline, method=Foce(), use_priors=True, progress=False)
    assert float(free["estimates"]["V_pop"]) < 33 < float(held["estimates"]["V_pop"]) < 40
    assert "priors were used" in json.loads(held.attrs["messages"])[-1]
    assert held.attrs["use_priors"] == 1


@pytest.mark.parametrize("factors", [(5.19, 0.12, 2.88), (9.16, 2.35, 2.0), (0.22, 5.33, 1.21)])
def test_starts_far_away_lead_to_the_same_minimum(theophylline, factors):
    """Within a factor of ten on every typical value; OFV of nlmixr2's FOCEI fit: 116.8038."""
    starts = {name: value * f for (name, value), f in zip(NEAR.items(), factors, strict=True)}
    far = estimate(theophylline_model(), theophylline, method=Foce(), starts=starts, progress=False)
    np.testing.assert_allclose(far["objective"]["ofv"], 116.8034, atol=1e-3)


@pytest.mark.parametrize("method", [FirstOrder(), Foce(interaction=False), Laplace(), Quadrature(3)])
def test_every_method_runs_to_the_end(method, theophylline):
    found = estimate(theophylline_model(), theophylline, method=method, progress=False)
    assert found.attrs["converged"] == 1
    assert found["objective"]["approximation"].to_numpy().tolist() == [method.label]
    assert np.isfinite(found["estimates"]["se"]).all()


def test_refusals(theophylline):
    model = theophylline_model()
    with pytest.raises(TypeError, match="method must be an estimation method"):
        estimate(model, theophylline, method="foce")
    with pytest.raises(ValueError, match="no population value 'Cl_pop'"):
        estimate(model, theophylline, method=Foce(), starts={"Cl_pop": 1.0})
    with pytest.raises(ValueError, match=r"covariance of pb\.Foce must be one of"):
        Foce(covariance="R")
    with pytest.raises(ValueError, match="whole number of at least 1"):
        Quadrature(0)
    with pytest.raises(ValueError, match="64000000 points"):
        estimate(model, theophylline, method=Quadrature(400))
    with pytest.raises(ValueError, match="no observed values"):
        estimate(model, Regimen(times=[1.0]).dose(100).to_events(), method=Foce())
    impossible = theophylline_model(residual.Additive(1e-200))
    with pytest.raises(ValueError, match="not finite at the start, because of subject"):
        estimate(impossible, theophylline, method=Foce(), progress=False)


def test_without_random_effects_it_is_a_regression(theophylline):
    """Naive pooling: the minimum of scipy's least squares, whose residual SD is the root mean square."""
    model = theophylline_model()
    model = type(model)(model.structural, model.parameters, None, model.residual)
    found = estimate(model, theophylline, method=Foce(), progress=False)
    table = found["estimates"].to_dataset()

    def residuals(logs):
        theta = dict(zip(("ka", "CL", "V"), np.exp(logs), strict=True))
        return theophylline.obs_dv - solve(model.structural, theophylline, theta)["conc"].to_numpy()

    best = least_squares(residuals, np.log([1.5, 2.8, 32.0]), xtol=1e-12, ftol=1e-12)
    np.testing.assert_allclose(np.log([table[f"{n}_pop"] for n in ("ka", "CL", "V")]), best.x, atol=1e-4)
    np.testing.assert_allclose(table["sigma_add"], np.sqrt(np.mean(best.fun**2)), rtol=1e-4)
    covariance = np.mean(best.fun**2) * np.linalg.inv(best.jac.T @ best.jac)
    se = table["se"].sel(parameter=["ka_pop", "CL_pop", "V_pop"]) / np.exp(best.x)
    np.testing.assert_allclose(se, np.sqrt(np.diag(covariance)), rtol=0.1)
