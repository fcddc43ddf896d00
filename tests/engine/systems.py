"""Systems of differential equations for tests, and their solution by SciPy, one event after the other."""

from collections.abc import Callable

import numpy as np
from scipy.integrate import solve_ivp

from popbayes import ode
from popbayes.structural import pk

TIGHT = {"rtol": 1e-12, "atol": 1e-14}
EXACT = pk.TwoCompartment(pk.FirstOrder(Tlag=True, F=True), pk.Intravenous(Tlag=True, F=True, D=True, R=True))
INPUTS = {
    "depot": ode.Input(lag="Tlag", F="F"),
    "central": ode.Input(lag="Tlag2", F="F2", duration="D2", rate="R2"),
}


def two_compartments(t, state, p):
    """The rates of `EXACT`."""
    k10, k12, k21 = p.CL / p.V1, p.Q / p.V1, p.Q / p.V2
    return {
        "depot": -p.ka * state.depot,
        "central": p.ka * state.depot - (k10 + k12) * state.central + k21 * state.peripheral,
        "peripheral": k12 * state.central - k21 * state.peripheral,
    }


def written_out(**options):
    """`EXACT` as differential equations."""
    return ode.System(
        states=("depot", "central", "peripheral"),
        parameters=("ka", "CL", "V1", "Q", "V2"),
        rhs=two_compartments,
        outputs={"conc": lambda state, p: state.central / p.V1},
        inputs=INPUTS,
        **options,
    )


def driven(**options):
    """`EXACT` in closed form, with an effect compartment that is integrated."""
    return ode.System(
        states=("effect",),
        parameters=("ke0",),
        rhs=lambda t, state, p: {"effect": p.ke0 * (state.central / p.V1 - state.effect)},
        outputs={"effect": lambda state, p: state.effect},
        pk=EXACT,
        **options,
    )


def michaelis_menten(**options):
    """Saturable elimination after oral absorption."""

    def rhs(t, state, p):
        c = state.central / p.V
        return {"depot": -p.ka * state.depot, "central": p.ka * state.depot - p.Vmax * c / (p.Km + c)}

    return ode.System(
        states=("depot", "central"),
        parameters=("ka", "V", "Vmax", "Km"),
        rhs=rhs,
        outputs={"conc": lambda state, p: state.central / p.V},
        **options,
    )


def by_scipy(
    rates: Callable, start: np.ndarray, doses: list[tuple[float, int, float]], times: np.ndarray, **options
):
    """States at `times` (n_time, n_state): boluses `(time, state, amount)` given one by one."""
    options = {"method": "DOP853", **TIGHT, **options}
    x, t, out = np.array(start, dtype=float), float(times[0]), []
    waiting = sorted(doses)
    for stop in times:
        while waiting and waiting[0][0] <= stop:
            when, state, amount = waiting.pop(0)
            if when > t:
                x, t = solve_ivp(rates, (t, when), x, **options).y[:, -1], when
            x[state] += amount
        if stop > t:
            x, t = solve_ivp(rates, (t, stop), x, **options).y[:, -1], stop
        out.append(x.copy())
    return np.array(out)
