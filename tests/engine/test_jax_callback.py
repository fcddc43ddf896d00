"""The same machine code under JAX: values, gradients by PyTensor and gradients by JAX."""

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from popbayes.data.design import Design
from popbayes.engine.op import predict
from popbayes.structural import pk
from tests.engine.scenarios import PARAMETERS, SCENARIOS
from tests.tolerances import EXACT

jax = pytest.importorskip("jax", reason="JAX is an optional extra")


@pytest.fixture(scope="module")
def graph():
    jax.config.update("jax_enable_x64", True)
    model = pk.TwoCompartment(pk.FirstOrder())
    theta = {n: pt.dvector(n) for n in model.parameters}
    pred = predict(model, Design.of(SCENARIOS["additional oral doses"].to_events()), theta)
    return list(theta.values()), (pred**2).sum(), [np.array([PARAMETERS[n]]) for n in model.parameters]


def test_the_callback_gives_the_values_and_gradients_of_the_numba_linker(graph):
    inputs, cost, point = graph
    outputs = [cost, *pt.grad(cost, inputs)]
    by_numba = pytensor.function(inputs, outputs, mode="NUMBA")(*point)
    by_jax = pytensor.function(inputs, outputs, mode="JAX")(*point)
    for a, b in zip(by_numba, by_jax, strict=True):
        np.testing.assert_allclose(np.asarray(b), a, **EXACT)


def test_jax_differentiates_and_maps_through_the_callback(graph):
    inputs, cost, point = graph
    compiled = pytensor.function(inputs, [cost], mode="JAX")
    schedule = [v.get_value() for v in compiled.get_shared()]

    def f(*theta):
        out = compiled.vm.jit_fn(*theta, *schedule)
        return out[0] if isinstance(out, tuple | list) else out

    expected = pytensor.function(inputs, pt.grad(cost, inputs), mode="NUMBA")(*point)
    gradient = jax.grad(f, argnums=tuple(range(len(point))))
    for a, b in zip(expected, gradient(*point), strict=True):
        np.testing.assert_allclose(np.asarray(b), a, **EXACT)
    mapped = jax.vmap(gradient)(*(np.stack([x, 2 * x]) for x in point))
    for a, b in zip(expected, mapped, strict=True):
        np.testing.assert_allclose(np.asarray(b)[0], a, **EXACT)
