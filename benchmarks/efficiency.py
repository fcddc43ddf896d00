"""Sampling efficiency of default fits over seeds: warm start, warm-up and sampling counted, compilation not.

``uv run python -m benchmarks.efficiency --study multiple_dose [--seeds 1 2] [--plain-seeds 1]`` measures and
merges its rows into `benchmarks/efficiency.md`; without ``--study`` all of them. ``--public FOLDER`` adds the
public benchmark studies that lie there (`01-iv_2cmt_linear`, ...).
"""

import argparse
import json
import os
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import arviz_stats
import numpy as np
import pandas as pd
import xarray as xr

import popbayes as pb
from benchmarks import studies
from benchmarks.studies import Study, simulated
from popbayes import pk, prior, residual, variability
from popbayes.data.regimen import regimens

RESULTS = Path(__file__).parent / "efficiency.md"
SEEDS = (1, 2, 3, 4, 5)
POPULATION = ("_pop", "omega", "sigma_", "beta_", "corr")
TWO_CPT = {"ka": 1.0, "CL": 4.0, "V1": 70.0, "Q": 4.0, "V2": 50.0}
TIMES = (0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 18, 24, 36, 48, 72)
SATURABLE = {"ka": 1.2, "V": 40.0, "Vmax": 15.0, "Km": 3.0}
PLAIN = {"warm_start": None, "centring": "non-centred"}
COLUMNS = (
    *("study", "settings", "seed", "R-hat", "traps", "min ESS", "steps a draw", "divergences"),
    *("warm start s", "sampling s", "ESS/s", "CPU s", "ESS/CPU s", "load"),
)


PREAMBLE = """# Sampling efficiency

Written by `uv run python -m benchmarks.efficiency`; nutpie, 4 chains, 1000 draws each; plain: without warm
start, non-centred, 1000 iterations of warm-up. ESS: lowest bulk ESS of the population values, of 4000;
seconds: warm start, and sampling with its warm-up and what follows it, compilation left out; ESS/s is ESS
over the sum of both in wall time, CPU s the processor time of both. load: the machine's average over one
minute at the end of the fit; wall times under a load above 2 say little.

"""


def oral_model(structural: Any, typical: dict[str, Any], sd: Any, error: Any) -> pb.PopModel:
    """Independent effects on all parameters, log-normal error."""
    return pb.PopModel(
        structural=structural,
        parameters={name: pb.Parameter(one) for name, one in typical.items()},
        variability=variability.Independent(list(typical), sd=sd),
        residual=residual.LogNormal(error),
    )


def two_compartment() -> Study:
    """100 subjects x 15 samples after one oral dose; two compartments."""
    design = regimens({i + 1: pb.Regimen().dose(100.0).sample(TIMES) for i in range(100)})
    structural = pk.TwoCompartment(absorption=pk.FirstOrder())
    known = {name: prior.Fixed(value) for name, value in TWO_CPT.items()}
    truth = oral_model(structural, known, prior.Fixed(0.3), prior.Fixed(0.1))
    priors = {name: prior.LogNormal(value, 1.0) for name, value in TWO_CPT.items()}
    model = oral_model(structural, priors, prior.HalfNormal(0.4), prior.HalfNormal(0.5))
    return model, simulated(design, truth, 15)


def michaelis_menten() -> Study:
    """40 subjects x 10 samples, half of them oral; saturable elimination by differential equations."""
    times = (0.5, 1, 2, 4, 6, 9, 12, 18, 24, 36)
    oral, bolus = pb.Regimen().dose(400.0, cmt=1), pb.Regimen().dose(300.0, cmt=2)
    design = regimens({i + 1: (oral if i < 20 else bolus).sample(times) for i in range(40)})

    def model(typical: dict[str, Any], sd: dict[str, Any], prop: Any, add: Any) -> pb.PopModel:
        return pb.PopModel(
            structural=pk.MichaelisMenten(absorption=pk.FirstOrder()),
            parameters={name: pb.Parameter(one) for name, one in typical.items()},
            variability=variability.Independent(list(sd), sd=sd),
            residual=residual.Combined(prop=prop, add=add),
        )

    spread = {"ka": 0.5, "V": 0.25, "Vmax": 0.3}
    truth = model(
        {name: prior.Fixed(value) for name, value in SATURABLE.items()},
        {name: prior.Fixed(value) for name, value in spread.items()},
        *(prior.Fixed(0.1), prior.Fixed(0.08)),
    )
    medians = {"ka": 1.0, "V": 40.0, "Vmax": 15.0, "Km": 3.0}
    found = model(
        {name: prior.LogNormal(value, 0.5) for name, value in medians.items()},
        {name: prior.HalfNormal(0.5) for name in spread},
        *(prior.HalfNormal(0.3), prior.HalfNormal(0.5)),
    )
    return found, simulated(design, truth, 40)


