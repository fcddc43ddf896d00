"""Kernel templates: the adjoint of the walk in `ode_walk.py`: the tape played backwards.

At `MU` in the scratch `w` lie the derivatives of the result by the states, at `NU` by the driver's modes,
in `gcoefs` by the coefficients, in `gs` by the strength, width and start that a stream was resolved to. `GU`
and `GV` add up the derivatives by the input rates; an infusion takes what was added up between its
end and its begin.

An event at a time that depends on parameters (a lag, the end of an infusion) moves along the solution:
the state after it changes by the difference of the rates just before and just after.
"""

import math

import numpy as np

from popbayes.engine.ode_driver import PAIR_KNOWN, STIFFLY
from popbayes.engine.ode_steps import (
    C_EXTRA,
    C_KIND,
    C_METHOD,
    C_SEGMENT,
    C_STEP,
    C_TIME,
    T_BOLUS,
    T_INFUSE,
    T_INIT,
    T_OBS,
    T_SEGMENT,
    T_START,
    T_STEADY,
    T_STEP,
    T_SWITCH,
)
from popbayes.engine.ode_walk import K_STRENGTH
from popbayes.engine.schedule import (
    F_AMT,
    F_RATE,
    GIVEN_RATE,
    MODEL_DURATION,
    MODEL_RATE,
    R_OBS,
    R_OUTPUT,
    S_CHANNEL,
    S_KIND,
)

# Bound by ode.py; the values here only let the module be read and checked.
N_STATES = N_MODES = N_ROWS = N_COLS = N_STREAM = 0
TRANSFERS = INIT = RATES = Y_AT = Z_AT = V_AT = ONE_AT = WIDTH = 0
X = Z = U = V = ONE = K = MU = NU = GU = GV = G = GD = GR = 0
INFUSIONS = CHANGES = STIFF = EXPLICIT = SWITCHES = True
TARGET: tuple[int, ...] = ()
DRIVEN: tuple[int, ...] = ()
SLOT_F: tuple[int, ...] = ()
SLOT_LAG: tuple[int, ...] = ()
SLOT_RATE: tuple[int, ...] = ()
SLOT_DURATION: tuple[int, ...] = ()
G_STRENGTH, G_WIDTH, G_START = 0, 1, 2
N_GIVEN = 3


def _unbound(*_):
    raise RuntimeError("a kernel template is compiled by popbayes.engine.specialise, not called")


rhs = drive = put = pull_output = pull_drive = pull_explicit = pull_stiff = _unbound
read_driver = pull_change = pull_steady = set_off = empty = pull_switch = _unbound


def state_at(row, tape, w):
    """Take up state and modes that a row of the tape holds."""
    for i in range(N_STATES):
        w[X + i] = tape[row + Y_AT + i]
    for j in range(N_MODES * N_ROWS):
        w[Z + j] = tape[row + Z_AT + j]


def pull_step(row, tape, coefs, gcoefs, w):
    """Adjoint of one step."""
    t = tape[row + C_TIME]
    h = tape[row + C_STEP]
    seg = int(tape[row + C_SEGMENT])
    stiff = tape[row + C_METHOD] > 0.0
    infusing = tape[row + C_EXTRA] > 0.0
    if N_MODES > 0:
        for j in range(N_MODES * N_ROWS):
            w[Z + j] = tape[row + Z_AT + j]
            if INFUSIONS:
                w[V + j] = tape[row + V_AT + j]
        if STIFF and stiff:
            drive(h, STIFFLY, seg, coefs, infusing, w)
        else:
            for m in range(N_MODES):
                w[ONE + m] = tape[row + ONE_AT + m]
            drive(h, PAIR_KNOWN, seg, coefs, infusing, w)
    if N_STATES > 0:
        if STIFF and stiff:
            pull_stiff(t, h, tape, row, seg, coefs, w, gcoefs)
        else:
            pull_explicit(t, h, tape, row, seg, coefs, w, gcoefs)
        if INFUSIONS:
            if infusing:
                for stage in range(6):
                    for i in range(N_STATES):
                        w[GU + i] += w[G + stage * N_STATES + i]
    if N_MODES > 0:
        pull_drive(h, stiff, seg, coefs, infusing, w, gcoefs)


