"""An independent solution of dosing records: brute force, one event after the other.

Additional doses are written out, a steady state is 500 doses or more given one by one, and between any two
events the differential equations are solved anew, by SciPy's integrator or its matrix exponential.
Only the declaration (rates, ways in, weights) is shared with the engine.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.compile.mode import Mode
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from popbayes.engine.declaration import Symbols

STEADY_DOSES = 500
STEADY_HALF_LIVES = 50.0  # and as many more as it takes to forget the first dose
TIE = 1e-9
AS_WRITTEN = Mode(linker="py", optimizer=None)
ODE = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-13}

Propagator = Callable[[np.ndarray, np.ndarray, np.ndarray, float], np.ndarray]


def by_ode(matrix: np.ndarray, rate: np.ndarray, x: np.ndarray, dt: float) -> np.ndarray:
    """Integrate ``x' = matrix x + rate``."""
    if dt <= 0:
        return x
    return solve_ivp(lambda _, y: matrix @ y + rate, (0.0, dt), x, **ODE).y[:, -1]


def by_expm(matrix: np.ndarray, rate: np.ndarray, x: np.ndarray, dt: float) -> np.ndarray:
    """The same by one exponential of the augmented matrix."""
    return propagator(matrix.tobytes(), rate.tobytes(), dt) @ np.append(x, 1.0)


@cache
def propagator(matrix: bytes, rate: bytes, dt: float) -> np.ndarray:
    """Exponential of the augmented matrix, kept: steady states ask for the same one many times."""
    b = np.frombuffer(rate)
    n = len(b)
    augmented = np.zeros((n + 1, n + 1))
    augmented[:n, :n] = np.frombuffer(matrix).reshape(n, n) * dt
    augmented[:n, n] = b * dt
    return expm(augmented)[:n]


def number(expression: Any) -> float:
    """Value of a constant expression."""
    return float(pt.as_tensor_variable(expression).eval(mode=AS_WRITTEN))


@dataclass
class Numbers:
    """The declaration's numbers at one parameter set."""

    matrix: np.ndarray
    weights: np.ndarray
    channels: Mapping[str, Mapping[str, float]]
    sums: tuple[int, ...]


def numbers(structural: Any, parameters: Mapping[str, float], output: str) -> Numbers:
    """Evaluate a declaration."""
    p = Symbols({k: pt.constant(float(v), dtype="float64") for k, v in parameters.items()})
    index = {s: i for i, s in enumerate(structural.states)}
    chains = {
        name: round(number(channel.stages(p)))
        for name, channel in structural.channels.items()
        if channel.stages is not None
    }
    size = len(index) + sum(chains.values())
    matrix = np.zeros((size, size))
    for (source, to), rate in structural.rates(p).items():
        value = number(rate)
        matrix[index[source], index[source]] -= value
        if to is not None:
            matrix[index[to], index[source]] += value
    sums, emptied = structural.integrals(p), {source for source, _ in structural.rates(p)}
    for to, parts in sums.items():
        for source, factor in parts.items():
            matrix[index[to], index[source]] += number(factor)
    weights = np.zeros(size)
    for state, w in structural.weights(p)[output].items():
        weights[index[state]] = number(w)
    channels = {}
    for name, channel in structural.channels.items():
        values = {"state": index[channel.state], "F": 1.0, "lag": 0.0, "rate": np.nan, "duration": np.nan}
        for key, formula in (
            ("F", channel.bioavailability),
            ("lag", channel.lag),
            ("rate", channel.rate),
            ("duration", channel.duration),
        ):
            if formula is not None:
                values[key] = number(formula(p))
        values["zero_order"] = channel.zero_order
        if name in chains:
            values["state"] = add_chain(matrix, size, chains[name], number(channel.stage_rate(p)), values)
            size -= chains[name]
        channels[name] = values
    return Numbers(matrix, weights, channels, tuple(index[s] for s in structural.states if s not in emptied))


def add_chain(matrix: np.ndarray, end: int, stages: int, rate: float, values: Mapping[str, float]) -> int:
    """Equal compartments, one after the other, before the compartment of a way in; gives the first."""
    first = end - stages
    for i in range(first, end):
        to = i + 1 if i + 1 < end else values["state"]
        matrix[i, i] -= rate
        matrix[to, i] += rate
    return first


@dataclass
class Given:
    """A dose that is under way: a bolus (`end == start`) or an infusion."""

    start: float
    end: float
    amount: float
    state: int


class Walker:
    """State of one subject: doses that wait for their start (soonest last) and infusions that run."""

    def __init__(self, n_state: int, propagate: Propagator):
        self.x = np.zeros(n_state)
        self.t = 0.0
        self.waiting: list[Given] = []
        self.running: list[Given] = []
        self.off: set[int] = set()
        self.propagate = propagate

    def to(self, t: float, matrix: np.ndarray) -> None:
        """Advance to `t`, stopping at every start and end on the way."""
        while True:
            stop = min([t, *(g.end for g in self.running)])
            if self.waiting:
                stop = min(stop, self.waiting[-1].start)
            rate = np.zeros(len(self.x))
            for g in self.running:
                rate[g.state] += g.amount / (g.end - g.start)
            self.x = self.propagate(matrix, rate, self.x, max(stop - self.t, 0.0))
            self.t = max(stop, self.t)
            self.running = [g for g in self.running if g.end > self.t + TIE]
            self.begin()
            if stop >= t:
                return

    def begin(self) -> None:
        """Start what is due now."""
        while self.waiting and self.waiting[-1].start <= self.t + TIE:
            g = self.waiting.pop()
            if g.end == g.start:
                self.x[g.state] += g.amount
            elif g.end > self.t + TIE:
                self.running.append(g)

    def add(self, doses: list[Given]) -> None:
        """Take up doses; what is due now begins now."""
        self.waiting = sorted([*self.waiting, *doses], key=lambda g: -g.start)
        self.begin()

    def empty(self) -> None:
        """Empty what is off."""
        self.x[list(self.off)] = 0.0

    def clear(self) -> None:
        """Empty the system and cancel what is to come."""
        self.off.clear()
        self.x = np.zeros_like(self.x)
        self.waiting, self.running = [], []


