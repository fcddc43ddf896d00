"""Kernel templates: the adjoint of the walk in `modal.py`, template by template.

`mu` holds the derivatives of the result by the state, `gcoefs` by the coefficients, `gs` by what a
stream was resolved to. Events are met in reverse order; what the forward walk kept is only read.
"""

import math

from popbayes.engine.modal import K_GIVEN, K_NUMBER, K_SHIFT, K_START, K_STRENGTH, K_WIDTH, change
from popbayes.engine.pieces import FOREVER, TIE, count, dphi, phi, train
from popbayes.engine.schedule import (
    BOLUS,
    CONSTANT,
    F_AMT,
    F_II,
    F_RATE,
    GIVEN_RATE,
    MODEL_DURATION,
    MODEL_RATE,
    R_FIRST,
    R_OBS,
    R_OUTPUT,
    R_RESET,
    R_SEGMENT,
    R_STREAMS,
    S_CHANNEL,
    S_KIND,
    S_STEADY,
)

# Bound by specialise(); the values here only let the module be read and checked.
N_MODES = N_ROWS = N_COLS = 0
CHANGES = STREAMS = INFUSIONS = True
WEIGHTS = 0
COLUMN: tuple[int, ...] = ()
SLOT_F: tuple[int, ...] = ()
SLOT_LAG: tuple[int, ...] = ()
SLOT_RATE: tuple[int, ...] = ()
SLOT_DURATION: tuple[int, ...] = ()

# Columns of the streams' adjoints: by strength, width and start; how many doses are still to be met
# on the way back, and the time of the last of them.
G_GIVEN, G_LAST = 3, 4
N_ADJOINT = 5


def pull_piece(mu, coefs, gcoefs, seg, col, k, w, u, n, interval):
    """Adjoint of `add_piece`: adds to `g`, returns the derivatives by k, w and u."""
    gk = 0.0
    gw = 0.0
    gu = 0.0
    for m in range(N_MODES):
        rate = coefs[seg, m]
        shape = 1.0
        slope = 0.0
        if INFUSIONS:
            if w > 0.0:
                shape = phi(rate * w)
                slope = dphi(rate * w)
        decay = math.exp(-rate * u) if u > 0.0 else 1.0
        total = 1.0
        moment = 0.0
        if n != 1:
            total, moment = train(rate * interval, n)
        v = shape * decay * total
        a = 0.0
        for r in range(N_ROWS):
            at = N_MODES + (m * N_ROWS + r) * N_COLS + col
            a += mu[m * N_ROWS + r] * coefs[seg, at]
            gcoefs[seg, at] += mu[m * N_ROWS + r] * k * v
        gk += a * v
        gw += a * k * rate * slope * decay * total
        gu -= a * k * rate * v
        gcoefs[seg, m] += a * k * (w * slope * decay * total - u * v + interval * shape * decay * moment)
    return gk, gw, gu


def pull_resolve(s, coefs, gcoefs, seg, si, sf, gk, gw, gstart):
    """Adjoint of `resolve`: derivatives by strength, width and start into the coefficients."""
    channel = si[s, S_CHANNEL]
    kind = si[s, S_KIND]
    f = SLOT_F[channel]
    amount = sf[s, F_AMT]
    if f >= 0:
        amount *= coefs[seg, f]
    ga = gk
    if INFUSIONS:
        if kind == GIVEN_RATE:
            ga = gw / sf[s, F_RATE]
        elif kind == MODEL_RATE:
            rate = coefs[seg, SLOT_RATE[channel]]
            ga = gw / rate
            gcoefs[seg, SLOT_RATE[channel]] += gk - gw * amount / (rate * rate)
        elif kind == MODEL_DURATION:
            width = coefs[seg, SLOT_DURATION[channel]]
            ga = gk / width
            gcoefs[seg, SLOT_DURATION[channel]] += gw - gk * amount / (width * width)
    if f >= 0:
        gcoefs[seg, f] += ga * sf[s, F_AMT]
    if SLOT_LAG[channel] >= 0:
        gcoefs[seg, SLOT_LAG[channel]] += gstart


def pull_constant(s, coefs, gcoefs, seg, si, sf, mu):
    """Adjoint of `start_constant`."""
    col = COLUMN[si[s, S_CHANNEL]]
    for m in range(N_MODES):
        for r in range(N_ROWS):
            at = N_MODES + (m * N_ROWS + r) * N_COLS + col
            part = mu[m * N_ROWS + r] * sf[s, F_RATE] / coefs[seg, m]
            gcoefs[seg, at] += part
            gcoefs[seg, m] -= part * coefs[seg, at] / coefs[seg, m]


