"""NUTS by PyMC itself: no compiler beyond PyTensor's own, chains in parallel processes."""

import multiprocessing
import sys
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pymc as pm
from pymc.step_methods.hmc.quadpotential import QuadPotentialDiagAdapt

from popbayes.infer.chains import NOTHING_TO_KEEP, AbstractSampler, Arrays, Draws, Task, as_stats
from popbayes.infer.progress import ChainProgress, working
from popbayes.infer.starts import Density, usable_starts

FIRST_WEIGHT = 10
"""Draws that the identity counts for in the first mass matrix, as in PyMC's own `jitter+adapt_diag`."""
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
            step, points = _step(task)
        with task.graph, ChainProgress(self.name, task.chains, task.tune + task.draws, task.progress) as bar:
            try:
                tree = _sample(task, step, points, _reporter(bar, task.tune + task.draws, task.cores == 1))
            except ValueError as error:
                if str(error).startswith(TOO_SHORT):
                    raise KeyboardInterrupt(NOTHING_TO_KEEP) from None
                raise
        return _draws(tree, task)


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
    with warnings.catch_warnings():
        # Forked children only run the compiled density; no thread of ours holds a lock that they need.
        warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
        return pm.sample(
            draws=task.draws,
            tune=task.tune,
            chains=task.chains,
            cores=task.cores,
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
            mp_ctx=_process_context(),
        )


def _process_context() -> str | None:
    """JAX does not survive a fork: once it is loaded, children are started afresh."""
    if "jax" in sys.modules and "forkserver" in multiprocessing.get_all_start_methods():
        return "forkserver"
    return None


def _reporter(progress: ChainProgress, total: int, in_turn: bool) -> Callable[..., None]:
    """Tell the progress about every draw, and stop the chains that follow an interrupted one.

    Without several processes PyMC takes Ctrl-C for the end of one chain and goes on with the next.
    """

    def report(trace: Any, draw: Any) -> None:
        stats, before = draw.stats[0], progress.states[draw.chain]
        earlier = progress.states[: draw.chain] if in_turn else []
        if any(state.done < total for state in earlier):
            raise KeyboardInterrupt
        divergences = before.divergences + int(stats["diverging"] and not draw.tuning)
        progress.update(
            draw.chain, before.done + 1, divergences, float(stats["step_size"]), int(stats["tree_size"])
        )

    return report


def _draws(tree: Any, task: Task) -> Draws:
    posterior = {name: tree["posterior"][name].to_numpy() for name in task.keep}
    stats = _stats(tree["sample_stats"])
    got = stats["lp"].shape
    if 0 in got:
        raise KeyboardInterrupt(NOTHING_TO_KEEP)
    warmup: dict[str, Arrays] = {}
    if task.save_warmup:
        warmup = {
            "warmup_posterior": {name: tree["warmup_posterior"][name].to_numpy() for name in task.keep},
            "warmup_stats": _stats(tree["warmup_sample_stats"]),
        }
    return Draws(posterior, stats, interrupted=got != (task.chains, task.draws), **warmup)


def _stats(group: Any) -> Arrays:
    return as_stats({**group, "n_steps": group["n_steps"] if "n_steps" in group else group["tree_size"]})
