"""What occasions and candidate covariates add to a gradient: ``uv run python -m benchmarks.population``.

The two-compartment study of `benchmarks.studies`, as it is, cut into three occasions, and with ten candidate
covariates of which a horseshoe selects. The three are timed in turn and compared round by round, where the
processor runs at its full speed (see `benchmarks.timing`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import popbayes as pb
from benchmarks.gradient import near_medians
from benchmarks.studies import Study, two_compartment
from benchmarks.timing import UNDISTURBED, nutpie_gradient, probe
from popbayes import covariate, prior, variability

RESULTS = Path(__file__).with_suffix(".md")
ROUNDS = 200
SECONDS_A_ROUND = 0.01
FEWEST = 15
SEED = 5
CANDIDATES = 10
TARGETS = {"three occasions": 1.4, "ten candidates": 1.2}


@dataclass(frozen=True)
class Cost:
    """CPU microseconds of a gradient, and its ratio to that of the plain study: median, least and largest."""

    name: str
    n_dim: int
    cpu: float
    ratio: tuple[float, float, float]


def with_occasions() -> Study:
    """Each subject's record in three parts; clearance and absorption differ between them."""
    model, data = two_compartment()
    table = data.to_frame()
    table["OCC"] = 1 + (table["TIME"] > 12).astype(int) + (table["TIME"] > 75).astype(int)
    occasion = variability.Occasion(["CL", "ka"], sd=prior.HalfNormal(0.3))
    return (
        replace(model, variability=[*_parts(model), occasion]),
        pb.read_events(table, covariates=["WT"]),
    )


def with_candidates() -> Study:
    """Ten columns of noise that may explain clearance."""
    model, data = two_compartment()
    table, rng = data.to_frame(), np.random.default_rng(SEED)
    names = [f"X{k}" for k in range(1, CANDIDATES + 1)]
    place = table["ID"].rank(method="dense").astype(int).to_numpy() - 1
    for name in names:
        table[name] = rng.normal(size=data.n_subject)[place]
    candidates = [covariate.Exponential(name, ref=0.0, coefficient=0) for name in names]
    clearance = model.parameters["CL"]
    select = covariate.Select(candidates, prior=prior.Horseshoe(expected=1))
    clearance = replace(clearance, covariates=[*clearance.covariates, select])
    return (
        replace(model, parameters={**model.parameters, "CL": clearance}),
        pb.read_events(table, covariates=["WT", *names]),
    )


def _parts(model: pb.PopModel) -> list[variability.AbstractVariability]:
    given = model.variability
    return [given] if isinstance(given, variability.AbstractVariability) else list(given)


STUDIES: dict[str, Callable[[], Study]] = {
    "plain": two_compartment,
    "three occasions": with_occasions,
    "ten candidates": with_candidates,
}


def compiled_gradient(model: pb.PopModel, data: pb.EventTable) -> tuple[Callable[[int], object], int]:
    """The function that nutpie calls, at a point near the prior medians, and its number of parameters."""
    compiled, point = near_medians(model, data, np.random.default_rng(SEED))
    return nutpie_gradient(compiled, point), compiled.size


def spent(calls: Callable[[int], object], number: int) -> float:
    """CPU microseconds of one of `number` calls."""
    start = time.process_time()
    calls(number)
    return 1e6 * (time.process_time() - start) / number


def costs() -> list[Cost]:
    """Time all studies, in turn."""
    made = {name: compiled_gradient(*study()) for name, study in STUDIES.items()}
    number = max(1, round(1e6 * SECONDS_A_ROUND / spent(made["plain"][0], 50)))
    rounds, probes = [], []
    for _ in range(ROUNDS):
        seen = [probe()]
        one = []
        for calls, _ in made.values():
            one.append(spent(calls, number))
            seen.append(probe())
        rounds.append(one)
        probes.append(max(seen))
    quiet = np.array(rounds)[np.array(probes) <= UNDISTURBED * min(probes)]
    rounds = quiet if len(quiet) >= FEWEST else np.array(rounds)
    ratios = rounds / rounds[:, :1]
    return [
        Cost(
            name,
            made[name][1],
            float(np.median(rounds[:, k])),
            (float(np.median(ratios[:, k])), float(ratios[:, k].min()), float(ratios[:, k].max())),
        )
        for k, name in enumerate(made)
    ]


def page(found: list[Cost]) -> str:
    """Lay the costs out as a table."""
    rows = ""
    for one in found:
        target = f"{TARGETS[one.name]:g}" if one.name in TARGETS else ""
        middle, low, high = one.ratio
        ratio = f"{middle:.2f} ({low:.2f} to {high:.2f})"
        rows += f"| {one.name} | {one.n_dim} | {one.cpu:.0f} | {ratio} | {target} |\n"
    return (
        "# What the population layer adds to a gradient\n\n"
        "Written by `uv run python -m benchmarks.population`: log density and gradient, all in, of the\n"
        "oral two-compartment study (100 subjects, about 14 samples each, weight, five correlated effects),\n"
        f"plain, in three occasions (effects on CL and ka), and with {CANDIDATES} candidate covariates of\n"
        f"CL under a horseshoe. CPU time, {ROUNDS} short rounds in turn, of which those count in which the\n"
        "processor ran at full speed throughout; the ratio is that within a round, median (least to\n"
        "largest).\n\n"
        "| study | parameters | CPU microseconds | times the plain one | at most |\n|---|---|---|---|---|\n"
        f"{rows}"
    )


if __name__ == "__main__":
    text = page(costs())
    print(text)
    RESULTS.write_text(text, encoding="utf-8")
