"""Every refusal and warning of read_events: row, subject, value and remedy."""

import numpy as np
import pandas as pd
import pytest

from popbayes.data.events import read_events


def table(**columns):
    """Subject 7: a dose, a sample, a sample; changed by what is given."""
    base = {
        "ID": [7] * 3,
        "TIME": [0.0, 1.0, 2.0],
        "AMT": [100.0, 0, 0],
        "EVID": [1, 0, 0],
        "DV": [np.nan, 5.0, 4.0],
    }
    return pd.DataFrame({**base, **columns})


REFUSED = {
    "time goes back": (
        {"TIME": [0, 2, 1]},
        r"TIME must not decrease.*row 3 \(ID 7\) goes back to 1\. Sort.*EVID 3",
    ),
    "time missing": ({"TIME": [0, ".", 1]}, r"TIME must be there.*row 2 \(ID 7\) has no value\. Write"),
    "time infinite": ({"TIME": [0, 1, np.inf]}, r"TIME must be there and finite; row 3 \(ID 7\) has inf"),
    "time text": ({"TIME": [0, "late", 1]}, r"TIME must be a number; row 2 \(ID 7\) has 'late'"),
    "time with decimal comma": ({"TIME": ["0", "1,5", "2"]}, r"row 2 \(ID 7\) has '1,5'.*decimal comma"),
    "negative dose time": ({"TIME": [-1, 0, 1]}, r"TIME must not be negative.*row 1 \(ID 7\) has -1\. Count"),
    "negative sample after a dose": (
        {"TIME": [0, -2, 1], "EVID": [3, 3, 1], "AMT": [0, 0, 9], "DV": "."},
        r"TIME must not be negative.*row 2 \(ID 7\) has -2",
    ),
    "id missing": ({"ID": [7, ".", 7]}, r"ID must not be missing; see row 2\. Every record"),
    "id text among numbers": ({"ID": [7, "7l", 7]}, r"ID must be a number.*row 2 has '7l'\. Correct"),
    "id infinite": ({"ID": [7, np.inf, 7]}, r"ID must be finite; row 2 has inf"),
    "amount negative": (
        {"AMT": [-100, 0, 0]},
        r"AMT must be finite and not negative; row 1 \(ID 7\) has -100\.",
    ),
    "amount infinite": ({"AMT": [np.inf, 0, 0]}, r"AMT must be finite.*row 1 \(ID 7\) has inf"),
    "amount text": ({"AMT": ["100 mg", 0, 0]}, r"AMT must be a number; row 1 \(ID 7\) has '100 mg'"),
    "amount missing": (
        {"AMT": [".", 0, 0]},
        r"AMT must be there on a dose record; see row 1 \(ID 7\)\. Write",
    ),
    "amount on a sample": (
        {"AMT": [100, 50, 0]},
        r"AMT belongs to a dose record; row 2 \(ID 7\) has 50\. Make",
    ),
    "rate negative": (
        {"RATE": [-3, 0, 0]},
        r"RATE must be.*or -1 or -2; row 1 \(ID 7\) has -3\. 0 is a bolus",
    ),
    "rate infinite": ({"RATE": [np.inf, 0, 0]}, r"RATE must be finite.*row 1 \(ID 7\) has inf"),
    "rate without amount": ({"AMT": 0, "RATE": [5, 0, 0]}, r"RATE needs an AMT; row 1 \(ID 7\) has RATE 5"),
    "rate and duration": (
        {"RATE": [5, 0, 0], "DUR": [2, 0, 0]},
        r"RATE and DUR.*row 1 \(ID 7\) has DUR 2\. Drop one",
    ),
    "duration negative": ({"DUR": [-2, 0, 0]}, r"DUR must be finite and not negative; row 1 \(ID 7\) has -2"),
    "interval negative": ({"II": [-12, 0, 0]}, r"II must be finite and not negative; row 1 \(ID 7\) has -12"),
    "interval infinite": (
        {"II": [np.inf, 0, 0]},
        r"II must be finite and not negative; row 1 \(ID 7\) has inf",
    ),
    "addl without ii": (
        {"ADDL": [3, 0, 0]},
        r"ADDL needs II > 0; row 1 \(ID 7\) has ADDL 3\. Give the time between",
    ),
    "addl negative": ({"ADDL": [-1, 0, 0], "II": 12}, r"ADDL must not be negative; row 1 \(ID 7\) has -1"),
    "addl fractional": ({"ADDL": [1.5, 0, 0]}, r"ADDL must be a whole number; row 1 \(ID 7\) has 1\.5"),
    "ss without ii": (
        {"SS": [1, 0, 0]},
        r"SS needs II > 0; row 1 \(ID 7\) has SS 1\. Give.*constant infusion",
    ),
    "ss of an infusion with amount": (
        {"SS": [1, 0, 0], "RATE": [5, 0, 0]},
        r"SS needs II > 0; row 1 \(ID 7\) has SS 1",
    ),
    "constant infusion with ii": (
        {"AMT": 0, "SS": [1, 0, 0], "RATE": [5, 0, 0], "II": [12, 0, 0]},
        r"constant infusion at steady state \(AMT 0\) has no II; row 1 \(ID 7\) has II 12",
    ),
    "ss unknown": (
        {"SS": [99, 0, 0]},
        r"SS must be one of 0, 1, 2; row 1 \(ID 7\) has 99.*columns=\{'SS': None\}",
    ),
    "evid unknown": (
        {"EVID": [101, 0, 0]},
        r"EVID must be one of.*row 1 \(ID 7\) has 101\. 0 sample, 1 dose.*CMT",
    ),
    "cmt fractional": (
        {"CMT": [1.5, 1, 1]},
        r"CMT must be a whole number or a name; row 1 \(ID 7\) has '1\.5'",
    ),
    "mdv unknown": ({"MDV": [1, 2, 0]}, r"MDV must be one of 0, 1; row 2 \(ID 7\) has 2"),
    "dose with mdv 0 and a dv": (
        {"MDV": 0, "DV": [3.0, 5, 4]},
        r"may have MDV 0 and a DV; row 1 \(ID 7\) has DV 3\. A dose carries no observation",
    ),
    "dose with a dv and no mdv": ({"DV": [3.0, 5, 4]}, r"may have MDV 0 and a DV; row 1 \(ID 7\) has DV 3"),
    "dv missing": (
        {"DV": [".", ".", 4]},
        r"DV must be there on an observation.*row 2 \(ID 7\)\. Give.*MDV 1",
    ),
    "dv infinite": ({"DV": [".", np.inf, 4]}, r"DV must be finite; row 2 \(ID 7\) has inf"),
    "dv text": ({"DV": [".", "<0.5", 4]}, r"DV must be a number; row 2 \(ID 7\) has '<0\.5'.*CENS 1"),
    "censored without limit": (
        {"DV": [".", ".", 4], "CENS": [0, 1, 0]},
        r"see row 2 \(ID 7\)\. A censored sample.*limit in DV",
    ),
    "cens unknown": ({"CENS": [0, 2, 0]}, r"CENS must be one of -1, 0, 1; row 2 \(ID 7\) has 2"),
    "cens beside another lloq": (
        {"DV": [".", 0, 4], "CENS": [0, 1, 0], "LLOQ": 1.0},
        r"CENS 1 has LLOQ in DV, where there is one; row 2 \(ID 7\) has DV 0.*BLQ 1",
    ),
    "limit above dv": (
        {"CENS": [0, 1, 0], "LIMIT": [".", 9, "."]},
        r"LIMIT must lie below DV; row 2 \(ID 7\) has LIMIT 9",
    ),
    "below no limit": ({"BLQ": [0, 1, 0]}, r"BLQ 1 needs its limit; see row 2 \(ID 7\)\. Give the limit"),
    "below and above": (
        {"BLQ": [0, 1, 0], "LLOQ": 1, "CENS": [0, -1, 0]},
        r"cannot both hold; see row 2 \(ID 7\)",
    ),
    "lloq infinite": ({"LLOQ": [0, np.inf, 0]}, r"LLOQ must be finite; row 2 \(ID 7\) has inf"),
    "dvid missing": ({"DVID": [".", ".", 1]}, r"DVID must be given on every sample; see row 2 \(ID 7\)"),
    "dvid text": ({"DVID": [0, "cp", 1]}, r"DVID must be a number; row 2 \(ID 7\) has 'cp'"),
    "occ missing": ({"OCC": [1, ".", 1]}, r"OCC must be a whole number; row 2 \(ID 7\) has no value"),
    "covariate missing": (
        {"WT": [70, ".", 70]},
        r"covariate WT must not be missing; see row 2 \(ID 7\)\. Fill",
    ),
    "covariate partly text": (
        {"WT": [70, "7O", 70]},
        r"WT must be all numbers or all text; row 2 \(ID 7\) has '7O'",
    ),
    "covariate infinite as text": (
        {"WT": ["70", "inf", "70"]},
        r"WT must be finite; row 2 \(ID 7\) has inf",
    ),
    "covariate infinite": ({"WT": [70, np.inf, 70]}, r"WT must be finite; row 2 \(ID 7\) has inf"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    columns, message = REFUSED[case]
    frame = table(**columns)
    with pytest.raises(ValueError, match=message):
        read_events(frame, covariates=["WT"] if "WT" in frame else ())


@pytest.mark.parametrize("when", ["2024-01-05", "5/1/2024", "08:30", "12JAN2024"])
def test_dates_and_clock_times_are_refused_with_what_to_do(when):
    with pytest.raises(ValueError, match=rf"TIME must be a number; row 2 \(ID 7\) has '{when}'.*hours"):
        read_events(table(TIME=["0", when, "1"]))


def test_datetimes_are_refused_with_what_to_do():
    with pytest.raises(
        ValueError, match=r"row 1 \(ID 7\) has '2024-01-05.*Dates and clock times are not read"
    ):
        read_events(table(TIME=pd.to_datetime(["2024-01-05", "2024-01-06", "2024-01-07"])))


def test_a_table_without_doses_is_told_so_where_a_dv_is_missing():
    frame = table().drop(columns=["AMT", "EVID"]).assign(GIVEN=[100, 0, 0])
    with pytest.raises(
        ValueError, match=r"DV must be there.*row 1 \(ID 7\).*no AMT column.*columns=\{'DOSE'"
    ):
        read_events(frame)


def test_the_number_of_further_records_is_told():
    with pytest.raises(ValueError, match=r"row 1 \(ID 7\) has -3 \(and 2 more\)"):
        read_events(table(RATE=-3))


def test_rows_are_those_of_the_file_when_subjects_are_scattered():
    frame = pd.DataFrame({"ID": [1, 2, 1, 2], "TIME": [0, 0, 1, 1], "DV": [1, 1, 1, "."]})
    with (
        pytest.warns(UserWarning, match="stand together"),
        pytest.raises(ValueError, match=r"see row 4 \(ID 2\)"),
    ):
        read_events(frame)


def test_a_constant_infusion_at_steady_state_needs_no_interval():
    data = read_events(table(AMT=0, SS=[1, 0, 0], RATE=[5, 0, 0]))
    assert data.ss[0] == 1


WARNED = {
    "no observations": ({"EVID": [1, 2, 2], "DV": "."}, r"has no observations; see row 1 \(ID 7\)"),
    "identical doses": (
        {"TIME": [0, 0, 1], "AMT": [100, 100, 0], "EVID": [1, 1, 0], "DV": [".", ".", 4]},
        r"Identical dose records are all given; see row 2 \(ID 7\)\. Drop one",
    ),
    "dose of zero": ({"AMT": 0}, r"A dose of AMT 0 adds nothing; see row 1 \(ID 7\)"),
    "dose items on a sample": (
        {"RATE": [0, 5, 5]},
        r"count on dose records only; see row 2 \(ID 7\) \(and 1 more\)",
    ),
    "interval without use": (
        {"II": [24, 0, 0]},
        r"II says nothing without ADDL or SS; row 1 \(ID 7\) has II 24",
    ),
    "missing code": ({"WT": -99}, r"WT looks as if it were missing; row 1 \(ID 7\) has -99"),
    "II in minutes": (
        {"II": [1440, 0, 0], "ADDL": [5, 0, 0]},
        r"come after the subject's last record; row 1 \(ID 7\) has II 1440\. They do nothing",
    ),
    "records to be left out": ({"C": ["C", ".", "."]}, r"C marks 1 records, which are read .*IGNORE=C"),
    "flag not read": ({"BLQFL": [0, 1, 0]}, r"BLQFL marks 1 records but is not read.*'CENS'"),
}


@pytest.mark.parametrize("case", WARNED)
def test_warned(case):
    columns, message = WARNED[case]
    frame = table(**columns)
    with pytest.warns(UserWarning, match=message) as caught:
        read_events(frame, covariates=["WT"] if "WT" in frame else ())
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_a_flag_that_is_left_out_on_purpose_is_not_warned_of():
    assert read_events(table(BLQ=[0, 1, 0]), columns={"BLQ": None}).n_obs == 2


def test_unknown_names_in_a_call_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"covariate 'WTT'. Did you mean 'WT'"):
        read_events(table(WT=70), covariates=["WTT"])
    with pytest.raises(ValueError, match=r"no column 'tmie'. Did you mean 'TIME'"):
        read_events(table(), columns={"tmie": "TIME"})
    with pytest.raises(ValueError, match=r"'AMTT', which is neither.*Did you mean 'AMT'"):
        read_events(table(x=1), columns={"x": "AMTT"})
    with pytest.raises(ValueError, match="maps both 'x' and 'y' to AMT"):
        read_events(table(x=1, y=2), columns={"x": "AMT", "y": "AMT"})


def test_a_required_column_that_is_absent_is_named_with_the_nearest():
    with pytest.raises(
        ValueError, match=r"no TIME column. Did you mean 'Tiime'.*columns=\{'Tiime': 'TIME'\}"
    ):
        read_events(table().rename(columns={"TIME": "Tiime"}))


def test_ambiguous_columns_are_refused():
    with pytest.raises(ValueError, match="More than one column could be DV: CONC, Y"):
        read_events(table(CONC=1, Y=2).drop(columns="DV"))
    with pytest.raises(ValueError, match="'wt' fits more than one column: Wt, WT"):
        read_events(table(Wt=1, WT=2), covariates=["wt"])
    with pytest.raises(ValueError, match="'AMT' is a standard column"):
        read_events(table(), covariates=["AMT"])


@pytest.mark.parametrize(
    ("separator", "name"), [(";", "semicolons"), ("\t", "tabs"), (" ", "spaces"), ("|", "vertical bars")]
)
def test_another_separator_is_named_with_the_call_that_reads_it(tmp_path, separator, name):
    path = tmp_path / "study.csv"
    table().to_csv(path, sep=separator, index=False, na_rep=".")
    with pytest.raises(ValueError, match=f"separated by {name}, not by commas") as caught:
        read_events(path)
    sep = r"\s+" if separator == " " else separator
    assert f"read_csv({str(path)!r}, sep={sep!r}" in str(caught.value)
    assert read_events(pd.read_csv(path, sep=sep)).n_obs == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("ID,TIME,DV\n", "has no data rows"),
        ("ID,TIME,DV\n,,\n", "has no data rows"),
        ("ID,TIME,DV,DV\n1,0,5,6\n", "more than one column named DV"),
        ("ID,TIME,DV\n1,0,5\n1,1,5,9,9\n", "table: line 3 has 5 values, the header 3 names"),
        ("ID,TIME,DV\n1,0,5,6\n1,1,5,9\n", "table: line 2 has 4 values, the header 3 names"),
        ('ID,TIME,DV\n1,0,5\n1,1,"5\n', "table: .*a quote is opened and not closed"),
    ],
)
def test_files_that_are_no_tables_are_refused(tmp_path, text, message):
    path = tmp_path / "study.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_events(path)


def test_other_files_and_sources_are_refused_with_what_to_do(tmp_path):
    (tmp_path / "latin.csv").write_bytes("ID,TIME,DV,SITE\n1,0,5,Zürich\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"not UTF-8 text.*encoding='latin-1'"):
        read_events(tmp_path / "latin.csv")
    with pytest.raises(ValueError, match=r"spreadsheet.*read_excel"):
        read_events(tmp_path / "study.xlsx")
    with pytest.raises(FileNotFoundError, match=r"absent\.csv"):
        read_events(tmp_path / "absent.csv")
    with pytest.raises(TypeError, match="path of a CSV file or a DataFrame, not list"):
        read_events([1, 2])
