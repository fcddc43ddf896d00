"""Kernel templates: the Jacobian of the predictions of an ODE model; the arguments are `jacobian.py`'s.

A subject is solved once, and its tape is played backwards from each of its observations.
"""

import math

import numpy as np

from popbayes.engine.failures import report_failure
from popbayes.engine.ode_steps import C_KIND, C_STEP, P_STEPS, ROW, T_OBS
from popbayes.engine.schedule import R_OBS, R_SEGMENT

N_COEFS = N_PARAMETERS = N_GAPS = N_STREAM = N_GIVEN = WIDTH = SCRATCH = 0
STEP = 0.0
NODES: tuple[float, ...] = ()
NODE_WEIGHTS: tuple[float, ...] = ()
SPREAD: tuple[float, ...] = ()


def _unbound(*_):
    raise RuntimeError("a kernel template is compiled by popbayes.engine.specialise, not called")


clear_rows = fill = is_near = perturb = solve_again = pull_tape = pull_coefficients = _unbound


def add_rows(i, low, theta, coefs, events, directions, weight, shift, pred, dpred, streams, w, active):
    """Add `weight` times predictions and Jacobian of subject `i`; `shift`: how far each was moved."""
    ri, si, sf = events[1], events[3], events[4]
    slots = np.zeros(3, dtype=np.int64)
    own = np.empty(pred.shape[0])
    tape = solve_again(i, coefs, events, own, streams, active, w, slots)
    if w[P_STEPS] == math.inf:
        report_failure(events[0], events[2], sf, theta, low, ri[events[0][i + 1] - 1, R_SEGMENT] + 1, i)
    gs = np.zeros((max(1, si.shape[0]), N_GIVEN))
    gcoefs = np.zeros(coefs.shape)
    gtheta = np.zeros(theta.shape)
    gpred = np.zeros(pred.shape[0])
    for row in range(0, slots[ROW], WIDTH):
        if tape[row + C_KIND] != T_OBS:
            continue
        k = np.int64(tape[row + C_STEP])
        o = ri[k, R_OBS]
        high = ri[k, R_SEGMENT] + 1
        clear_rows(gcoefs, low, high)
        clear_rows(gtheta, low, high)
        gpred[o] = 1.0
        pull_tape(0, row + WIDTH, tape, coefs, gcoefs, ri, si, sf, streams, gs, gpred, w)
        gpred[o] = 0.0
        pred[o] += weight * own[o]
        for seg in range(low, high):
            pull_coefficients(theta, seg, gcoefs, gtheta)
            for d in range(directions.shape[1]):
                for j in range(N_PARAMETERS):
                    dpred[o, d] += weight * shift[j] * gtheta[seg, j] * directions[seg, d, j]


def jacobian(subjects, theta, directions, ptr, ri, rt, si, sf, sptr, pred, dpred):
    """Predictions of some subjects and their derivatives along directions in parameter space."""
    events = (ptr, ri, rt, si, sf, sptr)
    coefs = np.empty((theta.shape[0], N_COEFS))
    streams = np.empty((max(1, si.shape[0]), N_STREAM))
    active = np.empty(max(1, si.shape[0]), dtype=np.int64)
    w = np.zeros(SCRATCH)
    moved = np.empty(theta.shape)
    shift = np.ones(N_PARAMETERS)
    for i in subjects:
        low = ri[ptr[i], R_SEGMENT]
        high = ri[ptr[i + 1] - 1, R_SEGMENT] + 1
        fill(theta, low, high, coefs)
        for k in range(ptr[i], ptr[i + 1]):
            if ri[k, R_OBS] >= 0:
                pred[ri[k, R_OBS]] = 0.0
        if N_GAPS > 0 and is_near(coefs, low, high):
            for node in range(len(NODES)):
                perturb(theta, low, high, node, moved, coefs)
                for j in range(N_PARAMETERS):
                    shift[j] = 1.0 + NODES[node] * STEP * SPREAD[j]
                weight = NODE_WEIGHTS[node]
                add_rows(
                    i, low, moved, coefs, events, directions, weight, shift, pred, dpred, streams, w, active
                )
            for j in range(N_PARAMETERS):
                shift[j] = 1.0
        else:
            add_rows(i, low, theta, coefs, events, directions, 1.0, shift, pred, dpred, streams, w, active)


# Compiled in this order before the entry point `jacobian`.
TEMPLATES = (add_rows,)
