"""Dosing records under any differential equations, by brute force: SciPy stops and starts at each event.

Additional doses are written out; a steady state is one dose after the other until nothing changes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from tests.engine.systems import TIGHT

FORGOTTEN = 1e-11
"""Change of the state from one dose to the next, relative to its largest entry, at a steady state."""
MOST_DOSES = 2000


@dataclass(frozen=True)
class Way:
    """What a dose into a compartment does: the state it enters, and its parameters."""

    state: int
    bioavailability: float = 1.0
    lag: float = 0.0
    duration: float = np.nan
    rate: float = np.nan

    def spread(self, amount: float, rate: float) -> tuple[float, float]:
        """Amount and duration of one dose, by its RATE."""
        amount = amount * self.bioavailability
        if rate == -1:
            return amount, amount / self.rate
        if rate == -2:
            return amount, self.duration
        return amount, amount / rate if rate > 0 else 0.0


@dataclass
class Course:
    """The state of one subject on its way through time.

    Attributes
    ----------
    changes
        What is to come: time, state, amount given at once, change of the input's rate.
    off
        States that are turned off: they stay empty.
    """

    rates: Callable[[float, np.ndarray], Sequence[float]]
    start: np.ndarray
    method: str
    time: float = 0.0
    x: np.ndarray = field(default_factory=lambda: np.zeros(0))
    inputs: np.ndarray = field(default_factory=lambda: np.zeros(0))
    changes: list[tuple[float, int, float, float]] = field(default_factory=list)
    off: set[int] = field(default_factory=set)

    def reset(self) -> None:
        """Initial states, nothing running, nothing to come; what is off stays empty."""
        self.x, self.inputs, self.changes = self.start.copy(), np.zeros(len(self.start)), []
        self.x[list(self.off)] = 0.0

    def turn_off(self, state: int) -> None:
        """Empty a state, which stays so; doses into it end."""
        self.off.add(state)
        self.x[state] = self.inputs[state] = 0.0
        self.changes = [one for one in self.changes if one[1] != state]

    def plan(self, way: Way, time: float, amount: float, rate: float) -> None:
        """Put one dose down."""
        amount, duration = way.spread(amount, rate)
        begins = time + way.lag
        if duration > 0:
            self.changes += [
                (begins, way.state, 0.0, amount / duration),
                (begins + duration, way.state, 0.0, -amount / duration),
            ]
        else:
            self.changes.append((begins, way.state, amount, 0.0))

    def go(self, time: float) -> None:
        """Advance to a time, what happens at it included."""
        while due := [one for one in self.changes if one[0] <= time + 1e-12]:
            first = min(due)
            self.changes.remove(first)
            self._integrate(first[0])
            self.x[first[1]] += first[2]
            self.inputs[first[1]] += first[3]
        self._integrate(time)

    def _integrate(self, time: float) -> None:
        if time > self.time:
            on = np.array([i not in self.off for i in range(len(self.x))], dtype=float)
            self.x = solve_ivp(
                lambda t, y: on * (np.asarray(self.rates(t, y)) + self.inputs),
                (self.time, time), self.x, method=self.method, **TIGHT,
            ).y[:, -1]  # fmt: skip
            self.time = time

    def settle(self, way: Way, time: float, row: Mapping[str, Any]) -> None:
        """Steady state at a record: doses of its kind since ever, the next one at the record."""
        self.reset()
        interval, now = row["II"], time
        for _ in range(MOST_DOSES):
            before = self.x.copy()
            self.time = time - interval
            self.changes = [(t - interval, *rest) for t, *rest in self.changes]
            self.plan(way, time - interval, row["AMT"], row["RATE"])
            # what begins at the record is not there yet
            self._until(now)
            if np.abs(self.x - before).max() < FORGOTTEN * np.abs(self.x).max():
                return
        raise AssertionError("there is no steady state")

    def _until(self, time: float) -> None:
        later = [one for one in self.changes if one[0] > time - 1e-12]
        self.changes = [one for one in self.changes if one[0] <= time - 1e-12]
        self.go(time)
        self.changes += later


def by_brute_force(
    rates: Callable, start: Sequence[float], frame: Any, ways: Mapping[str, Way], method: str = "DOP853"
) -> np.ndarray:
    """States at the samples of one subject, (n_sample, n_state)."""
    course = Course(rates, np.array(start, dtype=float), method)
    course.reset()
    out = []
    for row in frame.to_dict("records"):
        time = row["TIME"]
        course.go(time)
        if row["EVID"] in (3, 4):
            course.off.clear()
            course.reset()
        label = str(row["CMT"])
        if row["EVID"] == 2 and label in ways:
            course.off.discard(ways[label].state)
        if row["EVID"] in (1, 4):
            way = ways[label]
            course.off.discard(way.state)
            if row["SS"] == 1:
                course.settle(way, time, row)
            for k in range(int(row["ADDL"]) + 1):
                course.plan(way, time + k * row["II"], row["AMT"], row["RATE"])
            course.go(time)
        if row["EVID"] == 0:
            out.append(course.x.copy())
        if label.startswith("-"):
            course.turn_off(ways[label[1:]].state)
    return np.array(out)
