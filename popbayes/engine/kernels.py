"""Kernel templates: all subjects of a study, forward, adjoint, and for many parameter sets.

The upper-case names and the functions of `modal` are bound by `linear.py` (see `specialise`).
"""

from popbayes.engine.buffers import Buffer
from popbayes.engine.schedule import R_OBS, R_SEGMENT

N_MODES = N_ROWS = N_PARAMETERS = N_COEFFICIENTS = N_GAPS = 0
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


def interpolate(low, high, node, ri, pred, total):
    """Add the predictions of one point of the stencil; at the last they are interpolated."""
    for k in range(low, high):
        o = ri[k, R_OBS]
        if o >= 0:
            total[o] = NODE_WEIGHTS[node] * pred[o] + (total[o] if node > 0 else 0.0)
            if node == len(NODES) - 1:
                pred[o] = total[o]


def forward(theta, ptr, ri, rt, si, sf, sptr, pred, coefs, kept, streams, log, scratch):
    """Predict every observation; keep what the adjoint needs.

    Parameters
    ----------
    theta : (n_segment, n_parameter)
    ptr, ri, rt, si, sf, sptr
        The arrays of a `Schedule`.
    pred : (n_obs,), written
    coefs : (n_segment, n_coefficient), written
    kept : (n_record, n_kept), written
    streams : (n_stream, 7), written
    log : (n_stream, 2) int, written
    scratch
        The arrays of `scratch_of`.
    """
    events = (ptr, ri, rt, si, sf, sptr)
    z, x, active, moved, total = scratch
    for i in range(ptr.shape[0] - 1):
        low = ri[ptr[i], R_SEGMENT]
        high = ri[ptr[i + 1] - 1, R_SEGMENT] + 1
        for k in range(low, high):
            coefficients(theta, k, coefs)
        near = is_near(coefs, low, high)
        for node in range(len(NODES) if near else 1):
            if near:
                perturb(theta, low, high, node, moved, coefs)
            walk_events(i, coefs, events, pred, kept, streams, log, (z, x, active))
            if near:
                interpolate(ptr[i], ptr[i + 1], node, ri, pred, total)
        if near:
            for k in range(low, high):
                coefficients(theta, k, coefs)


def pull(theta, ptr, ri, rt, si, sf, sptr, gpred, coefs, kept, streams, log, gtheta, scratch):
    """Add `gpred` times the Jacobian of `forward` to `gtheta`.

    `scratch` are the arrays of `pull_scratch_of`; the rest is as `forward` left it. What it kept for a
    subject whose rates nearly coincide is written over, point by point.
    """
    events = (ptr, ri, rt, si, sf, sptr)
    mu, z, x, gx, gs, active, gcoefs, moved, gmoved, here, again = scratch
    for i in range(ptr.shape[0] - 1):
        low = ri[ptr[i], R_SEGMENT]
        high = ri[ptr[i + 1] - 1, R_SEGMENT] + 1
        near = is_near(coefs, low, high)
        at, solved, into = (moved, here, gmoved) if near else (theta, coefs, gtheta)
        for node in range(len(NODES) if near else 1):
            if near:
                perturb(theta, low, high, node, moved, here)
                walk_events(i, here, events, again, kept, streams, log, (z, x, active))
            for k in range(low, high):
                for j in range(N_COEFFICIENTS):
                    gcoefs[k, j] = 0.0
            pull_events(i, solved, gcoefs, events, gpred, kept, streams, log, (mu, z, x, gx, gs, active))
            for k in range(low, high):
                if near:
                    for j in range(N_PARAMETERS):
                        gmoved[k, j] = 0.0
                pull_coefficients(at, k, gcoefs, into)
                if near:
                    for j in range(N_PARAMETERS):
                        factor = NODE_WEIGHTS[node] * (1.0 + NODES[node] * STEP * SPREAD[j])
                        gtheta[k, j] += factor * gmoved[k, j]


def evaluate(thetas, ptr, ri, rt, si, sf, sptr, preds, coefs, kept, streams, log, scratch):
    """Predictions of a batch of parameter sets, `thetas[b]` -> `preds[b]`; the rest as of `forward`."""
    for b in range(thetas.shape[0]):
        forward(thetas[b], ptr, ri, rt, si, sf, sptr, preds[b], coefs, kept, streams, log, scratch)


def scratch_of(n_modes, n_rows, n_amounts, n_parameters):
    """Arrays that `forward` writes over."""
    return (
        Buffer("one", n_modes * n_rows),
        Buffer("one", n_amounts),
        Buffer("stream", integer=True),
        Buffer("segment", width=n_parameters),
        Buffer("observation"),
    )


def pull_scratch_of(n_modes, n_rows, n_amounts, n_parameters, n_coefficients, n_adjoint):
    """Arrays that `pull` writes over."""
    return (
        Buffer("one", n_modes * n_rows),
        Buffer("one", n_modes * n_rows),
        Buffer("one", n_amounts),
        Buffer("one", n_amounts),
        Buffer("stream", width=n_adjoint),
        Buffer("stream", integer=True),
        Buffer("segment", width=n_coefficients),
        Buffer("segment", width=n_parameters),
        Buffer("segment", width=n_parameters),
        Buffer("segment", width=n_coefficients),
        Buffer("observation"),
    )


# Compiled first, in this order; the entry points forward, pull and evaluate come after.
TEMPLATES = (perturb, is_near, interpolate)
