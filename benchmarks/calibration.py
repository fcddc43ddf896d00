"""Simulation-based calibration: ``uv run python -m benchmarks.calibration michaelis_menten``.

Each study is simulated from values that are drawn from the prior of its own fit. The rank of such a value
among the draws of its posterior is then uniform, if simulator and sampler are right; a bias, or intervals too
wide or too narrow, bends the distribution of the ranks. A check is any model with any design: add it to
`CHECKS`.

References
----------
Talts, Betancourt, Simpson, Vehtari & Gelman, *Validating Bayesian inference algorithms with simulation-based
calibration*, arXiv:1804.06788 (2018); Säilynoja, Bürkner & Vehtari, *Graphical test for discrete uniformity
and its applications in goodness-of-fit evaluation*, Stat. Comput. 32 (2022) 32.
"""

import argparse
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import arviz_stats
import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

import popbayes as pb
from benchmarks.keeping import over_seeds
from popbayes import censoring, pk, prior, residual, variability
from popbayes.data.regimen import regimens
from popbayes.simulation import as_data

DRAWS_KEPT = 99
"""Draws of a posterior that a truth is ranked among, evenly spaced: far enough apart to be independent."""
BINS = 10
STUDIES = 60
FIRST_SEED = 5000
SIMULATED_SETS = 4000
LEVEL = 0.05
SETTINGS = {"chains": 2, "draws": 500, "tune": 300, "adaptation": "low_rank"}
"""Of a fit unless a check says otherwise; the adaptation keeps draws of correlated posteriors far apart."""
Ranks = dict[str, int]


def as_simulated(data: pb.EventTable) -> pb.EventTable:
    """Leave a simulated study as it is."""
    return data


@dataclass(frozen=True)
class Check:
    """What is calibrated.

    Attributes
    ----------
    model
        With proper priors; nothing else is asked of it.
    design
        Doses and sampling times; observed values are not looked at.
    recorded
        What a laboratory makes of a simulated study, such as values below a limit.
    options
        Arguments of `popbayes.fit` beside model, data and seed.
    """

    model: pb.PopModel
    design: pb.EventTable
    recorded: Callable[[pb.EventTable], pb.EventTable] = as_simulated
    options: Mapping[str, Any] = field(default_factory=lambda: dict(SETTINGS))


def michaelis_menten() -> Check:
    """Saturable elimination after a bolus, ten subjects, two doses: differential equations."""
    around = {"V": 40.0, "Vmax": 15.0, "Km": 3.0}
    model = pb.PopModel(
        structural=pk.MichaelisMenten(),
        parameters={name: pb.Parameter(prior.LogNormal(value, 0.3)) for name, value in around.items()},
        variability=variability.Independent(["V", "Vmax"], sd=prior.HalfNormal(0.3)),
        residual=residual.LogNormal(prior.HalfNormal(0.2)),
    )
    doses = [150.0] * 5 + [450.0] * 5
    design = regimens(
        {i: pb.Regimen().dose(dose).sample([0.5, 2, 5, 10, 16, 24]) for i, dose in enumerate(doses, start=1)}
    )
    return Check(model, design)


def occasions() -> Check:
    """Ten subjects in two occasions, the second with what the first left: clearance differs between both."""
    model = pb.PopModel(
        structural=pk.OneCompartment(),
        parameters={
            "CL": pb.Parameter(prior.LogNormal(5.0, 0.3)),
            "V": pb.Parameter(prior.LogNormal(50.0, 0.3)),
        },
        variability=[
            variability.Independent(["CL", "V"], sd=prior.HalfNormal(0.3)),
            variability.Occasion(["CL"], sd=prior.HalfNormal(0.3)),
        ],
        residual=residual.LogNormal(prior.HalfNormal(0.2)),
    )
    rows = [
        {"ID": i, "TIME": 12.0 * k + t, "AMT": 100.0 * (t == 0), "EVID": int(t == 0), "OCC": k + 1}
        for i in range(1, 11)
        for k in range(2)
        for t in (0.0, 1.0, 6.0, 11.0)
    ]
    return Check(model, pb.read_events(pd.DataFrame(rows)))


