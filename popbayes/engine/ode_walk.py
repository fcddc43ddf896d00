"""Kernel templates: the walk over one subject's events where states are integrated.

The rules are those of `modal.py`: a record's interval, then its reset, its doses, its observation. Each
dose and each start and end of an infusion is an event of its own, at which integration stops. What
happens is written to the tape, row by row, and `ode_pull.py` plays it backwards.
"""

import math

import numpy as np

from popbayes.engine.ode_steps import (
    P_FRESH,
    P_INFUSING,
    P_OFF,
    P_QUIET,
    P_SIGNS,
    P_STEP,
    P_STEPS,
    P_STIFF,
    T_BOLUS,
    T_INFUSE,
    T_INIT,
    T_OBS,
    T_SEGMENT,
    T_START,
)
from popbayes.engine.pieces import TIE
from popbayes.engine.schedule import (
    BOLUS,
    CONSTANT,
    F_AMT,
    F_II,
    F_RATE,
    GIVEN_RATE,
    MODEL_DURATION,
    MODEL_RATE,
    R_CUT,
    R_FIRST,
    R_OBS,
    R_OFF,
    R_OUTPUT,
    R_RESET,
    R_SEGMENT,
    R_STREAMS,
    S_CHANNEL,
    S_DOSES,
    S_KIND,
    S_STEADY,
)

# Bound by ode.py; the values here only let the module be read and checked.
N_STATES = N_MODES = N_ROWS = N_COLS = 0
TRANSFERS = INIT = 0
X = Z = U = V = D = PEAK = 0
INFUSIONS = CHANGES = SWITCHES = SENSITIVE = True
STIFF_FIRST = 0.0
TARGET: tuple[int, ...] = ()
TANGENT: tuple[int, ...] = ()
DRIVEN: tuple[int, ...] = ()
SLOT_F: tuple[int, ...] = ()
SLOT_LAG: tuple[int, ...] = ()
SLOT_RATE: tuple[int, ...] = ()
SLOT_DURATION: tuple[int, ...] = ()
# Columns of the streams' work array, filled at the dose record: what a dose is, how many there are, how many
# have begun and, of infusions, ended.
K_STRENGTH, K_WIDTH, K_START, K_NUMBER, K_GIVEN, K_ENDED = 0, 1, 2, 3, 4, 5
N_STREAM = 6
# Modes that add up to less than this part of their size have cancelled.
CANCELLED = 4e-15
# An infusion's row on the tape: when it starts and ends depends on parameters, or it is only taken up
# (at a steady state, at a change of parameters) or dropped (at a reset).
UNTIMED, BEGINS, ENDS = 0.0, 1.0, 2.0


def _unbound(*_):
    raise RuntimeError("a kernel template is compiled by popbayes.engine.specialise, not called")


integrate = note = output = read_driver = change = start_steady = _unbound
set_off = switch = drop_off = _unbound


def put(s, amount, seg, coefs, si, w, x, z):
    """Add an amount (or a rate) to the state or to the modes that a stream leads to."""
    channel = si[s, S_CHANNEL]
    if TARGET[channel] >= 0:
        w[x + TARGET[channel]] += amount
        if SENSITIVE:
            w[x + TANGENT[channel]] += amount
    else:
        for j in range(N_MODES * N_ROWS):
            w[z + j] += coefs[seg, TRANSFERS + j * N_COLS + DRIVEN[channel]] * amount


def interrupt(w):
    """The rates jump: compute them anew and choose the step anew."""
    w[P_FRESH] = 1.0
    w[P_STEP] = 0.0
    w[P_QUIET] = 0.0
    if w[P_STIFF] == 2.0:
        w[P_STIFF] = 0.0


def stop_inputs(w):
    """No infusion runs: leave no rounding error behind."""
    for i in range(N_STATES):
        w[U + i] = 0.0
    for j in range(N_MODES * N_ROWS):
        w[V + j] = 0.0


def infuse(s, t, number, why, seg, coefs, si, streams, w, tape, slots):
    """Change the number of running infusions of a stream by `number` (negative: they end)."""
    note(tape, slots, T_INFUSE, seg, t, 1.0 * s, number + 0.25 * why, w)
    put(s, streams[s, K_STRENGTH] * number, seg, coefs, si, w, U, V)
    w[P_INFUSING] += number
    if w[P_INFUSING] == 0.0:
        stop_inputs(w)
    interrupt(w)


def running_infusions(s, streams):
    """How many infusions of a stream run now."""
    return streams[s, K_GIVEN] - streams[s, K_ENDED]


