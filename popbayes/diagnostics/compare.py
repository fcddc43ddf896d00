"""Comparison of fits by what they predict, through ArviZ."""

from collections.abc import Mapping
from typing import Any

import arviz_stats
import numpy as np
import pandas as pd
import xarray as xr

from popbayes.diagnostics.compare_estimates import compare_estimates
from popbayes.diagnostics.elpd import QUESTION, the_unit
from popbayes.diagnostics.loo import loo
from popbayes.diagnostics.result import Table
from popbayes.infer.tree import is_estimate, study_of

COLUMNS = ("unit", "rank", "elpd", "se", "elpd_diff", "dse", "p", "weight", "diagnosis")
FORMATS = {
    "rank": "{:.0f}", "elpd": "{:.1f}", "se": "{:.1f}", "elpd_diff": "{:.1f}", "dse": "{:.1f}", "p": "{:.1f}",
    "weight": "{:.2f}",
}  # fmt: skip
METHODS = ("stacking", "bb-pseudo-bma", "pseudo-bma")


def compare(models: Mapping[str, xr.DataTree], *, unit: str = "obs", method: str = "stacking") -> Table:
    """Compare fits to the same data by leave-one-out; estimates by their likelihoods, AIC and BIC.

    Parameters
    ----------
    models : name -> DataTree
        Two fits or more, to the same observations.
    unit : {"obs"}
        What is left out: one observation of a known subject. ``"subject"`` comes later.
    method : {"stacking", "bb-pseudo-bma", "pseudo-bma"}
        How the weights are computed.

    Returns
    -------
    Table
        One row for each model, the best first: `unit`, `rank`, `elpd` and its `se`, the difference to the
        best (`elpd_diff`) and its standard error (`dse`), effective number of parameters `p`, `weight`, and
        `diagnosis`: what ArviZ says against the number.

    Raises
    ------
    TypeError
        Where the fits have no names.
    ValueError
        Where the fits are not to the same observations.
    NotImplementedError
        For ``unit="subject"``.

    References
    ----------
    Vehtari, Gelman & Gabry, *Statistics and Computing* 27 (2017) 1413-1432;
    Yao, Vehtari, Simpson & Gelman, *Bayesian Analysis* 13 (2018) 917-1007.
    """
    unit = the_unit(unit, "compare")
    if not isinstance(models, Mapping) or isinstance(models, xr.DataTree):
        raise TypeError(
            'compare takes a mapping of name -> fit, such as {"one": dt1, "two": dt2}, '
            f"not {type(models).__name__}."
        )
    if len(models) < 2:
        raise ValueError(f"compare needs two fits or more, by name; it was given {len(models)}.")
    if method.lower() not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, not {method!r}.")
    check_same_observations(models)
    if all(is_estimate(dt) for dt in models.values()):
        return compare_estimates(models)
    results = {name: loo(dt, unit=unit) for name, dt in models.items()}
    raw = arviz_stats.compare({name: r.raw for name, r in results.items()}, method=method, round_to="none")
    table = raw.assign(unit=unit, diagnosis=_diagnosis(raw))[list(COLUMNS)].rename_axis("model")
    n = next(iter(results.values())).n
    return Table(
        table=table,
        printed=_printed(table),
        messages=tuple(f"{name}: {m}" for name, r in results.items() for m in r.messages),
        title=f'Comparison by leave-one-out, unit="{unit}" ({n} observations)',
        notes=(
            f"elpd: how well {QUESTION[unit]} is predicted; higher is better. "
            "A difference of less than twice its SE (dse), or of less than 4, does not tell models apart.",
        ),
    )


def check_same_observations(models: Mapping[str, xr.DataTree]) -> None:
    """Refuse fits that are not to the same observations in the same order.

    Raises
    ------
    ValueError
        With the first difference.
    """
    seen: dict[str, Any] = {name: study_of(dt).events for name, dt in models.items()}
    (first, one), *others = seen.items()
    for name, other in others:
        if one.n_obs != other.n_obs:
            raise ValueError(
                f"{first!r} was fitted to {one.n_obs} observations and {name!r} to {other.n_obs}: an elpd is "
                "a sum over observations, so only fits to the same ones can be compared. Fit both to the "
                "same table."
            )
        for what in ("subject", "time", "dv"):
            a, b = (_column(table, what) for table in (one, other))
            different = np.flatnonzero(a != b)
            if len(different):
                i = different[0]
                raise ValueError(
                    f"{first!r} and {name!r} were not fitted to the same observations: number {i + 1} has "
                    f"{what} {a[i]} in one and {b[i]} in the other. Fit both to the same table."
                )


def _column(table: Any, what: str) -> np.ndarray:
    if what == "subject":
        return table.subjects[table.obs_subject].astype(str)
    return table.obs_time if what == "time" else table.obs_dv


def _diagnosis(raw: pd.DataFrame) -> pd.Series:
    both = [raw["diag_diff"].fillna("").astype(str), raw["diag_elpd"].fillna("").astype(str)]
    return both[0].str.cat(both[1], sep="; ").str.strip("; ")


def _printed(table: pd.DataFrame) -> pd.DataFrame:
    cells = {
        name: [FORMATS[name].format(v) if name in FORMATS else str(v) for v in table[name]]
        for name in table.columns
    }
    return pd.DataFrame(cells, index=table.index)
