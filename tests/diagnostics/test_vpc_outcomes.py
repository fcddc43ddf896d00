"""Checks of categories and of events: fractions and survival curves by their definitions."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import popbayes as pb
from popbayes import outcome, pk, prior, residual, variability
from popbayes.diagnostics.vpc_outcomes import kaplan_meier
from popbayes.plots.plot_vpc import plot_vpc

HALF, REAL = prior.HalfNormal(1.0), prior.Normal(0.0, 1.0)
LAST = 24.0


def test_the_product_limit_estimate_is_that_of_a_published_trial():
    """Remission of leukaemia under 6-mercaptopurine (Freireich et al., Blood 21 (1963) 699-716)."""
    time = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
    lost = [3, 5, 7, 8, 11, 12, 13, 16, 17, 18, 19, 20]  # left in remission
    happened = ~np.isin(np.arange(21), lost)
    at = np.array([0, 5, 6, 7, 10, 13, 16, 22, 23, 35, 36])
    survival, at_risk = kaplan_meier(np.array(time, float), happened, at)
    expected = [1, 1, 0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448, 0.448]
    np.testing.assert_allclose(survival[:-1], expected, atol=6e-4)  # three digits are printed
    assert np.isnan(survival[-1])
    np.testing.assert_array_equal(at_risk, [21, 21, 21, 17, 15, 12, 11, 7, 6, 1, 0])


def test_without_censoring_survival_is_the_fraction_that_is_left():
    time = np.array([1.0, 2.0, 2.0, 5.0])
    survival, _ = kaplan_meier(time, np.ones(4, dtype=bool), np.array([0.5, 1, 2, 4, 5, 6]))
    np.testing.assert_allclose(survival, [1, 0.75, 0.25, 0.25, 0, 0])


def model():
    return pb.PopModel(
        structural=pk.OneCompartment(),
        parameters={"CL": pb.Parameter(prior.LogNormal(3.0, 0.3)), "V": pb.Parameter(10.0)},
        variability=variability.Independent(["CL"], sd=prior.HalfNormal(0.3)),
        residual={
            "conc": residual.Proportional(HALF),
            "severity": outcome.Ordered(REAL, (HALF,), REAL, output="conc"),
            "relapse": outcome.ExponentialTime(prior.LogNormal(0.05, 0.3)),
        },
    )


def study(exact=False, n=30):
    """Concentrations, severity, and a relapse that is looked for every 4 h or has a known time."""
    rng = np.random.default_rng(3)
    rows = []
    for subject in range(1, n + 1):
        rows.append((subject, 0.0, 100.0, np.nan, 0, 0))
        for t in (2.0, 6.0):
            rows += [(subject, t, 0.0, 5.0, 1, 0), (subject, t, 0.0, float(rng.integers(3)), 2, 0)]
        when = rng.exponential(20.0)
        looks = [t for t in np.arange(4.0, LAST + 1, 4.0) if t < when + 4.0]
        if exact:
            rows.append((subject, min(when, LAST), 0.0, float(when < LAST), 3, 0))
        else:
            rows += [(subject, t, 0.0, float(t >= when), 3, int(t >= when)) for t in looks]
    columns = ["ID", "TIME", "AMT", "DV", "DVID", "CENS"]
    return pb.read_events(pd.DataFrame(rows, columns=columns).sort_values(["ID", "TIME"], kind="stable"))


@pytest.fixture(scope="module")
def replicates():
    return pb.simulate(model(), study(), n=40, seed=1)


def test_fractions_of_categories_are_counted_in_every_bin(replicates):
    data, checked = study(), pb.vpc(replicates, endpoint="severity", bins="times")
    dvid, dv = data.dvid[data.obs_record], data.obs_dv
    drawn = replicates["prior_predictive"]["dv"].to_numpy()[0]
    for b, time in enumerate((2.0, 6.0)):
        mine = (dvid == 2) & (data.obs_time == time)
        for k in range(3):
            assert float(checked["observed"][b, k]) == (dv[mine] == k).mean()
            fraction = (drawn[:, mine] == k).mean(axis=1)
            limits = [float(checked[name][b, k]) for name in ("lower", "simulated", "upper")]
            np.testing.assert_allclose(limits, np.quantile(fraction, (0.05, 0.5, 0.95)))
    np.testing.assert_allclose(checked["observed"].sum("category"), 1.0)
    assert isinstance(plot_vpc(checked), Figure)


def test_survival_of_replicates_is_counted_as_that_of_the_study(replicates):
    data, checked = study(), pb.vpc(replicates, endpoint="relapse")
    mine = data.dvid[data.obs_record] == 3
    happened = np.array([data.obs_dv[mine & (data.obs_subject == i)].max() == 1 for i in range(30)])
    last = np.array([data.obs_time[mine & (data.obs_subject == i)].max() for i in range(30)])
    curve, _ = kaplan_meier(last, happened, checked["at"].to_numpy())
    np.testing.assert_allclose(checked["observed"], curve)
    assert float(checked["observed"][0]) == 1.0
    inside = checked.dropna("at")
    assert (inside["lower"] <= inside["upper"]).all()
    figure = plot_vpc(checked)
    assert "relapse" in figure.axes[0].get_ylabel()


def test_events_at_known_times_need_a_design_that_goes_on(replicates):
    exact = study(exact=True)
    grid = np.arange(1.0, LAST + 1.0)
    rows = [(i, 0.0, 100.0, 0) for i in range(1, 31)] + [(i, t, 0.0, 3) for i in range(1, 31) for t in grid]
    design = pd.DataFrame(rows, columns=["ID", "TIME", "AMT", "DVID"]).sort_values(["ID", "TIME"])
    with pytest.raises(ValueError, match=r"happened at known times.*observed=data"):
        pb.vpc(pb.simulate(model(), exact, n=5, seed=1), endpoint="relapse")
    given = {"CL_pop": 3.0, "omega": [0.1], "sigma_prop_conc": 0.1, "threshold_severity": 0.0}
    given |= {"step_1_severity": 1.0, "slope_severity": 0.1, "hazard_relapse": 0.05}
    many = pb.simulate(model(), pb.read_events(design), given, n=300, seed=2)
    checked = pb.vpc(many, endpoint="relapse", observed=exact)
    at = checked["at"].to_numpy()
    later = at % 1 == 0
    # 300 replicates of 30 subjects: the median curve has a standard error below 0.01
    np.testing.assert_allclose(checked["simulated"].to_numpy()[later], np.exp(-0.05 * at[later]), atol=0.04)
    assert not np.isnan(checked["observed"]).all()


def test_one_endpoint_of_measurements_is_checked_alone(replicates):
    checked = pb.vpc(replicates, endpoint="conc")
    assert checked["stratum"].to_numpy().tolist() == ["dvid 1"]
    assert int((checked["stratum_of"] == 0).sum()) == 60


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"endpoint": "severty"}, r"endpoint must be one of .*'severty'. Did you mean 'severity'"),
        ({"endpoint": "severity", "pred_corr": True}, "pred_corr does not apply to severity"),
        ({"endpoint": "relapse", "by": "dvid"}, "by does not apply to relapse, which is of events"),
        ({"endpoint": "severity", "observed": "study"}, "observed is for events in time"),
        ({"observed": "study"}, "observed is for an endpoint of events"),
    ],
)
def test_what_makes_no_sense_is_refused(replicates, options, words):
    options = {name: study() if one == "study" else one for name, one in options.items()}
    with pytest.raises(ValueError, match=words):
        pb.vpc(replicates, **options)


def hazard_model():
    """A hazard equal to the concentration: its integral is the AUC."""
    return pb.PopModel(
        structural=pk.OneCompartment(also=("AUC",)),
        parameters={"CL": pb.Parameter(prior.LogNormal(1.0, 0.1)), "V": pb.Parameter(10.0)},
        residual={"AUC": outcome.Survival(), "conc": outcome.EventRate()},
    )


def test_events_of_a_hazard_that_is_an_output_are_those_of_its_rate():
    """An event at a known time is two records; replicates follow exp(-AUC)."""
    rng, k = np.random.default_rng(5), 0.1
    rows = []
    for i in range(1, 41):
        left = 1.0 - rng.exponential()  # H(t) = 1 - exp(-k t) reaches an exponential number, or never
        when = min(-np.log(left) / k if left > 0 else LAST, LAST)
        rows += [(i, 0.0, 1.0, np.nan, 0), (i, when, 0.0, 0.0, 1)]
        rows += [(i, when, 0.0, 1.0, 2)] if when < LAST else []
    columns = ["ID", "TIME", "AMT", "DV", "DVID"]
    seen = pb.read_events(pd.DataFrame(rows, columns=columns))
    grid = [(i, t, 1.0 * (t == 0), int(t > 0)) for i in range(1, 41) for t in np.arange(0.0, LAST + 1)]
    design = pb.read_events(pd.DataFrame(grid, columns=["ID", "TIME", "AMT", "DVID"]))
    many = pb.simulate(hazard_model(), design, {"CL_pop": 1.0}, n=300, seed=1)
    checked = pb.vpc(many, endpoint="AUC", observed=seen)
    at = checked["at"].to_numpy()
    whole = at % 1 == 0
    expected = np.exp(-(1.0 - np.exp(-k * at)))
    # 300 replicates of 40 subjects: the median curve has a standard error below 0.01
    np.testing.assert_allclose(checked["simulated"].to_numpy()[whole], expected[whole], atol=0.04)
    away = (checked["observed"].to_numpy() - expected)[at < LAST]
    assert np.abs(away).max() < 4 * np.sqrt(0.25 / 40)  # four standard errors of a fraction
    with pytest.raises(ValueError, match="happened at known times"):
        pb.vpc(pb.simulate(hazard_model(), seen, {"CL_pop": 1.0}, n=5, seed=1), endpoint="AUC")
    with pytest.raises(ValueError, match=r"holds the hazard at known events only"):
        pb.vpc(many, endpoint="conc", observed=seen)
