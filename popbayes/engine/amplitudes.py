"""Kernel templates: modes carried by one amplitude each from one set of parameters to the next.

They take the place of those of the same name in `walk` and the adjoint where the model has its modes as
products (see `declaration.Amplitudes`): the only row is the amplitude, whatever the number of compartments.

A segment's coefficients hold, where `walk` has weights, what each output sees of a mode of amplitude 1
(`WEIGHTS`), then what each compartment holds of it (`AMOUNTS`, mode by mode).
"""

from popbayes.engine.walk import CANCELLED

# Bound by specialise(); the values here only let the module be read and checked.
N_MODES = N_COLS = 0
WEIGHTS = AMOUNTS = 0
FIRST_AMOUNT: tuple[int, ...] = ()
N_COLUMN: tuple[int, ...] = ()


def change(z, x, coefs, old, seg):
    """Carry the compartments' amounts over to the modes of a new segment; `x` is left with the amounts."""
    for c in range(N_COLS):
        x[c] = 0.0
    for m in range(N_MODES):
        for c in range(FIRST_AMOUNT[m], N_COLS):
            x[c] += z[m] * coefs[old, AMOUNTS + m * N_COLS + c]
    for m in range(N_MODES):
        total = 0.0
        for c in range(N_COLUMN[m]):
            total += coefs[seg, N_MODES + m * N_COLS + c] * x[c]
        z[m] = total


def pull_change(k, x, gx, coefs, gcoefs, old, seg, kept, mu):
    """Adjoint of `change` of the state after record `k`, which led to the amounts `x`."""
    for c in range(N_COLS):
        gx[c] = 0.0
    for m in range(N_MODES):
        for c in range(N_COLUMN[m]):
            at = N_MODES + m * N_COLS + c
            gcoefs[seg, at] += mu[m] * x[c]
            gx[c] += mu[m] * coefs[seg, at]
    for m in range(N_MODES):
        total = 0.0
        for c in range(FIRST_AMOUNT[m], N_COLS):
            at = AMOUNTS + m * N_COLS + c
            gcoefs[old, at] += gx[c] * kept[k, m]
            total += gx[c] * coefs[old, at]
        mu[m] = total


def observe(z, coefs, seg, out):
    """Value of output `out`: the modes as it sees them."""
    total = 0.0
    scale = 0.0
    for m in range(N_MODES):
        part = z[m] * coefs[seg, WEIGHTS + out * N_MODES + m]
        total += part
        scale += abs(part)
    # modes that cancel (nothing has arrived yet) are zero, not their rounding error
    return 0.0 if abs(total) < CANCELLED * scale else total


def pull_observe(k, gpred, coefs, gcoefs, seg, out, kept, mu):
    """Adjoint of `observe`."""
    for m in range(N_MODES):
        at = WEIGHTS + out * N_MODES + m
        mu[m] += gpred * coefs[seg, at]
        gcoefs[seg, at] += gpred * kept[k, m]


REPLACED = (change, pull_change, observe, pull_observe)
