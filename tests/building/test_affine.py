"""The affine map of random effects against linear algebra, and its gradient against differences."""

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from popbayes.building.affine_op import InformedEffects
from tests.tolerances import EXACT, GRADIENT

N_SUBJECT = 4
STEP = 1e-4
PATTERNS = [(False,), (True, False), (False, True, False, False, True)]


def arguments(per_subject, seed=1):
    """z, omega, factor, data, pull and the centres of a map, with nothing special about them."""
    rng, n = np.random.default_rng(seed), len(per_subject)
    root = rng.standard_normal((N_SUBJECT, n, n))
    correlation = np.corrcoef(rng.standard_normal((n, 4 * n))).reshape(n, n)
    data = 10 * root @ np.swapaxes(root, 1, 2)
    data[0] = 0.0  # a subject of whom the data say nothing
    centres = [rng.standard_normal(N_SUBJECT if own else ()) for own in per_subject]
    z, pull = rng.standard_normal((2, N_SUBJECT, n))
    return [z, rng.uniform(0.2, 0.6, n), np.linalg.cholesky(correlation), data, pull, *centres]


def by_linear_algebra(z, omega, factor, data, pull, *centres):
    """The map and its density by the formulas of the docstring, matrices inverted."""
    root = np.diag(omega) @ factor
    known = np.linalg.inv(root @ root.T)
    both = np.linalg.cholesky(data + known)
    mu = np.stack([np.broadcast_to(one, N_SUBJECT) for one in centres], axis=1)
    mean = np.linalg.solve(data + known, (pull - np.einsum("nij,nj->ni", data, mu))[..., None])[..., 0]
    eta = mean + np.linalg.solve(np.swapaxes(both, 1, 2), z[..., None])[..., 0]
    inside = np.einsum("ni,ij,nj->", eta, known, eta)
    log_roots = np.log(np.diagonal(both, axis1=1, axis2=2)).sum()
    density = -0.5 * inside + 0.5 * np.sum(z**2) - log_roots - N_SUBJECT * np.log(np.diag(root)).sum()
    return eta, density


def graph_of(per_subject, weights):
    """Inputs, effects and density, and a sum of all of them with weights, as PyTensor variables."""
    values = arguments(per_subject)
    inputs = [pt.tensor(dtype="float64", shape=np.shape(one)) for one in values]
    outputs = InformedEffects(per_subject)(*inputs, return_list=True)[: len(per_subject) + 1]
    total = sum((one * weight).sum() for one, weight in zip(outputs, weights, strict=True))
    return inputs, outputs, total


def weights_of(per_subject):
    rng = np.random.default_rng(2)
    return [*rng.standard_normal((len(per_subject), N_SUBJECT)), 0.7]


@pytest.mark.parametrize("per_subject", PATTERNS)
def test_the_map_is_that_of_linear_algebra(per_subject):
    inputs, outputs, _ = graph_of(per_subject, weights_of(per_subject))
    values = arguments(per_subject)
    *eta, density = pytensor.function(inputs, outputs, mode="FAST_COMPILE")(*values)
    expected, expected_density = by_linear_algebra(*values)
    np.testing.assert_allclose(np.stack(eta, axis=1), expected, **EXACT)
    np.testing.assert_allclose(density, expected_density, **EXACT)


@pytest.mark.parametrize("per_subject", PATTERNS)
def test_the_gradient_is_that_of_differences(per_subject):
    weights = weights_of(per_subject)
    inputs, _, total = graph_of(per_subject, weights)
    free = [0, 1, 2, *range(5, len(inputs))]
    values = arguments(per_subject)
    gradients = pytensor.function(
        inputs, pytensor.grad(total, [inputs[k] for k in free]), mode="FAST_COMPILE"
    )(*values)

    def scalar(moved):
        eta, density = by_linear_algebra(*moved)
        return float(sum(w @ e for w, e in zip(weights[:-1], eta.T, strict=True)) + weights[-1] * density)

    for k, gradient in zip(free, gradients, strict=True):
        for place in np.ndindex(np.shape(values[k])):
            if k == 2 and place[1] > place[0]:
                assert gradient[place] == 0.0  # above the triangle
                continue
            ends = []
            for step in (STEP, -STEP, STEP / 2, -STEP / 2):
                moved = [np.array(one) for one in values]
                moved[k][place] += step
                ends.append(scalar(moved))
            wide, narrow = (ends[0] - ends[1]) / (2 * STEP), (ends[2] - ends[3]) / STEP
            np.testing.assert_allclose(gradient[place], (4 * narrow - wide) / 3, **GRADIENT)


def test_numba_calls_the_kernels_that_perform_calls():
    per_subject = (False, True)
    inputs, outputs, total = graph_of(per_subject, weights_of(per_subject))
    wanted = [*outputs, *pytensor.grad(total, [*inputs[:3], *inputs[5:]])]
    values = arguments(per_subject)
    compiled = pytensor.function(inputs, wanted, mode="NUMBA")(*values)
    for one, other in zip(
        compiled, pytensor.function(inputs, wanted, mode="FAST_COMPILE")(*values), strict=True
    ):
        np.testing.assert_allclose(one, other, **EXACT)


def test_the_map_runs_in_jax():
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        per_subject = (False, True)
        inputs, outputs, total = graph_of(per_subject, weights_of(per_subject))
        wanted = [*outputs, *pytensor.grad(total, [*inputs[:3], *inputs[5:]])]
        values = arguments(per_subject)
        found = pytensor.function(inputs, wanted, mode="JAX")(*values)
        alone = pytensor.function(inputs, total, mode="JAX").vm.jit_fn
        by_jax = jax.grad(lambda z: alone(z, *values[1:])[0])(values[0])
    finally:
        jax.config.update("jax_enable_x64", before)
    expected = pytensor.function(inputs, wanted, mode="FAST_COMPILE")(*values)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(one), other, **EXACT)
    np.testing.assert_allclose(np.asarray(by_jax), expected[len(outputs)], **EXACT)


def test_centres_must_be_as_the_map_was_told():
    values = arguments((True, False))
    with pytest.raises(TypeError, match="scalars or vectors"):
        InformedEffects((False, False))(*values)
