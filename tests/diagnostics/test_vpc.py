import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from popbayes import censoring, pk, residual, variability
from popbayes.data.events import read_events
from popbayes.data.regimen import Regimen, regimens
from popbayes.diagnostics.vpc import correction, vpc
from popbayes.diagnostics.vpc_bins import Bins, make_bins
from popbayes.model import PopModel
from popbayes.parameters.parameter import Parameter
from popbayes.simulation import as_data, simulate
from tests.diagnostics.posed import censored_check, theophylline_model, with_dv
from tests.tolerances import EXACT


def changed(dt: xr.DataTree, group: str = "prior_predictive", **values: xr.DataArray) -> xr.DataTree:
    out = dt.copy()
    out[group] = xr.DataTree(dt[group].to_dataset().assign(values))
    return out


def test_percentiles_are_those_of_the_rows_of_each_bin(simulated, theophylline):
    checked = vpc(simulated, bins=4, interval=0.8)
    dv = simulated["prior_predictive"]["dv"].to_numpy()[0]
    for b in range(4):
        rows = (checked["bin_of"] == b).to_numpy()
        one = checked.isel(stratum=0, bin=b)
        np.testing.assert_allclose(
            one["observed"], np.quantile(theophylline.obs_dv[rows], [0.05, 0.5, 0.95]), **EXACT
        )
        replicated = np.array([np.quantile(draw[rows], [0.05, 0.5, 0.95]) for draw in dv])
        np.testing.assert_allclose(one["lower"], np.quantile(replicated, 0.1, axis=0), **EXACT)
        np.testing.assert_allclose(one["simulated"], np.median(replicated, axis=0), **EXACT)
        np.testing.assert_allclose(one["upper"], np.quantile(replicated, 0.9, axis=0), **EXACT)


def test_every_observation_is_in_the_bin_that_holds_its_time(simulated):
    checked = vpc(simulated)
    bins = checked["bin_of"].to_numpy()
    time = checked["time"].to_numpy()
    left, right = checked["left"].to_numpy()[0], checked["right"].to_numpy()[0]
    assert bins.min() == 0
    assert np.all((left[bins] <= time) & (time <= right[bins]))
    np.testing.assert_array_equal(np.bincount(bins), checked["n"].to_numpy()[0])


def test_theophylline_gets_one_bin_for_each_sample_of_a_subject(simulated):
    checked = vpc(simulated)
    assert checked["n"].to_numpy()[0].tolist() == [12.0] * 11


def test_data_of_the_model_lie_in_the_intervals_as_often_as_these_say(model, theophylline):
    """Each replicate in turn stands for the data."""
    study = simulate(model, theophylline, seed=11, n=160)
    dv = study["prior_predictive"]["dv"]
    inside = []
    for k in range(60):
        tree = study.copy()
        tree["observed_data"] = xr.DataTree(xr.Dataset({"dv": dv.isel(chain=0, draw=k, drop=True)}))
        tree["events"] = xr.DataTree(with_dv(theophylline, dv.to_numpy()[0, k]).to_dataset())
        tree["prior_predictive"] = xr.DataTree(study["prior_predictive"].to_dataset().drop_isel(draw=[k]))
        one = vpc(tree, bins=3, interval=0.8)
        inside.append(((one["observed"] > one["lower"]) & (one["observed"] < one["upper"])).to_numpy().mean())
    error = np.std(inside, ddof=1) / np.sqrt(len(inside))
    assert abs(np.mean(inside) - 0.8) < 4 * error


# Prediction correction ------------------------------------------------------------


@pytest.fixture(scope="module")
def two_doses() -> xr.DataTree:
    """The same subjects at two doses; their predictions differ by the factor 10."""
    sample = [1, 2, 4, 8, 12, 24]
    table = {
        i: Regimen(covariates={"WT": 70.0}).dose(100 if i < 20 else 1000).sample(sample) for i in range(40)
    }
    data = regimens(table, units={"TIME": "h", "DV": "mg/L"})
    data = with_dv(data, np.ones(data.n_obs))
    return simulate(theophylline_model(), data, seed=2, n=30)


def test_correction_takes_out_what_the_design_explains(two_doses):
    pred = two_doses["prior_predictive"]["pred"].median(("chain", "draw"))
    order = ("chain", "draw", "obs")
    noise = xr.DataArray(np.exp(0.1 * np.random.default_rng(0).standard_normal((1, 30, 240))), dims=order)
    dt = changed(two_doses, dv=(pred * noise).transpose(*order))
    plain, corrected = vpc(dt, bins="times"), vpc(dt, bins="times", pred_corr=True)
    spread = [
        one["simulated"].to_numpy()[..., 2] / one["simulated"].to_numpy()[..., 0]
        for one in (plain, corrected)
    ]
    assert (spread[0] > 8).all()
    np.testing.assert_allclose(spread[1], np.exp(2 * 1.645 * 0.1), rtol=0.1)


