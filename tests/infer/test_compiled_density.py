"""The compiled density against PyMC's own, kept or not; stored variables against one draw at a time."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pymc as pm
import pytensor
import pytest

from popbayes import prior, variability
from popbayes.building import build
from popbayes.building.between import Information
from popbayes.infer.compiled_density import compiled_density, split_point
from popbayes.infer.expansion import expanded
from popbayes.parameters.parameter import Parameter
from tests.tolerances import EXACT

FAST = "FAST_COMPILE"


@pytest.fixture(scope="module")
def graph(theophylline_model, theophylline):
    """Correlated effects between centred and non-centred: shared arrays, constants, everything there is."""
    block = variability.Correlated(["ka", "CL", "V"], sd=prior.HalfNormal(0.5))
    precision = np.tile(np.diag([30.0, 200.0, 300.0]), (theophylline.n_subject, 1, 1))
    pull = np.einsum("nij,j->ni", precision, np.log([1.5, 2.8, 32.0]))
    information = Information(("ka", "CL", "V"), precision, pull)
    return build(replace(theophylline_model, variability=block), theophylline, information)


@pytest.fixture(scope="module")
def density(graph):
    return compiled_density(graph)


def point_of(graph, flat):
    """The joined coordinates as PyMC takes them."""
    parts, start = {}, 0
    for value, initial in graph.initial_point().items():
        size = np.size(initial)
        parts[value] = flat[start : start + size].reshape(np.shape(initial))
        start += size
    return parts


def positions(size, *draws):
    return 0.1 * np.random.default_rng(5).standard_normal((*draws, size))


def test_density_and_gradient_are_those_of_pymc(graph, density):
    flat = positions(density.size)
    value, gradient = density(flat)
    own = graph.logp_dlogp_function(ravel_inputs=True)
    own.set_extra_values({})
    expected, slope = own([flat])
    np.testing.assert_allclose(value, float(expected), **EXACT)
    np.testing.assert_allclose(gradient, slope, rtol=1e-10, atol=1e-10)


def test_shared_values_are_read_when_the_density_is_made(graph, density):
    before = density(positions(density.size))[0]
    shared = [one for one in density.shared if one.ndim == 3]
    shared[0] *= 2.0
    after = density(positions(density.size))[0]
    shared[0] /= 2.0
    assert before != after
    assert density(positions(density.size))[0] == before


def test_where_the_density_is_not_finite_no_exception_is_raised(density):
    value, _ = density(np.full(density.size, 1e200))
    assert not np.isfinite(value)


def test_stored_variables_are_those_of_each_draw(graph):
    names = [one.name for one in graph.unobserved_RVs]
    size = sum(np.size(one) for one in graph.initial_point().values())
    drawn = positions(size, 2, 3)
    found = expanded(graph, names, drawn)
    variables = graph.replace_rvs_by_values([graph[name] for name in names])
    evaluate = graph.compile_fn(variables, inputs=graph.value_vars, mode=FAST, on_unused_input="ignore")
    expected = evaluate(point_of(graph, drawn[1, 2]))
    for name, one in zip(names, expected, strict=True):
        assert found[name].shape[:2] == (2, 3)
        np.testing.assert_allclose(found[name][1, 2], one, **EXACT)


def test_a_known_parameter_is_the_same_in_every_draw(theophylline_model, theophylline):
    """It depends on no coordinate, and so came without its draws: the fit was lost after sampling."""
    known = {**theophylline_model.parameters, "ka": Parameter(1.5)}
    parts = variability.Independent(["CL", "V"], sd=prior.HalfNormal(0.5))
    graph = build(replace(theophylline_model, parameters=known, variability=parts), theophylline)
    size = sum(one.size for one in graph.initial_point().values())
    positions = np.random.default_rng(4).normal(size=(2, 3, size))
    found = expanded(graph, ["ka", "CL"], positions)
    np.testing.assert_array_equal(found["ka"], np.full((2, 3, theophylline.n_subject), 1.5))
    assert found["CL"].shape == found["ka"].shape
    assert np.ptp(found["CL"][:, :, 0]) > 0


def test_coordinates_are_in_the_order_of_the_free_variables():
    with pm.Model() as graph:
        pm.Normal("one")
        pm.HalfNormal("two", shape=2)
    flat = np.array([1.0, 2.0, 3.0])
    x = pytensor.tensor.vector(shape=(3,))
    parts = pytensor.function([x], list(split_point(graph, x).values()), mode=FAST)(flat)
    assert float(parts[0]) == 1.0
    assert parts[1].tolist() == [2.0, 3.0]


TWICE = """
import numpy as np, pymc as pm, time, sys
from numba.core import event
from popbayes.infer.compiled_density import compiled_density
with pm.Model() as graph:
    pm.Normal("x", 0.0, 1.0, shape=3)
compiled = []
class Count(event.Listener):
    def on_start(self, one): compiled.append(one)
    def on_end(self, one): pass
with event.install_listener("numba:compile", Count()):
    density = compiled_density(graph)
print(len(compiled), density(np.ones(3))[0])
"""


def in_a_process(script, folder):
    """What a new process that keeps its compiled code in `folder` prints."""
    environment = {"PYTENSOR_FLAGS": f"base_compiledir={folder}", "PATH": "/usr/bin"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_another_process_compiles_nothing(tmp_path):
    (first, value), (second, again) = in_a_process(TWICE, tmp_path), in_a_process(TWICE, tmp_path)
    assert int(first) > 0
    assert int(second) == 0
    assert value == again


BITS = """
import numpy as np, popbayes as pb
from popbayes import pk, prior, residual, variability
from popbayes.infer.compiled_density import compiled_density
names = {"ka": 1.5, "CL": 2.8, "V": 32.0}
model = pb.PopModel(
    structural=pk.OneCompartment(absorption=pk.FirstOrder()),
    parameters={name: pb.Parameter(prior.LogNormal(at, 1.0)) for name, at in names.items()},
    variability=variability.Independent(list(names), sd=prior.HalfNormal(0.5)),
    residual=residual.Combined(add=prior.HalfNormal(1.0), prop=prior.HalfNormal(0.3)),
)
density = compiled_density(pb.build(model, pb.load_dataset("theophylline")))
for x in 0.1 * np.random.default_rng(0).normal(size=(30, density.size)):
    value, gradient = density(x)
    print(value.hex(), gradient.tobytes().hex())
"""


def test_the_process_that_compiles_and_one_that_loads_compute_the_same_bits(tmp_path):
    """A seed gives the same chains in both: a bit that differs grows into other draws."""
    compiled, loaded = in_a_process(BITS, tmp_path), in_a_process(BITS, tmp_path)
    assert len(compiled) == 60
    assert compiled == loaded