def rich() -> Study:
    """The 4,680-observation study, its centring left to `fit`."""
    model, data = studies.multiple_dose()
    block = variability.Independent(list(model.parameters), sd=prior.HalfNormal(0.4))
    return replace(model, variability=block), data


STUDIES = {
    "theophylline": studies.theophylline,
    "multiple_dose": rich,
    "two_compartment": two_compartment,
    "michaelis_menten": michaelis_menten,
    "five_correlated": studies.two_compartment,
}
FEWER_SEEDS = {"michaelis_menten": (1, 2, 3), "five_correlated": (1, 2, 3)}
PUBLIC: dict[str, tuple[Any, dict[str, float]]] = {
    "01-iv_2cmt_linear": (pk.TwoCompartment(), {"CL": 4, "V1": 70, "Q": 4, "V2": 50}),
    "02-depot_1cmt_linear": (pk.OneCompartment(absorption=pk.FirstOrder()), {"CL": 4, "V": 70, "ka": 1}),
    "03-depot_2cmt_linear": (
        pk.TwoCompartment(absorption=pk.FirstOrder()),
        {"CL": 4, "V1": 70, "Q": 4, "V2": 40, "ka": 1},
    ),
}


def public(folder: Path, name: str) -> Study:
    """A study of the public comparison of ACoP 2023, with its priors; all effects correlated."""
    structural, medians = PUBLIC[name]
    table = pd.read_csv(folder / name / "data.csv", na_values=".").drop(columns=["LLOQ", "BLOQ", "DVLN"])
    model = pb.PopModel(
        structural=structural,
        parameters={key: pb.Parameter(prior.LogNormal(value, 1.0)) for key, value in medians.items()},
        variability=variability.Correlated(list(medians), sd=prior.HalfNormal(0.4), lkj=2),
        residual=residual.LogNormal(prior.HalfNormal(0.5)),
    )
    return model, pb.read_events(table)


def measured(name: str, study: Study, seed: int, settings: dict[str, Any]) -> dict[str, str]:
    """One fit as a row of the table."""
    dt = pb.fit(*study, seed=seed, progress=False, **settings)
    stages = json.loads(dt.attrs["stages"])
    posterior, stats = dt["posterior"].to_dataset(), dt["sample_stats"].to_dataset()
    chosen = posterior[[str(n) for n in posterior.data_vars if any(p in str(n) for p in POPULATION)]]
    ess, rhat = _extreme(arviz_stats.ess(chosen), np.nanmin), _extreme(arviz_stats.rhat(chosen), np.nanmax)
    start, sampling = (stages[part]["wall_time"] for part in ("warm_start", "sampling"))
    cpu = stages["warm_start"]["cpu_time"] + stages["sampling"]["cpu_time"]
    cells = (
        name,
        "plain" if settings == PLAIN else json.dumps(settings) if settings else "default",
        str(seed),
        f"{rhat:.4f}",
        str(len(pb.traps(dt).table)),
        f"{ess:.0f}",
        f"{float(stats['n_steps'].mean()):.1f}",
        str(int(stats["diverging"].sum())),
        f"{start:.1f}",
        f"{sampling:.1f}",
        f"{ess / (start + sampling):.1f}",
        f"{cpu:.1f}",
        f"{ess / cpu:.1f}",
        f"{os.getloadavg()[0]:.1f}",
    )
    return dict(zip(COLUMNS, cells, strict=True))


