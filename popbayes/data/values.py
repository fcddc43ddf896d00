"""Columns of text or numbers -> typed arrays; what is not a number where one is needed is refused here."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from popbayes.data.complaints import Places, refuse
from popbayes.data.tables import MISSING

DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|\d{1,2}:\d{2}|\d{1,2}[- ]?[A-Za-z]{3}[- ]?\d{2,4}")
DATE_REMEDY = (
    "Dates and clock times are not read: write the hours (or days) since the first dose, for example "
    "(when - when.groupby(ID).transform('min')) / pandas.Timedelta('1h') of pandas datetimes."
)


def numbers(column: pd.Series, name: str, at: Places) -> np.ndarray:
    """Return a column as float64 with nan for what is missing.

    Raises
    ------
    ValueError
        For a date, a clock time or other text, with the row.
    """
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    text, missing = _text(column)
    value = np.full(len(text), np.nan)
    good = ~missing & pd.to_numeric(pd.Series(text), errors="coerce").notna().to_numpy()
    value[good] = text[good].astype(np.float64)
    bad = ~good & ~missing
    dated = np.array([bool(DATE.search(t)) for t in text[bad]], dtype=bool)
    dates = np.zeros(len(text), dtype=bool)
    dates[np.flatnonzero(bad)[dated]] = True
    if pd.api.types.is_datetime64_any_dtype(column.dtype) or pd.api.types.is_timedelta64_dtype(column.dtype):
        dates = ~missing
    refuse(dates, at, f"{name} must be a number", DATE_REMEDY, text)
    refuse(bad, at, f"{name} must be a number", _number_remedy(name), text)
    return value


def labels(column: pd.Series, at: Places) -> np.ndarray:
    """Return the subject of each record: int64 where all are whole numbers, otherwise text.

    Raises
    ------
    ValueError
        For a missing ID, and for text among numbers (a slip of the pen would otherwise make a new subject).
    """
    text, missing = _text(column)
    refuse(missing, at, "ID must not be missing", "Every record belongs to a subject: fill the column.")
    if pd.api.types.is_numeric_dtype(column.dtype):
        value = column.to_numpy(dtype=np.float64)
    else:
        value = pd.to_numeric(pd.Series(text), errors="coerce").to_numpy(dtype=np.float64)
        odd = np.isnan(value)
        remedy = "Correct it, or make every ID a text (no ID a plain number)."
        refuse(odd & ~odd.all(), at, "ID must be a number where other IDs are", remedy, text)
        if odd.all():
            return text.astype(str)
    refuse(np.isinf(value), at, "ID must be finite", "Correct it.", value)
    if (value == np.round(value)).all() and (np.abs(value) < 2.0**53).all():
        return value.astype(np.int64)
    return np.array([f"{v:.15g}" for v in value])


def whole(
    value: np.ndarray, name: str, at: Places, allowed: tuple[int, ...] = (), remedy: str = ""
) -> np.ndarray:
    """Return whole numbers as int64; others, and those outside `allowed`, are refused."""
    if allowed:
        listed = ", ".join(map(str, allowed))
        refuse(~np.isin(value, allowed), at, f"{name} must be one of {listed}", remedy, value)
    else:
        odd = ~(np.isfinite(value) & (value == np.round(value)))
        refuse(odd, at, f"{name} must be a whole number", remedy, value)
    return value.astype(np.int64)


def compartments(column: pd.Series, at: Places) -> np.ndarray:
    """Return CMT as text: ``"2"``, ``"central"``, ``"-2"``, and ``""`` for the default (missing or 0)."""
    text, missing = _text(column)
    value = pd.to_numeric(pd.Series(text), errors="coerce").to_numpy(dtype=np.float64)
    number = ~np.isnan(value)
    odd = number & (value != np.round(value)) | np.isinf(value)
    remedy = "Number the compartments 1, 2, ... or write their names; a negative number switches one off."
    refuse(odd, at, "CMT must be a whole number or a name", remedy, text)
    name = np.where(missing, "", text).astype(object)
    name[number] = [f"{v:.0f}" for v in value[number]]
    name[number & (value == 0)] = ""
    return name.astype(str)


def covariate(column: pd.Series, name: str, at: Places, may_miss: bool = False) -> np.ndarray:
    """Return a covariate as float64, or as text where no value is a number.

    Where values may be missing they are nan among numbers and empty among text (`missing`).

    Raises
    ------
    ValueError
        For a missing value, unless it may be, and for a column in which numbers and text are mixed.
    """
    text, absent = _text(column)
    if may_miss and absent.all():
        return np.full(len(text), np.nan)
    if not may_miss:
        remedy = (
            f"Fill it, for example table.groupby('ID')[{name!r}].ffill(), or leave it out of the covariates; "
            f"or let a model impute it: missing=[{name!r}] here, and covariate.Impute in the model."
        )
        refuse(absent, at, f"The covariate {name} must not be missing", remedy)
    if pd.api.types.is_numeric_dtype(column.dtype):
        return _finite(column.to_numpy(dtype=np.float64, na_value=np.nan), name, at)
    number = pd.to_numeric(pd.Series(text), errors="coerce").notna().to_numpy()
    odd = ~number & ~absent
    if not number.any():
        return text.astype(str)
    rule = f"The covariate {name} must be all numbers or all text"
    refuse(odd, at, rule, "Correct it, or write text for every category.", text)
    return _finite(numbers(column, name, at), name, at)


def missing(values: np.ndarray) -> np.ndarray:
    """Which values of a covariate are missing: nan among numbers, empty among text."""
    return values == "" if values.dtype.kind in "US" else np.isnan(values.astype(np.float64))


def _finite(value: np.ndarray, name: str, at: Places) -> np.ndarray:
    refuse(np.isinf(value), at, f"The covariate {name} must be finite", "Correct it.", value)
    return value


def _text(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Stripped text (object array) and where it is missing."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        missing = column.isna().to_numpy(dtype=bool)
        return _number_text(column), missing
    series = column.astype("str").str.strip()
    missing = column.isna().to_numpy(dtype=bool) | series.isin(MISSING).to_numpy(dtype=bool)
    return np.where(missing, "", series.to_numpy(dtype=object)), missing


def _number_text(column: pd.Series) -> np.ndarray:
    code, unique = pd.factorize(column.to_numpy(dtype=np.float64, na_value=np.nan), use_na_sentinel=False)
    return np.array([f"{u:.15g}" for u in unique], dtype=object)[code]


def _number_remedy(name: str) -> str:
    if name == "DV":
        return (
            "Write a missing value as '.', and a sample below the limit as CENS 1 with the limit in DV. "
            "A decimal comma must be a point."
        )
    return "Write a missing value as '.'; a decimal comma must be a point."