def limits() -> Check:
    """Twelve subjects, the last samples of many below a limit of quantification; M3."""
    model = pb.PopModel(
        structural=pk.OneCompartment(),
        parameters={
            "CL": pb.Parameter(prior.LogNormal(5.0, 0.3)),
            "V": pb.Parameter(prior.LogNormal(50.0, 0.3)),
        },
        variability=variability.Independent(["CL", "V"], sd=prior.HalfNormal(0.3)),
        residual=residual.Combined(add=prior.HalfNormal(0.1), prop=prior.HalfNormal(0.2)),
        censoring=censoring.M3(),
    )
    design = pb.Regimen().dose(100).sample([1, 8, 16, 24]).to_events(12)
    return Check(model, design, recorded=below_the_limit)


def below_the_limit(data: pb.EventTable, lloq: float = 0.3) -> pb.EventTable:
    """Make all samples below a limit known as that only."""
    table = data.to_frame().drop(columns="CENS", errors="ignore")
    sample = table["EVID"] == 0
    table.loc[sample, "LLOQ"] = lloq
    table.loc[sample, "BLQ"] = (table["DV"] < lloq).astype(int)
    return pb.read_events(table)


CHECKS: dict[str, Callable[[], Check]] = {
    "michaelis_menten": michaelis_menten,
    "occasions": occasions,
    "limits": limits,
}


def scalars(values: xr.Dataset) -> dict[str, np.ndarray]:
    """Every single number in a Dataset of draws: name, with its labels -> draws."""
    found = {}
    for name, one in values.data_vars.items():
        flat = one.stack(all_draws=("chain", "draw")).transpose("all_draws", ...)
        labels = [[str(x) for x in flat[d].to_numpy()] for d in flat.dims[1:]]
        for place in np.ndindex(*flat.shape[1:]):
            at = ", ".join(labels[i][j] for i, j in enumerate(place))
            found[f"{name}[{at}]" if at else str(name)] = flat.to_numpy()[(slice(None), *place)]
    return found


def ranked(truth: xr.Dataset, posterior: xr.Dataset) -> Ranks:
    """How many of the kept draws lie below each true value; fixed values and repeated ones left out."""
    ranks: Ranks = {}
    seen: list[float] = []
    drawn = scalars(posterior[[name for name in truth.data_vars if name in posterior]])
    for name, value in scalars(truth[[name for name in truth.data_vars if name in posterior]]).items():
        draws = drawn[name]
        # a correlation matrix holds each number twice, and ones
        if np.ptp(draws) == 0 or value[0] in seen:
            continue
        seen.append(value[0])
        kept = draws[np.linspace(0, len(draws) - 1, DRAWS_KEPT).round().astype(int)]
        ranks[name] = int((kept < value[0]).sum())
    return ranks


