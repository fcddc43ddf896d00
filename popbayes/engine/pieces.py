r"""What one dose, or a train of equal doses, adds to one exponential mode, and its derivatives.

A mode is a state that decays at its own rate, :math:`z' = -\lambda z`. Every input that a dosing
record can stand for is a sum of *pieces*

.. math:: k\,\varphi(\lambda w)\,e^{-\lambda u}\,S_n(\lambda\,\mathrm{II}),\qquad
   \varphi(x) = \frac{1 - e^{-x}}{x},\qquad S_n(x) = \sum_{j<n} e^{-jx},

an amount `k` given over a time `w` (0: a bolus), that ended a time `u` ago, and `n - 1` equal ones
before it, II apart (`n = FOREVER`: since ever, the steady state). The cost is bounded whatever `n` is, and
nothing divides by zero where a rate or a time is zero.
"""

import math

import numba
import numpy as np

from popbayes.engine.quick_exp import exp

FOREVER = -1
SERIES_BELOW = 0.1
"""Below it phi and phi' are summed as series; the direct formulas lose eps / x, and eps / x**2 of trains."""
TIE = 1e-10
"""Two event times closer than this (relative to 1 + |t|) are one time: 0.1 + 0.2 h meets 0.3 h."""

_JIT = {
    **{"error_model": "numpy", "nogil": True, "cache": True, "fastmath": {"contract", "nsz", "arcp"}},
    "_nrt": True,  # else taken from whichever kernel is compiled around: some do not count references
}


@numba.njit(**_JIT)
def series(x):
    r"""`phi` and `dphi` of a small number: :math:`\sum_k (-x)^k / (k + 1)!` and its derivative."""
    tail = 1.0 / 720.0 - x * (1.0 / 5040.0 - x * (1.0 / 40320.0 - x * (1.0 / 362880.0 - x / 3628800.0)))
    mean = 1.0 - x * (0.5 - x * (1.0 / 6.0 - x * (1.0 / 24.0 - x * (1.0 / 120.0 - x * tail))))
    tail = 1.0 / 144.0 - x * (1.0 / 840.0 - x * (1.0 / 5760.0 - x * (1.0 / 45360.0 - x / 403200.0)))
    return mean, -0.5 + x * (1.0 / 3.0 - x * (0.125 - x * (1.0 / 30.0 - x * tail)))


@numba.njit(**_JIT)
def phi(x):
    r"""Mean of :math:`e^{-s}` over :math:`0 \le s \le x`: :math:`(1 - e^{-x}) / x`, 1 at 0."""
    return series(x)[0] if abs(x) < SERIES_BELOW else (1.0 - exp(-x)) / x


@numba.njit(**_JIT)
def dphi(x):
    r"""Derivative of `phi`: :math:`(e^{-x} - \varphi(x)) / x`, -1/2 at 0."""
    if abs(x) < SERIES_BELOW:
        return series(x)[1]
    left = exp(-x)
    return (left - (1.0 - left) / x) / x


@numba.njit(**_JIT)
def apart(x):
    """What is left of a dose when the next is given, and the sum of a train that has no end."""
    left = exp(-x)
    return left, 1.0 / (x * series(x)[0] if x < SERIES_BELOW else 1.0 - left)


@numba.njit(**_JIT)
def short_train(x, n):
    """`train` where all of it is short of `SERIES_BELOW`."""
    mean, slope = series(x)
    all_mean, all_slope = series(n * x)
    total = n * all_mean / mean
    return total, (n * n * all_slope - total * slope) / mean


@numba.njit(**_JIT)
def long_train(x, n, left, once):
    """`train` where it is not; `left` and `once` are those of `apart`, the same for any `n`."""
    all_left = exp(-n * x)
    total = (1.0 - all_left) * once
    return total, (n * all_left - total * left) * once


@numba.njit(**_JIT)
def train(x, n):
    r"""Sum of a train and its derivative: :math:`S_n(x)` and :math:`S_n'(x) = -\sum_j j e^{-jx}`.

    .. math:: S_n(x) = \frac{1 - e^{-nx}}{1 - e^{-x}} = \frac{n \varphi(nx)}{\varphi(x)}, \qquad
       S_n' = \frac{n e^{-nx} - S_n e^{-x}}{1 - e^{-x}}
            = \frac{n^2 \varphi'(nx) - S_n \varphi'(x)}{\varphi(x)},

    the last where the one before it would lose digits: where the whole train is short.
    `n = FOREVER` is :math:`1 / (1 - e^{-x})`, infinite where nothing is eliminated.
    """
    if n == 1:
        return 1.0, 0.0
    if n == FOREVER:
        left, total = apart(x)
        return total, -left * total * total
    if n * x < SERIES_BELOW:
        return short_train(x, n)
    left, once = apart(x)
    return long_train(x, n, left, once)


@numba.njit(**_JIT)
def count(t, start, interval, n):
    """How many of `n` events at `start, start + interval, ...` lie at or before `t` (ties count)."""
    gone = t + TIE * (1.0 + abs(t)) - start
    if gone < 0.0:
        return 0
    if n == 1:
        return 1
    return min(n, np.int64(min(gone / interval, 2.0e9)) + 1)


@numba.njit(**_JIT)
def ended(t, end, interval, n):
    """How many of `n` infusions, the first until `end`, are over at `t`.

    Without tolerance, unlike `count`: an infusion shorter than a tie would be over before it begins.
    What is left of one that ends within a tie is given afterwards.
    """
    gone = t - end
    if gone < 0.0:
        return 0
    if n == 1:
        return 1
    return min(n, np.int64(min(gone / interval, 2.0e9)) + 1)


@numba.njit(**_JIT)
def first_before(t, start, interval):
    """Smallest `j >= 1` for which `start - j * interval` is at or before `t`."""
    ahead = (start - t - TIE * (1.0 + abs(t))) / interval
    return max(1, math.ceil(ahead))
