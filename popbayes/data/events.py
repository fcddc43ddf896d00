"""The event table: NONMEM-style records, validated once.

Everything after this module may trust that an `EventTable` has its subjects together and their records in
time order, that doses and observations are told apart by EVID and MDV, and that no required value is missing.
Nothing after this module looks at a DataFrame.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from popbayes.data import checks, explanation, storage, summaries
from popbayes.data.columns import SYNONYMS, resolve, unknown
from popbayes.data.last_dose import time_after_dose
from popbayes.data.records import collect
from popbayes.data.tables import open_table
from popbayes.data.units import by_dvid, flat_units
from popbayes.data.values import missing as missing_values


@dataclass(frozen=True, eq=False, repr=False)
class EventTable:
    """Doses, samples and covariates of all subjects; made by `read_events`, `Regimen` or `load_dataset`.

    Subjects stand together, in the order in which they first appear; inside a subject the records keep the
    order of the file, and TIME does not decrease except at a reset (EVID 3 or 4). The arrays are read-only.

    Attributes
    ----------
    subjects : (n_subject,) labels, int64 or text
    record_subject : (n_record,) int64, index into `subjects`
    row : (n_record,) int64, data row in the user's table, from 1 (the first line below the header)
    time, amt, rate, ii : (n_record,) float64, 0 where absent
    dv : (n_record,) float64, nan where there is no observation
    evid, mdv, addl, ss, dvid : (n_record,) int64
    cmt : (n_record,) text: ``"2"``, ``"central"``, ``"-2"``; ``""`` is the default compartment
    occ : (n_record,) int64, or None
    cens : (n_record,) int64: 1 below the limit in DV, -1 above it, 0 measured
    limit, lloq : (n_record,) float64, nan where absent
    covariates : name -> (n_record,) float64 or text
    time_varying : the covariates that change within a subject
    units : name of a column or covariate -> unit; that of one DVID under "DV 1", "DV 2" ...
    name, source : what the data are, and where they come from
    columns : standard name or covariate -> the user's column
    unused : the user's columns that were not read
    """

    subjects: np.ndarray
    record_subject: np.ndarray
    row: np.ndarray
    time: np.ndarray
    amt: np.ndarray
    rate: np.ndarray
    ii: np.ndarray
    dv: np.ndarray
    evid: np.ndarray
    mdv: np.ndarray
    addl: np.ndarray
    ss: np.ndarray
    dvid: np.ndarray
    cmt: np.ndarray
    occ: np.ndarray | None
    cens: np.ndarray
    limit: np.ndarray
    lloq: np.ndarray
    covariates: dict[str, np.ndarray] = field(default_factory=dict)
    time_varying: tuple[str, ...] = ()
    units: dict[str, str] = field(default_factory=dict)
    name: str = ""
    source: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for array in (*(getattr(self, f.name) for f in fields(self)), *self.covariates.values()):
            if isinstance(array, np.ndarray):
                array.setflags(write=False)

    @property
    def n_subject(self) -> int:
        """Number of subjects."""
        return len(self.subjects)

    @property
    def n_record(self) -> int:
        """Number of records of any kind."""
        return len(self.time)

    @property
    def n_obs(self) -> int:
        """Number of observations."""
        return len(self.obs_record)

    @property
    def n_dose(self) -> int:
        """Number of dose records; additional doses (ADDL) are not counted."""
        return int(self.is_dose.sum())

    @cached_property
    def is_obs(self) -> np.ndarray:
        """Whether each record is an observation (EVID 0 and MDV 0)."""
        return (self.evid == 0) & (self.mdv == 0)

    @cached_property
    def is_dose(self) -> np.ndarray:
        """Whether each record is a dose (EVID 1 or 4)."""
        return (self.evid == 1) | (self.evid == 4)

    @cached_property
    def turns_off(self) -> np.ndarray:
        """Whether each record turns a compartment off (a negative CMT)."""
        return np.strings.startswith(self.cmt.astype(str), "-")

    @cached_property
    def obs_record(self) -> np.ndarray:
        """Record index of each observation, (n_obs,)."""
        return np.flatnonzero(self.is_obs).astype(np.int64)

    @cached_property
    def obs_subject(self) -> np.ndarray:
        """Subject index of each observation, (n_obs,)."""
        return self.record_subject[self.obs_record]

    @cached_property
    def obs_time(self) -> np.ndarray:
        """Time of each observation, (n_obs,)."""
        return self.time[self.obs_record]

    @cached_property
    def obs_dvid(self) -> np.ndarray:
        """Kind of each observation, (n_obs,)."""
        return self.dvid[self.obs_record]

    @cached_property
    def obs_dv(self) -> np.ndarray:
        """Observed value, (n_obs,); nan in a design."""
        return self.dv[self.obs_record]

    def dv_unit(self, dvid: Iterable[int] | None = None) -> str:
        """Unit of the observations of some DVIDs (None: of all); of several units "mg/L or %"."""
        own = [self.units.get(by_dvid(number), self.units.get("DV", "")) for number in dvid or ()]
        return " or ".join(dict.fromkeys(own)) if own else self.units.get("DV", "")

    @cached_property
    def tad(self) -> np.ndarray:
        """Time after the last dose, (n_record,), additional doses included; nan before the first."""
        return time_after_dose(self.record_subject, self.time, self.evid, self.ss, self.ii, self.addl)

    @cached_property
    def obs_tad(self) -> np.ndarray:
        """Time after the last dose of each observation, (n_obs,); nan before the first."""
        return self.tad[self.obs_record]

    @property
    def has_dv(self) -> bool:
        """Whether there are observed values; a design to simulate from has none."""
        return bool(self.n_obs and not np.isnan(self.obs_dv).any())

    def covariate_by_subject(self, name: str) -> np.ndarray:
        """Return the value of a covariate for each subject, (n_subject,).

        Raises
        ------
        ValueError
            Where the table has no such covariate, or where it varies within a subject.
        """
        if name not in self.covariates:
            raise unknown("covariate", name, list(self.covariates))
        if name in self.time_varying:
            raise ValueError(
                f"The covariate {name} varies within a subject and has no single value per subject."
            )
        return self.covariates[name][np.unique(self.record_subject, return_index=True)[1]]

    def missing_subjects(self, name: str) -> np.ndarray:
        """Whether each subject's value of a covariate is missing, (n_subject,)."""
        if name not in self.covariates:
            raise unknown("covariate", name, list(self.covariates))
        return missing_values(self.covariates[name])[np.unique(self.record_subject, return_index=True)[1]]

    def repeated(self, subjects: np.ndarray) -> EventTable:
        """Return a table in which subject `k` has the records of subject ``subjects[k]`` of this one.

        The labels are numbers 0, 1, ...: a subject may be there more than once.
        """
        bounds = np.searchsorted(self.record_subject, np.arange(self.n_subject + 1))
        sizes = np.diff(bounds)[subjects]
        record = np.concatenate([np.arange(bounds[k], bounds[k + 1]) for k in subjects])
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        changed: dict[str, Any] = {
            k: v[record] for k, v in arrays.items() if isinstance(v, np.ndarray) and k != "subjects"
        }
        changed["record_subject"] = np.repeat(np.arange(len(subjects)), sizes).astype(np.int64)
        changed["subjects"] = np.arange(len(subjects))
        return replace(self, covariates={k: v[record] for k, v in self.covariates.items()}, **changed)

    def subset(self, labels: Any) -> EventTable:
        """Return the table of some subjects, in the order of this table.

        Parameters
        ----------
        labels : one label or several

        Raises
        ------
        ValueError
            For a label that no subject has.
        """
        index = np.unique([self._index(label) for label in np.atleast_1d(labels).tolist()])
        keep = np.isin(self.record_subject, index)
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        cut = {k: v[keep] for k, v in arrays.items() if isinstance(v, np.ndarray) and k != "subjects"}
        cut["record_subject"] = np.searchsorted(index, cut["record_subject"]).astype(np.int64)
        covariates = {k: v[keep] for k, v in self.covariates.items()}
        code = cut["record_subject"]
        varying = tuple(k for k in self.time_varying if checks.varies(covariates[k], code))
        changed: dict[str, Any] = {**cut, "subjects": self.subjects[index], "covariates": covariates}
        return replace(self, time_varying=varying, **changed)

    def to_frame(self) -> pd.DataFrame:
        """Return the table as a DataFrame with NONMEM's columns, as `read_events` reads them."""
        return storage.to_frame(self)

    def to_dataset(self) -> xr.Dataset:
        """Return the table as a Dataset that a NetCDF file can hold; `from_dataset` is its inverse."""
        return storage.to_dataset(self)

    @classmethod
    def from_dataset(cls, dataset: xr.Dataset) -> EventTable:
        """Return the table that `to_dataset` wrote."""
        return cls(**storage.from_dataset(dataset))

    def explain(self, subject: Any) -> str:
        """Say in words, record by record, what happens to a subject.

        Raises
        ------
        ValueError
            For a label that no subject has.
        """
        return explanation.explain(self, self._index(subject))

    def __str__(self) -> str:
        return summaries.text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return summaries.html(self)

    def _index(self, label: Any) -> int:
        if str(label) not in self._index_of:
            known = list(self._index_of)
            raise unknown(
                "subject", str(label), known if len(known) <= 20 else [*known[:10], "...", known[-1]]
            )
        return self._index_of[str(label)]

    @cached_property
    def _index_of(self) -> dict[str, int]:
        return {str(label): i for i, label in enumerate(self.subjects.tolist())}


