"""The Jacobian of the predictions against differences of the predictions and against the adjoint."""

import numpy as np
import pytest

from popbayes.data.design import Design
from popbayes.data.regimen import Regimen, regimens
from popbayes.engine.sensitivities import Solver, sensitivities
from tests.engine.oracle import numbers
from tests.engine.scenarios import LEVELS, PARAMETERS, SCENARIOS
from tests.engine.test_events import MODELS, values
from tests.engine.test_gradients import changing, richardson
from tests.tolerances import EXACT, GRADIENT


def check(model, design, theta, seed=0):
    """Random directions, each moving every parameter of every segment, against differences."""
    solver = Solver.of(model, design)
    rng = np.random.default_rng(seed)
    theta = {n: np.broadcast_to(theta[n], design.n_segment).astype(float) for n in model.parameters}
    # small, so that no event crosses a sample between the points of the difference
    moves = {n: 0.02 * rng.normal(size=(3, design.n_segment)) * theta[n] for n in model.parameters}
    pred, dpred = solver.sensitivities(theta, moves)
    np.testing.assert_array_equal(pred, solver.predict(theta))
    for d in range(3):
        # x runs over the line theta + (x - 1) * move
        slope = richardson(
            lambda x, d=d: solver.predict({n: theta[n] + (x - 1.0) * moves[n][d] for n in theta}), 1.0
        )
        # an observation's derivative is a sum of terms, of which each is exact
        each = sum(np.abs(solver.sensitivities(theta, {n: moves[n]})[1][d]) for n in theta)
        error = np.abs(dpred[d] - slope) / (
            GRADIENT["rtol"] * (each + 0.02 * np.abs(pred)) + GRADIENT["atol"]
        )
        assert error.max() < 1, f"direction {d}, observation {error.argmax()}"


CASES = [
    pytest.param(name, level, marks=[] if level == "everything" and "lag" not in name else [pytest.mark.slow])
    for name in MODELS
    for level in LEVELS
]


@pytest.mark.parametrize(("name", "level"), CASES)
def test_every_row_equals_differences_through_every_event(name, level):
    model = MODELS[name]
    design = Design.of(regimens({s: SCENARIOS[s] for s in LEVELS[level]}))
    rng = np.random.default_rng(1)
    theta = {n: v * np.exp(0.05 * rng.normal(size=design.n_subject)) for n, v in values(model).items()}
    check(model, design, theta)


@pytest.mark.parametrize("scenario", list(SCENARIOS))
@pytest.mark.parametrize("name", ["one compartment"])
def test_parameters_that_change_within_a_subject(name, scenario):
    model = MODELS[name]
    design = Design.of(changing(scenario), ["X"])
    rng = np.random.default_rng(2)
    theta = {n: PARAMETERS[n] * np.exp(0.1 * rng.normal(size=design.n_segment)) for n in model.parameters}
    check(model, design, theta)


@pytest.mark.parametrize("gap", [0.0, 9e-4])
def test_rows_hold_where_rates_cross(gap):
    model = MODELS["one compartment, no lag"]
    design = Design.of(SCENARIOS["additional oral doses"].to_events())
    rates = -np.linalg.eigvals(numbers(model, values(model), "conc").matrix[1:, 1:]).real
    check(model, design, {**values(model), "ka": float(rates.max()) * (1 + 2 * gap)})


def test_one_call_equals_a_prepared_one_and_subjects_can_be_left_out():
    model = MODELS["one compartment"]
    design = Design.of(regimens({"a": SCENARIOS["infusion"], "b": SCENARIOS["reset"]}))
    theta = {n: np.full(2, PARAMETERS[n]) for n in model.parameters}
    moves = {"CL": np.ones((1, 2)), "V": np.ones((1, 2))}
    pred, dpred = sensitivities(model, design, theta, moves)
    some, dsome = Solver.of(model, design).sensitivities(theta, moves, subjects=[1])
    own = design.obs_subject == 1
    np.testing.assert_allclose(some[own], pred[own], **EXACT)
    np.testing.assert_allclose(dsome[:, own], dpred[:, own], **EXACT)
    assert np.isnan(some[~own]).all()
    assert np.isnan(dsome[:, ~own]).all()


def test_threads_change_nothing():
    model = MODELS["one compartment, no lag"]
    design = Design.of(Regimen(times=np.arange(60.0)).dose(10, ii=8, addl=5).to_events(subjects=40))
    theta = {n: np.full(40, PARAMETERS[n]) * np.linspace(0.5, 2, 40) for n in model.parameters}
    moves = {"CL": np.ones((1, 40))}
    solver = Solver.of(model, design)
    pred, dpred = solver.sensitivities(theta, moves)
    for i in (0, 17, 39):
        one, done = solver.sensitivities(theta, moves, subjects=[i])
        own = design.obs_subject == i
        np.testing.assert_array_equal(one[own], pred[own])
        np.testing.assert_array_equal(done[:, own], dpred[:, own])


def test_an_unknown_parameter_is_refused():
    design = Design.of(Regimen(times=[1.0]).dose(10).to_events())
    solver = Solver.of(MODELS["one compartment, no lag"], design)
    with pytest.raises(ValueError, match="no parameter 'Vd' to move"):
        solver.sensitivities(values(MODELS["one compartment, no lag"]), {"Vd": np.ones((1, 1))})
