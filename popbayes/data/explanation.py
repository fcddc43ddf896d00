"""What happens to one subject, record by record, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from popbayes.data.summaries import with_unit

if TYPE_CHECKING:
    from popbayes.data.events import EventTable


def explain(table: EventTable, subject: int) -> str:
    """Text of one line per record of the subject with this index."""
    records = np.flatnonzero(table.record_subject == subject).tolist()
    unit = table.units.get("TIME", "")
    fixed = [
        f"{c} {_covariate(table, c, records[0])}" for c in table.covariates if c not in table.time_varying
    ]
    n_dose, n_obs = int(table.is_dose[records].sum()), int(table.is_obs[records].sum())
    counts = ", ".join([_count(len(records), "record"), _count(n_dose, "dose"), _count(n_obs, "sample")])
    lines = [f"Subject {table.subjects[subject]}: " + "; ".join([counts, *fixed])]
    for record in records:
        when = with_unit(table.time[record], unit)
        lines.append(
            f"  row {table.row[record]:<4} time {when:<9} {_event(table, record)}"
            f"{_changes(table, record, records)}"
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
    unit, tad = table.dv_unit([int(table.dvid[record])]), table.tad[record]
    when = (
        "before any dose"
        if np.isnan(tad)
        else f"{with_unit(tad, table.units.get('TIME', ''))} after the last dose"
    )
    words = {1: "below the limit ", -1: "above the limit "}.get(int(table.cens[record]), "")
    dv = table.dv[record]
    value = "" if np.isnan(dv) else f": DV {words}{with_unit(dv, unit)}"
    output = f", output {table.dvid[record]}" if len(np.unique(table.dvid[table.is_obs])) > 1 else ""
    return f"sample{_where(table, record, ' of ')}{output}{value}, {when}"


def _other(table: EventTable, record: int) -> str:
    if table.turns_off[record]:
        return f"compartment {table.cmt[record][1:]} is switched off"
    if table.cmt[record] and table.turns_off.any():
        return f"compartment {table.cmt[record]} is switched on"
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
        end, stop = time + amt / rate, _canceller(table, record)
        span = f"from {time:.6g} to {with_unit(end, per)} at {with_unit(rate, rates)}"
        cut = f" (cut short by row {table.row[stop]})" if stop is not None and table.time[stop] < end else ""
        text = f"infusion of {with_unit(amt, unit)}{into} {span}{cut}"
    elif rate < 0:
        what = "rate" if rate == -1 else "duration"
        start = with_unit(time, per)
        text = f"infusion of {with_unit(amt, unit)}{into} from {start}; the model gives its {what}"
    return _steady(table, record, per) + text + _additional(table, record, per)


def _steady(table: EventTable, record: int, unit: str) -> str:
    every = f"every {with_unit(table.ii[record], unit)}"
    return {
        0: "",
        1: f"steady state, as if this dose had always been given {every} (what was there is forgotten); ",
        2: f"steady state of this dose {every} is added to what is there; ",
    }[int(table.ss[record])]


def _additional(table: EventTable, record: int, unit: str) -> str:
    addl, ii = int(table.addl[record]), table.ii[record]
    if addl == 0:
        return ""
    first, last = table.time[record] + ii, table.time[record] + addl * ii
    text = (
        f"; {addl} additional doses every {with_unit(ii, unit)}, from {first:.6g} to {with_unit(last, unit)}"
    )
    if addl == 1:
        text = f"; 1 additional dose at {with_unit(first, unit)}"
    stop = _canceller(table, record)
    if stop is None or table.time[stop] > last:
        return text
    return f"{text} (row {table.row[stop]} cancels those then still to come)"


def _canceller(table: EventTable, record: int) -> int | None:
    """Next record of the subject that empties the system: a reset, or a dose at steady state."""
    empties = (table.evid >= 3) | (table.is_dose & (table.ss == 1))
    later = np.flatnonzero(empties & (table.record_subject == table.record_subject[record]))
    later = later[later > record]
    return int(later[0]) if len(later) else None


def _where(table: EventTable, record: int, word: str) -> str:
    cmt = str(table.cmt[record])
    if cmt == "":
        return ""
    return f"{word}compartment {cmt}" if cmt.lstrip("-").isdigit() else f"{word}{cmt}"


def _covariate(table: EventTable, name: str, record: int) -> str:
    value = table.covariates[name][record]
    if value == "" or (isinstance(value, float) and value != value):
        return "missing"
    return with_unit(value, table.units.get(name, "")) if isinstance(value, float) else str(value)


def _changes(table: EventTable, record: int, records: list[int]) -> str:
    """The time-varying covariates, where they are given first and where they change."""
    first = record == records[0]
    changed = [
        n
        for n in table.time_varying
        if first or table.covariates[n][record] != table.covariates[n][record - 1]
    ]
    return "".join(f"; {n} is {_covariate(table, n, record)}" for n in changed)


def _count(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
