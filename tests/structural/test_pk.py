"""Closed forms of the compartmental models: their ODEs, their limits, their conservation laws."""

import numpy as np
import pytensor.tensor as pt
import pytest

from popbayes.data.regimen import Regimen, regimens
from popbayes.engine.declaration import Symbols
from popbayes.engine.solve import solve
from popbayes.structural import pk
from popbayes.structural.base import structural_from_dict
from tests.engine.oracle import brute_force, by_ode, number, numbers
from tests.tolerances import EXACT, SOLVER

TIMES = np.array([0.0, 0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 11.9, 12.0, 24.0, 48.0, 96.0])
ONE, TWO = pk.OneCompartment(pk.FirstOrder()), pk.TwoCompartment(pk.FirstOrder())
# sums of exponentials that cancel leave this much of a concentration of about 10 at time 0
ROUNDING = 1e-13
BASE = {"ka": 1.0, "CL": 2.0, "V": 10.0, "V1": 10.0, "Q": 3.0, "V2": 20.0, "Q2": 0.5, "V3": 60.0}
THREE = pk.ThreeCompartment(pk.FirstOrder())
MODELS = {
    "one": ONE,
    "two": TWO,
    "three": THREE,
    "one, iv": pk.OneCompartment(),
    "two, iv": pk.TwoCompartment(),
}


def parameters(model, **changed):
    return {n: {**BASE, **changed}[n] for n in model.parameters}


def conc(model, regimen, values):
    return solve(model, regimen, values)["conc"].to_numpy()


ROUTES = {
    "depot": Regimen(TIMES).dose(100, ii=3.1, addl=19),
    "central bolus": Regimen(TIMES).dose(100, cmt="central", ii=3.1, addl=19),
    "infusion": Regimen(TIMES).dose(100, cmt="central", rate=70, ii=3.1, addl=19),
    "peripheral": Regimen(TIMES).dose(100, cmt="peripheral"),
}
EXTREMES = {
    "as it is": {},
    "ka = k exactly": {"ka": 0.2, "Q": 1e-9},
    "ka within 1e-9 of k": {"ka": 0.2 * (1 + 1e-9), "Q": 1e-9},
    "ka within 1e-5 of k": {"ka": 0.2 * (1 + 1e-5), "Q": 1e-9},
    "ka 100 times k": {"ka": 20.0},
    "ka a hundredth of k": {"ka": 0.002},
    "fast elimination": {"CL": 200.0},
    "slow elimination": {"CL": 0.02},
    "k12 near 0": {"Q": 1e-8},
    "k21 near 0": {"V2": 1e9},
    "k12 large": {"Q": 300.0},
    "k10 = k21, k12 near 0": {"Q": 1e-7, "V2": 5e-7},
    "k10 = k21 = ka, k12 near 0": {"ka": 0.2, "Q": 1e-7, "V2": 5e-7},
    "both peripherals alike": {"Q2": 3.0, "V3": 20.0},
    "both peripherals nearly alike": {"Q2": 3.0, "V3": 20.0 * (1 + 1e-7)},
    "k13 near 0": {"Q2": 1e-8},
    "k12 and k13 near 0": {"Q": 1e-8, "Q2": 1e-8},
}


@pytest.mark.parametrize("extreme", EXTREMES)
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", ["one", "two", "three"])
def test_solutions_equal_a_tight_ode_solution(name, route, extreme):
    model = MODELS[name]
    if route == "peripheral" and name == "one":
        pytest.skip("one compartment has no peripheral one")
    values = parameters(model, **EXTREMES[extreme])
    expected = brute_force(model, ROUTES[route].to_events(), values, by_ode)
    np.testing.assert_allclose(conc(model, ROUTES[route], values), expected, **SOLVER)


