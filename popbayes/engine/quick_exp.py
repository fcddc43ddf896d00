r"""The exponential function as kernels evaluate it: half the time of the C library's, and part of the caller.

A call to the C library keeps the processor from working on several modes at once. By table:

.. math:: e^x = 2^k\,2^{j/N}\,e^r,\qquad k N + j = \operatorname{round}(x N / \ln 2),\quad
   |r| \le \frac{\ln 2}{2N},

with `e^r` as a polynomial. The result is the number nearest to the exact value but for one in a thousand,
where it is the next (`ERROR`).

References
----------
Tang PTP (1989) Table-driven implementation of the exponential function in IEEE floating-point arithmetic.
ACM Transactions on Mathematical Software 15:144-157.
"""

import math
from decimal import Decimal, localcontext
from typing import Any

import numba
import numpy as np
from numba.extending import intrinsic

BITS = 7
N = 1 << BITS
MASK = N - 1
LOW_BITS = 17
"""Bits of ln 2 / N that its leading part is rounded by, so that its product with `k N + j` is exact."""
MANTISSA_BITS = 52
TO_INTEGER = 1.5 * 2.0**MANTISSA_BITS
"""A number of this size has no digits after the point: adding it rounds, and leaves the integer in the
last bits."""
LOWEST, HIGHEST = -708.0, 709.78
"""Below, where results would have fewer digits and then none, it is 0; above it is infinite."""
ERROR = 0.52
"""Largest error in units of the last place."""


def _tables() -> tuple[np.ndarray, np.ndarray, float, float, float]:
    """Powers of two and the part of each that a float cannot hold, N / ln 2, and ln 2 / N in two parts."""
    with localcontext() as context:
        context.prec = 50
        log2 = Decimal(2).ln()
        exact = [(log2 * j / N).exp() for j in range(N)]
        powers = [float(one) for one in exact]
        rests = [float(one / Decimal(found) - 1) for one, found in zip(exact, powers, strict=True)]
        inverse, step = float(N / log2), log2 / N
        mantissa, exponent = math.frexp(float(step))
        digits = 2.0 ** (MANTISSA_BITS + 1 - LOW_BITS)
        high = math.ldexp(math.floor(mantissa * digits) / digits, exponent)
        return np.array(powers), np.array(rests), inverse, high, float(step - Decimal(high))


POWERS, RESTS, INVERSE, HIGH, LOW = _tables()


def _reinterpret(into: Any) -> Any:
    """The same 64 bits as a number of another type, in place: numba compiles a function for each `view`."""

    @intrinsic
    def reinterpret(context, x):
        def codegen(target, builder, signature, values):
            return builder.bitcast(values[0], target.get_value_type(into))

        return into(x), codegen

    return reinterpret


as_bits, as_float = _reinterpret(numba.types.int64), _reinterpret(numba.types.float64)


@numba.njit(error_model="numpy", nogil=True, cache=True, fastmath={"contract", "nsz"}, _nrt=True)
def exp(x):
    """Exponential of a number."""
    shifted = x * INVERSE + TO_INTEGER
    bits = as_bits(shifted)
    whole = shifted - TO_INTEGER
    r = x - whole * HIGH - whole * LOW
    j = bits & MASK
    exponent = (bits - j) << (MANTISSA_BITS - BITS)
    power = as_float(as_bits(POWERS[j]) + exponent)
    square = r * r
    low = RESTS[j] + r + square * (0.5 + r * (1.0 / 6.0))
    found = power + power * (low + square * square * (1.0 / 24.0 + r * (1.0 / 120.0)))
    # (without branches: several are found at once)
    return 0.0 if x < LOWEST else (math.inf if x > HIGHEST else found)
