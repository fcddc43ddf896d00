"""Solutions that fail: counted by subject, said where a reader looks; never a crash, never a wrong value."""

import json
import warnings

import numpy as np
import pytest

import popbayes as pb
from popbayes import ode, prior, residual, variability
from popbayes.data.design import Design
from popbayes.data.regimen import regimens
from popbayes.engine.failures import watching
from popbayes.engine.op import route
from popbayes.engine.sensitivities import Solver
from popbayes.engine.solve import evaluate
from popbayes.infer.failed import FAILED
from popbayes.simulation import as_data

# The second subject's amount passes 100 now and then, where its rate is no number; the first one's never.
DOSES = {"low": 10.0, "high": 80.0}


def explosive(**options):
    """A bolus whose elimination is not defined where more than `top` is in the body."""
    return ode.System(
        states=("central",),
        parameters=("k", "F"),
        rhs=lambda t, s, p: {"central": -p.k * s.central * ((100.0 - s.central) / 100.0) ** 0.01},
        outputs={"amount": lambda s, p: s.central},
        inputs={"central": ode.Input(F="F")},
        **options,
    )


@pytest.fixture(scope="module")
def table():
    return regimens({name: pb.Regimen([0.5, 1.0, 3.0]).dose(dose) for name, dose in DOSES.items()})


@pytest.fixture(scope="module")
def population():
    return pb.PopModel(
        structural=explosive(solver="explicit"),
        parameters={
            "k": pb.Parameter(prior.LogNormal(0.5, 0.3)),
            "F": pb.Parameter(prior.LogNormal(1.0, 0.3)),
        },
        variability=variability.Independent(["k"], sd=prior.HalfNormal(0.3)),
        residual=residual.LogNormal(prior.HalfNormal(0.3)),
    )


def test_every_way_to_solve_counts_what_fails_for_its_subject(table):
    design, model = Design.of(table), explosive(solver="explicit")
    theta = {"k": np.full((3, 2), 0.5), "F": np.full((3, 2), 1.0)}
    theta["F"][1:, 1] = 2.0
    with watching(route(model, design).schedule) as counts:
        found = evaluate(model, design, theta, threads=2)
        assert counts.tolist() == [0, 2]
        Solver.of(model, design).predict(theta)
        assert counts.tolist() == [0, 4]
        one = {name: values[1] for name, values in theta.items()}
        Solver.of(model, design).sensitivities(one, {"k": np.ones((1, 2))})
        assert counts.tolist() == [0, 5]
        evaluate(model, design, {**one, "k": np.full(2, np.nan)})
        assert counts.tolist() == [0, 5]  # parameters that are no numbers are not the solver's failure
    second = design.obs_subject == 1
    assert np.isnan(found[1:, second]).all()
    assert np.isfinite(found[0]).all()
    assert np.isfinite(found[:, ~second]).all()
    evaluate(model, design, one)
    assert counts.tolist() == [0, 5]  # nobody watches any more


def test_another_study_is_not_counted(table):
    design, model = Design.of(table), explosive(solver="explicit")
    other = Design.of(pb.Regimen([0.5, 2.0]).dose(80.0).to_events())
    with watching(route(model, design).schedule) as counts:
        assert np.isnan(evaluate(model, other, {"k": 0.5, "F": 2.0})).all()
    assert counts.tolist() == [0, 0]


def test_solve_says_whose_equations_could_not_be_solved(table):
    with pytest.warns(UserWarning, match="could not be solved for subject high: more than 20000 steps"):
        found = pb.solve(explosive(solver="explicit"), table, {"k": 0.5, "F": 2.0})
    assert np.isnan(found["amount"].to_numpy()).tolist() == [False] * 3 + [True] * 3


@pytest.fixture(scope="module")
def simulated(population, table):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        tree = pb.simulate(population, table, seed=1, n=200)
    return tree, [str(one.message) for one in told]


def test_simulate_counts_failures_and_keeps_the_other_subjects(simulated):
    tree, told = simulated
    (counts,) = json.loads(tree.attrs[FAILED]).values()
    assert list(counts) == ["high"]
    lost = np.isnan(tree["prior_predictive"]["ipred"].to_numpy()[0]).any(axis=-1)
    typical = np.isnan(tree["prior_predictive"]["pred"].to_numpy()[0]).any(axis=-1)
    assert counts["high"] == lost.sum() + typical.sum() > 0
    text = f"could not be solved {counts['high']} times, for subject high ({counts['high']})"
    assert any(text in one for one in told)
    assert np.isfinite(tree["prior_predictive"]["ipred"].to_numpy()[..., :3]).all()


@pytest.fixture(scope="module")
def study(population, simulated, table):
    """A replicate near the border: the typical subject with the high dose is just inside."""
    tree, _ = simulated
    ipred = tree["prior_predictive"]["ipred"].to_numpy()[0]
    inside = np.flatnonzero(np.isfinite(ipred).all(axis=-1))
    return as_data(tree, draw=int(inside[np.argmax(ipred[inside, 3])]))


def test_a_fit_goes_on_and_its_summary_names_the_subject(population, study):
    settings = {"chains": 2, "draws": 100, "tune": 100, "warm_start": None, "seed": 1, "progress": False}
    dt = pb.fit(population, study, **settings)
    counts = json.loads(dt.attrs[FAILED])
    assert list(counts) == ["sampling"]
    assert list(counts["sampling"]) == ["high"]
    assert np.isfinite(dt["sample_stats"]["lp"].to_numpy()).all()
    (said,) = [one for one in pb.summary(dt).messages if "could not be solved" in one]
    number = counts["sampling"]["high"]
    assert f"could not be solved {number} times, for subject high ({number}) while sampling" in said


def test_chains_in_processes_of_their_own_count_the_same_failures(population, study):
    """PyMC's sampler forks: one chain after the other or two at a time, the draws are the same."""
    settings = {"sampler": "pymc", "chains": 2, "draws": 60, "tune": 60, "warm_start": None, "seed": 1}
    one, two = (pb.fit(population, study, cores=cores, progress=False, **settings) for cores in (1, 2))
    np.testing.assert_array_equal(one["posterior"]["k_pop"], two["posterior"]["k_pop"])
    counts = json.loads(one.attrs[FAILED])
    assert counts["sampling"]["high"] > 0
    assert json.loads(two.attrs[FAILED]) == counts


@pytest.mark.slow
def test_an_estimate_counts_failures(population, study):
    dt = pb.estimate(population, study, method=pb.Saem(tolerance=0.5), seed=1, progress=False)
    counts = json.loads(dt.attrs[FAILED])
    assert list(counts) == ["estimation"]
    # where a numerical step of the estimation tries a tenfold F, the low dose is undefined as well
    assert counts["estimation"]["high"] > 10 * counts["estimation"].get("low", 0)
    assert any("while estimating" in one for one in pb.summary(dt).messages)
