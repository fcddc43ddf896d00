"""The parameter table of a fit, as a paper prints it, with what must be known before reading it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from popbayes.diagnostics.conflict import conflict_messages
from popbayes.diagnostics.convergence import convergence_messages, mixing
from popbayes.diagnostics.failures import failure_messages
from popbayes.diagnostics.population import draws_of, estimated_draws
from popbayes.diagnostics.result import Table
from popbayes.diagnostics.shrinkage import eta_shrinkage
from popbayes.diagnostics.summary_estimates import estimates_table, summary_of_estimates
from popbayes.diagnostics.traps import trap_messages
from popbayes.infer.tree import is_estimate, posterior, study_of
from popbayes.model import Row

FIXED = "FIX"
MOST_RSE = 999
"""RSE% that is printed as a number; beyond it the estimate is near 0, and the ratio says nothing."""


def summary(dt: xr.DataTree, *, interval: float = 0.95, point: str = "mean") -> Table:
    r"""Parameter table: one row for each quantity of the population, in the model's order.

    Typical values, covariate coefficients, random effects (:math:`\omega`, a standard deviation; its CV% is
    :math:`100 \sqrt{e^{\omega^2} - 1}` for a log-normal parameter), correlations, and residual parameters.
    Fixed ones are marked FIX.

    Parameters
    ----------
    dt : DataTree
        A fit, or an estimate (`popbayes.estimate`): then estimates with standard errors and normal intervals,
        the objective function and information criteria below.
    interval : float
        Probability of the equal-tailed interval.
    point : {"mean", "median"}
        The estimate that is given.

    Returns
    -------
    Table
        Prints what speaks against the fit first (`messages`: chains trapped in different modes, R-hat above
        1.01, ESS below 400, divergences, low BFMI, values beyond their priors, differential equations that
        could not be solved), then the table. `table` is a DataFrame: `unit`, `mean` (or `median`), `sd`,
        `rse_percent` (100 sd / estimate), `lower`, `upper`, `cv_percent`,
        `shrinkage_percent` (of the random effect, SD scale), `rhat`, `ess_bulk`, `ess_tail`, `fixed` and
        `prior`, indexed by the name in the DataTree.

    References
    ----------
    Vehtari, Gelman, Simpson, Carpenter & Bürkner, *Bayesian Analysis* 16 (2021) 667-718, on R-hat and ESS.
    """
    if point not in ("mean", "median"):
        raise ValueError(f'point must be "mean" or "median", not {point!r}.')
    if not 0 < interval < 1:
        raise ValueError(f"interval must be a probability between 0 and 1, not {interval!r}.")
    if is_estimate(dt):
        estimated = estimates_table(dt, interval)
        return summary_of_estimates(dt, interval, printed(estimated, interval, "estimate"), estimated)
    study, draws = study_of(dt), posterior(dt)
    rows = study.model.population_rows(study.model.observation.units(study.events))
    table = population_table(rows, draws, interval, point)
    chains, size = draws.sizes["chain"], draws.sizes["draw"]
    name = study.model.name or type(study.model.structural).__name__
    many = "chain" if chains == 1 else "chains"
    return Table(
        table=table,
        printed=printed(table, interval, point),
        messages=(
            *trap_messages(dt),
            *convergence_messages(dt, draws, rows),
            *conflict_messages(study.model, draws),
            *failure_messages(dt),
        ),
        title=f"Population parameters of {name}: {chains} {many} of {size} draws",
        notes=(notes(table, interval),),
    )


def notes(table: pd.DataFrame, interval: float) -> str:
    """What the columns that are printed mean."""
    words = [
        ("omega: standard deviation of the random effect", "omega" in " ".join(table.index)),
        ("CV%: of a log-normal parameter", table["cv_percent"].notna().any()),
        ("RSE%: posterior SD over estimate", True),
        ("shrinkage%: of the random effects, SD scale", table["shrinkage_percent"].notna().any()),
        (f"interval: {100 * interval:g} %, equal-tailed", True),
        ("FIX: not estimated", table["fixed"].any()),
    ]
    return "; ".join(text for text, shown in words if shown) + "."


def population_table(rows: list[Row], draws: xr.Dataset, interval: float, point: str) -> pd.DataFrame:
    """Numbers of the parameter table; see `summary`."""
    shrunk = eta_shrinkage(draws)["shrinkage"].to_dict()
    labels, values = estimated_draws(rows, draws)
    mixed = mixing(labels, values)
    place = {label: i for i, label in enumerate(labels)}
    records = []
    for row in rows:
        record = _fixed(row) if row.fixed else _estimate(draws_of(row, draws), interval, point)
        estimate = record["estimate"]
        record["rse_percent"] = 100 * record["sd"] / abs(estimate) if estimate else np.nan
        log_omega = row.kind in ("omega", "level") and row.scale == "log"
        record["cv_percent"] = 100 * np.sqrt(np.expm1(estimate**2)) if log_omega else np.nan
        record["shrinkage_percent"] = 100 * shrunk.get(row.index, np.nan) if row.kind == "omega" else np.nan
        for name in ("rhat", "ess_bulk", "ess_tail"):
            record[name] = getattr(mixed, name)[place[row.label]] if row.label in place else np.nan
        records.append({"unit": row.unit, point: estimate, **record, "fixed": row.fixed, "prior": row.prior})
    order = ["unit", point, "sd", "rse_percent", "lower", "upper", "cv_percent", "shrinkage_percent"]
    order += ["rhat", "ess_bulk", "ess_tail", "fixed", "prior"]
    index = pd.Index([row.label for row in rows], name="parameter")
    return pd.DataFrame(records, index=index, columns=order)


def _fixed(row: Row) -> dict[str, float]:
    value = np.nan if row.value is None else row.value
    return {"estimate": value, "sd": np.nan, "lower": np.nan, "upper": np.nan}


def _estimate(values: np.ndarray, interval: float, point: str) -> dict[str, float]:
    low, high = np.quantile(values, ((1 - interval) / 2, (1 + interval) / 2))
    centre = values.mean() if point == "mean" else np.median(values)
    return {
        "estimate": float(centre),
        "sd": float(values.std(ddof=1)),
        "lower": float(low),
        "upper": float(high),
    }


@dataclass(frozen=True)
class Column:
    """How a column is headed and its cells written."""

    head: str
    write: Callable[[float], str]


def printed(table: pd.DataFrame, interval: float, point: str) -> pd.DataFrame:
    """Cells as text, three significant figures; columns that are empty throughout are left out."""
    tails = [f"{50 * (1 - interval):.3g}%", f"{50 * (1 + interval):.3g}%"]
    columns = {
        point: Column(point, significant),
        "sd": Column("SD", significant),
        "se": Column("SE", significant),
        "rse_percent": Column("RSE%", lambda v: f"{v:.1f}" if v < MOST_RSE else f">{MOST_RSE}"),
        "lower": Column(tails[0], significant),
        "upper": Column(tails[1], significant),
        "cv_percent": Column("CV%", "{:.1f}".format),
        "shrinkage_percent": Column("shrinkage%", "{:.1f}".format),
        "rhat": Column("R-hat", "{:.3f}".format),
        "ess_bulk": Column("ESS bulk", "{:.0f}".format),
        "ess_tail": Column("ESS tail", "{:.0f}".format),
    }
    cells = {"unit": table["unit"].tolist()} if table["unit"].any() else {}
    for name, column in columns.items():
        values = table[name].to_numpy() if name in table else np.array([np.nan])
        if np.isfinite(values).any():
            cells[column.head] = [column.write(v) if np.isfinite(v) else "" for v in values]
    error = next((head for head in ("SD", "SE") if head in cells), None)
    if error:
        cells[error] = [
            FIXED if fixed else cell for fixed, cell in zip(table["fixed"], cells[error], strict=True)
        ]
    elif table["fixed"].any():
        cells["SD"] = [FIXED if fixed else "" for fixed in table["fixed"]]
    return pd.DataFrame(cells, index=table.index)


def significant(value: float, figures: int = 3) -> str:
    """Return a number with three figures or more, without exponent where it can: ``0.0340``, ``2857``."""
    if value == 0:
        return "0"
    size = int(np.floor(np.log10(abs(value))))
    if not -5 <= size < 7:
        return f"{value:.{figures - 1}e}"
    size = int(np.floor(np.log10(abs(round(value, figures - 1 - size)))))
    return f"{value:.{max(0, figures - 1 - size)}f}"
