"""Refusals and warnings about records, always with data row, subject, value and remedy."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

PACKAGE = str(Path(__file__).parents[1])
"""Warnings point at the first line outside this folder."""


@dataclass(frozen=True)
class Places:
    """Where each record stands in the user's file.

    Attributes
    ----------
    row : (n_record,) data row, from 1
    subject : (n_record,) label of the subject, or None before the labels are known
    """

    row: np.ndarray
    subject: np.ndarray | None = None

    def __getitem__(self, record: int) -> str:
        if self.subject is None:
            return f"row {self.row[record]}"
        return f"row {self.row[record]} (ID {self.subject[record]})"

    def take(self, index: np.ndarray) -> Places:
        """Return the places of some of the records, in the order given."""
        return Places(self.row[index], None if self.subject is None else self.subject[index])


def refuse(bad: np.ndarray, at: Places, rule: str, remedy: str, value: Any = None, verb: str = "has") -> None:
    """Raise a ValueError about the first bad record, if there is one.

    The message reads ``{rule}; row 4 (ID 2) {verb} {value} (and 3 more). {remedy}``.

    Parameters
    ----------
    bad : (n_record,) bool
    at : where the records stand
    rule : what must hold
    remedy : what to do, a sentence
    value : (n_record,) what was found; left out where there is nothing to show
    verb : how the value is introduced
    """
    if bad.any():
        raise ValueError(f"{rule}; {_first(bad, at, value, verb)}. {remedy}")


def warn(bad: np.ndarray, at: Places, rule: str, remedy: str, value: Any = None, verb: str = "has") -> None:
    """Warn about the first such record, if there is one; the words are those of `refuse`."""
    if bad.any():
        say(f"{rule}; {_first(bad, at, value, verb)}. {remedy}")


def say(message: str) -> None:
    """Warn, pointing at the line of the user."""
    warnings.warn(message, UserWarning, skip_file_prefixes=(PACKAGE,))


def _first(bad: np.ndarray, at: Places, value: Any, verb: str) -> str:
    hits = np.flatnonzero(bad)
    more = f" (and {len(hits) - 1} more)" if len(hits) > 1 else ""
    if value is None:
        return f"see {at[hits[0]]}{more}"
    return f"{at[hits[0]]} {verb} {show(value[hits[0]])}{more}"


def show(value: Any) -> str:
    """A value as a user wrote it: numbers short, text in quotes, nothing as 'no value'."""
    if isinstance(value, str):
        return repr(value)
    if value is None or np.isnan(value):
        return "no value"
    return f"{value:.12g}"
