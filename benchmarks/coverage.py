"""Coverage of posterior intervals over simulated studies: ``uv run python -m benchmarks.coverage``.

Each small study is simulated from values that are drawn from the prior of its own fit, so that the
intervals of a correct sampler hold them as often as they say, whatever the sample size.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr
from scipy import stats

import popbayes as pb
from benchmarks.studies import simulated
from popbayes import pk, prior, residual, variability

RESULTS = Path(__file__).with_suffix(".md")
STUDIES = 40
SUBJECTS = 16
TIMES = (0.5, 1, 2, 4, 8, 12, 24)
DOSE = 100.0
LEVEL = 0.90
TYPICAL = {"ka": 1.0, "CL": 4.0, "V": 70.0}
LOG_SD = 0.3
OMEGA_SCALE = 0.4
SIGMA_SCALE = 0.3


@dataclass(frozen=True)
class Hits:
    """In how many of the studies the interval of a parameter held the truth."""

    name: str
    inside: int
    studies: int

    @property
    def coverage(self) -> float:
        """Share of the studies."""
        return self.inside / self.studies


def the_model() -> pb.PopModel:
    """One compartment, first-order absorption, log-normal error, proper priors throughout."""
    return pb.PopModel(
        structural=pk.OneCompartment(absorption=pk.FirstOrder()),
        parameters={name: pb.Parameter(prior.LogNormal(value, LOG_SD)) for name, value in TYPICAL.items()},
        variability=variability.Independent(list(TYPICAL), sd=prior.HalfNormal(OMEGA_SCALE)),
        residual=residual.LogNormal(prior.HalfNormal(SIGMA_SCALE)),
    )


def draw_truth(rng: np.random.Generator) -> dict[str, float]:
    """Draw one value of every population quantity from the priors of `the_model`."""
    truth = {
        f"{name}_pop": value * float(np.exp(LOG_SD * rng.standard_normal()))
        for name, value in TYPICAL.items()
    }
    truth |= {f"omega[{name}]": OMEGA_SCALE * float(abs(rng.standard_normal())) for name in TYPICAL}
    return truth | {"sigma_log": SIGMA_SCALE * float(abs(rng.standard_normal()))}


def at(model: pb.PopModel, truth: Mapping[str, float]) -> pb.PopModel:
    """Return `model` with every prior replaced by the value in `truth`."""
    return replace(
        model,
        parameters={
            name: replace(parameter, prior=prior.Fixed(truth[f"{name}_pop"]))
            for name, parameter in model.parameters.items()
        },
        variability=variability.Independent(
            list(TYPICAL), sd={name: prior.Fixed(truth[f"omega[{name}]"]) for name in TYPICAL}
        ),
        residual=residual.LogNormal(prior.Fixed(truth["sigma_log"])),
    )


def held(dt: xr.DataTree, truth: Mapping[str, float]) -> dict[str, bool]:
    """Tell for every quantity whether its central interval holds the truth."""
    posterior = dt["posterior"].to_dataset()
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    inside = {}
    for name, value in truth.items():
        variable, _, index = name.rstrip("]").partition("[")
        draws = posterior[variable].sel(eta_of=index) if index else posterior[variable]
        low, high = np.quantile(draws.to_numpy(), tails)
        inside[name] = bool(low <= value <= high)
    return inside


def study(seed: int) -> dict[str, bool]:
    """Simulate one study, fit it, and look at its intervals."""
    truth = draw_truth(np.random.default_rng(seed))
    model = the_model()
    design = pb.Regimen().dose(DOSE).sample(TIMES).to_events(SUBJECTS)
    data = simulated(design, at(model, truth), seed)
    dt = pb.fit(model, data, seed=seed, tune=800, draws=500, target_accept=0.9, progress=False)
    return held(dt, truth)


def run(studies: int = STUDIES, first_seed: int = 1000) -> list[Hits]:
    """Count over `studies` studies."""
    found = []
    for number in range(studies):
        found.append(study(first_seed + number))
        print(f"study {number + 1} of {studies}: {sum(found[-1].values())} of {len(found[-1])}", flush=True)
    return [Hits(name, sum(one[name] for one in found), studies) for name in found[0]]


def page(hits: list[Hits]) -> str:
    """Lay the counts out as a table, with the range that chance alone would give."""
    n = hits[0].studies
    low, high = stats.binom.ppf([0.025, 0.975], n, LEVEL) / n
    total = sum(h.inside for h in hits) / (n * len(hits))
    rows = "".join(f"| {h.name} | {h.inside} | {h.coverage:.1%} |\n" for h in hits)
    return (
        "# Coverage of 90 % intervals\n\n"
        f"Written by `uv run python -m benchmarks.coverage`: {n} studies of {SUBJECTS} subjects with\n"
        f"{len(TIMES)} samples each (one oral dose, one compartment, log-normal error). Every study has a\n"
        "truth of its own, drawn from the priors of the fit; 4 chains x (800 + 500) draws.\n\n"
        f"By chance alone, 95 in 100 exact methods give {low:.1%} to {high:.1%} for one quantity.\n\n"
        f"| quantity | intervals that hold the truth, of {n} | coverage |\n|---|---|---|\n{rows}"
        f"| all together | {sum(h.inside for h in hits)} of {n * len(hits)} | {total:.1%} |\n"
    )


if __name__ == "__main__":
    found = run(int(sys.argv[1]) if len(sys.argv) > 1 else STUDIES)
    print(page(found))
    if found[0].studies == STUDIES:
        RESULTS.write_text(page(found), encoding="utf-8")
