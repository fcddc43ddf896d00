"""Kernel templates: integrate the states between two events, with steps of controlled error.

Each accepted step is a row of the *tape*, which the adjoint reads backwards. Where the tape is full, its
last row is written over and the subject is marked: the adjoint then solves it again.

All scratch lies in one array `w`, at the places that upper-case names say: `X` states, `Z` the driver's
modes, `U` and `V` what infusions add to them, `D` the driver's rows at the stages, `K` rates at the stages,
`PEAK` the largest value that a state has had. The error of a step is measured against
`atol + rtol * max(|x|, FLOOR * peak)`: no unit has to be known.
"""

import math

import numpy as np

from popbayes.engine.ode_driver import PAIR, STIFFLY
from popbayes.engine.roots import inverse_root

# Bound by ode.py; the values here only let the module be read and checked.
N_STATES = N_OWN = N_MODES = N_ROWS = 0
RTOL = ATOL = MAX_STEPS = WIDTH = 0
Y_AT = Z_AT = V_AT = ONE_AT = 0
X = Z = V = ONE = K = ERROR = PEAK = 0
INFUSIONS = STIFF = EXPLICIT = SENSITIVE = True

# Kinds of row of the tape, in its first column. What is not an index is a float: of an integer constant as an
# argument numba makes a type of its own, and compiles the function once more.
T_STEP, T_BOLUS, T_INFUSE, T_OBS, T_INIT, T_START, T_SEGMENT = 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0
T_STEADY, T_DATA, T_SWITCH = 7.0, 8.0, 9.0
# Columns of a row; states at the stages follow from `Y_AT`, the driver from `Z_AT`, its inputs from `V_AT`,
# its decay over a ninetieth of the step from `ONE_AT`.
C_KIND, C_SEGMENT, C_TIME, C_STEP, C_EXTRA, C_METHOD = 0, 1, 2, 3, 4, 5
FIRST_FREE = 6

# The first numbers of `w`: proposed step (0: to be chosen), rates to be computed anew, steps so far,
# number of running infusions, whether the stiff method is in use (2: until the next dose), signs of
# stiffness, which states are off, as bits, and whether the last step's error says nothing.
P_STEP, P_FRESH, P_STEPS, P_INFUSING, P_STIFF, P_SIGNS, P_OFF, P_QUIET = 0, 1, 2, 3, 4, 5, 6, 7
N_PACE = 8
# Where the tape's next row begins, the last one (scratch where the tape is full), and whether it was full.
ROW, LAST_ROW, FULL = 0, 1, 2
N_SLOTS = 3

SAFETY = 0.9
MOST_GROWTH = 10.0
MOST_SHRINK = 0.2
FLOOR = 1e-6
"""A state that has fallen below this part of its largest value is no longer followed to relative accuracy."""
STRETCH = 1.1
SMALLEST_STEP = 1e-14
FIRST_ERROR = 500.0
"""A thousand times the part of the tolerance that the first step may err."""
NOTHING = 1e-200
# Signs of stiffness: step times largest eigenvalue beyond this, about so many steps in a row.
STIFF_BEYOND = 3.25
STIFF_AFTER = 15.0


# Errors that say nothing of the step: a mean square, in tolerances.
QUIET = 1e-12
QUIET_SLOPE = 1e-3
"""Change of the states over an interval, in tolerances, that is nothing, or rounding."""
PROBE = 1e-5
"""Relative distance of the states by which rates are probed there."""
PROBES = 3
DAMPED = 1.5
"""Step times pace of the rates up to which the explicit pair surely damps a disturbance; its limit is 3.3."""
MOST_DAMPED_STEPS = 100.0
"""So many such steps are left to the stiff method, which damps however long they are."""


def _unbound(*_):
    raise RuntimeError("a kernel template is compiled by popbayes.engine.specialise, not called")


rhs = drive = carry = read_driver = explicit_step = stiff_step = _unbound


def next_row(slots):
    """Keep the row that was just written; where the tape is full, note that it is incomplete."""
    if slots[ROW] < slots[LAST_ROW]:
        slots[ROW] += WIDTH
    else:
        slots[FULL] = 1


