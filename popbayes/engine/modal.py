"""Kernel templates: the walk over one subject's events in modal coordinates.

The state is kept as one number for each mode and tracked row, `z[m * N_ROWS + r]`; a row is an output
(one row of parameters for each subject) or a compartment (parameters that change between records), or the
amplitude of the mode is the only one (see `amplitudes`).
Advancing multiplies by `exp(-rate * dt)`; doses add pieces (see `pieces`); where the parameters change,
rows are summed over the modes and spread over the new modes. `adjoint.py` walks the same events
backwards, so the cost of a gradient does not depend on how often parameters change.

The upper-case names are bound by `linear.py` to the numbers of one model (see `specialise`).

Coefficients of a segment, `coefs[seg]`: `N_MODES` rates, then the transfers by mode, row and column, then
for each channel bioavailability, lag, rate, duration, stages and their rate where the model has them,
then weights (`CHANGES` only), then gaps.
"""

import math

import numpy as np

from popbayes.engine.pieces import (
    FOREVER,
    SERIES_BELOW,
    apart,
    count,
    ended,
    first_before,
    long_train,
    phi,
    short_train,
    train,
)
from popbayes.engine.quick_exp import exp
from popbayes.engine.schedule import (
    BOLUS,
    CONSTANT,
    F_AMT,
    F_II,
    F_RATE,
    GIVEN_RATE,
    MODEL_DURATION,
    MODEL_RATE,
    S_CHANNEL,
    S_DOSES,
    S_KIND,
    S_STEADY,
    STAGED,
)
from popbayes.engine.stages import span

# Bound by specialise(); the values here only let the module be read and checked.
N_MODES = N_ROWS = N_COLS = 0
INFUSIONS = STAGED_INPUTS = ACCUMULATES = True
COLUMN: tuple[int, ...] = ()
SLOT_F: tuple[int, ...] = ()
SLOT_LAG: tuple[int, ...] = ()
SLOT_RATE: tuple[int, ...] = ()
SLOT_DURATION: tuple[int, ...] = ()
SLOT_STAGES: tuple[int, ...] = ()
SLOT_PACE: tuple[int, ...] = ()
ACCUMULATED: tuple[int, ...] = ()
FIRST_ROW: tuple[int, ...] = ()
GIVEN = 0


def _unbound(*_):
    raise RuntimeError("a kernel template is compiled by popbayes.engine.specialise, not called")


add_staged = advance_staged = _unbound

# A steady state in which more infusions than this run at once is a failed solve (nan).
MOST_OVERLAPPING = 10_000

# Columns of the streams' work array, filled at the dose record.
K_STRENGTH, K_WIDTH, K_START, K_NUMBER, K_SHIFT, K_NEXT, K_GIVEN, K_STAGES, K_PACE = 0, 1, 2, 3, 4, 5, 6, 7, 8
NO_RECORD = -1
# The segment that the rest are of, and for each mode what is left of a dose when the next is given, and the
# sum of a train that has no end.
K_SEGMENT, K_LEFT = 9, 10
N_STREAM = 10
"""Columns without those of the modes."""


def add_piece(z, coefs, seg, col, k, w, u, n, interval, past):
    """Add one piece to every mode.

    What was given in the `past` before a steady state is not counted by rows that add up (AUC, urine):
    their mode of rate 0, the last, takes what makes the row's sum stay as it is.
    """
    for m in range(N_MODES):
        if ACCUMULATES:
            if past and m == N_MODES - 1:
                continue
        rate = coefs[seg, m]
        v = k
        if INFUSIONS:
            if w > 0.0:
                v *= phi(rate * w)
        if u > 0.0:
            v *= exp(-rate * u)
        if n != 1:
            v *= train(rate * interval, n)[0]
        for r in range(FIRST_ROW[m], N_ROWS):
            part = coefs[seg, N_MODES + (m * N_ROWS + r) * N_COLS + col] * v
            z[m * N_ROWS + r] += part
            if ACCUMULATES:
                if past and ACCUMULATED[r] != 0:
                    z[(N_MODES - 1) * N_ROWS + r] -= part


def note_interval(s, coefs, seg, time, streams):
    """Note what a stream's interval comes to in each mode, unless it is known for this segment."""
    if streams[s, K_SEGMENT] == seg:
        return
    streams[s, K_SEGMENT] = seg
    for m in range(N_MODES):
        left, once = apart(coefs[seg, m] * time)
        streams[s, K_LEFT + 2 * m] = left
        streams[s, K_LEFT + 2 * m + 1] = once


