"""NUTS by nutpie: the default, compiled through numba, chains in parallel threads."""

from dataclasses import replace
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
from popbayes.infer.compiled_density import POINT, compiled_density, identity_function
from popbayes.infer.expansion import expanded
from popbayes.infer.progress import ChainProgress, working
from popbayes.infer.settings import Clock
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
            clock = Clock.start()
            compiled = _compile(task)
            spent = clock.stop()
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
        return replace(_draws(tree, task, interrupted), compiling=spent)


def _compile(task: Task) -> Any:
    """The compiled density as nutpie takes it, with starts that are checked before nutpie sees them.

    nutpie asks for the start of a chain with a seed drawn from the stream of that chain, so that starts
    stay reproducible whatever the order in which threads begin.
    """
    from nutpie.compile_pymc import CompiledPyMCModel

    density = compiled_density(task.graph)

    def start(seed: int) -> np.ndarray:
        return usable_start(task.starts, density, np.random.default_rng(seed), task.explain)

    usable_starts(task.starts, density, task.seed, task.chains, task.explain)
    shape = (density.size,)
    return CompiledPyMCModel(
        dims={},
        compiled_logp_func=density.function,
        compiled_expand_func=identity_function(),
        initial_point_func=start,
        shared_data={},
        shared_var_keys={},
        user_data=density.table,
        n_expanded=density.size,
        shape_info=([POINT], [slice(0, density.size)], [shape]),
        logp_func=density,
        expand_func=None,
        _n_dim=density.size,
        _shapes={POINT: shape},
        _coords={},
    )


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
    positions, stats = tree["posterior"][POINT].to_numpy(), _stats(tree["sample_stats"])
    chains, length = np.arange(task.chains), task.draws
    if interrupted:
        chains, length = rectangle(np.sum(np.isfinite(stats["step_size"]), axis=1))
        if length == 0:
            raise KeyboardInterrupt(NOTHING_TO_KEEP)
        stats = cut(stats, chains, length)
    warmup: tuple[Arrays, Arrays] = ({}, {})
    if task.save_warmup:
        before = tree["warmup_posterior"][POINT].to_numpy()[chains, : task.tune]
        its_stats = as_stats(cut(_stats(tree["warmup_sample_stats"]), chains, task.tune))
        warmup = (expanded(task.graph, task.keep, before), its_stats)
    posterior = expanded(task.graph, task.keep, positions[chains, :length])
    return Draws(posterior, as_stats(stats), *warmup, interrupted=interrupted)


def _stats(group: Any) -> Arrays:
    return {name: group[theirs].to_numpy() for name, theirs in STATS_HERE.items()}
