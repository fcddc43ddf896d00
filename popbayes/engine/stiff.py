"""Kernel templates: one step of an L-stable, singly diagonally implicit method of order 4, and its adjoint.

ESDIRK4(3)6L[2]SA: six stages, the first explicit, stiffly accurate, with an embedded formula of order 3.
Each stage is solved by simplified Newton iterations with the Jacobian of the step's start; the adjoint
takes the Jacobian at each stage value and one transposed solve.

References
----------
Kennedy & Carpenter, *Additive Runge-Kutta schemes for convection-diffusion-reaction equations*, Appl. Numer.
Math. 44 (2003) 139-181.
"""

import math

import numpy as np

# Bound by ode.py; the values here only let the module be read and checked.
N_STATES = N_OWN = N_BLOCKS = N_ROWS = Y_AT = 0
K = ERROR = MU = G = GY = JAC = LU = BASE = MOVE = 0

GAMMA = 0.25
A21 = 0.25
A31, A32 = 8611.0 / 62500.0, -1743.0 / 31250.0
A41, A42, A43 = 5012029.0 / 34652500.0, -654441.0 / 2922500.0, 174375.0 / 388108.0
A51, A52 = 15267082809.0 / 155376265600.0, -71443401.0 / 120774400.0
A53, A54 = 730878875.0 / 902184768.0, 2285395.0 / 8070912.0
B1, B3, B4, B5 = 82889.0 / 524892.0, 15625.0 / 83664.0, 69875.0 / 102672.0, -2260.0 / 8211.0
H1, H3 = 4586570599.0 / 29645900160.0, 178811875.0 / 945068544.0
H4, H5, H6 = 814220225.0 / 1159782912.0, -3700637.0 / 11593932.0, 61727.0 / 225920.0
# Rows of the tableau below the diagonal, one after the other: row i begins at i (i - 1) / 2.
LOWER = (A21, A31, A32, A41, A42, A43, A51, A52, A53, A54, B1, 0.0, B3, B4, B5)
FINAL = (B1, 0.0, B3, B4, B5, GAMMA)
# Difference of the two formulas: the error estimate.
EMBEDDED = (B1 - H1, 0.0, B3 - H3, B4 - H4, B5 - H5, GAMMA - H6)
N_STAGES = 6
MOST_ITERATIONS = 8
SOLVED = 1e-3
"""Stages are solved to this part of the error that a step may have."""


def _unbound(*_):
    raise RuntimeError("a kernel template is compiled by popbayes.engine.specialise, not called")


rhs = pull_rhs = jacobian = stage_time = scale_of = factorise = back_substitute = _unbound


def implicit_matrix(h, transposed, w):
    """Factors of the matrix that every stage is solved with, from the Jacobian in `JAC`."""
    n = N_OWN
    for i in range(n):
        for j in range(n):
            entry = w[JAC + j * n + i] if transposed else w[JAC + i * n + j]
            w[LU + i * n + j] = (1.0 if i == j else 0.0) - h * GAMMA * entry
    factorise(w, np.int64(LU), n)


def solve_blocks(at, w):
    """Solve for states and, one after the other, for their sensitivities, which share the matrix."""
    for block in range(N_BLOCKS):
        back_substitute(w, np.int64(LU), N_OWN, w, at + block * N_OWN)


def solve_stage(t, h, stage, tape, y, seg, coefs, w):
    """Newton iterations for one stage, whose explicit part is in `BASE`; tells whether they converge."""
    n = N_STATES
    at = y + stage * n
    before = math.inf
    for trial in range(MOST_ITERATIONS):
        rhs(t, tape, at, stage * N_ROWS, w, coefs, seg, stage * n)
        for i in range(n):
            w[MOVE + i] = w[BASE + i] + h * GAMMA * w[K + stage * n + i] - tape[at + i]
        solve_blocks(np.int64(MOVE), w)
        size = 0.0
        for i in range(n):
            tape[at + i] += w[MOVE + i]
            scale = scale_of(i, max(abs(tape[y + i]), abs(tape[at + i])), seg, coefs, w)
            size = max(size, abs(w[MOVE + i]) / scale) if w[MOVE + i] == w[MOVE + i] else math.inf
        if size == math.inf or (trial > 0 and size > 0.9 * before and size > SOLVED):
            return False
        rate = min(0.9, size / before) if trial > 0 else 0.5
        if size * rate / (1.0 - rate) <= SOLVED:
            return True
        before = size
    return False


def stiff_step(t, h, tape, row, seg, coefs, w):
    """Stages 2 to 6 into the tape's row, the last being the new state; tells whether all were solved.

    The row holds the state at `Y_AT`, `K` the rates there.
    """
    y = row + Y_AT
    n = N_STATES
    jacobian(t, tape, y, np.int64(0), w, coefs, seg)
    implicit_matrix(h, False, w)
    for stage in range(1, N_STAGES):
        for i in range(n):
            slope = 0.0
            for j in range(stage):
                slope += LOWER[stage * (stage - 1) // 2 + j] * w[K + j * n + i]
            w[BASE + i] = tape[y + i] + h * slope
            tape[y + stage * n + i] = w[BASE + i] + h * GAMMA * w[K + (stage - 1) * n + i]
        if not solve_stage(t + stage_time(True, stage) * h, h, stage, tape, y, seg, coefs, w):
            return False
        for i in range(n):
            w[K + stage * n + i] = (tape[y + stage * n + i] - w[BASE + i]) / (h * GAMMA)
    for i in range(n):
        slope = 0.0
        for stage in range(N_STAGES):
            slope += EMBEDDED[stage] * w[K + stage * n + i]
        w[ERROR + i] = h * slope
    # what is too stiff for this step does not count as its error
    solve_blocks(np.int64(ERROR), w)
    return True


def pull_stiff(t, h, tape, row, seg, coefs, w, gcoefs):
    """Adjoint of `stiff_step`; the arguments are those of `pull_explicit`."""
    y = row + Y_AT
    n = N_STATES
    for back in range(N_STAGES):
        stage = N_STAGES - 1 - back
        time = t + stage_time(True, stage) * h
        for i in range(n):
            g = FINAL[stage] * w[MU + i]
            for later in range(stage + 1, N_STAGES):
                g += LOWER[later * (later - 1) // 2 + stage] * w[GY + later * n + i]
            w[G + stage * n + i] = h * g
        if stage > 0:
            jacobian(time, tape, y + stage * n, stage * N_ROWS, w, coefs, seg)
            implicit_matrix(h, True, w)
            back_substitute(w, np.int64(LU), N_OWN, w, G + stage * n)
        pull_rhs(time, tape, y + stage * n, stage * N_ROWS, w, coefs, seg, stage * n, gcoefs)
    for stage in range(N_STAGES):
        for i in range(n):
            w[MU + i] += w[GY + stage * n + i]


TEMPLATES = (implicit_matrix, solve_blocks, solve_stage, stiff_step, pull_stiff)
