r"""Kernel templates: steady states of a dosing regimen, of nonlinear systems too, and their adjoint.

The state just before a dose at steady state is a fixed point of the map over one dosing interval,
:math:`x^* = P(x^*)`. The driver's modes are linear: theirs is known in closed form. The other states' is
found by Newton's method on :math:`x - P(x)` with a Jacobian of differences that is kept from step to step,
from where a few intervals of dosing lead. The adjoint does not look at the iterations: by the implicit
function theorem it is :math:`\mu = (I - \partial P^T)^{-1} \lambda`, with the exact Jacobian, swept once back
over the interval.
"""

import math

import numpy as np

from popbayes.engine.ode_steps import (
    C_METHOD,
    C_SEGMENT,
    C_STEP,
    C_TIME,
    FLOOR,
    FULL,
    P_FRESH,
    P_INFUSING,
    P_STEP,
    ROW,
    T_DATA,
    T_STEADY,
)
from popbayes.engine.ode_walk import (
    BEGINS,
    ENDS,
    K_ENDED,
    K_GIVEN,
    K_NUMBER,
    K_START,
    K_STRENGTH,
    K_WIDTH,
    UNTIMED,
)
from popbayes.engine.pieces import TIE, first_before
from popbayes.engine.schedule import BOLUS, CONSTANT, F_II, F_RATE, S_KIND, S_STEADY

# Bound by ode.py; the values here only let the module be read and checked.
N_STATES = N_OWN = N_MODES = N_ROWS = N_GIVEN = WIDTH = RATES = INIT = RTOL = Y_AT = 0
X = Z = U = V = K = PEAK = MU = NU = GU = GV = 0
T_BOLUS = 1.0

MOST_OVERLAPPING = 10_000
"""A steady state in which more infusions than this run at once is a failed solve."""
MOST_NEWTON = 40
WARM_UP = 3
ENOUGH = 0.01
"""Newton stops where an interval changes the state by this part of a step's tolerance, or by less than the
tolerance and no longer improves."""
SHORT = 0.01
"""Part of a state below which the last of Newton's steps must lie."""
DIFFERENCE = 1e-4
"""Relative distance of the points whose differences make the Jacobian: far above the steps' error."""
STEPS_LONG = 40
"""Length of the interval over which a constant infusion must change nothing, in trial steps."""
FIRST_TRY = 1e-3


def _unbound(*_):
    raise RuntimeError("a kernel template is compiled by popbayes.engine.specialise, not called")


integrate = note = put = infuse = interrupt = stop_inputs = read_driver = rhs = one_step = fail = _unbound
scale_of = pull_row = factorise = back_substitute = taken = put_back = is_off = empty = _unbound
without_off = is_negative = repeats = _unbound


def period(s, t, interval, running, seg, coefs, si, streams, w, tape, slots):
    """One interval, ending at `t`, of doses given since ever; `running` infusions go on at both its ends."""
    now = t - interval
    kind = si[s, S_KIND]
    w[P_INFUSING] = 0.0
    stop_inputs(w)
    interrupt(w)
    if kind == CONSTANT:
        infuse(s, now, 1.0, UNTIMED, seg, coefs, si, streams, w, tape, slots)
        integrate(now, t, seg, coefs, w, tape, slots)
        infuse(s, t, -1.0, UNTIMED, seg, coefs, si, streams, w, tape, slots)
        return
    start = streams[s, K_START]
    begins = start - first_before(t, start, interval) * interval
    begins = min(max(begins, now), t)
    if kind == BOLUS:
        integrate(now, begins, seg, coefs, w, tape, slots)
        note(tape, slots, T_BOLUS, seg, begins, 1.0 * s, 0.0, w)
        put(s, streams[s, K_STRENGTH], seg, coefs, si, w, X, Z)
        interrupt(w)
        integrate(begins, t, seg, coefs, w, tape, slots)
        return
    finish = start + streams[s, K_WIDTH]
    ends = min(max(finish - first_before(t, finish, interval) * interval, now), t)
    if running > 0.0:
        infuse(s, now, running, UNTIMED, seg, coefs, si, streams, w, tape, slots)
    if ends < begins:
        integrate(now, ends, seg, coefs, w, tape, slots)
        infuse(s, ends, -1.0, ENDS, seg, coefs, si, streams, w, tape, slots)
        integrate(ends, begins, seg, coefs, w, tape, slots)
        infuse(s, begins, 1.0, BEGINS, seg, coefs, si, streams, w, tape, slots)
        integrate(begins, t, seg, coefs, w, tape, slots)
    else:
        integrate(now, begins, seg, coefs, w, tape, slots)
        infuse(s, begins, 1.0, BEGINS, seg, coefs, si, streams, w, tape, slots)
        integrate(begins, ends, seg, coefs, w, tape, slots)
        infuse(s, ends, -1.0, ENDS, seg, coefs, si, streams, w, tape, slots)
        integrate(ends, t, seg, coefs, w, tape, slots)
    if running > 0.0:
        infuse(s, t, -running, UNTIMED, seg, coefs, si, streams, w, tape, slots)