def pull_steady(s, time, coefs, gcoefs, seg, si, sf, streams, gs, mu):
    """Adjoint of `start_steady`."""
    col = COLUMN[si[s, S_CHANNEL]]
    interval = sf[s, F_II]
    strength = streams[s, K_STRENGTH]
    width = streams[s, K_WIDTH]
    j = int(streams[s, K_SHIFT]) + 1
    start = streams[s, K_START] + (j - 1) * interval
    bolus = si[s, S_KIND] == BOLUS
    total = strength if bolus else strength * width
    u = max(0.0, time - (start + width - j * interval))
    a, b, d = pull_piece(mu, coefs, gcoefs, seg, col, total, width, u, FOREVER, interval)
    gs[s, 2] -= d
    if bolus:
        gs[s, 0] += a
        return
    gs[s, 0] += a * width
    gs[s, 1] += a * strength + b - d
    for running in range(1, j):
        w = time - (start - running * interval)
        if w > 0.0:
            a, b, d = pull_piece(mu, coefs, gcoefs, seg, col, strength * w, w, 0.0, 1, interval)
            gs[s, 0] += a * w
            gs[s, 2] -= a * strength + b


def reset_adjoint(s, sf, streams, gs):
    """Begin the adjoint of a stream: nothing asked yet, all that it gave still to be met."""
    for j in range(3):
        gs[s, j] = 0.0
    gs[s, G_GIVEN] = streams[s, K_GIVEN]
    gs[s, G_LAST] = streams[s, K_START] + (streams[s, K_GIVEN] - 1.0) * sf[s, F_II]
    if INFUSIONS:
        if streams[s, K_WIDTH] > 0.0:
            gs[s, G_LAST] = math.inf


def revive(s, sf, streams, gs, active, running):
    """Take a stream up again on the way back, as it was when it was dropped."""
    active[running] = s
    reset_adjoint(s, sf, streams, gs)
    return running + 1


def forget(s, sf, streams, gs, active, running):
    """Drop a stream on the way back, at the record where it began."""
    for j in range(running):
        if active[j] == s:
            active[j] = active[running - 1]
            return running - 1
    # it gave all it had at its own record
    reset_adjoint(s, sf, streams, gs)
    return running


def pull_start(s, time, coefs, gcoefs, seg, si, sf, streams, gs, mu):
    """Adjoint of `start_stream`; `gs[s]` holds what later intervals asked of this stream."""
    if INFUSIONS:
        if si[s, S_KIND] == CONSTANT:
            pull_constant(s, coefs, gcoefs, seg, si, sf, mu)
            return
    interval = sf[s, F_II]
    due = int(gs[s, G_GIVEN])
    if due > 0:
        u = max(0.0, time - (streams[s, K_START] + (due - 1) * interval))
        col = COLUMN[si[s, S_CHANNEL]]
        a, _, d = pull_piece(mu, coefs, gcoefs, seg, col, streams[s, K_STRENGTH], 0.0, u, due, interval)
        gs[s, 0] += a
        gs[s, 2] -= d
    if INFUSIONS:
        if si[s, S_STEADY] != 0:
            pull_steady(s, time, coefs, gcoefs, seg, si, sf, streams, gs, mu)
    pull_resolve(s, coefs, gcoefs, seg, si, sf, gs[s, 0], gs[s, 1], gs[s, 2])


def pull_infusion(s, t0, t1, coefs, gcoefs, seg, si, sf, streams, gs, mu):
    """Adjoint of `advance_infusion`; derivatives by strength, width and start go to `gs[s]`."""
    col = COLUMN[si[s, S_CHANNEL]]
    interval = sf[s, F_II]
    strength = streams[s, K_STRENGTH]
    width = streams[s, K_WIDTH]
    start = streams[s, K_START]
    n = int(streams[s, K_NUMBER])
    begun0 = count(t0, start, interval, n)
    begun1 = count(t1, start, interval, n)
    ended0 = count(t0, start + width, interval, n)
    ended1 = count(t1, start + width, interval, n)
    for j in range(ended0, begun0):
        finish = start + width + j * interval
        end = min(t1, finish)
        w = max(0.0, end - t0)
        a, b, d = pull_piece(mu, coefs, gcoefs, seg, col, strength * w, w, t1 - end, 1, interval)
        gs[s, 0] += a * w
        if finish <= t1:
            gs[s, 1] += a * strength + b - d
            gs[s, 2] += a * strength + b - d
    if ended1 > begun0:
        u = max(0.0, t1 - (start + width + (ended1 - 1) * interval))
        a, b, d = pull_piece(
            mu, coefs, gcoefs, seg, col, strength * width, width, u, ended1 - begun0, interval
        )
        gs[s, 0] += a * width
        gs[s, 1] += a * strength + b - d
        gs[s, 2] -= d
    for j in range(max(begun0, ended1), begun1):
        w = max(0.0, t1 - (start + j * interval))
        a, b, _ = pull_piece(mu, coefs, gcoefs, seg, col, strength * w, w, 0.0, 1, interval)
        gs[s, 0] += a * w
        gs[s, 2] -= a * strength + b


