"""Absorption through transit compartments: a chain of `n`, and Savic's with an estimated number."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace

from popbayes.engine.declaration import Channel, ClosedForm, Expression, Symbols
from popbayes.structural.absorption import (
    CENTRAL,
    AbstractAbsorption,
    channel,
    input_parameters,
    numbered,
    numbered_latex,
)
from popbayes.structural.first_order import through_depot


@dataclass(frozen=True)
class AbstractTransit(AbstractAbsorption):
    """A dose that arrives spread out like a gamma density, in a depot (`ka`) or straight in central."""

    @abstractmethod
    def count(self, p: Symbols) -> Expression:
        """Number of transit compartments."""

    @property
    @abstractmethod
    def own(self) -> tuple[str, ...]:
        """Parameters of the transit alone."""

    @property
    @abstractmethod
    def flags(self) -> Mapping[str, bool]:
        """`Tlag` and `F`, whether asked for."""

    @property
    @abstractmethod
    def depot(self) -> str | None:
        """The absorption compartment after the transit, where there is one."""

    @property
    def ka(self) -> str:
        """Name of the absorption rate constant."""
        return numbered("ka", self.number)

    @property
    def mtt(self) -> str:
        """Name of the mean transit time."""
        return numbered("MTT", self.number)

    @property
    def states(self) -> tuple[str, ...]:
        """The absorption compartment, if there is one; the transit itself is solved in closed form."""
        return (self.depot,) if self.depot else ()

    @property
    def parameters(self) -> tuple[str, ...]:
        """`ka` where there is a depot, `MTT`, `n` where estimated, and `Tlag` and `F` where asked for."""
        absorbed = (self.ka,) if self.depot else ()
        inputs = input_parameters(self.number, D=False, R=False, **self.flags)
        return (*absorbed, *self.own, *inputs.values())

    @property
    def channels(self) -> Mapping[str, Channel]:
        """One way in, through the transit."""
        way = channel(self.depot or CENTRAL, self.number, D=False, R=False, **self.flags)
        return {
            self.place: replace(
                way,
                stages=lambda p: self.count(p) + 1.0,
                stage_rate=lambda p: (self.count(p) + 1.0) / p[self.mtt],
            )
        }

    @property
    def stencil(self) -> Mapping[str, float]:
        """`ka` grows."""
        return {self.ka: 1.0} if self.depot else {}

    def rates(self, p: Symbols) -> Mapping[tuple[str, str | None], Expression]:
        """Depot to central at `ka`."""
        return {(self.depot, CENTRAL): p[self.ka]} if self.depot else {}

    def extend(self, p: Symbols, body: ClosedForm) -> ClosedForm:
        """Through the depot, if there is one."""
        return through_depot(body, self.depot, p[self.ka]) if self.depot else body

    def equations(self) -> list[str]:
        """Text of the input rate and of the depot's equation."""
        n, ktr = self.count_text, numbered("ktr", self.number)
        arrives = f"dose {ktr} ({ktr} t)^{n} exp(-{ktr} t) / gamma({n} + 1)"
        lines = [f"{ktr} = ({n} + 1)/{self.mtt}", f"transit_{self.place} = {arrives}"]
        if self.depot:
            lines.append(f"dA_{self.depot}/dt = transit_{self.place} - {self.ka} A_{self.depot}")
        return lines

    @property
    @abstractmethod
    def count_text(self) -> str:
        """The number of transit compartments as text."""

    def latex(self) -> list[str]:
        """LaTeX of the input rate and of the depot's equation."""
        ktr = numbered_latex("k", self.number, "tr")
        n, mtt = self.count_text, self.mtt
        lines = [
            rf"{ktr} = \frac{{{n} + 1}}{{\mathrm{{{mtt}}}}}",
            rf"I = \mathrm{{dose}}\, {ktr} \frac{{({ktr} t)^{{{n}}} e^{{-{ktr} t}}}}{{\Gamma({n} + 1)}}",
        ]
        if self.depot:
            ka = numbered_latex("k", self.number, "a")
            lines.append(rf"\frac{{dA_{{{self.depot}}}}}{{dt}} = I - {ka} A_{{{self.depot}}}")
        return lines

    @property
    def inflow(self) -> tuple[str, str]:
        """`ka` times the depot, or the transit itself."""
        if not self.depot:
            return f"transit_{self.place}", "I"
        ka = numbered_latex("k", self.number, "a")
        return f"{self.ka} A_{self.depot}", f"{ka} A_{{{self.depot}}}"


