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


def _named(name: str) -> Formula:
    return lambda p: p[name]


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

    References
    ----------
    Gibaldi & Perrier, *Pharmacokinetics*, 2nd ed. (1982), ch. 1.
    """

    Tlag: bool = False
    F: bool = False

    @property
    def states(self) -> tuple[str, ...]:
        """The depot."""
        return (DEPOT,)

    @property
    def parameters(self) -> tuple[str, ...]:
        """`ka`, and `Tlag` and `F` where asked for."""
        return ("ka", *(("Tlag",) if self.Tlag else ()), *(("F",) if self.F else ()))

    @property
    def channels(self) -> Mapping[str, Channel]:
        """One way in: the depot."""
        lag = _named("Tlag") if self.Tlag else None
        bioavailability = _named("F") if self.F else None
        return {DEPOT: Channel(DEPOT, bioavailability=bioavailability, lag=lag)}

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
        return ["dA_depot/dt = -ka A_depot", *(["doses into depot arrive Tlag later"] if self.Tlag else []),
                *(["a fraction F of a depot dose arrives"] if self.F else [])]  # fmt: skip

    def latex(self) -> list[str]:
        """LaTeX of the depot's equation."""
        return [r"\frac{dA_{depot}}{dt} = -k_a A_{depot}"]

    @property
    def inflow(self) -> tuple[str, str]:
        """`ka` times the depot."""
        return "ka A_depot", r"k_a A_{depot}"