def pull_stream(s, t0, t1, coefs, gcoefs, seg, si, sf, streams, gs, mu):
    """Adjoint of `advance_stream`; derivatives by strength, width and start go to `gs[s]`."""
    if INFUSIONS:
        if si[s, S_KIND] != BOLUS:
            pull_infusion(s, t0, t1, coefs, gcoefs, seg, si, sf, streams, gs, mu)
            return
    interval = sf[s, F_II]
    start = streams[s, K_START]
    due = int(gs[s, G_GIVEN])
    given = min(due, count(t0, start, interval, int(streams[s, K_NUMBER])))
    if due > given:
        u = max(0.0, t1 - (start + (due - 1) * interval))
        col = COLUMN[si[s, S_CHANNEL]]
        a, _, d = pull_piece(
            mu, coefs, gcoefs, seg, col, streams[s, K_STRENGTH], 0.0, u, due - given, interval
        )
        gs[s, 0] += a
        gs[s, 2] -= d
        gs[s, G_GIVEN] = given
        gs[s, G_LAST] = start + (given - 1) * interval


def pull_bolus(s, coefs, gcoefs, seg, si, sf, mu):
    """Adjoint of `give_bolus`."""
    channel = si[s, S_CHANNEL]
    amount = sf[s, F_AMT]
    if SLOT_F[channel] >= 0:
        amount *= coefs[seg, SLOT_F[channel]]
    total = 0.0
    for j in range(N_MODES * N_ROWS):
        at = N_MODES + j * N_COLS + COLUMN[channel]
        gcoefs[seg, at] += mu[j] * amount
        total += mu[j] * coefs[seg, at]
    if SLOT_F[channel] >= 0:
        gcoefs[seg, SLOT_F[channel]] += total * sf[s, F_AMT]


def pull_change(before, x, gx, coefs, gcoefs, seg, mu):
    """Adjoint of `change`; `before` is the state in the modes of the segment that ends."""
    for r in range(N_ROWS):
        x[r] = 0.0
        gx[r] = 0.0
        for m in range(N_MODES):
            x[r] += before[m * N_ROWS + r]
    for m in range(N_MODES):
        for r in range(N_ROWS):
            for col in range(N_COLS):
                at = N_MODES + (m * N_ROWS + r) * N_COLS + col
                gcoefs[seg, at] += mu[m * N_ROWS + r] * x[col]
                gx[col] += mu[m * N_ROWS + r] * coefs[seg, at]
    for m in range(N_MODES):
        for r in range(N_ROWS):
            mu[m * N_ROWS + r] = gx[r]


def pull_observe(k, gpred, coefs, gcoefs, seg, out, kept, mu):
    """Adjoint of `observe`."""
    for m in range(N_MODES):
        if CHANGES:
            for r in range(N_ROWS):
                at = WEIGHTS + out * N_ROWS + r
                mu[m * N_ROWS + r] += gpred * coefs[seg, at]
                gcoefs[seg, at] += gpred * kept[k, m * N_ROWS + r]
        else:
            mu[m * N_ROWS + out] += gpred


def pull_decay(k, dt, gcoefs, seg, kept, before, mu):
    """Adjoint of `decay`; `before` is the state at the start of the interval."""
    for m in range(N_MODES):
        total = 0.0
        for r in range(N_ROWS):
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
    for j in range(N_MODES * N_ROWS):
        before[j] = kept[k, j]


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
        if k == ptr[i]:
            break
        if STREAMS:
            while begin > sptr[i] and log[begin - 1, 1] == k:
                begin -= 1
                running = revive(log[begin, 0], sf, streams, gs, active, running)
        recall(k - 1, kept, before)
        if CHANGES:
            if ri[k - 1, R_SEGMENT] != seg:
                change(before, x, coefs, seg)
        if rt[k] > rt[k - 1]:
            if STREAMS:
                tie = TIE * (1.0 + abs(rt[k - 1]))
                for j in range(running):
                    s = active[j]
                    if gs[s, G_LAST] > rt[k - 1] + tie:
                        pull_stream(s, rt[k - 1], rt[k], coefs, gcoefs, seg, si, sf, streams, gs, mu)
            pull_decay(k, rt[k] - rt[k - 1], gcoefs, seg, kept, before, mu)
        if CHANGES:
            if ri[k - 1, R_SEGMENT] != seg:
                recall(k - 1, kept, before)
                pull_change(before, x, gx, coefs, gcoefs, seg, mu)


# In the order in which they are compiled: each after those that it calls.
TEMPLATES = (
    pull_piece,
    pull_resolve,
    pull_constant,
    pull_steady,
    reset_adjoint,
    revive,
    forget,
    pull_start,
    pull_infusion,
    pull_stream,
    pull_bolus,
    pull_change,
    pull_observe,
    pull_decay,
    last_entry,
    clear,
    recall,
    pull_events,
)
