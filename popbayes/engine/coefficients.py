"""A linear declaration -> the expressions that a kernel needs of each segment, and where each lies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from popbayes.engine import kernels, lanes
from popbayes.engine.adjoint_inputs import N_ADJOINT
from popbayes.engine.buffers import Buffer
from popbayes.engine.declaration import EXPONENTIAL, Amplitudes, ClosedForm, LinearDeclaration, Symbols
from popbayes.engine.modal import N_STREAM


@dataclass(frozen=True)
class Layout:
    """Where each coefficient of a segment lies, and how the kernels see the model."""

    n_modes: int
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    weights: int
    slots: Mapping[str, tuple[int, ...]]
    size: int
    n_gaps: int
    accumulates: bool
    accumulated: tuple[int, ...]
    n_parameters: int
    observed: tuple[int, ...]
    """Rows that any output looks at, where rows are compartments."""
    first_row: tuple[int, ...]
    """For each mode, the first row that it reaches: it is zero in those before (a depot is one mode)."""
    n_column: tuple[int, ...]
    """For each mode, how many columns can bring it about (what is in the centre never passes a depot)."""
    amounts: int = -1
    """Where the amounts of a mode of amplitude 1 lie (see `amplitudes`); -1: rows are carried along."""
    first_amount: tuple[int, ...] = ()
    """For each mode, the first compartment that has a part in it, where amplitudes are carried along."""
    streams: bool = True
    """Whether there is anything but single boluses."""

    @property
    def n_amounts(self) -> int:
        """Amounts that change hands where parameters change."""
        return max(len(self.rows), len(self.columns))

    @property
    def width(self) -> int:
        """Columns of coefficients, eight segments to a row."""
        return lanes.width(self.size, self.n_parameters)

    @property
    def given(self) -> int:
        """First column of what doses gave in an interval (see `give_doses`)."""
        return self.n_modes * (len(self.rows) + 1)

    @property
    def n_stream(self) -> int:
        """Columns of what a stream was resolved to."""
        return N_STREAM + (2 * self.n_modes if self.streams else 0)

    @property
    def n_kept(self) -> int:
        """Columns of what is kept of each record."""
        return self.given + (2 + 2 * self.n_modes if self.streams else 0)

    @property
    def kept(self) -> tuple[Buffer, ...]:
        """Arrays kept for the adjoint."""
        return (
            Buffer("lanes", width=self.width),
            Buffer("record", width=self.n_kept),
            Buffer("stream", width=self.n_stream),
            Buffer("stream", width=2, integer=True),
        )

    @property
    def scratch(self) -> tuple[Buffer, ...]:
        """Arrays that the forward walk writes over."""
        return kernels.scratch_of(self.n_modes, len(self.rows), self.n_amounts, self.n_parameters)

    @property
    def pull_scratch(self) -> tuple[Buffer, ...]:
        """Arrays that the adjoint writes over."""
        return kernels.pull_scratch_of(
            self.n_modes, len(self.rows), self.n_amounts, self.n_parameters, self.width, N_ADJOINT
        )

    def for_values(self, sizes: Mapping[str, int]) -> tuple[Any, ...]:
        """What `evaluate` writes over, for schedules of up to these `sizes`."""
        kept = tuple(one.make(sizes) for one in self.kept)
        return (*kept, tuple(one.make(sizes) for one in self.scratch))


def coefficients_of(
    structural: LinearDeclaration,
    p: Symbols,
    outputs: Sequence[str],
    channels: Sequence[str],
    changes: bool,
    solution: str,
) -> tuple[list[Any], Layout]:
    """Expressions of one segment's coefficients, in the order of `modal`, and their layout."""
    if solution == EXPONENTIAL:
        return _matrix_coefficients(structural, p, outputs, channels)
    form = structural.closed_form(p)
    if changes and form.amplitudes is not None:
        return _amplitude_coefficients(structural, p, outputs, channels, form, form.amplitudes)
    weights = structural.weights(p)
    targets = [structural.channels[name].state for name in channels]
    columns = tuple(structural.states) if changes else tuple(s for s in structural.states if s in targets)
    rows = tuple(structural.states) if changes else tuple(outputs)
    values: list[Any] = list(form.rates)
    first_row, n_column = [], []
    for m in range(len(form.rates)):
        sums_of = [{row: 1.0} if changes else weights[row] for row in rows]
        transfers = [[_transfer(form, one, column, m) for column in columns] for one in sums_of]
        values += [one for row in transfers for one in row]
        live = np.array([[not _is_zero(one) for one in row] for row in transfers]).reshape(len(rows), -1)
        first_row.append(int(np.argmax(live.any(axis=1))) if live.any() else 0)
        n_column.append(int(np.flatnonzero(live.any(axis=0)).max(initial=-1)) + 1)
    slots = _slots(structural, p, channels, columns, values)
    start = len(values)
    if changes:
        values += [weights[o].get(s, 0.0) for o in outputs for s in rows]
    values += list(form.gaps)
    sums = structural.integrals(p)
    seen = [[row] if changes else list(weights[row]) for row in rows]
    accumulated = tuple(int(any(state in sums for state in states)) for states in seen)
    return values, Layout(
        len(form.rates), rows, columns, start, slots, len(values), len(form.gaps), bool(sums), accumulated,
        len(structural.parameters), _observed(weights, outputs, structural.states), tuple(first_row),
        tuple(n_column),
    )  # fmt: skip


