"""The event table as static arrays for the engine: records in time order and parameter segments.

A *segment* is a run of records of one subject over which no covariate that the model uses changes;
there is one row of structural parameters for each. Where nothing varies, segments are subjects.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from popbayes.data.events import EventTable


@dataclass(frozen=True, eq=False)
class Design:
    """What the engine needs to know of an `EventTable`.

    Attributes
    ----------
    subject_start : (n_subject + 1,) int
        First record of each subject.
    time, evid, cmt, amt, rate, ii, addl, ss, dvid : (n_record,)
        The records; `time` as in the table.
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
    def of(cls, data: EventTable, covariates: Sequence[str] = ()) -> "Design":
        """Lay out `data` for a model that uses `covariates`.

        The covariates of a record hold over the interval that ends at it (next observation carried
        backward, NONMEM's rule).

        Parameters
        ----------
        data
            The event table.
        covariates
            Names of the covariates that the model uses.
        """
        start = np.searchsorted(data.record_subject, np.arange(data.n_subject + 1)).astype(np.int64)
        values = {name: np.asarray(data.covariates[name]) for name in covariates}
        segment, first = _segments(data.record_subject, list(values.values()))
        record_obs = np.full(data.n_record, -1, dtype=np.int64)
        record_obs[data.obs_record] = np.arange(data.n_obs)
        return cls(
            subject_start=start,
            time=np.ascontiguousarray(data.time, dtype=float),
            evid=data.evid,
            cmt=data.cmt,
            amt=data.amt,
            rate=data.rate,
            ii=data.ii,
            addl=data.addl,
            ss=data.ss,
            dvid=data.dvid,
            is_dose=np.isin(data.evid, (1, 4)),
            record_obs=record_obs,
            record_segment=segment,
            segment_subject=data.record_subject[first].astype(np.int64),
            obs_subject=np.asarray(data.obs_subject, dtype=np.int64),
            obs_segment=segment[data.obs_record],
            covariates={name: v[first] for name, v in values.items()},
        )


def _segments(record_subject: np.ndarray, values: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Segment of each record and first record of each segment."""
    new = np.ones(len(record_subject), dtype=bool)
    new[1:] = record_subject[1:] != record_subject[:-1]
    for v in values:
        new[1:] |= v[1:] != v[:-1]
    return np.cumsum(new).astype(np.int64) - 1, np.flatnonzero(new)
