"""Time of point estimates: theophylline, and 120 subjects with 39 samples each.

``uv run python -m benchmarks.estimation_speed`` writes `benchmarks/estimation_speed.md`. Every estimate is
made twice; the second time is that after compilation.
"""

import os
import time
import warnings
from pathlib import Path

import popbayes as pb
from benchmarks.studies import multiple_dose, theophylline
from popbayes.infer.estimation.method import AbstractMethod

RESULTS = Path(__file__).parent / "estimation_speed.md"
TARGETS = {("theophylline", "Saem"): 5.0, ("theophylline", "Foce"): 3.0}
"""Seconds; 60 for the others."""
METHODS: tuple[AbstractMethod, ...] = (pb.Saem(), pb.Foce(interaction=True))


def timed(model: pb.PopModel, data: pb.EventTable, method: AbstractMethod) -> tuple[float, float, str]:
    """CPU and wall seconds of one estimate, and how it ended."""
    cpu, wall = time.process_time(), time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pb.estimate(model, data, method=method, seed=1, progress=False)
    ended = f"{'converged' if found.attrs['converged'] else 'not converged'}, {found.attrs['n_iteration']}"
    return time.process_time() - cpu, time.perf_counter() - wall, ended


def main() -> None:
    """Time every method on every study, write the table."""
    lines = [
        "# Time of point estimates\n",
        "Written by `uv run python -m benchmarks.estimation_speed`, on two cores. Seconds, CPU (wall in",
        "brackets); the machine is shared with other work: its load average is in the last column.\n",
        "| study | method | first call | after compilation | target | iterations | load |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, make in (("theophylline", theophylline), ("multiple_dose", multiple_dose)):
        model, data = make()
        for method in METHODS:
            first, again = timed(model, data, method), timed(model, data, method)
            target = TARGETS.get((name, method.name), 60.0)
            lines.append(
                f"| {name} ({data.n_obs} observations) | {method.name} | {first[0]:.1f} ({first[1]:.1f}) "
                f"| {again[0]:.1f} ({again[1]:.1f}) | {target:g} | {again[2]} | {os.getloadavg()[0]:.1f} |"
            )
            print(lines[-1], flush=True)
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
