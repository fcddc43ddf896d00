"""Any linear compartmental system, written as rates between named compartments."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytensor.tensor as pt

from popbayes.engine.declaration import EXPONENTIAL, Channel, ClosedForm, Expression, Symbols
from popbayes.engine.formula import Formula
from popbayes.structural.absorption import channel, input_parameters
from popbayes.structural.base import AbstractStructural, Declared
from popbayes.wording import listed, nearest

Text = str | float | Formula
TRIALS = 3
LINEAR = 1e-9
"""Relative difference from linearity that rounding may leave in an output's formula."""


@dataclass(frozen=True)
class Input(Declared):
    """Parameters of doses into one compartment of a `LinearSystem`.

    Parameters
    ----------
    Tlag, F, D, R
        Add a lag (time), a bioavailability, a duration (for RATE = -2) or a rate (for RATE = -1); for
        compartment 1 they are called `Tlag`, `F`, `D1`, `R1`, for compartment 2 `Tlag2`, `F2`, `D2`, `R2`.
    zero_order
        With `D`: doses without RATE are given over the duration too.
    """

    Tlag: bool = False
    F: bool = False
    D: bool = False
    R: bool = False
    zero_order: bool = False

    def __post_init__(self) -> None:
        """Refuse a zero-order input without a duration."""
        if self.zero_order and not self.D:
            raise ValueError("Input(zero_order=True) needs a duration: write Input(D=True, zero_order=True).")

    @property
    def flags(self) -> dict[str, bool]:
        """What is asked for."""
        return {"Tlag": self.Tlag, "F": self.F, "D": self.D, "R": self.R}


