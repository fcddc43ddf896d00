"""Any source of a table -> a DataFrame with stripped column names and the data row of every record.

Files are comma-separated text; everything else is refused with what was found and what to do.
"""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

MISSING = (".", "", "NA", "NaN", "nan")
"""What counts as a missing value: NONMEM's dot, R's NA, nothing at all."""
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars", " ": "spaces"}


def open_table(source: Any) -> tuple[pd.DataFrame, np.ndarray, str]:
    """Read a table as it is.

    Parameters
    ----------
    source : path of a CSV file, a pandas DataFrame, or anything with ``to_pandas()`` (polars, pyarrow)

    Returns
    -------
    table : DataFrame without empty rows
    row : (n_record,) data row of each record, from 1 (the first line below the header)
    name : where it came from, for messages and for the provenance of the event table

    Raises
    ------
    ValueError
        Empty, no data rows, not separated by commas, or a column name that occurs twice.
    """
    if isinstance(source, str | Path):
        table, name = _read_file(Path(source)), str(source)
    elif isinstance(source, pd.DataFrame):
        table, name = source.copy(deep=False), "DataFrame"
    elif hasattr(source, "to_pandas"):
        table, name = source.to_pandas(), type(source).__name__
    else:
        raise TypeError(
            f"read_events takes the path of a CSV file or a DataFrame, not {type(source).__name__}. "
            "Make a DataFrame of it with pandas.DataFrame(...)."
        )
    table.columns = pd.Index([str(c).strip() for c in table.columns])
    _refuse_duplicates(list(table.columns), name)
    row = np.arange(1, len(table) + 1, dtype=np.int64)
    full = ~table.isna().all(axis=1).to_numpy()
    if not full.any():
        raise ValueError(
            f"{name} has no data rows: nothing to read. Write one line for each dose and each sample."
        )
    return table.loc[full].reset_index(drop=True), row[full], name


def _read_file(path: Path) -> pd.DataFrame:
    if path.suffix.lower() in {".xls", ".xlsx", ".ods"}:
        raise ValueError(
            f"{path} is a spreadsheet. Read it first: read_events(pandas.read_excel({str(path)!r}))."
        )
    try:
        header = pd.read_csv(
            path, header=None, nrows=1, dtype=str, encoding="utf-8-sig", keep_default_na=False
        )
        names = [str(n).strip() for n in header.iloc[0]]
        _refuse_separator(names, path)
        _refuse_duplicates(names, str(path))
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                path,
                na_values=list(MISSING),
                keep_default_na=False,
                skip_blank_lines=False,
                skipinitialspace=True,
                index_col=False,
                low_memory=False,
                encoding="utf-8-sig",
            )
    except pd.errors.EmptyDataError:
        raise ValueError(f"{path} is empty. Was it saved, and is it the right file?") from None
    except (pd.errors.ParserError, pd.errors.ParserWarning):
        raise ValueError(
            f"{path} is not a regular comma-separated table: {_irregular(path)}. "
            "Every line needs as many values as the header has names; put text with a comma in quotes."
        ) from None
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}). Save it as UTF-8, or read it "
            f"first: read_events(pandas.read_csv({str(path)!r}, encoding='latin-1'))."
        ) from None


def _irregular(path: Path) -> str:
    """Which line of a file has more values than the header has names, in words."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, skipinitialspace=True)
            expected = len(next(lines))
            for values in lines:
                if len(values) > expected:
                    return f"line {lines.line_num} has {len(values)} values, the header {expected} names"
    except (csv.Error, UnicodeDecodeError):
        pass
    return "a line is too long, or a quote is opened and not closed"


def _refuse_separator(names: list[str], path: Path) -> None:
    if len(names) > 1:
        return
    counts = {sep: names[0].count(sep) for sep in SEPARATORS}
    sep = max(counts, key=lambda s: counts[s])
    if counts[sep] == 0:
        return
    pandas_sep = r"\s+" if sep == " " else sep
    decimal = ", decimal=','" if sep == ";" else ""
    note = " (decimal=',' only if numbers are written 1,5)" if decimal else ""
    raise ValueError(
        f"{path} is separated by {SEPARATORS[sep]}, not by commas: the header reads {names[0]!r}. Save it "
        f"with commas, or read it first: read_events(pandas.read_csv({str(path)!r}, "
        f"sep={pandas_sep!r}{decimal})){note}."
    )


def _refuse_duplicates(names: list[str], where: str) -> None:
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(
            f"{where} has more than one column named {', '.join(twice)}. Rename or drop all but one."
        )
