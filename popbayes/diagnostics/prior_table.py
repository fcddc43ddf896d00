"""What the priors of a model imply, in the units of a pharmacologist; and a warning where it is absurd."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from popbayes import dims
from popbayes.diagnostics.result import Table
from popbayes.diagnostics.summary import significant
from popbayes.infer.population import prior_values
from popbayes.model import PopModel
from popbayes.model.derived import derived_values, has_half_life
from popbayes.model.rows import Row
from popbayes.parameters.derived import AbstractDerived, Cmax, HalfLife
from popbayes.parameters.positive import LogNormal
from popbayes.parameters.selection import Select

SUBJECTS_90 = 1.6448536269514722
"""Standard deviations of a normal within which 90 % lie."""
ABSURD_FOLD = 100.0
"""From the 5th to the 95th percentile of subjects: no drug varies so much for want of a covariate."""
ABSURD_RANGE = 1e4
"""From the 5 % to the 95 % quantile of a typical value."""
DRAWS = 2000
COLUMNS = ["unit", "low", "median", "high", "fold_between_subjects", "prior"]


def prior_table(
    model: PopModel, *, dose: float | None = None, until: float | None = None, seed: int | None = None
) -> Table:
    r"""Say what each prior implies: 90 % of what it holds, and how far apart it lets subjects be.

    The fold range between subjects is :math:`e^{2 \cdot 1.645\,\omega}`, from the 5th to the 95th
    percentile of subjects, for a parameter on the log scale; given for the median of the prior of
    :math:`\omega`, and judged at its 95 % quantile. Half-life and Cmax follow from draws of all priors
    together.

    Parameters
    ----------
    model : PopModel
    dose : float, optional
        Also give the highest prediction after this dose (the model's default compartment).
    until : float, optional
        End of the times at which it is looked for; five median half-lives where the model has one.
    seed : int, optional
        Of the draws behind half-life and Cmax.

    Returns
    -------
    Table
        Warnings first (`messages`), then one row for each prior. `table` has the columns `unit`, `low`,
        `median`, `high` (5, 50 and 95 % quantiles), `fold_between_subjects` and `prior`.

    Examples
    --------
    >>> import popbayes as pb
    >>> model = pb.PopModel(
    ...     pb.pk.OneCompartment(),
    ...     {
    ...         "CL": pb.Parameter(pb.prior.LogNormal(2.8, 0.5)),
    ...         "V": pb.Parameter(pb.prior.LogNormal(32, 0.5)),
    ...     },
    ...     pb.variability.Independent(["CL"], sd=pb.prior.HalfNormal(5)),
    ...     pb.residual.Proportional(pb.prior.HalfNormal(0.3)),
    ... )
    >>> print(pb.prior_table(model, seed=1).messages[0][:58])
    omega[CL] ~ HalfNormal(sigma 5): 90 % of subjects within a
    """
    rows = model.population_rows()
    priors = _priors(model)
    records = {row.label: _record(row, priors.get(row.label)) for row in rows}
    implied = _implied(model, dose, until, seed)
    table = pd.DataFrame.from_dict({**records, **implied}, orient="index", columns=COLUMNS)
    table.index.name = "quantity"
    return Table(
        table=table,
        printed=_printed(table),
        messages=tuple(_messages(table)),
        title=f"What the priors of {model.name or type(model.structural).__name__} imply",
        notes=(
            "5%, 50%, 95%: quantiles of the prior. fold: from the 5th to the 95th percentile of subjects, at "
            "the median of omega. half_life and cmax: of a typical subject, from draws of all priors.",
        ),
    )


def _priors(model: PopModel) -> dict[str, Any]:
    """Row label -> its prior."""
    found: dict[str, Any] = {}
    for name, parameter in model.parameters.items():
        found[dims.pop(name)] = parameter.prior
        for one in model.coefficients(name):
            found |= {
                f"{one.name}[{label}]" if label else one.name: one.prior for label in one.labels or ("",)
            }
    found |= {f"{dims.OMEGA}[{name}]": prior for name, prior in model.omega_priors.items()}
    for level in model.groupings:
        found |= {f"{level.sd}[{name}]": prior for name, prior in level.priors.items()}
    found |= {dims.nu(names): prior for names, prior in model.tails}
    return found | dict(model.observation.priors)


def _record(row: Row, prior: Any) -> list[Any]:
    if prior is None or not prior.proper:
        return [row.unit, np.nan, np.nan, np.nan, np.nan, row.prior]
    low, middle, high = (float(q) for q in prior.quantile([0.05, 0.5, 0.95]))
    fold = _fold(middle) if row.kind in ("omega", "level") and row.scale == "log" else np.nan
    return [row.unit, low, middle, high, fold, row.prior]


def _fold(omega: float) -> float:
    return math.exp(min(2 * SUBJECTS_90 * omega, 700.0))


def _implied(
    model: PopModel, dose: float | None, until: float | None, seed: int | None
) -> dict[str, list[Any]]:
    """Rows of the half-life and, where a dose is given, of the highest prediction."""
    wanted: list[AbstractDerived] = []
    if has_half_life(model.structural):
        wanted.append(HalfLife(LogNormal(1.0, 1.0)))
    proper = all(one.prior.proper for one in model.parameters.values())
    if not proper or not (wanted or dose):
        return {}
    rng = np.random.default_rng(seed)
    values = {**model.fixed, **prior_values(_typical(model), DRAWS, rng)}
    theta = {name: np.broadcast_to(np.ravel(values[dims.pop(name)]), (DRAWS,)) for name in model.parameters}
    rows: dict[str, list[Any]] = {}
    for one in wanted:
        rows[one.name] = _quantiles(
            derived_values(model.structural, one, theta), "follows from the parameters"
        )
    if dose is not None:
        end = until or (5 * rows["half_life"][2] if "half_life" in rows else None)
        if end is None:
            raise ValueError("prior_table needs until=, the end of the times at which Cmax is looked for.")
        cmax = derived_values(model.structural, Cmax(LogNormal(1.0, 1.0), dose, end), theta)
        rows["cmax"] = _quantiles(cmax, f"follows from the parameters, dose {dose:g}")
    return rows


def _typical(model: PopModel) -> PopModel:
    """The model of a typical subject: candidates are at their references, and have no effect.

    How wide their joint prior is follows from the number of subjects, which a model does not know.
    """
    without = {
        name: replace(one, covariates=[e for e in one.covariates if not isinstance(e, Select)])
        for name, one in model.parameters.items()
    }
    return replace(model, parameters=without)


def _quantiles(values: np.ndarray, words: str) -> list[Any]:
    low, middle, high = np.nanquantile(values, [0.05, 0.5, 0.95])
    return ["", float(low), float(middle), float(high), np.nan, words]


def _messages(table: pd.DataFrame) -> list[str]:
    """What a prior implies that cannot be meant."""
    found = []
    for label, row in table.iterrows():
        if np.isfinite(row["fold_between_subjects"]) and _fold(row["high"]) > ABSURD_FOLD:
            found.append(
                f"{label} ~ {row['prior']}: 90 % of subjects within a {_fold(row['median']):.3g}-fold "
                "range at its "
                f"median, and a {_fold(row['high']):.3g}-fold range at its 95 % quantile. Subjects of one "
                "study rarely differ 10-fold: use a narrower prior, such as prior.HalfNormal(0.5)."
            )
        positive = row["low"] > 0 and row["high"] / row["low"] > ABSURD_RANGE
        if positive and str(label).endswith("_pop"):
            found.append(
                f"{label} ~ {row['prior']}: from {row['low']:.3g} to {row['high']:.3g}, a range of "
                f"{row['high'] / row['low']:.3g}-fold. State what is known of it, for example with "
                "prior.LogNormal.from_quantiles(low, high)."
            )
        if not np.isfinite(row["median"]) and str(label).endswith("_pop"):
            found.append(
                f"{label} ~ {row['prior']}: an improper prior implies nothing; no draw can be had from it."
            )
    return found


def _printed(table: pd.DataFrame) -> pd.DataFrame:
    numbers = {"5%": "low", "50%": "median", "95%": "high", "fold": "fold_between_subjects"}
    cells = {"unit": table["unit"].tolist()} if table["unit"].any() else {}
    for head, name in numbers.items():
        cells[head] = [significant(v) if np.isfinite(v) else "" for v in table[name].to_numpy(float)]
    return pd.DataFrame({**cells, "prior": table["prior"].tolist()}, index=table.index)
