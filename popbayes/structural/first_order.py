"""First-order and zero-order absorption, one after the other and side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from popbayes.engine.declaration import Amplitudes, Channel, ClosedForm, Expression, Formula, Symbols
from popbayes.structural.absorption import (
    CENTRAL,
    DEPOT,
    AbstractAbsorption,
    channel,
    input_parameters,
    numbered,
    numbered_latex,
)


@dataclass(frozen=True)
class AbstractDepot(AbstractAbsorption):
    """A depot that empties into central at the rate constant `ka`."""

    @property
    def depot(self) -> str:
        """Name of the depot."""
        return numbered(DEPOT, self.number)

    @property
    def ka(self) -> str:
        """Name of the absorption rate constant."""
        return numbered("ka", self.number)

    @property
    def states(self) -> tuple[str, ...]:
        """The depot."""
        return (self.depot,)

    @property
    def stencil(self) -> Mapping[str, float]:
        """`ka` grows."""
        return {self.ka: 1.0}

    def rates(self, p: Symbols) -> Mapping[tuple[str, str | None], Expression]:
        """Depot to central at `ka`."""
        return {(self.depot, CENTRAL): p[self.ka]}

    def extend(self, p: Symbols, body: ClosedForm) -> ClosedForm:
        r"""Convolve with :math:`k_a e^{-k_a t}` (see `through_depot`)."""
        return through_depot(body, self.depot, p[self.ka])

    def equations(self) -> list[str]:
        """Text of the depot's equation."""
        return [f"dA_{self.depot}/dt = {self._feed()[0]}-{self.ka} A_{self.depot}"]

    def latex(self) -> list[str]:
        """LaTeX of the depot's equation."""
        ka = numbered_latex("k", self.number, "a")
        return [
            rf"\frac{{dA_{{{self.depot}}}}}{{dt}} = {self._feed()[1]}-{ka} A_{{{self.depot}}}",
            *self._feed()[2:],
        ]

    @property
    def inflow(self) -> tuple[str, str]:
        """`ka` times the depot."""
        ka = numbered_latex("k", self.number, "a")
        return f"{self.ka} A_{self.depot}", f"{ka} A_{{{self.depot}}}"

    def _feed(self) -> tuple[str, ...]:
        """What enters the depot beside doses at once: text, LaTeX."""
        return "", ""


def through_depot(body: ClosedForm, depot: str, ka: Expression) -> ClosedForm:
    r"""Closed form of a body that a depot feeds through central.

    Each mode :math:`c_m e^{-\lambda_m t}` of the body's response to central becomes
    :math:`c_m \frac{k_a}{k_a - \lambda_m} (e^{-\lambda_m t} - e^{-k_a t})`; modes that do not take part
    (of another depot) stay out, so that two depots may have one `ka`.
    """
    fed = {to: c for (to, source), c in body.transfers.items() if source == CENTRAL}
    live = [any(not _is_zero(c[m]) for c in fed.values()) for m in range(len(body.rates))]
    factors = [ka / (ka - rate) if on else 0.0 for rate, on in zip(body.rates, live, strict=True)]
    transfers: dict[tuple[str, str], Sequence[Expression]] = {
        pair: [*coefficients, 0.0] for pair, coefficients in body.transfers.items()
    }
    for to, coefficients in fed.items():
        parts = [0.0 if _is_zero(c) else c * f for c, f in zip(coefficients, factors, strict=True)]
        own = [one for one in parts if not _is_zero(one)]
        transfers[to, depot] = [*parts, -sum(own[1:], own[0])]
    transfers[depot, depot] = [*(0.0 for _ in body.rates), 1.0]
    gaps = [(ka - rate) / (ka + rate) for rate, on in zip(body.rates, live, strict=True) if on]
    fed_through = None if body.amplitudes is None else _amplitudes(body.amplitudes, depot, factors)
    return ClosedForm([*body.rates, ka], transfers, [*body.gaps, *gaps], fed_through)


def _amplitudes(body: Amplitudes, depot: str, factors: Sequence[Expression]) -> Amplitudes:
    """The same as products: what is in the depot becomes modes of the body, and has no part in them."""
    passed = [
        0.0 if _is_zero(w) or _is_zero(f) else w * f
        for w, f in zip(body.inward[CENTRAL], factors, strict=True)
    ]
    amounts: dict[str, Sequence[Expression]] = {depot: [*(0.0 for _ in factors), 1.0]}
    for state, proportions in body.amounts.items():
        parts = [u * w for u, w in zip(proportions, passed, strict=True) if not (_is_zero(u) or _is_zero(w))]
        amounts[state] = [*proportions, -sum(parts[1:], parts[0]) if parts else 0.0]
    inward: dict[str, Sequence[Expression]] = {state: [*w, 0.0] for state, w in body.inward.items()}
    return Amplitudes(amounts, {**inward, depot: [*passed, 1.0]})


