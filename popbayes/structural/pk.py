r"""Linear compartmental pharmacokinetics with closed-form solutions.

Amounts `A` in the compartments, volumes and clearances as the field writes them; the observed
concentration is that of the central compartment, `A_central / V`.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pytensor.tensor as pt

from popbayes.engine.declaration import Channel, ClosedForm, Expression, Symbols
from popbayes.structural.absorption import AbstractAbsorption, FirstOrder, Intravenous
from popbayes.structural.base import AbstractStructural

__all__ = ["FirstOrder", "Intravenous", "OneCompartment", "TwoCompartment"]

CENTRAL, PERIPHERAL = "central", "peripheral"
NO_PARAMETERS = Intravenous()


class AbstractCompartmental(AbstractStructural):
    """A mammillary body with an optional absorption in front of it."""

    absorption: AbstractAbsorption | None
    iv: Intravenous

    #: Compartments and parameters of the body, without absorption.
    body_states: ClassVar[tuple[str, ...]]
    body_parameters: ClassVar[tuple[str, ...]]
    volume: ClassVar[str]

    @abstractmethod
    def body_rates(self, p: Symbols) -> Mapping[tuple[str, str | None], Expression]:
        """Rate constants of the body."""

    @abstractmethod
    def body_form(self, p: Symbols) -> ClosedForm:
        """Closed form of the body."""

    @property
    def states(self) -> tuple[str, ...]:
        """Compartments, absorption first."""
        return (*(self.absorption.states if self.absorption else ()), *self.body_states)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Parameters, those of the absorption first."""
        absorbed = self.absorption.parameters if self.absorption else ()
        return (*absorbed, *self.body_parameters, *self.iv.parameters(self._central_number))

    @property
    def _central_number(self) -> int:
        return 1 + len(self.absorption.states if self.absorption else ())

    @property
    def outputs(self) -> tuple[str, ...]:
        """The concentration in the central compartment."""
        return ("conc",)

    @property
    def channels(self) -> Mapping[str, Channel]:
        """Ways in: those of the absorption, then every compartment of the body."""
        absorbed = dict(self.absorption.channels) if self.absorption else {}
        body = {state: Channel(state) for state in self.body_states}
        return absorbed | body | {CENTRAL: self.iv.channel(CENTRAL, self._central_number)}

    def rates(self, p: Symbols) -> Mapping[tuple[str, str | None], Expression]:
        """Rate constants of the whole system."""
        return {**(self.absorption.rates(p) if self.absorption else {}), **self.body_rates(p)}

    def weights(self, p: Symbols) -> Mapping[str, Mapping[str, Expression]]:
        """``conc = A_central / V``."""
        return {"conc": {CENTRAL: 1.0 / p[self.volume]}}

    def closed_form(self, p: Symbols) -> ClosedForm:
        """Modes of the body, convolved with the absorption."""
        body = self.body_form(p)
        return self.absorption.extend(p, body, CENTRAL) if self.absorption else body

    def _inflow(self, latex: bool = False) -> str:
        return f"{self.absorption.inflow[latex]} " if self.absorption else ""


@dataclass(frozen=True)
class OneCompartment(AbstractCompartmental):
    r"""One compartment, elimination by clearance.

    .. math:: \frac{dA_{central}}{dt} = \text{input} - \frac{CL}{V} A_{central}, \qquad
       C = \frac{A_{central}}{V}

    Parameters
    ----------
    absorption
        None: doses go into central (CMT 1). `FirstOrder()`: doses go into the depot (CMT 1) or
        straight into central (CMT 2).
    iv
        Lag, bioavailability, duration and rate of doses straight into central.

    Notes
    -----
    Structural parameters: `CL` (volume / time), `V` (volume), and those of the absorption (`ka`,
    1 / time). A bolus into central gives :math:`C = D/V\, e^{-kt}` with :math:`k = CL/V`; a dose into
    the depot :math:`C = \frac{F D}{V} \frac{k_a}{k_a - k} (e^{-kt} - e^{-k_a t})`, whose limit is used
    where `ka` and `k` cross.

    References
    ----------
    Gibaldi & Perrier, *Pharmacokinetics*, 2nd ed. (1982), ch. 1.
    """

    absorption: AbstractAbsorption | None = None
    iv: Intravenous = NO_PARAMETERS

    body_states: ClassVar[tuple[str, ...]] = (CENTRAL,)
    body_parameters: ClassVar[tuple[str, ...]] = ("CL", "V")
    volume: ClassVar[str] = "V"

    def body_rates(self, p: Symbols) -> Mapping[tuple[str, str | None], Expression]:
        """Elimination at `CL / V`."""
        return {(CENTRAL, None): p.CL / p.V}

    def body_form(self, p: Symbols) -> ClosedForm:
        """One mode."""
        return ClosedForm([p.CL / p.V], {(CENTRAL, CENTRAL): [1.0]})

    @property
    def stencil(self) -> Mapping[str, float]:
        """`ka` and `CL / V` move in opposite directions."""
        return {"ka": 0.5, "CL": -0.5}

    def equations(self) -> list[str]:
        """The model as text."""
        inflow = self._inflow()
        return [
            *(self.absorption.equations() if self.absorption else []),
            f"dA_central/dt = {inflow}- (CL/V) A_central",
            "conc = A_central / V",
        ]

    def latex(self) -> list[str]:
        """The model as LaTeX."""
        inflow = self._inflow(latex=True)
        return [
            *(self.absorption.latex() if self.absorption else []),
            rf"\frac{{dA_{{central}}}}{{dt}} = {inflow}- \frac{{CL}}{{V}} A_{{central}}",
            r"C = \frac{A_{central}}{V}",
        ]


