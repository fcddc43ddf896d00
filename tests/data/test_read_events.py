"""What read_events accepts, and how it completes and orders it."""

import subprocess
import sys
import time
from dataclasses import FrozenInstanceError

import numpy as np
import pandas as pd
import pytest

from popbayes.data.events import EventTable, read_events


def table(**columns):
    """Two records of subject 1, a dose of 100 and a sample, changed by what is given."""
    base = {"ID": [1, 1], "TIME": [0.0, 1.0], "AMT": [100.0, 0.0], "EVID": [1, 0], "DV": [np.nan, 5.0]}
    return pd.DataFrame({**base, **columns})


def test_arrays_have_the_promised_types_and_values():
    data = read_events(table())
    assert (data.n_subject, data.n_record, data.n_dose, data.n_obs) == (1, 2, 1, 1)
    for name in (
        "record_subject",
        "row",
        "evid",
        "mdv",
        "addl",
        "ss",
        "dvid",
        "cens",
        "obs_record",
        "subjects",
    ):
        assert getattr(data, name).dtype == np.int64, name
    for name in ("time", "amt", "rate", "ii", "dv", "limit", "lloq"):
        assert getattr(data, name).dtype == np.float64, name
    np.testing.assert_array_equal(data.mdv, [1, 0])
    np.testing.assert_array_equal(data.row, [1, 2])
    np.testing.assert_array_equal(data.obs_dv, [5.0])
    assert data.occ is None
    assert data.has_dv


def test_the_table_cannot_be_changed():
    data = read_events(table())
    with pytest.raises(ValueError, match="read-only"):
        data.dv[1] = 3.0
    with pytest.raises(FrozenInstanceError):
        data.name = "other"


def test_lower_case_and_synonyms_are_read_and_listed():
    frame = pd.DataFrame(
        {"Subject": [1, 1], "time": [0, 1], "dose": [100, "."], "Conc": [".", 5.0], "cmt": ["1", "central"]}
    )
    data = read_events(frame)
    assert data.columns == {"ID": "Subject", "TIME": "time", "DV": "Conc", "AMT": "dose", "CMT": "cmt"}
    assert "Conc -> DV" in str(data)
    np.testing.assert_array_equal(data.evid, [1, 0])
    np.testing.assert_array_equal(data.cmt, ["1", "central"])


def test_an_exact_name_goes_before_a_synonym_which_stays_unread():
    data = read_events(table(CONC=[9.0, 9.0], dv=[8.0, 8.0]))
    np.testing.assert_array_equal(data.obs_dv, [5.0])
    assert data.unused == ("CONC", "dv")
    assert "Columns not read  CONC, dv" in str(data)


def test_a_column_named_as_covariate_is_not_taken_for_its_synonym():
    frame = pd.DataFrame({"ID": [1, 1], "TIME": [0, 1], "DOSE": [10, 10], "DV": [1.0, 2.0]})
    data = read_events(frame, covariates="DOSE")
    assert data.n_dose == 0
    np.testing.assert_array_equal(data.covariates["DOSE"], [10.0, 10.0])


def test_columns_renames_and_leaves_out():
    frame = table(when=[3.0, 4.0], SS=[99, 99], kilos=[70, 70])
    frame = frame.drop(columns="TIME")
    data = read_events(frame, columns={"when": "TIME", "SS": None, "kilos": "WT"}, covariates=["WT"])
    np.testing.assert_array_equal(data.time, [3.0, 4.0])
    np.testing.assert_array_equal(data.covariate_by_subject("WT"), [70.0])
    assert data.unused == ("SS",)


@pytest.mark.parametrize("missing", [".", "", " . ", "NA", None, np.nan])
def test_missing_values_are_read_as_missing(missing):
    data = read_events(table(AMT=[100, missing], DV=[missing, 5.0], RATE=[missing, missing]))
    np.testing.assert_array_equal(data.amt, [100.0, 0.0])
    np.testing.assert_array_equal(data.rate, [0.0, 0.0])


def test_evid_and_mdv_are_derived_as_nonmem_does():
    frame = pd.DataFrame(
        {
            "ID": [1] * 4,
            "TIME": [0, 1, 2, 3],
            "AMT": [100, ".", ".", "."],
            "DV": [0, 5, ".", 4],
            "MDV": [1, 0, 1, "."],
        }
    )
    data = read_events(frame)
    np.testing.assert_array_equal(data.evid, [1, 0, 2, 0])
    np.testing.assert_array_equal(data.mdv, [1, 0, 1, 0])
    np.testing.assert_array_equal(data.is_obs, [False, True, False, True])


