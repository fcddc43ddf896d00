"""What a record can be: every refusal and warning about values that are numbers but make no sense.

All functions are vectorised over records (n_record,) and name the first record at fault.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from popbayes.data.complaints import Places, refuse, say, warn
from popbayes.data.values import missing

DOSE_ITEMS = ("AMT", "RATE", "II", "ADDL", "SS")
FAR = 10.0
"""Times the span of a subject's records: an II beyond it may be in minutes where TIME is in hours."""
BLQ_FLAGS = ("BLQ_FLAG", "BLQFLAG", "BLQFN", "BLQFL", "ISBLQ")
SAME = 1e-9
"""Relative difference of two numbers of a file that mean the same."""
MISSING_CODES = (-99.0, -999.0, -9999.0)

Columns = dict[str, np.ndarray]


def warn_scattered(code: np.ndarray, at: Places) -> None:
    """Warn where the records of a subject are not together: they are read as one subject."""
    start = np.r_[True, code[1:] != code[:-1]]
    again = start & pd.Series(code).duplicated().to_numpy()
    remedy = "They are put together, in the order of the file. Give different subjects different IDs."
    warn(again, at, "The records of a subject should stand together", remedy, at.subject, "returns to ID")


def check_time(column: Columns, code: np.ndarray, at: Places) -> None:
    """TIME is there, finite, does not decrease but at a reset, and is negative only before the first dose."""
    time, evid = column["TIME"], column["EVID"]
    refuse(
        ~np.isfinite(time), at, "TIME must be there and finite", "Write the hours since the first dose.", time
    )
    back = np.r_[False, (time[1:] < time[:-1]) & (code[1:] == code[:-1])] & ~np.isin(evid, (3, 4))
    remedy = "Sort the table by ID and TIME, or start a new period with EVID 3 or 4."
    refuse(back, at, "TIME must not decrease within a subject", remedy, time, "goes back to")
    begun = _ever_before(np.isin(evid, (1, 3, 4)), code)
    refuse(
        (time < 0) & begun,
        at,
        "TIME must not be negative, except of a sample before the first dose",
        "Count the time of each subject from the first dose.",
        time,
    )


def check_doses(column: Columns, at: Places) -> None:
    """Amounts, rates, intervals and steady states are possible; dose items stand on dose records only."""
    amt, rate, ii, addl, ss = (column[k] for k in DOSE_ITEMS)
    dose = np.isin(column["EVID"], (1, 4))
    _check_dose_numbers(amt, rate, ii, addl, at)
    remedy = "Make it a dose (EVID 1 or 4), or write 0."
    refuse(~dose & (amt != 0), at, "AMT belongs to a dose record", remedy, amt)
    idle = ~dose & ((rate != 0) | (ii != 0) | (addl != 0) | (ss != 0))
    warn(idle, at, "RATE, II, ADDL and SS count on dose records only", "They are ignored; write 0 there.")
    for name in ("RATE", "II", "ADDL", "SS"):
        column[name] = np.where(idle, 0, column[name])
    constant = dose & (amt == 0) & (ss > 0) & (rate != 0)
    _check_dose_schedule(column, dose, constant, at)
    empty = dose & (amt == 0) & ~constant
    refuse(
        empty & (rate > 0),
        at,
        "RATE needs an AMT",
        "An amount, or SS 1 for a constant infusion.",
        rate,
        "has RATE",
    )
    warn(empty, at, "A dose of AMT 0 adds nothing", "It is kept; write the amount, or drop the record.")
    warn(
        _repeated(column, dose, at),
        at,
        "Identical dose records are all given",
        "Drop one if it is there by mistake.",
    )


