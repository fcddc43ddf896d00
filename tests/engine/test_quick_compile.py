"""A compilation within `quick_compile` gives the same code, and leaves everything as it was."""

import gc

import numba
import numpy as np
import pytest
from numba.core.types.functions import BaseFunction

from popbayes.engine import quick_compile
from popbayes.engine.quick_compile import _Memory

METHOD = BaseFunction.get_call_type


def formula(x, n):
    total = 0.0
    for k in range(n):
        total += x * k - (x + k) * np.exp(-x) + 2 * k * k // 3
    return total


def test_same_result_and_all_put_back():
    plain = numba.njit(formula)
    quick = numba.njit(formula)
    with quick_compile.quick_compile():
        assert not gc.isenabled()
        assert BaseFunction.get_call_type is not METHOD
        found = quick(0.3, 7)
    assert found == plain(0.3, 7)
    assert gc.isenabled()
    assert BaseFunction.get_call_type is METHOD


def test_put_back_after_an_error_and_when_nested():
    def fail_within():
        with quick_compile.quick_compile():
            with quick_compile.quick_compile():
                assert not gc.isenabled()
            assert not gc.isenabled()
            numba.njit(formula)("text", 1)

    with pytest.raises(numba.core.errors.TypingError):
        fail_within()
    assert gc.isenabled()
    assert BaseFunction.get_call_type is METHOD


def test_a_collector_that_was_off_stays_off():
    gc.disable()
    try:
        with quick_compile.quick_compile():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_types_and_flags_are_told_apart():
    """An integer product after a float product of the same function keeps its own type."""
    memory = _Memory()
    assert memory.number_of(None) == memory.number_of(None) == 0
    with quick_compile.quick_compile():
        twice = numba.njit(lambda x: x * x)
        assert isinstance(twice(1.5), float)
        assert isinstance(twice(3), int)
        assert twice(3) == 9
        assert twice(1.5) == 2.25


def test_works_without_the_parts_of_numba_that_it_uses(monkeypatch):
    monkeypatch.setattr(quick_compile, "_WORKS", False)
    with quick_compile.quick_compile():
        assert BaseFunction.get_call_type is METHOD
        assert numba.njit(formula)(0.3, 7) == formula(0.3, 7)
