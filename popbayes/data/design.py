"""The event table as static arrays for the engine: records in time order and parameter segments.

A *segment* is a run of records of one subject over which no covariate that the model uses changes, nor
the occasion or any other group; there is one row of structural parameters for each. Where nothing varies,
segments are subjects.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from popbayes.data.events import EventTable
from popbayes.data.groups import Group, group_values, labelled

COVARIATE_RULES = ("nocb", "locf")
"""Whose values hold between two records: the later one's (NONMEM), or the earlier one's."""
RESETS = (3, 4)
OTHER = 2


@dataclass(frozen=True, eq=False)
class Design:
    """What the engine needs to know of an `EventTable`.

    Attributes
    ----------
    subject_start : (n_subject + 1,) int
        First record of each subject.
    time, evid, cmt, amt, rate, ii, addl, ss, dvid : (n_record,)
        The records; `time` as in the table. Under "locf" a record at which something changes has an other
        event (EVID 2) before it, where the values of the record before hold to.
    is_dose : (n_record,) bool
        EVID 1 or 4.
    record_obs : (n_record,) int
        Number of the observation at a record, -1 where there is none.
    record_segment : (n_record,) int
        Segment whose parameters hold over the interval that ends at the record.
    segment_subject : (n_segment,) int
        Subject of each segment.
    obs_subject, obs_segment : (n_obs,) int
    covariates : dict of (n_segment,) arrays
        Value of each covariate that the model uses, by segment.
    groups : dict of Group
        Groups of segments that share random effects: occasions, sites, ...
    segment_record : (n_segment,) int
        First record of each segment, in the event table.
    """

    subject_start: np.ndarray
    time: np.ndarray
    evid: np.ndarray
    cmt: np.ndarray
    amt: np.ndarray
    rate: np.ndarray
    ii: np.ndarray
    addl: np.ndarray
    ss: np.ndarray
    dvid: np.ndarray
    is_dose: np.ndarray
    record_obs: np.ndarray
    record_segment: np.ndarray
    segment_subject: np.ndarray
    obs_subject: np.ndarray
    obs_segment: np.ndarray
    covariates: dict[str, np.ndarray] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    segment_record: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    @property
    def n_subject(self) -> int:
        """Number of subjects."""
        return len(self.subject_start) - 1

    @property
    def n_record(self) -> int:
        """Number of records."""
        return len(self.time)

    @property
    def n_obs(self) -> int:
        """Number of observations."""
        return len(self.obs_subject)

    @property
    def n_segment(self) -> int:
        """Number of segments."""
        return len(self.segment_subject)

    @property
    def one_segment_per_subject(self) -> bool:
        """True where no parameter changes within a subject; segments are then subjects, in order."""
        return self.n_segment == self.n_subject

    @classmethod
    def of(
        cls,
        data: EventTable,
        covariates: Sequence[str] = (),
        covariate_rule: str = "nocb",
        groups: Mapping[str, Sequence[str]] | None = None,
    ) -> "Design":
        """Lay out `data` for a model that uses `covariates`.

        Parameters
        ----------
        data
            The event table.
        covariates
            Names of the covariates that the model uses.
        covariate_rule
            "nocb": the covariates of a record, and its occasion, hold over the interval that ends at it
            (next observation carried backward, NONMEM's rule). "locf": they hold from the record on, up to
            the next one (last observation carried forward).
        groups
            Name of a group -> the columns whose values together make it; "ID" is the subject.
        """
        if covariate_rule not in COVARIATE_RULES:
            raise ValueError(
                f"covariate_rule must be one of {', '.join(COVARIATE_RULES)}, not {covariate_rule!r}."
            )
        values = {name: np.asarray(data.covariates[name]) for name in covariates}
        made = {key: group_values(data, key, columns) for key, columns in (groups or {}).items()}
        new = _changes(data.record_subject, [*values.values(), *made.values()])
        segment, first = np.cumsum(new).astype(np.int64) - 1, np.flatnonzero(new)
        order, added = _order(data, new if covariate_rule == "locf" else None)
        record_obs = np.full(data.n_record, -1, dtype=np.int64)
        record_obs[data.obs_record] = np.arange(data.n_obs)

        def laid_out(column: np.ndarray, blank: float) -> np.ndarray:
            return np.where(added, np.asarray(blank, dtype=column.dtype), column[order])

        return cls(
            subject_start=np.searchsorted(data.record_subject[order], np.arange(data.n_subject + 1)).astype(
                np.int64
            ),
            time=np.ascontiguousarray(data.time[order], dtype=float),
            evid=laid_out(data.evid, OTHER),
            cmt=data.cmt[order],
            amt=laid_out(data.amt, 0),
            rate=laid_out(data.rate, 0),
            ii=laid_out(data.ii, 0),
            addl=laid_out(data.addl, 0),
            ss=laid_out(data.ss, 0),
            dvid=data.dvid[order],
            is_dose=np.isin(laid_out(data.evid, OTHER), (1, 4)),
            record_obs=laid_out(record_obs, -1),
            record_segment=segment[order] - added,
            segment_subject=data.record_subject[first].astype(np.int64),
            obs_subject=np.asarray(data.obs_subject, dtype=np.int64),
            obs_segment=segment[data.obs_record],
            covariates={name: v[first] for name, v in values.items()},
            groups={key: labelled(v[first], data.record_subject[first]) for key, v in made.items()},
            segment_record=first,
        )


def _changes(record_subject: np.ndarray, values: Sequence[np.ndarray]) -> np.ndarray:
    """Whether each record begins a segment."""
    new = np.ones(len(record_subject), dtype=bool)
    new[1:] = record_subject[1:] != record_subject[:-1]
    for v in values:
        same = v[1:] == v[:-1]
        if v.dtype.kind == "f":
            same |= np.isnan(v[1:]) & np.isnan(v[:-1])
        new[1:] |= ~same
    return new


def _order(data: EventTable, new: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Record of the table behind each record of the design, and whether it is one put before it.

    One is put before each record in mid-course at which a segment begins: it ends the interval with the
    parameters of the segment before. At a reset there is nothing to carry on.
    """
    twice = np.zeros(data.n_record, dtype=bool)
    if new is not None:
        first = np.ones(data.n_record, dtype=bool)
        first[1:] = data.record_subject[1:] != data.record_subject[:-1]
        twice = new & ~first & ~np.isin(data.evid, RESETS)
    order = np.repeat(np.arange(data.n_record), 1 + twice)
    added = np.zeros(len(order), dtype=bool)
    added[:-1] = order[:-1] == order[1:]
    return order, added
