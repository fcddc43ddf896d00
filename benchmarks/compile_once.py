"""One process: import, build and compile a study, and say how long each took (JSON on one line).

``python -m benchmarks.compile_once theophylline``; `cold_and_warm` runs it in fresh processes with a
compilation cache of its own, empty at first and then filled.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

Stages = dict[str, list[float]]


def now() -> tuple[float, float]:
    """Wall and CPU clock."""
    return time.perf_counter(), time.process_time()


def timed_stages(name: str) -> Stages:
    """Wall and CPU seconds of: the import, the first touch of what it loads lazily, build, compile."""
    marks = [now()]
    import popbayes as pb

    marks.append(now())
    from benchmarks.studies import STUDIES
    from popbayes.infer.compiled_density import compiled_density

    pb.fit  # noqa: B018  (loads pymc and the engine)
    model, data = STUDIES[name]()
    marks.append(now())
    graph = pb.build(model, data)
    marks.append(now())
    compiled_density(graph)
    marks.append(now())
    spent = [[b[0] - a[0], b[1] - a[1]] for a, b in itertools.pairwise(marks)]
    return dict(zip(("import", "load", "build", "compile"), spent, strict=True))


def cold_and_warm(name: str, repeats: int) -> tuple[list[Stages], list[Stages]]:
    """Stages of `repeats` processes with an empty cache each, and of `repeats` that find a filled one."""
    cold, warm = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            cold.append(_in_process(name, folder))
            warm.append(_in_process(name, folder))
    return cold, warm


def _in_process(name: str, cache: str) -> Stages:
    flags = [os.environ.get("PYTENSOR_FLAGS", ""), f"base_compiledir={cache}/pytensor"]
    env = os.environ | {
        "PYTENSOR_FLAGS": ",".join(flag for flag in flags if flag),
        "NUMBA_CACHE_DIR": f"{cache}/numba",
    }
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.compile_once", name],
        cwd=Path(__file__).parents[1],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(run.stdout.splitlines()[-1])


if __name__ == "__main__":
    print(json.dumps(timed_stages(sys.argv[1])))
