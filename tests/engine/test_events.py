"""Every dosing event against brute force, and against NONMEM where its output is at hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from popbayes.data.design import Design
from popbayes.data.events import read_events
from popbayes.data.regimen import Regimen, regimens
from popbayes.engine.solve import evaluate, solve
from popbayes.structural import pk
from tests.engine.oracle import brute_force, by_expm, by_ode
from tests.engine.scenarios import LEVELS, PARAMETERS, SCENARIOS
from tests.tolerances import NONMEM_PRINTED, SOLVER, STEADY

ALL_INPUTS = pk.Intravenous(Tlag=True, F=True, D=True, R=True)
MODELS = {
    "one compartment": pk.OneCompartment(pk.FirstOrder(Tlag=True, F=True), ALL_INPUTS),
    "two compartments": pk.TwoCompartment(pk.FirstOrder(Tlag=True, F=True), ALL_INPUTS),
    "three compartments": pk.ThreeCompartment(pk.FirstOrder(), pk.Intravenous(D=True, R=True)),
    "one compartment, no lag": pk.OneCompartment(pk.FirstOrder(), pk.Intravenous(D=True, R=True)),
    "two compartments, no lag": pk.TwoCompartment(pk.FirstOrder(), pk.Intravenous(D=True, R=True)),
}
NONMEM = Path(__file__).parents[2].parent / "shared" / "data" / "events"


def values(model):
    return {name: PARAMETERS[name] for name in model.parameters}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", MODELS)
def test_every_event_equals_brute_force(name, level):
    """All scenarios of a kind as subjects of one study, for each kind of kernel."""
    model = MODELS[name]
    data = regimens({scenario: SCENARIOS[scenario] for scenario in LEVELS[level]})
    got = solve(model, data, values(model))
    for scenario in LEVELS[level]:
        expected = brute_force(model, SCENARIOS[scenario].to_events(), values(model), by_expm)
        mine = got["conc"].to_numpy()[got["subject"].to_numpy() == scenario]
        tolerance = STEADY if "steady" in scenario else SOLVER
        np.testing.assert_allclose(mine, expected, **tolerance, err_msg=scenario)


@pytest.mark.parametrize(
    "scenario", ["twenty doses, many between samples", "infusions that overlap", "reset and dose"]
)
@pytest.mark.parametrize("name", ["one compartment", "two compartments"])
def test_events_equal_a_tight_ode_solution(name, scenario):
    model, data = MODELS[name], SCENARIOS[scenario].to_events()
    got = solve(model, data, values(model))["conc"].to_numpy()
    np.testing.assert_allclose(got, brute_force(model, data, values(model), by_ode), **SOLVER)


def test_parameters_that_change_between_records_carry_the_amounts_over():
    """Each record's covariate holds over the interval that ends at it, in additional doses too."""
    model = MODELS["two compartments"]
    weight = np.array([50.0, 55.0, 60.0, 60.0, 90.0, 90.0, 70.0, 71.0, 72.0, 50.0])
    times = np.array([0.0, 1.0, 3.0, 5.0, 9.0, 14.0, 20.0, 21.0, 30.0, 40.0])
    blank = {"ID": 1, "DV": 1.0, "MDV": 0, "AMT": 0.0, "EVID": 0, "ADDL": 0, "II": 0.0, "RATE": 0.0}
    table = pd.DataFrame({**blank, "TIME": times, "CMT": "depot", "WT": weight})
    table.loc[0, ["AMT", "EVID", "ADDL", "II", "MDV"]] = [100.0, 1, 3, 7.0, 1]
    table.loc[3, ["AMT", "EVID", "RATE", "CMT", "MDV"]] = [60.0, 1, 9.0, "central", 1]
    table.loc[table["EVID"] == 1, "DV"] = np.nan
    data = read_events(table, covariates=["WT"])
    design = Design.of(data, ["WT"])
    assert design.n_segment > data.n_subject

    def at(weight):
        scale = {"CL": 0.75, "Q": 0.75, "V1": 1.0, "V2": 1.0, "Tlag": -0.3}
        return {n: PARAMETERS[n] * (weight / 70.0) ** scale.get(n, 0.0) for n in model.parameters}

    theta = at(design.covariates["WT"])
    got = evaluate(model, design, {n: np.broadcast_to(v, design.n_segment) for n, v in theta.items()})
    expected = brute_force(model, data, lambda k: at(data.covariates["WT"][k]))
    np.testing.assert_allclose(got, expected, **SOLVER)


