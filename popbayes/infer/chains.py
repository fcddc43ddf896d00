"""What a sampler is asked for and what it hands back, the same for all four of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from popbayes.infer.starts import Starts

STATS = {
    "acceptance_rate": np.float64,
    "diverging": np.bool_,
    "energy": np.float64,
    "lp": np.float64,
    "n_steps": np.int64,
    "reached_max_treedepth": np.bool_,
    "step_size": np.float64,
    "tree_depth": np.int64,
}
"""The sample statistics that every sampler reports, by ArviZ's names, with their types."""

NOTHING_TO_KEEP = "Interrupted during warm-up: there are no draws to keep."

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Task:
    """One sampling run: the graph, where its chains start, and the settings of `popbayes.fit`."""

    graph: Any
    starts: Starts
    explain: Callable[[np.ndarray], str]
    keep: tuple[str, ...]
    draws: int
    tune: int
    chains: int
    cores: int
    seed: int
    target_accept: float
    max_treedepth: int
    progress: bool
    save_warmup: bool
    options: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Draws:
    """Draws and statistics, every array led by (chain, draw).

    `interrupted` tells that sampling was stopped by hand; chains are then cut to one length. `compiling`
    is what it took before the first draw, as `Clock.stop` says it.
    """

    posterior: Arrays
    stats: Arrays
    warmup_posterior: Arrays = field(default_factory=dict)
    warmup_stats: Arrays = field(default_factory=dict)
    interrupted: bool = False
    compiling: Mapping[str, float] = field(default_factory=dict)


class AbstractSampler(ABC):
    """One NUTS implementation: what it is called, what it accepts, how it runs.

    `options` are the extra keyword arguments of `popbayes.fit` that it takes, beside those that all
    samplers share; `parallel` tells whether chains run on several cores.
    """

    name: ClassVar[str]
    options: ClassVar[tuple[str, ...]]
    parallel: ClassVar[bool]
    saves_warmup: ClassVar[bool]

    @abstractmethod
    def run(self, task: Task) -> Draws:
        """Sample; on Ctrl-C return the draws so far, or raise KeyboardInterrupt if there are none."""


def rectangle(lengths: np.ndarray) -> tuple[np.ndarray, int]:
    """Which chains to keep, and how many draws of each, when chains were stopped at unequal lengths.

    The choice keeps the most draws in all; ties go to more chains.

    Examples
    --------
    >>> rectangle(np.array([100, 90, 3, 0]))
    (array([0, 1]), 90)
    """
    order = np.argsort(-lengths, kind="stable")
    kept = [(count + 1) * lengths[chain] for count, chain in enumerate(order)]
    best = len(kept) - 1 - int(np.argmax(kept[::-1]))
    return np.sort(order[: best + 1]), int(lengths[order[best]])


def cut(arrays: Arrays, chains: np.ndarray, length: int) -> Arrays:
    """The first `length` draws of the given chains of every array."""
    return {name: values[chains, :length] for name, values in arrays.items()}


def as_stats(arrays: Mapping[str, Any]) -> Arrays:
    """Sample statistics under the common names and with the common types."""
    return {name: np.asarray(arrays[name]).astype(dtype) for name, dtype in STATS.items()}
