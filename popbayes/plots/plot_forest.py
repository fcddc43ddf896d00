"""Forest plot of covariate effects, with the band within which no dose is changed."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from popbayes.diagnostics.covariate_table import BAND
from popbayes.diagnostics.result import Table
from popbayes.plots.style import BLUE, GREY, LIGHT, picture, styled

TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1, 1.25, 2, 3, 5, 10, 20, 50, 100)
"""Factors that the axis names, those in its range."""


@styled
def plot_forest(table: Table, *, parameters: str | Sequence[str] | None = None) -> Figure:
    """Draw the effects of `popbayes.covariate_table`: medians and intervals over the 0.8 to 1.25 band.

    Parameters
    ----------
    table : Table
        As made by `popbayes.covariate_table`.
    parameters : sequence of str, optional
        Which parameters, ``AUC`` included; all of them.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    TypeError, ValueError
        If it is no such table, or has no row of these parameters.
    """
    rows = getattr(table, "table", None)
    if rows is None or "effect" not in rows:
        raise TypeError("plot_forest takes what popbayes.covariate_table returned.")
    if parameters is not None:
        wanted = [parameters] if isinstance(parameters, str) else list(parameters)
        rows = rows[rows["parameter"].isin(wanted)]
        if rows.empty:
            known = ", ".join(dict.fromkeys(table.table["parameter"]))
            raise ValueError(f"No covariate acts on {', '.join(wanted)}; there are effects on {known}.")
    place = np.arange(len(rows))[::-1]
    figure = picture(7.0, 1.2 + 0.32 * len(rows))
    axes = figure.subplots()
    axes.axvspan(*BAND, color=LIGHT, zorder=0, label=f"{BAND[0]:g} to {BAND[1]:g}")
    axes.axvline(1, color=GREY, linewidth=1)
    distance = [rows["effect"] - rows["lower"], rows["upper"] - rows["effect"]]
    axes.errorbar(rows["effect"], place, xerr=distance, fmt="o", color=BLUE, capsize=2)
    each = zip(rows["parameter"], rows["covariate"], rows["at"], strict=True)
    axes.set_yticks(place, [f"{parameter}: {covariate} {at}" for parameter, covariate, at in each])
    axes.set(xscale="log", xlabel="Factor against the median subject", title=table.title)
    low, high = axes.get_xlim()
    ticks = [one for one in TICKS if low <= one <= high]
    axes.set_xticks(ticks, [f"{one:g}" for one in ticks])
    axes.set_xticks([], minor=True)
    axes.legend(loc="best", frameon=False)
    return figure