def _check_dose_numbers(
    amt: np.ndarray, rate: np.ndarray, ii: np.ndarray, addl: np.ndarray, at: Places
) -> None:
    for name, value in (("AMT", amt), ("II", ii)):
        odd = ~np.isfinite(value) | (value < 0)
        refuse(odd, at, f"{name} must be finite and not negative", "Correct it; 0 or '.' means none.", value)
    odd = ~np.isfinite(rate) | ((rate < 0) & ~np.isin(rate, (-1, -2)))
    remedy = "0 is a bolus, more is an infusion; -1 (-2) lets the model give the rate (the duration)."
    refuse(odd, at, "RATE must be finite and not negative, or -1 or -2", remedy, rate)
    refuse(addl < 0, at, "ADDL must not be negative", "It counts the doses after this one.", addl)


def _check_dose_schedule(column: Columns, dose: np.ndarray, constant: np.ndarray, at: Places) -> None:
    """ADDL and SS have their interval; a steady-state constant infusion has none."""
    ii, addl, ss = column["II"], column["ADDL"], column["SS"]
    remedy = "Give the time between doses in II, or set ADDL to 0."
    refuse(dose & (addl > 0) & (ii == 0), at, "ADDL needs II > 0", remedy, addl, "has ADDL")
    remedy = "Give the time between doses in II; a constant infusion at steady state has AMT 0 and a RATE."
    refuse(dose & (ss > 0) & (ii == 0) & ~constant, at, "SS needs II > 0", remedy, ss, "has SS")
    remedy = "It runs without end before the record: set II and ADDL to 0, or give an AMT."
    refuse(
        constant & (ii > 0), at, "A constant infusion at steady state (AMT 0) has no II", remedy, ii, "has II"
    )
    unused = dose & (ii > 0) & (addl == 0) & (ss == 0)
    warn(unused, at, "II says nothing without ADDL or SS", "It is kept but has no effect.", ii, "has II")


def warn_late(column: Columns, code: np.ndarray, at: Places) -> None:
    """Warn of additional doses after all records, where II is far longer than these last together."""
    time, ii = column["TIME"], column["II"]
    last, first = np.full(code.max() + 1, -np.inf), np.full(code.max() + 1, np.inf)
    np.maximum.at(last, code, time)
    np.minimum.at(first, code, time)
    span = (last - first)[code]
    late = (column["ADDL"] > 0) & (time + ii > last[code]) & (ii > FAR * span) & (span > 0)
    remedy = "They do nothing. Is II in the unit of TIME?"
    warn(late, at, "All additional doses (ADDL) come after the subject's last record", remedy, ii, "has II")


def check_observations(column: Columns, code: np.ndarray, at: Places, design: bool, hint: str) -> None:
    """Samples have a finite DV, unless the table is a design; every subject has a sample.

    `hint` is told where a DV is missing: why records may have been read as samples.
    """
    dv, cens = column["DV"], column["CENS"]
    observed = (column["EVID"] == 0) & (column["MDV"] == 0)
    if not design:
        _check_dv(dv, cens, observed, at, hint)
    for name in ("LIMIT", "LLOQ"):
        infinite = np.isinf(column[name])
        refuse(infinite, at, f"{name} must be finite", "Write '.' where there is none.", column[name])
    crossed = observed & (cens == 1) & (column["LIMIT"] >= dv)
    remedy = "With CENS 1 the value lies between LIMIT and DV."
    refuse(crossed, at, "LIMIT must lie below DV", remedy, column["LIMIT"], "has LIMIT")
    other = observed & (cens == 1) & (np.abs(dv - column["LLOQ"]) > SAME * np.abs(column["LLOQ"]))
    remedy = (
        "CENS 1 takes DV for the limit: write LLOQ there, or BLQ 1 in place of CENS 1, or leave LLOQ out."
    )
    refuse(other, at, "A sample with CENS 1 has LLOQ in DV, where there is one", remedy, dv, "has DV")
    n_obs = np.bincount(code, weights=observed)
    first = np.r_[True, code[1:] != code[:-1]]
    remedy = "It tells nothing about the parameters."
    warn(first & (n_obs[code] == 0), at, "A subject has no observations", remedy)


