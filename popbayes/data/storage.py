"""The event table as a Dataset (for NetCDF and Zarr) and as a DataFrame (for people)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from popbayes.dims import RECORD, SUBJECT

if TYPE_CHECKING:
    from popbayes.data.events import EventTable

INTEGERS = ("record_subject", "row", "evid", "mdv", "addl", "ss", "dvid", "cens")
FLOATS = ("time", "amt", "rate", "ii", "dv", "limit", "lloq")
FRAME = ("TIME", "EVID", "AMT", "CMT", "RATE", "II", "ADDL", "SS", "DV", "MDV", "DVID")
ATTRIBUTE = "event_table"
"""Attribute that holds, as JSON, what is not an array."""


def to_dataset(table: EventTable) -> xr.Dataset:
    """Dataset with dims record and subject; covariates are variables ``covariate_0``, ``covariate_1`` ..."""
    names = [*INTEGERS, *FLOATS, *(["occ"] if table.occ is not None else [])]
    variables: dict[str, Any] = {name: (RECORD, getattr(table, name)) for name in names}
    variables["cmt"] = (RECORD, table.cmt)
    for i, value in enumerate(table.covariates.values()):
        variables[f"covariate_{i}"] = (RECORD, value)
    rest = {
        "covariates": list(table.covariates),
        "time_varying": list(table.time_varying),
        "units": table.units,
        "name": table.name,
        "source": table.source,
        "columns": table.columns,
        "unused": list(table.unused),
    }
    return xr.Dataset(variables, coords={SUBJECT: table.subjects}, attrs={ATTRIBUTE: json.dumps(rest)})


def from_dataset(dataset: xr.Dataset) -> dict[str, Any]:
    """Arguments of `EventTable`, from what `to_dataset` wrote.

    Raises
    ------
    ValueError
        Where the Dataset is not an event table.
    """
    if ATTRIBUTE not in dataset.attrs:
        raise ValueError(f"This Dataset is not an event table: it has no attribute {ATTRIBUTE!r}.")
    rest = json.loads(dataset.attrs[ATTRIBUTE])
    out: dict[str, Any] = {name: dataset[name].to_numpy().astype(np.int64) for name in INTEGERS}
    out |= {name: dataset[name].to_numpy().astype(np.float64) for name in FLOATS}
    out["occ"] = dataset["occ"].to_numpy().astype(np.int64) if "occ" in dataset else None
    out["cmt"] = dataset["cmt"].to_numpy().astype(str)
    out["subjects"] = _values(dataset[SUBJECT])
    out["covariates"] = {
        name: _values(dataset[f"covariate_{i}"]) for i, name in enumerate(rest.pop("covariates"))
    }
    out["time_varying"], out["unused"] = tuple(rest.pop("time_varying")), tuple(rest.pop("unused"))
    return out | rest


def to_frame(table: EventTable) -> pd.DataFrame:
    """DataFrame with NONMEM's columns; OCC, CENS, LIMIT, LLOQ where the table has them, no DV in a design."""
    data: dict[str, np.ndarray] = {"ID": table.subjects[table.record_subject]}
    data |= {name: getattr(table, name.lower()).copy() for name in FRAME if name != "DV" or table.has_dv}
    data["CMT"] = _compartments(table.cmt)
    if table.occ is not None:
        data["OCC"] = table.occ.copy()
    if table.cens.any():
        data["CENS"] = table.cens.copy()
    for name in ("LIMIT", "LLOQ"):
        value = getattr(table, name.lower())
        if not np.isnan(value).all():
            data[name] = value.copy()
    return pd.DataFrame(data | {name: value.copy() for name, value in table.covariates.items()})


def _values(array: xr.DataArray) -> np.ndarray:
    """Numbers as they are (copied: a file may be closed), text as fixed-width text."""
    value = array.to_numpy()
    if value.dtype.kind in "iu":
        return value.astype(np.int64)
    return value.astype(np.float64) if value.dtype.kind == "f" else value.astype(str)


def _compartments(cmt: np.ndarray) -> np.ndarray:
    """Whole numbers (0 the default) where all compartments are numbered, else text with ``.`` for it."""
    unique, code = np.unique(cmt, return_inverse=True)
    if all(u == "" or u.lstrip("-").isdigit() for u in unique):
        return np.array([int(u or 0) for u in unique], dtype=np.int64)[code]
    return np.where(cmt == "", ".", cmt).astype(object)
