"""Templates beyond the first one: up to the fit (tables, models, priors), and whole, with results."""

import importlib.util
from pathlib import Path

import pytest

import popbayes as pb
from popbayes import cli
from tests.tolerances import ENOUGH_ESS

TEMPLATES = Path(__file__).parents[1] / "templates"
NAMES = [
    "pk_blq", "pk_covariates", "pk_iov_crossover", "pk_covariate_selection", "pk_michaelis_menten",
    "pkpd_turnover", "pkpd_neutropenia",
]  # fmt: skip
LEFT_BEHIND = {"fit.nc", "gof.png", "parameters.csv", "prior_vpc.png", "report.html", "vpc.png"}
RHAT = 1.02


class ReachedTheFitError(Exception):
    """Raised in place of sampling."""


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_template_reaches_the_fit(name, tmp_path, monkeypatch, capsys):
    def stop(model, data, **settings):
        assert model.resolved(data).equations()
        raise ReachedTheFitError

    spec = importlib.util.spec_from_file_location(name, TEMPLATES / f"{name}.py")
    template = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(template)
    monkeypatch.setattr(template, "OUT", tmp_path)
    monkeypatch.setattr(pb, "fit", stop)
    with pytest.raises(ReachedTheFitError):
        template.main()
    assert (tmp_path / "prior_vpc.png").exists()
    assert "Priors" in capsys.readouterr().out
    assert len((TEMPLATES / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 100


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_template_runs_to_its_report(name, tmp_path):
    with pytest.raises(SystemExit) as stop:
        cli.app(["run", str(TEMPLATES / f"{name}.py"), "--out", str(tmp_path), "--traceback"])
    assert not stop.value.code
    left = {path.name for path in tmp_path.iterdir() if path.stat().st_size > 100}
    assert left >= LEFT_BEHIND
    table = pb.summary(pb.load(tmp_path / "fit.nc")).table
    estimated = table[~table["fixed"].astype(bool)]
    assert estimated["rhat"].max() < RHAT
    assert estimated["ess_bulk"].min() > ENOUGH_ESS
