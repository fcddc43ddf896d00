"""Kernel templates: all subjects of a study whose states are integrated.

The arguments are those of `kernels.py`.

`kept` is the tape, `SLOTS` rows for each record of the study; `log[first record of a subject]` says which
rows are the subject's, or that they did not fit: then the adjoint solves the subject again.
"""

import math

import numpy as np

from popbayes.engine.buffers import Buffer
from popbayes.engine.failures import report_failure
from popbayes.engine.kernels import interpolate
from popbayes.engine.ode_pull import N_GIVEN
from popbayes.engine.ode_steps import FULL, LAST_ROW, N_SLOTS, P_STEPS, ROW
from popbayes.engine.schedule import R_SEGMENT

N_COEFS = N_PARAMETERS = N_GAPS = WIDTH = 0
NEAR = STEP = 0.0
NODES: tuple[float, ...] = ()
NODE_WEIGHTS: tuple[float, ...] = ()
SPREAD: tuple[float, ...] = ()
MOST_ROWS = 4_000_000
NOT_KEPT = -1


def _unbound(*_):
    raise RuntimeError("a kernel template is compiled by popbayes.engine.specialise, not called")


coefficients = pull_coefficients = walk_ode = pull_tape = _unbound


def clear_rows(values, low, high):
    """Set rows of a matrix to zero."""
    for k in range(low, high):
        for j in range(values.shape[1]):
            values[k, j] = 0.0


def copy_rows(values, low, high, out):
    """Copy rows of a matrix to another."""
    for k in range(low, high):
        for j in range(values.shape[1]):
            out[k, j] = values[k, j]


def fill(theta, low, high, coefs):
    """Coefficients of segments `low .. high - 1`."""
    for k in range(low, high):
        coefficients(theta, k, coefs)


def is_near(coefs, low, high):
    """Tell whether rates of the driver nearly coincide in any of the segments `low .. high - 1`."""
    for k in range(low, high):
        for j in range(N_COEFS - N_GAPS, N_COEFS):
            if abs(coefs[k, j]) < NEAR:
                return True
    return False


def perturb(theta, low, high, node, moved, coefs):
    """Coefficients of segments `low .. high - 1` at one point of the stencil."""
    for k in range(low, high):
        for j in range(N_PARAMETERS):
            moved[k, j] = theta[k, j] * (1.0 + NODES[node] * STEP * SPREAD[j])
    fill(moved, low, high, coefs)


def clear(values):
    """Set a vector to zero."""
    for j in range(values.shape[0]):
        values[j] = 0.0


def forward(theta, ptr, ri, rt, si, sf, sptr, pred, coefs, kept, streams, log, scratch):
    """Predict every observation; keep what the adjoint needs.

    Parameters
    ----------
    theta : (n_segment, n_parameter)
    ptr, ri, rt, si, sf, sptr
        The arrays of a `Schedule`.
    pred : (n_obs,), written
    coefs : (n_segment, n_coefficient), written
    kept : (n_row, WIDTH), written
    streams : (n_stream, N_STREAM), written
    log : (n_record, 2) int, written
    scratch
        The arrays of `scratch_of`.
    """
    events = (ptr, ri, rt, si, sf, sptr)
    w, active, slots, moved, total = scratch
    clear(w)
    tape = kept.reshape(-1)
    slots[ROW] = 0
    slots[LAST_ROW] = tape.shape[0] - WIDTH
    for i in range(ptr.shape[0] - 1):
        low = ri[ptr[i], R_SEGMENT]
        high = ri[ptr[i + 1] - 1, R_SEGMENT] + 1
        fill(theta, low, high, coefs)
        slots[FULL] = 0
        first = slots[ROW]
        log[ptr[i], 0] = NOT_KEPT
        near = N_GAPS > 0 and is_near(coefs, low, high)
        failed = False
        for node in range(len(NODES) if near else 1):
            if near:
                perturb(theta, low, high, node, moved, coefs)
                slots[ROW] = first
            walk_ode(i, coefs, events, pred, streams, w, active, tape, slots)
            failed = failed or w[P_STEPS] == math.inf
            if near:
                interpolate(ptr[i], ptr[i + 1], node, ri, pred, total)
        if failed:
            report_failure(ptr, rt, sf, theta, low, high, i)
        if near:
            slots[ROW] = first
            fill(theta, low, high, coefs)
        elif slots[FULL] == 0:
            log[ptr[i], 0] = first
            log[ptr[i], 1] = slots[ROW]
        else:
            slots[ROW] = first


