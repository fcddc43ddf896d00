"""How a dose gets from where it is given into the central compartment."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from popbayes.engine.declaration import Channel, ClosedForm, Expression, Formula, Symbols
from popbayes.structural.base import Declared

DEPOT = "depot"


class AbstractAbsorption(Declared):
    """A part of a structural model: compartments before `central`, and the ways into them."""

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

    @abstractmethod
    def rates(self, p: Symbols) -> Mapping[tuple[str, str | None], Expression]:
        """Rate constants out of the added compartments."""

    @abstractmethod
    def extend(self, p: Symbols, body: ClosedForm, central: str) -> ClosedForm:
        """Closed form of the whole from that of the body, which the amount enters through `central`."""

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


def channel(state: str, number: int, *, Tlag: bool, F: bool, D: bool, R: bool) -> Channel:
    """Way into compartment `number`, with the parameters that are asked for."""
    names = input_parameters(number, Tlag=Tlag, F=F, D=D, R=R)

    def named(kind: str) -> Formula | None:
        name = names.get(kind)
        return None if name is None else lambda p: p[name]

    return Channel(state, bioavailability=named("F"), lag=named("Tlag"), rate=named("R"), duration=named("D"))


def input_parameters(number: int, *, Tlag: bool, F: bool, D: bool, R: bool) -> dict[str, str]:
    """Kind -> name of the parameters of doses into compartment `number`.

    Named as the field does: `Tlag`, `F`, `D1`, `R1` for the first compartment, `Tlag2`, `F2`, `D2`, `R2`
    for the second.
    """
    plain = "" if number == 1 else str(number)
    names = {"Tlag": f"Tlag{plain}", "F": f"F{plain}", "D": f"D{number}", "R": f"R{number}"}
    asked = {"Tlag": Tlag, "F": F, "D": D, "R": R}
    return {kind: name for kind, name in names.items() if asked[kind]}


@dataclass(frozen=True)
class Intravenous(Declared):
    """Parameters of doses straight into the central compartment.

    Parameters
    ----------
    Tlag, F, D, R
        Add a lag (time), a bioavailability, a duration (for RATE = -2) or a rate (for RATE = -1). With an
        absorption before it, central is compartment 2 and they are called `Tlag2`, `F2`, `D2`, `R2`;
        without one `Tlag`, `F`, `D1`, `R1`.
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


@dataclass(frozen=True)
class FirstOrder(AbstractAbsorption):
    r"""First-order absorption from a depot.

    .. math:: \frac{dA_{depot}}{dt} = -k_a A_{depot}, \qquad \text{input to central} = k_a A_{depot}

    Parameters
    ----------
    Tlag
        Add the parameter `Tlag` (time): doses into the depot arrive that much later.
    F
        Add the parameter `F`: the fraction of a depot dose that arrives.
    D, R
        Add the duration `D1` (for doses with RATE = -2) or the rate `R1` (RATE = -1) at which a depot
        dose is released.

    References
    ----------
    Gibaldi & Perrier, *Pharmacokinetics*, 2nd ed. (1982), ch. 1.
    """

    Tlag: bool = False
    F: bool = False
    D: bool = False
    R: bool = False

    @property
    def states(self) -> tuple[str, ...]:
        """The depot."""
        return (DEPOT,)

    @property
    def parameters(self) -> tuple[str, ...]:
        """`ka`, and `Tlag`, `F`, `D1` and `R1` where asked for."""
        return ("ka", *input_parameters(1, Tlag=self.Tlag, F=self.F, D=self.D, R=self.R).values())

    @property
    def channels(self) -> Mapping[str, Channel]:
        """One way in: the depot."""
        return {DEPOT: channel(DEPOT, 1, Tlag=self.Tlag, F=self.F, D=self.D, R=self.R)}

    def rates(self, p: Symbols) -> Mapping[tuple[str, str | None], Expression]:
        """Depot to central at `ka`."""
        return {(DEPOT, "central"): p.ka}

    def extend(self, p: Symbols, body: ClosedForm, central: str) -> ClosedForm:
        r"""Convolve with :math:`k_a e^{-k_a t}`.

        Each mode :math:`c_m e^{-\lambda_m t}` of the body's response to central becomes
        :math:`c_m \frac{k_a}{k_a - \lambda_m} (e^{-\lambda_m t} - e^{-k_a t})`.
        """
        ka = p.ka
        factors = [ka / (ka - rate) for rate in body.rates]
        transfers: dict[tuple[str, str], Sequence[Expression]] = {
            pair: [*coefficients, 0.0] for pair, coefficients in body.transfers.items()
        }
        for (to, source), coefficients in body.transfers.items():
            if source == central:
                fed = [c * f for c, f in zip(coefficients, factors, strict=True)]
                transfers[to, DEPOT] = [*fed, -sum(fed[1:], fed[0])]
        transfers[DEPOT, DEPOT] = [*(0.0 for _ in body.rates), 1.0]
        gaps = [(ka - rate) / (ka + rate) for rate in body.rates]
        return ClosedForm([*body.rates, ka], transfers, [*body.gaps, *gaps])

    def equations(self) -> list[str]:
        """Text of the depot's equation."""
        return ["dA_depot/dt = -ka A_depot"]

    def latex(self) -> list[str]:
        """LaTeX of the depot's equation."""
        return [r"\frac{dA_{depot}}{dt} = -k_a A_{depot}"]

    @property
    def inflow(self) -> tuple[str, str]:
        """`ka` times the depot."""
        return "ka A_depot", r"k_a A_{depot}"
