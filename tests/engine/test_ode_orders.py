"""Order of both methods, and formulas with time, covariates and switches: values and gradients."""

import numpy as np
import pandas as pd
import pytensor.tensor as pt
import pytest

from popbayes import ode
from popbayes.data.design import Design
from popbayes.data.events import read_events
from popbayes.data.regimen import Regimen
from popbayes.engine.solve import evaluate
from tests.engine.systems import by_scipy, michaelis_menten
from tests.engine.test_ode import MM, operation

T_STEP = 0.0


def steps_and_error(solver, rtol):
    """Steps of a bolus that is eliminated saturably, sampled once, and the error at the end."""
    model = michaelis_menten(solver=solver, rtol=rtol, max_steps=1_000_000)
    design = Design.of(
        Regimen([0.0, 48.0]).dose(300, cmt="central").to_events(subjects=50)
    )  # room on the tape
    op, arrays = operation(model, design, "conc")
    vectors = [np.full(design.n_segment, MM[name]) for name in model.parameters]
    pred, _, kept, _, log = op.run(*vectors, *arrays)
    first, last = log[0]
    assert first >= 0
    rows = kept.reshape(-1)[first:last].reshape(-1, kept.shape[1])
    return int((rows[:, 0] == T_STEP).sum()), pred[-1]


@pytest.mark.parametrize(
    ("solver", "order", "ladder"),
    [
        pytest.param("explicit", 5, (1e-7, 1e-8, 1e-9, 1e-10, 1e-11), id="explicit"),
        pytest.param("stiff", 4, (1e-4, 1e-5, 1e-6), id="stiff", marks=pytest.mark.slow),
    ],
)
def test_the_error_falls_with_the_order_of_the_method(solver, order, ladder):
    """Regression of log error on log mean step, steps being as many as a tolerance asks for."""

    def rates(t, x):
        c = x[0] / MM["V"]
        return [-MM["Vmax"] * c / (MM["Km"] + c)]

    tight = {"method": "DOP853", "rtol": 1e-13, "atol": 1e-15}
    exact = by_scipy(rates, [300.0], [], np.array([0.0, 48.0]), **tight)[-1, 0] / MM["V"]
    found = [steps_and_error(solver, rtol) for rtol in ladder]
    steps, errors = np.array([n for n, _ in found]), np.array([abs(p / exact - 1.0) for _, p in found])
    slope = np.polyfit(np.log(1.0 / steps), np.log(errors), 1)[0]
    assert order - 0.7 < slope < order + 1.2, (slope, steps, errors)


def jumping(s, p):
    """A loss that trebles where the state passes the threshold."""
    return pt.switch(pt.gt(s.A, p.top), 3.0 * p.k * s.A, p.k * s.A)


def bent(s, p):
    """A loss that grows faster above the threshold."""
    return pt.switch(pt.gt(s.A, p.top), p.k * s.A + 2.0 * p.k * (s.A - p.top), p.k * s.A)


def smooth(s, p):
    """A loss that grows around the threshold."""
    return p.k * s.A * (1.0 + 2.0 / (1.0 + pt.exp((p.top - s.A) / 5.0)))


def driven_by_everything(loss=jumping, **options):
    """A rate that depends on time, on a covariate that changes, and on which side of a threshold it is."""
    return ode.System(
        states=("A",),
        parameters=("kin", "k", "amplitude", "top"),
        rhs=lambda t, s, p: {"A": p.kin * (1.0 + p.amplitude * pt.cos(0.26 * t)) * p.WT / 70.0 - loss(s, p)},
        outputs={"A": lambda t, s, p: s.A + 0.0 * t},
        initial={"A": lambda p: p.kin / p.k * p.WT / 70.0},
        covariates=("WT",),
        solver="explicit",
        **options,
    )


BEND = 1e-4
"""Of gradients where a rate bends. The step across it errs by h**2, so it is as short as the root of rtol
(1e-5 here), and its derivative errs by h times the change of slope, once for each of a few passages."""
VALUES = {"kin": 5.0, "k": 0.2, "amplitude": 0.3, "top": 60.0}
TIMES = [0.0, 3.0, 6.0, 11.0, 25.0, 40.0]
WEIGHTS = [50.0, 50.0, 60.0, 60.0, 70.0, 70.0]


@pytest.fixture(scope="module")
def events():
    """Samples, a bolus of 80 at 6 h that passes the threshold, and a weight that grows."""
    seen = pd.DataFrame({"ID": 1, "TIME": TIMES, "DV": 1.0, "AMT": 0.0, "EVID": 0, "CMT": 1, "WT": WEIGHTS})
    dose = seen.iloc[[2]].assign(DV=np.nan, AMT=80.0, EVID=1)
    frame = pd.concat([seen.iloc[:3], dose, seen.iloc[3:]], ignore_index=True)
    return read_events(frame, covariates=["WT"])


def by_hand(values):
    """The same by SciPy, from threshold to threshold and from weight to weight."""
    weight = lambda t: 50.0 if t <= 3.0 else 60.0 if t <= 11.0 else 70.0  # noqa: E731

    def rates(t, x):
        source = values["kin"] * (1.0 + values["amplitude"] * np.cos(0.26 * t)) * weight(t) / 70.0
        return [source - values["k"] * x[0] * (3.0 if x[0] > values["top"] else 1.0)]

    tight = {"method": "RK45", "rtol": 1e-10, "atol": 1e-12, "max_step": 0.002}
    start = [values["kin"] / values["k"] * 50.0 / 70.0]
    # next observation carried backwards: the weight of a record holds from the record before it
    before = by_scipy(rates, start, [], np.array([0.0, 3.0, 6.0]), **tight)[:, 0]
    after = by_scipy(rates, [before[-1] + 80.0], [], np.array([6.0, 11.0, 25.0, 40.0]), **tight)[:, 0]
    return np.concatenate([before, after[1:]])


@pytest.mark.slow
def test_time_covariates_and_switches_equal_scipy_through_a_dose(events):
    got = evaluate(driven_by_everything(rtol=1e-9), Design.of(events, ["WT"]), VALUES)
    np.testing.assert_allclose(got, by_hand(VALUES), rtol=2e-6)  # SciPy's steps pass the threshold too


@pytest.mark.parametrize(("loss", "tolerance"), [(smooth, 1e-5), (bent, BEND)])
def test_gradients_through_time_covariates_and_switches_equal_differences(events, loss, tolerance):
    """Where the loss jumps at the threshold, gradients leave the jump out: see the docs on the limits."""
    design = Design.of(events, ["WT"])
    assert design.n_segment > 2
    model = driven_by_everything(loss, rtol=1e-10, max_steps=1_000_000)
    theta = {name: np.full(design.n_segment, value) for name, value in VALUES.items()}
    theta["WT"] = np.array(design.covariates["WT"], dtype=float)
    op, arrays = operation(model, design, "A")
    cotangent = np.array([0.3, -1.0, 0.5, 2.0, -0.7, 1.1])
    names = (*model.parameters, "WT")
    vectors = [theta[name] for name in names]
    out = op.run(*vectors, *arrays)
    got = dict(zip(names, op.adjoint.run(*vectors, *arrays, cotangent, *out[1:]), strict=True))
    for name, value in VALUES.items():
        h = 1e-4 * value

        def at(shift, name=name):
            return evaluate(model, design, VALUES | {name: VALUES[name] + shift})

        slope = cotangent @ (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
        assert abs(got[name].sum() - slope) < tolerance * (abs(slope) + np.abs(cotangent @ out[0]) / value), (
            name
        )
