"""Comparison of point estimates by their likelihoods."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from popbayes.diagnostics.result import Table
from popbayes.dims import APPROXIMATION, OBJECTIVE

CRITERIA = ("minus2ll", "n_parameters", "aic", "bic_subjects", "bic_observations", "bic_mixed")


def compare_estimates(models: Mapping[str, xr.DataTree]) -> Table:
    """Objective functions and information criteria of estimates to the same data, the lowest mixed BIC first.

    Likelihoods of one approximation only are compared.

    Raises
    ------
    ValueError
        Where the estimates have no approximation of the likelihood in common.
    """
    known = [[str(one) for one in dt[OBJECTIVE][APPROXIMATION].to_numpy()] for dt in models.values()]
    common = [label for label in known[0] if all(label in one for one in known)]
    if not common:
        each = "; ".join(f"{name}: {', '.join(one)}" for name, one in zip(models, known, strict=True))
        raise ValueError(
            f"These estimates have no approximation of the likelihood in common ({each}): -2 log L of one "
            "cannot be set against that of another. Estimate them by the same method."
        )
    rows = {}
    for name, dt in models.items():
        one = dt[OBJECTIVE].to_dataset().sel({APPROXIMATION: common[0]})
        rows[name] = {criterion: float(one[criterion]) for criterion in CRITERIA}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("model").sort_values("bic_mixed")
    table.insert(0, "rank", np.arange(len(table)))
    for criterion in ("minus2ll", "aic", "bic_mixed"):
        table[f"{criterion}_diff"] = table[criterion] - table[criterion].min()
    whole = ("rank", "n_parameters")
    cells = {c: [f"{v:.0f}" if c in whole else f"{v:.2f}" for v in table[c]] for c in table.columns}
    mixed = any(int(dt.attrs.get("use_priors", 0)) for dt in models.values())
    return Table(
        table=table,
        printed=pd.DataFrame(cells, index=table.index),
        messages=("Some of these are modes with priors, of which AIC and BIC are not made.",)
        if mixed
        else (),
        title=f"Comparison by the likelihood ({common[0]})",
        notes=(
            "-2 log L with its n log 2 pi; a fall of 3.84 for one more value is significant at 5 % where the "
            "models are nested. bic_mixed: random part by subjects, the rest by observations (Delattre).",
        ),
    )
