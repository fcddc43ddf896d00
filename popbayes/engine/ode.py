"""An ODE declaration -> compiled kernels: formulas, steps, walks and their adjoints.

The gradient is the discrete adjoint: stage values of every accepted step are kept, and swept back with
vector-Jacobian products of the right-hand side. Its cost is that of a few right-hand sides for each
stage, whatever the number of parameters and of segments over which they change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import ancestors

from popbayes.engine import (
    explicit,
    ode_dense,
    ode_driver,
    ode_periods,
    ode_pull,
    ode_steady,
    ode_steps,
    ode_subjects,
    ode_switches,
    ode_walk,
    stiff,
)
from popbayes.engine.buffers import Buffer
from popbayes.engine.declaration import Symbols
from popbayes.engine.formula_kernels import by_channel, pull_kernel, value_kernel
from popbayes.engine.linear import NEAR, NODES, STEP, _lagrange_at_zero
from popbayes.engine.ode_declaration import OdeDeclaration, columns
from popbayes.engine.ode_formulas import (
    Hoisted,
    Names,
    hoist,
    jacobian_kernel,
    output_kernel,
    pull_output_kernel,
    pull_rhs_kernel,
    rhs_kernel,
)
from popbayes.engine.ode_split import Linear, linear_part, rates_of_all, tracked
from popbayes.engine.ode_tangents import Tangents, tangents
from popbayes.engine.schedule import Features
from popbayes.engine.specialise import Kernel, compile_source, specialise

SLOTS = 16
"""Rows of the tape for each record; a subject that needs more than is left is solved twice."""


ABSENT = ("explicit_step", "pull_explicit", "stiff_step", "pull_stiff", "start_steady",
          "pull_steady", "switch", "drop_off")  # fmt: skip
"""Templates of methods and events that a model does not need: nothing is compiled in their place."""


COMPILED = {"drive", "explicit_step", "pull_explicit", "stiff_step", "pull_stiff", "integrate", "note",
            "infuse", "advance", "period", "map_once", "start_steady", "walk_ode", "pull_row", "pull_steady",
            "pull_drive", "factorise", "back_substitute", "put", "begin", "drop", "switch",
            "pace_of_rates"}  # fmt: skip
"""Templates that are compiled by themselves; the others become part of those that call them."""


@dataclass(frozen=True)
class OdeLayout:
    """Where each coefficient of a segment lies, and what is kept for the adjoint."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    n_modes: int
    n_gaps: int
    size: int
    places: Mapping[str, int]
    slots: Mapping[str, tuple[int, ...]]
    width: int
    scratch: tuple[Buffer, ...] = ()
    pull_scratch: tuple[Buffer, ...] = ()

    @property
    def kept(self) -> tuple[Buffer, ...]:
        """Arrays kept for the adjoint."""
        return (
            Buffer("segment", width=self.size),
            Buffer("record", SLOTS, self.width),
            Buffer("stream", width=ode_walk.N_STREAM),
            Buffer("record", width=2, integer=True),
        )

    def for_values(self, sizes: Mapping[str, int]) -> tuple[Any, ...]:
        """What `evaluate` writes over, for schedules of up to these `sizes`; no tape is kept."""
        coefs, _, streams, log = self.kept
        kept = (coefs, Buffer("one", 2, self.width), streams, log)
        return (*(one.make(sizes) for one in kept), tuple(one.make(sizes) for one in self.scratch))


@dataclass(frozen=True)
class OdeKernels:
    """Compiled functions of one model; see `popbayes.engine.ode_subjects`."""

    forward: Kernel
    pull: Kernel
    evaluate: Kernel
    layout: OdeLayout
    parameters: tuple[str, ...]
    bound: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Formulas:
    """All expressions of a model, those of parameters alone cut out."""

    names: Names
    own: tuple[str, ...]
    rows: tuple[str, ...]
    rates: list[Variable]
    outputs: list[Variable]
    hoisted: list[Variable]
    initials: list[Variable]
    tangents: Tangents

    @property
    def timed(self) -> bool:
        """Whether rates depend on time itself."""
        return self.names.time in set(ancestors(self.rates))


def _expression(value: Any) -> Variable:
    return pt.as_tensor_variable(value, dtype="float64")


