"""Kernels of the affine map between standardised and plain random effects, and of its gradient.

Templates: `size`, the number of effects, is bound when they are compiled, so that all loops over effects
have known ends. See `popbayes.building.between` for the map.
"""

import math
from functools import cache

import numpy as np

from popbayes.engine.specialise import Kernel, specialise

size = 0


def whitening(omega, factor, white, known):
    r"""Inverse root :math:`W = (D L)^{-1}`, inverse covariance :math:`P = W^\top W`, and :math:`\log |W|`."""
    total = 0.0
    for i in range(size):
        first = 1.0 / factor[i, i]
        for j in range(size):
            white[i, j] = 0.0
        for j in range(i):
            part = 0.0
            for k in range(j, i):
                part += factor[i, k] * white[k, j]
            white[i, j] = -first * part
        white[i, i] = first
    for i in range(size):
        for j in range(i + 1):
            white[i, j] /= omega[j]
        total += np.log(white[i, i])
    for i in range(size):
        for j in range(i + 1):
            part = 0.0
            for k in range(i, size):
                part += white[k, i] * white[k, j]
            known[i, j] = part
            known[j, i] = part
    return total


def forward(z, omega, factor, centre, data, pull, eta, root, shift, white, known):
    """Fill `eta` (size, subject) and what the gradient needs; return the term of the log density."""
    constant = whitening(omega, factor, white, known)
    total = 0.0
    for s in range(z.shape[0]):
        determinant = 1.0
        for i in range(size):
            for j in range(i):
                part = data[s, i, j] + known[i, j]
                for k in range(j):
                    part -= root[s, i, k] * root[s, j, k]
                root[s, i, j] = part / root[s, j, j]
            part = data[s, i, i] + known[i, i]
            for k in range(i):
                part -= root[s, i, k] * root[s, i, k]
            root[s, i, i] = math.sqrt(part)
            determinant *= root[s, i, i]
            right = pull[s, i]
            for j in range(size):
                right -= data[s, i, j] * centre[j, s]
            for k in range(i):
                right -= root[s, i, k] * shift[s, k]
            shift[s, i] = right / root[s, i, i]
        for back in range(size):
            i = size - 1 - back
            part = shift[s, i] + z[s, i]
            for k in range(i + 1, size):
                part -= root[s, k, i] * eta[k, s]
            eta[i, s] = part / root[s, i, i]
        squares = 0.0
        for i in range(size):
            part = 0.0
            for j in range(i + 1):
                part += white[i, j] * eta[j, s]
            squares += z[s, i] * z[s, i] - part * part
        total += 0.5 * squares - np.log(determinant) + constant
    return total


def backward(z, data, eta, root, shift, known, geta, gdensity, gz, gcentre, gknown):
    r"""Cotangents of `z` and of the centres, and of :math:`P` through the subjects' posterior precisions.

    The cotangent of :math:`\Lambda_i + P` is that of a Cholesky factor (Murray 2016, arXiv:1602.07527,
    section 3), symmetric, and summed over subjects into `gknown`.
    """
    local = np.empty((size, size))
    left = np.empty(size)
    right = np.empty(size)
    for s in range(z.shape[0]):
        for i in range(size):  # C left = cotangent of eta
            part = geta[i, s]
            for j in range(size):
                part -= gdensity * known[i, j] * eta[j, s]
            for k in range(i):
                part -= root[s, i, k] * left[k]
            left[i] = part / root[s, i, i]
            gz[s, i] = left[i] + gdensity * z[s, i]
        for back in range(size):  # C^T right = left
            i = size - 1 - back
            part = left[i]
            for k in range(i + 1, size):
                part -= root[s, k, i] * right[k]
            right[i] = part / root[s, i, i]
        for j in range(size):
            part = 0.0
            for i in range(size):
                part -= data[s, i, j] * right[i]
            gcentre[j, s] = part
        for i in range(size):  # cotangent of C, then lower(C^T .) with half the diagonal
            for j in range(i + 1):
                local[i, j] = -eta[i, s] * left[j] - right[i] * shift[s, j]
            local[i, i] -= gdensity / root[s, i, i]
        for j in range(size):
            for i in range(j, size):
                part = 0.0
                for k in range(i, size):
                    part += root[s, k, i] * local[k, j]
                local[i, j] = part if i > j else 0.5 * part
        for j in range(size):  # C^-T from the left
            for back in range(size):
                i = size - 1 - back
                part = local[i, j] if i >= j else 0.0
                for k in range(i + 1, size):
                    part -= root[s, k, i] * local[k, j]
                local[i, j] = part / root[s, i, i]
        for i in range(size):  # C^-1 from the right
            for back in range(size):
                j = size - 1 - back
                part = local[i, j]
                for k in range(j + 1, size):
                    part -= local[i, k] * root[s, k, j]
                local[i, j] = part / root[s, j, j]
        for i in range(size):
            for j in range(i + 1):
                part = 0.5 * (local[i, j] + local[j, i]) - 0.5 * gdensity * eta[i, s] * eta[j, s]
                gknown[i, j] += part
                if i != j:
                    gknown[j, i] += part


def unwhitening(n_subject, omega, factor, white, gknown, gdensity, gomega, gfactor):
    """Cotangents of the SDs and of the factor of the correlations from that of the inverse covariance."""
    inner = np.empty((size, size))
    for j in range(size):
        gomega[j] = 0.0
    for i in range(size):
        for j in range(i + 1):
            part = 0.0
            for k in range(i + 1):
                part += white[i, k] * gknown[k, j]
            part *= 2.0
            if i == j:
                part += gdensity * n_subject / white[i, i]
            gomega[j] -= part * white[i, j] / omega[j]
            inner[i, j] = part / omega[j]
    # V = L^-1 is `white` times omega by columns; its cotangent goes to L as -V^T inner V^T
    outer = np.empty((size, size))
    for i in range(size):
        for j in range(size):
            part = 0.0
            for k in range(min(i, j) + 1):
                part += inner[i, k] * white[j, k] * omega[k]
            outer[i, j] = part
    for i in range(size):
        for j in range(size):
            part = 0.0
            for k in range(i, size):
                part += white[k, i] * omega[i] * outer[k, j]
            gfactor[i, j] = -part if j <= i else 0.0


@cache
def forward_kernel(number: int) -> Kernel:
    """`forward` for this number of effects."""
    return specialise(forward, size=number, whitening=specialise(whitening, size=number))


@cache
def backward_kernel(number: int) -> tuple[Kernel, Kernel]:
    """`backward` and `unwhitening` for this number of effects."""
    return specialise(backward, size=number), specialise(unwhitening, size=number)
