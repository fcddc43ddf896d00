"""Many studies, one after the other, in a run that may be interrupted and goes on where it was."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Result = dict[str, Any]


def over_seeds(
    study: Callable[[int], Result], seeds: Iterable[int], keep: Path | None = None
) -> list[Result]:
    """Results of a study for each seed, in order.

    Parameters
    ----------
    study
        Seed -> what JSON can hold.
    seeds
    keep
        File of finished studies, a line each: those it holds are not done again, others are added at once.
    """
    lines = keep.read_text(encoding="utf-8").splitlines() if keep and keep.exists() else []
    done: dict[int, Result] = {one["seed"]: one for one in map(json.loads, lines)}
    asked = list(seeds)
    for count, seed in enumerate(asked, start=1):
        if seed in done:
            continue
        done[seed] = {"seed": seed, **study(seed)}
        if keep:
            keep.parent.mkdir(parents=True, exist_ok=True)
            with keep.open("a", encoding="utf-8") as file:
                file.write(json.dumps(done[seed]) + "\n")
        print(f"study {count} of {len(asked)}: {done[seed]}", flush=True)
    return [done[seed] for seed in asked]