def due(s, si, sf, streams):
    """Time of a stream's next event; infinite where there is none."""
    when = math.inf
    if streams[s, K_GIVEN] < streams[s, K_NUMBER]:
        when = streams[s, K_START] + streams[s, K_GIVEN] * sf[s, F_II]
    if INFUSIONS:
        if si[s, S_KIND] != BOLUS and running_infusions(s, streams) > 0.0:
            end = streams[s, K_START] + streams[s, K_WIDTH] + streams[s, K_ENDED] * sf[s, F_II]
            when = min(when, end)
    return when


def fire(s, t, seg, coefs, si, sf, streams, w, tape, slots):
    """Let the next event of a stream happen; tell whether more is to come."""
    if INFUSIONS:
        if si[s, S_KIND] != BOLUS:
            ends = streams[s, K_START] + streams[s, K_WIDTH] + streams[s, K_ENDED] * sf[s, F_II]
            begins = streams[s, K_START] + streams[s, K_GIVEN] * sf[s, F_II]
            more = streams[s, K_GIVEN] < streams[s, K_NUMBER]
            if running_infusions(s, streams) > 0.0 and (not more or ends <= begins):
                infuse(s, t, -1.0, ENDS, seg, coefs, si, streams, w, tape, slots)
                streams[s, K_ENDED] += 1.0
            else:
                infuse(s, t, 1.0, BEGINS, seg, coefs, si, streams, w, tape, slots)
                streams[s, K_GIVEN] += 1.0
            return streams[s, K_ENDED] < streams[s, K_NUMBER]
    note(tape, slots, T_BOLUS, seg, t, 1.0 * s, 0.0, w)
    put(s, streams[s, K_STRENGTH], seg, coefs, si, w, X, Z)
    streams[s, K_GIVEN] += 1.0
    interrupt(w)
    return streams[s, K_GIVEN] < streams[s, K_NUMBER]


def advance(t, end, running, active, seg, coefs, si, sf, streams, w, tape, slots):
    """Go from `t` to `end` through the events of the active streams; returns how many stay active."""
    while running > 0:
        when = math.inf
        which = 0
        for j in range(running):
            one = due(active[j], si, sf, streams)
            if one < when:
                when = one
                which = j
        if not when <= end + TIE * (1.0 + abs(end)):
            break
        stop = min(max(when, t), end)
        if stop > t:
            integrate(t, stop, seg, coefs, w, tape, slots)
            t = stop
        if not fire(active[which], t, seg, coefs, si, sf, streams, w, tape, slots):
            running -= 1
            active[which] = active[running]
    if end > t:
        integrate(t, end, seg, coefs, w, tape, slots)
    return running


def resolve(s, t, seg, coefs, si, sf, streams):
    """Strength, width and first time of a dose record under the parameters of its record."""
    channel = si[s, S_CHANNEL]
    kind = si[s, S_KIND]
    amount = sf[s, F_AMT]
    if SLOT_F[channel] >= 0:
        amount *= coefs[seg, SLOT_F[channel]]
    streams[s, K_STRENGTH] = amount
    streams[s, K_WIDTH] = 0.0
    if INFUSIONS:
        if kind == GIVEN_RATE:
            streams[s, K_STRENGTH] = sf[s, F_RATE]
            streams[s, K_WIDTH] = amount / sf[s, F_RATE]
        elif kind == MODEL_RATE:
            streams[s, K_STRENGTH] = coefs[seg, SLOT_RATE[channel]]
            streams[s, K_WIDTH] = amount / streams[s, K_STRENGTH]
        elif kind == MODEL_DURATION:
            streams[s, K_WIDTH] = coefs[seg, SLOT_DURATION[channel]]
            streams[s, K_STRENGTH] = amount / streams[s, K_WIDTH]
    streams[s, K_START] = t
    if SLOT_LAG[channel] >= 0:
        streams[s, K_START] += coefs[seg, SLOT_LAG[channel]]
    streams[s, K_NUMBER] = si[s, S_DOSES]
    streams[s, K_GIVEN] = 0.0
    streams[s, K_ENDED] = 0.0


def start_stream(s, t, seg, coefs, si, sf, streams, w, tape, slots):
    """Take up a dosing record; tell whether it has events to come."""
    if INFUSIONS:
        if si[s, S_KIND] == CONSTANT:
            start_steady(s, t, seg, coefs, si, sf, streams, w, tape, slots)
            return False
    note(tape, slots, T_START, seg, t, 1.0 * s, 0.0, w)
    resolve(s, t, seg, coefs, si, sf, streams)
    if INFUSIONS:
        if si[s, S_STEADY] != 0:
            start_steady(s, t, seg, coefs, si, sf, streams, w, tape, slots)
    return True


