r"""Kernel templates: the linear part of an ODE model, exact at every stage of a step.

The driver's state is one number for each mode and tracked row, as in `modal.py`: ``w[Z + m * N_ROWS + r]``
decays at its mode's rate, ``w[V + m * N_ROWS + r]`` is what running infusions add to it per time. At a stage
a time `s` after the step's start the driver's row `r` is

.. math:: \sum_m z_{mr} e^{-\lambda_m s} + v_{mr}\, s\, \varphi(\lambda_m s).

A step has six stage times; the last is its end.
"""

from popbayes.engine.pieces import dphi, phi
from popbayes.engine.quick_exp import exp

# Bound by ode.py; the values here only let the module be read and checked.
N_MODES = N_ROWS = N_COLS = RATES = TRANSFERS = 0
Z = V = D = E = ONE = A = GD = GR = NU = GV = 0
INFUSIONS = True

# Stage times of the explicit pair and of the stiff method, as parts of the step.
EXPLICIT_TIMES = (0.0, 0.2, 0.3, 0.8, 8.0 / 9.0, 1.0)
STIFF_TIMES = (0.0, 0.5, 0.332, 0.62, 0.85, 1.0)
N_STAGES = 6
# How a step goes: by the pair, its decay to be computed or known, or by the stiff method. Floats, as of each
# constant of another type numba would compile the driver once more.
PAIR, PAIR_KNOWN, STIFFLY = 0.0, 1.0, 2.0


def stage_time(stiff, i):
    """Time of a stage as a part of the step."""
    return STIFF_TIMES[i] if stiff else EXPLICIT_TIMES[i]


def factors(h, how, seg, coefs, infusing, w):
    """Decay of every mode up to every stage, and what an infusion of rate 1 leaves by then.

    The explicit pair's times are multiples of h / 90: one exponential serves them all, which may be known and
    at `ONE` already: the adjoint reads it from the tape.
    """
    for m in range(N_MODES):
        rate = coefs[seg, RATES + m]
        e = E + m * N_STAGES
        a = A + m * N_STAGES
        w[e] = 1.0
        if how == STIFFLY:
            for i in range(1, N_STAGES):
                w[e + i] = exp(-rate * h * STIFF_TIMES[i])
        else:
            if how == PAIR:
                w[ONE + m] = exp(-rate * h / 90.0)
            one = w[ONE + m]
            two = one * one
            four = two * two
            eight = four * four
            nine = eight * one
            eighteen = nine * nine
            w[e + 1] = eighteen
            w[e + 2] = eighteen * nine
            half = eighteen * eighteen
            w[e + 3] = half * half
            w[e + 4] = half * half * eight
            w[e + 5] = half * half * eighteen
        if INFUSIONS:
            if infusing:
                w[a] = 0.0
                for i in range(1, N_STAGES):
                    s = stage_time(how == STIFFLY, i) * h
                    w[a + i] = s * phi(rate * s)


def drive(h, how, seg, coefs, infusing, w):
    """Driver's rows at every stage of a step of length `h`: `w[D + stage * N_ROWS + r]`."""
    factors(h, how, seg, coefs, infusing, w)
    for i in range(N_STAGES):
        for r in range(N_ROWS):
            total = 0.0
            for m in range(N_MODES):
                total += w[Z + m * N_ROWS + r] * w[E + m * N_STAGES + i]
                if INFUSIONS:
                    if infusing:
                        total += w[V + m * N_ROWS + r] * w[A + m * N_STAGES + i]
            w[D + i * N_ROWS + r] = total


def carry(infusing, w):
    """Bring the modes to the end of the step whose factors were computed last."""
    for m in range(N_MODES):
        for r in range(N_ROWS):
            j = m * N_ROWS + r
            w[Z + j] *= w[E + m * N_STAGES + N_STAGES - 1]
            if INFUSIONS:
                if infusing:
                    w[Z + j] += w[V + j] * w[A + m * N_STAGES + N_STAGES - 1]


def read_driver(w):
    """Driver's rows now: `w[D + r]`."""
    for r in range(N_ROWS):
        total = 0.0
        for m in range(N_MODES):
            total += w[Z + m * N_ROWS + r]
        w[D + r] = total


def pull_drive(h, stiff, seg, coefs, infusing, w, gcoefs):
    """Adjoint of `drive` and `carry`: `GD` by the stages' rows and `NU` by the end -> `NU` by the start.

    The driver at the step's start is in `Z` and `V`; `GV` collects derivatives by the inputs.
    """
    last = N_STAGES - 1
    for m in range(N_MODES):
        rate = coefs[seg, RATES + m]
        grate = 0.0
        for r in range(N_ROWS):
            j = m * N_ROWS + r
            gstart = 0.0
            ginput = 0.0
            for i in range(N_STAGES):
                g = w[GD + i * N_ROWS + r]
                if i == last:
                    g += w[NU + j]
                s = stage_time(stiff, i) * h
                part = g * w[E + m * N_STAGES + i]
                gstart += part
                grate -= part * w[Z + j] * s
                if INFUSIONS:
                    if infusing:
                        ginput += g * w[A + m * N_STAGES + i]
                        grate += g * w[V + j] * s * s * dphi(rate * s)
            w[NU + j] = gstart
            if INFUSIONS:
                w[GV + j] += ginput
        gcoefs[seg, RATES + m] += grate


def change(seg, coefs, w):
    """Carry the driver's amounts over to the modes of a new segment."""
    read_driver(w)
    for m in range(N_MODES):
        for r in range(N_ROWS):
            total = 0.0
            for col in range(N_COLS):
                total += coefs[seg, TRANSFERS + (m * N_ROWS + r) * N_COLS + col] * w[D + col]
            w[Z + m * N_ROWS + r] = total


def pull_change(seg, coefs, w, gcoefs):
    """Adjoint of `change`; `Z` is the state before."""
    read_driver(w)
    for r in range(N_ROWS):
        w[GR + r] = 0.0
    for m in range(N_MODES):
        for r in range(N_ROWS):
            for col in range(N_COLS):
                at = TRANSFERS + (m * N_ROWS + r) * N_COLS + col
                gcoefs[seg, at] += w[NU + m * N_ROWS + r] * w[D + col]
                w[GR + col] += w[NU + m * N_ROWS + r] * coefs[seg, at]
    for m in range(N_MODES):
        for r in range(N_ROWS):
            w[NU + m * N_ROWS + r] = w[GR + r]


# In the order in which they are compiled: each after those that it calls.
TEMPLATES = (stage_time, factors, drive, carry, read_driver, pull_drive, change, pull_change)