def map_once(s, t, interval, running, first, full, guess, modes, seg, coefs, si, streams, w, tape, slots):
    """The state that an interval from `guess` leads to, in `w[X:]`; the tape is written over."""
    slots[ROW] = first
    slots[FULL] = full
    for i in range(N_STATES):
        w[X + i] = guess[i]
    for j in range(N_MODES * N_ROWS):
        w[Z + j] = modes[j]
    period(s, t, interval, running, seg, coefs, si, streams, w, tape, slots)


def find_modes(s, t, interval, running, first, full, guess, modes, seg, coefs, si, streams, w, tape, slots):
    """The driver's modes at steady state, in closed form from one interval; `guess` moves on by one."""
    for j in range(N_MODES * N_ROWS):
        modes[j] = 0.0
    map_once(s, t, interval, running, first, full, guess, modes, seg, coefs, si, streams, w, tape, slots)
    for m in range(N_MODES):
        for r in range(N_ROWS):
            j = m * N_ROWS + r
            modes[j] = -w[Z + j] / math.expm1(-coefs[seg, RATES + m] * interval)


def is_steady(step, matrix, guess, seg, coefs, w):
    """Whether a state that an interval changes by little is one to which doses lead.

    Where more comes in than can leave, an interval changes a state that is large enough by little of it. But
    Newton's step is no small part of it, or an error of the size of the tolerance moves it by all of itself.
    What only grows (a tumour) is steady where there is none of it, but doses do not lead there.
    """
    for i in range(N_OWN):
        gone = abs(guess[i]) < FLOOR * w[PEAK + i] and coefs[seg, INIT + i] != 0.0
        if gone and is_negative(matrix, np.int64(0), np.int64(N_OWN)):
            return False
    moved = np.empty(N_OWN)
    for i in range(N_OWN):
        moved[i] = scale_of(i, abs(guess[i]), seg, coefs, w)
        if not abs(step[i]) * coefs[seg, RTOL] <= SHORT * moved[i]:
            return False
    back_substitute(matrix, np.int64(0), np.int64(N_OWN), moved, np.int64(0))
    for i in range(N_OWN):
        if not abs(moved[i]) * coefs[seg, RTOL] <= scale_of(i, abs(guess[i]), seg, coefs, w):
            return False
    return True


def slopes_of_map(
    matrix, change, s, t, interval, running, first, full, guess, modes, seg, coefs, si, streams, w, tape,
    slots,
):  # fmt: skip
    """Fill in `matrix` with the factors of the Jacobian of ``x - P(x)``; `change` is ``P(guess) - guess``."""
    n = N_OWN
    for j in range(n):
        was = guess[j]
        delta = DIFFERENCE * max(abs(was), 1e-3 * w[PEAK + j]) + 1e-30
        guess[j] = was + delta
        map_once(s, t, interval, running, first, full, guess, modes, seg, coefs, si, streams, w, tape, slots)
        guess[j] = was
        for i in range(n):
            matrix[i * n + j] = (guess[i] + change[i] - w[X + i]) / delta
        matrix[j * n + j] += 1.0
    without_off(matrix, w)
    factorise(matrix, np.int64(0), n)


