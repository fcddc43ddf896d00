"""What the engine asks of a structural model that has no closed form: rates of change as formulas.

Like a linear declaration it holds scalar PyTensor expressions and nothing else. The part of it that is
linear (`driver`: usually the pharmacokinetics that drive a response) keeps its closed form; only the other
states are integrated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from popbayes.engine.declaration import Channel, Expression, LinearDeclaration, Symbols

SOLVERS = ("auto", "explicit", "stiff")
ERROR_CONTROLS = ("states", "sensitivities")


@dataclass(frozen=True)
class Accuracy:
    """How closely states are integrated.

    Attributes
    ----------
    rtol : float
        Error of one step relative to the state, and to `floor` times the largest value that it has had.
    atol : float
        Error of one step that is allowed whatever the state's size, in its unit.
    max_steps : int
        Steps for one subject; beyond it the solution fails: its predictions are nan.
    sensitivities : bool
        Whether the error of the states' derivatives by the parameters counts as theirs does.
    """

    rtol: float
    atol: float
    max_steps: int
    sensitivities: bool = False


class OdeDeclaration(Protocol):
    """A model whose states follow ordinary differential equations."""

    def __hash__(self) -> int:
        """Declarations are values: equal ones share compiled code."""

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the compartments: those of the driver first, then those that are integrated."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the structural parameters."""

    @property
    def covariates(self) -> tuple[str, ...]:
        """Columns of the data that the formulas use, by segment."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what can be observed; the first is the default."""

    @property
    def channels(self) -> Mapping[str, Channel]:
        """Ways in by name."""

    @property
    def driver(self) -> LinearDeclaration | None:
        """The linear part, which keeps its closed form; its states are not integrated."""

    @property
    def integrated(self) -> tuple[str, ...]:
        """States that are integrated."""

    @property
    def solver(self) -> str:
        """One of `SOLVERS`."""

    @property
    def accuracy(self) -> Accuracy:
        """Tolerances and the limit of steps."""

    def ways_in(self, cmt: str) -> tuple[str, ...]:
        """Channels that take a dose with this CMT."""

    def derivatives(self, t: Expression, state: Symbols, p: Symbols) -> Mapping[str, Expression]:
        """Rate of change of each integrated state, doses left out."""

    def observables(self, t: Expression, state: Symbols, p: Symbols) -> Mapping[str, Expression]:
        """Value of each output."""

    def initials(self, p: Symbols) -> Mapping[str, Expression]:
        """Integrated states at a subject's first record and after a reset."""


def is_ode(structural: Any) -> bool:
    """Tell a declaration of differential equations from a linear one."""
    return hasattr(type(structural), "derivatives")


def columns(structural: Any) -> tuple[str, ...]:
    """What the kernels are given by segment: the parameters, then the covariates of the formulas."""
    return (*structural.parameters, *getattr(structural, "covariates", ()))
