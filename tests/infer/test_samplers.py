"""The same claims for every sampler; those in JAX take a minute each and are slow."""

import subprocess
import sys
from types import SimpleNamespace

import arviz_stats
import numpy as np
import pytest

from popbayes.infer import nuts_pymc
from popbayes.infer.fit import fit
from popbayes.infer.nuts import SAMPLERS
from tests.conftest import FIT
from tests.tolerances import ENOUGH_ESS, MCSE

# JAX that ran earlier in this process keeps pymc from forking; it says so, and the bits are the same.
pytestmark = pytest.mark.filterwarnings("ignore:pymc. chains run one after the other")

JAX = ("numpyro", "blackjax")
ALL = [pytest.param(name, marks=pytest.mark.slow) if name in JAX else name for name in SAMPLERS]
OTHERS = [one for one in ALL if one != "nutpie"]
POPULATION = ["ka_pop", "CL_pop", "V_pop", "omega", "sigma_add", "sigma_prop"]

INTERRUPTED = """
import os, signal, sys, warnings
import pymc as pm, numpy as np
from popbayes.infer.chains import Task
from popbayes.infer.nuts import SAMPLERS
from popbayes.infer.progress import ChainProgress
from popbayes.infer.starts import starts_of

# a shell that runs in the background lets its children ignore Ctrl-C
signal.signal(signal.SIGINT, signal.default_int_handler)
name, tune, group = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "group"
enough = min(tune + 150, 10_000)
with pm.Model() as graph:
    place = pm.Normal("place", 0.0, 1.0, shape=3)
    pm.Deterministic("double", 2 * place)
task = Task(
    graph=graph, starts=starts_of(graph, {}, 1), explain=str, keep=("place", "double"),
    draws=10**6, tune=tune, chains=2, cores=2, seed=1, target_accept=0.8, max_treedepth=10,
    progress=True, save_warmup=False, options={},
)
pressed = []
refresh = ChainProgress.refresh

def watched(self, last=False):
    if self.states[0].done >= enough and not pressed:
        pressed.append(True)
        (os.killpg(0, signal.SIGINT) if group else os.kill(os.getpid(), signal.SIGINT))
    refresh(self, last)

ChainProgress.refresh = watched
try:
    drawn = SAMPLERS[name].run(task)
    arrays = [*drawn.posterior.values(), *drawn.stats.values()]
    whole = all(np.all(np.isfinite(values)) for values in arrays)
    same = np.array_equal(drawn.posterior["double"], 2 * drawn.posterior["place"])
    print("kept", drawn.interrupted, whole, same, drawn.stats["lp"].shape[1] >= 50)
except KeyboardInterrupt as error:
    print("stopped", error)
"""


def interrupted(name, tune=100, group="alone"):
    """What a process prints that hears Ctrl-C a little after its warm-up, or within it if that is long."""
    run = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, name, str(tune), group],
        capture_output=True,
        text=True,
        timeout=300,
        start_new_session=True,
        check=False,
    )
    return run.stdout or run.stderr


@pytest.mark.parametrize("name", ALL)
def test_ctrl_c_keeps_the_draws_so_far(name):
    assert interrupted(name).split() == ["kept", "True", "True", "True", "True"]


def test_ctrl_c_in_a_terminal_reaches_the_children_of_pymc_and_keeps_the_draws():
    assert interrupted("pymc", group="group").split() == ["kept", "True", "True", "True", "True"]


@pytest.mark.parametrize("name", ["nutpie", pytest.param("pymc", marks=pytest.mark.slow)])
def test_ctrl_c_in_warm_up_says_that_there_is_nothing_to_keep(name):
    assert "stopped Interrupted during warm-up" in interrupted(name, tune=10**6)


