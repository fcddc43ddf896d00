"""Chains of a JAX library on the log density of the compiled engine.

The whole log density with its gradient is one callback from JAX into the function that PyTensor
compiled: the same numbers as under the other samplers, no operation that JAX would have to know, and
no dispatch cost for each small operation. JAX runs in a worker thread while the main thread listens
for Ctrl-C; chains advance in blocks of draws, and the blocks that are complete are kept.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillRunning
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from threading import Event
from typing import Any, ClassVar

import numpy as np

from popbayes.infer.chains import (
    NOTHING_TO_KEEP,
    AbstractSampler,
    Arrays,
    Draws,
    Task,
    as_stats,
    rectangle,
)
from popbayes.infer.compiled_density import compiled_density
from popbayes.infer.expansion import expanded
from popbayes.infer.progress import ChainProgress, working
from popbayes.infer.settings import Clock
from popbayes.infer.starts import Density, usable_starts

BLOCK = 50
"""Draws between two reports of progress; what an interrupted block has drawn is lost."""
CHAIN_METHODS = ("sequential", "vectorized")
NAP = 0.05
POSITION = "position"


@dataclass(frozen=True, eq=False)
class Kernel:
    """What a JAX library offers for one chain, both functions pure.

    `warm_up(key, position) -> state`, and `advance(state, n) -> (state, {name: (n, ...)})` whose
    names are `position` and the statistics of `popbayes.infer.chains.STATS`.
    """

    warm_up: Callable[[Any, Any], Any]
    advance: Callable[[Any, int], tuple[Any, dict[str, Any]]]


class AbstractJaxSampler(AbstractSampler):
    """A JAX library that samples with a `Kernel`."""

    options: ClassVar[tuple[str, ...]] = ("chain_method", "dense_mass")
    parallel: ClassVar[bool] = False
    saves_warmup: ClassVar[bool] = False

    @abstractmethod
    def kernel(self, logdensity: Callable[[Any], Any], task: Task) -> Kernel:
        """Set the library up for a log density in JAX."""

    def run(self, task: Task) -> Draws:
        """Sample; Ctrl-C keeps the complete blocks of draws."""
        for package in ("jax", self.name):
            _require(package, self.name)
        _check_chain_method(task)
        with working(f"{self.name}: compiling the log density", task.progress):
            clock = Clock.start()
            density = compiled_density(task.graph)
            starts = usable_starts(task.starts, density, task.seed, task.chains, task.explain)
            spent = clock.stop()
        with ChainProgress(self.name, task.chains, task.tune + task.draws, task.progress) as progress:
            chains = _Chains(task, progress)
            with _double_precision(), ThreadPoolExecutor(1) as worker:
                _listen(worker.submit(chains.run, self, density, starts), chains.stop)
        return replace(_draws(chains, task), compiling=spent)


class _Chains:
    """The running chains: their blocks of draws as they come in, and the flag that stops them."""

    def __init__(self, task: Task, progress: ChainProgress):
        self.task, self.progress, self.stop = task, progress, Event()
        self.blocks: list[list[Arrays]] = [[] for _ in range(task.chains)]

    def run(self, sampler: AbstractJaxSampler, density: Density, starts: np.ndarray) -> None:
        """Run all chains, one after another or side by side; called in the worker thread."""
        import jax

        with jax.default_device(jax.devices("cpu")[0]):
            kernel = sampler.kernel(_logdensity(density, starts.shape[1], self.stop), self.task)
            keys = jax.random.split(jax.random.PRNGKey(self.task.seed), self.task.chains)
            if self.task.options.get("chain_method") == "vectorized":
                self._run_together(kernel, keys, starts)
            else:
                self._run_in_turn(kernel, keys, starts)

    def _run_in_turn(self, kernel: Kernel, keys: Any, starts: np.ndarray) -> None:
        import jax

        warm_up, advance = jax.jit(kernel.warm_up), jax.jit(kernel.advance, static_argnums=1)
        for chain in range(self.task.chains):
            state = jax.block_until_ready(warm_up(keys[chain], starts[chain]))
            for size in self._remaining_blocks():
                state, drawn = advance(state, size)
                self._collect({name: np.asarray(values)[None] for name, values in drawn.items()}, chain)

    def _run_together(self, kernel: Kernel, keys: Any, starts: np.ndarray) -> None:
        import jax

        warm_up = jax.jit(jax.vmap(kernel.warm_up))
        advance = jax.jit(jax.vmap(kernel.advance, in_axes=(0, None)), static_argnums=1)
        state = jax.block_until_ready(warm_up(keys, starts))
        for size in self._remaining_blocks():
            state, drawn = advance(state, size)
            self._collect({name: np.asarray(values) for name, values in drawn.items()}, 0)

    def _remaining_blocks(self) -> Iterator[int]:
        full, rest = divmod(self.task.draws, BLOCK)
        for size in [BLOCK] * full + [rest] * bool(rest):
            if self.stop.is_set():
                return
            yield size

    def _collect(self, drawn: Arrays, first: int) -> None:
        """Keep a block, (chain, draw, ...), unless it was broken off."""
        if self.stop.is_set():
            return
        for place in range(len(drawn[POSITION])):
            block, chain = {name: values[place] for name, values in drawn.items()}, first + place
            self.blocks[chain].append(block)
            done = self.task.tune + self.length(chain)
            divergences = self.progress.states[chain].divergences + int(block["diverging"].sum())
            step_size, n_steps = float(block["step_size"][-1]), int(block["n_steps"][-1])
            self.progress.update(chain, done, divergences, step_size, n_steps)

    def length(self, chain: int) -> int:
        """Draws that a chain has so far."""
        return sum(len(block[POSITION]) for block in self.blocks[chain])

    def stacked(self, chains: Sequence[int], length: int) -> Arrays:
        """The first draws of some chains, every array (chain, draw, ...)."""
        names = self.blocks[chains[0]][0]
        return {
            name: np.stack([np.concatenate([b[name] for b in self.blocks[c]])[:length] for c in chains])
            for name in names
        }


def _require(package: str, sampler: str) -> None:
    try:
        import_module(package)
    except ImportError as error:
        raise ImportError(
            f'sampler="{sampler}" needs {package}, which is not installed: pip install "popbayes[jax]"'
        ) from error


@contextmanager
def _double_precision() -> Iterator[None]:
    """Switch JAX to 64 bits in every thread (callbacks run in threads of their own), and back."""
    import jax

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)


def _check_chain_method(task: Task) -> None:
    method = task.options.get("chain_method", CHAIN_METHODS[0])
    if method not in CHAIN_METHODS:
        raise ValueError(f"chain_method={method!r}: choose one of {', '.join(map(repr, CHAIN_METHODS))}.")


def _logdensity(density: Density, size: int, stop: Event) -> Callable[[Any], Any]:
    """The compiled log density as a differentiable JAX function.

    Once `stop` is set it answers NaN, with which every trajectory ends after one step: the running
    block comes to its end without delay, and is dropped.
    """
    import jax

    def host(x: Any) -> tuple[np.ndarray, np.ndarray]:
        points = np.asarray(x, dtype=np.float64).reshape(-1, size)
        values, gradients = np.full(len(points), np.nan), np.zeros_like(points)
        for row, point in enumerate(points):
            if not stop.is_set():
                values[row], gradients[row] = density(point)
        return values.reshape(x.shape[:-1]), gradients.reshape(x.shape)

    shapes = (jax.ShapeDtypeStruct((), np.float64), jax.ShapeDtypeStruct((size,), np.float64))

    def both(x: Any) -> Any:
        return jax.pure_callback(host, shapes, x, vmap_method="expand_dims")

    @jax.custom_vjp
    def logdensity(x: Any) -> Any:
        return both(x)[0]

    logdensity.defvjp(both, lambda gradient, cotangent: (gradient * cotangent,))
    return logdensity


def _listen(future: Future[None], stop: Event) -> None:
    """Wait for the worker in Python, where Ctrl-C is heard, and let it end in peace."""
    while True:
        try:
            future.result(timeout=NAP)
            return
        except StillRunning:
            if future.done():
                raise
        except KeyboardInterrupt:
            stop.set()


def _draws(chains: _Chains, task: Task) -> Draws:
    kept, length = rectangle(np.array([chains.length(chain) for chain in range(task.chains)]))
    if length == 0:
        raise KeyboardInterrupt(NOTHING_TO_KEEP)
    drawn = chains.stacked([int(chain) for chain in kept], length)
    posterior = expanded(task.graph, task.keep, drawn[POSITION])
    return Draws(posterior, as_stats(drawn), interrupted=chains.stop.is_set())
