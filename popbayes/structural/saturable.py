"""Nonlinear pharmacokinetics: saturable elimination, target-mediated disposition, saturable metabolism.

Amounts in the compartments, as in the linear models; the free target and its complex are concentrations.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import pytensor.tensor as pt

from popbayes.engine.declaration import Channel, Expression, Symbols
from popbayes.structural import typeset
from popbayes.structural.absorption import AbstractAbsorption, Intravenous
from popbayes.structural.ode_base import AbstractOde, total

__all__ = ["MichaelisMenten", "ParentMetabolite", "TargetMediated"]

NO_PARAMETERS = Intravenous()
CENTRAL, PERIPHERAL = "central", "peripheral"
APPROXIMATIONS = ("full", "QE", "QSS", "constant target", "MM")


@dataclass(frozen=True)
class AbstractNonlinear(AbstractOde):
    """A central compartment with an optional peripheral one and an optional absorption.

    Parameters
    ----------
    absorption
        None: doses go into central. `FirstOrder()`: into the depot (CMT 1) or into central (CMT 2).
    iv
        Lag, bioavailability, duration and rate of doses straight into central.
    peripheral : bool
        Add a peripheral compartment: the volume is `V1`, and `Q` and `V2` are parameters too.
    """

    absorption: AbstractAbsorption | None = None
    iv: Intravenous = NO_PARAMETERS
    peripheral: bool = False

    def __post_init__(self) -> None:
        """Check that the absorption is made of rates."""
        super().__post_init__()
        if self.absorption is not None and not isinstance(self.absorption, AbstractAbsorption):
            raise TypeError(
                "absorption must be one of popbayes.pk, such as pk.FirstOrder(), "
                f"not {self.absorption!r}."
                + (" Write it with brackets." if isinstance(self.absorption, type) else "")
            )
        ways = self.absorption.channels.values() if self.absorption else ()
        if any(getattr(way, "stages", None) is not None for way in ways):
            raise ValueError(
                f"{type(self.absorption).__name__} has no rate equations; use pk.FirstOrder() with "
                f"{type(self).__name__}."
            )

    @property
    @abstractmethod
    def own_parameters(self) -> tuple[str, ...]:
        """Parameters of elimination and target."""

    @property
    def more_states(self) -> tuple[str, ...]:
        """States beside those of the drug in the body."""
        return ()

    @abstractmethod
    def loss(self, conc: Expression, state: Symbols, p: Symbols) -> Expression:
        """Amount that leaves central for good, per time."""

    @property
    def volume(self) -> str:
        """Name of the central volume."""
        return "V1" if self.peripheral else "V"

    @property
    def parameters(self) -> tuple[str, ...]:
        """Those of the absorption, of the body, of elimination and target, of doses into central."""
        absorbed = self.absorption.parameters if self.absorption else ()
        body = ("V1", "Q", "V2") if self.peripheral else ("V",)
        return (*absorbed, *body, *self.own_parameters, *self.iv.parameters(self._central_number))

    @property
    def _central_number(self) -> int:
        return 1 + len(self.absorption.states if self.absorption else ())

    @property
    def integrated(self) -> tuple[str, ...]:
        """Absorption, body, and what the model adds."""
        absorbed = self.absorption.states if self.absorption else ()
        return (*absorbed, CENTRAL, *((PERIPHERAL,) if self.peripheral else ()), *self.more_states)

    @property
    def channels(self) -> Mapping[str, Channel]:
        """Ways in: those of the absorption, then every other compartment."""
        absorbed = dict(self.absorption.channels) if self.absorption else {}
        own = {state: Channel(state) for state in self.integrated if state not in absorbed}
        return absorbed | own | {CENTRAL: self.iv.channel(CENTRAL, self._central_number)}

    @property
    def outputs(self) -> tuple[str, ...]:
        """The concentration in central."""
        return ("conc",)

    def latex(self) -> list[str]:
        """The equations in LaTeX."""
        return typeset.equations(self, amounts=[s for s in self.integrated if s not in ("target", "complex")])

    def concentration(self, state: Symbols, p: Symbols) -> Expression:
        """Concentration of what is eliminated and distributes."""
        return state.central / p[self.volume]

    def derivatives(self, t: Expression, state: Symbols, p: Symbols) -> Mapping[str, Expression]:
        """Absorption, distribution and loss."""
        conc = self.concentration(state, p)
        terms: dict[str, list[Expression]] = {name: [] for name in self.integrated}
        for (source, to), k in (self.absorption.rates(p) if self.absorption else {}).items():
            terms[source].append(-k * state[source])
            if to is not None:
                terms[to].append(k * state[source])
        terms[CENTRAL].append(-self.loss(conc, state, p))
        if self.peripheral:
            flow = p.Q * (conc - state.peripheral / p.V2)
            terms[CENTRAL].append(-flow)
            terms[PERIPHERAL].append(flow)
        rates = {name: total(listed) for name, listed in terms.items()}
        return {**rates, **self.more_rates(conc, state, p)}

    def more_rates(self, conc: Expression, state: Symbols, p: Symbols) -> Mapping[str, Expression]:
        """Rates of change of what the model adds."""
        return {}

    def observables(self, t: Expression, state: Symbols, p: Symbols) -> Mapping[str, Expression]:
        """The concentration."""
        return {"conc": self.concentration(state, p)}


@dataclass(frozen=True)
class MichaelisMenten(AbstractNonlinear):
    r"""Saturable elimination, alone or beside a linear one.

    .. math:: \frac{dA}{dt} = \text{input} - \frac{V_{max} C}{K_m + C} - CL\, C, \qquad C = \frac{A}{V}

    Parameters
    ----------
    absorption, iv, peripheral
        See the other models of this page.
    linear : bool
        Add linear elimination by `CL`.

    Notes
    -----
    Structural parameters: those of the absorption, `V` (or `V1`, `Q`, `V2`), `Vmax` (amount / time),
    `Km` (concentration), `CL` (volume / time) where asked for.

    References
    ----------
    Gibaldi & Perrier, *Pharmacokinetics*, 2nd ed. (1982), ch. 7.
    """

    linear: bool = False

    @property
    def own_parameters(self) -> tuple[str, ...]:
        """`Vmax`, `Km`, and `CL` where asked for."""
        return ("Vmax", "Km", *(("CL",) if self.linear else ()))

    def loss(self, conc: Expression, state: Symbols, p: Symbols) -> Expression:
        """Saturable, and linear where asked for."""
        saturable = p.Vmax * conc / (p.Km + conc)
        return saturable + p.CL * conc if self.linear else saturable


@dataclass(frozen=True)
class ParentMetabolite(AbstractNonlinear):
    r"""A drug that is eliminated linearly and turned, saturably, into a metabolite.

    .. math::
       \frac{dA}{dt} = \text{input} - CL\, C - \frac{V_{max} C}{K_m + C}, \qquad
       \frac{dM}{dt} = \frac{V_{max} C}{K_m + C} - \frac{CL_m}{V_m} M

    Outputs: `conc` and `metabolite` :math:`= M / V_m`, as amounts of the parent. Parameters beside the
    body's: `CL`, `Vmax`, `Km`, `CLm`, `Vm` (not all identifiable without doses of the metabolite: fix `Vm`).

    References
    ----------
    Gibaldi & Perrier, *Pharmacokinetics*, 2nd ed. (1982), ch. 7.
    """

    @property
    def own_parameters(self) -> tuple[str, ...]:
        """Clearances, capacity and the metabolite's volume."""
        return ("CL", "Vmax", "Km", "CLm", "Vm")

    @property
    def more_states(self) -> tuple[str, ...]:
        """The metabolite."""
        return ("metabolite",)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Concentrations of both."""
        return ("conc", "metabolite")

    def loss(self, conc: Expression, state: Symbols, p: Symbols) -> Expression:
        """Elimination and metabolism."""
        return p.CL * conc + p.Vmax * conc / (p.Km + conc)

    def more_rates(self, conc: Expression, state: Symbols, p: Symbols) -> Mapping[str, Expression]:
        """Formation and elimination of the metabolite."""
        formed = p.Vmax * conc / (p.Km + conc)
        return {"metabolite": formed - p.CLm / p.Vm * state.metabolite}

    def observables(self, t: Expression, state: Symbols, p: Symbols) -> Mapping[str, Expression]:
        """Concentrations of both."""
        return {"conc": self.concentration(state, p), "metabolite": state.metabolite / p.Vm}


@dataclass(frozen=True)
class TargetMediated(AbstractNonlinear):
    r"""Target-mediated drug disposition: a drug `L` that binds its target `R` and is eliminated with it.

    .. math::
       \frac{dA}{dt} &= \text{input} - CL\,L - V (k_{on} L R - k_{off} RC), \qquad L = A / V, \\
       \frac{dR}{dt} &= k_{deg} (R_0 - R) - k_{on} L R + k_{off} RC, \qquad R(0) = R_0, \\
       \frac{dRC}{dt} &= k_{on} L R - k_{off} RC - k_{int} RC

    Parameters
    ----------
    absorption, iv, peripheral
        See the other models of this page.
    approximation : str
        - "full": the equations above; parameters `CL`, `R0`, `kdeg`, `kon`, `koff`, `kint`.
        - "QE", "QSS": binding is instant. Central holds all drug, free and bound, the state `target` all
          target :math:`R_{tot}`,

          .. math::
             \frac{dA}{dt} &= \text{input} - CL\,L - V k_{int} \frac{R_{tot} L}{K + L}, \\
             \frac{dR_{tot}}{dt} &= k_{deg} (R_0 - R_{tot}) - (k_{int} - k_{deg}) \frac{R_{tot} L}{K + L}

          with :math:`L = (d + \sqrt{d^2 + 4 K A/V}) / 2` and :math:`d = A/V - R_{tot} - K`,
          where `K` is `Kd` (quasi-equilibrium) or `Kss` (quasi-steady state);
          parameters `CL`, `R0`, `kdeg`, `K`, `kint`.
        - "constant target": QSS with :math:`R_{tot} = R_0` throughout (Wagner); parameters `CL`, `R0`, `Kss`,
          `kint`.
        - "MM": target in excess of nothing: saturable and linear elimination; parameters `CL`, `Vmax`, `Km`.

    Notes
    -----
    The output `conc` is free drug. A full model is stiff; leave ``solver="auto"``.

    References
    ----------
    Mager & Jusko, *General pharmacokinetic model for drugs exhibiting target-mediated drug disposition*,
    J. Pharmacokinet. Pharmacodyn. 28 (2001) 507-532; Mager & Krzyzanski, *Quasi-equilibrium pharmacokinetic
    model for drugs exhibiting target-mediated drug disposition*, Pharm. Res. 22 (2005) 1589-1596; Gibiansky
    et al., *Approximations of the target-mediated drug disposition model and identifiability of model
    parameters*, J. Pharmacokinet. Pharmacodyn. 35 (2008) 573-591.
    """

    approximation: str = "QSS"

    def __post_init__(self) -> None:
        """Check the approximation."""
        super().__post_init__()
        if self.approximation not in APPROXIMATIONS:
            known = ", ".join(map(repr, APPROXIMATIONS))
            raise ValueError(f"approximation must be one of {known}, not {self.approximation!r}.")

    @property
    def _constant(self) -> str:
        """Name of the constant of fast binding."""
        return "Kd" if self.approximation == "QE" else "Kss"

    @property
    def own_parameters(self) -> tuple[str, ...]:
        """Elimination, target and binding."""
        return {
            "full": ("CL", "R0", "kdeg", "kon", "koff", "kint"),
            "constant target": ("CL", "R0", "Kss", "kint"),
            "MM": ("CL", "Vmax", "Km"),
        }.get(self.approximation, ("CL", "R0", "kdeg", self._constant, "kint"))

    @property
    def more_states(self) -> tuple[str, ...]:
        """Target and complex, or the total target."""
        states = {"full": ("target", "complex"), "constant target": (), "MM": ()}
        return states.get(self.approximation, ("target",))

    def _total(self, state: Symbols, p: Symbols) -> Expression:
        """All target, free and bound."""
        return p.R0 if self.approximation == "constant target" else state.target

    def concentration(self, state: Symbols, p: Symbols) -> Expression:
        """Free drug."""
        amount = state.central / p[self.volume]
        if self.approximation in ("full", "MM"):
            return amount
        constant = p[self._constant]
        excess = amount - self._total(state, p) - constant
        root = pt.sqrt(excess * excess + 4.0 * constant * amount)
        # of two forms of the root the one that does not cancel; the other stays finite for its gradient
        scarce = 2.0 * constant * amount / (root + pt.abs(excess))
        return pt.switch(pt.gt(excess, 0.0), 0.5 * (excess + root), scarce)

    def loss(self, conc: Expression, state: Symbols, p: Symbols) -> Expression:
        """Elimination of free drug, and with the target."""
        if self.approximation == "full":
            return p.CL * conc + p[self.volume] * (p.kon * conc * state.target - p.koff * state.complex)
        if self.approximation == "MM":
            return p.CL * conc + p.Vmax * conc / (p.Km + conc)
        bound = self._total(state, p) * conc / (p[self._constant] + conc)
        return p.CL * conc + p[self.volume] * p.kint * bound

    def more_rates(self, conc: Expression, state: Symbols, p: Symbols) -> Mapping[str, Expression]:
        """Turnover of the target and its complex."""
        if self.approximation == "full":
            binding = p.kon * conc * state.target - p.koff * state.complex
            return {
                "target": p.kdeg * (p.R0 - state.target) - binding,
                "complex": binding - p.kint * state.complex,
            }
        if not self.more_states:
            return {}
        bound = state.target * conc / (p[self._constant] + conc)
        return {"target": p.kdeg * (p.R0 - state.target) - (p.kint - p.kdeg) * bound}

    def initials(self, p: Symbols) -> Mapping[str, Expression]:
        """No drug; the target at its baseline."""
        empty = dict.fromkeys(self.integrated, 0.0)
        return {**empty, "target": p.R0} if "target" in empty else empty