def begin(t, seg, coefs, w, tape, slots):
    """Initial states; an empty driver; nothing runs."""
    note(tape, slots, T_INIT, seg, t, 0.0, 0.0, w)
    for i in range(N_STATES):
        w[X + i] = coefs[seg, INIT + i]
        w[PEAK + i] = max(w[PEAK + i], abs(w[X + i]))
    for j in range(N_MODES * N_ROWS):
        w[Z + j] = 0.0
    stop_inputs(w)
    w[P_INFUSING] = 0.0
    interrupt(w)


def drop(t, running, active, seg, coefs, si, streams, w, tape, slots):
    """End all infusions that run, as a reset does."""
    for j in range(running):
        s = active[j]
        number = running_infusions(s, streams)
        if INFUSIONS:
            if si[s, S_KIND] != BOLUS and number > 0.0:
                infuse(s, t, -number, UNTIMED, seg, coefs, si, streams, w, tape, slots)


def enter(t, old, seg, running, active, coefs, si, streams, w, tape, slots):
    """Go over to the parameters of another segment."""
    drop(t, running, active, old, coefs, si, streams, w, tape, slots)
    note(tape, slots, T_SEGMENT, seg, t, 1.0 * old, 0.0, w)
    change(seg, coefs, w)
    if INFUSIONS:
        for j in range(running):
            s = active[j]
            number = running_infusions(s, streams)
            if si[s, S_KIND] != BOLUS and number > 0.0:
                infuse(s, t, number, UNTIMED, seg, coefs, si, streams, w, tape, slots)
    w[P_FRESH] = 1.0


def observe(k, seg, coefs, ri, rt, pred, w, tape, slots):
    """Value of the record's output."""
    note(tape, slots, T_OBS, seg, rt[k], 1.0 * k, w[P_OFF], w)
    for r in range(N_ROWS):
        total = 0.0
        size = 0.0
        for m in range(N_MODES):
            total += w[Z + m * N_ROWS + r]
            size += abs(w[Z + m * N_ROWS + r])
        # modes that cancel (nothing has arrived yet) are zero, not their rounding error
        w[D + r] = 0.0 if abs(total) < CANCELLED * size else total
    pred[ri[k, R_OBS]] = output(ri[k, R_OUTPUT], rt[k], w, X, 0, w, coefs, seg)


def walk_ode(i, coefs, events, pred, streams, w, active, tape, slots):
    """Walk the records of subject `i` in order; write its predictions and the tape."""
    ptr, ri, rt, si, sf, _ = events
    running = np.int64(0)
    seg = ri[ptr[i], R_SEGMENT]
    t = rt[ptr[i]]
    w[P_STEPS] = 0.0
    w[P_SIGNS] = 0.0
    w[P_STIFF] = STIFF_FIRST
    for j in range(N_STATES):
        w[PEAK + j] = 0.0
    if SWITCHES:
        set_off(0, w)
    begin(t, seg, coefs, w, tape, slots)
    for k in range(ptr[i], ptr[i + 1]):
        if CHANGES:
            if ri[k, R_SEGMENT] != seg:
                enter(t, seg, ri[k, R_SEGMENT], running, active, coefs, si, streams, w, tape, slots)
                seg = ri[k, R_SEGMENT]
        running = advance(t, rt[k], running, active, seg, coefs, si, sf, streams, w, tape, slots)
        t = rt[k]
        if ri[k, R_RESET] != 0:
            drop(t, running, active, seg, coefs, si, streams, w, tape, slots)
            begin(t, seg, coefs, w, tape, slots)
            running = np.int64(0)
        if SWITCHES:
            # what stays off; also where a reset has filled it
            if ri[k, R_OFF] != 0:
                switch(t, ri[k, R_OFF] & ri[k, R_CUT], seg, w, tape, slots)
        for s in range(ri[k, R_FIRST], ri[k, R_FIRST] + ri[k, R_STREAMS]):
            if start_stream(s, t, seg, coefs, si, sf, streams, w, tape, slots):
                active[running] = s
                running = advance(t, t, running + 1, active, seg, coefs, si, sf, streams, w, tape, slots)
        if ri[k, R_OBS] >= 0:
            observe(k, seg, coefs, ri, rt, pred, w, tape, slots)
        if SWITCHES:
            if ri[k, R_CUT] != ri[k, R_OFF] & ri[k, R_CUT]:
                switch(t, ri[k, R_CUT], seg, w, tape, slots)
                running = drop_off(t, running, active, seg, coefs, si, streams, w, tape, slots)


# In the order in which they are compiled: each after those that it calls; the steady states' come between.
TEMPLATES = (put, interrupt, stop_inputs, infuse)
MIDDLE = (running_infusions, due, fire, advance, resolve, start_stream, begin, drop, enter, observe)
LAST = (walk_ode,)