def _check_dv(dv: np.ndarray, cens: np.ndarray, observed: np.ndarray, at: Places, hint: str) -> None:
    rule = "DV must be there on an observation record (EVID 0, MDV 0)"
    gap = observed & np.isnan(dv)
    refuse(gap & (cens != 0), at, rule, "A censored sample (CENS 1 or -1) has the limit in DV.")
    remedy = "Give the value, or write MDV 1 to skip the record. A design to simulate from has no DV column."
    refuse(gap, at, rule, remedy + hint)
    refuse(observed & np.isinf(dv), at, "DV must be finite", "Correct it, or write MDV 1.", dv)


def warn_missing_codes(covariates: Columns, at: Places) -> None:
    """Warn of -99 and its like in a covariate, which many files write for a missing value."""
    for name, value in covariates.items():
        if value.dtype.kind == "f":
            rule = f"The covariate {name} looks as if it were missing"
            warn(
                np.isin(value, MISSING_CODES),
                at,
                rule,
                "It is read as a number; impute it if it is not one.",
                value,
            )


def warn_unread(
    table: pd.DataFrame, unused: tuple[str, ...], silenced: tuple[str, ...], has_dv: bool
) -> None:
    """Warn where a column that is not read may be meant: a flag, records to be left out, an absent DV."""
    unread = [c for c in unused if c not in silenced]
    for name in unread:
        marked = np.zeros(1)
        if name.upper() in BLQ_FLAGS:
            marked = pd.to_numeric(table[name], errors="coerce").fillna(0).to_numpy()
        if marked.any():
            say(
                f"{name} marks {np.count_nonzero(marked)} records but is not read. If DV holds the limit on "
                f"them, write columns={{{name!r}: 'CENS'}}; columns={{{name!r}: None}} silences this."
            )
    if "C" in unread and (left := table["C"].astype(str).str.strip().str.upper() == "C").any():
        say(
            f"C marks {left.sum()} records, which are read all the same: NONMEM leaves them out with "
            "IGNORE=C. Take them out of the table, or rename the column."
        )
    if not has_dv and unread:
        say(
            "The table has no DV column and is read as a design, without observed values. If one of these "
            f"columns is the DV, map it, as columns={{'my_column': 'DV'}}: {', '.join(unread)}."
        )


def check_missing(covariates: Columns, code: np.ndarray, at: Places) -> None:
    """Refuse a covariate that is missing on some records of a subject and known on others."""
    for name, value in covariates.items():
        gone = missing(value)
        if not gone.any():
            continue
        some, every = (np.bincount(code, weights=one) > 0 for one in (gone, ~gone))
        refuse(
            gone & (some & every)[code],
            at,
            f"The covariate {name} is known on other records of this subject",
            "Fill it from them: only a value that is missing throughout a subject can be imputed.",
        )


def varies(value: np.ndarray, code: np.ndarray) -> bool:
    """Whether a covariate (n_record,) changes within a subject; `code` numbers the subjects 0, 1, ..."""
    first = np.flatnonzero(np.r_[True, code[1:] != code[:-1]])
    return bool(((value != value[first][code]) & ~missing(value)).any())


def _ever_before(event: np.ndarray, code: np.ndarray) -> np.ndarray:
    """Whether the subject has had the event at this record or before it."""
    count = np.cumsum(event)
    first = np.flatnonzero(np.r_[True, code[1:] != code[:-1]])
    return count - (count - event)[first][code] > 0


def _repeated(column: Columns, dose: np.ndarray, at: Places) -> np.ndarray:
    keys = ("TIME", "CMT", "EVID", *DOSE_ITEMS)
    frame = pd.DataFrame({"ID": at.subject, **{k: column[k] for k in keys}})
    repeated = np.zeros(len(frame), dtype=bool)
    repeated[dose] = frame.loc[dose].duplicated().to_numpy()
    return repeated
