"""How a dose gets from where it is given into the central compartment: names and the common contract."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from popbayes.engine.declaration import Channel, ClosedForm, Expression, Formula, Symbols
from popbayes.structural.base import Declared

CENTRAL, DEPOT = "central", "depot"


@dataclass(frozen=True)
class AbstractAbsorption(Declared):
    """A part of a structural model: compartments before `central`, and the ways into them.

    Attributes
    ----------
    number
        Compartment number by which its parameters are named: 1 (`ka`, `Tlag`, `F`, `D1`) or, as the
        second of two in `Parallel`, 2 (`ka2`, `Tlag2`, `D2`). Set by the model, not by users.
    """

    @property
    @abstractmethod
    def number(self) -> int:
        """Compartment number by which the parameters are named."""

    @property
    @abstractmethod
    def states(self) -> tuple[str, ...]:
        """Compartments that this absorption adds, before those of the body."""

    @property
    @abstractmethod
    def parameters(self) -> tuple[str, ...]:
        """Parameters that this absorption adds, before those of the body."""

    @property
    @abstractmethod
    def channels(self) -> Mapping[str, Channel]:
        """Ways in."""

    @property
    def places(self) -> tuple[str, ...]:
        """Where doses can be given, in the order of CMT; a place need not hold an amount."""
        return (self.place,)

    @property
    def place(self) -> str:
        """Name of the (first) place."""
        return numbered(DEPOT, self.number)

    @property
    def entries(self) -> Mapping[str, tuple[str, ...]]:
        """Place -> the ways in that a dose there takes."""
        return {self.place: tuple(self.channels)}

    @property
    def stencil(self) -> Mapping[str, float]:
        """Direction in which its rates part from those of the body."""
        return {}

    @abstractmethod
    def rates(self, p: Symbols) -> Mapping[tuple[str, str | None], Expression]:
        """Rate constants out of the added compartments."""

    @abstractmethod
    def extend(self, p: Symbols, body: ClosedForm) -> ClosedForm:
        """Closed form of the whole from that of the body, which the amount enters through central."""

    @abstractmethod
    def equations(self) -> list[str]:
        """Text of the equations of the added compartments."""

    @abstractmethod
    def latex(self) -> list[str]:
        """LaTeX of the equations of the added compartments."""

    @property
    @abstractmethod
    def inflow(self) -> tuple[str, str]:
        """What enters central, as text and as LaTeX."""


def numbered(name: str, number: int) -> str:
    """`ka`, `ka2`: the name of a parameter or compartment of the first and of the second way in."""
    return name if number == 1 else f"{name}{number}"


def numbered_latex(name: str, number: int, sub: str) -> str:
    """LaTeX of the same: ``k_{a}``, ``k_{a2}``."""
    return f"{name}_{{{numbered(sub, number)}}}"


def input_parameters(number: int, *, Tlag: bool, F: bool, D: bool, R: bool) -> dict[str, str]:
    """Kind -> name of the parameters of doses into compartment `number`.

    Named as the field does: `Tlag`, `F`, `D1`, `R1` for the first compartment, `Tlag2`, `F2`, `D2`, `R2`
    for the second.
    """
    names = {
        "Tlag": numbered("Tlag", number),
        "F": numbered("F", number),
        "D": f"D{number}",
        "R": f"R{number}",
    }
    asked = {"Tlag": Tlag, "F": F, "D": D, "R": R}
    return {kind: name for kind, name in names.items() if asked[kind]}


def channel(
    state: str, number: int, *, Tlag: bool, F: bool, D: bool, R: bool, zero_order: bool = False
) -> Channel:
    """Way into compartment `number`, with the parameters that are asked for."""
    names = input_parameters(number, Tlag=Tlag, F=F, D=D, R=R)

    def named(kind: str) -> Formula | None:
        name = names.get(kind)
        return None if name is None else lambda p: p[name]

    return Channel(
        state,
        bioavailability=named("F"),
        lag=named("Tlag"),
        rate=named("R"),
        duration=named("D"),
        zero_order=zero_order,
    )


@dataclass(frozen=True)
class Intravenous(Declared):
    """Parameters of doses straight into the central compartment.

    Parameters
    ----------
    Tlag, F, D, R
        Add a lag (time), a bioavailability, a duration (for RATE = -2) or a rate (for RATE = -1). With an
        absorption before it, central is compartment 2 and they are called `Tlag2`, `F2`, `D2`, `R2`;
        without one `Tlag`, `F`, `D1`, `R1`; after `Parallel`, `Tlag3`, `F3`, `D3`, `R3`.
    """

    Tlag: bool = False
    F: bool = False
    D: bool = False
    R: bool = False

    def parameters(self, number: int) -> tuple[str, ...]:
        """Names of the parameters, for central as compartment `number`."""
        return tuple(input_parameters(number, Tlag=self.Tlag, F=self.F, D=self.D, R=self.R).values())

    def channel(self, state: str, number: int) -> Channel:
        """The way into central."""
        return channel(state, number, Tlag=self.Tlag, F=self.F, D=self.D, R=self.R)
