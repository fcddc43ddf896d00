r"""The matrix exponential of a compartmental system, trains of doses under it, and their exact derivatives.

A compartmental matrix has off-diagonal entries >= 0. With :math:`c = \max_i |a_{ii}|` the matrix
:math:`A + cI` has none below 0, so

.. math:: e^{A} = \left(e^{-c/2^s}\, T_m\big((A + cI) / 2^s\big)\right)^{2^s}

is computed from sums and products of numbers >= 0 alone: no cancellation, no negative amounts, equal or
nearly equal eigenvalues need no special care, and the relative error of every entry is of the order of
:math:`2^s` rounding errors. Derivatives are those of the program, taken backwards, so they are exact
where the values are.

References
----------
Moler & Van Loan, SIAM Review 45 (2003) 3-49 (scaling and squaring); Xue & Ye, Math. Comp. 82 (2013)
1577-1596 (entrywise accuracy for essentially non-negative matrices).
"""

import math

import numba
import numpy as np

from popbayes.engine.pieces import _JIT, FOREVER

ORDER = 18
"""Terms of the Taylor series: the rest is below 1e-17 for matrices of norm 1."""
MOST_SQUARINGS = 60


@numba.njit(**_JIT)
def fill(a, value):
    """Set all entries."""
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            a[i, j] = value


@numba.njit(**_JIT)
def copy(a, out):
    """Copy a matrix."""
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            out[i, j] = a[i, j]


@numba.njit(**_JIT)
def copy_scaled(a, factor, out):
    """Copy a matrix times a number."""
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            out[i, j] = a[i, j] * factor


@numba.njit(**_JIT)
def add_to(a, out):
    """Add a vector."""
    for i in range(a.shape[0]):
        out[i] += a[i]


@numba.njit(**_JIT)
def add_outer(a, b, out):
    """Add an outer product."""
    for i in range(a.shape[0]):
        for j in range(b.shape[0]):
            out[i, j] += a[i] * b[j]


@numba.njit(**_JIT)
def multiply(a, b, out):
    """Matrix product."""
    n = a.shape[0]
    for i in range(n):
        for j in range(n):
            out[i, j] = 0.0
        for k in range(n):
            x = a[i, k]
            if x != 0.0:
                for j in range(n):
                    out[i, j] += x * b[k, j]


@numba.njit(**_JIT)
def add_transposed_left(a, b, out):
    """Add :math:`A^T B`."""
    n = a.shape[0]
    for k in range(n):
        for i in range(n):
            x = a[k, i]
            if x != 0.0:
                for j in range(n):
                    out[i, j] += x * b[k, j]


@numba.njit(**_JIT)
def add_transposed_right(a, b, out):
    """Add :math:`A B^T`."""
    n = a.shape[0]
    for i in range(n):
        for j in range(n):
            total = 0.0
            for k in range(n):
                total += a[i, k] * b[j, k]
            out[i, j] += total


@numba.njit(**_JIT)
def scaled(matrix, shifted):
    """Write the shifted, scaled matrix; return the shift and the number of squarings."""
    n = matrix.shape[0]
    shift = 0.0
    for i in range(n):
        shift = max(shift, -matrix[i, i])
    norm = 0.0
    for j in range(n):
        total = 0.0
        for i in range(n):
            shifted[i, j] = matrix[i, j] + (shift if i == j else 0.0)
            total += abs(shifted[i, j])
        norm = max(norm, total)
    squarings = 0
    if norm > 1.0:
        squarings = min(MOST_SQUARINGS, math.ceil(math.log2(min(norm, 1e18))))
    factor = 2.0 ** (-squarings)
    for i in range(n):
        for j in range(n):
            shifted[i, j] *= factor
    return shift * factor, squarings


@numba.njit(**_JIT)
def identity(out):
    """Write the identity."""
    for i in range(out.shape[0]):
        for j in range(out.shape[0]):
            out[i, j] = 1.0 if i == j else 0.0


