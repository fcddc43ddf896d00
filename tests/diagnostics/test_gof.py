from dataclasses import replace

import numpy as np
import pytest

from popbayes.data.datasets import load_dataset
from popbayes.data.regimen import Regimen
from popbayes.diagnostics.gof import gof, weighted_residuals
from popbayes.infer.tree import study_of
from popbayes.observation import censoring, outcome, residual
from popbayes.parameters import priors
from tests.diagnostics.posed import censored_fit, posed_fit, theophylline_model, two_endpoints, with_dv
from tests.tolerances import EXACT, SOLVER


def bateman(dt, eta: bool) -> np.ndarray:
    """Concentrations of every draw (n_draw, n_obs) by the textbook formula, covariates included."""
    draws = {
        k: v.to_numpy().reshape(-1, *v.shape[2:]) for k, v in dt["posterior"].to_dataset().data_vars.items()
    }
    events = study_of(dt).events
    wt = events.covariate_by_subject("WT")
    effect = draws["eta"] if eta else np.zeros_like(draws["eta"])
    ka = draws["ka_pop"][:, None] * np.exp(effect[..., 0])
    cl = draws["CL_pop"][:, None] * (wt / 70) ** 0.75 * np.exp(effect[..., 1])
    v = draws["V_pop"][:, None] * (wt / 70) ** draws["beta_V_WT"][:, None] * np.exp(effect[..., 2])
    dose = np.array([events.amt[(events.record_subject == i) & events.is_dose].sum() for i in range(len(wt))])
    k, s, t = cl / v, events.obs_subject, events.obs_time
    curve = np.exp(-k[:, s] * t) - np.exp(-ka[:, s] * t)
    return (dose * ka / v / (ka - k))[:, s] * curve


@pytest.fixture(scope="module")
def fitted(posed):
    return gof(posed)


def test_pred_and_ipred_are_posterior_means_of_the_predictions(posed, fitted):
    np.testing.assert_allclose(fitted["pred"], bateman(posed, eta=False).mean(axis=0), **SOLVER)
    np.testing.assert_allclose(fitted["ipred"], bateman(posed, eta=True).mean(axis=0), **SOLVER)


def test_residuals_are_differences_and_standard_deviations(posed, fitted):
    add, prop = (float(posed["posterior"][f"sigma_{name}"].mean()) for name in ("add", "prop"))
    np.testing.assert_allclose(fitted["ires"], fitted["dv"] - fitted["ipred"], **EXACT)
    sd = np.sqrt(add**2 + (prop * fitted["ipred"]) ** 2)
    np.testing.assert_allclose(fitted["iwres"], fitted["ires"] / sd, **EXACT)


def test_samples_before_the_dose_has_any_effect_have_finite_residuals(fitted):
    before = (fitted["time"] == 0).to_numpy()
    assert before.sum() == 12
    assert np.isfinite(fitted["iwres"].to_numpy()[before]).all()


def test_the_estimate_of_a_random_effect_is_its_posterior_mean_in_every_row(posed, fitted):
    eta = posed["posterior"]["eta"].mean(("chain", "draw")).sel(eta_of="CL").to_numpy()
    np.testing.assert_allclose(fitted["eta_CL"], eta[study_of(posed).events.obs_subject], **EXACT)
    assert fitted["eta_CL"].attrs["omega"] == pytest.approx(
        float(posed["posterior"]["omega"].sel(eta_of="CL").mean())
    )


def test_every_variable_is_a_column_of_the_observations(fitted):
    frame = fitted.to_dataframe()
    assert len(frame) == 132
    assert {"subject", "time", "tad", "dv", "pred", "ipred", "ires", "iwres", "eta_ka", "WT"} <= set(frame)
    assert fitted["WT"].to_numpy()[0] == 79.6


def test_units_are_those_of_the_table(fitted):
    units = {
        name: fitted[name].attrs.get("units", "") for name in ("time", "tad", "ipred", "ires", "iwres", "WT")
    }
    assert units == {"time": "h", "tad": "h", "ipred": "mg/L", "ires": "mg/L", "iwres": "", "WT": "kg"}


