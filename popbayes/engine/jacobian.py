"""Kernel templates: the Jacobian of the predictions, one backward walk from each observation's own record.

Subjects are independent and a prediction depends on earlier records only, so that the walk that starts
at an observation gives its derivatives by all parameters of all earlier segments at once. The walks are
those of `adjoint.py`, on a subject cut off after the observation.

The upper-case names and the functions of `modal`, `adjoint` and `kernels` are bound by `linear.py`.
"""

import numpy as np

from popbayes.engine.buffers import LANES
from popbayes.engine.modal import K_GIVEN, K_NUMBER, K_START
from popbayes.engine.pieces import count
from popbayes.engine.schedule import F_II, R_FIRST, R_OBS, R_SEGMENT, R_STREAMS

N_MODES = N_ROWS = N_PARAMETERS = N_COEFFICIENTS = N_STREAM = N_ADJOINT = N_KEPT = N_AMOUNTS = WIDTH = 0
STREAMS = True
STEP = 0.0
NODES: tuple[float, ...] = ()
NODE_WEIGHTS: tuple[float, ...] = ()
SPREAD: tuple[float, ...] = ()


def _unbound(*_):
    raise RuntimeError("a kernel template is compiled by popbayes.engine.specialise, not called")


coefficients = pull_coefficients = walk_events = pull_events = is_near = perturb = interpolate = _unbound


def cut_streams(i, k, events, streams, log, cut_log, given):
    """Streams of subject `i` as they stand after record `k`: what they gave later is forgotten.

    `given` keeps what they gave in all, for `mend_streams`.
    """
    ri, rt, sf, sptr = events[1], events[2], events[4], events[5]
    begun = ri[k, R_FIRST] + ri[k, R_STREAMS]
    filled = sptr[i]
    for e in range(sptr[i], sptr[i + 1]):
        cut_log[e, 1] = -1
    for e in range(sptr[i], sptr[i + 1]):
        s = log[e, 0]
        when = log[e, 1]
        if when < 0:
            break
        if when > k:
            if s >= begun:
                continue
            when = k + 1
            due = count(rt[k], streams[s, K_START], sf[s, F_II], np.int64(streams[s, K_NUMBER]))
            given[s] = streams[s, K_GIVEN]
            streams[s, K_GIVEN] = min(given[s], due)
        cut_log[filled, 0] = s
        cut_log[filled, 1] = when
        filled += 1


def mend_streams(i, k, events, streams, cut_log, given):
    """Undo `cut_streams`."""
    sptr = events[5]
    for e in range(sptr[i], sptr[i + 1]):
        if cut_log[e, 1] > k:
            streams[cut_log[e, 0], K_GIVEN] = given[cut_log[e, 0]]


def add_row(o, low, high, factor, gtheta, directions, dpred):
    """Chain rule: derivatives of observation `o` along every direction."""
    for d in range(directions.shape[1]):
        total = 0.0
        for seg in range(low, high):
            for j in range(N_PARAMETERS):
                total += factor[j] * gtheta[seg, j] * directions[seg, d, j]
        dpred[o, d] += total


def subject_rows(i, theta, coefs, events, directions, factor, dpred, kept, streams, log, scratch):
    """Add the rows of the Jacobian of subject `i`, whose forward walk is done."""
    cut_ptr, cut_log, given, gpred, gcoefs, gtheta, work = scratch
    ptr, ri, rt, si, sf, sptr = events
    cut = (cut_ptr, ri, rt, si, sf, sptr)
    low = ri[ptr[i], R_SEGMENT]
    cut_ptr[i] = ptr[i]
    for k in range(ptr[i], ptr[i + 1]):
        o = ri[k, R_OBS]
        if o < 0:
            continue
        high = ri[k, R_SEGMENT] + 1
        for seg in range(low, high):
            for j in range(N_COEFFICIENTS):
                gcoefs[seg, j] = 0.0
            for j in range(N_PARAMETERS):
                gtheta[seg, j] = 0.0
        cut_ptr[i + 1] = k + 1
        gpred[o] = 1.0
        if STREAMS:
            cut_streams(i, k, events, streams, log, cut_log, given)
        pull_events(i, coefs, gcoefs, cut, gpred, kept, streams, cut_log, work)
        if STREAMS:
            mend_streams(i, k, events, streams, cut_log, given)
        gpred[o] = 0.0
        pull_coefficients(theta, low, high, gcoefs, gtheta)
        add_row(o, low, high, factor, gtheta, directions, dpred)