def give_doses(k, s, coefs, seg, col, u, n, time, streams, kept, z):
    """Add `n` boluses of a stream, a `time` apart, given in the interval until record `k`, the last `u` ago.

    What a unit of it came to in each mode, and the part of its derivative that is the train's, are kept
    for the adjoint: of one stream in an interval, there are seldom two, and not of doses at a record itself.
    """
    if n != 1:
        note_interval(s, coefs, seg, time, streams)
    first = k >= 0 and kept[k, GIVEN] < 0.0
    if first:
        kept[k, GIVEN] = s
        kept[k, GIVEN + 1] = n
    for m in range(N_MODES):
        rate = coefs[seg, m]
        v = exp(-rate * u) if u > 0.0 else 1.0
        slope = 0.0
        if n != 1:
            x = rate * time
            if n * x < SERIES_BELOW:
                total, moment = short_train(x, n)
            else:
                total, moment = long_train(x, n, streams[s, K_LEFT + 2 * m], streams[s, K_LEFT + 2 * m + 1])
            slope = time * v * moment
            v *= total
        if first:
            kept[k, GIVEN + 2 + m] = v
            kept[k, GIVEN + 2 + N_MODES + m] = slope
        v *= streams[s, K_STRENGTH]
        for r in range(FIRST_ROW[m], N_ROWS):
            z[m * N_ROWS + r] += coefs[seg, N_MODES + (m * N_ROWS + r) * N_COLS + col] * v


def resolve(s, time, coefs, seg, si, sf, streams):
    """Strength, width and first time of a dose record under the parameters of its record."""
    channel = si[s, S_CHANNEL]
    kind = si[s, S_KIND]
    amount = sf[s, F_AMT]
    if SLOT_F[channel] >= 0:
        amount *= coefs[seg, SLOT_F[channel]]
    strength = amount
    width = 0.0
    if INFUSIONS:
        if kind == GIVEN_RATE:
            strength = sf[s, F_RATE]
            width = amount / strength
        elif kind == MODEL_RATE:
            strength = coefs[seg, SLOT_RATE[channel]]
            width = amount / strength
        elif kind == MODEL_DURATION:
            width = coefs[seg, SLOT_DURATION[channel]]
            strength = amount / width
    if STAGED_INPUTS:
        if kind == STAGED:
            stages = coefs[seg, SLOT_STAGES[channel]]
            pace = coefs[seg, SLOT_PACE[channel]]
            width = span(stages) / pace
            streams[s, K_STAGES] = stages
            streams[s, K_PACE] = pace
    start = time
    if SLOT_LAG[channel] >= 0:
        start += coefs[seg, SLOT_LAG[channel]]
    streams[s, K_STRENGTH] = strength
    streams[s, K_WIDTH] = width
    streams[s, K_START] = start
    streams[s, K_NUMBER] = si[s, S_DOSES]
    streams[s, K_SHIFT] = 0.0
    streams[s, K_GIVEN] = 0.0
    streams[s, K_SEGMENT] = -1.0


def start_constant(s, coefs, seg, si, sf, z):
    """Steady state of a constant infusion that ends at its record."""
    col = COLUMN[si[s, S_CHANNEL]]
    for m in range(N_MODES - 1 if ACCUMULATES else N_MODES):
        for r in range(N_ROWS):
            at = N_MODES + (m * N_ROWS + r) * N_COLS + col
            part = coefs[seg, at] * sf[s, F_RATE] / coefs[seg, m]
            z[m * N_ROWS + r] += part
            if ACCUMULATES:
                if ACCUMULATED[r] != 0:
                    z[(N_MODES - 1) * N_ROWS + r] -= part


def start_steady(s, time, coefs, seg, si, sf, streams, z):
    """Add what doses given since ever have left at the record; those still to arrive join the stream."""
    col = COLUMN[si[s, S_CHANNEL]]
    bolus = si[s, S_KIND] == BOLUS
    interval = sf[s, F_II]
    strength = streams[s, K_STRENGTH]
    width = streams[s, K_WIDTH]
    start = streams[s, K_START]
    total = strength if bolus else strength * width
    j = first_before(time, start + width, interval)
    if j > MOST_OVERLAPPING:
        z[0] = math.nan
        j = 1
    u = max(0.0, time - (start + width - j * interval))
    staged = False
    if STAGED_INPUTS:
        staged = si[s, S_KIND] == STAGED
        if staged:
            a = streams[s, K_STAGES]
            p = streams[s, K_PACE]
            add_staged(z, coefs, seg, col, strength, a, p, 0.0, width, u, FOREVER, interval, 1)
            for running in range(1, j):
                w = max(0.0, time - (start - running * interval))
                add_staged(z, coefs, seg, col, strength, a, p, 0.0, w, 0.0, 1, interval, 1)
    if not staged:
        add_piece(z, coefs, seg, col, total, width, u, FOREVER, interval, 1)
        for running in range(1, j):
            w = time - (start - running * interval)
            if w > 0.0 and not bolus:
                add_piece(z, coefs, seg, col, strength * w, w, 0.0, 1, interval, 1)
    streams[s, K_START] = start - (j - 1) * interval
    streams[s, K_NUMBER] += j - 1
    streams[s, K_SHIFT] = j - 1


