"""Bias and error of point estimates over simulated studies, from starts far from the truth.

``uv run python -m benchmarks.estimation [studies]`` writes `benchmarks/estimation.md`; 100 by default.
"""

import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import popbayes as pb
from popbayes import pk, prior, residual, variability
from popbayes.data.regimen import regimens
from popbayes.infer.estimation.flip_flop import INDISTINCT
from popbayes.infer.estimation.method import AbstractMethod

RESULTS = Path(__file__).parent / "estimation.md"
STUDIES = 100
SUBJECTS = 30
TIMES = (0.5, 1, 2, 4, 8, 12, 24)
TRUTH = {"ka": 1.0, "CL": 4.0, "V": 70.0}
OMEGA, SIGMA = 0.3, 0.2
FARTHEST = 10.0
"""Starts are log-uniform within this factor of the truth, and so are the prior medians."""
METHODS: tuple[AbstractMethod, ...] = (pb.Saem(), pb.Foce(interaction=True))


@dataclass(frozen=True)
class Outcome:
    """Estimates of one method over all studies, (study, parameter), and how it went."""

    method: str
    labels: list[str]
    values: np.ndarray
    converged: np.ndarray
    alike: np.ndarray
    seconds: float


def study(seed: int) -> tuple[pb.PopModel, pb.EventTable, dict[str, float]]:
    """A model, simulated data, and a start within a factor of 10 of the truth."""
    rng = np.random.default_rng(seed)
    design = regimens({i + 1: pb.Regimen().dose(100.0).sample(TIMES) for i in range(SUBJECTS)})
    truth = _model({name: prior.Fixed(value) for name, value in TRUTH.items()}, OMEGA, SIGMA)
    draw = pb.simulate(truth, design, seed=seed, n=1)["prior_predictive"]["dv"]
    table = design.to_frame()
    table.loc[np.asarray(design.is_obs), "DV"] = draw.to_numpy().reshape(-1)
    start = {f"{name}_pop": v * FARTHEST ** rng.uniform(-1, 1) for name, v in TRUTH.items()}
    typical = {name: prior.LogNormal(start[f"{name}_pop"], 2.0) for name in TRUTH}
    model = _model(typical, prior.HalfNormal(0.5), prior.HalfNormal(0.5))
    return model, pb.read_events(table), start


def _model(typical: dict[str, object], sd: object, error: object) -> pb.PopModel:
    return pb.PopModel(
        structural=pk.OneCompartment(absorption=pk.FirstOrder()),
        parameters={name: pb.Parameter(one) for name, one in typical.items()},
        variability=variability.Independent(list(typical), sd=sd),
        residual=residual.LogNormal(error),
    )


def run(method: AbstractMethod, studies: int) -> Outcome:
    """Estimate every study; maximum likelihood, from its own start."""
    values, converged, alike, labels = [], [], [], []
    begun = time.process_time()
    for seed in range(studies):
        model, data, start = study(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = pb.estimate(model, data, method=method, starts=start, seed=seed, progress=False)
        labels = [str(one) for one in found["estimates"]["parameter"].to_numpy()]
        values.append(found["estimates"]["value"].to_numpy())
        converged.append(found.attrs["converged"])
        alike.append(abs(found.attrs.get("exchanged_difference", np.inf)) < INDISTINCT)
        if (seed + 1) % 10 == 0:
            print(f"{method.name}: {seed + 1} of {studies}", file=sys.stderr, flush=True)
    seconds = time.process_time() - begun
    flags = (np.array(one, dtype=bool) for one in (converged, alike))
    return Outcome(method.name, labels, np.array(values), *flags, seconds)


def table(outcome: Outcome) -> str:
    """Relative bias and root mean squared error of each value, and studies that ended elsewhere."""
    truth = np.array([*TRUTH.values(), *[OMEGA] * len(TRUTH), SIGMA])
    relative = 100 * (outcome.values / truth - 1)
    # ka two-fold away is no sampling error of this design: another mode
    elsewhere = np.abs(np.log(outcome.values[:, 0] / TRUTH["ka"])) > np.log(2)
    kept = relative[~elsewhere]
    n = len(relative)
    lines = [
        f"\n## {outcome.method}\n",
        f"{n} studies of {SUBJECTS} subjects x {len(TIMES)} samples, {outcome.seconds / n:.1f} CPU s each; "
        f"converged: {outcome.converged.sum()}; in another mode (ka more than two-fold off): "
        f"{elsewhere.sum()}{', left out below' if elsewhere.any() else ''}. In {outcome.alike.sum()} the "
        "result says that the data do not tell absorption from elimination (flip-flop), and reports the "
        "solution with the faster absorption.\n",
        "| value | bias % | RMSE % |\n|---|---|---|",
    ]
    for k, label in enumerate(outcome.labels):
        rmse = np.sqrt(np.mean(kept[:, k] ** 2))
        lines.append(f"| {label} | {kept[:, k].mean():+.1f} | {rmse:.1f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Estimate by every method, write the tables."""
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else STUDIES
    page = (
        "# Point estimates of simulated studies\n\n"
        "Written by `uv run python -m benchmarks.estimation`. Truth: "
        f"{', '.join(f'{name} {value:g}' for name, value in TRUTH.items())}, omega {OMEGA:g}, "
        f"sigma {SIGMA:g}.\nStarts and prior medians are log-uniform within a factor of 10 of the truth; "
        "priors are not used in\nthe estimate.\n"
    )
    for method in METHODS:
        page += table(run(method, studies))
    RESULTS.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
