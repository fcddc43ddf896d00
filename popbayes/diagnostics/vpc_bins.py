"""Bins of time for a visual predictive check."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MOST_NOMINAL = 20
"""Distinct times up to which each one is a bin of its own."""
FEWEST_PER_BIN = 5
"""Observations that an automatic bin should hold."""
USUAL_PER_BIN = 15
"""Observations in an automatic bin where subjects have few samples each."""
MOST_BINS = 12


@dataclass(frozen=True, eq=False)
class Bins:
    """A partition of observations by time.

    Attributes
    ----------
    index : (n_obs,) int
        Bin of each observation; -1 outside of every bin, or where the time is missing.
    middle : (n_bin,)
        Median time of the observations in each bin.
    left, right : (n_bin,)
        Edges.
    """

    index: np.ndarray
    middle: np.ndarray
    left: np.ndarray
    right: np.ndarray

    @property
    def n(self) -> int:
        """Number of bins."""
        return len(self.middle)


def make_bins(
    time: np.ndarray, subject: np.ndarray, bins: int | str | Sequence[float] | np.ndarray | None
) -> Bins:
    """Bins of the times as asked for.

    Parameters
    ----------
    time, subject : (n_obs,)
        Time of each observation (nan where there is none), and its subject.
    bins
        None: each distinct time where there are few, else by equal counts. ``"times"``: each distinct time.
        A whole number: that many bins of about equal counts; equal times are never parted.
        A sequence: the edges, each bin holding its left edge, the last also its right one.

    Raises
    ------
    ValueError
        For anything else, or where no observation has a time.
    """
    known = np.isfinite(time)
    if not known.any():
        raise ValueError("No observation has a time to be binned by.")
    if isinstance(bins, str):
        if bins != "times":
            raise ValueError(
                f'bins must be None, "times", a whole number or a sequence of edges, not {bins!r}.'
            )
        return _by_group(time, np.unique(time[known], return_inverse=True)[1], known)
    if bins is None:
        few, inverse = nominal(time[known])
        n = automatic(subject[known])
        return _by_group(time, inverse if few else equal_count(time[known], n), known)
    if np.ndim(bins) == 0:
        n = int(bins)  # type: ignore[arg-type]
        if n != bins or n < 1:
            raise ValueError(f"bins must be a whole number of 1 or more, not {bins!r}.")
        return _by_group(time, equal_count(time[known], n), known)
    return _by_edges(time, np.asarray(bins, dtype=float))


def nominal(time: np.ndarray) -> tuple[bool, np.ndarray]:
    """Whether the distinct times are few and well filled, and which of them each observation has."""
    unique, inverse, count = np.unique(time, return_inverse=True, return_counts=True)
    return len(unique) <= MOST_NOMINAL and bool(np.median(count) >= FEWEST_PER_BIN), inverse


def automatic(subject: np.ndarray) -> int:
    """Number of bins: samples of a typical subject, more where these are few, no more than can be filled."""
    per_subject = int(np.median(np.unique(subject, return_counts=True)[1]))
    wanted = max(per_subject, len(subject) // USUAL_PER_BIN)
    return max(1, min(wanted, len(subject) // FEWEST_PER_BIN, MOST_BINS))


def equal_count(time: np.ndarray, n: int) -> np.ndarray:
    """Group (0, 1, ...) of each observation: about equal counts in time order, equal times together."""
    _, inverse, count = np.unique(time, return_inverse=True, return_counts=True)
    centre = np.cumsum(count) - count / 2
    group = np.minimum((centre * n / len(time)).astype(int), n - 1)
    return np.unique(group, return_inverse=True)[1][inverse]


def _by_group(time: np.ndarray, group: np.ndarray, known: np.ndarray) -> Bins:
    index = np.full(len(time), -1)
    index[known] = group
    n = int(group.max()) + 1
    members = [time[index == b] for b in range(n)]
    low, high = np.array([m.min() for m in members]), np.array([m.max() for m in members])
    inner = (high[:-1] + low[1:]) / 2
    return Bins(
        index, np.array([np.median(m) for m in members]), np.r_[low[0], inner], np.r_[inner, high[-1]]
    )


def _by_edges(time: np.ndarray, edges: np.ndarray) -> Bins:
    if edges.ndim != 1 or len(edges) < 2 or not np.all(np.diff(edges) > 0):
        raise ValueError(f"bins as edges must be two increasing numbers or more, not {edges.tolist()!r}.")
    raw = np.searchsorted(edges, time, side="right") - 1
    raw[time == edges[-1]] = len(edges) - 2
    raw[~((time >= edges[0]) & (time <= edges[-1]))] = -1
    kept = np.unique(raw[raw >= 0])
    if len(kept) == 0:
        raise ValueError(f"No observation lies within the edges {edges[0]:g} to {edges[-1]:g}.")
    index = np.where(raw >= 0, np.searchsorted(kept, raw), -1)
    middle = np.array([np.median(time[index == b]) for b in range(len(kept))])
    return Bins(index, middle, edges[kept], edges[kept + 1])