def note(tape, slots, kind, seg, t, step, extra, w):
    """Write a row of kind `kind` with the state before it."""
    row = slots[ROW]
    tape[row + C_KIND] = kind
    tape[row + C_SEGMENT] = seg
    tape[row + C_TIME] = t
    tape[row + C_STEP] = step
    tape[row + C_EXTRA] = extra
    for i in range(N_STATES):
        tape[row + Y_AT + i] = w[X + i]
    for j in range(N_MODES * N_ROWS):
        tape[row + Z_AT + j] = w[Z + j]
    next_row(slots)


def scale_of(i, value, seg, coefs, w):
    """What the error of state `i` is measured against; of a sensitivity, its state or itself."""
    peak = w[PEAK + i]
    if SENSITIVE:
        value = max(value, abs(w[X + i % N_OWN]))
        peak = max(peak, w[PEAK + i % N_OWN])
    return coefs[seg, ATOL] + coefs[seg, RTOL] * max(value, FLOOR * peak) + 1e-3 * NOTHING


def first_step(t, end, seg, coefs, w, tape, row):
    """A step size to begin with, from the pace at which states and rates change, per time.

    The error of a step at pace `p` is about ``(h p)**5 / 1000`` of the state. An Euler step shows how rates
    change. A state that is still empty says nothing of its size.
    """
    size = 0.0
    slope = 0.0
    for i in range(N_STATES):
        scale = scale_of(i, max(abs(w[X + i]), w[PEAK + i]), seg, coefs, w)
        if scale > NOTHING:
            size = max(size, abs(w[X + i]) / scale)
            slope = max(slope, abs(w[K + i]) / scale)
    pace = slope / size if size > 0.0 else 0.0
    h = min(end - t, 0.01 / pace if pace > 0.0 else 1e-3 * (end - t))
    for i in range(N_STATES):
        tape[row + Y_AT + N_STATES + i] = w[X + i] + h * w[K + i]
    # with the driver as it is then: after a dose it changes faster than the states
    drive(h, PAIR, seg, coefs, w[P_INFUSING] > 0.0, w)
    rhs(t + h, tape, row + Y_AT + N_STATES, 5 * N_ROWS, w, coefs, seg, np.int64(N_STATES))
    bend = 0.0
    for i in range(N_STATES):
        scale = scale_of(i, max(abs(w[X + i]), w[PEAK + i]), seg, coefs, w)
        if scale > NOTHING:
            bend = max(bend, abs(w[K + N_STATES + i] - w[K + i]) / (scale * h))
            slope = max(slope, abs(w[K + N_STATES + i]) / scale)
    # the greater slope of the two: before a dose arrives there may be none
    pace = max(pace, bend / slope if slope > 0.0 else 0.0)
    if not (pace * (end - t) > 1e-3 and slope * (end - t) > QUIET_SLOPE):
        w[P_QUIET] = 1.0
        return end - t
    return min(end - t, (FIRST_ERROR * coefs[seg, RTOL]) ** 0.2 / pace)


def pace_of_rates(t, seg, coefs, w, tape, row):
    """How fast a small disturbance of the states changes, per time, by a power iteration.

    The states' sizes are their largest values; what is still empty gets the largest of the others.
    """
    n = np.int64(N_STATES)
    y = row + Y_AT
    most = 0.0
    for i in range(N_OWN):
        most = max(most, w[PEAK + i])
    length = 0.0
    for i in range(N_STATES):
        w[ERROR + i] = 0.0
        if i < N_OWN:
            # in no direction in which neighbours cancel
            w[ERROR + i] = (1.0 - 2.0 * (i % 2)) * (1.0 + 0.1 * (i % 7))
            length += w[ERROR + i] * w[ERROR + i]
    pace = 0.0
    # a number that the compiler does not know, or it writes the loop out, and the rates with it
    trials = math.ceil(PROBES * w[P_QUIET])
    for trial in range(trials):
        if not 0.0 < length < math.inf:
            return pace
        by = PROBE / math.sqrt(length)
        for i in range(N_STATES):
            size = w[PEAK + i] if w[PEAK + i] > 0.0 else (most if most > 0.0 else 1.0)
            moved = by * w[ERROR + i] * size
            # not below 0, where formulas may have no value
            tape[y + n + i] = w[X + i] + (abs(moved) if abs(w[X + i]) < abs(moved) else moved)
        rhs(t, tape, y + n, np.int64(0), w, coefs, seg, n)
        length = 0.0
        for i in range(N_OWN):
            size = w[PEAK + i] if w[PEAK + i] > 0.0 else (most if most > 0.0 else 1.0)
            w[ERROR + i] = (w[K + n + i] - w[K + i]) / size
            length += w[ERROR + i] * w[ERROR + i]
        if length < math.inf and trial >= trials - 2:
            pace = max(pace, math.sqrt(length) / PROBE)
    return pace


