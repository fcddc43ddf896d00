from dataclasses import replace

import numpy as np
import pytest

from popbayes.data.datasets import load_dataset
from popbayes.data.regimen import Regimen
from popbayes.diagnostics.curves import MOST_DRAWS, curves, densified, thinned
from popbayes.diagnostics.gof import gof
from popbayes.observation import residual
from popbayes.parameters import covariates, priors, variability
from popbayes.parameters.parameter import Parameter
from popbayes.structural.pk import OneCompartment
from tests.diagnostics.posed import posed_fit, theophylline_model, with_dv
from tests.tolerances import SOLVER

BOLUS = {"CL": Parameter(priors.LogNormal(2.0, 0.1)), "V": Parameter(priors.LogNormal(20.0, 0.1))}


def bolus_model(**changes):
    parts = {
        "structural": OneCompartment(),
        "parameters": BOLUS,
        "variability": variability.Independent(["CL"], sd=priors.HalfNormal(0.3)),
        "residual": residual.Additive(priors.HalfNormal(1)),
    }
    return theophylline_model(**(parts | changes))


def passes_through(dt, name: str) -> None:
    """Check that the curves pass through the predictions at the observations."""
    fitted, found = gof(dt), curves(dt)
    for subject, curve in found.items():
        mine = (fitted["subject"] == subject).to_numpy()
        for time, value in zip(fitted["time"].to_numpy()[mine], fitted[name].to_numpy()[mine], strict=True):
            at = curve[name].to_numpy()[np.isclose(curve["time"].to_numpy(), time, rtol=0, atol=1e-12)]
            assert np.isclose(at, value, **SOLVER).any(), (subject, time)


@pytest.mark.parametrize("name", ["ipred", "pred"])
def test_curves_pass_through_the_predictions_at_the_observations(posed, name):
    passes_through(posed, name)


@pytest.mark.parametrize("name", ["ipred", "pred"])
def test_curves_follow_a_time_varying_covariate(name):
    data = load_dataset("quinidine").subset([3, 11, 24])
    # the study's doses are oral; a model without depot takes them as its own first compartment
    data = replace(data, cmt=np.full(data.n_record, ""))
    assert "AAG" in data.time_varying
    parameters = BOLUS | {
        "CL": replace(BOLUS["CL"], covariates=[covariates.Power("AAG", ref=1.0, exponent=-0.5)]),
    }
    passes_through(posed_fit(bolus_model(parameters=parameters), data, draws=10), name)


def test_curves_of_some_subjects_are_those_of_all(posed):
    some, every = curves(posed, subjects=[7, 2]), curves(posed)
    assert set(some) == {2, 7}
    np.testing.assert_allclose(some[7]["ipred"], every[7]["ipred"], **SOLVER)


def test_a_bolus_is_seen_from_both_sides():
    data = Regimen().dose(100, time=0).dose(100, time=6).sample([1, 12]).to_events()
    curve = curves(posed_fit(bolus_model(), with_dv(data, np.array([4.0, 3.0])), draws=10))[1]
    at = curve["ipred"].to_numpy()[curve["time"].to_numpy() == 6.0]
    assert at.max() - at.min() == pytest.approx(100 / 20, rel=0.1)


def test_additional_doses_within_a_gap_are_seen():
    data = Regimen().dose(100, ii=6, addl=3).sample([24]).to_events()
    curve = curves(posed_fit(bolus_model(), with_dv(data, np.array([4.0])), draws=10))[1]
    time, value = curve["time"].to_numpy(), curve["ipred"].to_numpy()
    for dose in (6.0, 12.0, 18.0):
        peak = value[time == dose].max()
        trough = value[(time < dose) & (time > dose - 1e-3)][-1]
        assert peak - trough == pytest.approx(100 / 20, rel=0.1)


def test_the_band_holds_its_share_of_the_draws(posed):
    wide, narrow = curves(posed, interval=0.99), curves(posed, interval=0.1)
    later = wide[1]["time"].to_numpy() > 0
    assert np.all((wide[1]["lower"] <= narrow[1]["lower"])[later])
    assert np.all((narrow[1]["upper"] <= wide[1]["upper"])[later])


def test_the_dense_table_keeps_every_record_and_observes_none_of_them(theophylline):
    dense = densified(theophylline)
    assert dense.n_record == theophylline.n_record + dense.n_obs
    assert dense.n_dose == theophylline.n_dose
    kept = ~dense.is_obs
    np.testing.assert_array_equal(dense.row[kept], theophylline.row)
    np.testing.assert_array_equal(dense.time[kept], theophylline.time)
    assert np.all(np.diff(dense.time)[np.diff(dense.record_subject) == 0] >= 0)


def test_at_most_some_draws_are_used_first_and_last_among_them():
    kept = thinned(np.arange(4000))
    assert len(kept) == MOST_DRAWS
    assert (kept[0], kept[-1]) == (0, 3999)
    np.testing.assert_array_equal(thinned(np.arange(7)), np.arange(7))
