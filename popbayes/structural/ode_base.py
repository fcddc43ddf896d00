"""The base of structural models that are solved as differential equations."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

import pytensor.tensor as pt
from pytensor.graph.traversal import ancestors

from popbayes.engine.declaration import Channel, ClosedForm, Expression, Symbols
from popbayes.engine.ode_declaration import ERROR_CONTROLS, SOLVERS, Accuracy
from popbayes.structural import typeset
from popbayes.structural.base import AbstractStructural

RTOL = 1e-7
"""Default tolerance of a step. Predictions come out within about ten times this."""
MAX_STEPS = 20_000


@dataclass(frozen=True, kw_only=True)
class AbstractOde(AbstractStructural):
    """A structural model whose states, or some of them, are integrated.

    Parameters
    ----------
    solver : {"auto", "explicit", "stiff"}
        The explicit 5(4) pair of Dormand and Prince, an L-stable implicit method of order 4, or ("auto")
        the first until the equations prove stiff.
    rtol : float
        Error of one step, relative to each state.
    atol : float
        Error of one step that is allowed whatever a state's size, in the states' unit.
    max_steps : int
        Steps for one subject; a solution that needs more fails: its predictions are nan and the
        log density is not finite.
    error_control : {"states", "sensitivities"}
        What a step may err in by `rtol`: the states, or also their derivatives by the parameters of the
        equations, the initial states and the amounts given. With the latter gradients are as accurate as
        predictions where they need shorter steps, at the cost of integrating as many more states.
    """

    solver: str = "auto"
    rtol: float = RTOL
    atol: float = 0.0
    max_steps: int = MAX_STEPS
    error_control: str = "states"

    def __post_init__(self) -> None:
        """Check solver and tolerances."""
        if self.solver not in SOLVERS:
            raise ValueError(f"solver must be one of {', '.join(map(repr, SOLVERS))}, not {self.solver!r}.")
        if self.error_control not in ERROR_CONTROLS:
            raise ValueError(
                f"error_control must be one of {', '.join(map(repr, ERROR_CONTROLS))}, "
                f"not {self.error_control!r}."
            )
        if not 1e-14 <= self.rtol <= 1e-2:
            raise ValueError(f"rtol must lie between 1e-14 and 1e-2, not {self.rtol!r}.")
        if not (self.atol >= 0.0 and self.max_steps >= 1):
            raise ValueError(
                "atol must not be negative and max_steps at least 1, "
                f"not {self.atol!r} and {self.max_steps!r}."
            )

    @property
    def accuracy(self) -> Accuracy:
        """Tolerances and the limit of steps."""
        sensitivities = self.error_control == "sensitivities"
        return Accuracy(float(self.rtol), float(self.atol), int(self.max_steps), sensitivities)

    @property
    def driver(self) -> AbstractStructural | None:
        """The linear model that drives this one and keeps its closed form; None: there is none."""
        return None

    @property
    def covariates(self) -> tuple[str, ...]:
        """Columns of the data that the formulas use."""
        return ()

    @property
    @abstractmethod
    def integrated(self) -> tuple[str, ...]:
        """States that are integrated."""

    @property
    def states(self) -> tuple[str, ...]:
        """Compartments: those of the driver, then those that are integrated."""
        return (*(self.driver.states if self.driver else ()), *self.integrated)

    @property
    def channels(self) -> Mapping[str, Channel]:
        """Ways in: those of the driver, and every integrated state."""
        driven = dict(self.driver.channels) if self.driver else {}
        return driven | {state: Channel(state) for state in self.integrated}

    @abstractmethod
    def derivatives(self, t: Expression, state: Symbols, p: Symbols) -> Mapping[str, Expression]:
        """Rate of change of each integrated state, doses left out."""

    @abstractmethod
    def observables(self, t: Expression, state: Symbols, p: Symbols) -> Mapping[str, Expression]:
        """Value of each output."""

    def initials(self, p: Symbols) -> Mapping[str, Expression]:
        """Integrated states at a subject's first record and after a reset: empty unless said."""
        return dict.fromkeys(self.integrated, 0.0)

    def driver_outputs(self, state: Symbols, p: Symbols) -> dict[str, Expression]:
        """Outputs of the driver, from its amounts."""
        if self.driver is None:
            return {}
        weights = self.driver.weights(p)
        return {name: total(w * state[s] for s, w in weights[name].items()) for name in self.driver.outputs}

    @cached_property
    def _seen(self) -> dict[str, tuple[str, ...]]:
        """Output -> compartments that it depends on."""
        p = Symbols({name: pt.dscalar(name) for name in (*self.parameters, *self.covariates)})
        states = {name: pt.dscalar(name) for name in self.states}
        seen = self.observables(pt.dscalar("t"), Symbols(states), p)
        found = {name: set(ancestors([pt.as_tensor_variable(seen[name])])) for name in self.outputs}
        return {name: tuple(s for s, v in states.items() if v in used) for name, used in found.items()}

    def equations(self) -> list[str]:
        """The equations as text: of the driver, rates of change, states that start filled, outputs."""
        return typeset.lines(self)

    def latex(self) -> list[str]:
        """The equations in LaTeX."""
        return typeset.equations(self)

    def weights(self, p: Symbols) -> Mapping[str, Mapping[str, Expression]]:
        """Output -> compartments that it depends on; here an output is any formula, not a weighted sum."""
        return {name: dict.fromkeys(states, 1.0) for name, states in self._seen.items()}

    @property
    def switchable(self) -> tuple[str, ...]:
        """All of them: a compartment that is off has no rate of change."""
        return self.states

    def rates(self, p: Symbols) -> NoReturn:
        """There are no rate constants: the equations need not be linear."""
        raise TypeError(
            f"{type(self).__name__} has no rate constants: it is solved as differential equations."
        )

    def closed_form(self, p: Symbols) -> ClosedForm:
        """There is none."""
        raise TypeError(f"{type(self).__name__} has no closed form: it is solved as differential equations.")

    @property
    def stencil(self) -> Mapping[str, float]:
        """Nothing: rates that coincide are of the driver alone."""
        return {}


def total(terms: Iterable[Any]) -> Any:
    """Sum of expressions; 0 where there are none."""
    listed = list(terms)
    return sum(listed[1:], listed[0]) if listed else 0.0