def test_log_normal_residuals_are_those_of_the_logarithm(theophylline):
    data = with_dv(theophylline, np.maximum(theophylline.obs_dv, 0.05))
    dt = posed_fit(theophylline_model(residual=residual.LogNormal(priors.HalfNormal(0.3))), data, draws=5)
    fitted = gof(dt)
    later = fitted["time"].to_numpy() > 0
    sigma = float(dt["posterior"]["sigma_log"].mean())
    part = fitted.isel(obs=later)
    np.testing.assert_allclose(part["iwres"], (np.log(part["dv"]) - np.log(part["ipred"])) / sigma, **EXACT)


def test_a_residual_sd_of_zero_gives_nan_and_no_warning():
    model = theophylline_model(residual=residual.Proportional(priors.HalfNormal(0.3)))
    dt = posed_fit(model, draws=5)
    result = weighted_residuals(study_of(dt), dt["posterior"].to_dataset(), np.zeros(132))
    assert np.isnan(result).all()


def test_a_fixed_residual_parameter_is_used():
    dt = posed_fit(theophylline_model(residual=residual.Additive(0.5)), draws=5)
    fitted = gof(dt)
    np.testing.assert_allclose(fitted["iwres"], fitted["ires"] / 0.5, **EXACT)


def test_time_after_dose_is_missing_before_the_first_dose():
    regimen = Regimen(covariates={"WT": 70.0}).dose(300, time=2).sample([0, 1, 3, 5])
    data = regimen.to_events(subjects=2)
    fitted = gof(posed_fit(data=with_dv(data, np.array([0.1, 0.0, 5.0, 7.0] * 2)), draws=5))
    np.testing.assert_array_equal(fitted["tad"], [np.nan, np.nan, 1, 3] * 2)


def test_a_time_varying_covariate_is_that_of_the_row():
    data = load_dataset("quinidine").subset([3])
    assert "CRCL" in data.covariates
    parameters = dict(theophylline_model(variability=None).parameters)
    bare = {name: type(one)(one.prior, unit=one.unit) for name, one in parameters.items()}
    fitted = gof(posed_fit(theophylline_model(parameters=bare), data, draws=3))
    np.testing.assert_array_equal(fitted["AAG"], data.covariates["AAG"][data.is_obs])


def test_observations_below_a_limit_have_the_limit_and_no_residual():
    fitted = gof(censored_fit(1.0))
    below = fitted["cens"].to_numpy() == 1
    assert below.sum() == (load_dataset("theophylline").obs_dv < 1).sum() > 0
    assert (fitted["dv"].to_numpy()[below] == 1.0).all()
    np.testing.assert_array_equal(np.isnan(fitted["iwres"]), below)


@pytest.mark.parametrize("method", [None, censoring.M3()])
def test_a_value_below_its_lloq_is_measured_unless_the_model_censors_it(method):
    data = load_dataset("theophylline")
    data = replace(data, lloq=np.where(data.is_obs, 1.0, np.nan))
    fitted = gof(posed_fit(theophylline_model(censoring=method), data, draws=5))
    below = data.obs_dv < 1
    np.testing.assert_array_equal(fitted["cens"] == 1, below & (method is not None))
    np.testing.assert_array_equal(np.isnan(fitted["iwres"]), below & (method is not None))
    np.testing.assert_array_equal(fitted["dv"], np.where(below & (method is not None), 1.0, data.obs_dv))


def test_each_observation_has_its_endpoint_where_there_are_several(fitted):
    both = gof(two_endpoints())
    np.testing.assert_array_equal(both["endpoint"] == "A_central", both["dvid"] == 2)
    assert both["endpoint"].attrs["measured"] == ["conc", "A_central"]
    assert "endpoint" not in fitted


def test_categories_are_no_measured_endpoint():
    both = gof(two_endpoints(outcome.Binary(intercept=priors.Normal(0, 1), slope=0.1)))
    assert both["endpoint"].attrs["measured"] == ["conc"]
