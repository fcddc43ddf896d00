"""The matrix exponential as kernels call it: compiled once and reached by its symbol.

Linked into every kernel, the functions of `exponential` would be optimised anew in each, for a minute.
"""

from functools import cache
from hashlib import sha256
from pathlib import Path

import llvmlite.binding
import numba
from numba import carray, types

from popbayes.engine import exponential as algebra
from popbayes.engine.exponential import (
    write_exponential,
    write_pull_exponential,
    write_pull_train,
    write_train,
)
from popbayes.engine.pieces import _JIT


def _symbol(name):
    # changed code gets another name, so that kernels kept on disk never meet it
    return f"popbayes_{name}_{TEXT}"


_P, _N = types.voidptr, types.intp
_SIGNATURES = {
    "exponential": types.void(_N, _P, _P),
    "pull_exponential": types.void(_N, _P, _P, _P),
    "train": types.void(_N, _N, _P, _P, _P, _P),
    "pull_train": types.void(_N, _N, _P, _P, _P, _P, _P, _P),
}
TEXT = sha256(b"".join(Path(f).read_bytes() for f in (__file__, algebra.__file__))).hexdigest()[:16]
_exponential, _pull_exponential, _train, _pull_train = (
    types.ExternalFunction(_symbol(name), signature) for name, signature in _SIGNATURES.items()
)


@cache
def register():
    """Compile what kernels call, or load it from disk, and make its symbols known to the linker."""
    real, whole = types.CPointer(types.float64), types.CPointer(types.int64)

    def call_exponential(n, matrix, out):
        write_exponential(carray(matrix, (n, n)), carray(out, (n, n)))

    def call_pull_exponential(n, matrix, gout, gmatrix):
        write_pull_exponential(carray(matrix, (n, n)), carray(gout, (n, n)), carray(gmatrix, (n, n)))

    def call_train(n, number, kept, x, rows, total):
        write_train(carray(kept, (n, n)), carray(x, (n,)), number, carray(rows, (n,)), carray(total, (n,)))

    def call_pull_train(n, number, kept, x, rows, gtotal, gkept, gx):
        write_pull_train(
            carray(kept, (n, n)), carray(x, (n,)), number, carray(rows, (n,)),
            carray(gtotal, (n,)), carray(gkept, (n, n)), carray(gx, (n,)),
        )  # fmt: skip

    calls = {
        "exponential": (call_exponential, (_N, real, real)),
        "pull_exponential": (call_pull_exponential, (_N, real, real, real)),
        "train": (call_train, (_N, _N, real, real, whole, real)),
        "pull_train": (call_pull_train, (_N, _N, real, real, whole, real, real, real)),
    }
    compiled = []
    for name, (function, arguments) in calls.items():
        call = numba.cfunc(types.void(*arguments), cache=True, error_model="numpy")(function)
        llvmlite.binding.add_symbol(_symbol(name), call.address)
        compiled.append(call)
    return compiled


@numba.njit(**_JIT)
def exponential(matrix, out):
    """Write the exponential of `matrix` to `out`."""
    _exponential(matrix.shape[0], matrix.ctypes, out.ctypes)


@numba.njit(**_JIT)
def pull_exponential(matrix, gout, gmatrix):
    """Adjoint of `exponential`: add the derivatives by `matrix`; `gout` is written over."""
    _pull_exponential(matrix.shape[0], matrix.ctypes, gout.ctypes, gmatrix.ctypes)


@numba.njit(**_JIT)
def train_of(kept, x, n, open_rows, total):
    """Write the sum of a train, see `write_train`."""
    _train(kept.shape[0], n, kept.ctypes, x.ctypes, open_rows.ctypes, total.ctypes)


@numba.njit(**_JIT)
def pull_train_of(kept, x, n, open_rows, gtotal, gkept, gx):
    """Adjoint of `train_of`, see `write_pull_train`."""
    _pull_train(
        kept.shape[0], n, kept.ctypes, x.ctypes, open_rows.ctypes, gtotal.ctypes, gkept.ctypes, gx.ctypes
    )
