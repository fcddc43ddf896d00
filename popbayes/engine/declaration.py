"""What the engine asks of a structural model: states, parameters, ways in, rates and outputs.

A declaration holds scalar PyTensor expressions and nothing else: no loop, no solver, no derivative.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Protocol

from pytensor.graph.basic import Variable

MODES, EXPONENTIAL = "modes", "exponential"
"""Routes to a linear system's solution: sums of exponentials in closed form, or the matrix exponential."""
Expression = Any
"""A 0-d PyTensor expression or a number."""


class Symbols:
    """Scalar variables by name: ``p.CL / p.V``; a wrong name says which names there are."""

    def __init__(self, values: Mapping[str, Variable]):
        self._values = dict(values)

    def __getattr__(self, name: str) -> Variable:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            near = get_close_matches(name, self._values, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise AttributeError(
                f"There is no {name!r} here; there are: {', '.join(self._values)}.{hint}"
            ) from None

    def __getitem__(self, name: str) -> Variable:
        return getattr(self, name)

    def __iter__(self) -> Any:
        return iter(self._values)


Formula = Callable[[Symbols], Expression]


@dataclass(frozen=True)
class Channel:
    """One way in: the compartment that it leads to, and what happens on the way.

    Attributes
    ----------
    state
        Compartment that receives the amount.
    bioavailability, lag, rate, duration
        Functions of the parameters; None: 1, 0, and not to be had. `rate` serves RATE = -1 and
        `duration` RATE = -2.
    zero_order
        A dose without RATE is given over `duration` (zero-order absorption).
    stages, stage_rate
        A dose passes a number of equal stages on the way, each left at the rate constant `stage_rate`: it
        arrives like a gamma density of shape `stages`, which need not be whole. None: at once.
    """

    state: str
    bioavailability: Formula | None = None
    lag: Formula | None = None
    rate: Formula | None = None
    duration: Formula | None = None
    zero_order: bool = False
    stages: Formula | None = None
    stage_rate: Formula | None = None


@dataclass(frozen=True)
class Amplitudes:
    r"""The modes of a linear system by one number each: :math:`c_{ab,m} = u_{am} w_{mb}`.

    A mode decays as a whole, so that its amounts in the compartments keep their proportions. They must be
    defined also where a compartment is cut off.

    Attributes
    ----------
    amounts
        Compartment -> :math:`u_{am}`, what it holds of a mode of amplitude 1.
    inward
        Compartment -> :math:`w_{mb}`, the amplitudes that a unit amount in it comes to.
    """

    amounts: Mapping[str, Sequence[Expression]]
    inward: Mapping[str, Sequence[Expression]]


@dataclass(frozen=True)
class ClosedForm:
    r"""A linear system's solution as a sum of exponentials.

    The amount in compartment `a` a time `t` after a unit amount came into compartment `b` is
    :math:`\sum_m c_{ab,m} e^{-\lambda_m t}`.

    Attributes
    ----------
    rates
        The :math:`\lambda_m`.
    transfers
        ``(a, b)`` -> the coefficients :math:`c_{ab,m}`, one for each mode; missing pairs are zero.
    gaps
        Relative distances :math:`|\lambda_i - \lambda_j| / (\lambda_i + \lambda_j)` of the rates whose
        difference a coefficient is divided by.
    amplitudes
        The coefficients as products, where the model has them so: less to carry from one set of parameters
        to the next.
    """

    rates: Sequence[Expression]
    transfers: Mapping[tuple[str, str], Sequence[Expression]]
    gaps: Sequence[Expression] = field(default_factory=tuple)
    amplitudes: Amplitudes | None = None


class LinearDeclaration(Protocol):
    """A linear compartmental model."""

    def __hash__(self) -> int:
        """Declarations are values: equal ones share compiled code."""

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the compartments."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the structural parameters."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what can be observed; the first is the default."""

    @property
    def channels(self) -> Mapping[str, Channel]:
        """Ways in by name."""

    @property
    def compartments(self) -> Mapping[str, str]:
        """CMT label -> name of the compartment or place."""

    def ways_in(self, cmt: str) -> tuple[str, ...]:
        """Channels that take a dose with this CMT."""

    def rates(self, p: Symbols) -> Mapping[tuple[str, str | None], Expression]:
        """Rate constants ``(from, to)``; ``to = None`` leaves the body."""

    def weights(self, p: Symbols) -> Mapping[str, Mapping[str, Expression]]:
        """Output -> compartment -> factor: an output is a weighted sum of amounts."""

    def integrals(self, p: Symbols) -> Mapping[str, Mapping[str, Expression]]:
        """Compartments that only add up others: ``A' = sum of factor * amount``, beside `rates`."""

    def closed_form(self, p: Symbols) -> ClosedForm:
        """Modes of the system that `rates` and `integrals` describe; the mode of the latter is the last."""

    @property
    def solution(self) -> str:
        """`MODES` (by `closed_form`) or `EXPONENTIAL` (by `rates` and `integrals` alone)."""

    @property
    def stencil(self) -> Mapping[str, float]:
        """Direction in parameter space in which coinciding rates part (see `linear.NODES`)."""


def used_channels(structural: LinearDeclaration, cmts: Iterable[str]) -> tuple[str, ...]:
    """Channels that the doses of a data set use, in the model's order."""
    used = {channel for cmt in cmts for channel in structural.ways_in(cmt)}
    return tuple(name for name in structural.channels if name in used)