def _amplitude_coefficients(
    structural: LinearDeclaration,
    p: Symbols,
    outputs: Sequence[str],
    channels: Sequence[str],
    form: ClosedForm,
    amplitudes: Amplitudes,
) -> tuple[list[Any], Layout]:
    """The same for `amplitudes`: the only row is the amplitude."""
    states, modes = tuple(structural.states), range(len(form.rates))
    weights = structural.weights(p)
    inward = [[amplitudes.inward[state][m] for state in states] for m in modes]
    amounts = [[amplitudes.amounts[state][m] for state in states] for m in modes]
    values = [*form.rates, *(one for row in inward for one in row)]
    slots = _slots(structural, p, channels, states, values)
    start = len(values)
    for output in outputs:
        for row in amounts:
            seen = [weights[output][s] * u for s, u in zip(states, row, strict=True) if s in weights[output]]
            values.append(sum(seen[1:], seen[0]))
    held = len(values)
    values += [one for row in amounts for one in row]
    values += list(form.gaps)
    live = [[not _is_zero(one) for one in row] for row in inward]
    has = [[not _is_zero(one) for one in row] for row in amounts]
    return values, Layout(
        len(form.rates), ("amplitude",), states, start, slots, len(values), len(form.gaps), False, (0,),
        len(structural.parameters), (), (0,) * len(form.rates),
        tuple(max(i for i, one in enumerate(row) if one) + 1 for row in live),
        held, tuple(row.index(True) for row in has),
    )  # fmt: skip


def _is_zero(value: Any) -> bool:
    """Tell whether a formula is the number 0."""
    return isinstance(value, int | float) and value == 0.0


def _observed(
    weights: Mapping[str, Mapping[str, Any]], outputs: Sequence[str], states: Sequence[str]
) -> tuple[int, ...]:
    """Which of the compartments any output looks at."""
    seen = {state for output in outputs for state in weights[output]}
    return tuple(i for i, state in enumerate(states) if state in seen)


def _matrix_coefficients(
    structural: LinearDeclaration, p: Symbols, outputs: Sequence[str], channels: Sequence[str]
) -> tuple[list[Any], Layout]:
    """The same for `matrix`: the system's matrix, row by row, in place of modes."""
    staged_ways = [name for name in channels if structural.channels[name].stages is not None]
    if staged_ways:
        raise ValueError(
            f"Doses through transit compartments ({staged_ways[0]}) cannot be combined with compartments "
            "that are turned off (negative CMT). Write the transit compartments out in a pk.LinearSystem."
        )
    states = tuple(structural.states)
    index = {state: i for i, state in enumerate(states)}
    entries: dict[tuple[int, int], Any] = {}

    def add(row: str, column: str, value: Any) -> None:
        at = index[row], index[column]
        entries[at] = entries[at] + value if at in entries else value

    rates, sums, weights = structural.rates(p), structural.integrals(p), structural.weights(p)
    for (source, to), rate in rates.items():
        add(source, source, -rate)
        if to is not None:
            add(to, source, rate)
    for to, parts in sums.items():
        for source, factor in parts.items():
            add(to, source, factor)
    n = len(states)
    values = [entries.get((i, j), 0.0) for i in range(n) for j in range(n)]
    slots = _slots(structural, p, channels, states, values)
    start = len(values)
    values += [weights[o].get(s, 0.0) for o in outputs for s in states]
    # what nothing leaves adds up for ever, and has no steady state
    emptied = {source for source, _ in rates}
    accumulated = tuple(int(state not in emptied) for state in states)
    return values, Layout(
        1, states, states, start, slots, len(values), 0, any(accumulated), accumulated,
        len(structural.parameters), _observed(weights, outputs, states), (0,), (n,),
    )  # fmt: skip


def _slots(
    structural: LinearDeclaration,
    p: Symbols,
    channels: Sequence[str],
    columns: Sequence[str],
    values: list[Any],
) -> dict[str, tuple[int, ...]]:
    """Append what the ways in ask for to `values`; say where each lies (-1: not there)."""
    slots: dict[str, tuple[int, ...]] = {}
    for what in ("bioavailability", "lag", "rate", "duration", "stages", "stage_rate"):
        where = []
        for name in channels:
            formula = getattr(structural.channels[name], what)
            where.append(-1 if formula is None else len(values))
            values += [] if formula is None else [formula(p)]
        slots[what] = tuple(where)
    slots["column"] = tuple(columns.index(structural.channels[name].state) for name in channels)
    return slots


def _transfer(form: ClosedForm, weights: Mapping[str, Any], column: str, m: int) -> Any:
    """Coefficient of mode `m` in a weighted sum of compartments after a unit dose into `column`."""
    terms = [w * form.transfers[s, column][m] for s, w in weights.items() if (s, column) in form.transfers]
    return sum(terms[1:], terms[0]) if terms else 0.0
