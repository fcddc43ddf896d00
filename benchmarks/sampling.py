"""Draws and effective draws per second of a whole fit with the default sampler."""

from dataclasses import dataclass

import arviz_stats
import numpy as np
import xarray as xr

import popbayes as pb

SEED = 7
POPULATION = ("_pop", "omega", "sigma_", "beta_", "corr")


@dataclass(frozen=True)
class Sampling:
    """What a fit gave and what it cost; `wall` is the fit from call to result, compilation included."""

    chains: int
    tune: int
    draws: int
    wall: float
    cpu: float
    min_ess: float
    max_rhat: float
    divergences: int
    steps: float


def sample(model: pb.PopModel, data: pb.EventTable, tune: int, draws: int) -> Sampling:
    """Fit with four chains and look at the population parameters."""
    dt = pb.fit(model, data, tune=tune, draws=draws, seed=SEED, progress=False, log_likelihood=False)
    posterior, stats = dt["posterior"].to_dataset(), dt["sample_stats"].to_dataset()
    population = posterior[[str(n) for n in posterior.data_vars if any(p in str(n) for p in POPULATION)]]
    return Sampling(
        posterior.sizes["chain"],
        tune,
        draws,
        float(dt.attrs["wall_time"]),
        float(dt.attrs["cpu_time"]),
        _extreme(arviz_stats.ess(population), np.nanmin),
        _extreme(arviz_stats.rhat(population), np.nanmax),
        int(stats["diverging"].sum()),
        float(stats["n_steps"].mean()),
    )


def _extreme(values: xr.Dataset, choose: np.ufunc) -> float:
    return float(choose([choose(v.to_numpy()) for v in values.data_vars.values()]))
