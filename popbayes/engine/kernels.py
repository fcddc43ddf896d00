"""Kernel templates: all subjects of a study, forward, adjoint, and for many parameter sets.

The upper-case names and the functions of `modal` are bound by `linear.py` (see `specialise`).
"""

import numpy as np

from popbayes.engine.schedule import R_OBS, R_SEGMENT

N_MODES = N_ROWS = N_PARAMETERS = N_COEFFICIENTS = N_GAPS = N_STREAM = N_ADJOINT = 0
NEAR = STEP = 0.0
NODES: tuple[float, ...] = ()
NODE_WEIGHTS: tuple[float, ...] = ()
SPREAD: tuple[float, ...] = ()


def _unbound(*_):
    raise RuntimeError("a kernel template is compiled by popbayes.engine.specialise, not called")


coefficients = pull_coefficients = walk_events = pull_events = _unbound


def is_near(coefs, low, high):
    """Tell whether rates of any of the segments `low .. high - 1` nearly coincide."""
    for k in range(low, high):
        for j in range(N_COEFFICIENTS - N_GAPS, N_COEFFICIENTS):
            if abs(coefs[k, j]) < NEAR:
                return True
    return False


def perturb(theta, low, high, node, moved, coefs):
    """Coefficients of segments `low .. high - 1` at one point of the stencil."""
    for k in range(low, high):
        for j in range(N_PARAMETERS):
            moved[k, j] = theta[k, j] * (1.0 + NODES[node] * STEP * SPREAD[j])
        coefficients(moved, k, coefs)


def forward_near(i, low, high, theta, events, pred, coefs, kept, streams, log, work):
    """Predictions of a subject whose rates nearly coincide: interpolated from the stencil's points."""
    ptr, ri = events[0], events[1]
    moved = np.empty(theta.shape)
    total = np.zeros(ptr[i + 1] - ptr[i])
    for node in range(len(NODES)):
        perturb(theta, low, high, node, moved, coefs)
        walk_events(i, coefs, events, pred, kept, streams, log, work)
        for k in range(ptr[i], ptr[i + 1]):
            if ri[k, R_OBS] >= 0:
                total[k - ptr[i]] += NODE_WEIGHTS[node] * pred[ri[k, R_OBS]]
    for k in range(ptr[i], ptr[i + 1]):
        if ri[k, R_OBS] >= 0:
            pred[ri[k, R_OBS]] = total[k - ptr[i]]
    for k in range(low, high):
        coefficients(theta, k, coefs)


def forward(theta, ptr, ri, rt, si, sf, sptr, pred, coefs, kept, streams, log):
    """Predict every observation; keep what the adjoint needs.

    Parameters
    ----------
    theta : (n_segment, n_parameter)
    ptr, ri, rt, si, sf, sptr
        The arrays of a `Schedule`.
    pred : (n_obs,), written
    coefs : (n_segment, n_coefficient), written
    kept : (n_record, n_mode * n_row + n_mode), written
    streams : (n_stream, 7), written
    log : (n_stream, 2) int, written
    """
    events = (ptr, ri, rt, si, sf, sptr)
    z = np.empty(N_MODES * N_ROWS)
    x = np.empty(N_ROWS)
    active = np.empty(max(1, si.shape[0]), dtype=np.int64)
    work = (z, x, active)
    for i in range(ptr.shape[0] - 1):
        low = ri[ptr[i], R_SEGMENT]
        high = ri[ptr[i + 1] - 1, R_SEGMENT] + 1
        for k in range(low, high):
            coefficients(theta, k, coefs)
        if is_near(coefs, low, high):
            forward_near(i, low, high, theta, events, pred, coefs, kept, streams, log, work)
        else:
            walk_events(i, coefs, events, pred, kept, streams, log, work)


def pull_near(i, low, high, theta, events, gpred, gcoefs, kept, streams, log, work, gtheta):
    """Adjoint of `forward_near`; what it kept for this subject is written over, point by point."""
    moved = np.empty(theta.shape)
    gmoved = np.empty(theta.shape)
    here = np.empty(gcoefs.shape)
    scratch = np.empty(gpred.shape[0])
    for node in range(len(NODES)):
        perturb(theta, low, high, node, moved, here)
        walk_events(i, here, events, scratch, kept, streams, log, (work[1], work[2], work[5]))
        gcoefs[low:high, :] = 0.0
        gmoved[low:high, :] = 0.0
        pull_events(i, here, gcoefs, events, gpred, kept, streams, log, work)
        for k in range(low, high):
            pull_coefficients(moved, k, gcoefs, gmoved)
            for j in range(N_PARAMETERS):
                gtheta[k, j] += NODE_WEIGHTS[node] * (1.0 + NODES[node] * STEP * SPREAD[j]) * gmoved[k, j]


def pull(theta, ptr, ri, rt, si, sf, sptr, gpred, coefs, kept, streams, log, gtheta):
    """Add `gpred` times the Jacobian of `forward` to `gtheta`; the rest is as `forward` left it."""
    events = (ptr, ri, rt, si, sf, sptr)
    n_stream = max(1, si.shape[0])
    mu = np.empty(N_MODES * N_ROWS)
    z = np.empty(N_MODES * N_ROWS)
    x = np.empty(N_ROWS)
    gx = np.empty(N_ROWS)
    gs = np.empty((n_stream, N_ADJOINT))
    active = np.empty(n_stream, dtype=np.int64)
    work = (mu, z, x, gx, gs, active)
    gcoefs = np.zeros(coefs.shape)
    for i in range(ptr.shape[0] - 1):
        low = ri[ptr[i], R_SEGMENT]
        high = ri[ptr[i + 1] - 1, R_SEGMENT] + 1
        if is_near(coefs, low, high):
            pull_near(i, low, high, theta, events, gpred, gcoefs, kept, streams, log, work, gtheta)
            continue
        pull_events(i, coefs, gcoefs, events, gpred, kept, streams, log, work)
        for k in range(low, high):
            pull_coefficients(theta, k, gcoefs, gtheta)


def evaluate(thetas, ptr, ri, rt, si, sf, sptr, preds):
    """Predictions of a batch of parameter sets, `thetas[b]` -> `preds[b]`."""
    n_record = rt.shape[0]
    coefs = np.empty((thetas.shape[1], N_COEFFICIENTS))
    kept = np.empty((n_record, N_MODES * N_ROWS + N_MODES))
    streams = np.empty((si.shape[0], N_STREAM))
    log = np.empty((si.shape[0], 2), dtype=np.int64)
    for b in range(thetas.shape[0]):
        forward(thetas[b], ptr, ri, rt, si, sf, sptr, preds[b], coefs, kept, streams, log)


# Compiled first, in this order; the entry points forward, pull and evaluate come after.
TEMPLATES = (perturb, is_near, forward_near, pull_near)