@pytest.mark.parametrize("name", OTHERS)
def test_every_sampler_gives_a_tree_of_the_same_shape(name, fitted, theophylline_model, theophylline):
    other = fit(theophylline_model, theophylline, **{**FIT, "draws": 60, "tune": 100}, sampler=name)
    assert list(other.children) == list(fitted.children)
    for group in ("posterior", "sample_stats"):
        mine, theirs = fitted[group].to_dataset(), other[group].to_dataset()
        assert {n: (v.dims, v.dtype) for n, v in mine.data_vars.items()} == {
            n: (v.dims, v.dtype) for n, v in theirs.data_vars.items()
        }
        for dim in ("subject", "eta_of"):
            assert np.array_equal(mine.coords.get(dim, []), theirs.coords.get(dim, []))
    assert set(other.attrs) == set(fitted.attrs)
    assert other["posterior"].sizes["draw"] == 60


def test_seed_fixes_the_bits_of_pymc_on_any_number_of_cores(theophylline_model, theophylline):
    short = {**FIT, "draws": 20, "tune": 50, "sampler": "pymc"}
    one, two = (fit(theophylline_model, theophylline, **short, cores=cores) for cores in (1, 2))
    assert one["posterior"].identical(two["posterior"])


def test_pymc_does_not_fork_once_jax_runs(monkeypatch):
    bridge = SimpleNamespace(backends_are_initialized=lambda: True)
    monkeypatch.setitem(sys.modules, "jax._src.xla_bridge", bridge)
    with pytest.warns(UserWarning, match="JAX is running in this process"):
        assert nuts_pymc.parallel_chains(2) == 1
    bridge.backends_are_initialized = lambda: False
    assert nuts_pymc.parallel_chains(2) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", JAX)
def test_seed_fixes_the_bits_of_jax_samplers(name, theophylline_model, theophylline):
    short = {**FIT, "draws": 20, "tune": 50, "sampler": name}
    one, two = (fit(theophylline_model, theophylline, **short) for _ in range(2))
    assert one["posterior"].identical(two["posterior"])


@pytest.mark.parametrize("sampler", ["nutpie", pytest.param("pymc", marks=pytest.mark.slow)])
def test_warm_up_is_stored_on_request(sampler, theophylline_model, theophylline):
    short = {**FIT, "draws": 20, "tune": 50}
    dt = fit(theophylline_model, theophylline, **short, sampler=sampler, save_warmup=True)
    assert dt["warmup_posterior"].sizes["draw"] == 50
    assert set(dt["warmup_posterior"].data_vars) == set(dt["posterior"].data_vars)
    assert set(dt["warmup_sample_stats"].data_vars) == set(dt["sample_stats"].data_vars)
    assert dt["posterior"].sizes["draw"] == 20


@pytest.mark.slow
@pytest.mark.parametrize("name", JAX)
def test_chains_side_by_side_give_as_many_draws_as_in_turn(name, theophylline_model, theophylline):
    short = {**FIT, "draws": 20, "tune": 50}
    dt = fit(theophylline_model, theophylline, **short, sampler=name, chain_method="vectorized")
    assert dt["posterior"].sizes["chain"] == 2
    assert np.all(np.isfinite(dt["sample_stats"]["lp"]))


@pytest.mark.slow
@pytest.mark.parametrize("name", [one for one in SAMPLERS if one != "nutpie"])
def test_all_samplers_draw_from_the_same_posterior(name, theophylline_model, theophylline):
    long = {**FIT, "draws": 1000, "tune": 1000, "target_accept": 0.9}
    both = [fit(theophylline_model, theophylline, **long, sampler=s) for s in ("nutpie", name)]
    draws = [dt["posterior"].to_dataset()[POPULATION] for dt in both]
    for variable in POPULATION:
        ess = [arviz_stats.ess(one[variable]) for one in draws]
        assert min(float(one.min()) for one in ess) >= ENOUGH_ESS / 2, variable
        over = ("chain", "draw")
        means = [one[variable].mean(over) for one in draws]
        error = np.sqrt(sum(one[variable].var(over) / n for one, n in zip(draws, ess, strict=True)))
        assert np.all(np.abs(means[0] - means[1]) < MCSE * error), variable
