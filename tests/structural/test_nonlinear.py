"""Every nonlinear model of the library against SciPy, with the equations written a second time, by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest

from popbayes.data.design import Design
from popbayes.data.regimen import Regimen
from popbayes.engine.solve import evaluate, solve
from popbayes.structural import pd, pk
from popbayes.structural.base import structural_from_dict
from tests.engine.systems import by_scipy

TIMES = np.array([0.0, 0.5, 2.0, 6.0, 12.0, 13.0, 20.0, 36.0, 72.0, 120.0])
ONE = pk.OneCompartment(pk.FirstOrder())
PK = {"ka": 1.1, "CL": 2.2, "V": 17.0}
DOSES = [(0.0, 0, 100.0), (12.0, 0, 100.0)]


def oral(x):
    """Rates of the depot and of central, and the concentration."""
    return [-1.1 * x[0], 1.1 * x[0] - 2.2 / 17.0 * x[1]], x[1] / 17.0


def emax(c, e=5.0, half=1.5):
    return e * c / (half + c)


def driven(more, start):
    """A model behind `ONE`: ``more(t, c, y)`` -> rates, from `start`."""

    def rates(t, x):
        first, c = oral(x)
        return [*first, *more(t, c, x[2:])]

    return rates, [0.0, 0.0, *start]


E = {"Emax": 5.0, "EC50": 1.5}
FK = {"MTT": 90.0, "Circ0": 5.0, "gamma": 0.17, "slope": 0.3}
TUMOUR = {"lambda0": 0.1, "lambda1": 0.4, "k1": 0.05, "k2": 0.02, "w0": 1.0}


def neutropenia(t, c, y):
    ktr = 4.0 / 90.0
    first = ktr * y[0] * ((1.0 - 0.3 * c) * (5.0 / y[4]) ** 0.17 - 1.0)
    return [first, *(ktr * (y[i] - y[i + 1]) for i in range(4))]


def simeoni(t, c, y):
    growth = 0.1 * y[0] / (1.0 + (0.1 * sum(y) / 0.4) ** 20) ** 0.05
    killed = 0.02 * c * y[0]
    return [growth - killed, killed - 0.05 * y[1], 0.05 * (y[1] - y[2]), 0.05 * (y[2] - y[3])]


def turnover(action):
    sign = -1.0 if action.startswith("inhibit") else 1.0

    def more(t, c, y):
        f = 1.0 + sign * emax(c, 0.9, 1.5)
        production, loss = (f, 1.0) if action.endswith("production") else (1.0, f)
        return [0.2 * 10.0 * production - 0.2 * loss * y[0]]

    return more


#: Name -> model, parameters beside `PK`, rates and start, output, and its value from the state.
RESPONSES = {
    "effect compartment": (
        pd.EffectCompartment(ONE), {"ke0": 0.3, "E0": 2.0, **E},
        driven(lambda t, c, y: [0.3 * (c - y[0])], [0.0]), lambda x: 2.0 + emax(x[2]),
    ),
    **{
        action: (
            pd.Turnover(ONE, action, pd.Imax()), {"R0": 10.0, "kout": 0.2, "Imax": 0.9, "IC50": 1.5},
            driven(turnover(action), [10.0]), lambda x: x[2],
        )
        for action in ("inhibit production", "inhibit loss", "stimulate production", "stimulate loss")
    },
    "precursor": (
        pd.Precursor(ONE), {"R0": 10.0, "kout": 0.2, "kp": 0.1, **E},
        driven(
            lambda t, c, y: [2.0 - 0.1 * (1 + emax(c)) * y[0], 0.1 * (1 + emax(c)) * y[0] - 0.2 * y[1]],
            [20.0, 10.0],
        ), lambda x: x[3],
    ),
    "tolerance": (
        pd.Tolerance(ONE), {"E0": 2.0, "ktol": 0.1, "M50": 0.7, **E},
        driven(lambda t, c, y: [0.1 * (c - y[0])], [0.0]),
        lambda x: 2.0 + emax(x[1] / 17.0) / (1.0 + x[2] / 0.7),
    ),
    "neutropenia": (pd.FribergKarlsson(ONE), FK, driven(neutropenia, [5.0] * 5), lambda x: x[6]),
    "tumour, Simeoni": (
        pd.SimeoniTumour(ONE), TUMOUR, driven(simeoni, [1.0, 0.0, 0.0, 0.0]), lambda x: sum(x[2:]),
    ),
    "tumour, Claret": (
        pd.ClaretTumour(ONE), {"kL": 0.01, "kD": 0.02, "lambda_": 0.03, "y0": 60.0},
        driven(lambda t, c, y: [(0.01 - 0.02 * c * np.exp(-0.03 * t)) * y[0]], [60.0]), lambda x: x[2],
    ),
}  # fmt: skip


def studied(model, parameters, output):
    """Predictions after two oral doses."""
    design = Design.of(Regimen(times=TIMES).dose(100, ii=12, addl=1).to_events())
    return evaluate(model, design, parameters, output)


@pytest.mark.slow
@pytest.mark.parametrize("name", RESPONSES)
def test_responses_equal_scipy_on_equations_written_by_hand(name):
    model, own, (rates, start), seen = RESPONSES[name]
    got = studied(model, PK | own, model.outputs[-1])
    expected = [seen(x) for x in by_scipy(rates, start, DOSES, TIMES)]
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("effect", "own", "formula"),
    [
        (pd.SigmoidEmax(), {**E, "hill": 2.3}, lambda c: 5.0 * c**2.3 / (1.5**2.3 + c**2.3)),
        (pd.LogLinear(), {"slope": 2.0, "C0": 0.1}, lambda c: 2.0 * np.log(1 + c / 0.1)),
    ],
)
def test_direct_effects_are_their_formula_of_the_concentration(effect, own, formula):
    model = pd.Direct(ONE, effect)
    data = Regimen(times=TIMES).dose(100)
    out = solve(model, data, PK | own | {"E0": 3.0})
    np.testing.assert_allclose(out["effect"], 3.0 + formula(out["conc"].to_numpy()), rtol=1e-12)


BODY = {"V1": 3.0, "Q": 0.4, "V2": 2.5}
TARGET = {"CL": 0.3, "R0": 2.0, "kdeg": 0.2, "kint": 0.05}


def free(total, target, k):
    d = total - target - k
    return 0.5 * (d + np.sqrt(d * d + 4 * k * total))


def disposition(approximation):
    """Hand-written rates of two-compartment models with a target: central, peripheral, target, complex."""

    def rates(t, x):
        total = x[0] / 3.0
        if approximation == "full":
            c, target, bound = total, x[2], x[3]
            binding = 5.0 * c * target - 0.5 * bound
            elimination = 0.3 * c + 3.0 * binding
            more = [0.2 * (2.0 - target) - binding, binding - 0.05 * bound]
        elif approximation == "MM":
            c = total
            elimination, more = 0.3 * c + 1.2 * c / (0.7 + c), []
        else:
            target = 2.0 if approximation == "constant target" else x[2]
            c = free(total, target, 0.11)
            bound = target * c / (0.11 + c)
            elimination = 0.3 * c + 3.0 * 0.05 * bound
            more = [] if len(x) == 2 else [0.2 * (2.0 - target) - (0.05 - 0.2) * bound]
        flow = 0.4 * (c - x[1] / 2.5)
        return [-elimination - flow, flow, *more]

    return rates


#: Name of the approximation, its parameters beside `BODY`, and where the states of `disposition` start.
APPROXIMATIONS = [
    ("full", {**TARGET, "kon": 5.0, "koff": 0.5}, [0, 0, 2.0, 0]),
    ("QE", {**TARGET, "Kd": 0.11}, [0, 0, 2.0]),
    ("QSS", {**TARGET, "Kss": 0.11}, [0, 0, 2.0]),
    ("constant target", {"CL": 0.3, "R0": 2.0, "Kss": 0.11, "kint": 0.05}, [0, 0]),
    ("MM", {"CL": 0.3, "Vmax": 1.2, "Km": 0.7}, [0, 0]),
]


def concentration(approximation, x):
    """What is seen of one state of `disposition`."""
    total = x[0] / 3.0
    if approximation in ("full", "MM"):
        return total
    return free(total, 2.0 if approximation == "constant target" else x[2], 0.11)


@pytest.mark.slow
@pytest.mark.parametrize(("approximation", "own", "start"), APPROXIMATIONS)
def test_target_mediated_disposition_equals_scipy(approximation, own, start):
    model = pk.TargetMediated(peripheral=True, approximation=approximation)
    got = studied(model, BODY | own, "conc")
    x = by_scipy(disposition(approximation), start, DOSES, TIMES, method="Radau", rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(got, concentration(approximation, x.T), rtol=2e-6)


@pytest.mark.slow
def test_a_metabolite_forms_as_its_parent_is_lost():
    values = {"ka": 1.1, "V": 17.0, "CL": 0.5, "Vmax": 3.0, "Km": 0.8, "CLm": 1.0, "Vm": 5.0}

    def rates(t, x):
        c = x[1] / 17.0
        formed = 3.0 * c / (0.8 + c)
        return [-1.1 * x[0], 1.1 * x[0] - 0.5 * c - formed, formed - 0.2 * x[2]]

    x = by_scipy(rates, np.zeros(3), DOSES, TIMES)
    got = studied(pk.ParentMetabolite(pk.FirstOrder()), values, "metabolite")
    np.testing.assert_allclose(got, x[:, 2] / 5.0, rtol=1e-6, atol=1e-12)


LIBRARY = [
    *(model for model, *_ in RESPONSES.values()),
    pd.Direct(ONE, pd.Linear()),
    pk.MichaelisMenten(pk.FirstOrder(Tlag=True), linear=True, peripheral=True),
    pk.ParentMetabolite(),
    *(pk.TargetMediated(approximation=a) for a in ("full", "QE", "QSS", "constant target", "MM")),
]


@pytest.mark.parametrize("model", LIBRARY, ids=lambda m: type(m).__name__)
def test_library_models_survive_in_json_and_print_their_equations(model):
    assert structural_from_dict(json.loads(json.dumps(model.to_dict()))) == model
    assert any(line.startswith(model.outputs[-1]) for line in model.equations())
    assert len(set(model.parameters)) == len(model.parameters)
    assert replace(model, rtol=1e-9) != model


def test_unknown_actions_and_approximations_are_refused():
    with pytest.raises(ValueError, match="action must be one of"):
        pd.Turnover(ONE, "inhibit everything")
    with pytest.raises(ValueError, match="approximation must be one of"):
        pk.TargetMediated(approximation="exact")
