"""Kernel template: whether rates that depend on time repeat, as those of a steady state must.

A steady state is looked for over one interval. Where rates have another period than doses have (circadian
rates of 24 h, doses every 8 h), the state before a dose is not the same each time, and there is none.
"""

import numpy as np

# Bound by ode.py; the values here only let the module be read and checked.
N_OWN = N_STATES = X = K = PEAK = 0
TIMED = True

PLACES = 8
"""Times in the interval at which rates are compared."""
SAME = 1e-6
"""Relative difference of rates, or part of the largest state that they would change over the interval."""


def _unbound(*_):
    raise RuntimeError("a kernel template is compiled by popbayes.engine.specialise, not called")


rhs = read_driver = _unbound


def repeats(t, interval, constant, seg, coefs, w):
    """Whether rates in the interval before `t` are those an interval earlier; of constant doses, at `t`."""
    if TIMED:
        n = np.int64(N_STATES)
        read_driver(w)
        for place in range(PLACES):
            now = t - interval * (place + 0.5) / PLACES
            rhs(now, w, np.int64(X), np.int64(0), w, coefs, seg, np.int64(0))
            rhs(t if constant else now - interval, w, np.int64(X), np.int64(0), w, coefs, seg, n)
            for i in range(N_OWN):
                size = max(max(abs(w[K + i]), abs(w[K + n + i])), w[PEAK + i] / interval)
                if not abs(w[K + i] - w[K + n + i]) <= SAME * size:
                    return False
    return True


TEMPLATES = (repeats,)
