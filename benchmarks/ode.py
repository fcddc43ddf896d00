"""Differential equations: cost and accuracy of a gradient, and of compilation, on three simulated studies.

``uv run python -m benchmarks.ode`` writes `benchmarks/ode.md`. CPU time of one core, medians with the
smallest and largest. The designs are those of the anchors `mm`, `warfarin` and `fk`; every subject has
parameters of its own, around the medians of the priors.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import popbayes as pb
from benchmarks.anchors import MODELS
from benchmarks.gradient import time_gradient
from benchmarks.studies import simulated
from benchmarks.timing import Spread, cpu_per_call
from popbayes.engine.op import Predict, route

RESULTS = Path(__file__).parent / "ode.md"
BETWEEN = 0.3
TIGHT = 1e-12
TOLERANCES = (1e-7, 2.5e-7)
FLOOR = 1e-6
"""Part of a subject's largest value below which predictions are not compared."""
COLD_TARGET, CACHED_TARGET = "12 s", "1.5 s"

Row = tuple[str, str, str]


@dataclass(frozen=True)
class Case:
    """A study of the benchmark."""

    table: Callable[[], pd.DataFrame]
    target: str
    others: str


def records(
    subject: int, dose: tuple[float, str], more: dict[str, Any], seen: dict[int, list[float]]
) -> list:
    """Records of one subject: a dose into a compartment, and its samples by DVID."""
    amount, cmt = dose
    one = {"ID": subject, "WT": 50.0 + subject % 5 * 10.0, "DV": 1.0, "AMT": 0.0, "EVID": 0, "DVID": 0}
    one |= {"CMT": ".", "II": 0.0, "ADDL": 0}
    rows = [one | {"TIME": 0.0, "DV": np.nan, "AMT": amount, "EVID": 1, "CMT": cmt, **more}]
    return rows + [one | {"TIME": t, "DVID": kind} for kind, times in seen.items() for t in times]


def saturable() -> pd.DataFrame:
    """40 subjects x 10 samples, half of them after an oral dose, half after a bolus."""
    times = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 12.0, 18.0, 24.0, 36.0]
    ways = [(400.0, 1)] * 20 + [(300.0, 2)] * 20
    return pd.DataFrame([r for i, way in enumerate(ways) for r in records(i, way, {}, {1: times})])


def warfarin() -> pd.DataFrame:
    """32 subjects x (8 concentrations + 8 responses)."""
    seen = {1: [1.0, 3.0, 6.0, 12.0, 24.0, 48.0, 72.0, 120.0]}
    seen[2] = [0.0, 12.0, 24.0, 36.0, 48.0, 72.0, 96.0, 144.0]
    return pd.DataFrame([r for i in range(32) for r in records(i, (100.0, 1), {}, seen)])


def neutropenia() -> pd.DataFrame:
    """20 subjects x (8 concentrations + 14 counts), two doses three weeks apart."""
    seen = {1: [0.5, 1.0, 2.0, 4.0, 8.0, 12.0, 24.0, 36.0]}
    seen[2] = [0.0, *(72.0 * k for k in range(1, 14))]
    more = {"II": 504.0, "ADDL": 1}
    return pd.DataFrame([r for i in range(20) for r in records(i, (1000.0, 1), more, seen)])


CASES = {
    "mm": Case(saturable, "0.3 ms", "8.6 / 1.24 ms"),
    "warfarin": Case(warfarin, "0.5 ms", "25.5 / 1.9 ms"),
    "fk": Case(neutropenia, "4 ms", "340-490 / 21 ms"),
}


class Gradient:
    """Predictions and their derivatives on one design at some tolerance, called from Python."""

    def __init__(self, name: str, rtol: float):
        model = MODELS[name]()
        frame = CASES[name].table().sort_values(["ID", "TIME", "EVID"], kind="stable")
        data = pb.read_events(frame, covariates=["WT"])
        model = model.resolved(data)
        structural = replace(model.structural, rtol=rtol)
        design = model.design(data)
        way = route(structural, design, model.dvid)
        self.op = Predict(structural, way.outputs, way.channels, way.schedule.features)
        self.arrays = (np.array(way.schedule.n_obs), *way.schedule.arrays)
        rng = np.random.default_rng(0)
        self.vectors = [
            model.parameters[one].prior.start() * np.exp(BETWEEN * rng.normal(size=design.n_segment))
            for one in structural.parameters
        ]
        self.cotangent = rng.normal(size=design.n_obs)
        self.subject = design.obs_subject

    def predict(self) -> np.ndarray:
        """Predictions of all observations."""
        return self.op.run(*self.vectors, *self.arrays)[0]

    def loop(self, number: int) -> None:
        """Predictions with gradient, again and again."""
        for _ in range(number):
            out = self.op.run(*self.vectors, *self.arrays)
            self.op.adjoint.run(*self.vectors, *self.arrays, self.cotangent, *out[1:])


