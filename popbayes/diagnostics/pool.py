"""`pool`: one parameter table of several fits that differ in what they take as known."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from popbayes.diagnostics.population import draws_of
from popbayes.diagnostics.result import Table
from popbayes.diagnostics.summary import significant
from popbayes.infer.tree import posterior, study_of
from popbayes.model import Row


def pool(fits: Sequence[xr.DataTree], *, interval: float = 0.95) -> Table:
    r"""Combine fits of one model to several imputed data sets by Rubin's rules.

    With the posterior mean :math:`q_m` and variance :math:`u_m` of a quantity in fit :math:`m = 1 \ldots M`:

    .. math::

        \bar q = \frac{1}{M} \sum_m q_m, \qquad
        T = \underbrace{\frac{1}{M} \sum_m u_m}_{W} + \Big(1 + \frac{1}{M}\Big)
            \underbrace{\frac{1}{M - 1} \sum_m (q_m - \bar q)^2}_{B}

    `B` is what the uncertainty of the imputed values adds: of the pharmacokinetics, where each fit took them
    from another draw (`popbayes.sequential` with ``draw=``).

    Parameters
    ----------
    fits : sequence of DataTree
        Two or more, of the same model but for the values that were taken as known.
    interval : float
        Probability of the interval, whose ends are quantiles of the draws of all fits together.

    Returns
    -------
    Table
        `mean`, `sd` (:math:`\sqrt T`), `lower`, `upper`, `within` (:math:`\sqrt W`), `between`
        (:math:`\sqrt B`) and `added_percent` (:math:`100 (1 + 1/M) B / T`: the part of the variance that
        comes from the imputed values) of every quantity that is estimated.

    Raises
    ------
    ValueError
        With fewer than two fits, or fits that estimate different quantities.

    References
    ----------
    Rubin, *Multiple Imputation for Nonresponse in Surveys* (1987), ch. 3.
    """
    if len(fits) < 2:
        raise ValueError(f"pool combines two or more fits, not {len(fits)}.")
    if not 0 < interval < 1:
        raise ValueError(f"interval must be a probability between 0 and 1, not {interval!r}.")
    each = [_estimated(dt) for dt in fits]
    labels = list(each[0])
    for number, found in enumerate(each[1:], start=2):
        if list(found) != labels:
            other = sorted({*found} ^ {*labels})
            raise ValueError(
                f"Fit {number} does not estimate what the first does "
                f"({', '.join(other) or 'another order'}); pool combines fits of one model."
            )
    tails = ((1 - interval) / 2, (1 + interval) / 2)
    table = pd.DataFrame(
        [_pooled([found[label] for found in each], tails) for label in labels],
        index=pd.Index(labels, name="parameter"),
    )
    written = table.map(significant)
    written["added_percent"] = table["added_percent"].map("{:.0f}".format)
    heads = {"sd": "SD", "lower": f"{100 * tails[0]:.3g}%", "upper": f"{100 * tails[1]:.3g}%"}
    return Table(
        table=table,
        printed=written.rename(columns={**heads, "added_percent": "added%"}),
        title=f"{study_of(fits[0]).model.name or 'Parameters'}: {len(fits)} fits pooled",
        notes=("SD: within and between fits (Rubin); added%: part of the variance that is between fits.",),
    )


def _estimated(dt: xr.DataTree) -> dict[str, np.ndarray]:
    """Label of each estimated quantity -> its draws."""
    draws = posterior(dt)
    rows: list[Row] = [row for row in study_of(dt).model.population_rows() if not row.fixed]
    return {row.label: draws_of(row, draws).ravel() for row in rows}


def _pooled(values: list[np.ndarray], tails: tuple[float, float]) -> dict[str, float]:
    """Rubin's rules for one quantity."""
    means = np.array([one.mean() for one in values])
    within = float(np.mean([one.var(ddof=1) for one in values]))
    between = float(means.var(ddof=1))
    added = (1.0 + 1.0 / len(values)) * between
    low, high = np.quantile(np.concatenate(values), tails)
    return {
        "mean": float(means.mean()),
        "sd": float(np.sqrt(within + added)),
        "lower": float(low),
        "upper": float(high),
        "within": float(np.sqrt(within)),
        "between": float(np.sqrt(between)),
        "added_percent": 100.0 * added / (within + added) if within + added > 0 else 0.0,
    }