def find_states(s, t, interval, running, first, full, guess, modes, seg, coefs, si, streams, w, tape, slots):
    """Newton's method on the map over one interval, from `guess`; tells whether it arrived."""
    n = N_OWN
    change = np.empty(n)
    matrix = np.empty(n * n + n)
    before = math.inf
    stale = True
    for trial in range(MOST_NEWTON):
        map_once(s, t, interval, running, first, full, guess, modes, seg, coefs, si, streams, w, tape, slots)
        size = 0.0
        for i in range(n):
            change[i] = w[X + i] - guess[i]
            scale = scale_of(i, max(abs(guess[i]), abs(w[X + i])), seg, coefs, w)
            size = max(size, abs(change[i]) / scale) if change[i] == change[i] else math.inf
        arrived = size <= ENOUGH or (size <= 1.0 and size > 0.5 * before)
        if arrived and trial <= WARM_UP:
            return True
        if size == math.inf:
            return False
        if trial < WARM_UP or (size > 2.0 * before and not arrived):
            # still far, or astray: dose on
            for i in range(n):
                guess[i] = w[X + i]
            stale = True
            before = math.inf
            continue
        fresh = stale or size > 0.1 * before
        if fresh:
            slopes_of_map(
                matrix, change, s, t, interval, running, first, full, guess, modes, seg, coefs, si, streams,
                w, tape, slots,
            )  # fmt: skip
            stale = False
        back_substitute(matrix, np.int64(0), n, change, np.int64(0))
        if arrived and is_steady(change, matrix, guess, seg, coefs, w):
            if fresh:
                # the tape must be that of the state itself
                map_once(
                    s, t, interval, running, first, full, guess, modes, seg, coefs, si, streams, w, tape,
                    slots,
                )  # fmt: skip
            return True
        for i in range(n):
            positive = guess[i] >= 0.0
            guess[i] += change[i]
            if positive and guess[i] < 0.0:
                guess[i] = 0.1 * (guess[i] - change[i])
        before = size
    return False


def begun_before(t, start, interval, j):
    """How many infusions of a steady state have begun by `t`, of `j` that have not ended."""
    running = 0.0
    for q in range(1, min(j, MOST_OVERLAPPING)):
        if start - q * interval <= t + TIE * (1.0 + abs(t)):
            running += 1.0
    return running


def start_steady(s, t, seg, coefs, si, sf, streams, w, tape, slots):
    """Bring the system to the steady state of a dosing record; doses still to arrive join the stream."""
    states_before = taken(w, X, N_STATES)
    modes_before = taken(w, Z, N_MODES * N_ROWS)
    inputs = taken(w, U, N_STATES)
    mode_inputs = taken(w, V, N_MODES * N_ROWS)
    infusing = w[P_INFUSING]
    interval = sf[s, F_II]
    constant = si[s, S_KIND] == CONSTANT
    running = 0.0
    j = 1
    if constant:
        streams[s, K_STRENGTH] = sf[s, F_RATE]
        interval = constant_interval(s, t, seg, coefs, si, sf, w, tape, slots)
    else:
        start = streams[s, K_START]
        j = first_before(t, start + streams[s, K_WIDTH], interval)
        if si[s, S_KIND] != BOLUS:
            running = begun_before(t, start, interval, j)
    begin = slots[ROW]
    note(tape, slots, T_DATA, seg, t, 0.0, 0.0, w)
    first = slots[ROW]
    full = slots[FULL]
    guess = np.empty(N_STATES)
    for i in range(N_STATES):
        # sensitivities begin from nothing: they are followed for the steps' sake
        guess[i] = 0.0 if i >= N_OWN or is_off(i, w) else coefs[seg, INIT + i]
    modes = np.empty(N_MODES * N_ROWS)
    find_modes(s, t, interval, running, first, full, guess, modes, seg, coefs, si, streams, w, tape, slots)
    if N_STATES > 0:
        found = find_states(
            s, t, interval, running, first, full, guess, modes, seg, coefs, si, streams, w, tape, slots
        )
        if j > MOST_OVERLAPPING or not found or not repeats(t, interval, constant, seg, coefs, w):
            fail(w)
    else:
        map_once(s, t, interval, running, first, full, guess, modes, seg, coefs, si, streams, w, tape, slots)
    if j > MOST_OVERLAPPING:
        for m in range(N_MODES * N_ROWS):
            w[Z + m] = math.nan
    row = slots[ROW]
    note(tape, slots, T_STEADY, seg, interval, 1.0 * begin, 1.0 * s, w)
    tape[row + C_METHOD] = si[s, S_STEADY]
    if si[s, S_STEADY] != 1:
        for i in range(N_STATES):
            w[X + i] += states_before[i] - coefs[seg, INIT + i]
        for m in range(N_MODES * N_ROWS):
            w[Z + m] += modes_before[m]
    empty(X, w)
    put_back(w, U, inputs)
    put_back(w, V, mode_inputs)
    w[P_INFUSING] = infusing
    w[P_FRESH] = 1.0
    w[P_STEP] = 0.0
    if constant:
        return
    if running > 0.0:
        infuse(s, t, running, UNTIMED, seg, coefs, si, streams, w, tape, slots)
    streams[s, K_START] -= (j - 1) * interval
    streams[s, K_NUMBER] += j - 1
    streams[s, K_GIVEN] = running
    streams[s, K_ENDED] = 0.0


