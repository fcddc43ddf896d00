"""What one, two and three compartments share: a mammillary body behind an absorption, and its outputs."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from popbayes.engine.declaration import Channel, ClosedForm, Expression, Symbols
from popbayes.structural.absorption import CENTRAL, AbstractAbsorption, Intravenous
from popbayes.structural.base import AbstractStructural

PERIPHERAL, DEEP = "peripheral", "deep"
AUC, URINE = "AUC", "urine"
NO_PARAMETERS = Intravenous()


@dataclass(frozen=True)
class AbstractCompartmental(AbstractStructural):
    """A mammillary body with an optional absorption in front of it.

    Attributes
    ----------
    absorption
        How doses get into central; None: straight.
    iv
        Parameters of doses straight into central.
    rate_constants
        Write the model in rate constants (`k10`, `k12`, ...) rather than clearances.
    also
        Further outputs: ``"A_central"`` and so on, the amount in a compartment; ``"AUC"``, the area under
        the concentration; ``"urine"``, the amount excreted unchanged (adds the parameter `fe`). The last
        two count from the subject's first record, or from the last reset (EVID 3, 4 or SS = 1).
    """

    absorption: AbstractAbsorption | None = None
    iv: Intravenous = NO_PARAMETERS
    rate_constants: bool = False
    also: Sequence[str] = ()

    #: Compartments of the body, without absorption.
    body_states: ClassVar[tuple[str, ...]]
    #: Parameters of the body in both ways of writing it; where its rates part (see `stencil`).
    clearances: ClassVar[Mapping[str, float]]
    constants: ClassVar[Mapping[str, float]]
    #: Rate constant -> the same in clearances and volumes, as text, as (numerator, denominator).
    ratios: ClassVar[Mapping[str, tuple[str, str]]]
    #: Rate constant -> compartments that it connects.
    flows: ClassVar[Mapping[str, tuple[str, str | None]]]
    volume: ClassVar[str]

    def __post_init__(self) -> None:
        """Refuse an output that there is none of."""
        also = (self.also,) if isinstance(self.also, str) else tuple(self.also)
        known = (*(f"A_{state}" for state in self._real_states), AUC, URINE)
        for name in also:
            if name not in known:
                raise ValueError(
                    f"{type(self).__name__} has no output {name!r}; beside conc it can have "
                    f"{', '.join(known)}."
                )
        if len(set(also)) < len(also):
            raise ValueError(f"An output is asked for twice: {', '.join(also)}.")
        object.__setattr__(self, "also", also)

    @abstractmethod
    def body_form(self, k: Mapping[str, Expression]) -> ClosedForm:
        """Closed form of the body with the rate constants `k`."""

    @property
    def _real_states(self) -> tuple[str, ...]:
        return (*(self.absorption.states if self.absorption else ()), *self.body_states)

    @property
    def accumulators(self) -> tuple[str, ...]:
        """Compartments that only add up: AUC and urine, where asked for."""
        return tuple(name for name in (AUC, URINE) if name in self.also)

    @property
    def states(self) -> tuple[str, ...]:
        """Compartments: absorption, body, and what adds up."""
        return (*self._real_states, *self.accumulators)

    @property
    def places(self) -> tuple[str, ...]:
        """What CMT counts: places of the absorption, body, and what adds up."""
        absorbed = self.absorption.places if self.absorption else ()
        return (*absorbed, *self.body_states, *self.accumulators)

    @property
    def entries(self) -> Mapping[str, tuple[str, ...]]:
        """Place -> ways in: those of the absorption, and each compartment of the body."""
        absorbed = self.absorption.entries if self.absorption else {}
        return {**absorbed, **{state: (state,) for state in self.body_states}}

    @property
    def parameters(self) -> tuple[str, ...]:
        """Parameters, those of the absorption first."""
        absorbed = self.absorption.parameters if self.absorption else ()
        body = tuple(self.constants if self.rate_constants else self.clearances)
        excreted = ("fe",) if URINE in self.also else ()
        return (*absorbed, *body, *self.iv.parameters(self._central_number), *excreted)

    @property
    def _central_number(self) -> int:
        return 1 + len(self.absorption.places if self.absorption else ())

    @property
    def outputs(self) -> tuple[str, ...]:
        """The concentration in the central compartment, and what was asked for beside it."""
        return ("conc", *self.also)

    @property
    def channels(self) -> Mapping[str, Channel]:
        """Ways in: those of the absorption, then every compartment of the body."""
        absorbed = dict(self.absorption.channels) if self.absorption else {}
        body = {state: Channel(state) for state in self.body_states}
        return absorbed | body | {CENTRAL: self.iv.channel(CENTRAL, self._central_number)}

    def rate_constant(self, p: Symbols) -> dict[str, Expression]:
        """The body's rate constants by name."""
        if self.rate_constants:
            return {name: p[name] for name in self.flows}
        return {name: p[over] / p[under] for name, (over, under) in self.ratios.items()}

    def rates(self, p: Symbols) -> Mapping[tuple[str, str | None], Expression]:
        """Rate constants of the whole system."""
        k = self.rate_constant(p)
        body = {flow: k[name] for name, flow in self.flows.items()}
        return {**(self.absorption.rates(p) if self.absorption else {}), **body}

    def integrals(self, p: Symbols) -> Mapping[str, Mapping[str, Expression]]:
        """``dAUC/dt = conc``, ``dA_urine/dt = fe k10 A_central``."""
        sums: dict[str, Mapping[str, Expression]] = {}
        if AUC in self.also:
            sums[AUC] = {CENTRAL: 1.0 / p[self.volume]}
        if URINE in self.also:
            sums[URINE] = {CENTRAL: p.fe * self.rate_constant(p)[next(iter(self.flows))]}
        return sums

    def weights(self, p: Symbols) -> Mapping[str, Mapping[str, Expression]]:
        """``conc = A_central / V``; amounts as they are."""
        amounts = {name: {name.removeprefix("A_"): 1.0} for name in self.also}
        return {"conc": {CENTRAL: 1.0 / p[self.volume]}, **amounts}

    def closed_form(self, p: Symbols) -> ClosedForm:
        """Modes of the body, convolved with the absorption, then integrated."""
        form = self.body_form(self.rate_constant(p))
        if self.absorption:
            form = self.absorption.extend(p, form)
        sums = self.integrals(p)
        return with_integrals(form, sums) if sums else form

    @property
    def stencil(self) -> Mapping[str, float]:
        """Absorption and body move apart."""
        body = self.constants if self.rate_constants else self.clearances
        absorbed = self.absorption.stencil if self.absorption else {}
        return {**{name: move for name, move in body.items() if move != 0.0}, **absorbed}

    def _text(self, name: str) -> str:
        return name if self.rate_constants else "/".join(self.ratios[name])

    def _tex(self, name: str) -> str:
        if self.rate_constants:
            return f"k_{{{name[1:]}}}" if len(name) > 1 else "k"
        over, under = (symbol_latex(one) for one in self.ratios[name])
        return rf"\frac{{{over}}}{{{under}}}"

    def equations(self) -> list[str]:
        """The model as text."""
        lines = list(self.absorption.equations()) if self.absorption else []
        for state in self.body_states:
            lines.append(f"dA_{state}/dt = {self._balance(state)}")
        if AUC in self.also:
            lines.append("dAUC/dt = conc")
        if URINE in self.also:
            lines.append(f"dA_urine/dt = fe {_bracketed(self._text(next(iter(self.flows))))} A_central")
        return [*lines, f"conc = A_central / {self.volume}"]

    def _balance(self, state: str) -> str:
        leaves = [self._text(name) for name, (source, _) in self.flows.items() if source == state]
        enters = [(self._text(name), source) for name, (source, to) in self.flows.items() if to == state]
        inflow = f"{self.absorption.inflow[0]} " if self.absorption and state == CENTRAL else ""
        gains = [f"{_bracketed(rate)} A_{source}" for rate, source in enters]
        out = " + ".join(leaves)
        loss = f"{_bracketed(out)} A_{state}"
        if state == CENTRAL:
            return " ".join([f"{inflow}- {loss}", *(f"+ {gain}" for gain in gains)])
        return f"{' + '.join(gains)} - {loss}"

    def latex(self) -> list[str]:
        """The model as LaTeX."""
        lines = list(self.absorption.latex()) if self.absorption else []
        for state in self.body_states:
            leaves = [self._tex(name) for name, (source, _) in self.flows.items() if source == state]
            enters = [(self._tex(name), source) for name, (source, to) in self.flows.items() if to == state]
            gains = [rf"{rate} A_{{{source}}}" for rate, source in enters]
            loss = leaves[0] if len(leaves) == 1 else rf"\left({' + '.join(leaves)}\right)"
            inflow = f"{self.absorption.inflow[1]} " if self.absorption and state == CENTRAL else ""
            terms = (
                " ".join([f"{inflow}- {loss} A_{{{state}}}", *(f"+ {gain}" for gain in gains)])
                if state == CENTRAL
                else f"{' + '.join(gains)} - {loss} A_{{{state}}}"
            )
            lines.append(rf"\frac{{dA_{{{state}}}}}{{dt}} = {terms}")
        if AUC in self.also:
            lines.append(r"\frac{d\,\mathrm{AUC}}{dt} = C")
        if URINE in self.also:
            lines.append(
                rf"\frac{{dA_{{urine}}}}{{dt}} = f_e {self._tex(next(iter(self.flows)))} A_{{central}}"
            )
        return [*lines, rf"C = \frac{{A_{{central}}}}{{{symbol_latex(self.volume)}}}"]


