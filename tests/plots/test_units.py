"""Axes of several endpoints are each in the unit of its own."""

from dataclasses import replace

import pytest

from popbayes.diagnostics.gof import gof
from popbayes.diagnostics.summary import summary
from popbayes.diagnostics.vpc import vpc
from popbayes.infer.tree import study_of
from popbayes.plots.plot_gof import plot_gof
from popbayes.plots.plot_individual import plot_individual
from popbayes.plots.plot_vpc import plot_vpc
from popbayes.simulation import simulate
from tests.diagnostics.posed import posed_fit


@pytest.fixture(scope="module")
def fit(two):
    study = study_of(two)
    units = {"TIME": "h", "DV": "mg/L or %", "DV 1": "mg/L", "DV 2": "%"}
    return posed_fit(study.model, replace(study.events, units=units))


def y_labels(figure):
    return [ax.get_ylabel() for ax in figure.axes if ax.get_visible() and ax.get_ylabel()]


def test_individual_fits(fit):
    assert plot_individual(fit, endpoint="conc").get_supylabel() == "Observed and predicted (mg/L)"
    assert plot_individual(fit, endpoint="A_central").get_supylabel() == "Observed and predicted (%)"


def test_goodness_of_fit(fit):
    labels = y_labels(plot_gof(gof(fit)))
    assert [one for one in labels if "(" in one] == ["Observed (mg/L)"] * 4 + ["Observed (%)"] * 4
    assert "Observed (%)" in y_labels(plot_gof(gof(fit, endpoint="A_central")))


def test_predictive_checks(fit):
    study = study_of(fit)
    checked = vpc(simulate(study.model, study.events, fit, seed=1, n=8))
    assert [one for one in y_labels(plot_vpc(checked)) if "Obs" in one] == ["Observed (mg/L)", "Observed (%)"]
    alone = vpc(simulate(study.model, study.events, fit, seed=1, n=8), endpoint="A_central")
    assert y_labels(plot_vpc(alone))[0] == "Observed (%)"


def test_tables(fit):
    units = summary(fit).table["unit"]
    assert (units["sigma_add_conc"], units["sigma_add_A_central"]) == ("mg/L", "%")
