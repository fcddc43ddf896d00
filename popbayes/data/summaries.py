"""What an event table says of itself when it is printed: text in a terminal, HTML in a notebook."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from popbayes.data.values import missing

if TYPE_CHECKING:
    from popbayes.data.events import EventTable

MAX_LEVELS = 5
LEFT = "style='text-align:left'"


def text(table: EventTable) -> str:
    """Lines of label and value."""
    rows = _rows(table)
    width = max(len(label) for label, _ in rows)
    return "\n".join([_title(table), *(f"  {label:<{width}}  {value}" for label, value in rows)])


def html(table: EventTable) -> str:
    """A small HTML table."""
    cells = "".join(
        f"<tr><th {LEFT}>{escape(label)}</th><td {LEFT}>{escape(value)}</td></tr>"
        for label, value in _rows(table)
    )
    return f"<div><strong>{escape(_title(table))}</strong><table>{cells}</table></div>"


def with_unit(value: float, unit: str) -> str:
    """A number with its unit, where there is one."""
    return f"{value:.6g} {unit}".rstrip()


def _title(table: EventTable) -> str:
    return f"EventTable: {table.name}" if table.name else "EventTable"


def _rows(table: EventTable) -> list[tuple[str, str]]:
    rows = [
        ("Subjects", str(table.n_subject)),
        ("Doses", _doses(table)),
        ("Observations", _observations(table)),
    ]
    blq = _blq(table)
    if blq:
        rows.append(("BLQ", blq))
    other = {2: "other", 3: "reset", 4: "reset and dose"}
    counts = [
        f"{int((table.evid == e).sum())} {word} (EVID {e})"
        for e, word in other.items()
        if (table.evid == e).any()
    ]
    if counts:
        rows.append(("Events", ", ".join(counts)))
    unit = table.units.get("TIME", "")
    rows.append(("Time", f"{table.time.min():.6g} to {with_unit(table.time.max(), unit)}"))
    if table.occ is not None:
        rows.append(("Occasions", ", ".join(map(str, np.unique(table.occ)))))
    rows += [(f"Covariate {name}", _covariate(table, name)) for name in table.covariates]
    renamed = [f"{user} -> {name}" for name, user in table.columns.items() if user != name]
    if renamed:
        rows.append(("Columns read as", ", ".join(renamed)))
    if table.unused:
        rows.append(("Columns not read", ", ".join(table.unused)))
    if table.source:
        rows.append(("Source", table.source))
    return rows


def _doses(table: EventTable) -> str:
    dose = table.is_dose
    if not dose.any():
        return "none"
    amt = table.amt[dose]
    span = f"{amt.min():.6g}" if amt.min() == amt.max() else f"{amt.min():.6g} to {amt.max():.6g}"
    words = [f"{table.n_dose} records of {span} {table.units.get('AMT', '')}".rstrip()]
    kinds = {
        "infusions": int((table.rate[dose] != 0).sum()),
        "at steady state": int((table.ss[dose] > 0).sum()),
        "additional doses": int(table.addl[dose].sum()),
    }
    return "; ".join(words + [f"{count} {kind}" for kind, count in kinds.items() if count])


def _observations(table: EventTable) -> str:
    if table.n_obs == 0:
        return "none"
    count = np.bincount(table.obs_subject, minlength=table.n_subject)
    span = f"{count.min()}" if count.min() == count.max() else f"{count.min()} to {count.max()}"
    words = [str(table.n_obs), f"{span} per subject"]
    outputs = np.unique(table.dvid[table.is_obs])
    dvid = table.dvid[table.is_obs]
    if len(outputs) > 1:
        words.append("DVID " + ", ".join(f"{d}: {int((dvid == d).sum())}" for d in outputs))
    if not table.has_dv:
        return "; ".join([*words, "a design, no values"])
    spans = [_span(table.obs_dv[dvid == d], table.dv_unit([d])) for d in outputs]
    if len(outputs) > 1:
        spans = [f"{d}: {span}" for d, span in zip(outputs, spans, strict=True)]
    return "; ".join([*words, f"DV {', '.join(spans)}"])


def _span(value: np.ndarray, unit: str) -> str:
    return f"{value.min():.6g} to {with_unit(value.max(), unit)}"


def _blq(table: EventTable) -> str:
    if table.n_obs == 0:
        return ""
    cens = table.cens[table.is_obs]
    below = cens == 1
    with np.errstate(invalid="ignore"):
        unmarked = (table.obs_dv < table.lloq[table.is_obs]) & (cens == 0)
    words = [f"{int(below.sum())} of {table.n_obs} ({100 * below.mean():.1f} %)"] if below.any() else []
    if unmarked.any():
        words.append(f"{int(unmarked.sum())} of {table.n_obs} below LLOQ, not marked by CENS 1")
    if (cens == -1).any():
        words.append(f"{int((cens == -1).sum())} above a limit")
    return ", ".join(words)


def _covariate(table: EventTable, name: str) -> str:
    value = table.covariates[name]
    varying = "; time-varying" if name in table.time_varying else ""
    gone = table.missing_subjects(name)
    varying += f"; missing in {gone.sum()} subjects" if gone.any() else ""
    known = ~missing(value)
    if not known.any():
        return f"missing{varying}"
    if value.dtype.kind == "f":
        low, high = value[known].min(), value[known].max()
        span = "" if low == high else f"{low:.6g} to "
        return f"{span}{with_unit(high, table.units.get(name, ''))}{varying}"
    owner = table.record_subject[known].tolist()
    pairs = {(s, v) for s, v in zip(owner, value[known].tolist(), strict=True)}
    levels, count = np.unique([v for _, v in pairs], return_counts=True)
    shown = [f"{level} ({n})" for level, n in zip(levels[:MAX_LEVELS], count[:MAX_LEVELS], strict=True)]
    more = ["..."] if len(levels) > MAX_LEVELS else []
    return f"{', '.join(shown + more)} subjects{varying}"
