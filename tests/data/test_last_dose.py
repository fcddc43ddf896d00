"""Time after dose against a record-by-record walk."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from popbayes.data.last_dose import time_after_dose


def walk(subject, time, evid, ss, ii, addl):
    """The same by definition: pending doses are kept in a list and emptied by resets."""
    out, given_at, who = [], [], None
    for s, t, e, steady, interval, more in zip(subject, time, evid, ss, ii, addl, strict=True):
        if s != who or e in (3, 4) or (e == 1 and steady == 1):
            given_at, who = [], s
        pending = [d for d in given_at if d <= t]
        if e in (1, 4):
            given_at += [t + k * interval for k in range(more + 1)]
            pending.append(t)
        out.append(t - max(pending) if pending else np.nan)
    return np.array(out)


def test_additional_doses_count_and_a_sample_at_their_time_sees_them():
    columns = ([0] * 5, [0, 11, 12, 30, 60], [1, 0, 0, 0, 0], [0] * 5, [12.0] * 5, [2, 0, 0, 0, 0])
    tad = time_after_dose(*map(np.array, columns))
    np.testing.assert_array_equal(tad, [0, 11, 0, 6, 36])


def test_nothing_before_the_first_dose_and_after_a_reset():
    columns = ([0] * 5 + [1], [-1, 0, 1, 2, 3, 5], [0, 1, 0, 3, 0, 0], [0] * 6, [1.0] * 6, [0, 9, 0, 0, 0, 0])
    tad = time_after_dose(*map(np.array, columns))
    np.testing.assert_array_equal(tad, [np.nan, 0, 0, np.nan, np.nan, np.nan])


def test_records_of_one_time_keep_their_order():
    tad = time_after_dose(*map(np.array, ([0] * 4, [0, 5, 5, 5], [1, 0, 1, 0], [0] * 4, [0.0] * 4, [0] * 4)))
    np.testing.assert_array_equal(tad, [0, 5, 0, 0])


evids = st.sampled_from([0, 0, 0, 1, 1, 2, 3, 4])
record = st.tuples(
    st.integers(0, 2),
    st.integers(0, 40),
    evids,
    st.sampled_from([0, 0, 1, 2]),
    st.integers(1, 12),
    st.integers(0, 5),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(record, min_size=1, max_size=25))
def test_equals_a_walk_over_the_records(records):
    subject, time, evid, ss, ii, addl = map(np.array, zip(*sorted(records, key=lambda r: r[:2]), strict=True))
    ss, addl = np.where(np.isin(evid, (1, 4)), ss, 0), np.where(np.isin(evid, (1, 4)), addl, 0)
    fast = time_after_dose(subject, time.astype(float), evid, ss, ii.astype(float), addl)
    np.testing.assert_array_equal(fast, walk(subject, time, evid, ss, ii, addl))


@pytest.mark.parametrize("restart", [0.0, 8.0])
def test_time_may_start_again_after_a_reset(restart):
    columns = ([0] * 4, [0, 9.0, restart, restart + 2], [1, 0, 4, 0], [0] * 4, [24.0] * 4, [5, 0, 0, 0])
    tad = time_after_dose(*map(np.array, columns))
    np.testing.assert_array_equal(tad, [0, 9, 0, 2])
