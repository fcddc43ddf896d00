"""Regimen: doses and sampling times written by hand -> EventTable."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from popbayes.data.events import EventTable, read_events

_ORDER = {3: 0, 4: 1, 1: 1, 0: 2, 2: 3}
_ITEMS = ("TIME", "EVID", "AMT", "CMT", "RATE", "II", "ADDL", "SS", "DVID")


@dataclass(frozen=True)
class Regimen:
    """Doses and sampling times of a subject, written one after the other; every method returns a new regimen.

    Records are put in order of time; at equal times resets come first, then doses, then samples, so that a
    sample at the time of a dose sees it. For a trough, sample a moment before.

    Parameters
    ----------
    times : sampling times
    covariates : name -> value for all subjects, or a sequence with one value per subject; nan or None where
        it is unknown, and is to be drawn from a model that imputes it

    Examples
    --------
    >>> design = Regimen(times=[1, 2, 4, 8, 24]).dose(100, ii=24, addl=6).to_events()
    >>> design.n_obs, design.n_dose
    (5, 1)
    """

    times: Any = ()
    covariates: Mapping[str, Any] = field(default_factory=dict)
    records: tuple[tuple[Any, ...], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "times", tuple(_floats(self.times, "times").tolist()))
        object.__setattr__(self, "covariates", dict(self.covariates))

    def dose(
        self,
        amt: float,
        time: float | Iterable[float] = 0.0,
        cmt: str | int = "",
        rate: float = 0.0,
        ii: float = 0.0,
        addl: int = 0,
        ss: int = 0,
        evid: int = 1,
    ) -> Regimen:
        """Give a dose, at one time or at several.

        Parameters
        ----------
        amt : amount; 0 only for a constant infusion at steady state
        time : when
        cmt : compartment, by number or name; empty for the model's default
        rate : rate of infusion; 0 for a bolus, -1 or -2 where the model gives the rate or the duration
        ii, addl : time between doses, and number of doses after this one
        ss : 1 for a dose at steady state with interval `ii`, 2 to add the steady state to what is there
        evid : 1, or 4 to empty the system first
        """
        if evid not in (1, 4):
            raise ValueError(
                f"A dose has evid 1, or 4 to reset the system first, not {evid}. Use reset() for evid 3."
            )
        return self._with((t, evid, amt, str(cmt), rate, ii, addl, ss, 0) for t in _floats(time, "time"))

    def sample(self, times: float | Iterable[float], cmt: str | int = "", dvid: int = 1) -> Regimen:
        """Take samples at these times, of an output (`dvid`) or a compartment (`cmt`)."""
        return self._with((t, 0, 0.0, str(cmt), 0.0, 0.0, 0, 0, dvid) for t in _floats(times, "times"))

    def reset(self, time: float) -> Regimen:
        """Empty the system: amounts become 0; infusions and additional doses to come are cancelled."""
        return self._with((t, 3, 0.0, "", 0.0, 0.0, 0, 0, 0) for t in _floats(time, "time"))

    def off(self, time: float, cmt: str | int) -> Regimen:
        """Turn a compartment off: it is emptied, and stays empty until a dose or `on`."""
        return self._with((t, 2, 0.0, f"-{cmt}", 0.0, 0.0, 0, 0, 0) for t in _floats(time, "time"))

    def on(self, time: float, cmt: str | int) -> Regimen:
        """Turn a compartment on again."""
        return self._with((t, 2, 0.0, str(cmt), 0.0, 0.0, 0, 0, 0) for t in _floats(time, "time"))

    def to_events(
        self,
        subjects: int | Iterable[Any] = 1,
        *,
        units: Mapping[str, Any] | None = None,
        name: str = "",
    ) -> EventTable:
        """Return the event table of this regimen, without observed values.

        Parameters
        ----------
        subjects : how many (labelled 1, 2, ...), or their labels
        units, name : as in `read_events`

        Raises
        ------
        ValueError
            For doses that cannot be (see `read_events`; the row counts the records in order of time).
        """
        labels = np.arange(1, subjects + 1) if isinstance(subjects, int) else np.asarray(list(subjects))
        if len(np.unique(labels)) != len(labels):
            raise ValueError("Every subject needs a label of its own; one is given twice.")
        return _read(self._columns(labels), list(self.covariates), units, name)

    def __repr__(self) -> str:
        start = f"Regimen(times={list(self.times)}, covariates={self.covariates})"
        return start + "".join(_call(*record) for record in self.records)

    def __str__(self) -> str:
        """What happens to the first subject; the calls that made it, for a regimen that cannot be given."""
        subjects = max([1, *(np.size(value) for value in self.covariates.values())])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return self.to_events(subjects).explain(1)
        except ValueError:
            return repr(self)

    def _with(self, records: Iterable[tuple[Any, ...]]) -> Regimen:
        return replace(self, records=(*self.records, *records))

    def _columns(self, labels: np.ndarray) -> dict[str, np.ndarray]:
        """Columns of the records of every subject, in order."""
        samples = [(t, 0, 0.0, "", 0.0, 0.0, 0, 0, 1) for t in self.times]
        records = sorted([*self.records, *samples], key=lambda r: (r[0], _ORDER[r[1]]))
        if not records or len(labels) == 0:
            raise ValueError("The regimen is empty. Add doses with dose() and sampling times with sample().")
        n = len(labels)
        columns = {"ID": np.repeat(labels, len(records))}
        for name, item in zip(_ITEMS, zip(*records, strict=True), strict=True):
            columns[name] = np.tile(np.array(item), n)
        for name, value in self.covariates.items():
            columns[name] = np.repeat(_per_subject(name, value, n), len(records))
        return columns


def regimens(
    table: Mapping[Any, Regimen], *, units: Mapping[str, Any] | None = None, name: str = ""
) -> EventTable:
    """Return one event table of several subjects, each with a regimen of its own.

    Parameters
    ----------
    table : label of the subject -> its regimen; all need the same covariates
    units, name : as in `read_events`
    """
    if not table:
        raise ValueError("There are no regimens. Give a mapping of subject label -> Regimen.")
    names = list(next(iter(table.values())).covariates)
    for label, regimen in table.items():
        if set(regimen.covariates) != set(names):
            raise ValueError(
                f"All regimens need the same covariates ({', '.join(names) or 'none'}); "
                f"subject {label} has {', '.join(regimen.covariates) or 'none'}."
            )
    parts = [regimen._columns(np.array([label])) for label, regimen in table.items()]
    columns = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return _read(columns, names, units, name)


def as_events(design: EventTable | Regimen) -> EventTable:
    """Return an event table as it is, and a regimen as the event table of one subject."""
    if isinstance(design, EventTable):
        return design
    if isinstance(design, Regimen):
        return design.to_events()
    raise TypeError(
        f"Expected an EventTable or a Regimen, after the model; not {type(design).__name__}. Use read_events "
        "for a table."
    )


def _read(
    columns: dict[str, np.ndarray], covariates: list[str], units: Mapping[str, Any] | None, name: str
) -> EventTable:
    table_of = pd.DataFrame(columns)
    unknown = [one for one in covariates if table_of[one].isna().any()]
    table = read_events(table_of, covariates=covariates, units=units, name=name, missing=unknown)
    return replace(table, source="Regimen")


def _call(
    time: float, evid: int, amt: float, cmt: str, rate: float, ii: float, addl: int, ss: int, dvid: int
) -> str:
    """The call that adds a record, without the arguments that say nothing."""
    if evid == 3:
        return f".reset({time})"
    if evid == 2:
        return f".off({time}, {cmt[1:]!r})" if cmt.startswith("-") else f".on({time}, {cmt!r})"
    named = {"cmt": cmt, "rate": rate, "ii": ii, "addl": addl, "ss": ss}
    named |= {"dvid": 0 if dvid == 1 else dvid, "evid": 0 if evid == 1 else evid}
    options = "".join(f", {key}={value!r}" for key, value in named.items() if value)
    return f".sample({time}{options})" if evid == 0 else f".dose({amt}, time={time}{options})"


def _floats(value: Any, name: str) -> np.ndarray:
    try:
        array = np.asarray(value if np.ndim(value) == 0 else list(value), dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be finite numbers; got {value!r}.") from None
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite numbers; got {value!r}.")
    return np.atleast_1d(array).ravel()


def _per_subject(name: str, value: Any, n: int) -> np.ndarray:
    array = np.asarray(value)
    if array.ndim == 0:
        return np.full(n, value)
    if array.shape != (n,):
        raise ValueError(
            f"The covariate {name} has {array.size} values for {n} subject(s). "
            f"Give one value, or one per subject: regimen.to_events({array.size})."
        )
    return array
