"""Kernel templates: the adjoint of the walk in `modal.py`, backwards over one subject's events.

`mu` holds the derivatives of the result by the state, `gcoefs` by the coefficients, `gs` by what a
stream was resolved to. Events are met in reverse order; what the forward walk kept is only read. What
doses add is in `adjoint_inputs`.
"""

from popbayes.engine.adjoint_inputs import (
    G_LAST,
    forget,
    pull_bolus,
    pull_start,
    pull_stream,
    revive,
)
from popbayes.engine.pieces import TIE
from popbayes.engine.schedule import R_CUT, R_FIRST, R_OBS, R_OFF, R_OUTPUT, R_RESET, R_SEGMENT, R_STREAMS
from popbayes.engine.walk import change, turn_off

# Bound by specialise(); the values here only let the module be read and checked.
N_MODES = N_ROWS = N_COLS = 0
CHANGES = AMPLITUDES = STREAMS = SWITCHES = True
WEIGHTS = 0
OBSERVED: tuple[int, ...] = ()
FIRST_ROW: tuple[int, ...] = ()
N_COLUMN: tuple[int, ...] = ()


def pull_change(k, x, gx, coefs, gcoefs, old, seg, kept, mu):
    """Adjoint of `change`; kept at `k` is the state that it led to, whose rows sum up to the same amounts."""
    for r in range(N_ROWS):
        x[r] = 0.0
        gx[r] = 0.0
    for m in range(N_MODES):
        for r in range(FIRST_ROW[m], N_ROWS):
            x[r] += kept[k, m * N_ROWS + r]
    for m in range(N_MODES):
        for r in range(FIRST_ROW[m], N_ROWS):
            for col in range(N_COLUMN[m]):
                at = N_MODES + (m * N_ROWS + r) * N_COLS + col
                gcoefs[seg, at] += mu[m * N_ROWS + r] * x[col]
                gx[col] += mu[m * N_ROWS + r] * coefs[seg, at]
    for m in range(N_MODES):
        for r in range(FIRST_ROW[m], N_ROWS):
            mu[m * N_ROWS + r] = gx[r]


def pull_observe(k, gpred, coefs, gcoefs, seg, out, kept, mu):
    """Adjoint of `observe`."""
    if CHANGES:
        for r in OBSERVED:
            at = WEIGHTS + out * N_ROWS + r
            by = gpred * coefs[seg, at]
            # summed first: one addition to memory, where each would wait for the one before it
            amount = 0.0
            for m in range(N_MODES):
                if r >= FIRST_ROW[m]:
                    amount += kept[k, m * N_ROWS + r]
                    mu[m * N_ROWS + r] += by
            gcoefs[seg, at] += gpred * amount
    else:
        for m in range(N_MODES):
            mu[m * N_ROWS + out] += gpred


def pull_decay(k, dt, coefs, gcoefs, seg, kept, before, mu):
    """Adjoint of `decay`; `before` is the state at the start of the interval."""
    for m in range(N_MODES):
        total = 0.0
        for r in range(FIRST_ROW[m], N_ROWS):
            mu[m * N_ROWS + r] *= kept[k, N_MODES * N_ROWS + m]
            total += mu[m * N_ROWS + r] * before[m * N_ROWS + r]
        gcoefs[seg, m] -= dt * total


def last_entry(i, sptr, log):
    """End of the part of the log that subject `i` has filled."""
    end = sptr[i + 1]
    while end > sptr[i] and log[end - 1, 1] < 0:
        end -= 1
    return end


def clear(values):
    """Set scratch to zero."""
    for j in range(N_MODES * N_ROWS):
        values[j] = 0.0


def recall(k, kept, before):
    """State after record `k`."""
    for m in range(N_MODES):
        for r in range(FIRST_ROW[m], N_ROWS):
            before[m * N_ROWS + r] = kept[k, m * N_ROWS + r]


def pull_events(i, coefs, gcoefs, events, gpred, kept, streams, log, work):
    """Walk the records of subject `i` backwards; add derivatives by the coefficients to `gcoefs`.

    `work` is scratch: the state's adjoint, a state, rows and their adjoint, the streams' adjoints, running
    streams.
    """
    ptr, ri, rt, si, sf, sptr = events
    mu, before, x, gx, gs, active = work
    running = 0
    begin = last_entry(i, sptr, log)
    clear(mu)
    for k in range(ptr[i + 1] - 1, ptr[i] - 1, -1):
        seg = ri[k, R_SEGMENT]
        if STREAMS:
            while begin > sptr[i] and log[begin - 1, 1] > k:
                begin -= 1
                running = revive(log[begin, 0], sf, streams, gs, active, running)
        if SWITCHES:
            turn_off(mu, ri[k, R_CUT])
        if ri[k, R_OBS] >= 0:
            pull_observe(k, gpred[ri[k, R_OBS]], coefs, gcoefs, seg, ri[k, R_OUTPUT], kept, mu)
        for s in range(ri[k, R_FIRST] + ri[k, R_STREAMS] - 1, ri[k, R_FIRST] - 1, -1):
            if STREAMS:
                running = forget(s, sf, streams, gs, active, running)
                pull_start(s, rt[k], coefs, gcoefs, seg, si, sf, streams, gs, mu)
            else:
                pull_bolus(s, coefs, gcoefs, seg, si, sf, mu)
        if ri[k, R_RESET] != 0:
            clear(mu)
        if SWITCHES:
            turn_off(mu, ri[k, R_OFF])
        if k == ptr[i]:
            break
        if STREAMS:
            while begin > sptr[i] and log[begin - 1, 1] == k:
                begin -= 1
                running = revive(log[begin, 0], sf, streams, gs, active, running)
        recall(k - 1, kept, before)
        if CHANGES and AMPLITUDES:
            if ri[k - 1, R_SEGMENT] != seg:
                change(before, x, coefs, ri[k - 1, R_SEGMENT], seg)
        if rt[k] > rt[k - 1]:
            if STREAMS:
                tie = TIE * (1.0 + abs(rt[k - 1]))
                for j in range(running):
                    s = active[j]
                    if gs[s, G_LAST] > rt[k - 1] + tie:
                        pull_stream(k, s, rt[k - 1], rt[k], coefs, gcoefs, seg, si, sf, streams, kept, gs, mu)
            pull_decay(k, rt[k] - rt[k - 1], coefs, gcoefs, seg, kept, before, mu)
        if CHANGES:
            if ri[k - 1, R_SEGMENT] != seg:
                pull_change(k - 1, x, gx, coefs, gcoefs, ri[k - 1, R_SEGMENT], seg, kept, mu)


# In the order in which they are compiled: each after those that it calls.
TEMPLATES = (
    pull_change,
    pull_observe,
    pull_decay,
    last_entry,
    clear,
    recall,
    pull_events,
)
