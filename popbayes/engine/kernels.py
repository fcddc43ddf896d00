"""Kernel templates: all subjects of a study, forward, adjoint, and for many parameter sets.

The upper-case names and the functions of `modal` are bound by `linear.py` (see `specialise`).
"""

from popbayes.engine.buffers import LANE_BITS, LANES, Buffer
from popbayes.engine.schedule import R_OBS, R_SEGMENT

N_MODES = N_ROWS = N_PARAMETERS = N_COEFFICIENTS = N_GAPS = 0
AHEAD = 64
"""Segments whose coefficients are found together: few enough to stay in the processor's cache."""
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
    """Coefficients of segments `low .. high - 1` at one point of the stencil; their rows hold no others."""
    for k in range(low, high):
        for j in range(N_PARAMETERS):
            moved[k, j] = theta[k, j] * (1.0 + NODES[node] * STEP * SPREAD[j])
    coefficients(moved, low, high, coefs)


def clear_rows(rows, row, high):
    """Set rows of lanes to zero from one on, as far as segment `high - 1` lies; return the row after that."""
    end = (high + LANES - 1) >> LANE_BITS
    while row < end:
        for j in range(LANES * N_COEFFICIENTS):
            rows[row, j] = 0.0
        row += 1
    return end


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
    coefs : written, see `lanes`
    kept : (n_record, n_kept), written
    streams : (n_stream, 7), written
    log : (n_stream, 2) int, written
    scratch
        The arrays of `scratch_of`.
    """
    events = (ptr, ri, rt, si, sf, sptr)
    z, x, active, moved, total = scratch
    last = ri[ptr[ptr.shape[0] - 1] - 1, R_SEGMENT] + 1
    ready = ri[ptr[0], R_SEGMENT]
    for i in range(ptr.shape[0] - 1):
        low = ri[ptr[i], R_SEGMENT]
        high = ri[ptr[i + 1] - 1, R_SEGMENT] + 1
        if high > ready:
            until = max(high, min(ready + AHEAD, last))
            coefficients(theta, ready, until, coefs)
            ready = until
        near = is_near(coefs, low, high)
        for node in range(len(NODES) if near else 1):
            if near:
                perturb(theta, low, high, node, moved, coefs)
            walk_events(i, coefs, events, pred, kept, streams, log, (z, x, active))
            if near:
                interpolate(ptr[i], ptr[i + 1], node, ri, pred, total)
        if near:
            coefficients(theta, low, high, coefs)


def pull(theta, ptr, ri, rt, si, sf, sptr, gpred, coefs, kept, streams, log, gtheta, scratch):
    """Add `gpred` times the Jacobian of `forward` to `gtheta`.

    `scratch` are the arrays of `pull_scratch_of`; the rest is as `forward` left it. What it kept for a
    subject whose rates nearly coincide is written over, point by point.
    """
    events = (ptr, ri, rt, si, sf, sptr)
    mu, z, x, gx, gs, active, gcoefs, moved, gmoved, here, again = scratch
    work = (mu, z, x, gx, gs, active)
    # segments below `done` have passed their derivatives on; rows below `clear` of gcoefs are in use
    done = ri[ptr[0], R_SEGMENT]
    clear = done >> LANE_BITS
    for i in range(ptr.shape[0] - 1):
        low = ri[ptr[i], R_SEGMENT]
        high = ri[ptr[i + 1] - 1, R_SEGMENT] + 1
        if is_near(coefs, low, high):
            if low > done:
                pull_coefficients(theta, done, low, gcoefs, gtheta)
            for node in range(len(NODES)):
                perturb(theta, low, high, node, moved, here)
                walk_events(i, here, events, again, kept, streams, log, (z, x, active))
                clear_rows(gcoefs, low >> LANE_BITS, high)
                pull_events(i, here, gcoefs, events, gpred, kept, streams, log, work)
                for k in range(low, high):
                    for j in range(N_PARAMETERS):
                        gmoved[k, j] = 0.0
                pull_coefficients(moved, low, high, gcoefs, gmoved)
                for k in range(low, high):
                    for j in range(N_PARAMETERS):
                        factor = NODE_WEIGHTS[node] * (1.0 + NODES[node] * STEP * SPREAD[j])
                        gtheta[k, j] += factor * gmoved[k, j]
            done = high
            clear = high >> LANE_BITS
            continue
        clear = clear_rows(gcoefs, clear, high)
        pull_events(i, coefs, gcoefs, events, gpred, kept, streams, log, work)
        if high - done >= AHEAD:
            pull_coefficients(theta, done, high, gcoefs, gtheta)
            done = high
            clear = high >> LANE_BITS
    last = ri[ptr[ptr.shape[0] - 1] - 1, R_SEGMENT] + 1
    if last > done:
        pull_coefficients(theta, done, last, gcoefs, gtheta)


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


def pull_scratch_of(n_modes, n_rows, n_amounts, n_parameters, width, n_adjoint):
    """Arrays that `pull` writes over."""
    return (
        Buffer("one", n_modes * n_rows),
        Buffer("one", n_modes * n_rows),
        Buffer("one", n_amounts),
        Buffer("one", n_amounts),
        Buffer("stream", width=n_adjoint),
        Buffer("stream", integer=True),
        Buffer("lanes", width=width),
        Buffer("segment", width=n_parameters),
        Buffer("segment", width=n_parameters),
        Buffer("lanes", width=width),
        Buffer("observation"),
    )


# Compiled first, in this order; the entry points forward, pull and evaluate come after.
TEMPLATES = (perturb, is_near, clear_rows, interpolate)
