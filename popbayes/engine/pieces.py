r"""What one dose, or a train of equal doses, adds to one exponential mode, and its derivatives.

A mode is a state that decays at its own rate, :math:`z' = -\lambda z`. Every input that a dosing
record can stand for is a sum of *pieces*

.. math:: k\,\varphi(\lambda w)\,e^{-\lambda u}\,S_n(\lambda\,\mathrm{II}),\qquad
   \varphi(x) = \frac{1 - e^{-x}}{x},\qquad S_n(x) = \sum_{j<n} e^{-jx},

an amount `k` given over a time `w` (0: a bolus), that ended a time `u` ago, and `n - 1` equal ones
before it, II apart (`n = FOREVER`: since ever, the steady state). The cost does not depend on `n`, and
nothing divides by zero where a rate or a time is zero.
"""

import math

import numba

FOREVER = -1
SERIES_BELOW = 0.05
"""Below it phi' is summed as a series; the direct formula loses eps / x to cancellation there."""
DIRECT_ABOVE = 0.5
"""Decay over an interval above which the derivative of a train loses no digits in its direct form."""
TIE = 1e-10
"""Two event times closer than this (relative to 1 + |t|) are one time: 0.1 + 0.2 h meets 0.3 h."""

_JIT = {"error_model": "numpy", "nogil": True, "cache": True, "fastmath": {"contract", "nsz", "arcp"}}


@numba.njit(**_JIT)
def phi(x):
    r"""Mean of :math:`e^{-s}` over :math:`0 \le s \le x`: :math:`(1 - e^{-x}) / x`, 1 at 0."""
    return 1.0 if x == 0.0 else -math.expm1(-x) / x


@numba.njit(**_JIT)
def dphi(x):
    r"""Derivative of `phi`: :math:`(e^{-x} - \varphi(x)) / x`, -1/2 at 0."""
    if abs(x) < SERIES_BELOW:
        tail = x * (-1.0 / 144.0 + x * (1.0 / 840.0 - x * (1.0 / 5760.0 - x / 45360.0)))
        return -0.5 + x * (1.0 / 3.0 + x * (-0.125 + x * (1.0 / 30.0 + tail)))
    return (math.exp(-x) - phi(x)) / x


@numba.njit(**_JIT)
def train(x, n):
    r"""Sum of a train and its derivative: :math:`S_n(x)` and :math:`S_n'(x) = -\sum_j j e^{-jx}`.

    .. math:: S_n(x) = \frac{1 - e^{-nx}}{1 - e^{-x}} = \frac{n \varphi(nx)}{\varphi(x)}, \qquad
       S_n' = \frac{n e^{-nx} - S_n e^{-x}}{1 - e^{-x}}
            = \frac{n^2 \varphi'(nx) - S_n \varphi'(x)}{\varphi(x)},

    the last where the one before it would lose digits; at the same cost for any `n`. `n = FOREVER` is
    :math:`1 / (1 - e^{-x})`, infinite where nothing is eliminated.
    """
    if n == 1:
        return 1.0, 0.0
    lost = -math.expm1(-x)
    if n == FOREVER:
        return 1.0 / lost, -math.exp(-x) / (lost * lost)
    if x == 0.0:
        return float(n), -0.5 * n * (n - 1.0)
    y = n * x
    all_lost = -math.expm1(-y)
    total = all_lost / lost
    if x > DIRECT_ABOVE:
        return total, (n * (1.0 - all_lost) - total * (1.0 - lost)) / lost
    first = lost / x
    slope_y = dphi(y) if y < SERIES_BELOW else (1.0 - all_lost - all_lost / y) / y
    slope_x = dphi(x) if x < SERIES_BELOW else (1.0 - lost - first) / x
    return total, (n * n * slope_y - total * slope_x) / first


@numba.njit(**_JIT)
def count(t, start, interval, n):
    """How many of `n` events at `start, start + interval, ...` lie at or before `t` (ties count)."""
    gone = t + TIE * (1.0 + abs(t)) - start
    if gone < 0.0:
        return 0
    if n == 1:
        return 1
    return min(n, int(min(gone / interval, 2.0e9)) + 1)


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
    return min(n, int(min(gone / interval, 2.0e9)) + 1)


@numba.njit(**_JIT)
def first_before(t, start, interval):
    """Smallest `j >= 1` for which `start - j * interval` is at or before `t`."""
    ahead = (start - t - TIE * (1.0 + abs(t))) / interval
    return max(1, math.ceil(ahead))
