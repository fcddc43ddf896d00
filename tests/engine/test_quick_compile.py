"""A compilation within `quick_compile` gives the same code, and leaves everything as it was."""

import copy
import gc

import numba
import numpy as np
import pytest
from numba.core import inline_closurecall
from numba.core.inline_closurecall import InlineWorker
from numba.core.types.functions import BaseFunction

from popbayes.engine import quick_compile
from popbayes.engine.quick_compile import _Memory

METHOD = BaseFunction.get_call_type
INLINE = InlineWorker.inline_function


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


def test_functions_that_become_part_of_their_callers():
    """They are not copied: each place, nested ones too, must still have variables and branches of its own."""

    @numba.njit(inline="always")
    def part(x, n):
        total = 0.0
        for k in range(n):
            if k % 2 == 0:
                total += x
            else:
                total -= 0.5 * k
        return total

    @numba.njit(inline="always")
    def twice(x, n):
        total = part(x, n)
        return total + part(total, n + 1) if total > 0.0 else part(-total, n)

    def whole(x, n):
        total = twice(x, n) + part(x, n)
        return total * twice(total, n) + twice(-x, n)

    def plainly(x, n):
        one = part.py_func

        def two(y):
            total = one(y, n)
            return total + one(total, n + 1) if total > 0.0 else one(-total, n)

        total = two(x) + one(x, n)
        return total * two(total) + two(-x)

    with quick_compile.quick_compile():
        assert InlineWorker.inline_function is not INLINE
        compiled = numba.njit(whole)
        for x in (0.3, 2.0, -1.5):
            for n in (0, 1, 5):
                assert compiled(x, n) == plainly(x, n)
    assert InlineWorker.inline_function is INLINE
    assert inline_closurecall.copy is copy


def test_copies_again_after_an_error_within(monkeypatch):
    def fail(*_, **__):
        assert inline_closurecall.copy is not copy
        raise RuntimeError("no")

    part = numba.njit(inline="always")(lambda x: x + 1.0)
    monkeypatch.setattr(InlineWorker, "inline_ir", fail)
    with pytest.raises(RuntimeError, match="no"), quick_compile.quick_compile():
        numba.njit(lambda x: part(x))(1.0)
    assert inline_closurecall.copy is copy
    assert InlineWorker.inline_function is INLINE


def test_works_without_the_parts_of_numba_that_it_uses(monkeypatch):
    monkeypatch.setattr(quick_compile, "_WORKS", False)
    monkeypatch.setattr(quick_compile, "_INLINES", False)
    with quick_compile.quick_compile():
        assert BaseFunction.get_call_type is METHOD
        assert InlineWorker.inline_function is INLINE
        assert numba.njit(formula)(0.3, 7) == formula(0.3, 7)