def hold_quiet(t, end, seg, coefs, w, tape, row):
    """Limit a step whose error says nothing, as where states are at balance.

    Nothing moves there however long the step, but a disturbance would: beyond the limit of stability the
    derivatives, which the adjoint carries back through the step, grow without bound.
    """
    read_driver(w)
    pace = pace_of_rates(t, seg, coefs, w, tape, row)
    w[P_QUIET] = 0.0
    if STIFF:
        if pace * (end - t) > DAMPED * MOST_DAMPED_STEPS:
            w[P_STIFF] = 2.0
            return
    if pace * w[P_STEP] > DAMPED:
        w[P_STEP] = DAMPED / pace


def error_norm(row, new, tape, seg, coefs, w):
    """Mean square of the scaled errors, the largest of the blocks'; `new`: where the row holds the state."""
    worst = 0.0
    total = 0.0
    for i in range(N_STATES):
        if SENSITIVE:
            if i % N_OWN == 0:
                worst = max(worst, total)
                total = 0.0
        value = max(abs(tape[row + Y_AT + i]), abs(tape[row + new + i]))
        ratio = w[ERROR + i] / scale_of(i, value, seg, coefs, w)
        total += ratio * ratio
    # a number that is none must stay one
    return (total if not worst > total else worst) / max(1, N_OWN)


def write_step(t, h, seg, infusing, w, tape, row):
    """Complete the tape's row of an accepted step and bring the driver to its end."""
    tape[row + C_KIND] = T_STEP
    tape[row + C_SEGMENT] = seg
    tape[row + C_TIME] = t
    tape[row + C_STEP] = h
    tape[row + C_EXTRA] = 1.0 if infusing else 0.0
    tape[row + C_METHOD] = w[P_STIFF]
    for j in range(N_MODES * N_ROWS):
        tape[row + Z_AT + j] = w[Z + j]
        if INFUSIONS:
            tape[row + V_AT + j] = w[V + j]
    for m in range(N_MODES):
        tape[row + ONE_AT + m] = w[ONE + m]
    carry(infusing, w)


def fail(w):
    """Give up: from here on the subject's predictions are nan."""
    w[P_STEPS] = math.inf
    for i in range(N_STATES):
        w[X + i] = math.nan


def look_stiff(h, row, tape, w):
    """Watch step size times Jacobian at the end of a step; switch where it stays at the limit."""
    n = N_STATES
    top = 0.0
    bottom = 0.0
    for i in range(N_OWN):
        a = w[K + 6 * n + i] - w[K + 5 * n + i]
        b = tape[row + Y_AT + 6 * n + i] - tape[row + Y_AT + 5 * n + i]
        top += a * a
        bottom += b * b
    if bottom > 0.0 and h * h * top > STIFF_BEYOND * STIFF_BEYOND * bottom:
        w[P_SIGNS] += 1.0
        if w[P_SIGNS] >= STIFF_AFTER:
            w[P_STIFF] = 1.0
            w[P_FRESH] = 1.0
    else:
        w[P_SIGNS] = max(0.0, w[P_SIGNS] - 0.25)