def _extreme(values: xr.Dataset, choose: np.ufunc) -> float:
    return float(choose([choose(v.to_numpy()) for v in values.data_vars.values()]))


def known_rows() -> list[dict[str, str]]:
    """Rows of the page as it is."""
    if not RESULTS.exists():
        return []
    lines = [line for line in RESULTS.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [
        dict(zip(COLUMNS, row, strict=True)) for row in rows if len(row) == len(COLUMNS) and row[2].isdigit()
    ]


def merged(rows: list[dict[str, str]], new: dict[str, str]) -> list[dict[str, str]]:
    """Rows with one put in place of an earlier one of the same study, settings and seed, in order."""
    order = [*STUDIES, *PUBLIC]

    def key(row: dict[str, str]) -> tuple[Any, ...]:
        return order.index(row["study"]), row["settings"], int(row["seed"])

    return sorted([*(row for row in rows if key(row) != key(new)), new], key=key)


def page(rows: list[dict[str, str]]) -> str:
    """The Markdown page."""
    return f"{PREAMBLE}{_table(('study', 'settings', *SUMMARY), summaries(rows))}\n{_table(COLUMNS, rows)}"


RATES = ("ESS/s", "ESS/CPU s")
SUMMARY = (
    "fits",
    "worst R-hat",
    "traps",
    "lowest min ESS",
    "median ESS/s",
    "median ESS/CPU s",
    "times plain (wall)",
    "times plain (CPU)",
)


def summaries(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """One row for each study and settings, with the ratios of ESS per second to those of `plain`."""
    groups: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault((row["study"], row["settings"]), []).append(row)

    def median(one: list[dict[str, str]], column: str) -> float:
        return statistics.median(float(row[column]) for row in one)

    found = []
    for (study, settings), one in groups.items():
        plain = groups.get((study, "plain"))
        ratios = [f"{median(one, name) / median(plain, name):.1f}" if plain else "" for name in RATES]
        cells = (
            str(len(one)),
            f"{max(float(row['R-hat']) for row in one):.4f}",
            str(sum(int(row["traps"]) for row in one)),
            f"{min(float(row['min ESS']) for row in one):.0f}",
            f"{median(one, 'ESS/s'):.1f}",
            f"{median(one, 'ESS/CPU s'):.1f}",
            *ratios,
        )
        found.append({"study": study, "settings": settings, **dict(zip(SUMMARY, cells, strict=True))})
    return found


def _table(columns: tuple[str, ...], rows: list[dict[str, str]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return (
        "\n".join([*lines, *("| " + " | ".join(row[name] for name in columns) + " |" for row in rows)]) + "\n"
    )


def main() -> None:
    """Fit every study with every seed, and without warm start, non-centred; write each row as it comes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", nargs="*", choices=[*STUDIES, *PUBLIC], default=None)
    parser.add_argument("--seeds", nargs="*", type=int, default=None)
    parser.add_argument("--plain-seeds", nargs="*", type=int, default=[1])
    parser.add_argument("--public", type=Path, default=None, help="folder of the public benchmark studies")
    asked = parser.parse_args()
    names = asked.study or [*STUDIES, *(PUBLIC if asked.public else ())]
    for name in names:
        if name in PUBLIC and asked.public is None:
            parser.error(f"{name} needs --public FOLDER")
        study = public(asked.public, name) if name in PUBLIC else STUDIES[name]()
        seeds = (
            FEWER_SEEDS.get(name, (1,) if name in PUBLIC else SEEDS) if asked.seeds is None else asked.seeds
        )
        plain = [] if name in PUBLIC else asked.plain_seeds
        pb.fit(*study, draws=2, tune=5, seed=0, progress=False)  # compiles all that the others use
        for seed, settings in [*((seed, {}) for seed in seeds), *((seed, PLAIN) for seed in plain)]:
            row = measured(name, study, seed, settings)
            print("| " + " | ".join(row.values()) + " |", flush=True)
            RESULTS.write_text(page(merged(known_rows(), row)), encoding="utf-8")


if __name__ == "__main__":
    main()