@pytest.mark.parametrize("name", ["one", "two"])
def test_ka_that_meets_a_rate_is_approached_smoothly(name):
    """On the way through the crossing, where the route changes, nothing jumps."""
    model, regimen = MODELS[name], ROUTES["depot"]
    rates = np.linalg.eigvals(numbers(model, parameters(model), "conc").matrix[1:, 1:]).real
    cross = float(-np.min(rates))
    gaps = np.array([0.0, 1e-12, 1e-9, 1e-6, 5e-4, 9.999e-4, 1.001e-3, 2.5e-3, 4e-3, 1e-2])
    values = [conc(model, regimen, parameters(model, ka=cross * (1 + 2 * g))) for g in gaps]
    slope = (values[-1] - values[0]) / gaps[-1]
    for g, v in zip(gaps, values, strict=True):
        # a straight line over one per cent is good to its curvature, of the order of gap^2
        np.testing.assert_allclose(v, values[0] + slope * g, rtol=0, atol=2e-4 * np.abs(values[0]).max())
    np.testing.assert_allclose(values[5], values[6], rtol=1e-5, atol=ROUNDING)
    np.testing.assert_allclose(values[1], values[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_dose_is_linear_and_superposes(name):
    model, values = MODELS[name], parameters(MODELS[name])
    first, second = Regimen(TIMES).dose(100), Regimen(TIMES).dose(37, time=4.5)
    both = Regimen(TIMES).dose(100).dose(37, time=4.5)
    summed = conc(model, first, values) + conc(model, second, values)
    np.testing.assert_allclose(conc(model, both, values), summed, rtol=EXACT["rtol"], atol=ROUNDING)
    tripled = conc(model, Regimen(TIMES).dose(300), values)
    np.testing.assert_allclose(tripled, 3 * conc(model, first, values), rtol=EXACT["rtol"], atol=ROUNDING)


@pytest.mark.parametrize("name", MODELS)
def test_auc_is_dose_over_clearance(name):
    """AUC at steady state over one interval equals AUC of a single dose, F * dose / CL."""
    model, values = MODELS[name], parameters(MODELS[name])
    nodes, weights = np.polynomial.legendre.leggauss(60)
    half = 6.0
    grid = half * (nodes + 1)
    auc = half * weights @ conc(model, Regimen(grid).dose(100, ii=12.0, ss=1), values)
    np.testing.assert_allclose(auc, 100 / BASE["CL"], rtol=1e-9)


@pytest.mark.parametrize("name", ["one", "two"])
def test_nothing_has_arrived_at_the_time_of_an_oral_dose(name):
    """Exactly zero, not the rounding error of modes that cancel; also where `ka` meets a rate."""
    for ka in (0.7, 1.0, 0.2, 0.2 * (1 + 1e-7)):
        assert conc(MODELS[name], Regimen([0.0]).dose(100), parameters(MODELS[name], ka=ka))[0] == 0.0


def test_bioavailability_scales_a_depot_dose_only():
    model = pk.OneCompartment(pk.FirstOrder(F=True))
    values = {**parameters(ONE), "F": 0.4}
    oral = Regimen(TIMES).dose(100)
    np.testing.assert_allclose(conc(model, oral, values), 0.4 * conc(ONE, oral, parameters(ONE)), **EXACT)
    bolus = Regimen(TIMES).dose(100, cmt=2)
    np.testing.assert_allclose(conc(model, bolus, values), conc(ONE, bolus, parameters(ONE)), **EXACT)


@pytest.mark.parametrize("model", [TWO, THREE], ids=["two", "three"])
def test_nothing_overflows_or_turns_nan_over_twelve_orders_of_magnitude(model):
    rng = np.random.default_rng(3)
    study = regimens({i: Regimen([0.0, 1e-6, 1.0, 1e3, 1e6]).dose(1.0, ii=5.0, addl=3) for i in range(400)})
    import pandas as pd

    frame = pd.DataFrame({n: 10 ** rng.uniform(-6, 6, 400) for n in model.parameters}, index=study.subjects)
    values = solve(model, study, frame)["conc"].to_numpy()
    assert np.isfinite(values).all()
    # amounts are conserved: no concentration exceeds all doses in the central volume, to rounding
    bound = 4.0 / np.repeat(frame["V1"].to_numpy(), 5)
    assert (values > -1e-8 * bound).all()
    assert (values < bound * (1 + 1e-8)).all()


@pytest.mark.parametrize("name", MODELS)
def test_the_closed_form_solves_the_declared_rates(name):
    """Projectors of the modes add up to the identity, and rate-weighted to minus the matrix."""
    model = MODELS[name]
    p = Symbols({k: pt.constant(float(v), dtype="float64") for k, v in parameters(model).items()})
    form = model.closed_form(p)
    matrix = numbers(model, parameters(model), "conc").matrix
    rates = np.array([number(r) for r in form.rates])
    n = len(model.states)
    transfer = np.zeros((len(rates), n, n))
    for (to, source), coefficients in form.transfers.items():
        where = model.states.index(to), model.states.index(source)
        transfer[:, *where] = [number(c) for c in coefficients]
    np.testing.assert_allclose(transfer.sum(axis=0), np.eye(n), rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.tensordot(-rates, transfer, 1), matrix, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_amplitudes_are_the_modes_as_products(name):
    model = MODELS[name]
    p = Symbols({k: pt.constant(float(v), dtype="float64") for k, v in parameters(model).items()})
    form = model.closed_form(p)
    if form.amplitudes is None:
        pytest.skip("three compartments and integrals have no amplitudes")
    for to in model.states:
        for source in model.states:
            expected = [number(c) for c in form.transfers.get((to, source), [0.0] * len(form.rates))]
            parts = zip(form.amplitudes.amounts[to], form.amplitudes.inward[source], strict=True)
            found = [number(u) * number(w) for u, w in parts]
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13, err_msg=f"{to}, {source}")


@pytest.mark.parametrize(("cut_off", "kept"), [("Q", ("Q2", "V3")), ("Q2", ("Q", "V2"))])
def test_three_compartments_of_which_one_is_cut_off_are_two(cut_off, kept):
    given = {"CL": 3.0, "V1": 20.0, "Q": 2.0, "V2": 30.0, "Q2": 2.0, "V3": 30.0, cut_off: 0.0}
    regimen = Regimen([1.0, 5.0, 30.0]).dose(100)
    got = solve(pk.ThreeCompartment(), regimen, given)["conc"]
    two = {"CL": 3.0, "V1": 20.0, "Q": given[kept[0]], "V2": given[kept[1]]}
    np.testing.assert_allclose(got, solve(pk.TwoCompartment(), regimen, two)["conc"], rtol=1e-12)


@pytest.mark.parametrize(
    ("model", "values", "text"),
    [
        (pk.OneCompartment(also=("AUC",)), {"CL": 0.0, "V": 20.0}, r"AUC of subject 1 .*CL = 0, V = 20"),
        (pk.OneCompartment(), {"CL": 1.0, "V": 0.0}, r"conc of subject 1 .*V = 0.*volume of 0"),
        (
            pk.ThreeCompartment(),
            {"CL": 3.0, "V1": 20.0, "Q": 0.0, "V2": 30.0, "Q2": 0.0, "V3": 30.0},
            r"conc of subject 1 .*Q = 0.*LinearSystem",
        ),
    ],
)
def test_parameters_with_which_a_closed_form_has_no_value_are_refused(model, values, text):
    with pytest.raises(ValueError, match=text):
        solve(model, Regimen([1.0, 5.0]).dose(100), values)


def test_a_model_goes_through_json():
    model = pk.TwoCompartment(pk.FirstOrder(Tlag=True), pk.Intravenous(F=True))
    assert structural_from_dict(model.to_dict()) == model
    with pytest.raises(ValueError, match="no structural model 'ThreeCompartments'"):
        structural_from_dict({"type": "ThreeCompartments"})


def test_doses_that_a_model_cannot_take_are_refused_by_row_and_subject():
    with pytest.raises(ValueError, match=r"row 1 \(ID 1\).*CMT 4"):
        solve(ONE, Regimen([1.0]).dose(10, cmt=4), parameters(ONE))
    with pytest.raises(ValueError, match=r"row 1 \(ID 1\).*duration.*RATE = -2.*\(D=True\)"):
        solve(ONE, Regimen([1.0]).dose(10, cmt=2, rate=-2), parameters(ONE))
    with pytest.raises(ValueError, match=r"row 1 \(ID 1\).*rate.*RATE = -1.*\(R=True\)"):
        solve(ONE, Regimen([1.0]).dose(10, rate=-1), parameters(ONE))


def test_a_constant_infusion_of_estimated_rate_is_refused_at_steady_state():
    model = pk.OneCompartment(iv=pk.Intravenous(R=True))
    with pytest.raises(ValueError, match=r"row 1 \(ID 1\).*constant infusion.*RATE = -1"):
        solve(model, Regimen([1.0]).dose(0, rate=-1, ss=1), {"CL": 1.0, "V": 1.0, "R1": 2.0})


def test_solve_refuses_parameters_that_do_not_fit():
    with pytest.raises(ValueError, match=r"Missing: V\. Unknown: Vc"):
        solve(ONE, Regimen([1.0]).dose(10), {"ka": 1.0, "CL": 1.0, "Vc": 1.0})
    with pytest.raises(ValueError, match="Parameter V of subject 1 is nan"):
        solve(ONE, Regimen([1.0]).dose(10), {"ka": 1.0, "CL": 1.0, "V": np.nan})
    with pytest.raises(ValueError, match=r"Parameter CL of subject 1 is -2.8; .*not negative"):
        solve(ONE, Regimen([1.0]).dose(10), {"ka": 1.0, "CL": -2.8, "V": 1.0})
