"""Event tables in files."""

from dataclasses import fields

import numpy as np
import pytest
import xarray as xr

from popbayes.data.datasets import load_dataset
from popbayes.data.events import EventTable, read_events
from popbayes.data.regimen import Regimen


def assert_same(one, two):
    for f in fields(EventTable):
        a, b = getattr(one, f.name), getattr(two, f.name)
        if f.name == "covariates":
            assert list(a) == list(b)
            for name in a:
                np.testing.assert_array_equal(a[name], b[name])
        elif isinstance(a, np.ndarray):
            assert a.dtype.kind == b.dtype.kind, f.name
            np.testing.assert_array_equal(a, b)
        else:
            assert a == b, f.name


def tables():
    occasions = load_dataset("theophylline").to_frame().assign(OCC=1, ID="s1", LLOQ=0.1).iloc[:12]
    return {
        "quinidine": load_dataset("quinidine"),
        "design": Regimen(times=[1, 2], covariates={"a/b": 3}).dose(5, cmt="depot").to_events(["x", "y"]),
        "occasions": read_events(occasions, name="text ids"),
    }


@pytest.mark.parametrize("name", ["quinidine", "design", "occasions"])
def test_a_dataset_brings_the_table_back(name):
    table = tables()[name]
    assert_same(EventTable.from_dataset(table.to_dataset()), table)


@pytest.mark.parametrize("name", ["quinidine", "design", "occasions"])
def test_a_netcdf_file_brings_the_table_back(name, tmp_path):
    table, path = tables()[name], tmp_path / "events.nc"
    tree = xr.DataTree.from_dict({"events": table.to_dataset()})
    tree.to_netcdf(path, engine="h5netcdf")
    with xr.open_datatree(path, engine="h5netcdf") as opened:
        again = EventTable.from_dataset(opened["events"].dataset)
    assert_same(again, table)


def test_dims_are_record_and_subject():
    dataset = load_dataset("theophylline").to_dataset()
    assert dict(dataset.sizes) == {"record": 144, "subject": 12}


def test_another_dataset_is_refused():
    with pytest.raises(ValueError, match="not an event table"):
        EventTable.from_dataset(xr.Dataset())
