"""Kernel templates: the adjoints of what doses add in `modal.py`, template by template.

`mu` holds the derivatives of the result by the state, `gcoefs` by the coefficients, `gs` by what a
stream was resolved to.
"""

import math

import numpy as np

from popbayes.engine.modal import (
    K_GIVEN,
    K_NUMBER,
    K_PACE,
    K_SHIFT,
    K_STAGES,
    K_START,
    K_STRENGTH,
    K_WIDTH,
)
from popbayes.engine.pieces import FOREVER, count, dphi, ended, phi, train
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
    S_KIND,
    S_STEADY,
    STAGED,
)
from popbayes.engine.staged import G_PACE, G_STAGES

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


pull_staged = pull_advance_staged = _unbound

# Columns of the streams' adjoints: by strength, width and start; how many doses are still to be met
# on the way back, and the time of the last of them; then those of `staged`.
G_GIVEN, G_LAST = 3, 4
N_ADJOINT = 7


def pull_piece(mu, coefs, gcoefs, seg, col, k, w, u, n, interval, past):
    """Adjoint of `add_piece`: adds to `g`, returns the derivatives by k, w and u."""
    gk = 0.0
    gw = 0.0
    gu = 0.0
    for m in range(N_MODES):
        if ACCUMULATES:
            if past and m == N_MODES - 1:
                continue
        rate = coefs[seg, m]
        shape = 1.0
        slope = 0.0
        if INFUSIONS:
            if w > 0.0:
                shape = phi(rate * w)
                slope = dphi(rate * w)
        decay = exp(-rate * u) if u > 0.0 else 1.0
        total = 1.0
        moment = 0.0
        if n != 1:
            total, moment = train(rate * interval, n)
        v = shape * decay * total
        a = 0.0
        for r in range(FIRST_ROW[m], N_ROWS):
            at = N_MODES + (m * N_ROWS + r) * N_COLS + col
            by = mu[m * N_ROWS + r]
            if ACCUMULATES:
                if past and ACCUMULATED[r] != 0:
                    by -= mu[(N_MODES - 1) * N_ROWS + r]
            a += by * coefs[seg, at]
            gcoefs[seg, at] += by * k * v
        gk += a * v
        gw += a * k * rate * slope * decay * total
        gu -= a * k * rate * v
        gcoefs[seg, m] += a * k * (w * slope * decay * total - u * v + interval * shape * decay * moment)
    return gk, gw, gu


def pull_doses(k, coefs, gcoefs, seg, col, amount, u, kept, mu):
    """Adjoint of `give_doses` where it kept what they gave: returns the derivatives by amount and u."""
    gk = 0.0
    gu = 0.0
    for m in range(N_MODES):
        v = kept[k, GIVEN + 2 + m]
        a = 0.0
        for r in range(FIRST_ROW[m], N_ROWS):
            at = N_MODES + (m * N_ROWS + r) * N_COLS + col
            a += mu[m * N_ROWS + r] * coefs[seg, at]
            gcoefs[seg, at] += mu[m * N_ROWS + r] * amount * v
        gk += a * v
        a *= amount
        gu -= a * coefs[seg, m] * v
        gcoefs[seg, m] += a * (kept[k, GIVEN + 2 + N_MODES + m] - u * v)
    return gk, gu


def pull_resolve(s, coefs, gcoefs, seg, si, sf, gs):
    """Adjoint of `resolve`: derivatives by what a stream was resolved to into the coefficients."""
    gk = gs[s, 0]
    gw = gs[s, 1]
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
    if STAGED_INPUTS:
        if kind == STAGED:
            gcoefs[seg, SLOT_STAGES[channel]] += gs[s, G_STAGES]
            gcoefs[seg, SLOT_PACE[channel]] += gs[s, G_PACE]
    if f >= 0:
        gcoefs[seg, f] += ga * sf[s, F_AMT]
    if SLOT_LAG[channel] >= 0:
        gcoefs[seg, SLOT_LAG[channel]] += gs[s, 2]


def pull_constant(s, coefs, gcoefs, seg, si, sf, mu):
    """Adjoint of `start_constant`."""
    col = COLUMN[si[s, S_CHANNEL]]
    for m in range(N_MODES - 1 if ACCUMULATES else N_MODES):
        for r in range(N_ROWS):
            at = N_MODES + (m * N_ROWS + r) * N_COLS + col
            by = mu[m * N_ROWS + r]
            if ACCUMULATES:
                if ACCUMULATED[r] != 0:
                    by -= mu[(N_MODES - 1) * N_ROWS + r]
            part = by * sf[s, F_RATE] / coefs[seg, m]
            gcoefs[seg, at] += part
            gcoefs[seg, m] -= part * coefs[seg, at] / coefs[seg, m]


