"""Kernel templates: a linear system in its compartments, advanced by the matrix exponential.

They take the place of those of the same name in `modal`, `walk` and the adjoint. The state is one amount
for each compartment (`N_MODES` is 1); a segment's coefficients begin with its matrix, row by row, and rows
that only add up (AUC, urine) stay out of steady states.
"""

import numpy as np

from popbayes.engine.exponential import apply, apply_transposed, solve_in_place
from popbayes.engine.exponential_calls import exponential, pull_exponential, pull_train_of, train_of
from popbayes.engine.modal import K_STRENGTH
from popbayes.engine.schedule import F_AMT, F_RATE, S_CHANNEL

# Bound by specialise(); the values here only let the module be read and checked.
N_ROWS = 0
WEIGHTS = 0
COLUMN: tuple[int, ...] = ()
ACCUMULATED: tuple[int, ...] = ()
SLOT_F: tuple[int, ...] = ()


def rate_matrix(coefs, seg, dt):
    """Matrix of a segment times a time."""
    a = np.empty((N_ROWS, N_ROWS))
    for i in range(N_ROWS):
        for j in range(N_ROWS):
            a[i, j] = coefs[seg, i * N_ROWS + j] * dt
    return a


def pull_rate_matrix(ga, gcoefs, seg, dt):
    """Adjoint of `rate_matrix`."""
    for i in range(N_ROWS):
        for j in range(N_ROWS):
            gcoefs[seg, i * N_ROWS + j] += ga[i, j] * dt


def open_rows():
    """Which rows take part in a steady state."""
    rows = np.empty(N_ROWS, dtype=np.int64)
    for i in range(N_ROWS):
        rows[i] = 1 - ACCUMULATED[i]
    return rows


def input_matrix(coefs, seg, col, w):
    """Matrix of the system with a constant input into `col`, times a time: the last column is the input."""
    a = np.zeros((N_ROWS + 1, N_ROWS + 1))
    for i in range(N_ROWS):
        for j in range(N_ROWS):
            a[i, j] = coefs[seg, i * N_ROWS + j] * w
    a[col, N_ROWS] = 1.0
    return a


def unit_input(coefs, seg, col, w):
    """What a unit amount, given over `w`, leaves at its end."""
    x = np.zeros(N_ROWS)
    if w > 0.0:
        out = np.empty((N_ROWS + 1, N_ROWS + 1))
        exponential(input_matrix(coefs, seg, col, w), out)
        for i in range(N_ROWS):
            x[i] = out[i, N_ROWS]
    else:
        x[col] = 1.0
    return x


def add_piece(z, coefs, seg, col, k, w, u, n, interval, past):
    """Add a train of equal doses to every compartment."""
    x = unit_input(coefs, seg, col, w)
    e = np.empty((N_ROWS, N_ROWS))
    if n != 1:
        exponential(rate_matrix(coefs, seg, interval), e)
        total = np.empty(N_ROWS)
        train_of(e, x, n, open_rows(), total)
        x = total
    y = x
    if u > 0.0:
        exponential(rate_matrix(coefs, seg, u), e)
        y = np.empty(N_ROWS)
        apply(e, x, y)
    for i in range(N_ROWS):
        if not (past and ACCUMULATED[i] != 0):
            z[i] += k * y[i]


def give_doses(k, s, coefs, seg, col, u, n, time, streams, kept, z):
    """Boluses of a stream; nothing is kept of them."""
    add_piece(z, coefs, seg, col, streams[s, K_STRENGTH], 0.0, u, n, time, 0)


def pull_doses(k, coefs, gcoefs, seg, col, amount, u, kept, mu):
    """Not called: `give_doses` keeps nothing."""
    return 0.0, 0.0