def symbol_latex(name: str) -> str:
    """`V1` -> ``V_1``."""
    return f"{name[0]}_{name[1:]}" if len(name) == 2 and name[1].isdigit() else name


def _bracketed(text: str) -> str:
    return f"({text})" if "/" in text or "+" in text else text


def with_integrals(form: ClosedForm, sums: Mapping[str, Mapping[str, Expression]]) -> ClosedForm:
    r"""Add compartments that integrate others: one more mode, of rate 0, the last.

    A mode :math:`c_m e^{-\lambda_m t}` of what is integrated becomes
    :math:`\frac{c_m}{\lambda_m} (1 - e^{-\lambda_m t})`.
    """
    transfers: dict[tuple[str, str], Sequence[Expression]] = {
        pair: [*coefficients, 0.0] for pair, coefficients in form.transfers.items()
    }
    sources = dict.fromkeys(source for _, source in form.transfers)
    for name, weights in sums.items():
        for source in sources:
            parts = [
                sum(
                    w * form.transfers[state, source][m] / rate
                    for state, w in weights.items()
                    if (state, source) in form.transfers
                )
                for m, rate in enumerate(form.rates)
            ]
            transfers[name, source] = [*(-part for part in parts), sum(parts[1:], parts[0])]
        transfers[name, name] = [*(0.0 for _ in form.rates), 1.0]
    return ClosedForm([*form.rates, 0.0], transfers, form.gaps)
