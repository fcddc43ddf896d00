"""Exact derivatives by every parameter, through every event."""

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from popbayes.data.design import Design
from popbayes.data.regimen import Regimen, regimens
from popbayes.engine.op import Predict, predict, route
from popbayes.engine.solve import evaluate
from popbayes.structural import pk
from tests.engine.oracle import numbers
from tests.engine.scenarios import LEVELS, PARAMETERS, SCENARIOS
from tests.engine.test_events import MODELS, values
from tests.tolerances import GRADIENT

STEP = 1e-3
SYSTEM = pk.LinearSystem(
    ("gut", "body", "store"),
    rates={("gut", "body"): "ka", ("body", None): "CL / V", ("body", "store"): "kin"},
    outputs={"conc": "body / V"},
)


def operation(model, design, output=None):
    way = route(model, design, output)
    op = Predict(model, way.outputs, way.channels, way.schedule.features)
    return op, (np.array(way.schedule.n_obs), *way.schedule.arrays)


def richardson(f, x, scale=None):
    """Derivative by central differences, extrapolated twice: the error is of order STEP ** 6."""
    scale = x if scale is None else scale

    def central(h):
        return (f(x * (1 + h)) - f(x * (1 - h))) / (2 * h * scale)

    d1, d2, d4 = central(STEP), central(STEP / 2), central(STEP / 4)
    first, second = (4 * d2 - d1) / 3, (4 * d4 - d2) / 3
    return (16 * second - first) / 15


def compare(model, design, theta, seed=0, output=None, rounding=0.0):
    """Pulled-back random cotangents against differences of the predictions, for every segment row.

    `rounding` is the relative error of a prediction, which differences divide by their step.
    """
    op, arrays = operation(model, design, output)
    vectors = [np.array(theta[n], dtype=float) for n in model.parameters]
    out = op.run(*vectors, *arrays)
    cotangent = np.random.default_rng(seed).normal(size=design.n_obs)
    pulled = op.adjoint.run(*vectors, *arrays, cotangent, *out[1:])
    groups = [design.obs_subject == i for i in range(design.n_subject)]
    rows = [design.segment_subject == i for i in range(design.n_subject)]
    for j, name in enumerate(model.parameters):

        def predictions(value, j=j):
            moved = [v.copy() for v in vectors]
            moved[j] = value
            return op.run(*moved, *arrays)[0]

        slope = richardson(predictions, vectors[j], vectors[j][design.obs_segment])
        expected = np.array([np.sum(cotangent[g] * slope[g]) for g in groups])
        got = np.array([np.sum(pulled[j][r]) for r in rows])
        scale = np.array([np.sum(np.abs(cotangent[g] * slope[g])) for g in groups])
        sizes = np.abs(cotangent * out[0]) / np.abs(vectors[j][design.obs_segment])
        noise = np.array([np.sum(sizes[g]) for g in groups]) * rounding / (STEP / 4)
        error = np.abs(got - expected) / (GRADIENT["rtol"] * scale + GRADIENT["atol"] + noise)
        assert error.max() < 1, (
            f"{name}: subject {int(error.argmax())}, {got[error.argmax()]}, {expected[error.argmax()]}"
        )


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", MODELS)
def test_gradients_equal_differences_through_every_event(name, level):
    model = MODELS[name]
    design = Design.of(regimens({s: SCENARIOS[s] for s in LEVELS[level]}))
    rng = np.random.default_rng(1)
    # each subject its own values, so that a mix-up of subjects shows
    theta = {n: v * np.exp(0.05 * rng.normal(size=design.n_subject)) for n, v in values(model).items()}
    compare(model, design, theta)


def check_segment(op, arrays, vectors, cotangent, pulled, j, k):
    """The pulled-back derivative by parameter `j` of segment `k` alone against differences."""

    def target(value):
        moved = [v.copy() for v in vectors]
        moved[j][k] = value
        return op.run(*moved, *arrays)[0] @ cotangent

    expected = richardson(target, vectors[j][k])
    scale = GRADIENT["rtol"] * (1.0 + abs(expected)) + GRADIENT["atol"]
    assert abs(pulled[j][k] - expected) < scale, (j, k, pulled[j][k], expected)


