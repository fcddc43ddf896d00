"""The bundled studies."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from popbayes.data.datasets import list_datasets, load_dataset
from popbayes.data.events import read_events

ANCHOR = Path(__file__).parents[3] / "shared" / "data"


def test_the_list_counts_subjects_and_observations():
    listed = list_datasets().set_index("name")
    assert listed[["subjects", "observations"]].to_dict("index") == {
        "theophylline": {"subjects": 12, "observations": 132},
        "indometh": {"subjects": 6, "observations": 66},
        "phenobarb": {"subjects": 59, "observations": 155},
        "quinidine": {"subjects": 136, "observations": 361},
        "warfarin_like": {"subjects": 32, "observations": 576},
    }
    assert (listed["description"].map(len) > 20).all()


def test_the_list_is_printed_whole():
    with pd.option_context("display.width", 80, "display.max_columns", 0, "display.max_colwidth", 50):
        printed = str(list_datasets())
    assert printed.split("\n")[0].split() == ["name", "subjects", "observations", "description"]
    assert "..." not in printed
    assert max(map(len, printed.split("\n"))) <= 80


@pytest.mark.parametrize("name", ["theophylline", "indometh", "phenobarb", "quinidine"])
def test_studies_carry_units_and_source(name):
    data = load_dataset(name)
    assert data.units | {"TIME": "h", "DV": "mg/L", "AMT": "mg"} == data.units
    assert data.name == name
    assert "R " in data.source
    assert data.unused == ()


def test_the_simulated_study_says_so_and_is_what_its_script_writes():
    data = load_dataset("warfarin_like")
    assert data.source.startswith("simulated by scripts/simulate_warfarin_like.py")
    assert data.units["DV"] == "mg/L or %"
    assert [data.dv_unit([1]), data.dv_unit([2]), data.dv_unit((1, 2)), data.dv_unit()] == [
        "mg/L", "%", "mg/L or %", "mg/L or %"
    ]  # fmt: skip
    place = Path(__file__).parents[2] / "scripts" / "simulate_warfarin_like.py"
    spec = importlib.util.spec_from_file_location("simulate_warfarin_like", place)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    table, own = script.design(np.random.default_rng(script.SEED)), data.to_frame()
    for column in ("TIME", "AMT", "EVID", "WT", "AGE"):
        np.testing.assert_array_equal(own[column].to_numpy(float), table[column].to_numpy(float))


def test_theophylline_doses_are_milligrams_and_come_before_the_first_sample():
    data = load_dataset("theophylline")
    first = data.subset(1)
    np.testing.assert_allclose(first.amt[0], 4.02 * 79.6, rtol=1e-12)
    np.testing.assert_array_equal(first.evid[:2], [1, 0])
    np.testing.assert_array_equal(first.obs_dv[:2], [0.74, 2.84])
    np.testing.assert_array_equal(first.cmt[:2], ["1", "2"])
    assert data.covariate_by_subject("WT")[0] == 79.6
    assert first.obs_tad[0] == 0.0


def test_indometh_has_one_dose_per_subject():
    data = load_dataset("indometh")
    assert (data.amt[data.is_dose] == 25.0).all()
    assert data.n_dose == 6


def test_phenobarb_has_weight_and_apgar():
    data = load_dataset("phenobarb")
    assert data.time_varying == ()
    np.testing.assert_array_equal([data.covariate_by_subject(c)[0] for c in ("WT", "APGR")], [1.4, 7.0])


def test_quinidine_has_steady_states_and_covariates_that_change():
    data = load_dataset("quinidine")
    assert (data.ss == 1).sum() == 249
    assert (data.ii[data.ss == 1] > 0).all()
    assert (data.evid == 2).sum() == 82
    assert set(data.time_varying) == {"WT", "AGE", "AAG", "SMOKE", "HEART", "CRCL"}


def test_an_unknown_study_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"'theophyline'. Did you mean 'theophylline'"):
        load_dataset("theophyline")


@pytest.mark.skipif(not ANCHOR.exists(), reason="reference data of other software are not in this checkout")
@pytest.mark.parametrize(
    ("name", "path"),
    [("theophylline", "anchors/theoph.csv"), ("phenobarb", "estimation/foce_pheno_real/data.csv")],
)
def test_numbers_are_those_of_the_reference_files(name, path):
    mine, reference = load_dataset(name), read_events(pd.read_csv(ANCHOR / path))
    for array in ("subjects", "record_subject", "time", "amt", "evid", "dv"):
        np.testing.assert_array_equal(getattr(mine, array), getattr(reference, array))
