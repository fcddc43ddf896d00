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

FOREVER = -1
SERIES_BELOW = 0.05
"""Below it phi' is summed as a series; the direct formula loses eps / x to cancellation there."""
DIRECT_ABOVE = 0.5
"""Decay above which 1 - exp(-x), and the derivative of a train in its direct form, lose no digits."""
MANY = 64
"""Doses from which on a train is summed in closed form: what it takes does not depend on their number."""
TIE = 1e-10
"""Two event times closer than this (relative to 1 + |t|) are one time: 0.1 + 0.2 h meets 0.3 h."""

_JIT = {
    **{"error_model": "numpy", "nogil": True, "cache": True, "fastmath": {"contract", "nsz", "arcp"}},
    "_nrt": True,  # else taken from whichever kernel is compiled around: some do not count references
}


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
def few(x, n):
    r"""Sum of a short train and its derivative, by doubling: positive terms only, in log2(n) steps.

    The rounding of :math:`e^{-x}` is raised to the power of `n`: a long train would lose digits.
    """
    q = math.exp(-x)
    total, moment, last, length = 1.0, 0.0, q, 1
    bit = 1
    while bit * 2 <= n:
        bit *= 2
    while bit > 1:
        bit //= 2
        moment += last * (moment + length * total)
        total *= 1.0 + last
        last *= last
        length *= 2
        if n & bit:
            total += last
            moment += length * last
            last *= q
            length += 1
    return total, -moment


@numba.njit(**_JIT)
def mean_decay(x):
    r"""`phi`, `dphi` and :math:`e^{-x}`, with no more transcendental functions than must be."""
    if x < SERIES_BELOW:
        tail = 1.0 / 120.0 - x * (1.0 / 720.0 - x * (1.0 / 5040.0 - x / 40320.0))
        mean = 1.0 - x * (0.5 - x * (1.0 / 6.0 - x * (1.0 / 24.0 - x * tail)))
        return mean, dphi(x), 1.0 - x * mean
    left = math.exp(-x)
    mean = (-math.expm1(-x) if x < DIRECT_ABOVE else 1.0 - left) / x
    return mean, (left - mean) / x, left


@numba.njit(**_JIT)
def train(x, n):
    r"""Sum of a train and its derivative: :math:`S_n(x)` and :math:`S_n'(x) = -\sum_j j e^{-jx}`.

    .. math:: S_n(x) = \frac{1 - e^{-nx}}{1 - e^{-x}} = \frac{n \varphi(nx)}{\varphi(x)}, \qquad
       S_n' = \frac{n e^{-nx} - S_n e^{-x}}{1 - e^{-x}}
            = \frac{n^2 \varphi'(nx) - S_n \varphi'(x)}{\varphi(x)},

    the last where the one before it would lose digits; a short train by doubling, which is cheaper.
    `n = FOREVER` is :math:`1 / (1 - e^{-x})`, infinite where nothing is eliminated.
    """
    if n == 1:
        return 1.0, 0.0
    if n == FOREVER:
        total = -1.0 / math.expm1(-x)
        return total, -math.exp(-x) * total * total
    if n < MANY:
        return few(x, n)
    mean, slope, left = mean_decay(x)
    all_mean, all_slope, all_left = mean_decay(n * x)
    if x > DIRECT_ABOVE:
        total = (1.0 - all_left) / (1.0 - left)
        return total, (n * all_left - total * left) / (1.0 - left)
    total = n * all_mean / mean
    return total, (n * n * all_slope - total * slope) / mean


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
