"""A fit without sampling: draws from the priors, posing as a posterior."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from popbayes.data.datasets import load_dataset
from popbayes.data.events import EventTable, read_events
from popbayes.data.regimen import Regimen
from popbayes.diagnostics.vpc import vpc
from popbayes.model import PopModel
from popbayes.observation import residual
from popbayes.parameters import covariates, priors, variability
from popbayes.parameters.parameter import Parameter
from popbayes.simulation import as_data, simulate
from popbayes.structural.pk import FirstOrder, OneCompartment

SIGMA = residual.Combined(add=priors.HalfNormal(0.5), prop=priors.HalfNormal(0.2))


def theophylline_model(**changes: Any) -> PopModel:
    """One compartment with every kind of row: fixed and estimated coefficients, correlations, two sigmas."""
    parts: dict[str, Any] = {
        "structural": OneCompartment(absorption=FirstOrder()),
        "parameters": {
            "ka": Parameter(priors.LogNormal(1.5, 0.2), unit="1/h"),
            "CL": Parameter(
                priors.LogNormal(2.8, 0.1),
                covariates=[covariates.Power("WT", ref=70, exponent=0.75)],
                unit="L/h",
            ),
            "V": Parameter(
                priors.LogNormal(32.0, 0.1),
                covariates=[covariates.Power("WT", ref=70, exponent=priors.Normal(1, 0.2))],
                unit="L",
            ),
        },
        "variability": [
            variability.Correlated(["ka", "V"], sd=priors.Gamma(alpha=40, beta=100)),
            variability.Independent(["CL"], sd=priors.Gamma(alpha=40, beta=100)),
        ],
        "residual": SIGMA,
        "name": "oral",
    }
    return PopModel(**(parts | changes))


def posed_fit(
    model: PopModel | None = None,
    data: EventTable | None = None,
    *,
    chains: int = 4,
    draws: int = 50,
    seed: int = 1,
) -> xr.DataTree:
    """Return a DataTree as `fit` makes it, with independent draws from the priors in place of a posterior."""
    data = load_dataset("theophylline") if data is None else data
    model = (model or theophylline_model()).resolved(data)
    tree = simulate(model, data, seed=seed, n=chains * draws)
    rng = np.random.default_rng(seed)
    prior = tree["prior"].to_dataset()
    first, coords = ("chain", "draw"), {"chain": np.arange(chains), "draw": np.arange(draws)}
    variables: dict[str, Any] = {}
    for name, one in prior.data_vars.items():
        values = one.to_numpy()[0]
        variables[str(name)] = ((*one.dims,), values.reshape(chains, draws, *values.shape[1:]))
    if model.eta_names:
        omega = variables["omega"][1][:, :, None, :]
        eta = omega * rng.standard_normal((chains, draws, data.n_subject, len(model.eta_names)))
        variables["eta"] = ((*first, "subject", "eta_of"), eta)
    labels = {str(d): prior[d].to_numpy() for d in prior.coords if d not in first}
    stats = {
        "diverging": np.zeros((chains, draws), dtype=bool),
        "energy": rng.standard_normal((chains, draws)),
    }
    groups = {name: tree[name].to_dataset() for name in ("constant_data", "observed_data", "events")}
    out = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset(variables, coords=coords | labels | {"subject": data.subjects}),
            "sample_stats": xr.Dataset({k: (first, v) for k, v in stats.items()}, coords=coords),
            **groups,
        }
    )
    settings = {
        "sampler": "none",
        "chains": chains,
        "draws": draws,
        "tune": 0,
        "wall_time": 1.0,
        "cpu_time": 1.0,
    }
    out.attrs.update({**tree.attrs, **settings})
    return out


def with_posterior(dt: xr.DataTree, posterior: xr.Dataset) -> xr.DataTree:
    """Return the same tree with other draws."""
    out = dt.copy()
    out["posterior"] = xr.DataTree(posterior)
    return out


def with_dv(data: EventTable, values: np.ndarray) -> EventTable:
    """Return the same table with other observed values."""
    dv = data.dv.copy()
    dv[data.obs_record] = values
    return replace(data, dv=dv)


def censored_check(**options):
    """A design of 60 subjects simulated from a known model, values below 0.3 censored, and its check."""
    model = PopModel(
        OneCompartment(),
        {"CL": Parameter(5.0), "V": Parameter(50.0)},
        None,
        residual.Proportional(0.2),
    )
    design = Regimen(times=[1.0, 12.0, 24.0]).dose(100).to_events(60)
    table = as_data(simulate(model, design, {}, seed=3)).to_frame()
    seen = table["EVID"] == 0
    table.loc[seen, "LLOQ"] = 0.3
    table.loc[seen & (table["DV"] < 0.3), ["CENS", "DV"]] = [1, 0.3]
    return vpc(simulate(model, read_events(table), {}, seed=4, n=200), **options)


def two_endpoints(second: Any = None) -> xr.DataTree:
    """Concentrations (DVID 1), and at the same times amounts (DVID 2) or what is given instead, always 1."""
    model = theophylline_model(
        structural=OneCompartment(absorption=FirstOrder(), also=("A_central",)),
        residual={"conc": residual.Additive(1.0), "A_central": second or residual.Additive(200.0)},
        dvid={1: "conc", 2: "A_central"},
    )
    table = load_dataset("theophylline").to_frame().assign(DVID=1)
    again = table[table["EVID"] == 0].assign(DVID=2)
    again["DV"] = 1 if second else 32 * again["DV"]
    both = pd.concat([table, again]).sort_values(["ID", "TIME", "EVID"], kind="stable")
    return posed_fit(model, read_events(both, covariates=["WT"], units={"TIME": "h"}), draws=20)


def censored_fit(limit: float = 1.0, **changes: Any) -> xr.DataTree:
    """Theophylline with an assay that ends at `limit`."""
    table = load_dataset("theophylline").to_frame()
    seen = table["EVID"] == 0
    table.loc[seen, "LLOQ"] = limit
    table.loc[seen, "BLQ"] = (table["DV"] < limit).astype(int)
    data = read_events(table.drop(columns="CENS", errors="ignore"), covariates=["WT"], units={"TIME": "h"})
    return posed_fit(theophylline_model(**changes), data, draws=20)