def by_amount(s, seg, coefs, si, w, mu, nu):
    """Derivative by an amount that came to where a stream leads; `mu`, `nu`: where the adjoints lie."""
    channel = si[s, S_CHANNEL]
    if TARGET[channel] >= 0:
        return w[mu + TARGET[channel]]
    total = 0.0
    for j in range(N_MODES * N_ROWS):
        total += w[nu + j] * coefs[seg, TRANSFERS + j * N_COLS + DRIVEN[channel]]
    return total


def pull_put(s, amount, seg, coefs, si, w, mu, nu, gcoefs):
    """Adjoint of `put` by the coefficients; returns the derivative by the amount."""
    channel = si[s, S_CHANNEL]
    if TARGET[channel] < 0:
        for j in range(N_MODES * N_ROWS):
            gcoefs[seg, TRANSFERS + j * N_COLS + DRIVEN[channel]] += w[nu + j] * amount
    return by_amount(s, seg, coefs, si, w, mu, nu)


def slope_now(t, seg, coefs, w):
    """Rates at the present state, weighted by the adjoint."""
    total = 0.0
    if N_STATES > 0:
        read_driver(w)
        rhs(t, w, np.int64(X), np.int64(0), w, coefs, seg, np.int64(0))
        for i in range(N_STATES):
            total += w[MU + i] * w[K + i]
    for m in range(N_MODES):
        for r in range(N_ROWS):
            total -= w[NU + m * N_ROWS + r] * coefs[seg, RATES + m] * w[Z + m * N_ROWS + r]
    return total


def pull_bolus(row, tape, coefs, gcoefs, si, streams, gs, w):
    """Adjoint of a bolus: by its amount, and by its time where it has a lag."""
    s = int(tape[row + C_STEP])
    seg = int(tape[row + C_SEGMENT])
    strength = streams[s, K_STRENGTH]
    if SLOT_LAG[si[s, S_CHANNEL]] >= 0:
        t = tape[row + C_TIME]
        state_at(row, tape, w)
        gs[s, G_START] += slope_now(t, seg, coefs, w)
        put(s, strength, seg, coefs, si, w, X, Z)
        gs[s, G_START] -= slope_now(t, seg, coefs, w)
    gs[s, G_STRENGTH] += pull_put(s, strength, seg, coefs, si, w, MU, NU, gcoefs)


def pull_infuse(row, tape, coefs, gcoefs, si, streams, gs, w):
    """Adjoint of the begin or the end of infusions."""
    s = int(tape[row + C_STEP])
    seg = int(tape[row + C_SEGMENT])
    number = math.floor(tape[row + C_EXTRA])
    why = (tape[row + C_EXTRA] - number) * 4.0
    strength = streams[s, K_STRENGTH]
    gs[s, G_STRENGTH] += number * pull_put(s, strength * number, seg, coefs, si, w, GU, GV, gcoefs)
    if why > 0.5:
        moved = -number * strength * by_amount(s, seg, coefs, si, w, MU, NU)
        gs[s, G_START] += moved
        if why > 1.5:
            gs[s, G_WIDTH] += moved


def pull_observation(row, tape, coefs, gcoefs, ri, gpred, w):
    """Adjoint of an observation."""
    k = int(tape[row + C_STEP])
    seg = int(tape[row + C_SEGMENT])
    if SWITCHES:
        set_off(int(tape[row + C_EXTRA]), w)
    state_at(row, tape, w)
    read_driver(w)
    for r in range(N_ROWS):
        w[GR + r] = 0.0
    g = gpred[ri[k, R_OBS]]
    pull_output(ri[k, R_OUTPUT], g, tape[row + C_TIME], w, X, 0, w, coefs, seg, gcoefs)
    empty(MU, w)
    for r in range(N_ROWS):
        for m in range(N_MODES):
            w[NU + m * N_ROWS + r] += w[GR + r]


def pull_begin(row, tape, gcoefs, w):
    """Adjoint of initial states."""
    seg = int(tape[row + C_SEGMENT])
    for i in range(N_STATES):
        gcoefs[seg, INIT + i] += w[MU + i]
        w[MU + i] = 0.0
    for j in range(N_MODES * N_ROWS):
        w[NU + j] = 0.0


