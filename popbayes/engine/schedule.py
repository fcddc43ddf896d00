"""A design and the ways in of a model -> the events of every subject as flat arrays for the kernels.

A *stream* is what one dosing record does to one channel: a dose or an infusion, with its additional
doses and steady state. A kernel meets a record's streams after the record's reset and before its
observation.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from popbayes.data.design import Design

# Columns of `Schedule.records`.
R_SEGMENT, R_RESET, R_OBS, R_OUTPUT, R_FIRST, R_STREAMS, R_OFF, R_CUT = 0, 1, 2, 3, 4, 5, 6, 7
# Columns of `Schedule.streams` (integers) and `Schedule.amounts` (floats).
S_CHANNEL, S_DOSES, S_STEADY, S_KIND = 0, 1, 2, 3
F_AMT, F_RATE, F_II = 0, 1, 2
# Kinds of stream: a bolus, an infusion whose rate is in the record, is a parameter, whose duration is a
# parameter, a constant infusion at steady state that ends at its record, and a bolus through stages.
BOLUS, GIVEN_RATE, MODEL_RATE, MODEL_DURATION, CONSTANT, STAGED = 0, 1, 2, 3, 4, 5
SPREAD = (GIVEN_RATE, MODEL_RATE, MODEL_DURATION, STAGED)

EVID_RESET, EVID_RESET_DOSE = 3, 4

RECORDS_A_RUN = 10_000
"""Records that a thread takes at a time: a quarter of a millisecond of work, and few enough for its scratch
to stay in the processor's cache."""


@dataclass(frozen=True)
class Way:
    """How a channel takes a record: its number, and whether it spreads a bolus out, and how."""

    channel: int
    zero_order: bool = False
    staged: bool = False


@dataclass(frozen=True)
class Features:
    """Kinds of event in a schedule; kernels leave out what does not occur.

    Attributes
    ----------
    streams
        Anything but single boluses: additional doses, infusions, steady states.
    infusions
        Infusions or steady states. (Not told apart: fewer variants to compile.)
    changes
        Parameters that change within a subject.
    staged
        Doses through stages (transit compartments).
    switches
        Compartments that are turned off.
    """

    streams: bool = True
    infusions: bool = True
    changes: bool = True
    staged: bool = False
    switches: bool = False