@numba.njit(**_JIT)
def write_exponential(matrix, out):
    """Write the exponential of `matrix` to `out`."""
    n = matrix.shape[0]
    shifted = np.empty((n, n))
    work = np.empty((n, n))
    shift, squarings = scaled(matrix, shifted)
    identity(out)
    for term in range(ORDER, 0, -1):
        multiply(shifted, out, work)
        copy_scaled(work, 1.0 / term, out)
        for i in range(n):
            out[i, i] += 1.0
    copy_scaled(out, math.exp(-shift), out)
    for _ in range(squarings):
        multiply(out, out, work)
        copy(work, out)


@numba.njit(**_JIT)
def write_pull_exponential(matrix, gout, gmatrix):
    """Adjoint of `write_exponential`: add the derivatives by `matrix`; `gout` is written over.

    The shift is a constant of the identity that it comes from, whatever its value: it has no derivative.
    """
    n = matrix.shape[0]
    shifted = np.empty((n, n))
    shift, squarings = scaled(matrix, shifted)
    partial = np.empty((ORDER + 1, n, n))
    identity(partial[ORDER])
    for term in range(ORDER, 0, -1):
        multiply(shifted, partial[term], partial[term - 1])
        copy_scaled(partial[term - 1], 1.0 / term, partial[term - 1])
        for i in range(n):
            partial[term - 1, i, i] += 1.0
    factor = math.exp(-shift)
    powers = np.empty((squarings + 1, n, n))
    copy_scaled(partial[0], factor, powers[0])
    for s in range(squarings):
        multiply(powers[s], powers[s], powers[s + 1])
    work = np.empty((n, n))
    for s in range(squarings - 1, -1, -1):
        fill(work, 0.0)
        add_transposed_left(powers[s], gout, work)
        add_transposed_right(gout, powers[s], work)
        copy(work, gout)
    copy_scaled(gout, factor, gout)
    gshifted = np.empty((n, n))
    fill(gshifted, 0.0)
    for term in range(1, ORDER + 1):
        copy_scaled(gout, 1.0 / term, gout)
        add_transposed_right(gout, partial[term], gshifted)
        fill(work, 0.0)
        add_transposed_left(shifted, gout, work)
        copy(work, gout)
    scale = 2.0 ** (-squarings)
    for i in range(n):
        for j in range(n):
            gmatrix[i, j] += gshifted[i, j] * scale


@numba.njit(**_JIT)
def solve_in_place(a, b):
    """Gaussian elimination with partial pivoting; `b` becomes the solution (nan where there is none)."""
    n = a.shape[0]
    for k in range(n):
        pivot = k
        for i in range(k + 1, n):
            if abs(a[i, k]) > abs(a[pivot, k]):
                pivot = i
        if pivot != k:
            for j in range(n):
                a[k, j], a[pivot, j] = a[pivot, j], a[k, j]
            b[k], b[pivot] = b[pivot], b[k]
        for i in range(k + 1, n):
            f = a[i, k] / a[k, k]
            if f != 0.0:
                for j in range(k + 1, n):
                    a[i, j] -= f * a[k, j]
                b[i] -= f * b[k]
    for k in range(n - 1, -1, -1):
        for j in range(k + 1, n):
            b[k] -= a[k, j] * b[j]
        b[k] /= a[k, k]


@numba.njit(**_JIT)
def apply(a, x, out):
    """Matrix times vector."""
    for i in range(a.shape[0]):
        total = 0.0
        for j in range(a.shape[0]):
            total += a[i, j] * x[j]
        out[i] = total


@numba.njit(**_JIT)
def apply_transposed(a, x, out):
    """Transposed matrix times vector."""
    for j in range(a.shape[0]):
        out[j] = 0.0
    for i in range(a.shape[0]):
        for j in range(a.shape[0]):
            out[j] += a[i, j] * x[i]


