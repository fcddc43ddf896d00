"""The case studies as a newcomer runs them: what they leave behind, and that it is right."""

import importlib.util
import json
import types
from pathlib import Path
from typing import Any

import arviz_stats
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import popbayes as pb
from popbayes import cli
from tests.tolerances import ENOUGH_ESS, MCSE, POSTERIOR_SD

CASES = Path(__file__).parents[1] / "case_studies"
LEFT_BEHIND = {
    "comparison.csv",
    "fit.nc",
    "gof.csv",
    "gof.png",
    "individual.png",
    "parameters.csv",
    "prior_vpc.png",
    "report.html",
    "shrinkage.csv",
    "shrinkage.png",
    "vpc.png",
}


@pytest.fixture(scope="module")
def theophylline(tmp_path_factory) -> Path:
    """Folder in which `popbayes run theophylline` left its results."""
    folder = tmp_path_factory.mktemp("case") / "theophylline"
    with pytest.raises(SystemExit) as stop:
        cli.app(["run", "theophylline", "--out", str(folder), "--traceback"])
    assert not stop.value.code
    return folder


def phenobarbital_script() -> types.ModuleType:
    """The analysis of the newborns as a module."""
    return module_at(CASES / "phenobarbital_neonates" / "analysis.py")


def module_at(place: Path) -> types.ModuleType:
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(place.stem, place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def phenobarbital_expected() -> dict[str, Any]:
    """NONMEM's result of the newborns."""
    return expected_of("phenobarbital_neonates")


def expected_of(study: str) -> dict[str, Any]:
    """The numbers of a study that are re-checked."""
    return json.loads((CASES / study / "expected.json").read_text(encoding="utf-8"))


def reference_names(dt: xr.DataTree) -> dict[str, xr.DataArray]:
    """Draws under the names of `expected.json`."""
    posterior = dt["posterior"].to_dataset()
    draws = {f"log {p}": np.log(posterior[f"{p}_pop"]) for p in ("ka", "CL", "V")}
    draws |= {f"omega {p}": posterior["omega"].sel(eta_of=p, drop=True) for p in ("ka", "CL", "V")}
    return draws | {name: posterior[name] for name in ("sigma_prop", "sigma_add")}


def test_the_run_leaves_fit_tables_figures_and_report(theophylline):
    assert {path.name for path in theophylline.iterdir()} == LEFT_BEHIND
    assert all(path.stat().st_size > 100 for path in theophylline.iterdir())


def test_the_theophylline_posterior_is_that_of_the_reference(theophylline):
    expected = json.loads((CASES / "theophylline" / "expected.json").read_text(encoding="utf-8"))["posterior"]
    draws = reference_names(pb.load(theophylline / "fit.nc"))
    assert set(draws) == set(expected)
    for name, reference in expected.items():
        ess = float(arviz_stats.ess(draws[name]))
        assert ess >= ENOUGH_ESS, f"{name}: ESS {ess:.0f} is too low to judge"
        mean, sd = float(draws[name].mean()), float(draws[name].std())
        error = np.hypot(float(arviz_stats.mcse(draws[name])), reference["mcse_mean"])
        assert abs(mean - reference["mean"]) <= MCSE * error, f"{name}: mean {mean:.4f}"
        assert sd == pytest.approx(reference["sd"], rel=POSTERIOR_SD), f"{name}: SD {sd:.4f}"


def test_the_report_needs_no_other_file(theophylline):
    page = (theophylline / "report.html").read_text(encoding="utf-8")
    assert "CL_pop" in page
    for outside in ('src="http', "src='http", 'href="http', '<link rel="stylesheet" href'):
        assert outside not in page


def test_the_report_command_writes_the_page_of_a_saved_fit(theophylline, tmp_path):
    with pytest.raises(SystemExit) as stop:
        cli.app(["report", str(theophylline / "fit.nc"), str(tmp_path / "page.html")])
    assert not stop.value.code
    assert "CL_pop" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_focei_of_the_newborns_is_that_of_nonmem():
    script, expected = phenobarbital_script(), phenobarbital_expected()
    model, data = script.the_model(), script.the_data()
    found = pb.estimate(model, data, method=pb.Foce(), seed=1, progress=False)
    assert float(found["objective"]["ofv"][0]) < expected["ofv"] + 0.01
    table = pb.summary(found).to_frame()
    for name, one in expected["estimates"].items():
        assert table.loc[name, "estimate"] == pytest.approx(one["value"], rel=0.01), name
        assert table.loc[name, "se"] == pytest.approx(one["se"], rel=0.1), name
    less = pb.estimate(script.without_apgar(model), data, method=pb.Foce(), seed=1, progress=False)
    ranked = pb.compare({"weight": less, "weight and Apgar": found}).to_frame()
    by = {c: ranked.loc["weight", c] - ranked.loc["weight and Apgar", c] for c in ranked.columns}
    assert by["bic_subjects"] > 0 > by["bic_observations"]


def test_clearance_of_the_newborns_grows_with_weight_and_not_with_the_days():
    script, expected = phenobarbital_script(), phenobarbital_expected()["covariates of clearance"]
    model, data = script.the_model(), script.the_data()
    models = {
        "exponent": script.covariate_model(model, day=False),
        "day": script.covariate_model(model, exponent=False),
        "both": script.covariate_model(model),
    }
    for name, one in models.items():
        found = pb.estimate(one, data, method=pb.Foce(), seed=1, progress=False)
        assert float(found["objective"]["ofv"][0]) == pytest.approx(expected["ofv"][name], abs=0.01), name
    table = pb.summary(found).to_frame()
    for name, one in expected["estimates"].items():
        assert table.loc[name, "estimate"] == pytest.approx(one["value"], abs=0.02 * one["se"]), name
        assert table.loc[name, "se"] == pytest.approx(one["se"], rel=0.02), name


@pytest.mark.slow
def test_the_newborns_by_three_methods(tmp_path):
    folder, expected = tmp_path / "newborns", phenobarbital_expected()["estimates"]
    with pytest.raises(SystemExit) as stop:
        cli.app(["run", "phenobarbital_neonates", "--out", str(folder), "--traceback"])
    assert not stop.value.code
    table = pd.read_csv(folder / "side_by_side.csv", index_col=0)
    for name, one in expected.items():
        for method in ("FOCEI", "SAEM", "posterior"):
            # the posterior of a SD is skewed, and wider than the standard error at its maximum
            error = max(one["se"], table.loc[name, f"{method} SE"])
            assert table.loc[name, method] == pytest.approx(one["value"], abs=0.5 * error), (name, method)
    for name, one in phenobarbital_expected()["covariates of clearance"]["estimates"].items():
        draws = pb.load(folder / "covariates.nc")["posterior"][name]
        assert float(arviz_stats.ess(draws)) >= ENOUGH_ESS
        assert float(draws.mean()) == pytest.approx(one["value"], abs=0.5 * one["se"]), name
    assert (folder / "forest.png").stat().st_size > 100


def test_the_truth_of_the_warfarin_like_study_is_that_of_its_script():
    """And the model of the analysis has a row for each of it."""
    truth = expected_of("warfarin_like_pkpd")["truth"]
    script = module_at(CASES.parent / "scripts" / "simulate_warfarin_like.py")
    given = dict(script.TRUTH)
    given |= {f"omega[{name}]": sd for name, sd in given.pop("omega").items()}
    assert given == truth
    model = module_at(CASES / "warfarin_like_pkpd" / "analysis.py").joint_model()
    rows = model.resolved(pb.load_dataset("warfarin_like")).population_rows()
    assert {row.label for row in rows if not row.fixed} == set(truth)


@pytest.mark.slow
def test_the_joint_fit_of_the_warfarin_like_study_holds_the_truth_and_the_sequential_ones_agree(tmp_path):
    """Truth within 3.3 posterior SDs; IPP and PPP&D within one SD of the joint fit (same data)."""
    folder, truth = tmp_path / "warfarin_like", expected_of("warfarin_like_pkpd")["truth"]
    with pytest.raises(SystemExit) as stop:
        cli.app(["run", "warfarin_like_pkpd", "--out", str(folder), "--traceback"])
    assert not stop.value.code
    table = pd.read_csv(folder / "parameters.csv", index_col=0)
    for name, value in truth.items():
        row = table.loc[name]
        assert row["ess_bulk"] >= ENOUGH_ESS, f"{name}: ESS {row['ess_bulk']:.0f} is too low to judge"
        assert abs(row["mean"] - value) < 3.3 * row["sd"], f"{name}: {row['mean']:.3g} +- {row['sd']:.2g}"
    beside = pd.read_csv(folder / "side_by_side.csv", index_col=0)
    for method in ("IPP", "PPP&D"):
        away = (beside[method] - beside["joint"]).abs() / beside["joint SD"]
        assert (away < 1.0).all(), f"{method}: {away.to_dict()}"
