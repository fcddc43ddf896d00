"""One command that measures everything and writes `benchmarks/results.md`.

``uv run python -m benchmarks [theophylline multiple_dose]``
"""

import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.compile_once import cold_and_warm
from benchmarks.gradient import time_gradient
from benchmarks.sampling import sample
from benchmarks.studies import STUDIES
from benchmarks.timing import Spread

RESULTS = Path(__file__).parent / "results.md"
VERSIONS = ("popbayes", "pymc", "pytensor", "numba", "nutpie", "numpy")
IMPORT_TARGET = 2.5
COLD_TARGET, WARM_TARGET = 18.0, 6.0
GRADIENT_TARGET = {
    "theophylline": (12.0, 6.0),
    "multiple_dose": (450.0, 300.0),
    "two_compartment": (200.0, 150.0),
}
SCHEDULE = {"theophylline": (200, 2000), "multiple_dose": (200, 1000), "two_compartment": (200, 1000)}
REPEATS = 3

Row = tuple[str, str, str]


def shown(values: list[float] | Spread, unit: str, digits: int = 1) -> str:
    """Median, and in brackets the smallest and largest."""
    s = values if isinstance(values, Spread) else Spread.of(values)
    return f"{s.median:.{digits}f} {unit} ({s.low:.{digits}f} to {s.high:.{digits}f})"


def import_seconds(repeats: int = 5) -> list[float]:
    """Wall seconds of ``import popbayes`` in fresh processes."""
    code = "import time; t = time.perf_counter(); import popbayes; print(time.perf_counter() - t)"
    command = [sys.executable, "-c", code]
    return [
        float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        for _ in range(repeats)
    ]


def compile_rows(name: str) -> list[Row]:
    """Build and compile, with an empty and a filled cache; wall seconds, and CPU seconds after them."""
    rows: list[Row] = []
    for what, runs, target in zip(
        ("cold", "warm"), cold_and_warm(name, REPEATS), (COLD_TARGET, WARM_TARGET), strict=True
    ):
        wall, cpu = ([run["build"][clock] + run["compile"][clock] for run in runs] for clock in (0, 1))
        both = f"{shown(wall, 's')}; CPU {shown(cpu, 's')}"
        rows.append((f"{name}: build + compile, {what} cache", both, f"{target:g} s"))
    parts = {stage: statistics.median(run[stage][1] for run in runs) for stage in runs[0]}
    split = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in parts.items())
    return [*rows, (f"{name}: stages of a warm process, CPU", split, "")]


def gradient_rows(name: str) -> list[Row]:
    """CPU time of a gradient."""
    model, data = STUDIES[name]()
    g = time_gradient(model, data)
    all_in, engine = GRADIENT_TARGET[name]
    what = f"{name} ({g.n_obs} observations, {g.n_dim} unknowns)"
    return [
        (f"{what}: CPU per gradient, all in", shown(g.all_in, "us"), f"{all_in:g} us"),
        (f"{what}: of it the engine", shown(g.engine, "us"), f"{engine:g} us"),
    ]


def sampling_rows(name: str) -> list[Row]:
    """Speed of a whole fit."""
    model, data = STUDIES[name]()
    s = sample(model, data, *SCHEDULE[name])
    total = s.chains * s.draws
    ess = f"{s.min_ess:.0f} of {total}; {s.min_ess / s.wall:.0f}; {s.min_ess / s.cpu:.0f}"
    health = f"{s.max_rhat:.4f}, {s.divergences}, {s.steps:.0f}"
    fit = f"{name}: fit of {s.chains} chains x ({s.tune} + {s.draws})"
    return [
        (f"{fit}, wall (CPU), compilation counted", f"{s.wall:.1f} s ({s.cpu:.1f} s)", ""),
        (f"{name}: draws per wall second, warm-up and compilation counted", f"{total / s.wall:.0f}", ""),
        (f"{name}: min bulk ESS; per wall second; per CPU second", ess, ""),
        (f"{name}: max R-hat, divergences, leapfrog steps a draw", health, ""),
    ]


def page(rows: list[Row]) -> str:
    """Lay the rows out as a table, with where they were measured."""
    versions = ", ".join(f"{name} {version(name)}" for name in VERSIONS)
    head = (
        "# Benchmarks\n\n"
        "Written by `uv run python -m benchmarks`. Medians, in brackets the smallest and largest of the\n"
        "repeats; CPU times are those of the process (`time.process_time`), so that other work on the\n"
        "machine disturbs them little.\n\n"
        f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}; "
        f"{versions}.\n\n"
    )
    table = "| what | measured | target |\n|---|---|---|\n"
    return head + table + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main() -> None:
    """Measure, print as it comes, write the table."""
    names = [name for name in STUDIES if name in sys.argv[1:]] or list(STUDIES)
    rows: list[Row] = [("import popbayes", shown(import_seconds(), "s", 2), f"{IMPORT_TARGET:g} s")]
    print(*rows[0], sep=" | ", flush=True)
    for name in names:
        for measure in (gradient_rows, compile_rows, sampling_rows):
            new = measure(name)
            rows += new
            for row in new:
                print(*row, sep=" | ", flush=True)
    if len(names) == len(STUDIES):
        RESULTS.write_text(page(rows), encoding="utf-8")
        print(f"Written to {RESULTS}")


if __name__ == "__main__":
    main()
