"""The words of EventTable.explain."""

import pandas as pd
import pytest

from popbayes.data.events import read_events
from popbayes.data.regimen import Regimen

UNITS = {"TIME": "h", "AMT": "mg", "DV": "mg/L", "WT": "kg"}


def lines(regimen):
    return regimen.to_events(units={"TIME": "h", "AMT": "mg"}).explain(1).splitlines()[1:-1]


def test_every_record_has_a_line_and_the_first_counts_them():
    text = Regimen(times=[1, 2]).dose(100).to_events().explain(1)
    assert text.startswith("Subject 1: 3 records, 1 dose, 2 samples")
    assert len(text.splitlines()) == 5


@pytest.mark.parametrize(
    ("regimen", "words"),
    [
        (Regimen().dose(100, cmt=1), "time 0 h       dose of 100 mg added into compartment 1"),
        (Regimen().dose(100, cmt="depot"), "dose of 100 mg added into depot"),
        (Regimen().dose(100, time=1, rate=50), "infusion of 100 mg from 1 to 3 h at 50 mg/h"),
        (Regimen().dose(100, rate=-1), "infusion of 100 mg from 0 h; the model gives its rate"),
        (Regimen().dose(100, rate=-2), "infusion of 100 mg from 0 h; the model gives its duration"),
        (Regimen().dose(100, ii=24, addl=6), "6 additional doses every 24 h, from 24 to 144 h"),
        (Regimen().dose(100, ii=24, addl=1), "1 additional dose at 24 h"),
        (
            Regimen().dose(100, ii=12, ss=1),
            "steady state, as if this dose had always been given every 12 h (what was",
        ),
        (Regimen().dose(100, ii=12, ss=2), "steady state of this dose every 12 h is added to what is there"),
        (Regimen().dose(0, rate=5, ss=1), "steady state of a constant infusion at 5 mg/h, which ends here"),
        (
            Regimen().dose(100, evid=4),
            "reset: all amounts become 0, running infusions and additional doses to come",
        ),
    ],
)
def test_doses_in_words(regimen, words):
    assert words in lines(regimen.sample(500))[0]


def test_a_reset_says_what_it_cancels():
    text = "\n".join(
        lines(Regimen(times=[60]).dose(100, rate=50, ii=24, addl=6).dose(10, 29, rate=5).reset(30))
    )
    assert "from 24 to 144 h (row 3 cancels those then still to come)" in text
    assert "from 29 to 31 h at 5 mg/h (cut short by row 3)" in text
    assert "from 0 to 2 h at 50 mg/h;" in text


def test_samples_covariates_and_other_events_in_words():
    frame = pd.DataFrame(
        {
            "ID": "A", "TIME": [-1, 0, 1, 2, 3, 4], "AMT": [0, 9, 0, 0, 0, 0], "EVID": [0, 1, 0, 2, 2, 0],
            "DV": [0, ".", 0.5, ".", ".", 3], "CENS": [0, 0, 1, 0, 0, 0], "MDV": [0, 1, 0, 1, 1, 1],
            "CMT": [2, 1, 2, ".", -1, 2], "WT": [70, 70, 70, 72, 72, 72], "SEX": "F",
        }
    )  # fmt: skip
    text = read_events(frame, covariates=["WT", "SEX"], units=UNITS).explain("A").splitlines()
    assert text[0] == "Subject A: 6 records, 1 dose, 2 samples; SEX F"
    assert text[1].endswith("sample of compartment 2: DV 0 mg/L, before any dose; WT is 70 kg")
    assert text[3].endswith("sample of compartment 2: DV below the limit 0.5 mg/L, 1 h after the last dose")
    assert text[4].endswith("other event (EVID 2): nothing is given or sampled; WT is 72 kg")
    assert text[5].endswith("compartment 1 is switched off")
    assert text[6].endswith("no sample (MDV 1): nothing happens")


def test_an_unknown_subject_is_refused():
    with pytest.raises(ValueError, match=r"no subject '2'.*There are: 1\."):
        Regimen(times=[1]).dose(1).to_events().explain(2)
