r"""One, two and three compartments: their closed forms.

Amounts `A` in the compartments, volumes and clearances as the field writes them; the observed
concentration is that of the central compartment, `A_central / V`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import pytensor.tensor as pt
from pytensor.gradient import disconnected_grad

from popbayes.engine.declaration import Amplitudes, ClosedForm, Expression
from popbayes.structural.absorption import CENTRAL
from popbayes.structural.compartmental import DEEP, PERIPHERAL, AbstractCompartmental

LAGUERRE_STEPS = 8
"""Full precision over rate constants twelve orders of magnitude apart, in 200,000 random trials."""


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
    rate_constants
        Write the model in `k` and `V`.
    also
        Further outputs: `A_central` (and other compartments), `AUC`, `urine` (with the parameter `fe`).

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

    body_states: ClassVar[tuple[str, ...]] = (CENTRAL,)
    clearances: ClassVar[Mapping[str, float]] = {"CL": -0.5, "V": 0.0}
    constants: ClassVar[Mapping[str, float]] = {"k": -0.5, "V": 0.0}
    ratios: ClassVar[Mapping[str, tuple[str, str]]] = {"k": ("CL", "V")}
    flows: ClassVar[Mapping[str, tuple[str, str | None]]] = {"k": (CENTRAL, None)}
    volume: ClassVar[str] = "V"

    def body_form(self, k: Mapping[str, Expression]) -> ClosedForm:
        """One mode."""
        only = {CENTRAL: [1.0]}
        return ClosedForm([k["k"]], {(CENTRAL, CENTRAL): [1.0]}, amplitudes=Amplitudes(only, only))


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
    rate_constants
        Write the model in `k10`, `k12`, `k21` and `V1`.
    also
        Further outputs: `A_central` (and other compartments), `AUC`, `urine` (with the parameter `fe`).

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

    body_states: ClassVar[tuple[str, ...]] = (CENTRAL, PERIPHERAL)
    clearances: ClassVar[Mapping[str, float]] = {"CL": -1.0, "V1": 0.0, "Q": 0.25, "V2": 0.25}
    constants: ClassVar[Mapping[str, float]] = {"k10": -1.0, "k12": 0.25, "k21": 0.0, "V1": 0.0}
    ratios: ClassVar[Mapping[str, tuple[str, str]]] = {
        "k10": ("CL", "V1"), "k12": ("Q", "V1"), "k21": ("Q", "V2"),
    }  # fmt: skip
    flows: ClassVar[Mapping[str, tuple[str, str | None]]] = {
        "k10": (CENTRAL, None), "k12": (CENTRAL, PERIPHERAL), "k21": (PERIPHERAL, CENTRAL),
    }  # fmt: skip
    volume: ClassVar[str] = "V1"

    def body_form(self, k: Mapping[str, Expression]) -> ClosedForm:
        """Two modes, the first more in central, the second more in peripheral."""
        k10, k12, k21 = k["k10"], k["k12"], k["k21"]
        d = k10 + k12 - k21
        product = k12 * k21
        root = pt.sqrt(d * d + 4.0 * product)
        large = 0.5 * (abs(d) + root)
        small = product / large
        alpha = 0.5 * (k10 + k12 + k21 + root)
        beta = k10 * k21 / alpha
        faster = pt.ge(d, 0.0)
        # rate of the first less that of the second, and of the first less k21: of one sign
        apart = pt.switch(faster, root, -root)
        above = pt.switch(faster, large, -large)
        most, least, there, back = large / root, small / root, k12 / apart, k21 / apart
        transfers = {
            (CENTRAL, CENTRAL): [most, least],
            (PERIPHERAL, CENTRAL): [-there, there],
            (CENTRAL, PERIPHERAL): [-back, back],
            (PERIPHERAL, PERIPHERAL): [least, most],
        }
        # in units of what a mode holds where it holds most
        amplitudes = Amplitudes(
            amounts={CENTRAL: [1.0, k21 / above], PERIPHERAL: [-k12 / above, 1.0]},
            inward={CENTRAL: [most, there], PERIPHERAL: [-back, most]},
        )
        rates = [pt.switch(faster, alpha, beta), pt.switch(faster, beta, alpha)]
        return ClosedForm(rates, transfers, [root / (alpha + beta)], amplitudes)


@dataclass(frozen=True)
class ThreeCompartment(AbstractCompartmental):
    r"""Three compartments, elimination from the central one, two peripheral ones.

    .. math::

       \frac{dA_{central}}{dt} &= \text{input} - \frac{CL + Q + Q_2}{V_1} A_{central}
           + \frac{Q}{V_2} A_{peripheral} + \frac{Q_2}{V_3} A_{deep}

       \frac{dA_{peripheral}}{dt} &= \frac{Q}{V_1} A_{central} - \frac{Q}{V_2} A_{peripheral}, \qquad
       \frac{dA_{deep}}{dt} = \frac{Q_2}{V_1} A_{central} - \frac{Q_2}{V_3} A_{deep}, \qquad
       C = \frac{A_{central}}{V_1}

    Parameters
    ----------
    absorption
        None: doses go into central (CMT 1), peripheral (2) or deep (3). `FirstOrder()`: depot (1),
        central (2), peripheral (3), deep (4).
    iv
        Lag, bioavailability, duration and rate of doses straight into central.
    rate_constants
        Write the model in `k10`, `k12`, `k21`, `k13`, `k31` and `V1`.
    also
        Further outputs: `A_central` (and other compartments), `AUC`, `urine` (with the parameter `fe`).

    Notes
    -----
    Structural parameters: `CL`, `Q`, `Q2` (volume / time), `V1`, `V2`, `V3` (volumes), and those of the
    absorption. The rates are the roots of the characteristic cubic, by Laguerre's method; a last
    Newton step carries the derivatives (implicit function theorem).

    References
    ----------
    Gibaldi & Perrier, *Pharmacokinetics*, 2nd ed. (1982), appendix B; Press et al.,
    *Numerical Recipes*, 3rd ed. (2007), section 9.5 (Laguerre's method).
    """

    body_states: ClassVar[tuple[str, ...]] = (CENTRAL, PERIPHERAL, DEEP)
    clearances: ClassVar[Mapping[str, float]] = {
        "CL": -1.0, "V1": 0.0, "Q": 0.0, "V2": -0.4, "Q2": 0.0, "V3": 0.3,
    }  # fmt: skip
    constants: ClassVar[Mapping[str, float]] = {
        "k10": -1.0, "k12": 0.0, "k21": 0.4, "k13": 0.0, "k31": -0.3, "V1": 0.0,
    }  # fmt: skip
    ratios: ClassVar[Mapping[str, tuple[str, str]]] = {
        "k10": ("CL", "V1"), "k12": ("Q", "V1"), "k21": ("Q", "V2"), "k13": ("Q2", "V1"), "k31": ("Q2", "V3"),
    }  # fmt: skip
    flows: ClassVar[Mapping[str, tuple[str, str | None]]] = {
        "k10": (CENTRAL, None), "k12": (CENTRAL, PERIPHERAL), "k21": (PERIPHERAL, CENTRAL),
        "k13": (CENTRAL, DEEP), "k31": (DEEP, CENTRAL),
    }  # fmt: skip
    volume: ClassVar[str] = "V1"

    def body_form(self, k: Mapping[str, Expression]) -> ClosedForm:
        """Three modes: the columns of the adjugate of ``s + A`` over the product of differences."""
        k10, k12, k21, k13, k31 = (k[name] for name in ("k10", "k12", "k21", "k13", "k31"))
        rates = cubic_rates(k10, k12, k21, k13, k31)
        total = k10 + k12 + k13
        transfers: dict[tuple[str, str], list[Expression]] = {}
        for i, rate in enumerate(rates):
            first, second = (other for j, other in enumerate(rates) if j != i)
            scale = 1.0 / ((first - rate) * (second - rate))
            a, b, c = total - rate, k21 - rate, k31 - rate
            entries = {
                (CENTRAL, CENTRAL): b * c, (PERIPHERAL, CENTRAL): k12 * c, (DEEP, CENTRAL): k13 * b,
                (CENTRAL, PERIPHERAL): k21 * c, (PERIPHERAL, PERIPHERAL): a * c - k13 * k31,
                (DEEP, PERIPHERAL): k13 * k21,
                (CENTRAL, DEEP): k31 * b, (PERIPHERAL, DEEP): k12 * k31, (DEEP, DEEP): a * b - k12 * k21,
            }  # fmt: skip
            for pair, entry in entries.items():
                transfers.setdefault(pair, []).append(entry * scale)
        gaps = [(x - y) / (x + y) for x, y in combinations(rates, 2)]
        return ClosedForm(rates, transfers, gaps)


def cubic_rates(
    k10: Expression, k12: Expression, k21: Expression, k13: Expression, k31: Expression
) -> list[Expression]:
    r"""Rates of three compartments, the largest first.

    Roots of :math:`\lambda^3 - a_2 \lambda^2 + a_1 \lambda - a_0`, all real and positive: the smallest and
    the largest by Laguerre's method from 0 and from :math:`a_2`, which approaches them from outside and
    to full relative precision, the third from their product.
    """
    a2 = k10 + k12 + k13 + k21 + k31
    a1 = k10 * k31 + k21 * k31 + k21 * k13 + k10 * k21 + k31 * k12
    a0 = k10 * k21 * k31

    def value(x: Expression) -> Expression:
        return ((x - a2) * x + a1) * x - a0

    def slope(x: Expression) -> Expression:
        return (3.0 * x - 2.0 * a2) * x + a1

    def laguerre(x: Expression) -> Expression:
        f, g, h = value(x), slope(x), 6.0 * x - 2.0 * a2
        return x - 3.0 * f / (g + pt.sqrt(pt.maximum(2.0 * (2.0 * g * g - 3.0 * f * h), 0.0)))

    smallest, largest = pt.zeros_like(a2), a2
    for _ in range(LAGUERRE_STEPS):
        smallest, largest = laguerre(smallest), laguerre(largest)
    # The iterations are not differentiated: one Newton step at a root has the root's derivatives.
    # Where a peripheral compartment is cut off (Q is 0) the smallest is 0; the others solve a quadratic.
    product = smallest * largest
    cut_off = pt.eq(product, 0.0)
    middle = pt.switch(cut_off, a1 / largest, a0 / pt.switch(cut_off, 1.0, product))
    found = [disconnected_grad(x) for x in (largest, middle, smallest)]
    return [x - value(x) / slope(x) for x in found]