def pull_piece(mu, coefs, gcoefs, seg, col, k, w, u, n, interval, past):
    """Adjoint of `add_piece`: adds to `gcoefs`, returns the derivatives by k, w and u."""
    unit = unit_input(coefs, seg, col, w)
    ga = np.zeros((N_ROWS, N_ROWS))
    e = np.empty((N_ROWS, N_ROWS))
    ge = np.empty((N_ROWS, N_ROWS))
    by_interval = np.empty((N_ROWS, N_ROWS))
    x = unit
    if n != 1:
        exponential(rate_matrix(coefs, seg, interval), by_interval)
        total = np.empty(N_ROWS)
        train_of(by_interval, unit, n, open_rows(), total)
        x = total
    y = x
    g = np.empty(N_ROWS)
    for i in range(N_ROWS):
        g[i] = 0.0 if past and ACCUMULATED[i] != 0 else mu[i] * k
    gu = 0.0
    if u > 0.0:
        a = rate_matrix(coefs, seg, u)
        exponential(a, e)
        y = np.empty(N_ROWS)
        apply(e, x, y)
        for i in range(N_ROWS):
            for j in range(N_ROWS):
                gu += g[i] * coefs[seg, i * N_ROWS + j] * y[j]
                ge[i, j] = g[i] * x[j]
        pull_exponential(a, ge, ga)
        pull_rate_matrix(ga, gcoefs, seg, u)
        before = np.empty(N_ROWS)
        apply_transposed(e, g, before)
        g = before
    else:
        for i in range(N_ROWS):
            for j in range(N_ROWS):
                gu += g[i] * coefs[seg, i * N_ROWS + j] * y[j]
    gk = 0.0
    for i in range(N_ROWS):
        if not (past and ACCUMULATED[i] != 0):
            gk += mu[i] * y[i]
    if n != 1:
        before = np.empty(N_ROWS)
        for i in range(N_ROWS):
            for j in range(N_ROWS):
                ge[i, j] = 0.0
                ga[i, j] = 0.0
        pull_train_of(by_interval, unit, n, open_rows(), g, ge, before)
        g = before
        pull_exponential(rate_matrix(coefs, seg, interval), ge, ga)
        pull_rate_matrix(ga, gcoefs, seg, interval)
    gw = 0.0
    if w > 0.0:
        gw = pull_unit_input(g, unit, coefs, gcoefs, seg, col, w)
    return gk, gw, gu


def pull_unit_input(g, unit, coefs, gcoefs, seg, col, w):
    """Adjoint of `unit_input`: adds to `gcoefs`, returns the derivative by w."""
    size = N_ROWS + 1
    gout = np.zeros((size, size))
    ga = np.zeros((size, size))
    gw = g[col] / w
    for i in range(N_ROWS):
        gout[i, N_ROWS] = g[i]
        gw -= g[i] * unit[i] / w
        for j in range(N_ROWS):
            gw += g[i] * coefs[seg, i * N_ROWS + j] * unit[j]
    pull_exponential(input_matrix(coefs, seg, col, w), gout, ga)
    for i in range(N_ROWS):
        for j in range(N_ROWS):
            gcoefs[seg, i * N_ROWS + j] += ga[i, j] * w
    return gw


def closed_system(coefs, seg, transposed):
    """Minus the matrix among the rows that take part in a steady state; the identity for the others."""
    a = np.empty((N_ROWS, N_ROWS))
    for i in range(N_ROWS):
        for j in range(N_ROWS):
            if ACCUMULATED[i] != 0 or ACCUMULATED[j] != 0:
                a[i, j] = 1.0 if i == j else 0.0
            else:
                a[i, j] = -(coefs[seg, j * N_ROWS + i] if transposed else coefs[seg, i * N_ROWS + j])
    return a


def start_constant(s, coefs, seg, si, sf, z):
    """Steady state of a constant infusion that ends at its record."""
    x = np.zeros(N_ROWS)
    x[COLUMN[si[s, S_CHANNEL]]] = sf[s, F_RATE]
    solve_in_place(closed_system(coefs, seg, False), x)
    for i in range(N_ROWS):
        z[i] += x[i]


