"""Formulas printed as code: their values, their refusals, and what names the compiled code."""

import math

import numpy as np
import pytensor.tensor as pt
import pytest

from popbayes.engine.expression import assignments, simplify
from popbayes.engine.specialise import compile_source, specialise

X, Y = pt.dscalar("x"), pt.dscalar("y")


def compiled(*outputs):
    body = assignments({X: "x", Y: "y"}, simplify([pt.as_tensor_variable(o) for o in outputs]))
    text = "def f(x, y):\n    " + "\n    ".join([*body.lines, f"return ({', '.join(body.results)},)"])
    return compile_source(text, "f", {"foreign": body.env}, entry=True)


FORMULAS = {
    "arithmetic": (
        lambda x, y: (x + 2 * y - 1) / (x * y) - x**2,
        lambda x, y: (x + 2 * y - 1) / (x * y) - x**2,
    ),
    "powers": (lambda x, y: x**y + pt.sqr(x), lambda x, y: x**y + x * x),
    "functions": (
        lambda x, y: pt.exp(-x) + pt.log(y) + pt.sqrt(x) + pt.expm1(x) + pt.log1p(y) + pt.tanh(x),
        lambda x, y: math.exp(-x) + math.log(y) + math.sqrt(x) + math.expm1(x) + math.log1p(y) + math.tanh(x),
    ),
    "switch": (lambda x, y: pt.switch(pt.gt(x, y), x, 10 * y), lambda x, y: x if x > y else 10 * y),
    "extremes": (lambda x, y: pt.maximum(x, y) - pt.minimum(x, y) + abs(x - y), lambda x, y: 2 * abs(x - y)),
    "lowered by PyTensor": (
        lambda x, y: pt.gammaln(x) + pt.erf(y),
        lambda x, y: math.lgamma(x) + math.erf(y),
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("point", [(0.7, 1.9), (3.1, 0.4)])
def test_a_formula_has_its_value(name, point):
    formula, expected = FORMULAS[name]
    np.testing.assert_allclose(compiled(formula(X, Y))(*point)[0], expected(*point), rtol=1e-14)


@pytest.mark.parametrize("name", ["arithmetic", "powers", "functions", "switch", "lowered by PyTensor"])
def test_a_formula_has_its_derivative(name):
    formula, expected = FORMULAS[name]
    got = compiled(*pt.grad(formula(X, Y), [X, Y]))(0.7, 1.9)
    h = 1e-6
    by_x = (expected(0.7 + h, 1.9) - expected(0.7 - h, 1.9)) / (2 * h)
    by_y = (expected(0.7, 1.9 + h) - expected(0.7, 1.9 - h)) / (2 * h)
    np.testing.assert_allclose(got, [by_x, by_y], rtol=1e-7)


def test_a_shared_subexpression_is_printed_once():
    body = assignments({X: "x", Y: "y"}, simplify([pt.exp(X * Y) + 1, pt.exp(X * Y) * 2]))
    assert sum("exp" in line for line in body.lines) == 1


def test_a_variable_that_is_not_declared_is_refused_by_name():
    with pytest.raises(ValueError, match="uses 'volume', which is neither"):
        assignments({X: "x"}, [X / pt.dscalar("volume")])


def test_an_array_in_a_formula_is_refused():
    with pytest.raises(TypeError, match="scalar"):
        assignments({X: "x"}, [X + pt.constant(np.ones(3)).sum()])


def test_a_changed_formula_never_meets_the_code_of_the_old_one():
    """The key that names machine code on disk differs whenever anything that decides it does."""

    def kernel(*outputs):
        return compiled(*outputs).key

    assert kernel(X + Y) == kernel(X + Y)
    keys = [kernel(X + Y), kernel(X - Y), kernel(Y + X), kernel(X + 2 * Y), kernel(X + 2.0000001 * Y),
            kernel(pt.gammaln(X) + Y), kernel(pt.erf(X) + Y)]  # fmt: skip
    assert len(set(keys)) == len(keys)


def outer(x):
    return inner(x) + CONSTANT  # noqa: F821  (bound by specialise)


def test_a_change_in_a_callee_or_a_constant_changes_the_caller_s_key():
    first = compile_source("def inner(x):\n    return x\n", "inner", {})
    second = compile_source("def inner(x):\n    return 2 * x\n", "inner", {})
    keys = {specialise(outer, inner=f, CONSTANT=c).key for f in (first, second) for c in (1.0, 2.0)}
    assert len(keys) == 4
    assert specialise(outer, inner=second, CONSTANT=2.0, entry=True)(3.0) == 8.0


def test_code_that_pytensor_lowered_is_not_kept_on_disk_nor_are_its_callers():
    lowered = compiled(pt.gammaln(X) + Y)
    assert not lowered.cached
    assert not specialise(outer, inner=lowered, CONSTANT=1.0).cached
    assert compiled(X + Y).cached
