"""Kernel templates: all subjects of a study whose states are integrated.

The arguments are those of `kernels.py`.

`kept` is the tape, `SLOTS` rows for each record of the study; `log[first record of a subject]` says which
rows are the subject's, or that they did not fit: then the adjoint solves the subject again.
"""

import math

import numpy as np

from popbayes.engine.failures import report_failure
from popbayes.engine.kernels import interpolate
from popbayes.engine.ode_steps import FULL, LAST_ROW, P_STEPS, ROW
from popbayes.engine.schedule import R_SEGMENT

N_COEFS = N_STREAM = N_PARAMETERS = N_GAPS = N_GIVEN = 0
WIDTH = SCRATCH = 0
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


def forward(theta, ptr, ri, rt, si, sf, sptr, pred, coefs, kept, streams, log):
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
    """
    events = (ptr, ri, rt, si, sf, sptr)
    w = np.zeros(SCRATCH)
    tape = kept.reshape(-1)
    active = np.empty(max(1, si.shape[0]), dtype=np.int64)
    slots = np.zeros(3, dtype=np.int64)
    slots[LAST_ROW] = tape.shape[0] - WIDTH
    moved = np.empty(theta.shape)
    total = np.empty(pred.shape[0])
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
        tape = np.empty(rows * WIDTH)
        slots[ROW] = 0
        slots[LAST_ROW] = tape.shape[0] - WIDTH
        slots[FULL] = 0
        walk_ode(i, coefs, events, scratch, streams, w, active, tape, slots)
        if slots[FULL] == 0 or rows >= MOST_ROWS:
            return tape
        rows *= 4


def pull(theta, ptr, ri, rt, si, sf, sptr, gpred, coefs, kept, streams, log, gtheta):
    """Add `gpred` times the Jacobian of `forward` to `gtheta`; the rest is as `forward` left it."""
    events = (ptr, ri, rt, si, sf, sptr)
    n_stream = max(1, si.shape[0])
    w = np.zeros(SCRATCH)
    slots = np.zeros(3, dtype=np.int64)
    gs = np.zeros((n_stream, N_GIVEN))
    active = np.empty(n_stream, dtype=np.int64)
    gcoefs = np.zeros(coefs.shape)
    moved = theta.copy()
    gmoved = np.zeros(theta.shape)
    here = coefs.copy()
    scratch = np.empty(gpred.shape[0])
    for i in range(ptr.shape[0] - 1):
        low = ri[ptr[i], R_SEGMENT]
        high = ri[ptr[i + 1] - 1, R_SEGMENT] + 1
        near = N_GAPS > 0 and is_near(coefs, low, high)
        for node in range(len(NODES) if near else 1):
            tape = kept.reshape(-1)
            first = log[ptr[i], 0]
            last = log[ptr[i], 1]
            if near:
                perturb(theta, low, high, node, moved, here)
                clear_rows(gcoefs, low, high)
            if first == NOT_KEPT:
                tape = solve_again(i, here, events, scratch, streams, active, w, slots)
                first = 0
                last = slots[ROW]
            pull_tape(first, last, tape, here, gcoefs, ri, si, sf, streams, gs, gpred, w)
            for k in range(low, high):
                for j in range(N_PARAMETERS):
                    gmoved[k, j] = 0.0
                pull_coefficients(moved, k, gcoefs, gmoved)
                for j in range(N_PARAMETERS):
                    factor = 1.0
                    if near:
                        factor = NODE_WEIGHTS[node] * (1.0 + NODES[node] * STEP * SPREAD[j])
                    gtheta[k, j] += factor * gmoved[k, j]


def evaluate(thetas, ptr, ri, rt, si, sf, sptr, preds):
    """Predictions of a batch of parameter sets, `thetas[b]` -> `preds[b]`; no tape is kept."""
    coefs = np.empty((thetas.shape[1], N_COEFS))
    kept = np.empty((2, WIDTH))
    streams = np.empty((si.shape[0], N_STREAM))
    log = np.empty((rt.shape[0], 2), dtype=np.int64)
    for b in range(thetas.shape[0]):
        forward(thetas[b], ptr, ri, rt, si, sf, sptr, preds[b], coefs, kept, streams, log)


# Compiled first, in this order; the entry points forward, pull and evaluate come after.
TEMPLATES = (clear_rows, fill, is_near, perturb, interpolate, solve_again)