def accept(h, err, new, stage, w, tape, row):
    """Take a step over: the state, the rates at it (stage number `stage`), the next step's size."""
    for i in range(N_STATES):
        w[X + i] = tape[row + new + i]
        w[K + i] = w[K + stage * N_STATES + i]
        w[PEAK + i] = max(w[PEAK + i], abs(w[X + i]))
    # err is a mean square: order 5 takes its tenth root, order 4 its eighth
    root = 0.125 if stage == 5 else 0.1
    growth = MOST_GROWTH
    w[P_QUIET] = 1.0
    if err > QUIET:
        w[P_QUIET] = 0.0
        growth = min(MOST_GROWTH, max(MOST_SHRINK, SAFETY * inverse_root(err, root)))
    # a step cut short by an event says little about the next: what was proposed before it stands
    w[P_STEP] = max(w[P_STEP], h * growth) if h < w[P_STEP] else h * growth


def one_step(t, end, seg, coefs, w, tape, slots):
    """Try one step; returns its length, 0 where its error is too large."""
    row = slots[ROW]
    left = end - t
    h = w[P_STEP]
    # a tenth more than was proposed saves a step, and is within what the safety factor leaves
    if STRETCH * h >= left:
        h = left
    elif 2.0 * STRETCH * h >= left:
        h = 0.5 * left
    infusing = w[P_INFUSING] > 0.0
    new = Y_AT + 6 * N_STATES
    stage = 6
    err = math.inf
    if STIFF and (not EXPLICIT or w[P_STIFF] > 0.0):
        new = Y_AT + 5 * N_STATES
        stage = 5
        drive(h, STIFFLY, seg, coefs, infusing, w)
        if stiff_step(t, h, tape, row, seg, coefs, w):
            err = error_norm(row, new, tape, seg, coefs, w)
    else:
        drive(h, PAIR, seg, coefs, infusing, w)
        explicit_step(t, h, tape, row, seg, coefs, w)
        err = error_norm(row, new, tape, seg, coefs, w)
    w[P_STEPS] += 1.0
    if err <= 1.0:
        write_step(t, h, seg, infusing, w, tape, row)
        accept(h, err, new, stage, w, tape, row)
        if EXPLICIT and STIFF and stage == 6:
            look_stiff(h, row, tape, w)
        next_row(slots)
        return h
    w[P_STEP] = h * (max(MOST_SHRINK, SAFETY * inverse_root(err, 0.1)) if err < 1e10 else MOST_SHRINK)
    return 0.0


def integrate(t, end, seg, coefs, w, tape, slots):
    """Bring states and driver from `t` to `end`; between them nothing happens."""
    if N_STATES == 0:
        infusing = w[P_INFUSING] > 0.0
        drive(end - t, PAIR, seg, coefs, infusing, w)
        write_step(t, end - t, seg, infusing, w, tape, slots[ROW])
        next_row(slots)
        return
    while t < end:
        row = slots[ROW]
        if w[P_FRESH] > 0.0:
            read_driver(w)
            rhs(t, w, np.int64(X), np.int64(0), w, coefs, seg, np.int64(0))
            w[P_FRESH] = 0.0
        if not w[P_STEP] > 0.0:
            read_driver(w)
            w[P_STEP] = first_step(t, end, seg, coefs, w, tape, row)
        if EXPLICIT:
            if w[P_QUIET] > 0.0 and not w[P_STIFF] > 0.0:
                hold_quiet(t, end, seg, coefs, w, tape, row)
        # what is left of the interval may be shorter than any step that makes progress
        smallest = min(SMALLEST_STEP * (abs(t) + abs(end)), 0.5 * (end - t))
        if not (w[P_STEPS] < coefs[seg, MAX_STEPS] and w[P_STEP] > smallest):
            fail(w)
            return
        for i in range(N_STATES):
            tape[row + Y_AT + i] = w[X + i]
        h = one_step(t, end, seg, coefs, w, tape, slots)
        t = end if h >= end - t else t + h


TEMPLATES = (
    next_row, note, scale_of, first_step, pace_of_rates, hold_quiet, error_norm, write_step, fail,
    look_stiff, accept, one_step, integrate,
)  # fmt: skip
