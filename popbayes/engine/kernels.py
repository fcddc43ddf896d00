"""Kernel templates: all subjects of a study, forward, adjoint, and for many parameter sets.

The upper-case names and the functions of `modal` are bound by `linear.py` (see `specialise`).
"""

import numpy as np

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
    z = np.empty(N_MODES * N_ROWS)
    x = np.empty(N_ROWS)
    active = np.empty(max(1, si.shape[0]), dtype=np.int64)
    moved = np.empty((0, N_PARAMETERS))
    for i in range(ptr.shape[0] - 1):
        low = ri[ptr[i], 0]
        high = ri[ptr[i + 1] - 1, 0] + 1
        for k in range(low, high):
            coefficients(theta, k, coefs)
        if not is_near(coefs, low, high):
            walk_events(i, coefs, ptr, ri, rt, si, sf, sptr, pred, kept, streams, log, z, x, active)
            continue
        if moved.shape[0] == 0:
            moved = np.empty(theta.shape)
        total = np.zeros(ptr[i + 1] - ptr[i])
        for node in range(len(NODES)):
            perturb(theta, low, high, node, moved, coefs)
            walk_events(i, coefs, ptr, ri, rt, si, sf, sptr, pred, kept, streams, log, z, x, active)
            for k in range(ptr[i], ptr[i + 1]):
                if ri[k, 2] >= 0:
                    total[k - ptr[i]] += NODE_WEIGHTS[node] * pred[ri[k, 2]]
        for k in range(ptr[i], ptr[i + 1]):
            if ri[k, 2] >= 0:
                pred[ri[k, 2]] = total[k - ptr[i]]
        for k in range(low, high):
            coefficients(theta, k, coefs)


def pull(theta, ptr, ri, rt, si, sf, sptr, gpred, coefs, kept, streams, log, gtheta):
    """Add `gpred` times the Jacobian of `forward` to `gtheta`; the rest is as `forward` left it."""
    mu = np.empty(N_MODES * N_ROWS)
    gx = np.empty(N_ROWS)
    z = np.empty(N_MODES * N_ROWS)
    x = np.empty(N_ROWS)
    n_stream = max(1, si.shape[0])
    gs = np.empty((n_stream, N_ADJOINT))
    active = np.empty(n_stream, dtype=np.int64)
    gcoefs = np.zeros(coefs.shape)
    moved = np.empty((0, N_PARAMETERS))
    gmoved = np.empty((0, N_PARAMETERS))
    here = np.empty((0, N_COEFFICIENTS))
    scratch = np.empty(0)
    for i in range(ptr.shape[0] - 1):
        low = ri[ptr[i], 0]
        high = ri[ptr[i + 1] - 1, 0] + 1
        if not is_near(coefs, low, high):
            pull_events(
                i,
                coefs,
                gcoefs,
                ptr,
                ri,
                rt,
                si,
                sf,
                sptr,
                gpred,
                kept,
                streams,
                log,
                mu,
                z,
                x,
                gx,
                gs,
                active,
            )
            for k in range(low, high):
                pull_coefficients(theta, k, gcoefs, gtheta)
            continue
        if moved.shape[0] == 0:
            moved = np.empty(theta.shape)
            gmoved = np.empty(theta.shape)
            here = np.empty(coefs.shape)
            scratch = np.empty(gpred.shape[0])
        for node in range(len(NODES)):
            perturb(theta, low, high, node, moved, here)
            walk_events(i, here, ptr, ri, rt, si, sf, sptr, scratch, kept, streams, log, z, x, active)
            gcoefs[low:high, :] = 0.0
            gmoved[low:high, :] = 0.0
            pull_events(
                i,
                here,
                gcoefs,
                ptr,
                ri,
                rt,
                si,
                sf,
                sptr,
                gpred,
                kept,
                streams,
                log,
                mu,
                z,
                x,
                gx,
                gs,
                active,
            )
            for k in range(low, high):
                pull_coefficients(moved, k, gcoefs, gmoved)
                for j in range(N_PARAMETERS):
                    gtheta[k, j] += NODE_WEIGHTS[node] * (1.0 + NODES[node] * STEP * SPREAD[j]) * gmoved[k, j]


def evaluate(thetas, ptr, ri, rt, si, sf, sptr, preds):
    """Predictions of a batch of parameter sets, `thetas[b]` -> `preds[b]`."""
    n_record = rt.shape[0]
    coefs = np.empty((thetas.shape[1], N_COEFFICIENTS))
    kept = np.empty((n_record, N_MODES * N_ROWS + N_MODES))
    streams = np.empty((si.shape[0], N_STREAM))
    log = np.empty((si.shape[0], 2), dtype=np.int64)
    for b in range(thetas.shape[0]):
        forward(thetas[b], ptr, ri, rt, si, sf, sptr, preds[b], coefs, kept, streams, log)
