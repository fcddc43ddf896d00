"""Kernel templates: small dense linear systems, and pieces of scratch."""

import numpy as np


def factorise(matrix, pivot, n):
    """LU of a small matrix in place, with partial pivoting."""
    for c in range(n):
        best = c
        for r in range(c + 1, n):
            if abs(matrix[r, c]) > abs(matrix[best, c]):
                best = r
        pivot[c] = best
        if best != c:
            for j in range(n):
                matrix[c, j], matrix[best, j] = matrix[best, j], matrix[c, j]
        for r in range(c + 1, n):
            matrix[r, c] /= matrix[c, c]
            for j in range(c + 1, n):
                matrix[r, j] -= matrix[r, c] * matrix[c, j]


def back_substitute(matrix, pivot, n, b):
    """Solve with the factors of `factorise`, in place."""
    for c in range(n):
        b[c], b[pivot[c]] = b[pivot[c]], b[c]
    for c in range(n):
        for r in range(c + 1, n):
            b[r] -= matrix[r, c] * b[c]
    for c in range(n - 1, -1, -1):
        b[c] /= matrix[c, c]
        for r in range(c):
            b[r] -= matrix[r, c] * b[c]


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


TEMPLATES = (factorise, back_substitute, taken, put_back)