def test_correction_is_the_formula_of_bergstrand_et_al(two_doses):
    pred = two_doses["prior_predictive"]["pred"].median(("chain", "draw")).to_numpy()
    checked = vpc(two_doses, bins="times", pred_corr=True)
    bins = checked["bin_of"].to_numpy()
    expected = [1.0 * np.median(pred[bins == bins[i]]) / pred[i] for i in range(len(pred))]
    np.testing.assert_allclose(checked["dv"], expected, **EXACT)


def test_observations_and_replicates_are_corrected_alike(simulated, theophylline):
    """A replicate that stands for the data has the percentiles of that replicate."""
    dv = simulated["prior_predictive"]["dv"]
    tree = changed(simulated, dv=dv.isel(draw=[4] * 60).assign_coords(draw=np.arange(60)))
    tree["observed_data"] = xr.DataTree(xr.Dataset({"dv": dv.isel(chain=0, draw=4, drop=True)}))
    tree["events"] = xr.DataTree(with_dv(theophylline, dv.to_numpy()[0, 4]).to_dataset())
    checked = vpc(tree, pred_corr=True)
    for name in ("lower", "simulated", "upper"):
        np.testing.assert_allclose(checked[name], checked["observed"], **EXACT)


def test_a_prediction_of_zero_corrects_nothing_and_is_counted(simulated, theophylline):
    checked = vpc(simulated, pred_corr=True)
    before = theophylline.obs_time == 0
    assert checked.attrs["n_uncorrected"] == 12
    np.testing.assert_array_equal(checked["dv"].to_numpy()[before], theophylline.obs_dv[before])
    assert np.isfinite(checked["dv"]).all()


def test_rounding_of_a_zero_prediction_counts_as_zero():
    bins = Bins(np.array([0, 0, 0]), np.array([0.0]), np.array([0.0]), np.array([0.0]))
    factor, count = correction(np.array([1e-17, 2.0, 4.0]), bins)
    np.testing.assert_allclose(factor, [1.0, 1.0, 0.5])
    assert count == 1


def test_a_negative_prediction_is_refused(simulated):
    pred = simulated["prior_predictive"]["pred"] - 1.0
    with pytest.raises(ValueError, match=r"cannot be negative, but pred of subject 1 at time 0 is -1"):
        vpc(changed(simulated, pred=pred), pred_corr=True)


# Rows ------------------------------------------------------------


def test_rows_in_another_order_are_refused_and_never_misaligned(simulated):
    dt = simulated.copy()
    turned = simulated["prior_predictive"].to_dataset().isel(obs=np.arange(132)[::-1])
    dt["prior_predictive"] = xr.DataTree(turned.drop_vars("obs").assign_coords(obs=turned["obs"].to_numpy()))
    with pytest.raises(ValueError, match="not the same rows"):
        vpc(dt)


def test_observed_values_of_another_table_are_refused(simulated):
    dt = simulated.copy()
    other = simulated["observed_data"].to_dataset()
    dt["observed_data"] = xr.DataTree(other.assign(dv=other["dv"][::-1].drop_vars("obs")))
    with pytest.raises(ValueError, match="differ from those of the event table"):
        vpc(dt)


def test_a_design_without_observations_is_refused(model):
    design = Regimen(covariates={"WT": 70.0}).dose(100).sample([1, 2])
    with pytest.raises(ValueError, match="design without DV"):
        vpc(simulate(model.resolved(design.to_events()), design, seed=1, n=5))


def test_a_fit_is_not_a_simulation_and_says_what_to_call(posed):
    with pytest.raises(ValueError, match=r"no simulated observations.*simulate\(model, data, dt"):
        vpc(posed)


def test_failed_replicates_are_left_out_with_a_warning(simulated):
    dv = simulated["prior_predictive"]["dv"].copy(deep=True)
    dv[0, 3, 7] = np.nan
    with pytest.warns(UserWarning, match="1 of 60 simulated studies"):
        checked = vpc(changed(simulated, dv=dv))
    assert checked.attrs["n_replicate"] == 59
    assert np.isfinite(checked["upper"]).all()


# Strata, axes, arguments ------------------------------------------------------------


def test_strata_of_a_covariate_are_checked_apart(model):
    table = {
        i: Regimen(covariates={"WT": 70.0, "ARM": "low" if i < 8 else "high"}).dose(100).sample([1, 4, 8])
        for i in range(20)
    }
    data = regimens(table)
    data = with_dv(data, np.where(data.obs_subject < 8, 1.0, 2.0))
    checked = vpc(simulate(model, data, seed=1, n=10), by="ARM")
    assert checked["stratum"].to_numpy().tolist() == ["ARM high", "ARM low"]
    assert checked["n"].to_numpy().tolist() == [[12.0] * 3, [8.0] * 3]
    assert np.unique(checked["observed"].to_numpy()[0]).tolist() == [2.0]
    assert np.unique(checked["observed"].to_numpy()[1]).tolist() == [1.0]