def start_stream(s, time, coefs, seg, si, sf, streams, kept, z):
    """Give what is due at the dose record itself; tell whether more is to come."""
    if INFUSIONS:
        if si[s, S_KIND] == CONSTANT:
            start_constant(s, coefs, seg, si, sf, z)
            return False
    resolve(s, time, coefs, seg, si, sf, streams)
    if INFUSIONS:
        if si[s, S_STEADY] != 0:
            start_steady(s, time, coefs, seg, si, sf, streams, z)
        if si[s, S_KIND] != BOLUS:
            streams[s, K_NEXT] = -math.inf
            return True
    n = np.int64(streams[s, K_NUMBER])
    start = streams[s, K_START]
    interval = sf[s, F_II]
    due = count(time, start, interval, n)
    if due > 0:
        u = max(0.0, time - (start + (due - 1) * interval))
        give_doses(
            np.int64(NO_RECORD), s, coefs, seg, COLUMN[si[s, S_CHANNEL]], u, due, interval, streams, kept, z
        )
    streams[s, K_GIVEN] = due
    streams[s, K_NEXT] = start + due * interval
    return due < n


def advance_infusion(s, t0, t1, coefs, seg, si, sf, streams, z):
    """Add what infusions give in (t0, t1]: those that run at t0, whole ones, those that run at t1."""
    col = COLUMN[si[s, S_CHANNEL]]
    interval = sf[s, F_II]
    strength = streams[s, K_STRENGTH]
    width = streams[s, K_WIDTH]
    start = streams[s, K_START]
    n = np.int64(streams[s, K_NUMBER])
    begun0 = count(t0, start, interval, n)
    begun1 = count(t1, start, interval, n)
    ended0 = ended(t0, start + width, interval, n)
    ended1 = ended(t1, start + width, interval, n)
    for j in range(ended0, begun0):
        end = min(t1, start + width + j * interval)
        w = max(0.0, end - max(t0, start + j * interval))
        add_piece(z, coefs, seg, col, strength * w, w, t1 - end, 1, interval, 0)
    if ended1 > begun0:
        u = max(0.0, t1 - (start + width + (ended1 - 1) * interval))
        add_piece(z, coefs, seg, col, strength * width, width, u, ended1 - begun0, interval, 0)
    for j in range(max(begun0, ended1), begun1):
        w = max(0.0, t1 - (start + j * interval))
        add_piece(z, coefs, seg, col, strength * w, w, 0.0, 1, interval, 0)
    return ended1 < n


def advance_stream(k, s, t0, t1, coefs, seg, si, sf, streams, kept, z):
    """Add what a running stream gives in (t0, t1], until record `k`; tell whether more is to come."""
    if STAGED_INPUTS:
        if si[s, S_KIND] == STAGED:
            return advance_staged(s, t0, t1, coefs, seg, si, sf, streams, z)
    if INFUSIONS:
        if si[s, S_KIND] != BOLUS:
            return advance_infusion(s, t0, t1, coefs, seg, si, sf, streams, z)
    interval = sf[s, F_II]
    start = streams[s, K_START]
    n = np.int64(streams[s, K_NUMBER])
    given = np.int64(streams[s, K_GIVEN])
    due = max(given, count(t1, start, interval, n))
    if due > given:
        u = max(0.0, t1 - (start + (due - 1) * interval))
        col = COLUMN[si[s, S_CHANNEL]]
        give_doses(k, s, coefs, seg, col, u, due - given, interval, streams, kept, z)
        streams[s, K_GIVEN] = due
        streams[s, K_NEXT] = start + due * interval
    return due < n


def give_bolus(s, coefs, seg, si, sf, z):
    """A bolus at its record, for data in which there is nothing else."""
    channel = si[s, S_CHANNEL]
    amount = sf[s, F_AMT]
    if SLOT_F[channel] >= 0:
        amount *= coefs[seg, SLOT_F[channel]]
    for j in range(N_MODES * N_ROWS):
        z[j] += coefs[seg, N_MODES + j * N_COLS + COLUMN[channel]] * amount


# In the order in which they are compiled: each after those that it calls.
TEMPLATES = (
    add_piece,
    note_interval,
    give_doses,
    resolve,
    start_constant,
    start_steady,
    start_stream,
    advance_infusion,
    advance_stream,
    give_bolus,
)
