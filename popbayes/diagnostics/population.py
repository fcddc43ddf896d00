"""Draws of the population quantities of a fit, in model order."""

import numpy as np
import xarray as xr

from popbayes.dims import CHAIN, DRAW
from popbayes.model import Row


def draws_of(row: Row, draws: xr.Dataset) -> np.ndarray:
    """Draws of one row of the parameter table, (chain, draw).

    Raises
    ------
    ValueError
        Where the posterior has no such variable.
    """
    if row.name not in draws:
        raise ValueError(
            f"The posterior has no variable {row.name!r}, which the model of this DataTree has: it was "
            "dropped, or the draws are of another model."
        )
    variable = draws[row.name].transpose(CHAIN, DRAW, ...)
    if row.index is not None:
        places = (row.index,) if isinstance(row.index, str) else row.index
        for dim, place in zip(variable.dims[2:], places, strict=True):
            labels = [str(one) for one in variable[dim].to_numpy()]
            variable = variable.isel({dim: labels.index(place)})
    return variable.to_numpy()


def estimated_draws(rows: list[Row], draws: xr.Dataset) -> tuple[list[str], np.ndarray]:
    """Labels and draws, (chain, draw, n), of the rows that are not fixed."""
    kept = [row for row in rows if not row.fixed]
    shape = (draws.sizes[CHAIN], draws.sizes[DRAW], 0)
    values = [draws_of(row, draws) for row in kept]
    return [row.label for row in kept], np.stack(values, axis=-1) if values else np.empty(shape)