def test_a_record_with_evid_0_and_mdv_1_is_no_observation():
    data = read_events(
        table(ID=[1, 1, 1], TIME=[0, 1, 2], AMT=[9, 0, 0], EVID=[1, 0, 0], DV=[0, 5, 7], MDV=[1, 0, 1])
    )
    np.testing.assert_array_equal(data.obs_record, [1])
    assert np.isnan(data.dv[2])


def test_duration_becomes_a_rate():
    data = read_events(table(DUR=[2.0, 0.0]))
    np.testing.assert_array_equal(data.rate, [50.0, 0.0])


def test_all_nonmem_records_are_accepted():
    frame = pd.DataFrame(
        {
            "ID": 7,
            "TIME": [0, 1, 2, 3, 4, 5, 6, 0, 1],
            "EVID": [1, 1, 1, 1, 2, 1, 3, 4, 0],
            "AMT": [100, 100, 100, 0, 0, 50, 0, 20, 0],
            "RATE": [0, 25, -1, 5, 0, -2, 0, 0, 0],
            "II": [24, 12, 0, 0, 0, 0, 0, 0, 0],
            "ADDL": [3, 0, 0, 0, 0, 0, 0, 0, 0],
            "SS": [1, 2, 0, 1, 0, 0, 0, 0, 0],
            "CMT": ["depot", "2", 1, "central", "-2", 0, ".", "depot", "central"],
            "DVID": [0, 0, 0, 0, 0, 0, 0, 0, 2],
            "OCC": [1, 1, 1, 1, 1, 1, 2, 2, 2],
            "CENS": [0, 0, 0, 0, 0, 0, 0, 0, 1],
            "LIMIT": [".", ".", ".", ".", ".", ".", ".", ".", 0.0],
            "LLOQ": 0.5,
            "DV": [".", ".", ".", ".", ".", ".", ".", ".", 0.5],
        }
    )
    data = read_events(frame)
    np.testing.assert_array_equal(data.cmt, ["depot", "2", "1", "central", "-2", "", "", "depot", "central"])
    np.testing.assert_array_equal(data.rate, [0, 25, -1, 5, 0, -2, 0, 0, 0])
    np.testing.assert_array_equal(data.occ, [1, 1, 1, 1, 1, 1, 2, 2, 2])
    assert (data.cens[-1], data.limit[-1], data.lloq[-1], data.dvid[-1]) == (1, 0.0, 0.5, 2)
    assert "BLQ           1 of 1 (100.0 %)" in str(data)


def test_subjects_keep_the_order_of_the_file_and_rows_count_the_file():
    frame = pd.DataFrame({"ID": ["b", "b", "a"], "TIME": [0, 1, 0], "DV": [1.0, 2.0, 3.0]})
    data = read_events(frame)
    np.testing.assert_array_equal(data.subjects, ["b", "a"])
    np.testing.assert_array_equal(data.record_subject, [0, 0, 1])


def test_scattered_subjects_are_put_together_and_said():
    frame = pd.DataFrame({"ID": [1, 2, 1], "TIME": [0, 0, 1], "DV": [1.0, 2.0, 3.0]})
    with pytest.warns(UserWarning, match=r"row 3 \(ID 1\) returns to ID 1"):
        data = read_events(frame)
    np.testing.assert_array_equal(data.row, [1, 3, 2])
    np.testing.assert_array_equal(data.dv, [1.0, 3.0, 2.0])


@pytest.mark.parametrize(
    ("ids", "expected"),
    [([1.0, 1.0], [1]), (["001", "001"], [1]), (["A1", "A1"], ["A1"]), ([1.5, 1.5], ["1.5"])],
)
def test_labels_are_whole_numbers_or_text(ids, expected):
    data = read_events(table(ID=ids))
    np.testing.assert_array_equal(data.subjects, expected)
    assert data.subjects.dtype.kind == ("i" if isinstance(expected[0], int) else "U")


def test_covariates_are_numbers_or_text_and_time_varying_is_said():
    data = read_events(table(WT=[70, 71], SEX=["F", "F"]), covariates=["WT", "SEX"])
    assert data.time_varying == ("WT",)
    assert "time-varying" in str(data)
    np.testing.assert_array_equal(data.covariate_by_subject("SEX"), ["F"])
    with pytest.raises(ValueError, match="WT varies within a subject"):
        data.covariate_by_subject("WT")
    with pytest.raises(ValueError, match=r"'SXE'. Did you mean 'SEX'"):
        data.covariate_by_subject("SXE")


def test_a_sample_before_the_first_dose_may_have_a_negative_time():
    data = read_events(table(TIME=[-1.0, 0.0], EVID=[0, 1], AMT=[0, 100], DV=[0.1, np.nan]))
    np.testing.assert_array_equal(data.obs_time, [-1.0])


