"""Gradients where the states alone choose too long a step: at balance, and with errors of sensitivities."""

import dataclasses

import numpy as np
import pytest

from popbayes import ode, pd, pk
from popbayes.data.design import Design
from popbayes.data.regimen import Regimen, regimens
from popbayes.structural.base import structural_from_dict
from tests.engine.systems import michaelis_menten
from tests.engine.test_ode import values_and_gradient
from tests.structural.test_nonlinear_events import MODELLED, ORAL, STEADY

AT_BALANCE = 1e-9
"""Gradient of a state that does not move: no step errs there, only roundings add up."""
BOUNDED = 0.02
"""Gradient of a disturbance that is forgotten, on steps that did not look at it: damped, if not followed."""
TEN_STEPS = 10.0
"""Errors of the steps add up to about so many tolerances."""

BODY = {"CL": 3.0, "V": 30.0}
PLACEBO = {
    "effect compartment": (pd.EffectCompartment(pk.OneCompartment(), pd.Emax()),
                           {"ke0": 20.0, "E0": 7.0, "Emax": 3.0, "EC50": 1.0}),
    "turnover": (pd.Turnover(pk.OneCompartment(), "inhibit production", pd.Imax()),
                 {"R0": 10.0, "kout": 0.5, "Imax": 0.9, "IC50": 1.0}),
    "neutropenia": (pd.FribergKarlsson(pk.OneCompartment(), effect=pd.Linear()),
                    {"MTT": 100.0, "Circ0": 5.0, "gamma": 0.17, "slope": 0.1}),
}  # fmt: skip


@pytest.mark.parametrize("control", ["states", "sensitivities"])
@pytest.mark.parametrize("name", PLACEBO)
def test_the_gradient_of_a_response_that_stays_at_its_baseline(name, control):
    """Nobody is dosed: the response is its baseline, and so is the derivative by it, however long it lasts.

    Its error is 0 with any step. With steps beyond the limit of stability the adjoint grew by orders of
    magnitude at each, and the derivative was 0, or 1e56.
    """
    model, own = PLACEBO[name]
    model = dataclasses.replace(model, error_control=control)
    baseline = {"turnover": "R0", "neutropenia": "Circ0", "effect compartment": "E0"}[name]
    for spacing in (24.0, 168.0, 2000.0):
        design = Design.of(Regimen(spacing * np.arange(1, 11)).to_events())
        theta = {n: np.array([v]) for n, v in (BODY | own).items()}
        got, gradient = values_and_gradient(model, design, theta, np.eye(10)[-1], model.response)
        np.testing.assert_array_equal(got, (BODY | own)[baseline])
        for parameter in model.parameters:
            expected = float(parameter == baseline)
            np.testing.assert_allclose(gradient[parameter], expected, atol=AT_BALANCE, err_msg=parameter)


def relaxing(**options):
    """A state that goes back to ``kin / kout`` from `x0`."""
    return ode.System(
        states=("x",),
        parameters=("x0", "kin", "kout"),
        rhs=lambda t, s, p: {"x": p.kin - p.kout * s.x},
        outputs={"x": lambda s, p: s.x},
        initial={"x": lambda p: p.x0},
        **options,
    )


