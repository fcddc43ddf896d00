"""What happens to one subject, record by record, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from popbayes.data.summaries import with_unit

if TYPE_CHECKING:
    from popbayes.data.events import EventTable


def explain(table: EventTable, subject: int) -> str:
    """Text of one line per record of the subject with this index."""
    records = np.flatnonzero(table.record_subject == subject)
    unit = table.units.get("TIME", "")
    fixed = [
        f"{c} {_covariate(table, c, records[0])}" for c in table.covariates if c not in table.time_varying
    ]
    n_dose, n_obs = int(table.is_dose[records].sum()), int(table.is_obs[records].sum())
    counts = f"{len(records)} records: {n_dose} dose(s), {n_obs} sample(s)"
    lines = [f"Subject {table.subjects[subject]}: " + "; ".join([counts, *fixed])]
    for record in records:
        when = with_unit(table.time[record], unit)
        lines.append(
            f"  row {table.row[record]:<4} time {when:<9} {_event(table, record)}{_changes(table, record, records)}"
        )
    if n_dose:
        lines.append(
            "Times are those of the records: a lag time or a bioavailability of the model acts on them."
        )
    return "\n".join(lines)


def _event(table: EventTable, record: int) -> str:
    evid = int(table.evid[record])
    if table.is_obs[record]:
        return _sample(table, record)
    if evid == 0:
        return "no sample (MDV 1): nothing happens"
    if evid == 2:
        return _other(table, record)
    reset = "reset: all amounts become 0, running infusions and additional doses to come are cancelled"
    if evid == 3:
        return reset
    return f"{reset}; then {_dose(table, record)}" if evid == 4 else _dose(table, record)


def _sample(table: EventTable, record: int) -> str:
    unit, tad = table.units.get("DV", ""), table.tad[record]
    when = (
        "before any dose"
        if np.isnan(tad)
        else f"{with_unit(tad, table.units.get('TIME', ''))} after the last dose"
    )
    words = {1: "below the limit ", -1: "above the limit "}.get(int(table.cens[record]), "")
    dv = table.dv[record]
    value = "no value (a design)" if np.isnan(dv) else f"DV {words}{with_unit(dv, unit)}"
    output = f", output {table.dvid[record]}" if len(np.unique(table.dvid[table.is_obs])) > 1 else ""
    return f"sample{_where(table, record, ' of ')}{output}: {value}, {when}"


def _other(table: EventTable, record: int) -> str:
    if table.cmt[record].startswith("-"):
        return f"compartment {table.cmt[record][1:]} is switched off"
    return "other event (EVID 2): nothing is given or sampled"


def _dose(table: EventTable, record: int) -> str:
    amt, rate, time = table.amt[record], table.rate[record], table.time[record]
    unit, per = table.units.get("AMT", ""), table.units.get("TIME", "")
    into = _where(table, record, " into ")
    rates = f"{unit}/{per}" if unit and per else ""
    if amt == 0 and table.ss[record]:
        pace = "at a rate that the model gives" if rate < 0 else f"at {with_unit(rate, rates)}"
        return f"steady state of a constant infusion{into} {pace}, which ends here"
    text = f"dose of {with_unit(amt, unit)} added{into}"
    if rate > 0:
        end = with_unit(time + amt / rate, per)
        text = (
            f"infusion of {with_unit(amt, unit)}{into} from {time:.6g} to {end} at {with_unit(rate, rates)}"
        )
    elif rate < 0:
        what = "rate" if rate == -1 else "duration"
        text = f"infusion of {with_unit(amt, unit)}{into} from {with_unit(time, per)}; the model gives its {what}"
    return _steady(table, record, per) + text + _additional(table, record, per)


def _steady(table: EventTable, record: int, unit: str) -> str:
    every = f"every {with_unit(table.ii[record], unit)}"
    return {
        0: "",
        1: f"steady state, as if this dose had always been given {every} (what was there before is forgotten); ",
        2: f"steady state of this dose {every} is added to what is there; ",
    }[int(table.ss[record])]


def _additional(table: EventTable, record: int, unit: str) -> str:
    addl, ii = int(table.addl[record]), table.ii[record]
    if addl == 0:
        return ""
    first, last = table.time[record] + ii, table.time[record] + addl * ii
    if addl == 1:
        return f"; 1 additional dose at {with_unit(first, unit)}"
    return (
        f"; {addl} additional doses every {with_unit(ii, unit)}, from {first:.6g} to {with_unit(last, unit)}"
    )


def _where(table: EventTable, record: int, word: str) -> str:
    cmt = str(table.cmt[record])
    if cmt == "":
        return ""
    return f"{word}compartment {cmt}" if cmt.lstrip("-").isdigit() else f"{word}{cmt}"


def _covariate(table: EventTable, name: str, record: int) -> str:
    value = table.covariates[name][record]
    return with_unit(value, table.units.get(name, "")) if isinstance(value, float) else str(value)


def _changes(table: EventTable, record: int, records: np.ndarray) -> str:
    """The time-varying covariates, where they are given first and where they change."""
    first = record == records[0]
    changed = [
        n
        for n in table.time_varying
        if first or table.covariates[n][record] != table.covariates[n][record - 1]
    ]
    return "".join(f"; {n} is {_covariate(table, n, record)}" for n in changed)