def near_rows(i, low, high, theta, events, directions, pred, dpred, coefs, kept, streams, log, scratch, walk):
    """Predictions and Jacobian of a subject whose rates nearly coincide: from the stencil's points."""
    ptr, ri = events[0], events[1]
    moved = np.empty(theta.shape)
    factor = np.empty(N_PARAMETERS)
    total = np.empty(pred.shape[0])
    for node in range(len(NODES)):
        perturb(theta, low, high, node, moved, coefs)
        walk_events(i, coefs, events, pred, kept, streams, log, walk)
        interpolate(ptr[i], ptr[i + 1], node, ri, pred, total)
        for j in range(N_PARAMETERS):
            factor[j] = NODE_WEIGHTS[node] * (1.0 + NODES[node] * STEP * SPREAD[j])
        subject_rows(i, moved, coefs, events, directions, factor, dpred, kept, streams, log, scratch)


def jacobian(subjects, theta, directions, ptr, ri, rt, si, sf, sptr, pred, dpred):
    """Predictions of some subjects and their derivatives along directions in parameter space.

    Parameters
    ----------
    subjects : (n,) int
        Which ones; nothing is written for the others.
    theta : (n_segment, n_parameter)
    directions : (n_segment, n_direction, n_parameter)
    ptr, ri, rt, si, sf, sptr
        The arrays of a `Schedule`.
    pred : (n_obs,), written
    dpred : (n_obs, n_direction), added to
    """
    events = (ptr, ri, rt, si, sf, sptr)
    n_stream = max(1, si.shape[0])
    n_rows = (theta.shape[0] + LANES - 1) // LANES
    coefs = np.empty((n_rows, WIDTH))
    kept = np.empty((rt.shape[0], N_KEPT))
    streams = np.empty((n_stream, N_STREAM))
    log = np.empty((n_stream, 2), dtype=np.int64)
    active = np.empty(n_stream, dtype=np.int64)
    z = np.empty(N_MODES * N_ROWS)
    x = np.empty(N_AMOUNTS)
    walk = (z, x, active)
    work = (
        np.empty(N_MODES * N_ROWS), z, x, np.empty(N_AMOUNTS), np.empty((n_stream, N_ADJOINT)), active
    )  # fmt: skip
    scratch = (
        ptr.copy(), np.empty((n_stream, 2), dtype=np.int64), np.empty(n_stream), np.zeros(pred.shape[0]),
        np.zeros((n_rows, WIDTH)), np.zeros(theta.shape), work,
    )  # fmt: skip
    factor = np.ones(N_PARAMETERS)
    for i in subjects:
        low = ri[ptr[i], R_SEGMENT]
        high = ri[ptr[i + 1] - 1, R_SEGMENT] + 1
        coefficients(theta, low, high, coefs)
        if is_near(coefs, low, high):
            near_rows(
                i, low, high, theta, events, directions, pred, dpred, coefs, kept, streams, log, scratch, walk
            )
        else:
            walk_events(i, coefs, events, pred, kept, streams, log, walk)
            subject_rows(i, theta, coefs, events, directions, factor, dpred, kept, streams, log, scratch)


# Compiled in this order before the entry point `jacobian`.
TEMPLATES = (cut_streams, mend_streams, add_row, subject_rows, near_rows)
