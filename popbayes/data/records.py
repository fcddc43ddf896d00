"""A named table -> the arrays of an event table: typed, completed as NONMEM does, grouped, checked."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import numpy as np
import pandas as pd

from popbayes.data import checks
from popbayes.data.columns import Naming
from popbayes.data.complaints import Places, refuse
from popbayes.data.values import compartments, covariate, labels, numbers, whole

EVID = (0, 1, 2, 3, 4)
EVID_REMEDY = (
    "0 sample, 1 dose, 2 other event, 3 reset, 4 reset and dose. RxODE's old codes, such as 101, become "
    "EVID 1 with the compartment in CMT."
)

SS_REMEDY = (
    "0 none, 1 steady state, 2 steady state added to what is there. If the column means something else, "
    "leave it out: columns={'SS': None}."
)
NO_DOSES = (
    " The table has no AMT column (and no EVID), so every record is a sample: name the column of the doses, "
    "columns={'DOSE': 'AMT'} for example."
)
CENS_REMEDY = "1 below the limit in DV, -1 above it, 0 measured."


@dataclass(frozen=True)
class Records:
    """Arrays (n_record,) in the order of the event table; see `EventTable` for their meaning."""

    subjects: np.ndarray
    record_subject: np.ndarray
    row: np.ndarray
    column: dict[str, np.ndarray]
    covariates: dict[str, np.ndarray]
    time_varying: tuple[str, ...]


def collect(table: pd.DataFrame, row: np.ndarray, naming: Naming, may_miss: Container[str] = ()) -> Records:
    """Turn a table into checked records.

    EVID and MDV are derived where the file does not give them, as NONMEM does: a record with an amount is a
    dose (EVID 1), other records are samples (EVID 0; EVID 2 with MDV 1); MDV is 0 for EVID 0 and 1 otherwise.

    Raises
    ------
    ValueError
        For every record that cannot be: see `popbayes.data.checks`.
    """
    at = Places(row)
    label = labels(table[naming.standard["ID"]], at)
    at = Places(row, label)
    code, subjects = pd.factorize(label)
    checks.warn_scattered(code, at)
    order = np.argsort(code, kind="stable")
    table, at, code = table.iloc[order], at.take(order), code[order].astype(np.int64)
    given = _given(table, naming, at)
    column = _derive(given, at)
    checks.check_time(column, code, at)
    checks.check_doses(column, at)
    checks.warn_late(column, code, at)
    hint = "" if {"AMT", "EVID"} & given.keys() else NO_DOSES
    checks.check_observations(column, code, at, design="DV" not in given, hint=hint)
    column["DV"] = np.where(_observed(column), column["DV"], np.nan)
    covariates = {
        name: covariate(table[user], name, at, name in may_miss) for name, user in naming.covariates.items()
    }
    checks.check_missing(covariates, code, at)
    checks.warn_missing_codes(covariates, at)
    varying = tuple(name for name, value in covariates.items() if checks.varies(value, code))
    return Records(np.asarray(subjects), code, at.row, column, covariates, varying)


def _given(table: pd.DataFrame, naming: Naming, at: Places) -> dict[str, np.ndarray]:
    """Arrays of the columns that the file has; numbers with nan for what is missing."""
    given = {
        name: numbers(table[user], name, at)
        for name, user in naming.standard.items()
        if name not in ("ID", "CMT")
    }
    if "CMT" in naming.standard:
        given["CMT"] = compartments(table[naming.standard["CMT"]], at)
    return given


def _derive(given: dict[str, np.ndarray], at: Places) -> dict[str, np.ndarray]:
    """Complete the columns: every one present, no value missing except DV, LIMIT and LLOQ."""
    n = len(at.row)
    absent = np.full(n, np.nan)
    column = {"TIME": given["TIME"], "DV": given.get("DV", absent)}
    column |= {name: _filled(given, name, n) for name in ("AMT", "II", "SS", "ADDL", "CENS")}
    column["RATE"] = _rate(given, column["AMT"], at)
    column["SS"] = whole(column["SS"], "SS", at, (0, 1, 2), SS_REMEDY)
    column["ADDL"] = whole(column["ADDL"], "ADDL", at, (), "It counts the doses after this one.")
    column["EVID"] = _evid(given, column, at)
    column["MDV"] = _mdv(given, column["EVID"], at)
    column["DVID"] = _dvid(given, _observed(column), at)
    cens = whole(column["CENS"], "CENS", at, (-1, 0, 1), CENS_REMEDY)
    column["CENS"] = np.where(_observed(column), cens, 0)
    column["LIMIT"], column["LLOQ"] = given.get("LIMIT", absent), given.get("LLOQ", absent)
    if "BLQ" in given:
        _below(given["BLQ"], column, at)
    column["CMT"] = given.get("CMT", np.full(n, ""))
    if "OCC" in given:
        column["OCC"] = whole(given["OCC"], "OCC", at, (), "Number the occasions on every record.")
    return column


def _below(flag: np.ndarray, column: dict[str, np.ndarray], at: Places) -> None:
    """Samples flagged as below the limit become CENS 1 with the limit (LLOQ) as DV, whatever DV was."""
    flag = whole(np.nan_to_num(flag), "BLQ", at, (0, 1), "1 below the limit in LLOQ, 0 measured.")
    below = (flag == 1) & _observed(column)
    remedy = "Give the limit in a column LLOQ, or write CENS 1 with the limit in DV."
    refuse(below & np.isnan(column["LLOQ"]), at, "A sample with BLQ 1 needs its limit", remedy)
    refuse(
        below & (column["CENS"] == -1),
        at,
        "BLQ 1 (below) and CENS -1 (above) cannot both hold",
        "Correct one.",
    )
    column["CENS"] = np.where(below, 1, column["CENS"])
    column["DV"] = np.where(below, column["LLOQ"], column["DV"])


def _observed(column: dict[str, np.ndarray]) -> np.ndarray:
    return (column["EVID"] == 0) & (column["MDV"] == 0)


def _filled(given: dict[str, np.ndarray], name: str, n: int) -> np.ndarray:
    value = given.get(name)
    return np.zeros(n) if value is None else np.where(np.isnan(value), 0.0, value)


def _rate(given: dict[str, np.ndarray], amt: np.ndarray, at: Places) -> np.ndarray:
    """RATE, from the duration of the infusion where the file gives that instead."""
    n = len(amt)
    rate, duration = _filled(given, "RATE", n), _filled(given, "DUR", n)
    odd = ~(np.isfinite(duration) & (duration >= 0))
    refuse(
        odd,
        at,
        "DUR must be finite and not negative",
        "It is the length of the infusion; 0 is a bolus.",
        duration,
    )
    both = (rate != 0) & (duration > 0)
    refuse(both, at, "RATE and DUR cannot both be given", "Drop one: RATE = AMT / DUR.", duration, "has DUR")
    return np.divide(amt, duration, out=rate, where=duration > 0)


def _evid(given: dict[str, np.ndarray], column: dict[str, np.ndarray], at: Places) -> np.ndarray:
    constant = (column["SS"] > 0) & (column["RATE"] != 0)
    dose = (column["AMT"] != 0) | constant
    no_dv = np.nan_to_num(given.get("MDV", np.zeros(len(dose)))) == 1
    derived = np.where(dose, 1.0, np.where(no_dv, 2.0, 0.0))
    evid = given.get("EVID", derived)
    evid = whole(np.where(np.isnan(evid), derived, evid), "EVID", at, EVID, EVID_REMEDY)
    gap = np.isin(evid, (1, 4)) & np.isnan(given.get("AMT", np.full(len(evid), np.nan))) & ~constant
    refuse(gap, at, "AMT must be there on a dose record", "Write the amount, or EVID 0 if nothing was given.")
    return evid


def _mdv(given: dict[str, np.ndarray], evid: np.ndarray, at: Places) -> np.ndarray:
    """MDV; a DV on a record that is not a sample is refused unless MDV 1 says that it is to be ignored."""
    derived = np.where(evid == 0, 0.0, 1.0)
    mdv = given.get("MDV", np.full(len(evid), np.nan))
    dv = given.get("DV", np.full(len(evid), np.nan))
    stated = mdv == 0
    valued = ~np.isnan(dv) & (stated | (np.isnan(mdv) & (dv != 0)))
    remedy = (
        "A dose carries no observation: write the sample on a record of its own with EVID 0, or MDV 1 to "
        "ignore the DV. If the amount is repeated on every line, keep it on the dose only; if the column is "
        "a covariate, name it in covariates."
    )
    refuse((evid != 0) & valued, at, "Only a sample (EVID 0) may have MDV 0 and a DV", remedy, dv, "has DV")
    mdv = whole(np.where(np.isnan(mdv), derived, mdv), "MDV", at, (0, 1), "0 the DV counts, 1 it is missing.")
    return np.where(evid == 0, mdv, 1)


def _dvid(given: dict[str, np.ndarray], observed: np.ndarray, at: Places) -> np.ndarray:
    if "DVID" not in given:
        return observed.astype(np.int64)
    dvid = given["DVID"]
    gap = observed & np.isnan(dvid)
    refuse(gap, at, "DVID must be given on every sample", "Say which output was measured: 1, 2, ...")
    return whole(np.where(np.isnan(dvid), 0, dvid), "DVID", at, (), "Number the outputs 1, 2, ...")