def test_two_kinds_of_observation_are_never_mixed(two_doses):
    tree = two_doses.copy()
    events = two_doses["events"].to_dataset()
    kind = np.where(events["record_subject"] < 20, 1, 2)
    tree["events"] = xr.DataTree(events.assign(dvid=("record", kind)))
    checked = vpc(tree)
    assert checked["stratum"].to_numpy().tolist() == ["dvid 1", "dvid 2"]
    dv = two_doses["prior_predictive"]["dv"].to_numpy()[0]
    rows = (checked["stratum_of"] == 1).to_numpy() & (checked["bin_of"] == 0).to_numpy()
    expected = np.median(np.quantile(dv[:, rows], 0.5, axis=1))
    assert float(checked["simulated"].isel(stratum=1, bin=0, quantile=1)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"by": "SEX"}, "'SEX' is not one of: dvid, WT"),
        ({"against": "tafd"}, '"time" or "tad"'),
        ({"quantiles": (5, 50, 95)}, "quantiles must be"),
        ({"quantiles": (0.5, 0.1)}, "increasing"),
        ({"interval": 90}, "interval must be"),
        ({"bins": 0}, "1 or more"),
        ({"bins": "jenks"}, "bins must be"),
        ({"bins": [5, 1]}, "increasing"),
        ({"bins": [100, 200]}, "No observation lies within"),
    ],
)
def test_what_cannot_be_done_is_refused(simulated, arguments, words):
    with pytest.raises(ValueError, match=words):
        vpc(simulated, **arguments)


def test_time_after_dose_can_be_the_axis(model):
    regimen = Regimen(covariates={"WT": 70.0}).dose(100).dose(100, time=24).sample([2, 26])
    data = regimen.to_events(subjects=6)
    data = with_dv(data, np.ones(data.n_obs))
    checked = vpc(simulate(model, data, seed=1, n=10), against="tad")
    assert checked["middle"].to_numpy().tolist() == [[2.0]]
    assert checked["n"].to_numpy().tolist() == [[12.0]]


def test_units_and_the_kind_of_simulation_are_remembered(simulated):
    attrs = vpc(simulated).attrs
    assert (attrs["time_unit"], attrs["dv_unit"], attrs["group"], attrs["etas"]) == (
        "h", "mg/L", "prior_predictive", "new",
    )  # fmt: skip


# Bins ------------------------------------------------------------


def test_bins_of_equal_counts_never_part_equal_times():
    time = np.repeat([0.0, 1.0, 1.5, 2.0, 7.0, 9.0], [1, 8, 1, 2, 3, 3])
    bins = make_bins(time, np.arange(len(time)), 3)
    for t in np.unique(time):
        assert len(np.unique(bins.index[time == t])) == 1
    assert bins.n == 3


def test_few_distinct_times_are_bins_of_their_own():
    time = np.tile([0.5, 1, 2, 4], 6)
    bins = make_bins(time, np.repeat(np.arange(6), 4), None)
    np.testing.assert_array_equal(bins.middle, [0.5, 1, 2, 4])


def test_edges_hold_their_left_end_and_the_last_its_right_one():
    time = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    bins = make_bins(time, np.zeros(5), [0, 1, 3])
    np.testing.assert_array_equal(bins.index, [0, 1, 1, 1, -1])
    np.testing.assert_array_equal(bins.middle, [0.0, 2.0])


def test_an_empty_bin_between_edges_is_dropped():
    bins = make_bins(np.array([0.5, 5.5]), np.zeros(2), [0, 1, 5, 6])
    np.testing.assert_array_equal(bins.left, [0, 5])
    np.testing.assert_array_equal(bins.right, [1, 6])


def test_observations_without_a_time_are_in_no_bin():
    bins = make_bins(np.array([np.nan, 1.0, 2.0]), np.zeros(3), 1)
    np.testing.assert_array_equal(bins.index, [-1, 0, 0])
    with pytest.raises(ValueError, match="No observation has a time"):
        make_bins(np.array([np.nan]), np.zeros(1), None)


@pytest.mark.parametrize(
    ("n_subject", "each", "expected"), [(12, 11, 11), (60, 2, 8), (3, 4, 2), (1, 2, 1), (9, 40, 12)]
)
def test_automatic_bins_follow_the_samples_of_a_subject_and_can_be_filled(n_subject, each, expected):
    time = np.random.default_rng(0).uniform(0, 24, n_subject * each)
    assert make_bins(time, np.repeat(np.arange(n_subject), each), None).n == expected