def largest_error(got: np.ndarray, exact: np.ndarray, subject: np.ndarray) -> float:
    """Largest relative error, of predictions above `FLOOR` times the subject's largest."""
    largest = np.zeros(subject.max() + 1)
    np.maximum.at(largest, subject, np.abs(exact))
    compared = np.abs(exact) > FLOOR * largest[subject]
    return float(np.abs(got[compared] / exact[compared] - 1.0).max())


def in_ms(spread: Spread) -> str:
    """Milliseconds, from microseconds."""
    return f"{spread.median / 1e3:.3f} ms ({spread.low / 1e3:.3f} to {spread.high / 1e3:.3f})"


def gradient_rows(name: str) -> Iterator[Row]:
    """Cost and accuracy at the default tolerance and at a looser one."""
    exact = Gradient(name, TIGHT).predict()
    for rtol in TOLERANCES:
        one = Gradient(name, rtol)
        error = largest_error(one.predict(), exact, one.subject)
        what = f"{name}: gradient at rtol {rtol:g}, predictions within {error:.1e}"
        yield what, in_ms(cpu_per_call(one.loop)), CASES[name].target


def all_in_rows(name: str) -> Iterator[Row]:
    """Cost of the whole log density with its gradient, as the sampler calls it."""
    frame = CASES[name].table().sort_values(["ID", "TIME", "EVID"], kind="stable")
    model = MODELS[name]()
    data = simulated(pb.read_events(frame, covariates=["WT"]), model, 7)
    spent = time_gradient(model, data)
    what = f"{name}: log density and gradient, all in ({spent.n_obs} observations, {spent.n_dim} unknowns)"
    yield what, in_ms(spent.all_in), CASES[name].target


def compile_once(name: str) -> None:
    """In a process of its own: CPU seconds to the first gradient."""
    one = Gradient(name, TOLERANCES[0])
    start = time.process_time()
    one.loop(1)
    print(json.dumps(time.process_time() - start))


def compile_rows(name: str) -> Iterator[Row]:
    """First gradient, with an empty cache and with a filled one."""
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {
            "PYTENSOR_FLAGS": f"base_compiledir={folder}/pytensor",
            "NUMBA_CACHE_DIR": f"{folder}/numba",
        }
        command = [sys.executable, "-m", "benchmarks.ode", "compile", name]
        for what, target in (("cold", COLD_TARGET), ("from the disk cache", CACHED_TARGET)):
            run = subprocess.run(
                command, env=env, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
            )
            spent = float(json.loads(run.stdout.splitlines()[-1]))
            yield f"{name}: first gradient, {what}", f"{spent:.1f} s", target


def main() -> None:
    """Measure and write the table."""
    rows: list[Row] = []
    for measure in (gradient_rows, compile_rows, all_in_rows):
        for name in CASES:
            for row in measure(name):
                rows.append(row)
                print(*row, sep=" | ", flush=True)
    others = "; ".join(f"{name} {case.others}" for name, case in CASES.items())
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    RESULTS.write_text(
        "# Differential equations\n\nWritten by `uv run python -m benchmarks.ode`; CPU time, "
        "medians (smallest to largest).\nAccuracy: largest relative error of a prediction, against rtol "
        f"{TIGHT:g}.\nThe same gradients by Torsten / Stan by hand, on a machine of the kind:\n{others}."
        f"\nLoad of the machine when done (1, 5, 15 minutes): {load}.\n\n| what | measured | target |\n"
        "|---|---|---|\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows),
        encoding="utf-8",
    )


if __name__ == "__main__":
    compile_once(sys.argv[2]) if sys.argv[1:2] == ["compile"] else main()
