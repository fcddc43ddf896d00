r"""What a dose that passes equal stages adds to one exponential mode, and its derivatives.

A dose through `a` stages (transit compartments; `a` need not be whole) at the rate constant `p` arrives
like a gamma density. What it has added to a mode of rate :math:`\lambda` a time `t` after it was given is

.. math:: H(a, p, \lambda, t) = \int_0^t \frac{p (p s)^{a-1} e^{-p s}}{\Gamma(a)}\,
          e^{-\lambda (t - s)}\,ds,

a lower incomplete gamma function of :math:`(p - \lambda) t` of either sign. Both series used here have
positive terms only, so nothing cancels; they are summed in log space, so nothing overflows.
After `span(a) / p` the dose has arrived (all but 1e-18 of it).

References
----------
NIST Digital Library of Mathematical Functions, 8.5.1, 8.7.1 (series of the incomplete gamma function),
5.11.2 (digamma function); Savic et al., J. Pharmacokinet. Pharmacodyn. 34 (2007) 711-726.
"""

import math

import numba

from popbayes.engine.pieces import _JIT

NOTHING = 1e-18
MOST_TERMS = 100_000
ASYMPTOTIC_FROM = 12.0
"""The digamma function's asymptotic series errs by 1e-16 from here on."""


@numba.njit(**_JIT)
def span(a):
    """Time, in units of 1 / rate, after which all but 1e-18 of a dose has left `a` stages."""
    return a + 9.0 * math.sqrt(a) + 45.0


@numba.njit(**_JIT)
def digamma(x):
    """Derivative of log gamma at x > 0."""
    shift = 0.0
    while x < ASYMPTOTIC_FROM:
        shift -= 1.0 / x
        x += 1.0
    y = 1.0 / (x * x)
    series = y * (1.0 / 12.0 - y * (1.0 / 120.0 - y * (1.0 / 252.0 - y * (1.0 / 240.0 - y / 132.0))))
    return shift + math.log(x) - 0.5 / x - series


@numba.njit(**_JIT)
def slower_mode(a, y, z):
    r"""`H` and its like for :math:`z = (p - \lambda) t \ge 0`, :math:`y = p t`.

    .. math:: H_a = \sum_k T_k, \qquad T_k = \frac{e^{-y} y^a z^k}{\Gamma(a + k + 1)}

    Returns :math:`H_a`, its derivative by `a`, and :math:`H_{a+1} = \sum_k T_k\, y / (a + k + 1)`.
    """
    term = math.exp(a * math.log(y) - y - math.lgamma(a + 1.0))
    total, slope, following = term, 0.0, term * y / (a + 1.0)
    harmonic = 0.0
    k = 0
    while k < MOST_TERMS:
        k += 1
        term *= z / (a + k)
        harmonic += 1.0 / (a + k)
        total += term
        slope += term * harmonic
        following += term * y / (a + k + 1.0)
        if term * harmonic <= NOTHING * total and z < a + k:
            break
    return total, (math.log(y) - digamma(a + 1.0)) * total - slope, following


@numba.njit(**_JIT)
def faster_mode(a, y, x):
    r"""The same for a mode that is faster than the stages, :math:`x = (\lambda - p) t > 0`.

    .. math:: H_a = \frac{y^a e^{-y}}{\Gamma(a)} \sum_k \frac{e^{-x} x^k}{k!} \frac{1}{a + k}

    The weights are those of a Poisson distribution, summed from their largest both ways.
    """
    middle = math.floor(x)
    largest = math.exp(middle * math.log(x) - x - math.lgamma(middle + 1.0))
    total, square, following = 0.0, 0.0, 0.0
    weight, k = largest, middle
    while weight > NOTHING * largest and k - middle < MOST_TERMS:
        total += weight / (a + k)
        square += weight / ((a + k) * (a + k))
        following += weight / (a + 1.0 + k)
        k += 1.0
        weight *= x / k
    weight, k = largest * middle / x, middle - 1.0
    while weight > NOTHING * largest and k >= 0.0:
        total += weight / (a + k)
        square += weight / ((a + k) * (a + k))
        following += weight / (a + 1.0 + k)
        weight *= k / x
        k -= 1.0
    scale = math.exp(a * math.log(y) - y - math.lgamma(a))
    slope = (math.log(y) - digamma(a)) * total - square
    return scale * total, scale * slope, scale * y / a * following


@numba.njit(**_JIT)
def arrived(a, p, rate, t):
    """The integral `H` of the module's head; 0 for t <= 0."""
    if t <= 0.0:
        return 0.0
    z = (p - rate) * t
    if z >= 0.0:
        return slower_mode(a, p * t, z)[0]
    return faster_mode(a, p * t, -z)[0]


@numba.njit(**_JIT)
def arrived_slopes(a, p, rate, t):
    """`H` and its derivatives by `a`, `p`, `rate` and `t`."""
    if t <= 0.0:
        # from the right; a dose through one stage arrives at once at its full rate
        return 0.0, 0.0, 0.0, 0.0, p if (t == 0.0 and a == 1.0) else 0.0
    y = p * t
    z = (p - rate) * t
    total, slope, following = slower_mode(a, y, z) if z >= 0.0 else faster_mode(a, y, -z)
    density = p * math.exp((a - 1.0) * math.log(y) - y - math.lgamma(a))
    return (
        total,
        slope,
        a / p * (total - following),
        a / p * following - t * total,
        density - rate * total,
    )
