"""Tumour growth and its inhibition."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pytensor.tensor as pt

from popbayes.engine.declaration import Expression, Symbols
from popbayes.structural.driven import AbstractDriven


@dataclass(frozen=True)
class SimeoniTumour(AbstractDriven):
    r"""Exponential, then linear growth; damaged cells die through three stages.

    .. math::
       \frac{dx_1}{dt} &= \frac{\lambda_0 x_1}{(1 + (\lambda_0 w / \lambda_1)^\psi)^{1/\psi}} - k_2 C x_1, \\
       \frac{dx_2}{dt} &= k_2 C x_1 - k_1 x_2, \\
       \frac{dx_3}{dt} &= k_1 (x_2 - x_3), \qquad \frac{dx_4}{dt} = k_1 (x_3 - x_4), \qquad
       w = x_1 + x_2 + x_3 + x_4

    with :math:`\psi = 20`, :math:`x_1(0) = w_0` and the others empty. Parameters: `lambda0` (1 / time),
    `lambda1` (weight / time), `k1` (1 / time), `k2` (1 / (concentration time)), `w0` (weight).

    References
    ----------
    Simeoni et al., *Predictive pharmacokinetic-pharmacodynamic modeling of tumor growth kinetics in xenograft
    models*, Cancer Res. 64 (2004) 1094-1101.
    """

    response: ClassVar[str] = "weight"
    sharpness: ClassVar[float] = 20.0

    @property
    def own_parameters(self) -> tuple[str, ...]:
        """Growth, death and start."""
        return ("lambda0", "lambda1", "k1", "k2", "w0")

    @property
    def integrated(self) -> tuple[str, ...]:
        """Growing cells and three stages of damaged ones."""
        return ("growing", "damaged1", "damaged2", "damaged3")

    def derivatives(self, t: Expression, state: Symbols, p: Symbols) -> Mapping[str, Expression]:
        """Growth, damage and death."""
        killed = p.k2 * self.conc(state, p) * state.growing
        ratio = pt.maximum(p.lambda0 / p.lambda1 * self.observed(None, state, p), 0.0)
        growth = p.lambda0 * state.growing / (1.0 + ratio**self.sharpness) ** (1.0 / self.sharpness)
        return {
            "growing": growth - killed,
            "damaged1": killed - p.k1 * state.damaged1,
            "damaged2": p.k1 * (state.damaged1 - state.damaged2),
            "damaged3": p.k1 * (state.damaged2 - state.damaged3),
        }

    def initials(self, p: Symbols) -> Mapping[str, Expression]:
        """All cells grow."""
        return {"growing": p.w0, "damaged1": 0.0, "damaged2": 0.0, "damaged3": 0.0}

    def observed(self, conc: Expression, state: Symbols, p: Symbols) -> Expression:
        """Weight of the tumour."""
        return state.growing + state.damaged1 + state.damaged2 + state.damaged3


@dataclass(frozen=True)
class ClaretTumour(AbstractDriven):
    r"""Exponential growth, and shrinkage by the drug to which the tumour becomes resistant.

    .. math:: \frac{dy}{dt} = k_L y - k_D\, C\, e^{-\lambda t}\, y, \qquad y(0) = y_0

    `t` is the table's TIME, which must count from the start of treatment. Parameters: `kL` (1 / time), `kD`
    (1 / (concentration time)), `lambda_` (1 / time), `y0`.

    References
    ----------
    Claret et al., *Model-based prediction of phase III overall survival in colorectal cancer on the basis of
    phase II tumor dynamics*, J. Clin. Oncol. 27 (2009) 4103-4108.
    """

    response: ClassVar[str] = "size"

    @property
    def own_parameters(self) -> tuple[str, ...]:
        """Growth, shrinkage, resistance and start."""
        return ("kL", "kD", "lambda_", "y0")

    @property
    def integrated(self) -> tuple[str, ...]:
        """The tumour."""
        return ("tumour",)

    def derivatives(self, t: Expression, state: Symbols, p: Symbols) -> Mapping[str, Expression]:
        """Growth less shrinkage."""
        shrinkage = p.kD * self.conc(state, p) * pt.exp(-p.lambda_ * t)
        return {"tumour": (p.kL - shrinkage) * state.tumour}

    def initials(self, p: Symbols) -> Mapping[str, Expression]:
        """Size at the beginning."""
        return {"tumour": p.y0}

    def observed(self, conc: Expression, state: Symbols, p: Symbols) -> Expression:
        """Size of the tumour."""
        return state.tumour
