"""One file for one DataTree: written whole or not at all, and read back in any process."""

import os
import shutil
import uuid
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xarray as xr

from popbayes.infer.tree import FORMAT

NETCDF, ZARR = ".nc", ".zarr"


def save(dt: xr.DataTree, path: str | os.PathLike[str]) -> Path:
    """Write a DataTree to one NetCDF file (``.nc``), or to a Zarr store (``.zarr``, a directory).

    The file is written beside its place under another name, read back, and then moved there: a write
    that fails leaves what was there before.

    Parameters
    ----------
    dt : DataTree
        As made by `popbayes.fit` or `popbayes.simulate`.
    path : path
        Ends in ``.nc`` or ``.zarr``. What is there is replaced.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        If the ending is another one, or the DataTree was not made by popbayes.
    """
    place = Path(path)
    _check_suffix(place)
    if "popbayes_format" not in dt.attrs:
        raise ValueError(
            "This DataTree was not made by popbayes.fit or popbayes.simulate: popbayes.load could not use "
            "it. Write it with dt.to_netcdf(path)."
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = place.with_name(f".{place.stem}.{uuid.uuid4().hex[:8]}{place.suffix}")
    try:
        _write(dt, unfinished)
        _open(unfinished).close()
        _move(unfinished, place)
    finally:
        _remove(unfinished)
    return place


def load(path: str | os.PathLike[str]) -> xr.DataTree:
    """Read a DataTree that `save` wrote; everything that takes the result of a fit takes it.

    Raises
    ------
    FileNotFoundError
    ValueError
        If the file is not one of popbayes, or was written by a newer version that this one cannot read.
    """
    place = Path(path)
    if not place.exists():
        raise FileNotFoundError(f"There is no file {place}.")
    with _open(place) as opened:
        _check_ours(opened.attrs, place)
        return opened.load().copy()


def _check_suffix(place: Path) -> None:
    if place.suffix not in (NETCDF, ZARR):
        raise ValueError(
            f"{place.name}: the ending tells the format, {NETCDF} for NetCDF (one file) or {ZARR} for Zarr."
        )


def _check_ours(attrs: dict[Any, Any], place: Path) -> None:
    if "popbayes_format" not in attrs:
        raise ValueError(f"{place} was not written by popbayes.save; open it with xarray.open_datatree.")
    theirs, ours = str(attrs["popbayes_version"]), version("popbayes")
    if int(attrs["popbayes_format"]) > FORMAT or _major(theirs) > _major(ours):
        raise ValueError(
            f"{place} was written by popbayes {theirs}, which is newer than this one ({ours}) can read: "
            "pip install --upgrade popbayes."
        )


def _major(text: str) -> int:
    return int(text.split(".")[0])


def _write(dt: xr.DataTree, place: Path) -> None:
    if place.suffix == ZARR:
        dt.to_zarr(place, mode="w-", consolidated=False)
    else:
        dt.to_netcdf(place, mode="w", engine="h5netcdf", encoding=_compressed(dt))


def _compressed(dt: xr.DataTree) -> dict[str, dict[str, Any]]:
    """Lossless compression of every numeric variable."""
    settings = {"zlib": True, "complevel": 1, "shuffle": True}
    return {
        node.path: {
            str(name): settings
            for name, variable in node.data_vars.items()
            if variable.ndim and variable.dtype.kind in "fiub"
        }
        for node in dt.subtree
        if node.data_vars
    }


def _open(place: Path) -> xr.DataTree:
    try:
        if place.suffix == ZARR:
            return xr.open_datatree(place, engine="zarr", consolidated=False)
        return xr.open_datatree(place, engine="h5netcdf")
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{place} cannot be read as a file of popbayes: {error}") from error


def _move(source: Path, place: Path) -> None:
    """Put `source` in its place; a directory that is there already is only removed afterwards."""
    if not place.is_dir():
        source.replace(place)
        return
    old = place.with_name(f"{source.name}.old")
    place.rename(old)
    try:
        source.rename(place)
    except OSError:
        old.rename(place)
        raise
    shutil.rmtree(old)


def _remove(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