def _formulas(
    structural: OdeDeclaration,
    p: Symbols,
    outputs: Sequence[str],
    channels: Sequence[str],
    features: Features,
) -> tuple[Formulas, Linear | None]:
    t = pt.dscalar("t")
    symbols = {name: pt.dscalar(f"state_{name}") for name in structural.states}
    state = Symbols(symbols)
    # what is turned off, or has sensitivities that are looked at, has no closed form
    whole = features.switches or structural.accuracy.sensitivities
    linear = None if whole else linear_part(structural, symbols, t, p)
    rates = rates_of_all(structural, t, state, p)
    seen = structural.observables(t, state, p)
    solved = linear.states if linear else ()
    own = [name for name in structural.states if name not in solved]
    initials = {**dict.fromkeys(structural.states, 0.0), **structural.initials(p)}
    starts = [_expression(initials[name]) for name in own]
    raw = [_expression(rates[name]) for name in own]
    more = Tangents()
    if structural.accuracy.sensitivities:
        dosed = sorted({own.index(structural.channels[name].state) for name in channels})
        by = {name: p[name] for name in structural.parameters}
        more = tangents([symbols[name] for name in own], raw, starts, by, dosed)
    raw += [*more.rates, *(_expression(seen[name]) for name in outputs)]
    used = set(ancestors(raw))
    rows = tracked(linear, [name for name in solved if symbols[name] in used], features.changes)
    hoisted = Hoisted()
    integrated = (*(symbols[name] for name in own), *more.symbols)
    moving = [t, *integrated, *(symbols[name] for name in rows)]
    cut = hoist(raw, moving, hoisted)
    names = Names(
        t,
        integrated,
        tuple(symbols[name] for name in rows),
        tuple(hoisted.symbols),
    )
    n = len(integrated)
    starts += more.starts
    formulas = Formulas(names, tuple(own), rows, cut[:n], cut[n:], list(hoisted.values), starts, more)
    return formulas, linear


def _layout(
    structural: OdeDeclaration,
    p: Symbols,
    formulas: Formulas,
    linear: Linear | None,
    channels: Sequence[str],
    changes: bool,
) -> tuple[list[Any], OdeLayout]:
    """Coefficients of one segment in the order in which they lie, and where."""
    rows = formulas.rows
    targets = [structural.channels[name].state for name in channels]
    solved = linear.states if linear else ()
    cols = solved if changes else tuple(s for s in solved if s in targets)
    n = len(formulas.initials)
    values: list[Any] = list(formulas.hoisted)
    places = {"INIT": len(values)}
    values += formulas.initials
    accuracy = structural.accuracy
    places |= {"RTOL": len(values), "ATOL": len(values) + 1, "MAX_STEPS": len(values) + 2}
    values += [accuracy.rtol, accuracy.atol, float(accuracy.max_steps)]
    form = linear.form if linear else None
    modes = len(form.rates) if form else 0
    places["RATES"] = len(values)
    values += list(form.rates) if form else []
    places["TRANSFERS"] = len(values)
    for m in range(modes):
        for row in rows:
            values += [form.transfers.get((row, col), [0.0] * modes)[m] for col in cols] if form else []
    slots: dict[str, tuple[int, ...]] = {}
    for what in ("bioavailability", "lag", "rate", "duration"):
        where = []
        for name in channels:
            formula = getattr(structural.channels[name], what)
            where.append(-1 if formula is None else len(values))
            values += [] if formula is None else [formula(p)]
        slots[what] = tuple(where)
    slots["target"] = tuple(formulas.own.index(t) if t in formulas.own else -1 for t in targets)
    blocks = formulas.tangents.of_doses or {}
    slots["tangent"] = tuple(to + blocks.get(to, 0) * len(formulas.own) for to in slots["target"])
    slots["driven"] = tuple(cols.index(t) if t in cols else -1 for t in targets)
    slots = by_channel(slots)
    gaps = list(form.gaps) if form else []
    values += gaps
    width = ode_steps.FIRST_FREE + 7 * n + 2 * modes * len(rows) + modes
    layout = OdeLayout(rows, cols, modes, len(gaps), len(values), places, slots, width)
    return values, layout


def _places(layout: OdeLayout, n: int, dense: int, features: Features) -> dict[str, int]:
    """Where each piece of scratch lies in the kernels' array `w`."""
    m = layout.n_modes
    modes, rows = m * len(layout.rows), len(layout.rows)
    sizes = {
        **{"X": n, "Z": modes, "U": n, "V": modes, "D": 6 * rows, "E": 6 * m, "ONE": m, "A": 6 * m},
        **{"K": 7 * n, "ERROR": n, "PEAK": n, "MU": n, "NU": modes, "GU": n, "GV": modes},
        **{
            "G": 7 * n,
            "GY": 7 * n,
            "GD": 6 * rows,
            "GR": rows,
            "JAC": dense * dense,
            "LU": dense * (dense + 1),
        },
        **{"BASE": n if dense else 0, "MOVE": n if dense else 0, "ON": n if features.switches else 0},
    }
    places, at = {}, ode_steps.N_PACE
    for name, size in sizes.items():
        places[name] = at
        at += size
    return {**places, "SCRATCH": at}