def constant_interval(s, t, seg, coefs, si, sf, w, tape, slots):
    """Length of time over which a constant infusion at steady state must change nothing: some steps."""
    if N_STATES == 0:
        return 1.0
    row = slots[ROW]
    full = slots[FULL]
    put(s, sf[s, F_RATE], seg, coefs, si, w, U, V)
    read_driver(w)
    rhs(t, w, np.int64(X), np.int64(0), w, coefs, seg, np.int64(0))
    w[P_STEP] = FIRST_TRY
    w[P_INFUSING] = 1.0
    now = t
    for _ in range(STEPS_LONG):
        for i in range(N_STATES):
            tape[slots[ROW] + Y_AT + i] = w[X + i]
        now += one_step(now, math.inf, seg, coefs, w, tape, slots)
        slots[ROW] = row
        if w[P_FRESH] > 0.0:
            read_driver(w)
            rhs(now, w, np.int64(X), np.int64(0), w, coefs, seg, np.int64(0))
            w[P_FRESH] = 0.0
    slots[FULL] = full
    return max(now - t, FIRST_TRY)


def sweep_period(row, begin, tape, coefs, gcoefs, ri, si, sf, streams, gs, gpred, w):
    """Play the interval's rows backwards."""
    for i in range(N_STATES):
        w[GU + i] = 0.0
    for j in range(N_MODES * N_ROWS):
        w[GV + j] = 0.0
    at = row - WIDTH
    while at > begin:
        pull_row(at, tape, coefs, gcoefs, ri, si, sf, streams, gs, gpred, w)
        at -= WIDTH


def pull_steady(row, tape, coefs, gcoefs, ri, si, sf, streams, gs, gpred, w):
    """Adjoint of `start_steady`; returns the row before it."""
    n = N_OWN
    begin = int(tape[row + C_STEP])
    interval = tape[row + C_TIME]
    seg = int(tape[row + C_SEGMENT])
    empty(MU, w)
    mu = taken(w, MU, n)
    nu = taken(w, NU, N_MODES * N_ROWS)
    gu = taken(w, GU, n)
    gv = taken(w, GV, N_MODES * N_ROWS)
    no_modes = np.zeros(N_MODES * N_ROWS)
    unit = np.zeros(n)
    aside = np.zeros(gcoefs.shape)
    gs_aside = np.zeros(gs.shape)
    matrix = np.empty(n * n + n)
    for i in range(n):
        unit[i] = 1.0
        put_back(w, MU, unit)
        unit[i] = 0.0
        put_back(w, NU, no_modes)
        sweep_period(row, begin, tape, coefs, aside, ri, si, sf, streams, gs_aside, gpred, w)
        for j in range(n):
            matrix[j * n + i] = (1.0 if i == j else 0.0) - w[MU + j]
    without_off(matrix, w)
    factorise(matrix, np.int64(0), n)
    through = taken(w, MU, n)
    for i in range(n):
        through[i] = mu[i]
    back_substitute(matrix, np.int64(0), n, through, np.int64(0))
    put_back(w, MU, through)
    put_back(w, NU, no_modes)
    if N_MODES > 0:
        sweep_period(row, begin, tape, coefs, aside, ri, si, sf, streams, gs_aside, gpred, w)
        for m in range(N_MODES):
            for r in range(N_ROWS):
                j = m * N_ROWS + r
                w[NU + j] = -(nu[j] + w[NU + j]) / math.expm1(-coefs[seg, RATES + m] * interval)
        put_back(w, MU, through)
    sweep_period(row, begin, tape, coefs, gcoefs, ri, si, sf, streams, gs, gpred, w)
    again = tape[row + C_METHOD] != 1.0
    for i in range(n):
        w[MU + i] = mu[i] if again else 0.0
        w[GU + i] = gu[i]
        if again:
            gcoefs[seg, INIT + i] -= mu[i]
    for j in range(N_MODES * N_ROWS):
        w[NU + j] = nu[j] if again else 0.0
        w[GV + j] = gv[j]
    return begin - WIDTH


FORWARD = (
    period, map_once, find_modes, is_steady, slopes_of_map, find_states, constant_interval, begun_before,
    start_steady,
)  # fmt: skip
BACKWARD = (sweep_period, pull_steady)
