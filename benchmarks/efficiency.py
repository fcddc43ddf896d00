"""Sampling efficiency of default fits over seeds: warm start, warm-up and sampling counted, compilation not.

``uv run python -m benchmarks.efficiency [study ...]`` writes `benchmarks/efficiency.md`.
"""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import arviz_stats
import numpy as np
import xarray as xr

import popbayes as pb
from benchmarks.studies import Study, multiple_dose, simulated, theophylline
from popbayes import pk, prior, residual, variability
from popbayes.data.regimen import regimens
from popbayes.infer.nuts_nutpie import Nutpie

RESULTS = Path(__file__).parent / "efficiency.md"
SEEDS = (1, 2, 3, 4, 5)
POPULATION = ("_pop", "omega", "sigma_", "beta_", "corr")
TWO_CPT = {"ka": 1.0, "CL": 4.0, "V1": 70.0, "Q": 4.0, "V2": 50.0}
TIMES = (0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 18, 24, 36, 48, 72)


def two_compartment() -> Study:
    """100 subjects x 15 samples after one oral dose; two compartments."""
    design = regimens({i + 1: pb.Regimen().dose(100.0).sample(TIMES) for i in range(100)})

    def model(typical: dict[str, Any], sd: Any, error: Any) -> pb.PopModel:
        return pb.PopModel(
            structural=pk.TwoCompartment(absorption=pk.FirstOrder()),
            parameters={name: pb.Parameter(one) for name, one in typical.items()},
            variability=variability.Independent(list(typical), sd=sd),
            residual=residual.LogNormal(error),
        )

    truth = model({name: prior.Fixed(value) for name, value in TWO_CPT.items()}, 0.3, 0.1)
    priors = {name: prior.LogNormal(value, 1.0) for name, value in TWO_CPT.items()}
    return model(priors, prior.HalfNormal(0.4), prior.HalfNormal(0.5)), simulated(design, truth, 15)


def rich() -> Study:
    """The 4,680-observation study, its centring left to `fit`."""
    model, data = multiple_dose()
    block = variability.Independent(list(model.parameters), sd=prior.HalfNormal(0.4))
    return replace(model, variability=block), data


STUDIES = {"theophylline": theophylline, "two_compartment": two_compartment, "multiple_dose": rich}


class Stopwatch:
    """Seconds of the sampler itself, its compilation left out."""

    def __init__(self) -> None:
        import nutpie

        self.seconds = 0.0
        self.compile = nutpie.compile_pymc_model
        self.nutpie = nutpie

    def __enter__(self) -> "Stopwatch":
        def timed(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            try:
                return self.compile(*args, **kwargs)
            finally:
                self.done = time.perf_counter()
                self.seconds = self.done - begun

        self.nutpie.compile_pymc_model = timed
        return self

    def __exit__(self, *error: object) -> None:
        self.seconds = time.perf_counter() - self.done
        self.nutpie.compile_pymc_model = self.compile


def measured(name: str, seed: int, **settings: Any) -> str:
    """One fit as a row of the table."""
    model, data = STUDIES[name]()
    with Stopwatch() as watch:
        dt = pb.fit(model, data, seed=seed, progress=False, **settings)
    said = json.loads(dt.attrs["warm_start"])
    start = said.get("seconds", 0.0)
    posterior = dt["posterior"].to_dataset()
    chosen = posterior[[str(n) for n in posterior.data_vars if any(p in str(n) for p in POPULATION)]]
    ess, rhat = _extreme(arviz_stats.ess(chosen), np.nanmin), _extreme(arviz_stats.rhat(chosen), np.nanmax)
    stats = dt["sample_stats"].to_dataset()
    total = start + watch.seconds
    cells = [
        name,
        ", ".join(f"{key}={value}" for key, value in settings.items()) or "default",
        f"{seed}",
        f"{rhat:.4f}",
        f"{len(pb.traps(dt).table)}",
        f"{ess:.0f}",
        f"{float(stats['n_steps'].mean()):.0f}",
        f"{int(stats['diverging'].sum())}",
        f"{start:.1f}",
        f"{watch.seconds:.1f}",
        f"{ess / total:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _extreme(values: xr.Dataset, choose: np.ufunc) -> float:
    return float(choose([choose(v.to_numpy()) for v in values.data_vars.values()]))


def main() -> None:
    """Fit every study with every seed, and once without warm start, non-centred; write the table."""
    names = [name for name in STUDIES if name in sys.argv[1:]] or list(STUDIES)
    page = (
        "# Sampling efficiency\n\nWritten by `uv run python -m benchmarks.efficiency`; sampler "
        f"{Nutpie.name}, 4 chains, 1000 draws each.\nESS: lowest bulk ESS of the population values, of 4000; "
        "seconds: warm start, and sampling with its\nwarm-up and what follows it, compilation left out; the "
        "last column is ESS over their sum.\n\n"
        "| study | settings | seed | R-hat | traps | min ESS | steps a draw | divergences | warm start s | "
        "sampling s | ESS/s |\n|" + "---|" * 11 + "\n"
    )
    plain = {"warm_start": None, "centring": "non-centred"}
    for name in names:
        for seed, settings in [*((seed, {}) for seed in SEEDS), (SEEDS[0], plain)]:
            row = measured(name, seed, **settings)
            print(row, flush=True)
            page += row + "\n"
    if names == list(STUDIES):
        RESULTS.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