def _bound(
    structural: OdeDeclaration,
    layout: OdeLayout,
    features: Features,
    formulas: Formulas,
    stencil: Mapping[str, float],
) -> dict[str, Any]:
    """Names that the templates read."""
    first = ode_steps.FIRST_FREE
    names = columns(structural)
    own, n = len(formulas.own), len(formulas.rates)
    return {
        "N_STATES": n,
        "N_OWN": own,
        "N_BLOCKS": n // max(1, own),
        "SENSITIVE": n > own,
        "N_MODES": layout.n_modes,
        "N_ROWS": len(layout.rows),
        "N_COLS": len(layout.columns),
        "N_COEFS": layout.size,
        "N_GAPS": layout.n_gaps,
        "N_PARAMETERS": len(names),
        "N_STREAM": ode_walk.N_STREAM,
        "N_GIVEN": ode_pull.N_GIVEN,
        **layout.places,
        **_places(layout, n, own if structural.solver != "explicit" else 0, features),
        "Y_AT": first,
        "Z_AT": first + 7 * n,
        "V_AT": first + 7 * n + layout.n_modes * len(layout.rows),
        "ONE_AT": first + 7 * n + 2 * layout.n_modes * len(layout.rows),
        "WIDTH": layout.width,
        "INFUSIONS": features.infusions,
        "CHANGES": features.changes,
        "SWITCHES": features.switches,
        "TIMED": formulas.timed,
        "STIFF": structural.solver != "explicit",
        "EXPLICIT": structural.solver != "stiff",
        "STIFF_FIRST": 1.0 if structural.solver == "stiff" else 0.0,
        "TARGET": layout.slots["target"],
        "TANGENT": layout.slots["tangent"],
        "DRIVEN": layout.slots["driven"],
        "SLOT_F": layout.slots["bioavailability"],
        "SLOT_LAG": layout.slots["lag"],
        "SLOT_RATE": layout.slots["rate"],
        "SLOT_DURATION": layout.slots["duration"],
        "NEAR": NEAR,
        "STEP": STEP,
        "NODES": NODES,
        "NODE_WEIGHTS": _lagrange_at_zero(NODES),
        "SPREAD": tuple(float(stencil.get(name, 0.0)) for name in names),
    }


@cache
def ode_kernels(
    structural: OdeDeclaration, outputs: tuple[str, ...], channels: tuple[str, ...], features: Features
) -> OdeKernels:
    """Compile (or take from the cache) the kernels of a model; the arguments are `linear_kernels`'."""
    names = columns(structural)
    variables = {name: pt.dscalar(name) for name in names}
    p = Symbols(variables)
    formulas, linear = _formulas(structural, p, outputs, channels, features)
    raw, layout = _layout(structural, p, formulas, linear, channels, features.changes)
    values = [_expression(v) for v in raw]
    bound = _bound(structural, layout, features, formulas, linear.stencil if linear else {})
    layout = replace(
        layout,
        scratch=ode_subjects.scratch_of(bound["SCRATCH"], len(names)),
        pull_scratch=ode_subjects.pull_scratch_of(bound["SCRATCH"], len(names), layout.size),
    )
    places = {name: bound[name] for name in ("D", "U", "K", "G", "GY", "GD", "MU", "GR", "JAC", "ON")}
    off, own = features.switches, formulas.rates[: len(formulas.own)]
    bound |= {
        "coefficients": value_kernel(names, variables, values),
        "pull_coefficients": pull_kernel(names, variables, values[: layout.size - layout.n_gaps]),
        "rhs": rhs_kernel(formulas.names, formulas.rates, features.infusions, off, places),
        "pull_rhs": pull_rhs_kernel(formulas.names, own, off, places),
        "output": output_kernel(formulas.names, formulas.outputs, places),
        "pull_output": pull_output_kernel(formulas.names, formulas.outputs, places),
    }
    for name in ABSENT:
        bound[name] = compile_source(f"def {name}(*_):\n    return False\n", name, {})
    templates: list[Any] = [*ode_dense.TEMPLATES, *ode_driver.TEMPLATES]
    if bound["EXPLICIT"]:
        templates += explicit.TEMPLATES
    if bound["STIFF"]:
        bound["jacobian"] = jacobian_kernel(formulas.names, own, off, places)
        templates += [ode_steps.scale_of, *stiff.TEMPLATES]
    steady = features.infusions
    templates += [*ode_switches.TEMPLATES, *ode_steps.TEMPLATES, *ode_walk.TEMPLATES]
    templates += [*((*ode_periods.TEMPLATES, *ode_steady.FORWARD) if steady else ()), *ode_walk.MIDDLE]
    templates += [
        *(ode_switches.LAST if off else ()),
        *ode_walk.LAST,
        *ode_pull.TEMPLATES,
        *(ode_steady.BACKWARD if steady else ()),
    ]
    templates += [*ode_pull.LAST, *ode_subjects.TEMPLATES]
    for template in templates:
        name = template.__name__
        bound[name] = specialise(template, inline=name not in COMPILED, **bound)
    forward = specialise(ode_subjects.forward, inline=True, **bound)
    return OdeKernels(
        forward,
        specialise(ode_subjects.pull, inline=True, **bound),
        specialise(ode_subjects.evaluate, entry=True, **(bound | {"forward": forward})),
        layout,
        names,
        bound,
    )
