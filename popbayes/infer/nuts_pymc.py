"""NUTS by PyMC itself: no compiler beyond PyTensor's own, chains in parallel processes."""

import multiprocessing
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pymc as pm
from pymc.step_methods.hmc.quadpotential import QuadPotentialDiagAdapt

from popbayes.infer.chains import NOTHING_TO_KEEP, AbstractSampler, Arrays, Draws, Task, as_stats
from popbayes.infer.progress import ChainProgress, working
from popbayes.infer.settings import Clock
from popbayes.infer.starts import Density, usable_starts

FIRST_WEIGHT = 10
"""Draws that the identity counts for in the first mass matrix, as in PyMC's own `jitter+adapt_diag`."""
FORK = "fork"
TOO_SHORT = "Not enough samples to build a trace"


class PyMC(AbstractSampler):
    """PyMC's own NUTS, with its diagonal adaptation and the starts of popbayes."""

    name: ClassVar[str] = "pymc"
    options: ClassVar[tuple[str, ...]] = ("early_max_treedepth", "step_scale", "gamma", "k", "t0", "Emax")
    parallel: ClassVar[bool] = True
    saves_warmup: ClassVar[bool] = True

    def run(self, task: Task) -> Draws:
        """Sample; Ctrl-C keeps the draws of the chains that have left warm-up."""
        with task.graph, working("pymc: compiling the log density", task.progress):
            clock = Clock.start()
            step, points = _step(task)
            spent = clock.stop()
        total = task.tune + task.draws
        with (
            task.graph,
            ChainProgress(self.name, task.chains, total, task.progress) as bar,
            _ctrl_c() as heard,
        ):
            try:
                tree = _sample(task, step, points, _reporter(bar, heard))
            except ValueError as error:
                if str(error).startswith(TOO_SHORT):
                    raise KeyboardInterrupt(NOTHING_TO_KEEP) from None
                raise
        return replace(_draws(tree, task), compiling=spent)


def _step(task: Task) -> tuple[Any, list[dict[str, np.ndarray]]]:
    """The NUTS step on one compiled density, and a checked start for every chain."""
    compiled = task.graph.logp_dlogp_function(ravel_inputs=True)
    compiled.set_extra_values({})
    starts = usable_starts(task.starts, _density(compiled), task.seed, task.chains, task.explain)
    points = [task.starts.point(start) for start in starts]
    size = task.starts.centre.size
    seed = np.random.SeedSequence(task.seed).generate_state(1)[0]
    step = pm.NUTS(
        potential=QuadPotentialDiagAdapt(
            size, starts.mean(axis=0), np.ones(size), FIRST_WEIGHT, rng=int(seed)
        ),
        model=task.graph,
        rng=int(seed),
        initial_point=points[0],
        logp_dlogp_func=compiled,
        target_accept=task.target_accept,
        max_treedepth=task.max_treedepth,
        **task.options,
    )
    return step, points


def _density(compiled: Any) -> Density:
    def density(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = compiled([x])
        return float(value), np.asarray(gradient)

    return density


def _sample(task: Task, step: Any, points: list[dict[str, np.ndarray]], report: Callable[..., None]) -> Any:
    cores = parallel_chains(task.cores)
    with warnings.catch_warnings():
        # Forked children only run the compiled density; no thread of ours holds a lock that they need.
        warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
        return pm.sample(
            draws=task.draws,
            tune=task.tune,
            chains=task.chains,
            cores=cores,
            random_seed=task.seed,
            step=step,
            initvals=points,
            var_names=list(task.keep),
            nuts_sampler="pymc",
            progressbar=False,
            quiet=True,
            discard_tuned_samples=not task.save_warmup,
            compute_convergence_checks=False,
            callback=report,
            mp_ctx=FORK if FORK in multiprocessing.get_all_start_methods() else None,
        )


def parallel_chains(cores: int) -> int:
    """Chains at a time: one where processes cannot be forked.

    A forked child runs the very machine code of its parent, so that the number of cores changes no
    bit; a child started afresh would compile its own. JAX, once it runs, does not survive a fork.
    """
    jax = sys.modules.get("jax._src.xla_bridge")
    running = jax is not None and getattr(jax, "backends_are_initialized", lambda: True)()
    able = FORK in multiprocessing.get_all_start_methods() and not running
    if cores > 1 and not able:
        why = "JAX is running in this process" if running else "this system has no fork"
        warnings.warn(f"pymc: chains run one after the other, since {why}.", stacklevel=2)
    return cores if able else 1


@contextmanager
def _ctrl_c() -> Iterator[threading.Event]:
    """Note Ctrl-C instead of raising it wherever the sampler happens to be, in compiled code too.

    It is raised between two draws, by `_reporter`; forked children inherit the handler and go on until
    the main process stops them. Only the main thread may set a handler, and only it hears Ctrl-C.
    """
    heard = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    before = signal.signal(signal.SIGINT, lambda *_: heard.set())
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, before)


def _reporter(progress: ChainProgress, heard: threading.Event) -> Callable[..., None]:
    """Tell the progress about every draw; end the chain, and each one after it, once Ctrl-C was heard."""

    def report(trace: Any, draw: Any) -> None:
        if heard.is_set():
            raise KeyboardInterrupt
        stats, before = draw.stats[0], progress.states[draw.chain]
        divergences = before.divergences + int(stats["diverging"] and not draw.tuning)
        step_size, n_steps = float(stats["step_size"]), int(stats["tree_size"])
        progress.update(draw.chain, before.done + 1, divergences, step_size, n_steps)

    return report


def _draws(tree: Any, task: Task) -> Draws:
    posterior = {name: tree["posterior"][name].to_numpy() for name in task.keep}
    stats = _stats(tree["sample_stats"])
    got = stats["lp"].shape
    if 0 in got:
        raise KeyboardInterrupt(NOTHING_TO_KEEP)
    warmup: tuple[Arrays, Arrays] = ({}, {})
    if task.save_warmup:
        before = {name: tree["warmup_posterior"][name].to_numpy() for name in task.keep}
        warmup = (before, _stats(tree["warmup_sample_stats"]))
    return Draws(posterior, stats, *warmup, interrupted=got != (task.chains, task.draws))


def _stats(group: Any) -> Arrays:
    return as_stats({**group, "n_steps": group["n_steps"] if "n_steps" in group else group["tree_size"]})