def pull_steady(s, time, coefs, gcoefs, seg, si, sf, streams, gs, mu):
    """Adjoint of `start_steady`."""
    col = COLUMN[si[s, S_CHANNEL]]
    interval = sf[s, F_II]
    strength = streams[s, K_STRENGTH]
    width = streams[s, K_WIDTH]
    j = np.int64(streams[s, K_SHIFT]) + 1
    start = streams[s, K_START] + (j - 1) * interval
    bolus = si[s, S_KIND] == BOLUS
    total = strength if bolus else strength * width
    u = max(0.0, time - (start + width - j * interval))
    if STAGED_INPUTS:
        if si[s, S_KIND] == STAGED:
            shape = streams[s, K_STAGES]
            pace = streams[s, K_PACE]
            _, _, d = pull_staged(
                mu, coefs, gcoefs, seg, s, col, gs, strength, shape, pace, 0.0, width, u, FOREVER, interval, 1
            )
            gs[s, 2] -= d
            for running in range(1, j):
                w = max(0.0, time - (start - running * interval))
                _, b, _ = pull_staged(
                    mu, coefs, gcoefs, seg, s, col, gs, strength, shape, pace, 0.0, w, 0.0, 1, interval, 1
                )
                gs[s, 2] -= b
            return
    a, b, d = pull_piece(mu, coefs, gcoefs, seg, col, total, width, u, FOREVER, interval, 1)
    gs[s, 2] -= d
    if bolus:
        gs[s, 0] += a
        return
    gs[s, 0] += a * width
    gs[s, 1] += a * strength + b - d
    for running in range(1, j):
        w = time - (start - running * interval)
        if w > 0.0:
            a, b, d = pull_piece(mu, coefs, gcoefs, seg, col, strength * w, w, 0.0, 1, interval, 1)
            gs[s, 0] += a * w
            gs[s, 2] -= a * strength + b


def reset_adjoint(s, sf, streams, gs):
    """Begin the adjoint of a stream: nothing asked yet, all that it gave still to be met."""
    for j in range(N_ADJOINT):
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
    due = np.int64(gs[s, G_GIVEN])
    if due > 0:
        u = max(0.0, time - (streams[s, K_START] + (due - 1) * interval))
        col = COLUMN[si[s, S_CHANNEL]]
        a, _, d = pull_piece(mu, coefs, gcoefs, seg, col, streams[s, K_STRENGTH], 0.0, u, due, interval, 0)
        gs[s, 0] += a
        gs[s, 2] -= d
    if INFUSIONS:
        if si[s, S_STEADY] != 0:
            pull_steady(s, time, coefs, gcoefs, seg, si, sf, streams, gs, mu)
    pull_resolve(s, coefs, gcoefs, seg, si, sf, gs)


def pull_infusion(s, t0, t1, coefs, gcoefs, seg, si, sf, streams, gs, mu):
    """Adjoint of `advance_infusion`; derivatives by strength, width and start go to `gs[s]`."""
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
        finish = start + width + j * interval
        end = min(t1, finish)
        began = max(t0, start + j * interval)
        w = max(0.0, end - began)
        a, b, d = pull_piece(mu, coefs, gcoefs, seg, col, strength * w, w, t1 - end, 1, interval, 0)
        gs[s, 0] += a * w
        by_w = a * strength + b
        if finish <= t1:
            gs[s, 1] += by_w - d
            gs[s, 2] -= d
            if began == t0:
                gs[s, 2] += by_w
        elif began > t0:
            gs[s, 2] -= by_w
    if ended1 > begun0:
        u = max(0.0, t1 - (start + width + (ended1 - 1) * interval))
        a, b, d = pull_piece(
            mu, coefs, gcoefs, seg, col, strength * width, width, u, ended1 - begun0, interval, 0
        )
        gs[s, 0] += a * width
        gs[s, 1] += a * strength + b - d
        gs[s, 2] -= d
    for j in range(max(begun0, ended1), begun1):
        w = max(0.0, t1 - (start + j * interval))
        a, b, _ = pull_piece(mu, coefs, gcoefs, seg, col, strength * w, w, 0.0, 1, interval, 0)
        gs[s, 0] += a * w
        gs[s, 2] -= a * strength + b


def pull_stream(k, s, t0, t1, coefs, gcoefs, seg, si, sf, streams, kept, gs, mu):
    """Adjoint of `advance_stream`; derivatives by strength, width and start go to `gs[s]`."""
    if STAGED_INPUTS:
        if si[s, S_KIND] == STAGED:
            pull_advance_staged(s, t0, t1, coefs, gcoefs, seg, si, sf, streams, gs, mu)
            return
    if INFUSIONS:
        if si[s, S_KIND] != BOLUS:
            pull_infusion(s, t0, t1, coefs, gcoefs, seg, si, sf, streams, gs, mu)
            return
    interval = sf[s, F_II]
    start = streams[s, K_START]
    due = np.int64(gs[s, G_GIVEN])
    noted = kept[k, GIVEN] == s
    if noted:
        given = due - np.int64(kept[k, GIVEN + 1])
    else:
        given = min(due, count(t0, start, interval, np.int64(streams[s, K_NUMBER])))
    if due > given:
        u = max(0.0, t1 - (start + (due - 1) * interval))
        col = COLUMN[si[s, S_CHANNEL]]
        amount = streams[s, K_STRENGTH]
        if noted:
            a, d = pull_doses(k, coefs, gcoefs, seg, col, amount, u, kept, mu)
        else:
            a, _, d = pull_piece(mu, coefs, gcoefs, seg, col, amount, 0.0, u, due - given, interval, 0)
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


# In the order in which they are compiled: each after those that it calls.
TEMPLATES = (
    pull_piece,
    pull_doses,
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
)