def test_segment_boundaries_that_change_nothing_change_nothing():
    model = MODELS["two compartments"]
    table = SCENARIOS["oral and intravenous"].to_events().to_frame()
    whole = solve(model, read_events(table, covariates=[]), values(model))["conc"].to_numpy()
    table["AGE"] = np.arange(len(table), dtype=float)
    data = read_events(table, covariates=["AGE"])
    design = Design.of(data, ["AGE"])
    assert design.n_segment == data.n_record
    theta = {n: np.full(design.n_segment, v) for n, v in values(model).items()}
    np.testing.assert_allclose(evaluate(model, design, theta), whole, **SOLVER)


def test_a_sample_at_the_time_of_a_lagged_or_additional_dose_sees_it():
    model = pk.OneCompartment(iv=pk.Intravenous(Tlag=True))
    data = Regimen(times=[0.3, 0.6, 0.9]).dose(10, ii=0.3, addl=3).to_events()
    got = solve(model, data, {"CL": 1e-12, "V": 1.0, "Tlag": 0.3})["conc"].to_numpy()
    np.testing.assert_allclose(got, [10.0, 20.0, 30.0], **SOLVER)


@pytest.mark.skipif(not NONMEM.exists(), reason="NONMEM's reference concentrations are not at hand")
def test_twenty_nine_scenarios_equal_nonmem():
    model = pk.OneCompartment(pk.FirstOrder(), pk.Intravenous(Tlag=True, F=True, D=True))
    table = pd.read_csv(NONMEM / "events_nmtests_core" / "data.csv")
    fixed = table.groupby("ID")[["LAGT", "BIOAV", "DUR2"]].first()
    records = table[["ID", "time", "evid", "amt", "cmt", "ss", "ii", "addl", "rate"]].rename(
        columns=str.upper
    )
    sample = records["EVID"] == 0
    records["DV"] = table["CP_NONMEM"].where(sample)
    parameters = pd.DataFrame(
        {"ka": 1.5, "CL": 1.1, "V": 20.0, "Tlag2": fixed["LAGT"], "F2": fixed["BIOAV"], "D2": fixed["DUR2"]}
    )
    got = 1000.0 * solve(model, read_events(records), parameters)["conc"].to_numpy()
    assert len(got) == sample.sum() > 3000
    np.testing.assert_allclose(got, table.loc[sample, "CP_NONMEM"], **NONMEM_PRINTED)


@pytest.mark.skipif(not NONMEM.exists(), reason="NONMEM's reference concentrations are not at hand")
@pytest.mark.parametrize("scenario", ["wt", "crcl"])
def test_time_varying_covariates_equal_nonmem(scenario):
    model = pk.OneCompartment(pk.FirstOrder())
    table = pd.read_csv(NONMEM / "events_timevarying_cov" / "data.csv", na_values=".")
    table = table[table["scenario"] == scenario].rename(columns=str.upper).reset_index(drop=True)
    column = scenario.upper()
    sample = table["EVID"] == 0
    table["DV"] = table["CP_NONMEM"].where(sample)
    numeric = ["ID", "TIME", "EVID", "AMT", "CMT", "SS", "II", "ADDL", "RATE", "DV", column]
    data = read_events(table[numeric], covariates=[column])
    design = Design.of(data, [column])
    x = design.covariates[column]
    clearance = 1.1 * (x / 70.0) ** 0.75 if scenario == "wt" else 1.1 * x / 100.0
    theta = {"ka": np.full(design.n_segment, 1.5), "CL": clearance, "V": np.full(design.n_segment, 20.0)}
    got = 1000.0 * evaluate(model, design, theta)
    np.testing.assert_allclose(got, table.loc[sample, "CP_NONMEM"], **NONMEM_PRINTED)
