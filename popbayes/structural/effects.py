"""How an effect depends on a concentration: formulas that response models are made of."""

from abc import abstractmethod
from dataclasses import dataclass

import pytensor.tensor as pt

from popbayes.engine.declaration import Expression, Symbols
from popbayes.structural.base import Declared


class AbstractEffect(Declared):
    """A function of concentration that is zero at zero."""

    @property
    @abstractmethod
    def parameters(self) -> tuple[str, ...]:
        """Names of its parameters."""

    @abstractmethod
    def value(self, conc: Expression, p: Symbols) -> Expression:
        """Effect of a concentration."""


@dataclass(frozen=True)
class Linear(AbstractEffect):
    r"""Effect in proportion to concentration: :math:`E = slope \cdot C`; parameter `slope`.

    References
    ----------
    Holford & Sheiner, *Understanding the dose-effect relationship*, Clin. Pharmacokinet. 6 (1981) 429-453.
    """

    @property
    def parameters(self) -> tuple[str, ...]:
        """`slope`."""
        return ("slope",)

    def value(self, conc: Expression, p: Symbols) -> Expression:
        """``slope * C``."""
        return p.slope * conc


@dataclass(frozen=True)
class LogLinear(AbstractEffect):
    r"""Logarithmic effect: :math:`E = slope \ln(1 + C / C_0)`; parameters `slope` and `C0`.

    Far above `C0` it rises by `slope` for each factor e of concentration; at zero it is zero, where the
    plain logarithm has no value.

    References
    ----------
    Holford & Sheiner, *Understanding the dose-effect relationship*, Clin. Pharmacokinet. 6 (1981) 429-453.
    """

    @property
    def parameters(self) -> tuple[str, ...]:
        """`slope` and `C0`."""
        return ("slope", "C0")

    def value(self, conc: Expression, p: Symbols) -> Expression:
        """``slope * log(1 + C / C0)``."""
        return p.slope * pt.log1p(conc / p.C0)


@dataclass(frozen=True)
class Emax(AbstractEffect):
    r"""Saturable effect: :math:`E = E_{max} C / (EC_{50} + C)`; parameters `Emax` and `EC50`.

    References
    ----------
    Holford & Sheiner, *Understanding the dose-effect relationship*, Clin. Pharmacokinet. 6 (1981) 429-453.
    """

    @property
    def parameters(self) -> tuple[str, ...]:
        """`Emax` and `EC50`."""
        return ("Emax", "EC50")

    def value(self, conc: Expression, p: Symbols) -> Expression:
        """``Emax * C / (EC50 + C)``."""
        return p.Emax * conc / (p.EC50 + conc)


@dataclass(frozen=True)
class SigmoidEmax(AbstractEffect):
    r"""Saturable effect with a Hill coefficient; parameters `Emax`, `EC50` and `hill`.

    .. math:: E = E_{max} \frac{C^{h}}{EC_{50}^{h} + C^{h}}

    References
    ----------
    Holford & Sheiner, *Understanding the dose-effect relationship*, Clin. Pharmacokinet. 6 (1981) 429-453.
    """

    @property
    def parameters(self) -> tuple[str, ...]:
        """`Emax`, `EC50` and `hill`."""
        return ("Emax", "EC50", "hill")

    def value(self, conc: Expression, p: Symbols) -> Expression:
        """The formula, with concentrations relative to `EC50`; none is below zero."""
        ratio = pt.maximum(conc / p.EC50, 0.0) ** p.hill
        return p.Emax * ratio / (1.0 + ratio)


@dataclass(frozen=True)
class Imax(AbstractEffect):
    r"""Inhibition: :math:`I = I_{max} C / (IC_{50} + C)`, the part that is taken away.

    Parameters
    ----------
    full : bool
        Inhibition can be complete: `Imax` is 1 and not a parameter; only `IC50` is.

    References
    ----------
    Dayneka, Garg & Jusko, *Comparison of four basic models of indirect pharmacodynamic responses*,
    J. Pharmacokinet. Biopharm. 21 (1993) 457-478.
    """

    full: bool = False

    @property
    def parameters(self) -> tuple[str, ...]:
        """`Imax`, unless it is 1, and `IC50`."""
        return ("IC50",) if self.full else ("Imax", "IC50")

    def value(self, conc: Expression, p: Symbols) -> Expression:
        """``Imax * C / (IC50 + C)``."""
        fraction = conc / (p.IC50 + conc)
        return fraction if self.full else p.Imax * fraction