def shape(way: Mapping[str, float], amt: float, rate: float) -> tuple[float, float]:
    """Amount that arrives, and over what time."""
    amount = amt * way["F"]
    if rate > 0:
        return amount, amount / rate
    if rate == -1:
        return amount, amount / way["rate"]
    if rate == -2 or way["zero_order"]:
        return amount, way["duration"]
    return amount, 0.0


def steady_state(
    n: Numbers, way: Mapping[str, float], amount: float, width: float, ii: float, propagate: Propagator
) -> tuple[np.ndarray, list[Given]]:
    """State and doses under way at a record whose dose comes `lag` later, after many doses, II apart."""
    walker = Walker(len(n.weights), propagate)
    body = np.delete(np.delete(n.matrix, n.sums, 0), n.sums, 1)
    slowest = float(np.min(np.abs(np.linalg.eigvals(body).real)))
    doses = max(STEADY_DOSES, int(STEADY_HALF_LIVES * np.log(2.0) / (slowest * ii)))
    starts = [way["lag"] - j * ii for j in range(doses, 0, -1)]
    walker.t = starts[0] - 1.0
    walker.add([Given(start, start + width, amount, way["state"]) for start in starts])
    walker.to(0.0, n.matrix)
    walker.x[list(n.sums)] = 0.0  # what only adds up begins at the record
    return walker.x, [*walker.waiting, *walker.running]


def brute_force(
    structural: Any,
    data: Any,
    parameters: Callable[[int], Mapping[str, float]] | Mapping[str, float],
    propagate: Propagator = by_expm,
    output: str | None = None,
) -> np.ndarray:
    """Prediction of every observation.

    `parameters` are numbers, or a function of the record's number: those of a record hold over the
    interval that ends at it.
    """
    at = parameters if callable(parameters) else lambda _: parameters
    output = output or structural.outputs[0]
    known: dict[tuple[Any, ...], Numbers] = {}
    pred = []
    for i in range(data.n_subject):
        records = np.flatnonzero(data.record_subject == i)
        size = len(numbers(structural, at(int(records[0])), output).weights)
        walker = Walker(size, propagate)
        walker.t = data.time[records[0]]
        for k in records:
            values = at(int(k))
            key = tuple(sorted(values.items()))
            if key not in known:
                known[key] = numbers(structural, values, output)
            n = known[key]
            if data.evid[k] not in (3, 4):
                walker.to(data.time[k], n.matrix)
            walker.t = data.time[k]
            if data.evid[k] in (3, 4) or (data.is_dose[k] and data.ss[k] == 1):
                walker.clear()
            walker.empty()
            switch_on(structural, data, k, walker)
            if data.is_dose[k]:
                dose(structural, data, k, n, walker, propagate)
            if data.is_obs[k]:
                pred.append(float(n.weights @ walker.x))
            switch_off(structural, data, k, walker)
    return np.array(pred)


def place(structural: Any, label: str) -> int:
    """Number of a compartment by its CMT; -1 for a place that holds nothing."""
    state = structural.compartments[label.removeprefix("-")]
    return structural.states.index(state) if state in structural.states else -1


def switch_on(structural: Any, data: Any, k: int, walker: Walker) -> None:
    """A dose, or an EVID 2 with its CMT, turns a compartment on."""
    label = str(data.cmt[k])
    if data.is_dose[k] or (data.evid[k] == 2 and label and not label.startswith("-")):
        walker.off.discard(place(structural, label))


def switch_off(structural: Any, data: Any, k: int, walker: Walker) -> None:
    """A negative CMT turns a compartment off: it holds nothing and its doses end."""
    label = str(data.cmt[k])
    if label.startswith("-"):
        at = place(structural, label)
        walker.off.add(at)
        walker.waiting = [g for g in walker.waiting if g.state != at]
        walker.running = [g for g in walker.running if g.state != at]
    walker.empty()


def dose(structural: Any, data: Any, k: int, n: Numbers, walker: Walker, propagate: Propagator) -> None:
    """Take up what one dosing record gives."""
    for name in structural.ways_in(str(data.cmt[k])):
        way = n.channels[name]
        if data.ss[k] and data.amt[k] == 0:
            b = np.zeros(len(walker.x))
            b[way["state"]] = data.rate[k]
            body = [j for j in range(len(b)) if j not in n.sums]
            walker.x[body] += np.linalg.solve(-n.matrix[np.ix_(body, body)], b[body])
            continue
        amount, width = shape(way, data.amt[k], data.rate[k])
        if data.ss[k]:
            x, left = steady_state(n, way, amount, width, data.ii[k], propagate)
            walker.x = walker.x + x
            walker.add([Given(g.start + walker.t, g.end + walker.t, g.amount, g.state) for g in left])
        starts = [walker.t + way["lag"] + j * data.ii[k] for j in range(int(data.addl[k]) + 1)]
        walker.add([Given(start, start + width, amount, way["state"]) for start in starts])
