"""The engine alone: cost of an observation, of a dose, of a record; a large simulation; compilation.

``uv run python -m benchmarks.engine`` writes `benchmarks/engine.md`. CPU time of one core, medians with the
smallest and largest; wall time where two threads are compared.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import popbayes as pb
from benchmarks.timing import Spread, cpu_per_call
from popbayes import pk
from popbayes.data.design import Design
from popbayes.engine.op import Predict, route
from popbayes.engine.solve import evaluate

RESULTS = Path(__file__).parent / "engine.md"
MODEL = pk.TwoCompartment(pk.FirstOrder())
VALUES = {"ka": 1.1, "CL": 5.0, "V1": 30.0, "Q": 4.0, "V2": 50.0}
SAMPLES = np.array([0.5, 1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 30, 36, 42, 48, 60, 72, 84, 96])
REPEATS = 15
ROUNDS = 60

Row = tuple[str, str, str]


def gradient(table: pb.EventTable) -> Callable[[int], object]:
    """Loop over predictions and their derivatives by five parameters, called from Python."""
    design = Design.of(table)
    way = route(MODEL, design)
    op = Predict(MODEL, way.outputs, way.channels, way.schedule.features)
    arrays = (np.array(way.schedule.n_obs), *way.schedule.arrays)
    rng = np.random.default_rng(0)
    vectors = [VALUES[n] * np.exp(0.1 * rng.normal(size=design.n_segment)) for n in MODEL.parameters]
    cotangent = rng.normal(size=design.n_obs)

    def loop(number: int) -> None:
        for _ in range(number):
            out = op.run(*vectors, *arrays)
            op.adjoint.run(*vectors, *arrays, cotangent, *out[1:])

    return loop


def subjects(number: int, one: pb.Regimen) -> pb.EventTable:
    """The same records for many subjects."""
    return one.to_events(subjects=number)


def in_us(spread: Spread, number: int) -> str:
    """Microseconds for each of `number` things."""
    parts = [value / number for value in (spread.median, spread.low, spread.high)]
    return f"{parts[0]:.3f} us ({parts[1]:.3f} to {parts[2]:.3f})"


def observation_rows() -> Iterator[Row]:
    """Cost of a gradient for each observation, by what was given."""
    n = len(SAMPLES)
    eight = pb.Regimen(SAMPLES).dose(100, time=[0, 12, 24, 36, 48, 60, 72, 84])
    cases = {
        "one dose": (pb.Regimen(SAMPLES).dose(100), "0.12 us"),
        "8 dose records": (eight, "0.2 us"),
        "ADDL 7, II 12": (pb.Regimen(SAMPLES).dose(100, ii=12, addl=7), ""),
        "ADDL 7000, II 12": (pb.Regimen(SAMPLES).dose(100, ii=12, addl=7000), "as ADDL 7"),
        "ADDL 95, II 1": (pb.Regimen(SAMPLES).dose(100, ii=1, addl=95), "as ADDL 7"),
        "ADDL 9500, II 0.01": (pb.Regimen(SAMPLES).dose(100, ii=0.01, addl=9500), "as ADDL 7"),
    }
    for what, (one, target) in cases.items():
        spent = cpu_per_call(gradient(subjects(200, one)))
        yield f"2-compartment oral gradient, {what}: an observation", in_us(spent, 200 * n), target


def record_rows() -> Iterator[Row]:
    """Cost of a gradient for each record as their number grows to a million."""
    one = pb.Regimen(SAMPLES).dose(100, time=[0, 12, 24, 36, 48])
    for number in (400, 4_000, 40_000):
        table = subjects(number, one)
        spent = cpu_per_call(gradient(table))
        yield f"gradient, {table.n_record:,} records: a record", in_us(spent, table.n_record), "linear"


def simulation_rows() -> Iterator[Row]:
    """10,000 subjects of 20 observations, once; one thread and two."""
    table = subjects(10_000, pb.Regimen(SAMPLES).dose(100))
    design = Design.of(table)
    rng = np.random.default_rng(0)
    theta = {n: VALUES[n] * np.exp(0.3 * rng.normal(size=10_000)) for n in MODEL.parameters}
    processors = sorted(os.sched_getaffinity(0))[:2] if hasattr(os, "sched_getaffinity") else []

    def timed(threads: int, on: list[int]) -> float:
        if on:
            os.sched_setaffinity(0, on)
        return wall(lambda: evaluate(MODEL, design, theta, threads=threads))

    timed(1, processors)
    ones, two = [], []
    for _ in range(ROUNDS):
        # one thread on each processor: they are not equally fast while others share their cores
        ones.append([timed(1, [one]) for one in processors] or [timed(1, [])])
        two.append(timed(2, processors))
    ratio = Spread.of([statistics.harmonic_mean(a) / b for a, b in zip(ones, two, strict=True)])
    what = "10,000 subjects x 20 observations, simulated once"
    yield f"{what}, one thread", milliseconds(Spread.of([t for one in ones for t in one])), "50 ms"
    yield f"{what}, two threads", milliseconds(Spread.of(two)), ""
    yield (
        f"{what}, two threads against one (at the mean speed of both processors)",
        f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})",
        "1.7",
    )


def wall(call: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def milliseconds(spread: Spread) -> str:
    """Shown in ms."""
    return f"{1e3 * spread.median:.1f} ms ({1e3 * spread.low:.1f} to {1e3 * spread.high:.1f})"


def compile_once() -> None:
    """In a process of its own: CPU seconds to the first gradient of a design."""
    table = subjects(3, pb.Regimen(SAMPLES).dose(100, ii=12, addl=7))
    call = gradient(table)
    start = time.process_time()
    call(1)
    print(json.dumps(time.process_time() - start))


def compile_rows() -> Iterator[Row]:
    """First gradient of a structural model, with an empty cache and with a filled one."""
    cold, cached = [], []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            env = os.environ | {
                "PYTENSOR_FLAGS": f"base_compiledir={folder}/pytensor",
                "NUMBA_CACHE_DIR": f"{folder}/numba",
            }
            for found in (cold, cached):
                command = [sys.executable, "-m", "benchmarks.engine", "compile"]
                run = subprocess.run(
                    command,
                    env=env,
                    capture_output=True,
                    text=True,
                    check=True,
                    cwd=Path(__file__).parents[1],
                )
                found.append(float(json.loads(run.stdout.splitlines()[-1])))
    for what, found, target in (("cold", cold, "6 s"), ("from the disk cache", cached, "1 s")):
        shown = f"{statistics.median(found):.1f} s ({min(found):.1f} to {max(found):.1f})"
        yield f"2-compartment oral, first gradient, {what}, CPU", shown, target


def main() -> None:
    """Measure and write the table."""
    rows = list(itertools.chain(observation_rows(), record_rows(), simulation_rows(), compile_rows()))
    table = "| what | measured | target |\n|---|---|---|\n"
    table += "".join(f"| {' | '.join(row)} |\n" for row in rows)
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    RESULTS.write_text(
        "# The engine alone\n\nWritten by `uv run python -m benchmarks.engine`; "
        "medians (smallest to largest). "
        f"Load of the machine when done (1, 5, 15 minutes): {load}.\n\n{table}",
        encoding="utf-8",
    )
    print(table)


if __name__ == "__main__":
    compile_once() if sys.argv[1:] == ["compile"] else main()