@pytest.mark.parametrize("solver", ["explicit", "stiff", "auto"])
def test_the_gradient_where_a_state_begins_at_balance_and_would_go_back_to_it(solver):
    r""":math:`x = x_0 e^{-kt} + (1 - e^{-kt}) k_{in} / k`, :math:`x_0 = k_{in} / k`."""
    times = np.array([0.0, 0.5, 2.0, 10.0, 60.0])
    design = Design.of(Regimen(times).to_events())
    values = {"x0": 2.0, "kin": 6.0, "kout": 3.0}
    theta = {n: np.array([v]) for n, v in values.items()}
    left = np.exp(-3.0 * times)
    exact = {"x0": left, "kin": (1 - left) / 3.0, "kout": -(1 - left) * 6.0 / 9.0}
    for control, tolerance in (("states", BOUNDED), ("sensitivities", TEN_STEPS * 1e-7)):
        model = relaxing(error_control=control, solver=solver)
        for j in range(len(times)):
            _, gradient = values_and_gradient(model, design, theta, np.eye(len(times))[j], "x")
            for name, expected in exact.items():
                np.testing.assert_allclose(
                    gradient[name], expected[j], atol=tolerance, rtol=0, err_msg=f"{control} {name} {j}"
                )


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["explicit", "stiff"])
def test_sensitivities_are_kept_to_the_tolerance_through_all_events(solver):
    """Lag, bioavailability, modelled rate and duration included; the states alone miss it by far."""
    body = pk.MichaelisMenten(
        pk.FirstOrder(Tlag=True, F=True), pk.Intravenous(Tlag=True, F=True, D=True, R=True), linear=True
    )
    values = {"ka": 1.1, "V": 17.0, "CL": 0.5, "Vmax": 9.0, "Km": 0.8, "Tlag": 0.7, "F": 0.6}
    values |= {"Tlag2": 0.3, "F2": 0.9, "D2": 3.0, "R2": 12.0}
    design = Design.of(regimens(ORAL | STEADY | MODELLED))
    theta = {n: np.full(design.n_segment, values[n]) for n in body.parameters}
    cotangent = np.random.default_rng(1).normal(size=design.n_obs)
    rtol = 1e-5

    def run(**options):
        return values_and_gradient(dataclasses.replace(body, **options), design, theta, cotangent)

    exact, by_exact = run(rtol=1e-12, solver="explicit")
    worst = {}
    for control in ("states", "sensitivities"):
        _, gradient = run(rtol=rtol, solver=solver, error_control=control)
        errors = []
        for name in body.parameters:
            # a subject's largest prediction, weighted, is what a derivative by a logarithm is measured by
            size = [
                np.abs((cotangent * exact)[design.obs_subject == i]).max() for i in range(design.n_subject)
            ]
            scale = np.abs(by_exact[name]) + np.array(size) / values[name]
            errors.append(np.max(np.abs(gradient[name] - by_exact[name]) / scale))
        worst[control] = max(errors)
    assert worst["sensitivities"] < TEN_STEPS * rtol
    assert worst["sensitivities"] < worst["states"]


def test_compartments_that_are_off_have_no_sensitivities():
    regimen = Regimen([1.0, 5.0, 9.0]).dose(400, ii=12, ss=1).off(3.0, "central").on(6.0, "central")
    design = Design.of(regimen.to_events())
    values = {"ka": 0.3, "V": 40.0, "Vmax": 80.0, "Km": 3.0}
    theta = {n: np.array([v]) for n, v in values.items()}
    cotangent = np.array([1.0, 2.0, 3.0])
    exact, by_exact = values_and_gradient(michaelis_menten(rtol=1e-11), design, theta, cotangent)
    model = michaelis_menten(rtol=1e-6, error_control="sensitivities")
    got, gradient = values_and_gradient(model, design, theta, cotangent)
    assert got[1] == 0.0
    np.testing.assert_allclose(got, exact, rtol=TEN_STEPS * 1e-6)
    for name in values:
        np.testing.assert_allclose(gradient[name], by_exact[name], rtol=TEN_STEPS * 1e-6, err_msg=name)


def test_what_is_controlled_is_part_of_the_model():
    model = relaxing(error_control="sensitivities")
    assert structural_from_dict(model.to_dict()) == model != relaxing()
    library = PLACEBO["turnover"][0]
    chosen = dataclasses.replace(library, error_control="sensitivities")
    assert structural_from_dict(chosen.to_dict()) == chosen != library
    with pytest.raises(
        ValueError, match=r"error_control must be one of 'states', 'sensitivities', not 'all'"
    ):
        relaxing(error_control="all")