def read_events(
    source: Any,
    *,
    covariates: str | Iterable[str] = (),
    columns: Mapping[str, str | None] | None = None,
    units: Mapping[str, Any] | None = None,
    name: str = "",
    missing: str | Iterable[str] = (),
) -> EventTable:
    """Read and check a table of doses and samples.

    Columns are those of NONMEM: ID and TIME, then DV, AMT, EVID, CMT, MDV, RATE (or DUR, the duration of an
    infusion), ADDL, II, SS, DVID, OCC, CENS, LIMIT, LLOQ, BLQ where needed. Lower case and common synonyms
    (``conc``, ``dose``, ``subject`` ...) are accepted, and listed when the table is printed. ``.``, ``NA``
    and nothing are missing values.

    A sample below a limit of quantification has CENS 1 and the limit in DV (with LIMIT: it lies between
    LIMIT and DV), one above a limit CENS -1; or BLQ 1 with the limit in LLOQ, whatever its DV.

    Without EVID a record with an AMT is a dose and any other a sample (an other event, where MDV is 1);
    without MDV every record of EVID 0 is an observation. Without a DV column the table is a design.

    Parameters
    ----------
    source : path of a CSV file, or a DataFrame (pandas, or anything with ``to_pandas()``)
    covariates : columns to read as covariates, numbers or text; one that changes in a subject is time-varying
    columns : the user's column -> standard name or covariate, where they differ; None leaves a column unread
    units : column or covariate -> unit, such as ``{"TIME": "h", "DV": "mg/L", "AMT": "mg"}``; of DV also by
        DVID, ``{"DV": {1: "mg/L", 2: "%"}}``
    name : what the data are called in summaries and reports
    missing : covariates of which values may be missing, for whole subjects; a model that uses one has to
        impute it (`covariate.Impute`). Missing values of all others are refused

    Returns
    -------
    EventTable

    Raises
    ------
    ValueError
        For whatever cannot be right, with data row, subject, value and what to do.

    Warns
    -----
    UserWarning
        For what is allowed but rarely meant: a subject without observations, identical dose records, ...

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"id": [1, 1], "time": [0, 2], "amt": [100, 0], "conc": [None, 3.2]})
    >>> data = read_events(table, units={"TIME": "h", "DV": "mg/L", "AMT": "mg"})
    >>> data.n_dose, data.n_obs
    (1, 1)
    """
    table, row, origin = open_table(source)
    naming = resolve(list(table.columns), covariates, columns)
    flat = flat_units(units or {}, [*SYNONYMS, *naming.covariates])
    may_miss = (missing,) if isinstance(missing, str) else tuple(missing)
    for one in may_miss:
        if one not in naming.covariates:
            raise unknown("covariate that may be missing", one, list(naming.covariates))
    records = collect(table, row, naming, may_miss)
    silenced = tuple(c for c, target in (columns or {}).items() if target is None)
    checks.warn_unread(table, naming.unused, silenced, has_dv="DV" in naming.standard)
    column = records.column
    return EventTable(
        subjects=records.subjects,
        record_subject=records.record_subject,
        row=records.row,
        **{key.lower(): column[key] for key in _ARRAYS},
        occ=column.get("OCC"),
        covariates=records.covariates,
        time_varying=records.time_varying,
        units=flat,
        name=name,
        source=origin,
        columns={**naming.standard, **naming.covariates},
        unused=naming.unused,
    )


_ARRAYS = (
    "TIME", "AMT", "RATE", "II", "DV", "EVID", "MDV", "ADDL", "SS", "DVID", "CMT", "CENS", "LIMIT", "LLOQ",
)  # fmt: skip