def pull_constant(s, coefs, gcoefs, seg, si, sf, mu):
    """Adjoint of `start_constant`."""
    x = np.zeros(N_ROWS)
    x[COLUMN[si[s, S_CHANNEL]]] = sf[s, F_RATE]
    solve_in_place(closed_system(coefs, seg, False), x)
    g = np.empty(N_ROWS)
    for i in range(N_ROWS):
        g[i] = 0.0 if ACCUMULATED[i] != 0 else mu[i]
    solve_in_place(closed_system(coefs, seg, True), g)
    for i in range(N_ROWS):
        for j in range(N_ROWS):
            if ACCUMULATED[i] == 0 and ACCUMULATED[j] == 0:
                gcoefs[seg, i * N_ROWS + j] += g[i] * x[j]


def give_bolus(s, coefs, seg, si, sf, z):
    """A bolus at its record, for data in which there is nothing else."""
    channel = si[s, S_CHANNEL]
    amount = sf[s, F_AMT]
    if SLOT_F[channel] >= 0:
        amount *= coefs[seg, SLOT_F[channel]]
    z[COLUMN[channel]] += amount


def pull_bolus(s, coefs, gcoefs, seg, si, sf, mu):
    """Adjoint of `give_bolus`."""
    channel = si[s, S_CHANNEL]
    if SLOT_F[channel] >= 0:
        gcoefs[seg, SLOT_F[channel]] += mu[COLUMN[channel]] * sf[s, F_AMT]


def change(z, x, coefs, old, seg):
    """Nothing: amounts stay what they are where parameters change."""


def pull_change(k, x, gx, coefs, gcoefs, old, seg, kept, mu):
    """Nothing, as in `change`."""


def observe(z, coefs, seg, out):
    """Value of output `out`: the weighted amounts."""
    total = 0.0
    for i in range(N_ROWS):
        total += z[i] * coefs[seg, WEIGHTS + out * N_ROWS + i]
    return total


def pull_observe(k, gpred, coefs, gcoefs, seg, out, kept, mu):
    """Adjoint of `observe`."""
    for i in range(N_ROWS):
        at = WEIGHTS + out * N_ROWS + i
        mu[i] += gpred * coefs[seg, at]
        gcoefs[seg, at] += gpred * kept[k, i]


def decay(k, dt, coefs, seg, kept, z):
    """Let the system run over `dt`."""
    e = np.empty((N_ROWS, N_ROWS))
    exponential(rate_matrix(coefs, seg, dt), e)
    y = np.empty(N_ROWS)
    apply(e, z, y)
    for i in range(N_ROWS):
        z[i] = y[i]


def pull_decay(k, dt, coefs, gcoefs, seg, kept, before, mu):
    """Adjoint of `decay`; `before` is the state at the start of the interval."""
    a = rate_matrix(coefs, seg, dt)
    e = np.empty((N_ROWS, N_ROWS))
    exponential(a, e)
    ge = np.empty((N_ROWS, N_ROWS))
    for i in range(N_ROWS):
        for j in range(N_ROWS):
            ge[i, j] = mu[i] * before[j]
    ga = np.zeros((N_ROWS, N_ROWS))
    pull_exponential(a, ge, ga)
    pull_rate_matrix(ga, gcoefs, seg, dt)
    y = np.empty(N_ROWS)
    apply_transposed(e, mu, y)
    for i in range(N_ROWS):
        mu[i] = y[i]


# In the order in which they are compiled; each stands where its namesake stood.
FIRST = (rate_matrix, pull_rate_matrix, open_rows, input_matrix, unit_input, pull_unit_input, closed_system)
REPLACED = (
    add_piece,
    give_doses,
    start_constant,
    give_bolus,
    change,
    observe,
    decay,
    pull_piece,
    pull_doses,
    pull_constant,
    pull_bolus,
    pull_change,
    pull_observe,
    pull_decay,
)
