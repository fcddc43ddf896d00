"""Five studies whose posteriors are known from expert-written Stan programs, fitted with default settings.

The data and the reference posteriors are not part of this project: without them the tests are skipped.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import arviz_stats
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import popbayes as pb
from benchmarks.anchors import MODELS
from tests.tolerances import MCSE, POSTERIOR_SD_REFERENCE

ANCHORS = Path(__file__).parents[1].parent / "shared" / "data" / "anchors"
DATA = pytest.mark.skipif(not ANCHORS.exists(), reason="the reference posteriors are not part of the project")
SEED = 1


@dataclass(frozen=True)
class Anchor:
    """What each row of the reference posterior of a study is called in popbayes."""

    typical: tuple[str, ...]
    varying: tuple[str, ...]
    sigmas: Mapping[str, str]
    draws: int = 1000


BOTH = {"sigma_prop": "sigma_prop", "sigma_add": "sigma_add"}
THREE = ("ka", "CL", "V")
FIVE = ("CL", "V1", "Q", "V2", "ka")
SEVEN = ("Tlag", "ka", "CL", "V", "R0", "kout", "IC50")
NINE = (*FIVE, "MTT", "Circ0", "slope", "gamma")
STUDIES = {
    "theoph": Anchor(THREE, THREE, BOTH),
    "twocpt_md": Anchor(FIVE, FIVE, BOTH),
    "mm": Anchor(("ka", "V", "Vmax", "Km"), ("ka", "V", "Vmax"), BOTH),
    "warfarin": Anchor(
        SEVEN,
        SEVEN[1:],
        {
            "sigma_prop": "sigma_prop_conc",
            "sigma_add": "sigma_add_conc",
            "sigma_pd": "sigma_add_response",
        },
    ),
    "fk": Anchor(
        NINE,
        ("CL", "V1", "MTT", "Circ0", "slope"),
        {"sigma_pk": "sigma_log_conc", "sigma_anc": "sigma_log_neutrophils"},
        # the reference has 1,200 draws: our own error must not be added to its
        draws=3000,
    ),
}
NOISY = 250.0
"""Effective draws of a reference below which its standard deviation is not held against ours."""


def in_reference_names(anchor: Anchor, posterior: xr.Dataset) -> dict[str, xr.DataArray]:
    """Draws under the names of the reference."""
    found = {f"theta.{i}": np.log(posterior[f"{name}_pop"]) for i, name in enumerate(anchor.typical, start=1)}
    for i, name in enumerate(anchor.varying, start=1):
        found[f"omega.{i}"] = posterior["omega"].sel(eta_of=name, drop=True)
    found |= {theirs: posterior[ours] for theirs, ours in anchor.sigmas.items()}
    if "corr" in posterior:
        for i, one in enumerate(anchor.varying, start=1):
            for j, other in enumerate(anchor.varying[: i - 1], start=1):
                found[f"rho.{i}.{j}"] = posterior["corr"].sel(eta_of=one, eta_of_=other, drop=True)
    return found


def compared(anchor: Anchor, posterior: xr.Dataset, reference: pd.DataFrame) -> pd.DataFrame:
    """Row by row: difference of the means in combined Monte-Carlo errors, ratio of the SDs, ESS."""
    rows = {}
    for name, draws in in_reference_names(anchor, posterior).items():
        one = draws.rename("x").to_dataset()
        mcse = float(arviz_stats.mcse(one)["x"])
        theirs = reference.loc[name]
        rows[name] = {
            "mean": float(draws.mean()),
            "their mean": theirs["mean"],
            "errors": abs(float(draws.mean()) - theirs["mean"]) / np.hypot(mcse, theirs["mcse_mean"]),
            "sd ratio": float(draws.std()) / theirs["sd"],
            "ess": float(arviz_stats.ess(one)["x"]),
            "their ess": theirs["ess_bulk"],
            "rhat": float(arviz_stats.rhat(one)["x"]),
        }
    return pd.DataFrame(rows).T


def fitted(name: str) -> tuple[xr.DataTree, pd.DataFrame]:
    """Fit a study with default settings and compare it with its reference."""
    anchor = STUDIES[name]
    data = pb.read_events(pd.read_csv(ANCHORS / f"{name}.csv"), covariates=["WT"])
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        dt = pb.fit(MODELS[name](), data, draws=anchor.draws, seed=SEED, progress=False)
    reference = pd.read_csv(ANCHORS / f"posterior_{name}.csv", index_col="param")
    return dt, compared(anchor, dt["posterior"].to_dataset(), reference)


@DATA
@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_a_fit_with_default_settings_gives_the_reference_posterior(name):
    _, table = fitted(name)
    assert table["rhat"].max() < 1.03, table
    assert table["errors"].max() < MCSE, table
    firm = table[(table["their ess"] >= NOISY) & (table["ess"] >= NOISY)]
    assert len(firm) > len(table) / 2, table
    assert firm["sd ratio"].between(1 - POSTERIOR_SD_REFERENCE, 1 + POSTERIOR_SD_REFERENCE).all(), table