def test_the_fraction_below_the_limit_is_that_of_the_observations_and_of_the_replicates():
    checked = censored_check()
    below = checked["below"].to_numpy()[0]
    mean = 2.0 * np.exp(-0.1 * np.array([1.0, 12.0, 24.0]))
    expected = stats.norm.cdf((0.3 - mean) / (0.2 * mean))
    spread = np.sqrt(expected * (1 - expected) / 60)
    assert np.all(np.abs(below - expected) <= 4 * spread + 1e-12)
    np.testing.assert_allclose(checked["below_simulated"].to_numpy()[0], expected, atol=0.02)
    assert np.all(checked["below_lower"] <= checked["below_upper"])


def test_percentiles_below_the_limit_are_at_it_in_observations_and_replicates_alike():
    checked = censored_check()
    last = checked.isel(bin=2, stratum=0)
    assert last["observed"].sel(quantile=0.05) == last["upper"].sel(quantile=0.05) == 0.3
    assert np.all(checked["dv"] >= 0.3)
    first = checked.isel(bin=0, stratum=0)
    assert np.all((first["lower"] <= first["observed"]) & (first["observed"] <= first["upper"]))


def test_without_a_limit_there_is_no_fraction_below_it():
    parameters = {"CL": Parameter(5.0), "V": Parameter(50.0)}
    model = PopModel(pk.OneCompartment(), parameters, None, residual.Additive(0.2))
    design = Regimen(times=[1.0, 12.0]).dose(100).to_events(3)
    data = as_data(simulate(model, design, {}, seed=3))
    checked = vpc(simulate(model, data, {}, seed=4, n=20))
    assert not any(name in checked for name in ("below", "lloq"))


def two_assays() -> xr.DataTree:
    """Two occasions, in the second another assay with a lower limit; what is below either is censored."""
    model = PopModel(
        pk.OneCompartment(),
        {"CL": Parameter(5.0), "V": Parameter(50.0)},
        [variability.Independent(["CL"], sd=0.3), variability.Occasion(["CL"], sd=0.2)],
        residual.Combined(add=0.05, prop=0.2),
        censoring=censoring.M3(),
    )
    rows = [
        {"ID": i, "TIME": 48.0 * k + t, "AMT": dose, "EVID": evid, "OCC": k + 1, "LLOQ": (0.4, 0.15)[k]}
        for i in range(1, 31)
        for k in range(2)
        for t, dose, evid in ((0.0, 100.0, 4), (1.0, 0.0, 0), (12.0, 0.0, 0), (24.0, 0.0, 0))
    ]
    known = {"omega": [0.3]}
    design = read_events(pd.DataFrame(rows))
    table = as_data(simulate(model, design, known, seed=5)).to_frame()
    seen = table["EVID"] == 0
    table.loc[seen, "LLOQ"] = np.where(table["OCC"] == 1, 0.4, 0.15)[seen]
    below = seen & (table["DV"] < table["LLOQ"])
    table.loc[below, "CENS"], table.loc[below, "DV"] = 1, table["LLOQ"]
    return simulate(model, read_events(table), known, seed=6, n=100)


def test_percent_below_several_limits_over_occasions_is_that_of_a_hand_count():
    dt = two_assays()
    checked = vpc(dt, by="OCC", against="tad", interval=0.8)
    assert checked["stratum"].to_numpy().tolist() == ["OCC 1", "OCC 2"]
    drawn = dt["predictions"]["dv"].to_numpy()[0].reshape(100, 30, 2, 3)
    observed = dt["observed_data"]["dv"].to_numpy().reshape(30, 2, 3)
    for k, limit in enumerate((0.4, 0.15)):
        one = checked.isel(stratum=k)
        below = (drawn[:, :, k] < limit).mean(axis=1)
        np.testing.assert_allclose(one["below"], (observed[:, k] <= limit).mean(axis=0), **EXACT)
        np.testing.assert_allclose(one["below_simulated"], np.median(below, axis=0), **EXACT)
        np.testing.assert_allclose(one["below_lower"], np.quantile(below, 0.1, axis=0), **EXACT)
        np.testing.assert_allclose(one["below_upper"], np.quantile(below, 0.9, axis=0), **EXACT)
        cut = np.quantile(np.maximum(drawn[:, :, k], limit), [0.05, 0.5, 0.95], axis=1)
        np.testing.assert_allclose(one["simulated"], np.median(cut, axis=1).T, **EXACT)
    together = vpc(dt, against="tad")  # each observation has a limit of its own within one bin
    limits = np.array([0.4, 0.15])[:, None]
    np.testing.assert_allclose(
        together["below"].to_numpy()[0], (observed <= limits).mean(axis=(0, 1)), **EXACT
    )
    np.testing.assert_allclose(
        together["below_simulated"].to_numpy()[0],
        np.median((drawn < limits).mean(axis=(1, 2)), axis=0),
        **EXACT,
    )
