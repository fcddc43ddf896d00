"""Stiff systems, the order of both methods, and gradients through them."""

import numpy as np
import pytest

from popbayes import ode
from popbayes.data.design import Design
from popbayes.data.regimen import Regimen
from popbayes.engine.solve import evaluate
from tests.engine.systems import by_scipy, written_out
from tests.engine.test_ode import all_scenarios, compare_with_exact, values_and_gradient

TIMES = np.array([0.0, 0.01, 0.1, 1, 5, 10, 24, 48, 72, 100, 150, 200, 300])
P = {"V": 3.0, "kel": 0.1, "kon": 1000.0, "koff": 10.0, "ksyn": 1.0, "kdeg": 0.2, "kint": 0.05}


def binding(**options):
    """Target-mediated disposition whose binding is 10,000 times faster than its elimination."""

    def rhs(t, s, p):
        bound = p.kon * s.central / p.V * s.R - p.koff * s.RC
        return {
            "central": -p.kel * s.central - bound * p.V,
            "R": p.ksyn - p.kdeg * s.R - bound,
            "RC": bound - p.kint * s.RC,
        }

    return ode.System(
        states=("central", "R", "RC"),
        parameters=tuple(P),
        rhs=rhs,
        outputs={"conc": lambda s, p: s.central / p.V},
        initial={"R": lambda p: p.ksyn / p.kdeg},
        **options,
    )


def rates(t, x):
    bound = P["kon"] * x[0] / P["V"] * x[1] - P["koff"] * x[2]
    return [
        -P["kel"] * x[0] - bound * P["V"],
        P["ksyn"] - P["kdeg"] * x[1] - bound,
        bound - P["kint"] * x[2],
    ]


@pytest.fixture(scope="module")
def expected():
    """The concentrations by SciPy's Radau method."""
    tight = {"method": "Radau", "rtol": 1e-11, "atol": 1e-15}
    return by_scipy(rates, [0.0, 5.0, 0.0], [(0, 0, 100.0)], TIMES, **tight)[:, 0] / P["V"]


@pytest.fixture(scope="module")
def design():
    """One bolus."""
    return Design.of(Regimen(times=TIMES).dose(100).to_events())


def test_auto_solves_stiff_binding_where_the_explicit_pair_runs_out_of_steps(design, expected):
    got = evaluate(binding(max_steps=3000), design, P)
    np.testing.assert_allclose(got, expected, rtol=1e-4)
    assert np.isnan(evaluate(binding(solver="explicit", max_steps=3000), design, P)[-1])


def test_the_stiff_method_converges_and_its_gradient_with_it(design, expected):
    theta = {name: np.array([value]) for name, value in P.items()}
    errors, gradients = [], []
    for rtol in (1e-5, 1e-7, 1e-9):
        got, gradient = values_and_gradient(binding(solver="stiff", rtol=rtol), design, theta, 1.0 / expected)
        errors.append(np.abs(got / expected - 1.0).max())
        gradients.append(np.array([gradient[name][0] for name in P]))
    assert errors[2] < 1e-7
    slope = np.polyfit([-5.0, -7.0, -9.0], np.log10(errors), 1)[0]
    assert 0.8 < slope < 1.3  # the error follows the tolerance
    np.testing.assert_allclose(gradients[1], gradients[2], rtol=1e-4)
    logs = np.array([P[name] for name in ("V", "kel", "ksyn")])
    for j, name in enumerate(("V", "kel", "ksyn")):
        h = 1e-3 * logs[j]
        model = binding(solver="stiff", rtol=1e-11, max_steps=100_000)
        up, down, far, back = (
            evaluate(model, design, P | {name: logs[j] + s * h}) for s in (1.0, -1.0, 2.0, -2.0)
        )
        slope = (8 * (up - down) - (far - back)) / (12 * h)
        got = gradients[2][list(P).index(name)]
        np.testing.assert_allclose(got, np.sum(slope / expected), rtol=1e-5)


@pytest.mark.slow
def test_the_stiff_method_equals_the_exact_engine_through_every_event():
    design, theta = all_scenarios()
    compare_with_exact(written_out(rtol=1e-10, solver="stiff", max_steps=1_000_000), design, theta)
