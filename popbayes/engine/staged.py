"""Kernel templates: doses that pass stages (transit compartments), forward and adjoint.

Such a dose is an input of finite width, `span(a) / p`, like an infusion (see `modal.advance_infusion`); only
its shape is another (see `stages`).
"""

import numpy as np

from popbayes.engine.modal import K_NUMBER, K_PACE, K_STAGES, K_START, K_STRENGTH, K_WIDTH
from popbayes.engine.pieces import count, train
from popbayes.engine.quick_exp import exp
from popbayes.engine.schedule import F_II, S_CHANNEL
from popbayes.engine.stages import arrived, arrived_slopes

# Bound by specialise(); the values here only let the module be read and checked.
N_MODES = N_ROWS = N_COLS = 0
ACCUMULATES = True
ACCUMULATED: tuple[int, ...] = ()
COLUMN: tuple[int, ...] = ()

# Columns of the streams' adjoints that only such doses use (see `adjoint`): by stages and by pace.
G_STAGES, G_PACE = 5, 6


def add_staged(z, coefs, seg, col, k, a, p, w0, w1, u, n, interval, past):
    """Add to every mode what `n` doses bring between `w0` and `w1` after each was given, `u` ago."""
    for m in range(N_MODES):
        if ACCUMULATES:
            if past and m == N_MODES - 1:
                continue
        rate = coefs[seg, m]
        v = arrived(a, p, rate, w1)
        if w0 > 0.0:
            v -= arrived(a, p, rate, w0) * exp(-rate * (w1 - w0))
        v *= k
        if u > 0.0:
            v *= exp(-rate * u)
        if n != 1:
            v *= train(rate * interval, n)[0]
        for r in range(N_ROWS):
            part = coefs[seg, N_MODES + (m * N_ROWS + r) * N_COLS + col] * v
            z[m * N_ROWS + r] += part
            if ACCUMULATES:
                if past and ACCUMULATED[r] != 0:
                    z[(N_MODES - 1) * N_ROWS + r] -= part


def advance_staged(s, t0, t1, coefs, seg, si, sf, streams, z):
    """Add what staged doses bring in (t0, t1]; tell whether more is to come."""
    col = COLUMN[si[s, S_CHANNEL]]
    interval = sf[s, F_II]
    k = streams[s, K_STRENGTH]
    width = streams[s, K_WIDTH]
    start = streams[s, K_START]
    a = streams[s, K_STAGES]
    p = streams[s, K_PACE]
    n = np.int64(streams[s, K_NUMBER])
    begun0 = count(t0, start, interval, n)
    begun1 = count(t1, start, interval, n)
    ended0 = count(t0, start + width, interval, n)
    ended1 = count(t1, start + width, interval, n)
    for j in range(ended0, begun0):
        given = start + j * interval
        end = min(t1, given + width)
        w0 = max(0.0, t0 - given)
        add_staged(z, coefs, seg, col, k, a, p, w0, max(w0, end - given), t1 - end, 1, interval, 0)
    if ended1 > begun0:
        u = max(0.0, t1 - (start + width + (ended1 - 1) * interval))
        add_staged(z, coefs, seg, col, k, a, p, 0.0, width, u, ended1 - begun0, interval, 0)
    for j in range(max(begun0, ended1), begun1):
        w = max(0.0, t1 - (start + j * interval))
        add_staged(z, coefs, seg, col, k, a, p, 0.0, w, 0.0, 1, interval, 0)
    return ended1 < n


def pull_staged(mu, coefs, gcoefs, seg, s, col, gs, k, a, p, w0, w1, u, n, interval, past):
    """Adjoint of `add_staged`: adds to `gcoefs` and `gs[s]`, returns the derivatives by w0, w1 and u."""
    gw0 = 0.0
    gw1 = 0.0
    gu = 0.0
    for m in range(N_MODES):
        if ACCUMULATES:
            if past and m == N_MODES - 1:
                continue
        rate = coefs[seg, m]
        shape, by_a, by_p, by_rate, by_w1 = arrived_slopes(a, p, rate, w1)
        by_w0 = 0.0
        if w0 > 0.0:
            before, before_a, before_p, before_rate, before_w0 = arrived_slopes(a, p, rate, w0)
            kept = exp(-rate * (w1 - w0))
            shape -= before * kept
            by_a -= before_a * kept
            by_p -= before_p * kept
            by_rate -= (before_rate - (w1 - w0) * before) * kept
            by_w1 += rate * before * kept
            by_w0 = -(before_w0 + rate * before) * kept
        decay = exp(-rate * u) if u > 0.0 else 1.0
        total = 1.0
        moment = 0.0
        if n != 1:
            total, moment = train(rate * interval, n)
        v = shape * decay * total
        g = 0.0
        for r in range(N_ROWS):
            at = N_MODES + (m * N_ROWS + r) * N_COLS + col
            by = mu[m * N_ROWS + r]
            if ACCUMULATES:
                if past and ACCUMULATED[r] != 0:
                    by -= mu[(N_MODES - 1) * N_ROWS + r]
            g += by * coefs[seg, at]
            gcoefs[seg, at] += by * k * v
        gs[s, 0] += g * v
        part = g * k * decay * total
        gs[s, G_STAGES] += part * by_a
        gs[s, G_PACE] += part * by_p
        gw0 += part * by_w0
        gw1 += part * by_w1
        gu -= g * k * rate * v
        gcoefs[seg, m] += part * by_rate + g * k * (interval * shape * decay * moment - u * v)
    return gw0, gw1, gu


def pull_advance_staged(s, t0, t1, coefs, gcoefs, seg, si, sf, streams, gs, mu):
    """Adjoint of `advance_staged`.

    The width is not differentiated: what arrives after it is less than rounding.
    """
    col = COLUMN[si[s, S_CHANNEL]]
    interval = sf[s, F_II]
    k = streams[s, K_STRENGTH]
    width = streams[s, K_WIDTH]
    start = streams[s, K_START]
    a = streams[s, K_STAGES]
    p = streams[s, K_PACE]
    n = np.int64(streams[s, K_NUMBER])
    begun0 = count(t0, start, interval, n)
    begun1 = count(t1, start, interval, n)
    ended0 = count(t0, start + width, interval, n)
    ended1 = count(t1, start + width, interval, n)
    for j in range(ended0, begun0):
        given = start + j * interval
        end = min(t1, given + width)
        w0 = max(0.0, t0 - given)
        w1 = max(w0, end - given)
        g0, g1, gu = pull_staged(
            mu, coefs, gcoefs, seg, s, col, gs, k, a, p, w0, w1, t1 - end, 1, interval, 0
        )
        gs[s, 2] -= g0 + (gu if given + width <= t1 else g1)
    if ended1 > begun0:
        u = max(0.0, t1 - (start + width + (ended1 - 1) * interval))
        number = ended1 - begun0
        _, _, gu = pull_staged(
            mu, coefs, gcoefs, seg, s, col, gs, k, a, p, 0.0, width, u, number, interval, 0
        )
        gs[s, 2] -= gu
    for j in range(max(begun0, ended1), begun1):
        w = max(0.0, t1 - (start + j * interval))
        _, g1, _ = pull_staged(mu, coefs, gcoefs, seg, s, col, gs, k, a, p, 0.0, w, 0.0, 1, interval, 0)
        gs[s, 2] -= g1


# In the order in which they are compiled.
FORWARD = (add_staged, advance_staged)
BACKWARD = (pull_staged, pull_advance_staged)
