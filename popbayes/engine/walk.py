"""Kernel templates: the walk over one subject's events; what doses add is in `modal` (or `matrix`).

The upper-case names are bound by `linear.py` to the numbers of one model (see `specialise`).
"""

from popbayes.engine.modal import K_NEXT, advance_stream, give_bolus, start_stream
from popbayes.engine.pieces import TIE
from popbayes.engine.quick_exp import exp
from popbayes.engine.schedule import (
    R_CUT,
    R_FIRST,
    R_OBS,
    R_OFF,
    R_OUTPUT,
    R_RESET,
    R_SEGMENT,
    R_STREAMS,
    S_CHANNEL,
)

# Bound by specialise(); the values here only let the module be read and checked.
N_MODES = N_ROWS = N_COLS = 0
CHANGES = AMPLITUDES = STREAMS = SWITCHES = True
WEIGHTS = GIVEN = 0
COLUMN: tuple[int, ...] = ()
OBSERVED: tuple[int, ...] = ()
FIRST_ROW: tuple[int, ...] = ()
N_COLUMN: tuple[int, ...] = ()

# Modes that add up to less than this part of their size have cancelled.
CANCELLED = 4e-15


def change(z, x, coefs, old, seg):
    """Carry the compartments' amounts over to the modes of a new segment; `x` is scratch."""
    for r in range(N_ROWS):
        x[r] = 0.0
    for m in range(N_MODES):
        for r in range(FIRST_ROW[m], N_ROWS):
            x[r] += z[m * N_ROWS + r]
    for m in range(N_MODES):
        for r in range(FIRST_ROW[m], N_ROWS):
            total = 0.0
            for col in range(N_COLUMN[m]):
                total += coefs[seg, N_MODES + (m * N_ROWS + r) * N_COLS + col] * x[col]
            z[m * N_ROWS + r] = total


def observe(z, coefs, seg, out):
    """Value of output `out`: rows summed over the modes."""
    total = 0.0
    scale = 0.0
    if CHANGES:
        for r in OBSERVED:
            amount = 0.0
            size = 0.0
            for m in range(N_MODES):
                if r >= FIRST_ROW[m]:
                    amount += z[m * N_ROWS + r]
                    size += abs(z[m * N_ROWS + r])
            total += amount * coefs[seg, WEIGHTS + out * N_ROWS + r]
            scale += size * abs(coefs[seg, WEIGHTS + out * N_ROWS + r])
    else:
        for m in range(N_MODES):
            total += z[m * N_ROWS + out]
            scale += abs(z[m * N_ROWS + out])
    # modes that cancel (nothing has arrived yet) are zero, not their rounding error
    return 0.0 if abs(total) < CANCELLED * scale else total


def decay(k, dt, coefs, seg, kept, z):
    """Let every mode decay over `dt`."""
    for m in range(N_MODES):
        e = exp(-coefs[seg, m] * dt)
        kept[k, N_MODES * N_ROWS + m] = e
        for r in range(FIRST_ROW[m], N_ROWS):
            z[m * N_ROWS + r] *= e


def keep(k, z, kept):
    """Note the state after record `k`."""
    for m in range(N_MODES):
        for r in range(FIRST_ROW[m], N_ROWS):
            kept[k, m * N_ROWS + r] = z[m * N_ROWS + r]


def pass_on(k, z, x, coefs, old, seg, kept):
    """Go over to the segment of record `k` where the interval before it begins."""
    change(z, x, coefs, old, seg)
    if not AMPLITUDES:
        # for the adjoint: the state that the interval begins with (its rows have the same sums)
        keep(k - 1, z, kept)


def retire(log, retired, s, k):
    """Note that stream `s` was dropped at record `k`."""
    log[retired, 0] = s
    log[retired, 1] = k
    return retired + 1


def turn_off(z, off):
    """Empty the compartments that are off (bits); the state must be one of compartments, as in `matrix`."""
    for i in range(N_ROWS):
        if (off >> i) & 1:
            z[i] = 0.0


def drop_streams(k, off, si, log, retired, active, running):
    """Drop the streams into compartments that are off."""
    j = 0
    while j < running:
        if (off >> COLUMN[si[active[j], S_CHANNEL]]) & 1:
            retired = retire(log, retired, active[j], k)
            running -= 1
            active[j] = active[running]
        else:
            j += 1
    return retired, running


def walk_events(i, coefs, events, pred, kept, streams, log, work):
    """Walk the records of subject `i` in order; write its predictions and what the adjoint needs.

    `events` are the arrays of a `Schedule`; `kept[k]` is the state after record `k`, in the modes of the
    interval that begins there, the decays over the one that ends there, and what doses gave in it; `work` is
    scratch: state, rows, running streams.
    """
    ptr, ri, rt, si, sf, sptr = events
    z, x, active = work
    running = 0
    retired = sptr[i]
    if STREAMS:
        for s in range(sptr[i], sptr[i + 1]):
            log[s, 1] = -1
    for j in range(N_MODES * N_ROWS):
        z[j] = 0.0
    seg = ri[ptr[i], R_SEGMENT]
    t0 = rt[ptr[i]]
    for k in range(ptr[i], ptr[i + 1]):
        if CHANGES:
            if ri[k, R_SEGMENT] != seg:
                pass_on(k, z, x, coefs, seg, ri[k, R_SEGMENT], kept)
                seg = ri[k, R_SEGMENT]
        t1 = rt[k]
        if t1 > t0:
            decay(k, t1 - t0, coefs, seg, kept, z)
            if STREAMS:
                kept[k, GIVEN] = -1.0
                j = 0
                while j < running:
                    s = active[j]
                    if streams[s, K_NEXT] > t1 + TIE * (1.0 + abs(t1)) or advance_stream(
                        k, s, t0, t1, coefs, seg, si, sf, streams, kept, z
                    ):
                        j += 1
                    else:
                        retired = retire(log, retired, s, k)
                        running -= 1
                        active[j] = active[running]
        t0 = t1
        if SWITCHES:
            turn_off(z, ri[k, R_OFF])
        if ri[k, R_RESET] != 0:
            for j in range(N_MODES * N_ROWS):
                z[j] = 0.0
            if STREAMS:
                for j in range(running):
                    retired = retire(log, retired, active[j], k)
                running = 0
        for s in range(ri[k, R_FIRST], ri[k, R_FIRST] + ri[k, R_STREAMS]):
            if STREAMS:
                if start_stream(s, t1, coefs, seg, si, sf, streams, kept, z):
                    active[running] = s
                    running += 1
            else:
                give_bolus(s, coefs, seg, si, sf, z)
        if ri[k, R_OBS] >= 0:
            pred[ri[k, R_OBS]] = observe(z, coefs, seg, ri[k, R_OUTPUT])
        if SWITCHES:
            turn_off(z, ri[k, R_CUT])
            retired, running = drop_streams(k, ri[k, R_CUT], si, log, retired, active, running)
        keep(k, z, kept)
    if STREAMS:
        for j in range(running):
            retired = retire(log, retired, active[j], ptr[i + 1])


# In the order in which they are compiled: each after those that it calls.
TEMPLATES = (
    change,
    observe,
    decay,
    keep,
    pass_on,
    retire,
    turn_off,
    drop_streams,
    walk_events,
)
