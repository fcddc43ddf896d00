import shutil
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from popbayes.infer import storage
from popbayes.infer.pointwise import log_likelihood
from popbayes.infer.storage import load, save
from popbayes.simulation import simulate
from tests.infer.posing import posed


@pytest.fixture(scope="module")
def tree(theophylline_model, theophylline):
    return posed(theophylline_model, theophylline)


@pytest.mark.parametrize("name", ["fit.nc", "fit.zarr"])
def test_a_saved_tree_comes_back_the_same(tree, tmp_path, name):
    path = save(tree, tmp_path / name)
    back = load(path)
    assert back.identical(tree)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert np.isfinite(back["posterior"]["CL"].to_numpy()).all(), "the values are in memory"


def test_a_saved_tree_works_in_a_new_process(tree, theophylline_model, theophylline, tmp_path):
    save(tree, tmp_path / "fit.nc")
    code = (
        "import sys; from popbayes.infer.storage import load; from popbayes.infer.tree import study_of\n"
        "from popbayes.infer.pointwise import log_likelihood; from popbayes.simulation import simulate\n"
        "dt = load(sys.argv[1]); study = study_of(dt)\n"
        "drawn = simulate(study.model, study.events, dt, seed=3)['posterior_predictive']['dv']\n"
        "print(float(log_likelihood(dt).sum()).hex(), float(drawn.sum()).hex(), 'pymc' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "fit.nc")], capture_output=True, text=True, check=True
    )
    drawn = simulate(theophylline_model, theophylline, tree, seed=3)["posterior_predictive"]["dv"]
    here = [float(log_likelihood(tree).sum()).hex(), float(drawn.sum()).hex(), "False"]
    assert run.stdout.split() == here


def test_a_write_that_fails_leaves_the_old_file(tree, tmp_path, monkeypatch):
    path = save(tree, tmp_path / "fit.nc")
    before = path.read_bytes()

    def broken(dt, place):
        place.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(storage, "_write", broken)
    with pytest.raises(OSError, match="disk full"):
        save(tree, path)
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["fit.nc"]


@pytest.mark.parametrize("name", ["fit.nc", "fit.zarr"])
def test_saving_again_replaces_the_file(tree, tmp_path, name):
    path = save(tree, tmp_path / name)
    other = tree.copy()
    other.attrs["seed"] = 77
    save(other, path)
    assert load(path).attrs["seed"] == 77
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_another_ending_is_refused(tree, tmp_path):
    with pytest.raises(ValueError, match=r"fit\.pkl: the ending tells the format"):
        save(tree, tmp_path / "fit.pkl")


def test_a_tree_of_someone_else_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match=r"was not made by popbayes\.fit"):
        save(xr.DataTree(xr.Dataset({"x": 1})), tmp_path / "fit.nc")


def test_a_file_of_someone_else_is_refused(tmp_path):
    xr.DataTree(xr.Dataset({"x": 1})).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match=r"other\.nc was not written by popbayes\.save"):
        load(tmp_path / "other.nc")


def test_a_file_that_is_no_netcdf_is_refused(tmp_path):
    (tmp_path / "text.nc").write_text("ID,TIME,DV\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"text\.nc cannot be read"):
        load(tmp_path / "text.nc")


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no file .*nothing\.nc"):
        load(tmp_path / "nothing.nc")


@pytest.mark.parametrize("newer", [{"popbayes_format": 99}, {"popbayes_version": "99.0"}])
def test_a_file_of_a_newer_version_is_refused(tree, tmp_path, newer):
    later = tree.copy()
    later.attrs.update(newer)
    save(later, tmp_path / "later.nc")
    with pytest.raises(ValueError, match="newer than this one"):
        load(tmp_path / "later.nc")