def changing(scenario):
    """A scenario in which a covariate changes at every other record."""
    from popbayes.data.events import read_events

    table = SCENARIOS[scenario].to_events().to_frame()
    table["X"] = np.arange(len(table)) // 2 * 1.0
    return read_events(table, covariates=["X"])


@pytest.mark.parametrize(
    "scenario", ["oral and intravenous", "infusions that overlap", "steady state on top", "reset"]
)
@pytest.mark.parametrize("name", ["one compartment", "two compartments"])
def test_gradients_of_each_segment_equal_differences(name, scenario):
    """One segment at a time: the derivative by its parameters alone."""
    model = MODELS[name]
    design = Design.of(changing(scenario), ["X"])
    assert design.n_segment > 3
    op, arrays = operation(model, design)
    rng = np.random.default_rng(2)
    vectors = [PARAMETERS[n] * np.exp(0.1 * rng.normal(size=design.n_segment)) for n in model.parameters]
    out = op.run(*vectors, *arrays)
    cotangent = rng.normal(size=design.n_obs)
    pulled = op.adjoint.run(*vectors, *arrays, cotangent, *out[1:])
    for j in range(len(vectors)):
        for k in range(design.n_segment):
            check_segment(op, arrays, vectors, cotangent, pulled, j, k)


def test_the_gradient_by_the_lag_is_one_sided_where_dose_and_sample_coincide():
    """The sample at the lagged dose sees it; its derivative is that of a dose a moment earlier."""
    model = pk.OneCompartment(iv=pk.Intravenous(Tlag=True))
    design = Design.of(Regimen(times=[2.5]).dose(10, time=2.0).to_events())
    op, arrays = operation(model, design)
    k, volume = 0.3, 4.0
    vectors = [np.array([k * volume]), np.array([volume]), np.array([0.5])]
    out = op.run(*vectors, *arrays)
    by_lag = op.adjoint.run(*vectors, *arrays, np.ones(1), *out[1:])[2]
    np.testing.assert_allclose(out[0], 10 / volume, rtol=1e-12)
    np.testing.assert_allclose(by_lag, k * 10 / volume, rtol=1e-12)


def test_the_graph_differentiates_through_the_numba_linker_and_through_perform():
    model = pk.TwoCompartment(pk.FirstOrder())
    design = Design.of(SCENARIOS["additional oral doses"].to_events())
    theta = {n: pt.dvector(n) for n in model.parameters}
    pred = predict(model, design, theta)
    outputs = [pred, *pt.grad((pred**2).sum(), list(theta.values()))]
    point = [np.array([PARAMETERS[n]]) for n in model.parameters]
    compiled = pytensor.function(list(theta.values()), outputs, mode="NUMBA")(*point)
    performed = pytensor.function(list(theta.values()), outputs, mode="FAST_COMPILE")(*point)
    for a, b in zip(compiled, performed, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("gap", [0.0, 1e-9, 9e-4, 1.1e-3])
@pytest.mark.parametrize("name", ["one compartment, no lag", "two compartments, no lag"])
def test_gradients_hold_where_rates_cross(name, gap):
    model = MODELS[name]
    design = Design.of(SCENARIOS["additional oral doses"].to_events())
    rates = -np.linalg.eigvals(numbers(model, values(model), "conc").matrix[1:, 1:]).real
    ka = float(rates.max()) * (1 + 2 * gap)
    theta = {**values(model), "ka": ka}
    compare(model, design, {n: np.array([theta[n]]) for n in model.parameters})


@pytest.mark.parametrize("model", [*MODELS.values(), SYSTEM, pk.OneCompartment(pk.Savic(), also=("AUC",))])
def test_without_a_dose_nothing_is_there(model):
    """Neither is a gradient; a study without doses is a placebo arm, or one whose doses were not read."""
    design = Design.of(Regimen(times=[0.0, 1.0, 30.0]).to_events())
    assert evaluate(model, design, dict.fromkeys(model.parameters, 1.5)).tolist() == [0.0, 0.0, 0.0]
    op, arrays = operation(model, design)
    vectors = [np.full(1, 1.5) for _ in model.parameters]
    out = op.run(*vectors, *arrays)
    for slope in op.adjoint.run(*vectors, *arrays, np.ones(3), *out[1:]):
        assert slope.tolist() == [0.0]
