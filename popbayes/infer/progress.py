"""How far the chains are: bars in a terminal, a table in a notebook, a line now and then in a log."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_TABLES = 0.5


@contextmanager
def working(text: str, show: bool) -> Iterator[None]:
    """Say what is being done while no chain runs yet."""
    console = Console(stderr=True)
    if not show or console.is_jupyter:
        yield
    elif console.is_terminal:
        with console.status(text):
            yield
    else:
        console.print(text, highlight=False)
        yield


@contextmanager
def iterations(text: str, show: bool) -> Iterator[Callable[[int, float, str], None]]:
    """Show the iterations of an estimation: a function that takes number, objective and a remark.

    A line now and then in a log, a line that changes in a terminal, nothing in a notebook.
    """
    console = Console(stderr=True)
    if not show or console.is_jupyter:
        yield lambda number, objective, remark: None
    elif console.is_terminal:
        with console.status(text) as status:
            yield lambda number, objective, remark: status.update(_iteration(text, number, objective, remark))
    else:
        last = [time.monotonic()]

        def line(number: int, objective: float, remark: str) -> None:
            if time.monotonic() - last[0] >= SECONDS_BETWEEN_LINES:
                last[0] = time.monotonic()
                console.print(_iteration(text, number, objective, remark), highlight=False)

        yield line


def _iteration(text: str, number: int, objective: float, remark: str) -> str:
    return f"{text}, iteration {number}: -2 log L {objective:.3f}, {remark}"


@dataclass
class ChainState:
    """One chain: iterations done (warm-up included), divergences, step size, gradients of the last draw."""

    done: int = 0
    divergences: int = 0
    step_size: float = float("nan")
    n_steps: int = 0


class ChainProgress:
    """Show the chains while they run; a context manager. With `show=False` it does nothing.

    Parameters
    ----------
    sampler : str
        What to call the run.
    chains, total : int
        Number of chains, and iterations (warm-up included) of each.
    show : bool
    """

    def __init__(self, sampler: str, chains: int, total: int, show: bool):
        self.states = [ChainState() for _ in range(chains)]
        self._sampler, self._total, self._show = sampler, total, show
        self._console = Console(stderr=True)
        self._bars: Progress | None = None
        self._table: Any = None
        self._last = self._began = time.monotonic()

    def __enter__(self) -> Self:
        if not self._show:
            return self
        if self._console.is_jupyter:
            self._table = _notebook_display(self.table())
        elif self._console.is_terminal:
            self._bars = _terminal_bars(self._console)
            self._bars.start()
            for chain in range(len(self.states)):
                self._bars.add_task(f"chain {chain}", total=self._total, divergences=0, step=0.0, grads=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refresh(last=True)
        if self._bars is not None:
            self._bars.stop()

    def update(
        self, chain: int, done: int, divergences: int, step_size: float, n_steps: int, refresh: bool = True
    ) -> None:
        """Set the state of one chain."""
        self.states[chain] = ChainState(done, divergences, step_size, n_steps)
        if refresh:
            self.refresh()

    def refresh(self, last: bool = False) -> None:
        """Redraw, as often as the place where it is shown can take it."""
        now = time.monotonic()
        if self._bars is not None:
            for task, state in zip(self._bars.task_ids, self.states, strict=True):
                self._bars.update(
                    task,
                    completed=state.done,
                    divergences=state.divergences,
                    step=state.step_size,
                    grads=state.n_steps,
                )
            return
        wait = SECONDS_BETWEEN_TABLES if self._table is not None else SECONDS_BETWEEN_LINES
        if not self._show or (now - self._last < wait and not last):
            return
        self._last = now
        if self._table is not None:
            self._table.update(_as_html(self.table()))
        else:
            self._console.print(self._line(now - self._began), highlight=False)

    def _line(self, seconds: float) -> str:
        done, everything = sum(state.done for state in self.states), self._total * len(self.states)
        divergences = sum(state.divergences for state in self.states)
        return (
            f"{self._sampler}: {done} of {everything} iterations, {divergences} divergences, {seconds:.0f} s"
        )

    def table(self) -> str:
        """The chains as an HTML table, for a notebook."""
        head = "".join(f"<th>{name}</th>" for name in ("chain", "", "iterations", *_COLUMNS))
        rows = "".join(_html_row(chain, state, self._total) for chain, state in enumerate(self.states))
        return f"<table><caption>{self._sampler}</caption><tr>{head}</tr>{rows}</table>"


_COLUMNS: Sequence[str] = ("divergences", "step size", "gradients/draw")


def _html_row(chain: int, state: ChainState, total: int) -> str:
    bar = f"<progress max='{total}' value='{state.done}'></progress>"
    cells = (
        chain,
        bar,
        f"{state.done}/{total}",
        state.divergences,
        f"{state.step_size:.3g}",
        state.n_steps,
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _terminal_bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("divergences {task.fields[divergences]}"),
        TextColumn("step {task.fields[step]:.3g}"),
        TextColumn("{task.fields[grads]} gradients/draw"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def _as_html(text: str) -> Any:
    from IPython.display import HTML

    return HTML(text)


def _notebook_display(text: str) -> Any:
    from IPython.display import display

    return display(_as_html(text), display_id=True)
