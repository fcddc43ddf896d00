"""The parameter table of point estimates, with what must be known before reading it."""

import json
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import norm

from popbayes.diagnostics.failures import failure_messages
from popbayes.diagnostics.result import Table
from popbayes.diagnostics.shrinkage import eta_shrinkage, level_shrinkage
from popbayes.dims import ESTIMATES, OBJECTIVE, OMEGA, PARAMETER
from popbayes.infer.tree import draws_or_estimate, study_of
from popbayes.model import PopModel, Row
from popbayes.parameters.parameter import Parameter

ILL_CONDITIONED = 1000.0
"""Condition number of the correlation matrix of the estimates above which the model has too much in it."""


def estimates_table(dt: xr.DataTree, interval: float) -> pd.DataFrame:
    """Numbers of the parameter table: value, SE, RSE%, normal interval, CV% and shrinkage%.

    Intervals are normal on the scale on which the value is unbounded (logarithm of a typical value on the
    log scale and of an SD, inverse hyperbolic tangent of a correlation), and so never leave its range.
    """
    study = study_of(dt)
    found = dt[ESTIMATES].to_dataset()
    labels = [str(label) for label in found[PARAMETER].to_numpy()]
    shrunk = _shrinkage(study.model, draws_or_estimate(dt))
    records = []
    rows = study.model.population_rows(study.model.observation.units(study.events))
    for row in rows:
        value, se = (np.nan if row.value is None else row.value), np.nan
        if not row.fixed:
            value, se = (float(found[name][labels.index(row.label)]) for name in ("value", "se"))
        low, high = bounds(row, study.model.parameters.get(row.parameter), value, se, interval)
        log_omega = row.kind in ("omega", "level") and row.scale == "log"
        records.append(
            {
                "unit": row.unit,
                "estimate": value,
                "se": se,
                "rse_percent": 100 * se / abs(value) if value else np.nan,
                "lower": low,
                "upper": high,
                "cv_percent": 100 * np.sqrt(np.expm1(value**2)) if log_omega else np.nan,
                "shrinkage_percent": 100 * shrunk.get((row.name, row.index), np.nan),
                "fixed": row.fixed,
                "prior": row.prior,
            }
        )
    return pd.DataFrame(records, index=pd.Index([row.label for row in rows], name="parameter"))


def _shrinkage(model: PopModel, draws: xr.Dataset) -> dict[tuple[str, Any], float]:
    """Shrinkage of every random effect by the name and place of its SD, as fractions."""
    found: dict[tuple[str, Any], float] = {
        (OMEGA, str(name)): one for name, one in eta_shrinkage(draws)["shrinkage"].items()
    }
    for level in model.groupings:
        own = level_shrinkage(level, draws)["shrinkage"].to_numpy()
        found |= {(level.sd, name): one for name, one in zip(level.names, own, strict=True)}
    return found


def bounds(
    row: Row, parameter: Parameter | None, value: float, se: float, interval: float
) -> tuple[float, float]:
    """Interval of one value, normal on its unbounded scale."""
    if not np.isfinite(se):
        return np.nan, np.nan
    reach = float(norm.ppf((1 + interval) / 2)) * se
    positive = row.kind in ("omega", "level") or (row.kind == "sigma" and row.scale != "identity")
    if positive or (row.kind == "pop" and row.scale == "log"):
        with np.errstate(over="ignore"):  # next to nothing is known of it: the upper end is infinite
            return value * np.exp(-reach / value), value * np.exp(reach / value)
    if row.kind == "corr":
        reach /= 1 - value**2
        return float(np.tanh(np.arctanh(value) - reach)), float(np.tanh(np.arctanh(value) + reach))
    if row.kind == "pop" and row.scale == "logit" and parameter is not None:
        low, high = parameter.lower, parameter.upper
        reach *= (high - low) / ((value - low) * (high - value))
        place = np.log((value - low) / (high - value))
        ends = [low + (high - low) / (1 + np.exp(-(place + sign * reach))) for sign in (-1, 1)]
        return ends[0], ends[1]
    return value - reach, value + reach


def summary_of_estimates(
    dt: xr.DataTree, interval: float, printed: pd.DataFrame, table: pd.DataFrame
) -> Table:
    """The table with its title, problems and notes; `printed` are the cells of `table`."""
    study, said = study_of(dt), json.loads(dt.attrs["messages"])
    priors, problems = said[-1], (*said[:-1], *failure_messages(dt))
    own = json.loads(dt.attrs.get("notes", "[]"))
    condition = float(dt[ESTIMATES].attrs["condition_number"])
    if condition > ILL_CONDITIONED:
        problems += (
            f"The estimates depend on each other (condition number {condition:.0f}, above "
            f"{ILL_CONDITIONED:.0f}): the data do not tell them apart. A simpler model is likely to do as "
            "well.",
        )
    name = study.model.name or type(study.model.structural).__name__
    return Table(
        table=table,
        printed=printed,
        messages=problems,
        title=f"Population parameters of {name}: {method_text(dt)}",
        notes=(priors, *own, objective_text(dt), notes_text(dt, interval, condition)),
    )


def method_text(dt: xr.DataTree) -> str:
    """Method and number of iterations."""
    state = "converged" if int(dt.attrs["converged"]) else "NOT converged"
    label = str(dt[OBJECTIVE]["approximation"].to_numpy()[0])
    return f"{dt.attrs['method']} ({label}), {state} after {dt.attrs['n_iteration']} iterations"


def objective_text(dt: xr.DataTree) -> str:
    """Objective function and information criteria, a sentence for each approximation."""
    found, parts = dt[OBJECTIVE].to_dataset(), []
    for label in found["approximation"].to_numpy():
        one = {name: float(v) for name, v in found.sel(approximation=label).data_vars.items() if v.ndim == 0}
        error = f" (Monte-Carlo SE {one['mc_error']:.2f})" if one["mc_error"] else ""
        parts.append(
            f"{label}: -2 log L {one['minus2ll']:.3f}{error}, OFV {one['ofv']:.3f} (without n log 2 pi), "
            f"AIC {one['aic']:.2f}, BIC {one['bic_subjects']:.2f} (subjects), "
            f"{one['bic_observations']:.2f} (observations), {one['bic_mixed']:.2f} (mixed)."
        )
    return " ".join(parts)


def notes_text(dt: xr.DataTree, interval: float, condition: float) -> str:
    """What the columns mean."""
    information = dt[ESTIMATES].attrs["information"]
    return (
        f"SE: by the {information} information of the marginal likelihood (condition number "
        f"{condition:.3g}); interval: {100 * interval:g} %, normal on the unbounded scale of each value; "
        "omega: standard deviation of the random effect; shrinkage%: of the conditional modes, SD scale."
    )
