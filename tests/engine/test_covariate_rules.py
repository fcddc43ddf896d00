"""Whose covariates hold between two records: NONMEM's rule and the other one, each against its own oracle."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from popbayes.data.design import Design
from popbayes.data.events import read_events
from popbayes.data.regimen import Regimen
from popbayes.engine.solve import evaluate
from popbayes.structural import pk
from tests.tolerances import EXACT

TDM = Path(__file__).parents[2].parent / "shared" / "data" / "individual" / "map_posologyr_tdm_a"
NONMEM_ETA = {"rtol": 0.0, "atol": 2e-6}  # printed with nine digits, found by another optimiser
PRINTED_ETA = {"rtol": 0.0, "atol": 1e-5}  # printed with five digits


def changing() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "ID": 1,
            "TIME": [0.0, 2.0, 5.0, 5.0, 9.0],
            "AMT": [100.0, 0, 0, 50.0, 0],
            "DV": [np.nan, 1, 1, np.nan, 1],
            "WT": [50.0, 50.0, 80.0, 80.0, 60.0],
        }
    )


def test_locf_holds_the_earlier_record_up_to_the_later_one():
    """A bolus model by hand: CL = WT / 10, V = WT / 5, at every record the volume of that record."""
    data = read_events(changing(), covariates=["WT"])
    design = Design.of(data, ["WT"], "locf")
    weight = design.covariates["WT"]
    got = evaluate(pk.OneCompartment(), design, {"CL": weight / 10, "V": weight / 5})
    k = 0.5  # CL / V
    amount = 100 * np.exp(-k * np.array([2.0, 5.0, 9.0])) + np.array([0, 0, 50 * np.exp(-k * 4.0)])
    np.testing.assert_allclose(got, amount / (np.array([50.0, 80.0, 60.0]) / 5), **EXACT)
    fixed_volume = evaluate(pk.OneCompartment(), design, {"CL": weight / 10, "V": np.full(len(weight), 10.0)})
    at_two = 100 * np.exp(-0.5 * 2)
    at_five = at_two * np.exp(-0.5 * 3)
    at_nine = (at_five + 50) * np.exp(-0.8 * 4)
    np.testing.assert_allclose(fixed_volume, np.array([at_two, at_five, at_nine]) / 10, **EXACT)


def test_locf_equals_nocb_where_nothing_changes_and_at_resets():
    table = changing().assign(WT=70.0)
    data = read_events(table, covariates=["WT"])
    one, other = (Design.of(data, ["WT"], rule) for rule in ("nocb", "locf"))
    np.testing.assert_array_equal(one.record_segment, other.record_segment)
    table = changing().assign(EVID=[1, 0, 0, 4, 0])
    table.loc[3:, "TIME"] = [0.0, 4.0]
    data = read_events(table, covariates=["WT"])
    design = Design.of(data, ["WT"], "locf")
    again = evaluate(pk.OneCompartment(), design, {"CL": np.ones(3), "V": np.full(3, 10.0)})
    np.testing.assert_allclose(again[-1], 50 / 10 * np.exp(-0.4), **EXACT)


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="covariate_rule must be one of nocb, locf"):
        Design.of(Regimen().dose(1).sample([1]).to_events(), [], "linear")


@pytest.mark.skipif(not TDM.exists(), reason="the reference data are not at hand")
@pytest.mark.parametrize(
    ("rule", "etas", "tolerance"),
    [("nocb", (0.398845969, 0.0762201167), NONMEM_ETA), ("locf", (0.22967, 0.16376), PRINTED_ETA)],
)
def test_both_rules_give_the_published_map_estimates(rule, etas, tolerance):
    table = pd.read_csv(TDM / "timevarying.csv").assign(ID=1)
    data = read_events(table, covariates=["BW", "SEX"])
    design = Design.of(data, ["BW", "SEX"], rule)
    clearance = 4 * (design.covariates["BW"] / 75) ** 1.5 * 0.75 ** design.covariates["SEX"]

    def minus_log_posterior(eta):
        volume = np.full(design.n_segment, 70 * np.exp(eta[1]))
        f = evaluate(pk.OneCompartment(), design, {"CL": clearance * np.exp(eta[0]), "V": volume})
        variance = 0.05 * f**2
        return np.sum((data.obs_dv - f) ** 2 / variance + np.log(variance)) + np.sum(eta**2) / 0.2

    found = minimize(
        minus_log_posterior, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}
    )
    np.testing.assert_allclose(found.x, etas, **tolerance)