@pytest.mark.parametrize("evid", [3, 4])
def test_time_may_start_again_at_a_reset(evid):
    data = read_events(
        table(
            ID=[1] * 4,
            TIME=[0, 9, 0, 1],
            EVID=[1, 0, evid, 0],
            AMT=[5, 0, 5 * (evid == 4), 0],
            DV=[0, 1, 0, 2],
        )
    )
    assert data.n_obs == 2


def test_a_table_without_dv_is_a_design():
    data = read_events(table().drop(columns="DV"))
    assert not data.has_dv
    assert data.n_obs == 1
    assert "a design, no values" in str(data)


def test_a_table_without_dv_but_with_unread_columns_warns():
    with pytest.warns(UserWarning, match=r"no DV column and is read as a design.*serum"):
        read_events(table(serum=[0, 5.0]).drop(columns="DV"))


def test_subset_keeps_order_and_recounts_subjects():
    frame = pd.DataFrame({"ID": [3, 3, 1, 2], "TIME": [0, 1, 0, 0], "DV": [1.0, 2, 3, 4], "X": [1, 1, 5, 6]})
    data = read_events(frame, covariates="X").subset([2, 3])
    np.testing.assert_array_equal(data.subjects, [3, 2])
    np.testing.assert_array_equal(data.record_subject, [0, 0, 1])
    np.testing.assert_array_equal(data.obs_dv, [1.0, 2.0, 4.0])
    np.testing.assert_array_equal(data.covariate_by_subject("X"), [1.0, 6.0])
    assert data.subset(2).n_subject == 1
    with pytest.raises(ValueError, match="no subject '9'"):
        data.subset([9])


def test_file_and_frame_give_the_same_table(tmp_path):
    frame = table(WT=[70.123456789012345, 70.123456789012345])
    path = tmp_path / "study.csv"
    path.write_text("﻿" + frame.to_csv(index=False, na_rep="."), encoding="utf-8")
    from_file, from_frame = read_events(path, covariates="WT"), read_events(frame, covariates="WT")
    pd.testing.assert_frame_equal(from_file.to_frame(), from_frame.to_frame(), check_exact=True)
    assert from_file.source == str(path)


def test_blank_lines_are_skipped_and_still_counted(tmp_path):
    path = tmp_path / "gaps.csv"
    path.write_text("ID,TIME,DV\n1,0,5\n\n1,1,4\n\n")
    np.testing.assert_array_equal(read_events(path).row, [1, 3])


def test_to_frame_is_read_back_unchanged():
    data = read_events(table(CMT=["depot", "."], WT=[70, 71], LLOQ=[".", 0.1], OCC=[1, 1]), covariates="WT")
    again = read_events(data.to_frame(), covariates="WT")
    pd.testing.assert_frame_equal(again.to_frame(), data.to_frame())


def test_units_are_kept_and_checked():
    data = read_events(table(), units={"TIME": "h", "DV": "mg/L"})
    assert "DV 5 to 5 mg/L" in str(data)
    with pytest.raises(ValueError, match=r"'TIEM'. Did you mean 'TIME'"):
        read_events(table(), units={"TIEM": "h"})


def test_values_below_lloq_that_are_not_marked_are_told_apart():
    assert "BLQ           1 of 1 below LLOQ, not marked by CENS 1" in str(read_events(table(LLOQ=9.0)))


def test_html_holds_what_the_text_says():
    data = read_events(table(), name="<study>")
    assert "&lt;study&gt;" in data._repr_html_()
    assert "Observations" in data._repr_html_()


def test_hundred_thousand_records_are_read_fast():
    """A second of CPU time for 100,000 records: no Python loop over them."""
    n = 50_000
    frame = table(WT=[70.0, 70.0]).iloc[np.tile([0, 1], n)].assign(ID=np.repeat(np.arange(n), 2))
    start = time.process_time()
    data = read_events(frame, covariates="WT")
    assert time.process_time() - start < 1.0
    assert data.n_record == 2 * n


def test_importing_the_data_layer_imports_no_pymc():
    code = (
        "import sys, popbayes.data.datasets, popbayes.data.regimen; "
        "heavy = {'pymc', 'pytensor', 'matplotlib', 'arviz_base', 'numba'} & set(sys.modules); "
        "print(sorted(heavy))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_event_tables_are_not_compared_by_value():
    data = read_events(table())
    assert data == data
    assert data != read_events(table())
    assert isinstance(data, EventTable)


def test_a_sample_flagged_below_the_limit_has_the_limit_as_its_value():
    data = read_events(table(BLQ=[0, 1], LLOQ=0.5, DV=[".", "."]))
    assert data.obs_dv.tolist() == [0.5]
    assert data.cens[data.obs_record].tolist() == [1]
