"""Log probabilities beyond a limit, exact where the probability itself is 0 in floating point."""

from typing import Any

import numpy as np
from scipy import special

SQRT2 = np.sqrt(2.0)
LOG_SQRT_2PI = 0.5 * np.log(2 * np.pi)
NOUGHT = 1e-20
"""Below it a distribution function is its tangent at 0."""
TURN = -1.0
"""Where the normal's log-CDF changes formula: a scaled tail below, the complement above."""


def normal_log_density(z: Any, xp: Any = np) -> Any:
    r"""Log density of the standard normal, :math:`-z^2 / 2 - \log\sqrt{2\pi}`."""
    return -0.5 * z**2 - LOG_SQRT_2PI


def normal_log_cdf(z: Any, xp: Any = np) -> Any:
    r"""Logarithm of the standard normal distribution function, and in graphs its gradient, for any `z`.

    .. math::

        \log\Phi(z) = \begin{cases}
            \log\tfrac12 \mathrm{erfcx}(-z / \sqrt 2) - z^2 / 2 & z < -1 \\
            \log(1 - \tfrac12 \mathrm{erfc}(z / \sqrt 2)) & \text{else}
        \end{cases}

    Each branch is given arguments of its own domain only, since the unused branch of a graph would
    otherwise overflow and leave 0 * inf in the gradient.

    Parameters
    ----------
    z : (...,) array or tensor
    xp : numpy or pytensor.tensor

    Returns
    -------
    (...,), <= 0
    """
    if xp is np:
        return special.log_ndtr(np.asarray(z, dtype=np.float64))
    low, high = xp.minimum(z, TURN), xp.maximum(z, TURN)
    tail = xp.log(0.5 * xp.erfcx(-low / SQRT2)) - 0.5 * low**2
    return xp.switch(xp.lt(z, TURN), tail, xp.log1p(-0.5 * xp.erfc(high / SQRT2)))


def student_log_density(z: Any, nu: Any, xp: Any = np) -> Any:
    r"""Log density of Student's t.

    .. math::

        \log\frac{\Gamma((\nu + 1) / 2)}{\Gamma(\nu / 2)\sqrt{\nu\pi}}
        - \frac{\nu + 1}{2} \log\left(1 + \frac{z^2}{\nu}\right)
    """
    gammaln = special.gammaln if xp is np else xp.gammaln
    constant = gammaln(0.5 * (nu + 1.0)) - gammaln(0.5 * nu) - 0.5 * xp.log(nu * np.pi)
    return constant - 0.5 * (nu + 1.0) * xp.log1p(z**2 / nu)


def student_log_cdf(z: Any, nu: Any, xp: Any = np) -> Any:
    r"""Logarithm of the distribution function of Student's t, and in graphs its gradient.

    .. math::

        F(z) = \begin{cases}
            \tfrac12 + \tfrac12 \mathrm{sign}(z) I_w(\tfrac12, \tfrac\nu2),
                \quad w = z^2 / (\nu + z^2) & |z| < 1 \\
            \tfrac12 I_x(\tfrac\nu2, \tfrac12), \quad x = \nu / (\nu + z^2) & z \le -1
        \end{cases}

    and :math:`F(z) = 1 - F(-z)`; each branch is given arguments of its own domain only.
    """
    betainc = special.betainc if xp is np else xp.betainc
    half = np.float64(0.5)
    size = xp.abs(z)
    middle, none = size < 1.0, size < NOUGHT
    far, near = xp.where(middle, 1.0, size), xp.where(middle & ~none, size, 0.5)
    tail = 0.5 * betainc(0.5 * nu, half, nu / (nu + far**2))
    inner = 0.5 + 0.5 * xp.sign(z) * betainc(half, 0.5 * nu, near**2 / (nu + near**2))
    away = xp.where(z < 0, xp.log(tail), xp.log1p(-tail))
    at_zero = np.log(0.5) + 2.0 * z * xp.exp(student_log_density(xp.zeros_like(z), nu, xp))
    return xp.where(none, at_zero, xp.where(middle, xp.log(inner), away))


def log_difference(high: Any, low: Any, xp: Any = np) -> Any:
    r"""Logarithm of a difference of probabilities, :math:`\log(e^a - e^b)` for :math:`a > b`.

    Parameters
    ----------
    high, low : (...,) log-probabilities `a` and `b`; -inf where they are equal
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return high + xp.log(-xp.expm1(low - high))