@dataclass(frozen=True, init=False)
class LinearSystem(AbstractStructural):
    r"""Named compartments and the rate constants between them, solved exactly.

    .. math:: \frac{dA_i}{dt} = \sum_j k_{ji} A_j - \sum_j k_{ij} A_i + \text{input}_i

    by the matrix exponential and its exact derivative; equal, nearly equal and defective eigenvalues need
    no care. Rates are formulas in the parameters, as text; whatever name in them is not a compartment is
    a structural parameter, in order of appearance.

    Parameters
    ----------
    compartments
        Their names, in the order of CMT (1, 2, ...).
    rates
        ``(from, to)`` -> rate constant (1 / time); ``to=None`` leaves the body. What nothing leaves
        (urine) adds up from the first record on, or since the last reset.
    outputs
        Name -> formula, linear in the compartments: ``"central / V"``. The first is the default.
    inputs
        Compartment -> `Input`, where doses into it have a lag, bioavailability, rate or duration. Every
        compartment takes doses.
    areas
        Name -> formula, linear in the compartments, whose integral over time is kept: ``{"AUC":
        "central / V"}``. It is an output too.

    Raises
    ------
    ValueError
        An unknown compartment, a formula that cannot be read, an output that is not linear.

    Examples
    --------
    A parent and its metabolite:

    >>> from popbayes import pk
    >>> model = pk.LinearSystem(
    ...     ("depot", "parent", "metabolite"),
    ...     rates={
    ...         ("depot", "parent"): "ka",
    ...         ("parent", "metabolite"): "fm * CL / V",
    ...         ("parent", None): "(1 - fm) * CL / V",
    ...         ("metabolite", None): "CLm / Vm",
    ...     },
    ...     outputs={"conc": "parent / V", "metabolite_conc": "metabolite / Vm"},
    ... )
    >>> model.parameters
    ('ka', 'fm', 'CL', 'V', 'CLm', 'Vm')

    References
    ----------
    Jacquez, *Compartmental Analysis in Biology and Medicine*, 3rd ed. (1996), ch. 6.
    """

    states_: tuple[str, ...]
    flows: tuple[tuple[str, str | None, Formula], ...]
    readings: tuple[tuple[str, Formula], ...]
    ways: tuple[tuple[str, Input], ...]
    sums: tuple[tuple[str, Formula], ...]

    def __init__(
        self,
        compartments: Sequence[str],
        rates: Mapping[tuple[str, str | None], Text] | Iterable[tuple[str, str | None, Text]],
        outputs: Mapping[str, Text],
        *,
        inputs: Mapping[str, Input] | None = None,
        areas: Mapping[str, Text] | None = None,
    ):
        flows = [(*pair, text) for pair, text in rates.items()] if isinstance(rates, Mapping) else rates
        values = {
            "states_": tuple(compartments),
            "flows": tuple((source, to, _formula(text)) for source, to, text in flows),
            "readings": tuple((name, _formula(text)) for name, text in outputs.items()),
            "ways": tuple((inputs or {}).items()),
            "sums": tuple((name, _formula(text)) for name, text in (areas or {}).items()),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        """Refuse names that do not fit, and outputs that are not linear."""
        if not self.states_ or len(set(self.states_)) < len(self.states_):
            raise ValueError(f"A LinearSystem needs compartments of different names, not {self.states_}.")
        if not self.readings:
            raise ValueError('A LinearSystem needs an output, such as {"conc": "central / V"}.')
        for source, to, formula in self.flows:
            if source is None:
                raise ValueError(
                    f"The rate {formula.text!r} leads from None to {to!r}: what comes in from outside is a "
                    "dose, an infusion of constant rate for instance. None is where a rate leaves the body."
                )
            for name in (source, to):
                if name is not None:
                    self._known(name, f"the rate {formula.text!r}")
            if source == to:
                raise ValueError(f"The rate {formula.text!r} leads from {source!r} to itself.")
            inside = [name for name in formula.names if name in self.states_]
            if inside:
                raise ValueError(
                    f"The rate constant {formula.text!r} from {source!r} names the compartment "
                    f"{inside[0]!r}: rates of a LinearSystem are constants. "
                    "A rate that depends on an amount is nonlinear."
                )
        if len({(source, to) for source, to, _ in self.flows}) < len(self.flows):
            raise ValueError("Two rates are given for one pair of compartments; add them up in one formula.")
        for name, way in self.ways:
            self._known(name, "inputs")
            if not isinstance(way, Input):
                raise TypeError(f"inputs[{name!r}] must be a pk.Input, not {way!r}.")
        clash = [name for name, _ in self.sums if name in self.states_ or name in dict(self.readings)]
        if clash:
            raise ValueError(f"The area {clash[0]!r} has the name of a compartment or output; rename it.")
        for name, formula in (*self.readings, *self.sums):
            self._check_linear(name, formula)

    def _known(self, name: str, where: str) -> None:
        if name not in self.states_:
            raise ValueError(
                f"There is no compartment {name!r}, which {where} names; there are {listed(self.states_)}."
                f"{nearest(name, self.states_)}"
            )

    def _check_linear(self, output: str, formula: Formula) -> None:
        """Try the formula at a few random points: it must be a weighted sum of the amounts."""
        rng = np.random.default_rng(0)
        for _ in range(TRIALS):
            values = {name: np.float64(rng.uniform(0.5, 2.0)) for name in formula.names}
            amounts = {name: values.get(name, np.float64(1.0)) for name in self.states_}
            parts = [amounts[state] * _at(formula, values, self.states_, state) for state in self.states_]
            whole = float(formula.value({**values, **amounts}, np))
            empty = float(formula.value({**values, **dict.fromkeys(self.states_, np.float64(0.0))}, np))
            if abs(empty) > LINEAR or abs(sum(parts) - whole) > LINEAR * (1.0 + abs(whole)):
                raise ValueError(
                    f"The output {output!r}, {formula.text!r}, is not linear in the compartments; "
                    "write it as a weighted sum of amounts, such as 'central / V'."
                )

    @property
    def states(self) -> tuple[str, ...]:
        """Compartments, then areas."""
        return (*self.states_, *(name for name, _ in self.sums))

    @property
    def entries(self) -> Mapping[str, tuple[str, ...]]:
        """Every compartment takes doses."""
        return {state: (state,) for state in self.states_}

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names in the formulas that are no compartments, then those of the inputs."""
        formulas = (
            *(formula for *_, formula in self.flows),
            *(formula for _, formula in self.readings),
            *(formula for _, formula in self.sums),
        )
        found = [name for formula in formulas for name in formula.names if name not in self.states_]
        for name, way in self.ways:
            found += input_parameters(1 + self.states_.index(name), **way.flags).values()
        return tuple(dict.fromkeys(found))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Those given, then areas."""
        return (*(name for name, _ in self.readings), *(name for name, _ in self.sums))

    @property
    def channels(self) -> Mapping[str, Channel]:
        """One way into each compartment."""
        given = dict(self.ways)
        ways = {}
        for number, state in enumerate(self.states_, start=1):
            way = given.get(state, Input())
            ways[state] = channel(state, number, **way.flags, zero_order=way.zero_order)
        return ways

    def rates(self, p: Symbols) -> Mapping[tuple[str, str | None], Expression]:
        """Rate constants."""
        return {
            (source, to): formula.value({name: p[name] for name in formula.names}, pt)
            for source, to, formula in self.flows
        }

    def weights(self, p: Symbols) -> Mapping[str, Mapping[str, Expression]]:
        """Factor of each compartment in each output."""
        readings = {name: self._factors(formula, p) for name, formula in self.readings}
        return readings | {name: {name: 1.0} for name, _ in self.sums}

    def integrals(self, p: Symbols) -> Mapping[str, Mapping[str, Expression]]:
        """Factor of each compartment in what is integrated."""
        return {name: self._factors(formula, p) for name, formula in self.sums}

    def _factors(self, formula: Formula, p: Symbols) -> dict[str, Expression]:
        values = {name: p[name] for name in formula.names if name not in self.states_}
        seen = [state for state in self.states_ if state in formula.names]
        return {state: _at(formula, values, self.states_, state) for state in seen}

    @property
    def solution(self) -> str:
        """The matrix exponential."""
        return EXPONENTIAL

    def closed_form(self, p: Symbols) -> ClosedForm:
        """There is none."""
        raise NotImplementedError("A LinearSystem is solved by the matrix exponential, not by its modes.")

    @property
    def stencil(self) -> Mapping[str, float]:
        """Not needed."""
        return {}

    def equations(self) -> list[str]:
        """The system as text."""
        lines = []
        for state in self.states_:
            gains = [f"({f.text}) A_{source}" for source, to, f in self.flows if to == state]
            losses = [f"({f.text}) A_{state}" for source, _, f in self.flows if source == state]
            right = " + ".join(gains) + "".join(f" - {loss}" for loss in losses)
            lines.append(f"dA_{state}/dt = {right.strip() or '0'}")
        lines += [f"d{name}/dt = {formula.text}" for name, formula in self.sums]
        return [*lines, *(f"{name} = {formula.text}" for name, formula in self.readings)]

    def latex(self) -> list[str]:
        """The system as LaTeX."""
        lines = []
        for state in self.states_:
            gains = [(f, source) for source, to, f in self.flows if to == state]
            losses = [(f, state) for source, _, f in self.flows if source == state]
            terms = [f"+ {_tex(f)} A_{{{source}}}" for f, source in gains]
            terms += [f"- {_tex(f)} A_{{{source}}}" for f, source in losses]
            lines.append(rf"\frac{{dA_{{{state}}}}}{{dt}} = {' '.join(terms).removeprefix('+ ') or '0'}")
        lines += [rf"\frac{{d\,\mathrm{{{name}}}}}{{dt}} = {_tex(f)}" for name, f in self.sums]
        return [*lines, *(rf"\mathrm{{{name}}} = {_tex(f)}" for name, f in self.readings)]

    def to_dict(self) -> dict[str, Any]:
        """The arguments that make it again, as JSON holds them."""
        return {
            "type": type(self).__name__,
            "compartments": list(self.states_),
            "rates": [[source, to, formula.text] for source, to, formula in self.flows],
            "outputs": {name: formula.text for name, formula in self.readings},
            "inputs": {name: way.to_dict() for name, way in self.ways},
            "areas": {name: formula.text for name, formula in self.sums},
        }


def _formula(text: Text) -> Formula:
    return text if isinstance(text, Formula) else Formula(str(text))


def _at(formula: Formula, values: Mapping[str, Any], states: Sequence[str], only: str) -> Any:
    """Value of a formula where one compartment holds 1 and the others nothing."""
    amounts = {state: np.float64(state == only) for state in states}
    return formula.value({**values, **amounts}, pt)


def _tex(formula: Formula) -> str:
    text = formula.text.replace("_", r"\_").replace("**", "^").replace("*", r"\,")
    return rf"\left(\mathtt{{{text}}}\right)"
