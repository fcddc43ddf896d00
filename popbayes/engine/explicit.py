"""Kernel templates: one step of the explicit 5(4) pair of Dormand and Prince, and its adjoint.

Stage values are written to the tape (one row for each step), where the adjoint reads them: the discrete
adjoint is the exact derivative of the step, at the cost of six vector-Jacobian products.

References
----------
Dormand & Prince, *A family of embedded Runge-Kutta formulae*, J. Comput. Appl. Math. 6 (1980) 19-26.
"""

import numpy as np

# Bound by ode.py; the values here only let the module be read and checked.
N_STATES = N_ROWS = Y_AT = 0
K = ERROR = MU = G = GY = 0

A21 = 1.0 / 5.0
A31, A32 = 3.0 / 40.0, 9.0 / 40.0
A41, A42, A43 = 44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0
A51, A52, A53, A54 = 19372.0 / 6561.0, -25360.0 / 2187.0, 64448.0 / 6561.0, -212.0 / 729.0
A61, A62, A63, A64, A65 = 9017.0 / 3168.0, -355.0 / 33.0, 46732.0 / 5247.0, 49.0 / 176.0, -5103.0 / 18656.0
B1, B3, B4, B5, B6 = 35.0 / 384.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0
C2, C3, C4, C5 = 0.2, 0.3, 0.8, 8.0 / 9.0
# Difference of the two formulas: the error estimate.
E1, E3, E4 = 71.0 / 57600.0, -71.0 / 16695.0, 71.0 / 1920.0
E5, E6, E7 = -17253.0 / 339200.0, 22.0 / 525.0, -1.0 / 40.0


def _unbound(*_):
    raise RuntimeError("a kernel template is compiled by popbayes.engine.specialise, not called")


rhs = pull_rhs = _unbound


def explicit_step(t, h, tape, row, seg, coefs, w):
    """Stages 2 to 6 and the new state into the tape's row, rates into `K`, the error estimate into `ERROR`.

    The row holds the state at `Y_AT`, `K` the rates there; the rates at the new state, which are the
    first of the next step, come seventh.
    """
    y = row + Y_AT
    n = np.int64(N_STATES)
    for i in range(N_STATES):
        tape[y + n + i] = tape[y + i] + h * A21 * w[K + i]
    rhs(t + C2 * h, tape, y + n, np.int64(N_ROWS), w, coefs, seg, n)
    for i in range(N_STATES):
        tape[y + 2 * n + i] = tape[y + i] + h * (A31 * w[K + i] + A32 * w[K + n + i])
    rhs(t + C3 * h, tape, y + 2 * n, 2 * N_ROWS, w, coefs, seg, 2 * n)
    for i in range(N_STATES):
        slope = A41 * w[K + i] + A42 * w[K + n + i] + A43 * w[K + 2 * n + i]
        tape[y + 3 * n + i] = tape[y + i] + h * slope
    rhs(t + C4 * h, tape, y + 3 * n, 3 * N_ROWS, w, coefs, seg, 3 * n)
    for i in range(N_STATES):
        slope = A51 * w[K + i] + A52 * w[K + n + i] + A53 * w[K + 2 * n + i] + A54 * w[K + 3 * n + i]
        tape[y + 4 * n + i] = tape[y + i] + h * slope
    rhs(t + C5 * h, tape, y + 4 * n, 4 * N_ROWS, w, coefs, seg, 4 * n)
    for i in range(N_STATES):
        slope = (
            A61 * w[K + i]
            + A62 * w[K + n + i]
            + A63 * w[K + 2 * n + i]
            + A64 * w[K + 3 * n + i]
            + A65 * w[K + 4 * n + i]
        )
        tape[y + 5 * n + i] = tape[y + i] + h * slope
    rhs(t + h, tape, y + 5 * n, 5 * N_ROWS, w, coefs, seg, 5 * n)
    for i in range(N_STATES):
        slope = (
            B1 * w[K + i]
            + B3 * w[K + 2 * n + i]
            + B4 * w[K + 3 * n + i]
            + B5 * w[K + 4 * n + i]
            + B6 * w[K + 5 * n + i]
        )
        tape[y + 6 * n + i] = tape[y + i] + h * slope
    rhs(t + h, tape, y + 6 * n, 5 * N_ROWS, w, coefs, seg, 6 * n)
    for i in range(N_STATES):
        slope = E1 * w[K + i] + E3 * w[K + 2 * n + i] + E4 * w[K + 3 * n + i]
        w[ERROR + i] = h * (slope + E5 * w[K + 4 * n + i] + E6 * w[K + 5 * n + i] + E7 * w[K + 6 * n + i])


def pull_explicit(t, h, tape, row, seg, coefs, w, gcoefs):
    """Adjoint of `explicit_step`: `MU` by the new state -> by the old one.

    On return `G` holds the derivatives by the stages' rates (what an input rate is multiplied by) and
    `GD` those by the driver's rows at the stages.
    """
    y = row + Y_AT
    n = np.int64(N_STATES)
    for i in range(N_STATES):
        w[G + 5 * n + i] = h * B6 * w[MU + i]
    pull_rhs(t + h, tape, y + 5 * n, 5 * N_ROWS, w, coefs, seg, 5 * n, gcoefs)
    for i in range(N_STATES):
        w[G + 4 * n + i] = h * (B5 * w[MU + i] + A65 * w[GY + 5 * n + i])
    pull_rhs(t + C5 * h, tape, y + 4 * n, 4 * N_ROWS, w, coefs, seg, 4 * n, gcoefs)
    for i in range(N_STATES):
        w[G + 3 * n + i] = h * (B4 * w[MU + i] + A64 * w[GY + 5 * n + i] + A54 * w[GY + 4 * n + i])
    pull_rhs(t + C4 * h, tape, y + 3 * n, 3 * N_ROWS, w, coefs, seg, 3 * n, gcoefs)
    for i in range(N_STATES):
        later = A63 * w[GY + 5 * n + i] + A53 * w[GY + 4 * n + i] + A43 * w[GY + 3 * n + i]
        w[G + 2 * n + i] = h * (B3 * w[MU + i] + later)
    pull_rhs(t + C3 * h, tape, y + 2 * n, 2 * N_ROWS, w, coefs, seg, 2 * n, gcoefs)
    for i in range(N_STATES):
        later = (
            A62 * w[GY + 5 * n + i]
            + A52 * w[GY + 4 * n + i]
            + A42 * w[GY + 3 * n + i]
            + A32 * w[GY + 2 * n + i]
        )
        w[G + n + i] = h * later
    pull_rhs(t + C2 * h, tape, y + n, np.int64(N_ROWS), w, coefs, seg, n, gcoefs)
    for i in range(N_STATES):
        later = A61 * w[GY + 5 * n + i] + A51 * w[GY + 4 * n + i] + A41 * w[GY + 3 * n + i]
        w[G + i] = h * (B1 * w[MU + i] + later + A31 * w[GY + 2 * n + i] + A21 * w[GY + n + i])
    pull_rhs(t, tape, y, np.int64(0), w, coefs, seg, np.int64(0), gcoefs)
    for i in range(N_STATES):
        w[MU + i] += (
            w[GY + i]
            + w[GY + n + i]
            + w[GY + 2 * n + i]
            + w[GY + 3 * n + i]
            + w[GY + 4 * n + i]
            + w[GY + 5 * n + i]
        )


TEMPLATES = (explicit_step, pull_explicit)
