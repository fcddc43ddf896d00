"""Templates of the population layer run up to the fit: tables are read, models print, priors are checked."""

import importlib.util
from pathlib import Path

import pytest

import popbayes as pb

TEMPLATES = Path(__file__).parents[1] / "templates"


class ReachedTheFitError(Exception):
    """Raised in place of sampling."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "pk_covariates", "pk_iov_crossover", "pk_covariate_selection", "pk_michaelis_menten", "pkpd_turnover",
        "pkpd_neutropenia",
    ],
)  # fmt: skip
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