def solve_again(i, coefs, events, scratch, streams, active, w, slots):
    """Solve a subject whose tape was not kept once more, on a tape that is long enough; return the tape."""
    rows = 1024
    while True:
        tape = np.empty(rows * WIDTH, np.float64)
        slots[ROW] = 0
        slots[LAST_ROW] = tape.shape[0] - WIDTH
        slots[FULL] = 0
        walk_ode(i, coefs, events, scratch, streams, w, active, tape, slots)
        if slots[FULL] == 0 or rows >= MOST_ROWS:
            return tape
        rows *= 4


def pull(theta, ptr, ri, rt, si, sf, sptr, gpred, coefs, kept, streams, log, gtheta, scratch):
    """Add `gpred` times the Jacobian of `forward` to `gtheta`.

    `scratch` are the arrays of `pull_scratch_of`; the rest is as `forward` left it.
    """
    events = (ptr, ri, rt, si, sf, sptr)
    w, active, slots, gs, gcoefs, moved, gmoved, here, again = scratch
    clear(w)
    clear_rows(gs, 0, gs.shape[0])
    clear_rows(gcoefs, 0, gcoefs.shape[0])
    for i in range(ptr.shape[0] - 1):
        low = ri[ptr[i], R_SEGMENT]
        high = ri[ptr[i + 1] - 1, R_SEGMENT] + 1
        near = N_GAPS > 0 and is_near(coefs, low, high)
        copy_rows(theta, low, high, moved)
        copy_rows(coefs, low, high, here)
        for node in range(len(NODES) if near else 1):
            tape = kept.reshape(-1)
            first = log[ptr[i], 0]
            last = log[ptr[i], 1]
            if near:
                perturb(theta, low, high, node, moved, here)
                clear_rows(gcoefs, low, high)
            if first == NOT_KEPT:
                tape = solve_again(i, here, events, again, streams, active, w, slots)
                first = 0
                last = slots[ROW]
            pull_tape(first, last, tape, here, gcoefs, ri, si, sf, streams, gs, gpred, w)
            clear_rows(gmoved, low, high)
            for k in range(low, high):
                pull_coefficients(moved, k, gcoefs, gmoved)
                for j in range(N_PARAMETERS):
                    factor = 1.0
                    if near:
                        factor = NODE_WEIGHTS[node] * (1.0 + NODES[node] * STEP * SPREAD[j])
                    gtheta[k, j] += factor * gmoved[k, j]


def evaluate(thetas, ptr, ri, rt, si, sf, sptr, preds, coefs, kept, streams, log, scratch):
    """Predictions of a batch of parameter sets, `thetas[b]` -> `preds[b]`; the rest as of `forward`."""
    for b in range(thetas.shape[0]):
        forward(thetas[b], ptr, ri, rt, si, sf, sptr, preds[b], coefs, kept, streams, log, scratch)


def scratch_of(size, n_parameters):
    """Arrays that `forward` writes over; `size`: numbers of one solution."""
    return (
        Buffer("one", size),
        Buffer("stream", integer=True),
        Buffer("one", N_SLOTS, integer=True),
        Buffer("segment", width=n_parameters),
        Buffer("observation"),
    )


def pull_scratch_of(size, n_parameters, n_coefs):
    """Arrays that `pull` writes over."""
    return (
        Buffer("one", size),
        Buffer("stream", integer=True),
        Buffer("one", N_SLOTS, integer=True),
        Buffer("stream", width=N_GIVEN),
        Buffer("segment", width=n_coefs),
        Buffer("segment", width=n_parameters),
        Buffer("segment", width=n_parameters),
        Buffer("segment", width=n_coefs),
        Buffer("observation"),
    )


# Compiled first, in this order; the entry points forward, pull and evaluate come after.
TEMPLATES = (clear, clear_rows, copy_rows, fill, is_near, perturb, interpolate, solve_again)