@numba.njit(**_JIT)
def rest_of(kept, open_rows, transposed):
    """Matrix `I - E` among the compartments in `open_rows`; the identity for the others."""
    n = kept.shape[0]
    out = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            inside = open_rows[i] != 0 and open_rows[j] != 0
            entry = kept[j, i] if transposed else kept[i, j]
            out[i, j] = (1.0 if i == j else 0.0) - (entry if inside else 0.0)
    return out


@numba.njit(**_JIT)
def write_train(kept, x, n, open_rows, total):
    r"""Sum of a train, :math:`\sum_{j<n} E^j x`; `FOREVER`: among `open_rows` only, 0 elsewhere."""
    size = kept.shape[0]
    for i in range(size):
        total[i] = 0.0 if n == FOREVER and open_rows[i] == 0 else x[i]
    if n == FOREVER:
        solve_in_place(rest_of(kept, open_rows, False), total)
        return
    last, work, more = np.empty((size, size)), np.empty((size, size)), np.empty(size)
    copy(kept, last)
    steps = doublings(n)
    for step in range(steps):
        apply(last, total, more)
        add_to(more, total)
        multiply(last, last, work)
        copy(work, last)
        if n & (1 << (steps - 1 - step)):
            apply(last, x, more)
            add_to(more, total)
            multiply(last, kept, work)
            copy(work, last)


@numba.njit(**_JIT)
def doublings(n):
    """How often 1 is doubled on the way to `n`."""
    steps = 0
    while 2 << steps <= n:
        steps += 1
    return steps


@numba.njit(**_JIT)
def write_pull_train(kept, x, n, open_rows, gtotal, gkept, gx):
    """Adjoint of `write_train`: adds derivatives by `kept`, writes those by `x`; writes over `gtotal`."""
    size = kept.shape[0]
    if n == FOREVER:
        total = np.empty(size)
        write_train(kept, x, n, open_rows, total)
        for i in range(size):
            gx[i] = gtotal[i] if open_rows[i] != 0 else 0.0
        solve_in_place(rest_of(kept, open_rows, True), gx)
        for i in range(size):
            for j in range(size):
                if open_rows[i] != 0 and open_rows[j] != 0:
                    gkept[i, j] += gx[i] * total[j]
        return
    steps = doublings(n)
    # before each doubling, and after it
    lasts, totals = np.empty((steps, size, size)), np.empty((steps, size))
    doubles = np.empty((steps, size, size))
    last, more, work = np.empty((size, size)), np.empty(size), np.empty((size, size))
    total = np.empty(size)
    copy(kept, last)
    for i in range(size):
        total[i] = x[i]
        gx[i] = 0.0
    for step in range(steps):
        copy(last, lasts[step])
        for i in range(size):
            totals[step, i] = total[i]
        apply(last, total, more)
        add_to(more, total)
        multiply(last, last, doubles[step])
        copy(doubles[step], last)
        if n & (1 << (steps - 1 - step)):
            apply(last, x, more)
            add_to(more, total)
            multiply(doubles[step], kept, last)
    glast = np.empty((size, size))
    fill(glast, 0.0)
    for step in range(steps - 1, -1, -1):
        if n & (1 << (steps - 1 - step)):
            add_transposed_left(doubles[step], glast, gkept)
            fill(work, 0.0)
            add_transposed_right(glast, kept, work)
            copy(work, glast)
            add_outer(gtotal, x, glast)
            apply_transposed(doubles[step], gtotal, more)
            add_to(more, gx)
        fill(work, 0.0)
        add_transposed_left(lasts[step], glast, work)
        add_transposed_right(glast, lasts[step], work)
        copy(work, glast)
        add_outer(gtotal, totals[step], glast)
        apply_transposed(lasts[step], gtotal, more)
        add_to(more, gtotal)
    for i in range(size):
        for j in range(size):
            gkept[i, j] += glast[i, j]
    add_to(gtotal, gx)