def _is_zero(value: Expression) -> bool:
    return isinstance(value, float) and value == 0.0


@dataclass(frozen=True)
class FirstOrder(AbstractDepot):
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
    number: int = 1

    @property
    def parameters(self) -> tuple[str, ...]:
        """`ka`, and `Tlag`, `F`, `D1` and `R1` where asked for."""
        flags = {"Tlag": self.Tlag, "F": self.F, "D": self.D, "R": self.R}
        return (self.ka, *input_parameters(self.number, **flags).values())

    @property
    def channels(self) -> Mapping[str, Channel]:
        """One way in: the depot."""
        flags = {"Tlag": self.Tlag, "F": self.F, "D": self.D, "R": self.R}
        return {self.depot: channel(self.depot, self.number, **flags)}


@dataclass(frozen=True)
class ZeroOrder(AbstractAbsorption):
    r"""Zero-order absorption: a dose enters central at a constant rate over an estimated time `D1`.

    .. math:: \text{input to central} = \frac{F\,D}{D_1}, \qquad T_{lag} \le t < T_{lag} + D_1

    Doses are given into CMT 1 (`depot`, a place that holds nothing), whatever their RATE says: 0 and -2
    mean `D1`, a positive RATE is taken as it is. Central is CMT 2.

    Parameters
    ----------
    Tlag
        Add the parameter `Tlag` (time).
    F
        Add the parameter `F`.

    References
    ----------
    Gibaldi & Perrier, *Pharmacokinetics*, 2nd ed. (1982), ch. 1.
    """

    Tlag: bool = False
    F: bool = False
    number: int = 1

    @property
    def states(self) -> tuple[str, ...]:
        """None: the dose goes straight into central."""
        return ()

    @property
    def parameters(self) -> tuple[str, ...]:
        """`D1`, and `Tlag` and `F` where asked for."""
        names = input_parameters(self.number, Tlag=self.Tlag, F=self.F, D=True, R=False)
        return (names.pop("D"), *names.values())

    @property
    def channels(self) -> Mapping[str, Channel]:
        """One way in."""
        way = channel(CENTRAL, self.number, Tlag=self.Tlag, F=self.F, D=True, R=False, zero_order=True)
        return {self.place: way}

    def rates(self, p: Symbols) -> Mapping[tuple[str, str | None], Expression]:
        """None."""
        return {}

    def extend(self, p: Symbols, body: ClosedForm) -> ClosedForm:
        """The body's own."""
        return body

    def equations(self) -> list[str]:
        """None: see `inflow`."""
        return []

    def latex(self) -> list[str]:
        """None: see `inflow`."""
        return []

    @property
    def inflow(self) -> tuple[str, str]:
        """The dose over its duration."""
        return (
            f"dose/D{self.number} (for a time D{self.number})",
            rf"\frac{{\mathrm{{dose}}}}{{D_{self.number}}} 1_{{t < D_{self.number}}}",
        )


@dataclass(frozen=True)
class Sequential(AbstractDepot):
    r"""Zero-order release into a depot over an estimated time `D1`, then first-order absorption.

    .. math:: \frac{dA_{depot}}{dt} = \frac{F\,D}{D_1} 1_{T_{lag} \le t < T_{lag} + D_1} - k_a A_{depot}

    Parameters
    ----------
    Tlag
        Add the parameter `Tlag` (time).
    F
        Add the parameter `F`.

    References
    ----------
    Holford, Ambros & Stoeckel, J. Pharmacokinet. Biopharm. 20 (1992) 421-442.
    """

    Tlag: bool = False
    F: bool = False
    number: int = 1

    @property
    def parameters(self) -> tuple[str, ...]:
        """`ka`, `D1`, and `Tlag` and `F` where asked for."""
        names = input_parameters(self.number, Tlag=self.Tlag, F=self.F, D=True, R=False)
        return (self.ka, names.pop("D"), *names.values())

    @property
    def channels(self) -> Mapping[str, Channel]:
        """One way in: the depot, over `D1`."""
        way = channel(self.depot, self.number, Tlag=self.Tlag, F=self.F, D=True, R=False, zero_order=True)
        return {self.depot: way}

    def _feed(self) -> tuple[str, ...]:
        duration = f"D{self.number}"
        return (
            f"dose/{duration} (for a time {duration}) ",
            rf"\frac{{\mathrm{{dose}}}}{{D_{self.number}}} 1_{{t < D_{self.number}}} ",
        )


