"""Roots of errors that a step size is chosen by: a few digits will do, and take a tenth of the time."""

import math

import numba
import numpy as np

from popbayes.engine.pieces import _JIT
from popbayes.engine.quick_exp import as_bits, as_float

MANTISSA_BITS = 52
MANTISSA = (1 << MANTISSA_BITS) - 1
BIAS = 1023
ONE = BIAS << MANTISSA_BITS
"""The bits of 1.0."""
BEND, UNBEND = 0.344, 0.337
"""Parabolas through the ends: log2(1 + m) = m + BEND m (1 - m), 2^f = 1 + f - UNBEND f (1 - f), nearly."""
ROOT_ERROR = 0.004
"""Largest relative error of `inverse_root`."""


@numba.njit(**_JIT)
def inverse_root(x, part):
    """``x ** -part`` of a positive normal number for a `part` up to 1 / 8, to `ROOT_ERROR`."""
    bits = as_bits(x)
    m = as_float((bits & MANTISSA) | ONE) - 1.0
    log2 = (bits >> MANTISSA_BITS) - BIAS + m + BEND * m * (1.0 - m)
    exponent = -part * log2
    whole = math.floor(exponent)
    f = exponent - whole
    power = as_float((np.int64(whole) + BIAS) << MANTISSA_BITS)
    return (1.0 + f - UNBEND * f * (1.0 - f)) * power
