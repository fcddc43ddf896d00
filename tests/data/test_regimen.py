"""Regimens written by hand."""

import numpy as np
import pytest

from popbayes.data.events import read_events
from popbayes.data.regimen import Regimen, as_events, regimens


def test_every_method_returns_a_new_regimen():
    empty = Regimen()
    full = empty.dose(100).sample(1).reset(5)
    assert empty.records == ()
    assert len(full.records) == 3


def test_records_are_in_time_order_with_reset_then_dose_then_sample():
    data = Regimen(times=[5, 0]).dose(10, time=5).sample(2, dvid=2).dose(100).reset(5).to_events()
    np.testing.assert_array_equal(data.time, [0, 0, 2, 5, 5, 5])
    np.testing.assert_array_equal(data.evid, [1, 0, 0, 3, 1, 0])
    np.testing.assert_array_equal(data.dvid, [0, 1, 2, 0, 0, 1])
    assert not data.has_dv


def test_one_call_gives_doses_at_several_times():
    data = Regimen(times=[30]).dose(10, time=[0, 12, 24], cmt=2, rate=5).to_events()
    np.testing.assert_array_equal(data.time[data.is_dose], [0, 12, 24])
    np.testing.assert_array_equal(data.cmt[data.is_dose], ["2"] * 3)


def test_subjects_are_counted_or_labelled():
    regimen = Regimen(times=[1, 2]).dose(100)
    np.testing.assert_array_equal(regimen.to_events(3).subjects, [1, 2, 3])
    np.testing.assert_array_equal(regimen.to_events(["a", "b"]).subjects, ["a", "b"])
    with pytest.raises(ValueError, match="label of its own"):
        regimen.to_events([1, 1])


def test_covariates_are_one_value_or_one_per_subject():
    data = Regimen(times=[1], covariates={"WT": [60, 80], "SEX": "F"}).dose(100).to_events(2)
    np.testing.assert_array_equal(data.covariate_by_subject("WT"), [60.0, 80.0])
    np.testing.assert_array_equal(data.covariate_by_subject("SEX"), ["F", "F"])
    with pytest.raises(ValueError, match=r"WT has 2 values for 3 subject"):
        Regimen(times=[1], covariates={"WT": [60, 80]}).dose(100).to_events(3)


def test_regimens_puts_different_ones_into_one_table():
    low = Regimen(times=[1, 2], covariates={"WT": 60}).dose(10, cmt="depot")
    high = Regimen(times=[4], covariates={"WT": 90}).dose(100, cmt=1)
    data = regimens({"low": low, "high": high}, name="trial")
    np.testing.assert_array_equal(data.subjects, ["low", "high"])
    np.testing.assert_array_equal(data.amt, [10, 0, 0, 100, 0])
    np.testing.assert_array_equal(data.cmt, ["depot", "", "", "1", ""])
    np.testing.assert_array_equal(data.covariate_by_subject("WT"), [60, 90])
    assert data.name == "trial"


def test_regimens_refuses_what_does_not_fit_together():
    with pytest.raises(ValueError, match=r"same covariates \(WT\); subject b has none"):
        regimens({"a": Regimen(times=[1], covariates={"WT": 1}), "b": Regimen(times=[1])})
    with pytest.raises(ValueError, match="no regimens"):
        regimens({})


@pytest.mark.parametrize(
    ("regimen", "message"),
    [
        (Regimen(times=[1]).dose(-5), "AMT must be finite and not negative"),
        (Regimen(times=[1]).dose(5, addl=2), "ADDL needs II"),
        (Regimen(times=[1]).dose(5, ss=1), "SS needs II"),
        (Regimen(), "regimen is empty"),
    ],
)
def test_impossible_regimens_are_refused(regimen, message):
    with pytest.raises(ValueError, match=message):
        regimen.to_events()


def test_impossible_arguments_are_refused_at_once():
    with pytest.raises(ValueError, match="evid 1, or 4"):
        Regimen().dose(5, evid=3)
    with pytest.raises(ValueError, match="times must be finite"):
        Regimen(times=[np.nan])


def test_as_events_takes_tables_and_regimens():
    regimen = Regimen(times=[1]).dose(5)
    data = regimen.to_events()
    assert as_events(data) is data
    assert as_events(regimen).n_obs == 1
    with pytest.raises(TypeError, match="not dict"):
        as_events({})


def test_a_regimen_prints_as_what_happens():
    assert "dose of 5 added" in str(Regimen(times=[1]).dose(5))


def test_a_regimen_with_covariates_of_several_subjects_prints_and_names_the_remedy():
    regimen = Regimen(times=[1], covariates={"WT": [50, 70, 90]}).dose(3)
    assert "dose of 3 added" in str(regimen)
    with pytest.raises(ValueError, match=r"regimen\.to_events\(3\)"):
        regimen.to_events()


def test_repr_is_the_calls_that_made_it():
    regimen = Regimen(times=[1], covariates={"WT": 70}).dose(3, cmt="gut", ii=24, addl=2).sample(2, dvid=2)
    regimen = regimen.dose(5, time=[30, 40], evid=4).reset(50)
    assert ".dose(3, time=0.0, cmt='gut', ii=24, addl=2).sample(2.0, dvid=2)" in repr(regimen)
    assert eval(repr(regimen)) == regimen


@pytest.mark.parametrize("regimen", [Regimen(), Regimen().dose(3), Regimen(times=[1]).dose(-3)])
def test_an_unfinished_regimen_prints(regimen):
    assert str(regimen)


@pytest.mark.parametrize("wrong", [["a"], "a", [None, "1h"]])
def test_times_that_are_no_numbers_are_named(wrong):
    with pytest.raises(ValueError, match=r"times must be finite numbers; got .*(a|1h)"):
        Regimen(times=wrong)
    with pytest.raises(ValueError, match="time must be finite numbers"):
        Regimen().reset(wrong)


def test_a_design_is_read_back_from_its_frame():
    data = Regimen(times=[1, 2]).dose(5).to_events(2)
    again = read_events(data.to_frame())
    assert not again.has_dv
    np.testing.assert_array_equal(again.time, data.time)