@dataclass(frozen=True)
class Parallel(AbstractAbsorption):
    r"""A dose that takes two ways at once: a fraction `Fr` by the first, the rest by the second.

    One dosing record (CMT 1) gives both parts; CMT 2 (`depot2`) takes no doses of its own, and central is
    CMT 3. Parameters of the second way are named by 2: `ka2`, `Tlag2`, `D2`.

    Parameters
    ----------
    first, second
        `FirstOrder`, `ZeroOrder`, `Sequential` or a transit model; each with its own `Tlag` if asked.
    F
        Add the parameter `F`: the fraction of the dose that arrives, by both ways together.

    Examples
    --------
    >>> from popbayes import pk
    >>> pk.Parallel(pk.FirstOrder(), pk.ZeroOrder(Tlag=True)).parameters
    ('Fr', 'ka', 'D2', 'Tlag2')

    References
    ----------
    Zhou, J. Clin. Pharmacol. 43 (2003) 211-227.
    """

    first: AbstractAbsorption = FirstOrder()
    second: AbstractAbsorption = FirstOrder()
    F: bool = False
    number: int = 1

    def __post_init__(self) -> None:
        """Number the ways and refuse what has no meaning."""
        for which in ("first", "second"):
            way = getattr(self, which)
            if not isinstance(way, AbstractAbsorption) or isinstance(way, Parallel):
                raise TypeError(f"{which} of Parallel must be one absorption model, not {way!r}.")
            if getattr(way, "F", False):
                raise ValueError(
                    f"{which} of Parallel asks for its own F, which cannot be told apart from the fraction "
                    "Fr. Write pk.Parallel(..., F=True) for the bioavailability of the whole dose."
                )
            number = {"number": 1 if which == "first" else 2}
            object.__setattr__(self, which, replace(way, **number))

    @property
    def ways(self) -> tuple[AbstractAbsorption, AbstractAbsorption]:
        """Both."""
        return self.first, self.second

    @property
    def states(self) -> tuple[str, ...]:
        """Those of both ways."""
        return (*self.first.states, *self.second.states)

    @property
    def parameters(self) -> tuple[str, ...]:
        """`Fr`, `F` where asked for, and those of both ways."""
        own = ("Fr", "F") if self.F else ("Fr",)
        return (*own, *self.first.parameters, *self.second.parameters)

    @property
    def places(self) -> tuple[str, ...]:
        """CMT 1 takes doses; CMT 2 does not."""
        return (self.first.place, self.second.place)

    @property
    def entries(self) -> Mapping[str, tuple[str, ...]]:
        """A dose into CMT 1 goes both ways."""
        return {self.first.place: tuple(self.channels)}

    @property
    def channels(self) -> Mapping[str, Channel]:
        """Those of both ways, each with its share."""
        shares: tuple[Formula, Formula] = (lambda p: p.Fr, lambda p: 1.0 - p.Fr)
        whole = self.F
        channels: dict[str, Channel] = {}
        for way, share in zip(self.ways, shares, strict=True):

            def part(p: Symbols, share: Formula = share) -> Expression:
                return share(p) * p.F if whole else share(p)

            channels |= {name: replace(one, bioavailability=part) for name, one in way.channels.items()}
        return channels

    @property
    def stencil(self) -> Mapping[str, float]:
        """Those of both ways."""
        return {**self.first.stencil, **self.second.stencil}

    def rates(self, p: Symbols) -> Mapping[tuple[str, str | None], Expression]:
        """Those of both ways."""
        return {**self.first.rates(p), **self.second.rates(p)}

    def extend(self, p: Symbols, body: ClosedForm) -> ClosedForm:
        """One way after the other."""
        return self.second.extend(p, self.first.extend(p, body))

    def equations(self) -> list[str]:
        """Those of both ways."""
        return [*self.first.equations(), *self.second.equations(), "a dose is split: Fr, 1 - Fr"]

    def latex(self) -> list[str]:
        """Those of both ways."""
        split = r"\text{a dose is split: } F_r,\ 1 - F_r"
        return [*self.first.latex(), *self.second.latex(), split]

    @property
    def inflow(self) -> tuple[str, str]:
        """The sum of both."""
        (text1, latex1), (text2, latex2) = self.first.inflow, self.second.inflow
        return f"{text1} + {text2}", f"{latex1} + {latex2}"