@dataclass(frozen=True)
class TwoCompartment(AbstractCompartmental):
    r"""Two compartments, elimination from the central one.

    .. math::

       \frac{dA_{central}}{dt} &= \text{input} - \left(\frac{CL}{V_1} + \frac{Q}{V_1}\right) A_{central}
           + \frac{Q}{V_2} A_{peripheral}

       \frac{dA_{peripheral}}{dt} &= \frac{Q}{V_1} A_{central} - \frac{Q}{V_2} A_{peripheral}, \qquad
       C = \frac{A_{central}}{V_1}

    Parameters
    ----------
    absorption
        None: doses go into central (CMT 1) or peripheral (2). `FirstOrder()`: depot (1), central (2),
        peripheral (3).
    iv
        Lag, bioavailability, duration and rate of doses straight into central.

    Notes
    -----
    Structural parameters: `CL`, `Q` (volume / time), `V1`, `V2` (volumes), and those of the
    absorption. With :math:`k_{10} = CL/V_1, k_{12} = Q/V_1, k_{21} = Q/V_2`, the rates are
    :math:`\alpha, \beta = \frac12 (s \pm \sqrt{(k_{10} + k_{12} - k_{21})^2 + 4 k_{12} k_{21}})`,
    :math:`s = k_{10} + k_{12} + k_{21}`; the smaller is taken as :math:`k_{10} k_{21} / \alpha` and
    the smaller of :math:`\alpha - k_{21}`, :math:`k_{21} - \beta` as :math:`k_{12} k_{21}` over the
    larger, so that no digits are lost where `Q` is small or large.

    References
    ----------
    Gibaldi & Perrier, *Pharmacokinetics*, 2nd ed. (1982), ch. 2.
    """

    absorption: AbstractAbsorption | None = None
    iv: Intravenous = NO_PARAMETERS

    body_states: ClassVar[tuple[str, ...]] = (CENTRAL, PERIPHERAL)
    body_parameters: ClassVar[tuple[str, ...]] = ("CL", "V1", "Q", "V2")
    volume: ClassVar[str] = "V1"

    def body_rates(self, p: Symbols) -> Mapping[tuple[str, str | None], Expression]:
        """Elimination and exchange."""
        return {
            (CENTRAL, None): p.CL / p.V1,
            (CENTRAL, PERIPHERAL): p.Q / p.V1,
            (PERIPHERAL, CENTRAL): p.Q / p.V2,
        }

    def body_form(self, p: Symbols) -> ClosedForm:
        """Two modes."""
        k10, k12, k21 = p.CL / p.V1, p.Q / p.V1, p.Q / p.V2
        d = k10 + k12 - k21
        product = k12 * k21
        root = pt.sqrt(d * d + 4.0 * product)
        large = 0.5 * (abs(d) + root)
        small = product / large
        # alpha - k21 and k21 - beta: both positive, their product is k12 k21
        above = pt.switch(pt.ge(d, 0.0), large, small)
        below = pt.switch(pt.ge(d, 0.0), small, large)
        alpha = 0.5 * (k10 + k12 + k21 + root)
        beta = k10 * k21 / alpha
        transfers = {
            (CENTRAL, CENTRAL): [above / root, below / root],
            (PERIPHERAL, CENTRAL): [-k12 / root, k12 / root],
            (CENTRAL, PERIPHERAL): [-k21 / root, k21 / root],
            (PERIPHERAL, PERIPHERAL): [below / root, above / root],
        }
        return ClosedForm([alpha, beta], transfers, [root / (alpha + beta)])

    @property
    def stencil(self) -> Mapping[str, float]:
        """`ka`, `k10` and `k21` move apart from each other."""
        return {"ka": 1.0, "CL": -1.0, "Q": 0.25, "V2": 0.25}

    def equations(self) -> list[str]:
        """The model as text."""
        inflow = self._inflow()
        return [
            *(self.absorption.equations() if self.absorption else []),
            f"dA_central/dt = {inflow}- (CL/V1 + Q/V1) A_central + (Q/V2) A_peripheral",
            "dA_peripheral/dt = (Q/V1) A_central - (Q/V2) A_peripheral",
            "conc = A_central / V1",
        ]

    def latex(self) -> list[str]:
        """The model as LaTeX."""
        inflow = self._inflow(latex=True)
        return [
            *(self.absorption.latex() if self.absorption else []),
            rf"\frac{{dA_{{central}}}}{{dt}} = {inflow}- \frac{{CL + Q}}{{V_1}} A_{{central}}"
            r" + \frac{Q}{V_2} A_{peripheral}",
            r"\frac{dA_{peripheral}}{dt} = \frac{Q}{V_1} A_{central} - \frac{Q}{V_2} A_{peripheral}",
            r"C = \frac{A_{central}}{V_1}",
        ]