@dataclass(frozen=True, eq=False)
class Schedule:
    """Events of all subjects.

    Attributes
    ----------
    subjects : (n_subject + 1,) int
        First record of each subject.
    records : (n_record, 8) int
        Segment, reset, observation (-1: none), output, first stream, number of streams, compartments
        that are off before and after (as bits, see `switches`).
    times : (n_record,)
    streams : (n_stream, 4) int
        Channel, number of doses, steady state, kind.
    amounts : (n_stream, 3)
        AMT, RATE, II.
    first_stream : (n_subject + 1,) int
        First stream of each subject.
    n_obs, n_segment : int
    """

    subjects: np.ndarray
    records: np.ndarray
    times: np.ndarray
    streams: np.ndarray
    amounts: np.ndarray
    first_stream: np.ndarray
    n_obs: int
    n_segment: int

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """The arrays, in the order in which kernels take them."""
        return (self.subjects, self.records, self.times, self.streams, self.amounts, self.first_stream)

    @cached_property
    def features(self) -> Features:
        """What a kernel must know to walk these events."""
        kind = self.streams[:, S_KIND]
        steady = self.streams[:, S_STEADY] > 0
        infusions = bool((steady | np.isin(kind, SPREAD)).any())
        repeated = bool((self.streams[:, S_DOSES] > 1).any())
        changes = self.n_segment > len(self.subjects) - 1
        off = bool(self.records[:, R_CUT].any())
        # what is turned off may have doses to come, which streams know how to drop
        several = infusions or repeated or off
        return Features(several, infusions, changes, bool((kind == STAGED).any()), off)

    @cached_property
    def runs(self) -> list[tuple[np.ndarray, ...]]:
        """The arrays in runs of subjects, each solved by itself and writing its own observations."""
        n_subject = len(self.subjects) - 1
        number = min(n_subject, max(1, len(self.times) // RECORDS_A_RUN))
        aims = np.linspace(0, self.subjects[-1], number + 1)[1:-1]
        ends = [0, *np.searchsorted(self.subjects, aims).tolist(), n_subject]
        found = []
        for low, high in itertools.pairwise(ends):
            first, last = self.subjects[low], self.subjects[high]
            one = replace(
                self,
                subjects=self.subjects[low : high + 1] - first,
                records=self.records[first:last],
                times=self.times[first:last],
                first_stream=self.first_stream[low : high + 1],
            )
            found.append(one.arrays)
        return found

    @classmethod
    def of(
        cls,
        design: Design,
        ways: Mapping[str, Sequence[Way]],
        outputs: Mapping[int, int] | None = None,
        off: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> "Schedule":
        """Lay out the events of `design`.

        Parameters
        ----------
        design
            Records in time order.
        ways
            CMT label of a dosing record -> the channels that take it.
        outputs
            DVID -> number of the output that it observes (None: all observe output 0).
        off
            Compartments that are off before and after each record (see `switches`).
        """
        record = np.flatnonzero(design.is_dose)
        labels, inverse = np.unique(design.cmt[record], return_inverse=True)
        numbers = [len(ways[str(label)]) for label in labels]
        repeat = np.array(numbers, dtype=np.int64)[inverse]
        source = np.repeat(record, repeat)
        way = [w for which in inverse for w in ways[str(labels[which])]]
        streams, amounts = _streams(design, source, way)
        counts = np.zeros(design.n_record, dtype=np.int64)
        counts[record] = repeat
        starts = np.concatenate([[0], np.cumsum(counts)])
        output = np.zeros(design.n_record, dtype=np.int64)
        if outputs is not None:
            output = np.array([outputs.get(int(d), 0) for d in design.dvid], dtype=np.int64)
        resets = np.isin(design.evid, (EVID_RESET, EVID_RESET_DOSE)) | (design.is_dose & (design.ss == 1))
        before, after = off or (np.zeros_like(counts), np.zeros_like(counts))
        columns = [design.record_segment, resets, design.record_obs, output, starts[:-1], counts]
        records = np.stack([*columns, before, after], axis=1).astype(np.int64)
        return cls(
            # copies: the table's arrays are read-only, which numba would take for another type
            subjects=np.array(design.subject_start),
            records=np.ascontiguousarray(records),
            times=np.array(design.time),
            streams=streams,
            amounts=amounts,
            first_stream=starts[design.subject_start].astype(np.int64),
            n_obs=design.n_obs,
            n_segment=design.n_segment,
        )


def _streams(design: Design, source: np.ndarray, way: Sequence[Way]) -> tuple[np.ndarray, np.ndarray]:
    """Integer and float columns of the streams of dosing records `source`."""
    channel = np.array([w.channel for w in way], dtype=np.int64)
    zero_order = np.array([w.zero_order for w in way], dtype=bool)
    staged = np.array([w.staged for w in way], dtype=bool)
    rate = design.rate[source]
    amt = design.amt[source]
    ss = design.ss[source]
    kind = np.select(
        [(ss > 0) & (amt == 0) & (rate != 0), rate > 0, rate == -1, (rate == -2) | zero_order, staged],
        [CONSTANT, GIVEN_RATE, MODEL_RATE, MODEL_DURATION, STAGED],
        BOLUS,
    )
    doses = design.addl[source] + 1
    streams = np.stack([channel, doses, ss, kind], axis=1).astype(np.int64).reshape(-1, 4)
    amounts = np.stack([amt, rate, design.ii[source]], axis=1).astype(float).reshape(-1, 3)
    return np.ascontiguousarray(streams), np.ascontiguousarray(amounts)
