r"""Response models, driven by a linear pharmacokinetic model in closed form.

`C` is the first output of the pharmacokinetic model. Only the response is integrated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pytensor.tensor as pt

from popbayes.engine.declaration import Expression, Symbols
from popbayes.structural.driven import AbstractDriven
from popbayes.structural.effects import AbstractEffect, Emax, Imax, Linear, LogLinear, SigmoidEmax
from popbayes.structural.tumour import ClaretTumour, SimeoniTumour

__all__ = [
    "ClaretTumour", "Direct", "EffectCompartment", "Emax", "FribergKarlsson", "Imax", "Linear", "LogLinear",
    "Precursor", "SigmoidEmax", "SimeoniTumour", "Tolerance", "Turnover",
]  # fmt: skip

SMALLEST_COUNT = 1e-10
"""Part of the baseline below which the feedback on myelosuppression grows no further."""
EMAX, IMAX, LINEAR = Emax(), Imax(), Linear()
ACTIONS = ("inhibit production", "inhibit loss", "stimulate production", "stimulate loss")


@dataclass(frozen=True)
class Direct(AbstractDriven):
    r"""An effect without delay: :math:`E = E_0 + f(C)`.

    Parameters
    ----------
    pk : structural model
        Linear; gives `C`.
    effect : pd.Emax, pd.SigmoidEmax, pd.Linear, pd.LogLinear or pd.Imax
        The function `f`; its parameters come after `E0`.

    References
    ----------
    Holford & Sheiner, *Understanding the dose-effect relationship*, Clin. Pharmacokinet. 6 (1981) 429-453.
    """

    effect: AbstractEffect = EMAX

    @property
    def own_parameters(self) -> tuple[str, ...]:
        """Baseline and those of the effect."""
        return ("E0", *self.effect.parameters)

    @property
    def integrated(self) -> tuple[str, ...]:
        """Nothing: there is no delay."""
        return ()

    def derivatives(self, t: Expression, state: Symbols, p: Symbols) -> Mapping[str, Expression]:
        """None."""
        return {}

    def observed(self, conc: Expression, state: Symbols, p: Symbols) -> Expression:
        """Baseline and effect."""
        return p.E0 + self.effect.value(conc, p)


@dataclass(frozen=True)
class EffectCompartment(AbstractDriven):
    r"""An effect that follows a hypothetical compartment in slow equilibrium with plasma.

    .. math:: \frac{dC_e}{dt} = k_{e0} (C - C_e), \qquad E = E_0 + f(C_e)

    Parameters
    ----------
    pk, effect
        As in `Direct`. Parameters: `ke0` (1 / time), `E0`, and those of the effect.

    References
    ----------
    Sheiner et al., *Simultaneous modeling of pharmacokinetics and pharmacodynamics: application to
    d-tubocurarine*, Clin. Pharmacol. Ther. 25 (1979) 358-371.
    """

    effect: AbstractEffect = EMAX

    @property
    def own_parameters(self) -> tuple[str, ...]:
        """Delay, baseline and those of the effect."""
        return ("ke0", "E0", *self.effect.parameters)

    @property
    def integrated(self) -> tuple[str, ...]:
        """Concentration at the site of effect."""
        return ("site",)

    def derivatives(self, t: Expression, state: Symbols, p: Symbols) -> Mapping[str, Expression]:
        """Equilibration."""
        return {"site": p.ke0 * (self.conc(state, p) - state.site)}

    def observed(self, conc: Expression, state: Symbols, p: Symbols) -> Expression:
        """Baseline and effect."""
        return p.E0 + self.effect.value(state.site, p)


@dataclass(frozen=True)
class Turnover(AbstractDriven):
    r"""Indirect response: the drug acts on the production or the loss of what is measured.

    .. math:: \frac{dR}{dt} = k_{out} R_0\, a(C) - k_{out}\, b(C)\, R, \qquad R(0) = R_0

    where the production :math:`k_{in} = k_{out} R_0` keeps the baseline, and the action is

    ===================== ==== ============================ ============================
    `action`              type :math:`a(C)`                 :math:`b(C)`
    ===================== ==== ============================ ============================
    inhibit production    I    :math:`1 - f(C)`             1
    inhibit loss          II   1                            :math:`1 - f(C)`
    stimulate production  III  :math:`1 + f(C)`             1
    stimulate loss        IV   1                            :math:`1 + f(C)`
    ===================== ==== ============================ ============================

    Parameters
    ----------
    pk : structural model
        Linear; gives `C`.
    action : str
        One of the four above.
    effect : pd.Imax, pd.Emax, ...
        The function `f`. Parameters: `R0`, `kout` (1 / time), and those of the effect.

    References
    ----------
    Dayneka, Garg & Jusko, *Comparison of four basic models of indirect pharmacodynamic responses*,
    J. Pharmacokinet. Biopharm. 21 (1993) 457-478.
    """

    action: str = "inhibit production"
    effect: AbstractEffect = IMAX

    response: ClassVar[str] = "response"

    def __post_init__(self) -> None:
        """Check the action."""
        super().__post_init__()
        if self.action not in ACTIONS:
            raise ValueError(f"action must be one of {', '.join(map(repr, ACTIONS))}, not {self.action!r}.")

    @property
    def own_parameters(self) -> tuple[str, ...]:
        """Baseline, loss and those of the effect."""
        return ("R0", "kout", *self.effect.parameters)

    @property
    def integrated(self) -> tuple[str, ...]:
        """The response."""
        return ("response",)

    def derivatives(self, t: Expression, state: Symbols, p: Symbols) -> Mapping[str, Expression]:
        """Production less loss."""
        effect = self.effect.value(self.conc(state, p), p)
        factor = 1.0 - effect if self.action.startswith("inhibit") else 1.0 + effect
        if self.action.endswith("production"):
            return {"response": p.kout * (p.R0 * factor - state.response)}
        return {"response": p.kout * (p.R0 - factor * state.response)}

    def initials(self, p: Symbols) -> Mapping[str, Expression]:
        """The baseline."""
        return {"response": p.R0}

    def observed(self, conc: Expression, state: Symbols, p: Symbols) -> Expression:
        """The response itself."""
        return state.response


@dataclass(frozen=True)
class Precursor(AbstractDriven):
    r"""Tolerance and rebound by a precursor that is used up: the drug stimulates what turns it into response.

    .. math:: \frac{dP}{dt} = k_{out} R_0 - k_p (1 + f(C)) P, \qquad
       \frac{dR}{dt} = k_p (1 + f(C)) P - k_{out} R

    from the steady state :math:`R(0) = R_0`, :math:`P(0) = k_{out} R_0 / k_p`. Parameters: `R0`, `kout`, `kp`
    (1 / time), and those of the effect.

    References
    ----------
    Sharma, Ebling & Jusko, *Precursor-dependent indirect pharmacodynamic response model for tolerance and
    rebound phenomena*, J. Pharm. Sci. 87 (1998) 1577-1584.
    """

    effect: AbstractEffect = EMAX

    response: ClassVar[str] = "response"

    @property
    def own_parameters(self) -> tuple[str, ...]:
        """Baseline, rates and those of the effect."""
        return ("R0", "kout", "kp", *self.effect.parameters)

    @property
    def integrated(self) -> tuple[str, ...]:
        """Precursor and response."""
        return ("precursor", "response")

    def derivatives(self, t: Expression, state: Symbols, p: Symbols) -> Mapping[str, Expression]:
        """Turnover of both."""
        flow = p.kp * (1.0 + self.effect.value(self.conc(state, p), p)) * state.precursor
        return {"precursor": p.kout * p.R0 - flow, "response": flow - p.kout * state.response}

    def initials(self, p: Symbols) -> Mapping[str, Expression]:
        """The steady state without drug."""
        return {"precursor": p.kout * p.R0 / p.kp, "response": p.R0}

    def observed(self, conc: Expression, state: Symbols, p: Symbols) -> Expression:
        """The response itself."""
        return state.response


@dataclass(frozen=True)
class Tolerance(AbstractDriven):
    r"""Acute tolerance by a moderator that follows the drug and works against it.

    .. math:: \frac{dM}{dt} = k_{tol} (C - M), \qquad E = E_0 + \frac{f(C)}{1 + M / M_{50}}

    Parameters: `E0`, `ktol` (1 / time), `M50` (concentration), and those of the effect.

    References
    ----------
    Porchet, Benowitz & Sheiner, *Pharmacodynamic model of tolerance: application to nicotine*, J. Pharmacol.
    Exp. Ther. 244 (1988) 231-236.
    """

    effect: AbstractEffect = EMAX

    @property
    def own_parameters(self) -> tuple[str, ...]:
        """Baseline, moderator and those of the effect."""
        return ("E0", "ktol", "M50", *self.effect.parameters)

    @property
    def integrated(self) -> tuple[str, ...]:
        """The moderator."""
        return ("moderator",)

    def derivatives(self, t: Expression, state: Symbols, p: Symbols) -> Mapping[str, Expression]:
        """The moderator follows the drug."""
        return {"moderator": p.ktol * (self.conc(state, p) - state.moderator)}

    def observed(self, conc: Expression, state: Symbols, p: Symbols) -> Expression:
        """Effect, lessened by the moderator."""
        return p.E0 + self.effect.value(conc, p) / (1.0 + state.moderator / p.M50)


@dataclass(frozen=True)
class FribergKarlsson(AbstractDriven):
    r"""Myelosuppression: proliferating cells, three stages of maturation, circulating cells, feedback.

    .. math::
       \frac{dP}{dt} &= k_{tr} P \left((1 - f(C)) (C_0 / N)^\gamma - 1\right), \qquad k_{tr} = 4 / MTT, \\
       \frac{dT_1}{dt} &= k_{tr} (P - T_1), \quad \ldots, \quad \frac{dN}{dt} = k_{tr} (T_3 - N)

    all from the baseline :math:`C_0`. Parameters: `MTT` (time), `Circ0` (count), `gamma`, and those of the
    effect.

    References
    ----------
    Friberg et al., *Model of chemotherapy-induced myelosuppression with parameter consistency across drugs*,
    J. Clin. Oncol. 20 (2002) 4713-4721.
    """

    effect: AbstractEffect = LINEAR

    response: ClassVar[str] = "neutrophils"

    @property
    def own_parameters(self) -> tuple[str, ...]:
        """Transit time, baseline, feedback and those of the effect."""
        return ("MTT", "Circ0", "gamma", *self.effect.parameters)

    @property
    def integrated(self) -> tuple[str, ...]:
        """Cells from proliferation to circulation."""
        return ("proliferating", "transit1", "transit2", "transit3", "circulating")

    def derivatives(self, t: Expression, state: Symbols, p: Symbols) -> Mapping[str, Expression]:
        """Proliferation with feedback, and maturation."""
        ktr = 4.0 / p.MTT
        # a step of the integrator may try counts below zero, which have no power
        feedback = (p.Circ0 / pt.maximum(state.circulating, SMALLEST_COUNT * p.Circ0)) ** p.gamma
        killed = self.effect.value(self.conc(state, p), p)
        return {
            "proliferating": ktr * state.proliferating * ((1.0 - killed) * feedback - 1.0),
            "transit1": ktr * (state.proliferating - state.transit1),
            "transit2": ktr * (state.transit1 - state.transit2),
            "transit3": ktr * (state.transit2 - state.transit3),
            "circulating": ktr * (state.transit3 - state.circulating),
        }

    def initials(self, p: Symbols) -> Mapping[str, Expression]:
        """The baseline throughout."""
        return dict.fromkeys(self.integrated, p.Circ0)

    def observed(self, conc: Expression, state: Symbols, p: Symbols) -> Expression:
        """Circulating cells."""
        return state.circulating
