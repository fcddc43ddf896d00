"""Kernel templates: small dense linear systems, and pieces of scratch."""

import numpy as np


def factorise(a, at, n):
    """LU of the matrix ``a[at:]``, (n, n) by rows, in place with partial pivoting; pivots follow it."""
    for c in range(n):
        best = c
        for r in range(c + 1, n):
            if abs(a[at + r * n + c]) > abs(a[at + best * n + c]):
                best = r
        a[at + n * n + c] = best
        if best != c:
            for j in range(n):
                held = a[at + c * n + j]
                a[at + c * n + j] = a[at + best * n + j]
                a[at + best * n + j] = held
        inverse = 1.0 / a[at + c * n + c]
        for r in range(c + 1, n):
            a[at + r * n + c] *= inverse
            factor = a[at + r * n + c]
            if factor != 0.0:
                for j in range(c + 1, n):
                    a[at + r * n + j] -= factor * a[at + c * n + j]


def back_substitute(a, at, n, b, to):
    """Solve with the factors of `factorise`; the right-hand side ``b[to:]`` becomes the solution."""
    for c in range(n):
        best = int(a[at + n * n + c])
        if best != c:
            held = b[to + c]
            b[to + c] = b[to + best]
            b[to + best] = held
    for r in range(1, n):
        for c in range(r):
            b[to + r] -= a[at + r * n + c] * b[to + c]
    for r in range(n - 1, -1, -1):
        for c in range(r + 1, n):
            b[to + r] -= a[at + r * n + c] * b[to + c]
        b[to + r] /= a[at + r * n + r]


def is_negative(a, at, n):
    """Whether the determinant of a matrix that `factorise` has factored is negative."""
    negative = False
    for c in range(n):
        negative = negative ^ (a[at + c * n + c] < 0.0) ^ (int(a[at + n * n + c]) != c)
    return negative


def taken(w, at, n):
    """A copy of a piece of scratch."""
    out = np.empty(n)
    for i in range(n):
        out[i] = w[at + i]
    return out


def put_back(w, at, values):
    """Write a piece of scratch."""
    for i in range(values.shape[0]):
        w[at + i] = values[i]


TEMPLATES = (factorise, back_substitute, is_negative, taken, put_back)