def pull_resolve(s, seg, coefs, gcoefs, si, sf, gs):
    """Adjoint of `resolve`: derivatives by strength, width and start into the coefficients."""
    channel = si[s, S_CHANNEL]
    kind = si[s, S_KIND]
    f = SLOT_F[channel]
    amount = sf[s, F_AMT]
    if f >= 0:
        amount *= coefs[seg, f]
    g = gs[s, G_STRENGTH]
    if INFUSIONS:
        if kind == GIVEN_RATE:
            g = gs[s, G_WIDTH] / sf[s, F_RATE]
        elif kind == MODEL_RATE:
            rate = coefs[seg, SLOT_RATE[channel]]
            g = gs[s, G_WIDTH] / rate
            gcoefs[seg, SLOT_RATE[channel]] += gs[s, G_STRENGTH] - g * amount / rate
        elif kind == MODEL_DURATION:
            width = coefs[seg, SLOT_DURATION[channel]]
            g = gs[s, G_STRENGTH] / width
            gcoefs[seg, SLOT_DURATION[channel]] += gs[s, G_WIDTH] - g * amount / width
    if f >= 0:
        gcoefs[seg, f] += g * sf[s, F_AMT]
    if SLOT_LAG[channel] >= 0:
        gcoefs[seg, SLOT_LAG[channel]] += gs[s, G_START]


def pull_entry(row, tape, coefs, gcoefs, si, sf, streams, gs, w):
    """Adjoint of the start of a dosing record."""
    s = int(tape[row + C_STEP])
    seg = int(tape[row + C_SEGMENT])
    pull_resolve(s, seg, coefs, gcoefs, si, sf, gs)
    for j in range(N_GIVEN):
        gs[s, j] = 0.0


def pull_row(row, tape, coefs, gcoefs, ri, si, sf, streams, gs, gpred, w):
    """Adjoint of whatever happened at a row of the tape, steady states aside."""
    kind = tape[row + C_KIND]
    if kind == T_STEP:
        pull_step(row, tape, coefs, gcoefs, w)
    elif kind == T_OBS:
        pull_observation(row, tape, coefs, gcoefs, ri, gpred, w)
    elif kind == T_BOLUS:
        pull_bolus(row, tape, coefs, gcoefs, si, streams, gs, w)
    elif kind == T_START:
        pull_entry(row, tape, coefs, gcoefs, si, sf, streams, gs, w)
    elif kind == T_INIT:
        pull_begin(row, tape, gcoefs, w)
    elif kind == T_INFUSE:
        pull_infuse(row, tape, coefs, gcoefs, si, streams, gs, w)
    elif kind == T_SEGMENT:
        if CHANGES:
            state_at(row, tape, w)
            pull_change(int(tape[row + C_SEGMENT]), coefs, w, gcoefs)
    elif kind == T_SWITCH:
        if SWITCHES:
            pull_switch(row, tape, w)


def pull_tape(first, last, tape, coefs, gcoefs, ri, si, sf, streams, gs, gpred, w):
    """Play the rows from the one before `last` to `first` backwards."""
    for i in range(N_STATES):
        w[MU + i] = 0.0
        w[GU + i] = 0.0
        w[U + i] = 0.0
    for j in range(N_MODES * N_ROWS):
        w[NU + j] = 0.0
        w[GV + j] = 0.0
    for j in range(6 * N_ROWS):
        w[GD + j] = 0.0
    row = last - WIDTH
    while row >= first:
        kind = tape[row + C_KIND]
        if INFUSIONS:
            if kind == T_STEADY:
                row = pull_steady(row, tape, coefs, gcoefs, ri, si, sf, streams, gs, gpred, w)
                continue
        pull_row(row, tape, coefs, gcoefs, ri, si, sf, streams, gs, gpred, w)
        row -= WIDTH


# In the order in which they are compiled: each after those that it calls; the steady states' come between.
TEMPLATES = (
    state_at, pull_step, by_amount, pull_put, slope_now, pull_bolus, pull_infuse, pull_observation,
    pull_begin, pull_resolve, pull_entry, pull_row,
)  # fmt: skip
LAST = (pull_tape,)
