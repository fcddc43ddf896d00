"""NUTS by nutpie: the default, compiled through numba, chains in parallel threads."""

import dataclasses
from threading import Lock
from typing import Any, ClassVar

import numpy as np

from popbayes.infer.chains import (
    NOTHING_TO_KEEP,
    AbstractSampler,
    Arrays,
    Draws,
    Task,
    as_stats,
    cut,
    rectangle,
)
from popbayes.infer.progress import ChainProgress, working
from popbayes.infer.starts import usable_start, usable_starts

STATS_HERE = {
    "acceptance_rate": "mean_tree_accept",
    "diverging": "diverging",
    "energy": "energy",
    "lp": "logp",
    "n_steps": "n_steps",
    "reached_max_treedepth": "maxdepth_reached",
    "step_size": "step_size",
    "tree_depth": "depth",
}
PROGRESS_MILLISECONDS = 200
NAP = 0.1


class Nutpie(AbstractSampler):
    """nutpie (nuts-rs): mass matrix from draws and gradients, chains in threads."""

    name: ClassVar[str] = "nutpie"
    options: ClassVar[tuple[str, ...]] = ("adaptation", "mass_matrix_eigval_cutoff", "mass_matrix_gamma")
    parallel: ClassVar[bool] = True
    saves_warmup: ClassVar[bool] = True

    def run(self, task: Task) -> Draws:
        """Sample; Ctrl-C stops all chains and keeps what they have drawn."""
        import nutpie

        with working("nutpie: compiling the log density", task.progress):
            compiled = _compile(task)
        with ChainProgress("nutpie", task.chains, task.tune + task.draws, task.progress) as progress:
            background = nutpie.sample(
                compiled,
                draws=task.draws,
                tune=task.tune,
                chains=task.chains,
                cores=task.cores,
                seed=task.seed,
                target_accept=task.target_accept,
                maxdepth=task.max_treedepth,
                save_warmup=True,
                progress_bar=False,
                progress_callback=_reporter(progress),
                progress_rate=PROGRESS_MILLISECONDS,
                blocking=False,
                **task.options,
            )
            tree, interrupted = _wait(background)
        return _draws(tree, task, interrupted)


def _compile(task: Task) -> Any:
    """The compiled graph, with starts that are checked before nutpie sees them.

    nutpie asks for the start of a chain with a seed drawn from the stream of that chain, so that starts
    stay reproducible whatever the order in which threads begin; one thread asks at a time, since compiled
    functions share their storage.
    """
    import nutpie

    compiled = nutpie.compile_pymc_model(task.graph, var_names=list(task.keep))

    def density(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = compiled.logp_func(x)
        return float(value), np.asarray(gradient)

    one_at_a_time = Lock()

    def start(seed: int) -> np.ndarray:
        with one_at_a_time:
            return usable_start(task.starts, density, np.random.default_rng(seed), task.explain)

    usable_starts(task.starts, density, task.seed, task.chains, task.explain)
    return dataclasses.replace(compiled, initial_point_func=start)


def _reporter(progress: ChainProgress) -> Any:
    def report(states: Any) -> None:
        for chain, state in enumerate(states):
            progress.update(
                chain,
                state.finished_draws,
                state.divergences,
                state.step_size,
                state.latest_num_steps,
                refresh=False,
            )
        progress.refresh()

    return report


def _wait(background: Any) -> tuple[Any, bool]:
    """Wait in Python, where Ctrl-C is heard at once, and take the draws either way."""
    while True:
        try:
            return background.wait(timeout=NAP), False
        except TimeoutError:
            continue
        except KeyboardInterrupt:
            return background.abort(), True
        except BaseException:
            background.cancel()
            raise


def _draws(tree: Any, task: Task, interrupted: bool) -> Draws:
    posterior, stats = _arrays(tree["posterior"], task.keep), _stats(tree["sample_stats"])
    chains = np.arange(task.chains)
    if interrupted:
        chains, length = rectangle(np.sum(np.isfinite(stats["step_size"]), axis=1))
        if length == 0:
            raise KeyboardInterrupt(NOTHING_TO_KEEP)
        posterior, stats = cut(posterior, chains, length), cut(stats, chains, length)
    warmup: dict[str, Arrays] = {}
    if task.save_warmup:
        warmup = {
            "warmup_posterior": cut(_arrays(tree["warmup_posterior"], task.keep), chains, task.tune),
            "warmup_stats": cut(_stats(tree["warmup_sample_stats"]), chains, task.tune),
        }
    return Draws(posterior, as_stats(stats), interrupted=interrupted, **warmup)


def _arrays(group: Any, names: tuple[str, ...]) -> Arrays:
    return {name: group[name].to_numpy() for name in names}


def _stats(group: Any) -> Arrays:
    return {name: group[theirs].to_numpy() for name, theirs in STATS_HERE.items()}
