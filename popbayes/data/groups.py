"""Groups of records that share a random effect: occasions of a subject, sites, studies."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from popbayes.data.columns import unknown
from popbayes.data.events import EventTable
from popbayes.wording import listed

SUBJECT_COLUMN, OCCASION_COLUMN = "ID", "OCC"


@dataclass(frozen=True, eq=False)
class Group:
    """One way to group segments.

    Attributes
    ----------
    labels : (n_group,) text
        What each group is called: ``"7/2"`` is occasion 2 of subject 7, ``"A"`` a site.
    of_segment : (n_segment,) int
        Group of each segment.
    of_subject : (n_group,) int
        Subject whose segments are in the group; -1 where several subjects share it.
    """

    labels: np.ndarray
    of_segment: np.ndarray
    of_subject: np.ndarray

    @property
    def size(self) -> int:
        """Number of groups."""
        return len(self.labels)


def group_values(data: EventTable, key: str, columns: Sequence[str]) -> np.ndarray:
    """Label of the group of every record, (n_record,) text.

    Raises
    ------
    ValueError
        If the event table lacks a column.
    """
    parts = [_column(data, key, column) for column in columns]
    return np.array(["/".join(one) for one in zip(*parts, strict=True)], dtype=str)


def _column(data: EventTable, key: str, column: str) -> list[str]:
    if column == SUBJECT_COLUMN:
        return [str(one) for one in data.subjects[data.record_subject]]
    if column in data.covariates:
        return [_label(one) for one in data.covariates[column]]
    if column == OCCASION_COLUMN and data.occ is not None:
        return [str(one) for one in data.occ]
    if column == OCCASION_COLUMN:
        raise ValueError(
            "The model has random effects by occasion, but the event table has no column OCC. Add one that "
            "numbers the occasions of each subject, or name another column with by=: it must be among the "
            f"covariates of pb.read_events(..., covariates=[...]), which are {listed(data.covariates)}."
        )
    raise unknown(f"column of the random effects by {key}", column, list(data.covariates))


def _label(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def labelled(values: np.ndarray, segment_subject: np.ndarray) -> Group:
    """Number the groups in the order in which they first appear."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    of_segment = rank[inverse]
    labels = values[np.sort(first)]
    of_subject = np.full(len(labels), -1, dtype=np.int64)
    for group in range(len(labels)):
        owners = np.unique(segment_subject[of_segment == group])
        of_subject[group] = owners[0] if len(owners) == 1 else -1
    return Group(labels, of_segment, of_subject)
