"""Joint analyses of concentrations and outcomes: fits of simulated studies find the values they came from."""

import arviz_stats
import numpy as np
import pandas as pd
import pytensor.tensor as pt
import pytest

import popbayes as pb
from popbayes import ode, outcome, pk, prior, residual, variability
from popbayes.simulation import as_data
from tests.tolerances import ENOUGH_ESS

SDS = 3.3
"""Of the posterior, within which the truth lies: for some ten quantities a chance of 1 % to fail."""
POSITIVE, REAL = prior.HalfNormal(0.5), prior.Normal(0.0, 2.0)
BODY = {
    "CL": pb.Parameter(prior.LogNormal(3.0, 0.5), unit="L/h"),
    "V": pb.Parameter(prior.LogNormal(20.0, 0.5), unit="L"),
}
PK_TRUTH = {"CL_pop": 3.0, "V_pop": 20.0, "sigma_prop_conc": 0.1}
PROPORTIONAL = residual.Proportional(prior.HalfNormal(0.3))


def design(times, dvids, n, dose=200.0):
    """A bolus for everyone (none for every fourth), and all kinds of observations at every time."""
    rows = []
    for subject in range(1, n + 1):
        rows.append((subject, 0.0, 0.01 if subject % 4 == 0 else dose, 1, 0))
        rows += [(subject, t, 0.0, 0, dvid) for t in times for dvid in dvids]
    return pb.read_events(pd.DataFrame(rows, columns=["ID", "TIME", "AMT", "EVID", "DVID"]))


def recovered(model, data, truth, names):
    """Fit, and compare with the truth, where there are draws enough to judge.

    V has no random effect and moves the CL of all subjects together, which a diagonal mass matrix cannot
    follow (bulk ESS 23 of 2400); a matrix of low rank can.
    """
    dt = pb.fit(model, data, seed=1, draws=1500, tune=500, adaptation="low_rank", progress=False)
    posterior = dt["posterior"].to_dataset()
    for name, true in names.items():
        draws = posterior[name] if isinstance(true, float) else posterior[name].sel(eta_of=true[0], drop=True)
        value = true if isinstance(true, float) else true[1]
        ess = float(arviz_stats.ess(draws))
        assert ess >= ENOUGH_ESS, f"{name}: ESS {ess:.0f} is too low to judge"
        away = (float(draws.mean()) - value) / float(draws.std())
        assert abs(away) < SDS, f"{name}: {float(draws.mean()):.3f} +- {float(draws.std()):.3f}, true {value}"
    return dt


@pytest.mark.slow
def test_counts_that_fall_with_concentration():
    """Seizures, say: Poisson with a baseline that differs between subjects."""
    model = pb.PopModel(
        pk.OneCompartment(),
        {**BODY, "base": pb.Parameter(REAL, scale="identity")},
        variability.Independent(["CL", "base"], sd=POSITIVE),
        {"conc": PROPORTIONAL, "count": outcome.Poisson(output="conc", intercept="base", slope=REAL)},
    )
    truth = {**PK_TRUTH, "base_pop": 1.5, "omega": {"CL": 0.3, "base": 0.4}, "slope_count": -0.2}
    data = as_data(pb.simulate(model, design((1, 4, 8, 16, 24), (1, 2), 32), truth, seed=3))
    names = {"CL_pop": 3.0, "base_pop": 1.5, "slope_count": -0.2, "omega": ("base", 0.4)}
    dt = recovered(model, data, truth, names)
    checked = pb.vpc(pb.simulate(model, data, dt, seed=1, n=100))
    assert checked["stratum"].to_numpy().tolist() == ["dvid 1", "dvid 2"]
    assert np.isfinite(pb.loo(dt, unit="obs").elpd)


def hazard_model():
    """A relapse whose hazard the concentration holds down; its integral is a state."""
    system = ode.System(
        states=("H",),
        parameters=("h0", "effect"),
        rhs=lambda t, s, p: {"H": p.h0 * pt.exp(-p.effect * s.central / p.V)},
        outputs={"H": lambda s, p: s.H, "hazard": lambda s, p: p.h0 * pt.exp(-p.effect * s.central / p.V)},
        pk=pk.OneCompartment(),
    )
    return pb.PopModel(
        system,
        {
            **BODY,
            "h0": pb.Parameter(prior.LogNormal(0.05, 1.0), unit="1/h"),
            "effect": pb.Parameter(prior.LogNormal(0.3, 1.0), unit="L/mg"),
        },
        variability.Independent(["CL"], sd=POSITIVE),
        {"conc": PROPORTIONAL, "H": outcome.Survival()},
    )


def looked_for(drawn):
    """A simulated table as it would be recorded: nothing after the first event, which lies in an interval."""
    table = drawn.to_frame()
    event = (table["DVID"] == 2) & (table["DV"] == 1)
    before = event.astype(int).groupby(table["ID"]).cumsum() - event.astype(int)
    table = table[(table["DVID"] != 2) | (before == 0)]
    return pb.read_events(table.assign(CENS=((table["DVID"] == 2) & (table["DV"] == 1)).astype(int)))


@pytest.mark.slow
def test_a_hazard_driven_by_concentration_through_an_integrated_state():
    model = hazard_model()
    truth = {**PK_TRUTH, "h0_pop": 0.06, "effect_pop": 0.4, "omega": {"CL": 0.3}}
    grid = design((2, 6, 12, 18, 24, 36, 48), (1, 2), 80)
    data = looked_for(as_data(pb.simulate(model, grid, truth, seed=5)))
    dt = recovered(
        model, data, truth, {"CL_pop": 3.0, "h0_pop": 0.06, "effect_pop": 0.4, "omega": ("CL", 0.3)}
    )
    checked = pb.vpc(pb.simulate(model, grid, dt, seed=1, n=200), endpoint="H", observed=data)
    inside = (checked["observed"] >= checked["lower"]) & (checked["observed"] <= checked["upper"])
    assert inside.mean() >= 0.7
    assert np.isfinite(pb.loo(dt, unit="obs").elpd)


@pytest.mark.slow
def test_ordered_categories_that_rise_with_concentration():
    """Sedation 0, 1, 2; the first threshold differs between subjects."""
    model = pb.PopModel(
        pk.OneCompartment(),
        {**BODY, "first": pb.Parameter(REAL, scale="identity")},
        variability.Independent(["CL", "first"], sd=prior.HalfNormal(1.0)),
        {
            "conc": PROPORTIONAL,
            "sedation": outcome.Ordered("first", (prior.HalfNormal(2.0),), REAL, output="conc"),
        },
    )
    truth = {**PK_TRUTH, "first_pop": 1.0, "omega": {"CL": 0.3, "first": 0.8}}
    truth |= {"step_1_sedation": 1.5, "slope_sedation": 0.5}
    data = as_data(pb.simulate(model, design((1, 4, 8, 16, 24), (1, 2), 48), truth, seed=7))
    names = {"CL_pop": 3.0, "first_pop": 1.0, "step_1_sedation": 1.5, "slope_sedation": 0.5}
    dt = recovered(model, data, truth, {**names, "omega": ("first", 0.8)})
    checked = pb.vpc(pb.simulate(model, data, dt, seed=1, n=200), endpoint="sedation", bins="times")
    inside = (checked["observed"] >= checked["lower"]) & (checked["observed"] <= checked["upper"])
    assert inside.mean() >= 0.7