@dataclass(frozen=True)
class Transit(AbstractTransit):
    r"""A chain of `n` transit compartments, a given whole number.

    .. math:: I(t) = D\,k_{tr} \frac{(k_{tr} t)^n e^{-k_{tr} t}}{n!}, \qquad
       k_{tr} = \frac{n + 1}{MTT}

    is what leaves the last of `n + 1` equal compartments (the one of the dose and `n` more), solved in
    closed form: no compartment is added for them. It enters a depot, which empties at `ka`, or, with
    ``first_order=False``, central. A dose runs through the chain with the parameters of its record.
    Doses are boluses.

    Parameters
    ----------
    n
        Number of transit compartments, 0 or more.
    first_order
        Whether an absorption compartment follows, which empties at `ka`.
    Tlag, F
        Add the parameters `Tlag` (time) and `F`.

    Notes
    -----
    Structural parameters: `ka` (1 / time, with ``first_order=True``), `MTT` (time), and those asked for.

    References
    ----------
    Rousseau et al., Ther. Drug Monit. 26 (2004) 23-30; Savic et al., J. Pharmacokinet. Pharmacodyn. 34
    (2007) 711-726.
    """

    n: int
    first_order: bool = True
    Tlag: bool = False
    F: bool = False
    number: int = 1

    def __post_init__(self) -> None:
        """Refuse a number of compartments that is none."""
        if isinstance(self.n, bool) or not isinstance(self.n, int) or self.n < 0:
            raise ValueError(
                f"n of Transit is the number of compartments, a whole number >= 0, not {self.n!r}. "
                "For an estimated or broken number use pk.Savic()."
            )

    @property
    def flags(self) -> Mapping[str, bool]:
        """`Tlag` and `F`, whether asked for."""
        return {"Tlag": self.Tlag, "F": self.F}

    @property
    def depot(self) -> str | None:
        """The absorption compartment, or None."""
        return self.place if self.first_order else None

    @property
    def own(self) -> tuple[str, ...]:
        """`MTT`."""
        return (self.mtt,)

    def count(self, p: Symbols) -> Expression:
        """The given number."""
        return float(self.n)

    @property
    def count_text(self) -> str:
        """The given number."""
        return str(self.n)


@dataclass(frozen=True)
class Savic(AbstractTransit):
    r"""Transit compartments whose number `n` is estimated and need not be whole.

    .. math:: I(t) = D\,k_{tr} \frac{(k_{tr} t)^n e^{-k_{tr} t}}{\Gamma(n + 1)}, \qquad
       k_{tr} = \frac{n + 1}{MTT}

    enters a depot, which empties at `ka`, or, with ``first_order=False``, central. The solution is exact
    for every `n` >= 0 (incomplete gamma functions in log space; no approximation of the factorial) and
    for every sequence of doses, close ones included. A dose arrives with the parameters of its record.
    Doses are boluses.

    Parameters
    ----------
    first_order
        Whether an absorption compartment follows, which empties at `ka`.
    Tlag, F
        Add the parameters `Tlag` (time) and `F`.

    Notes
    -----
    Structural parameters: `ka` (1 / time, with ``first_order=True``), `MTT` (time), `n`, and those asked
    for.

    References
    ----------
    Savic, Jonker, Kerbusch & Karlsson, J. Pharmacokinet. Pharmacodyn. 34 (2007) 711-726.
    """

    first_order: bool = True
    Tlag: bool = False
    F: bool = False
    number: int = 1

    @property
    def flags(self) -> Mapping[str, bool]:
        """`Tlag` and `F`, whether asked for."""
        return {"Tlag": self.Tlag, "F": self.F}

    @property
    def depot(self) -> str | None:
        """The absorption compartment, or None."""
        return self.place if self.first_order else None

    @property
    def own(self) -> tuple[str, ...]:
        """`MTT` and `n`."""
        return (self.mtt, numbered("n", self.number))

    def count(self, p: Symbols) -> Expression:
        """The parameter `n`."""
        return p[numbered("n", self.number)]

    @property
    def count_text(self) -> str:
        """The name of the parameter."""
        return numbered("n", self.number)
