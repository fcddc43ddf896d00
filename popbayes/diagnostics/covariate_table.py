"""What covariates do: effects at the ends of each covariate's range, and which candidates are in."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from popbayes.data.values import missing
from popbayes.diagnostics.result import Table
from popbayes.infer.pointwise import flat_draws
from popbayes.infer.tree import Study, posterior, study_of
from popbayes.parameters.effect import AbstractCovariate, level
from popbayes.parameters.selection import Select

BAND = (0.8, 1.25)
"""Effects within it are taken to need no change of the dose: the limits of bioequivalence."""
ENDS = (5, 95)
COLUMNS = ["parameter", "covariate", "at", "effect", "lower", "upper", "outside", "positive", "selected_from"]


def covariate_table(dt: xr.DataTree, *, interval: float = 0.9) -> Table:
    r"""Effects of every covariate at the 5th and the 95th percentile of its values, as factors.

    A factor is the parameter at that value over the parameter at the median of the subjects (at the most
    frequent level, for categories), other covariates at their medians; percentiles and median of a covariate
    that changes in time are those of the observations. The exposure at steady state of a
    given dose,
    :math:`AUC = F \cdot \text{dose} / CL`, follows with the parameters `CL` and `F`.

    Parameters
    ----------
    dt : DataTree
        A fit.
    interval : float
        Probability of the equal-tailed interval.

    Returns
    -------
    Table
        `table` is a DataFrame: `parameter` (or ``AUC``), `covariate`, `at` (its value), `effect` (posterior
        median), `lower`, `upper`; `outside`, the posterior probability that the factor is outside 0.8 to
        1.25: the inclusion summary of a candidate; `positive`, the probability that it is above 1; and
        `selected_from`, the joint prior of a `covariate.Select`.

    Raises
    ------
    ValueError
        If the model has no covariates.
    """
    if not 0 < interval < 1:
        raise ValueError(f"interval must be a probability between 0 and 1, not {interval!r}.")
    study, draws = study_of(dt), flat_draws(posterior(dt))
    records = [one for factors in _factors(study, draws) for one in _records(*factors, interval)]
    if not records:
        raise ValueError("The model has no covariates: there is no effect to tabulate.")
    table = pd.DataFrame(records, columns=COLUMNS)
    return Table(
        table=table,
        printed=_printed(table),
        title=f"Covariate effects of {study.model.name or type(study.model.structural).__name__}",
        notes=(
            "effect: factor on the parameter (or on AUC = F dose / CL) against the median subject, "
            "posterior median; "
            f"interval: {100 * interval:g} %; outside: probability of a factor outside {BAND[0]:g} to "
            f"{BAND[1]:g}.",
        ),
    )


def _factors(
    study: Study, draws: Mapping[str, np.ndarray]
) -> Iterable[tuple[str, str, str, np.ndarray, str]]:
    """Parameter, covariate, its value, the factor of each draw, and what it was selected from."""
    model = study.model
    columns = {name: _values(study, name) for name in model.covariate_columns}
    columns = {name: own[~missing(own)] for name, own in columns.items()}
    middle = {name: _middle(values) for name, values in columns.items()}
    values = {**model.fixed, **draws}
    for column, own in columns.items():
        for label, value in _ends(own):
            changed = {name: np.array([one]) for name, one in {**middle, column: value}.items()}
            usual = {name: np.array([one]) for name, one in middle.items()}
            exposure: Any = 0.0
            for name, parameter in model.parameters.items():
                acting = [one for one in parameter.covariates if column in one.columns]
                if not acting:
                    continue
                ratio = sum(_log_ratio(one, changed, usual, values, name) for one in acting)
                chosen = [one.prior.describe() for one in acting if isinstance(one, Select)]
                yield name, column, label, np.exp(ratio), "; ".join(chosen)
                exposure = exposure + {"CL": -1.0, "F": 1.0}.get(name, 0.0) * ratio
            if np.ndim(exposure):
                yield "AUC", column, label, np.exp(exposure), ""


def _values(study: Study, name: str) -> np.ndarray:
    """Values of a covariate: one of each subject, or those of all observations where it changes in time."""
    events = study.events
    every = events.covariates[name]
    first = np.unique(events.record_subject, return_index=True)[1]
    return every[first] if np.all(every == every[first][events.record_subject]) else every[events.obs_record]


def _log_ratio(
    one: AbstractCovariate, changed: Any, usual: Any, values: Mapping[str, np.ndarray], name: str
) -> np.ndarray:
    at, reference = (one.log_factor(columns, values, name, np) for columns in (changed, usual))
    return np.ravel(np.asarray(at) - np.asarray(reference))


def _middle(values: np.ndarray) -> Any:
    """The median of numbers that take many values, else the most frequent one."""
    names, counts = np.unique(values, return_counts=True)
    if values.dtype.kind == "f" and len(names) > 5:
        return float(np.median(values))
    return names[np.argmax(counts)]


def _ends(values: np.ndarray) -> list[tuple[str, Any]]:
    """Values at which effects are given: 5th and 95th percentile, or every level but the most frequent."""
    names = np.unique(values)
    if values.dtype.kind == "f" and len(names) > 5:
        return [
            (f"{value:.4g} ({p}th pct.)", float(value))
            for p, value in zip(ENDS, np.percentile(values, ENDS), strict=True)
        ]
    usual = _middle(values)
    return [(level(one.item() if hasattr(one, "item") else one), one) for one in names if one != usual]


def _records(
    parameter: str, column: str, at: str, factor: np.ndarray, chosen: str, interval: float
) -> Iterable[list[Any]]:
    low, middle, high = np.quantile(factor, [(1 - interval) / 2, 0.5, (1 + interval) / 2])
    outside = float(np.mean((factor < BAND[0]) | (factor > BAND[1])))
    yield [parameter, column, at, middle, low, high, outside, float(np.mean(factor > 1)), chosen]


def _printed(table: pd.DataFrame) -> pd.DataFrame:
    text = (
        table[["covariate", "at"]]
        .astype(str)
        .assign(
            effect=table["effect"].map("{:.2f}".format),
            interval=[f"{a:.2f} to {b:.2f}" for a, b in zip(table["lower"], table["upper"], strict=True)],
            outside=table["outside"].map("{:.2f}".format),
        )
    )
    text.index = pd.Index(table["parameter"], name="parameter")
    return text