def study(check: Check, seed: int) -> dict[str, Any]:
    """Simulate one study, fit it, rank its truth."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of single fits: what they amount to is what is measured
        simulated = pb.simulate(check.model, check.design, seed=seed, n=1)
        data = check.recorded(as_data(simulated))
        dt = pb.fit(check.model, data, seed=seed, progress=False, **check.options)
    truth = simulated["prior"].to_dataset()
    posterior = dt["posterior"].to_dataset()
    chosen = posterior[[name for name in truth.data_vars if name in posterior]]
    ess = min(float(v.min()) for v in arviz_stats.ess(chosen).data_vars.values())
    rhat = max(float(v.max()) for v in arviz_stats.rhat(chosen).data_vars.values())
    return {"ranks": ranked(truth, posterior), "ess": ess, "rhat": rhat}


def run(
    check: Check, studies: int, keep: Path | None = None, first: int = FIRST_SEED
) -> list[dict[str, Any]]:
    """Rank over `studies` studies; those that `keep` holds already are not done again."""
    return over_seeds(partial(study, check), range(first, first + studies), keep)


def extremity(counts: np.ndarray, studies: int) -> np.ndarray:
    """The least likely of the points of the distribution function: its two-sided binomial probability.

    Parameters
    ----------
    counts : (..., DRAWS_KEPT)
        How many ranks lie below 1, 2, ..., `DRAWS_KEPT`.
    studies : int
    """
    expected = np.arange(1, DRAWS_KEPT + 1) / (DRAWS_KEPT + 1)
    below = stats.binom.cdf(counts, studies, expected)
    above = stats.binom.sf(counts - 1, studies, expected)
    return 2.0 * np.minimum(below, above).min(axis=-1)


def cumulated(ranks: np.ndarray) -> np.ndarray:
    """How many of the ranks (..., n) lie below 1, 2, ..., `DRAWS_KEPT`."""
    return (ranks[..., None, :] < np.arange(1, DRAWS_KEPT + 1)[:, None]).sum(axis=-1)


@dataclass(frozen=True)
class Uniformity:
    """What speaks against uniform ranks of one quantity.

    `chi_square` and `envelope` are p values: of a histogram of `BINS` bins, and of the largest excursion of
    the distribution function beyond what simulated uniform ranks show anywhere along it.
    """

    name: str
    histogram: tuple[int, ...]
    chi_square: float
    envelope: float


def uniformity(ranks: Mapping[str, Sequence[int]], seed: int = 0) -> list[Uniformity]:
    """Test each quantity's ranks."""
    studies = len(next(iter(ranks.values())))
    rng = np.random.default_rng(seed)
    uniform = rng.integers(0, DRAWS_KEPT + 1, size=(SIMULATED_SETS, studies))
    chance = np.array([extremity(cumulated(one), studies) for one in uniform])
    found = []
    for name, own in ranks.items():
        values = np.asarray(own)
        histogram = np.bincount(values * BINS // (DRAWS_KEPT + 1), minlength=BINS)
        least = extremity(cumulated(values), studies)
        envelope = float((1 + (chance <= least).sum()) / (1 + SIMULATED_SETS))
        found.append(
            Uniformity(name, tuple(map(int, histogram)), float(stats.chisquare(histogram).pvalue), envelope)
        )
    return found


def by_name(results: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Ranks of each quantity over the studies."""
    return {name: [one["ranks"][name] for one in results] for name in results[0]["ranks"]}


def page(name: str, check: Check, results: Sequence[Mapping[str, Any]]) -> str:
    """Lay the tests out as a table."""
    found = uniformity(by_name(results))
    ess = np.array([one["ess"] for one in results])
    rhat = np.array([one["rhat"] for one in results])
    smallest = min(one.envelope for one in found)
    rows = "".join(
        f"| {one.name} | {' '.join(map(str, one.histogram))} | {one.chi_square:.3f} | {one.envelope:.3f} |\n"
        for one in found
    )
    settings = ", ".join(f"{key}={value}" for key, value in check.options.items())
    return (
        f"# Simulation-based calibration: {name}\n\n"
        f"Written by `uv run python -m benchmarks.calibration {name}`: {len(results)} studies of "
        f"{check.design.n_subject} subjects and {check.design.n_obs}\nobservations, each with a truth drawn "
        f"from the priors of its fit (`pb.fit` with {settings}, else\ndefaults). Rank of the truth among "
        f"{DRAWS_KEPT} draws of the posterior, in {BINS} bins; p values of a chi-square test of the\n"
        "histogram, and of the whole distribution function against its simultaneous envelope.\n\n"
        f"Of {len(found)} quantities, the smallest p value of the envelope is {smallest:.3f}; an exact "
        f"sampler has one below\n{LEVEL / len(found):.4f} in less than {LEVEL:.0%} of such tables. Least ESS "
        f"of a study: median {np.median(ess):.0f}, smallest {ess.min():.0f}; largest R-hat: median\n"
        f"{np.median(rhat):.3f}, largest {rhat.max():.3f}.\n\n"
        "| quantity | studies in each bin | p, chi-square | p, envelope |\n|---|---|---|---|\n" + rows
    )


def main() -> None:
    """Calibrate one check and write its page."""
    parser = argparse.ArgumentParser(description="Simulation-based calibration.")
    parser.add_argument("check", choices=list(CHECKS))
    parser.add_argument("--studies", type=int, default=STUDIES)
    parser.add_argument("--keep", type=Path, help="file of finished studies: an interrupted run goes on")
    asked = parser.parse_args()
    check = CHECKS[asked.check]()
    text = page(asked.check, check, run(check, asked.studies, asked.keep))
    print(text)
    if asked.studies >= STUDIES:
        Path(__file__).with_name(f"calibration_{asked.check}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
