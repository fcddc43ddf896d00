"""The base of response models that a linear pharmacokinetic model drives."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from popbayes.engine.declaration import Expression, Symbols
from popbayes.structural import typeset
from popbayes.structural.base import AbstractStructural
from popbayes.structural.ode_base import AbstractOde


@dataclass(frozen=True)
class AbstractDriven(AbstractOde):
    """A response, and the concentration that drives it.

    Parameters
    ----------
    pk : structural model
        Linear, with a closed form. Its outputs come before the response's, its compartments before the
        states, its parameters before the response's.
    """

    pk: AbstractStructural

    #: Name of the response.
    response: ClassVar[str] = "effect"

    @property
    @abstractmethod
    def own_parameters(self) -> tuple[str, ...]:
        """Parameters of the response."""

    @abstractmethod
    def observed(self, conc: Expression, state: Symbols, p: Symbols) -> Expression:
        """The response."""

    @property
    def driver(self) -> AbstractStructural:
        """The pharmacokinetic model."""
        return self.pk

    @property
    def parameters(self) -> tuple[str, ...]:
        """Parameters of the pharmacokinetic model, then of the response."""
        return tuple(dict.fromkeys((*self.pk.parameters, *self.own_parameters)))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Outputs of the pharmacokinetic model, then the response."""
        return (*self.pk.outputs, self.response)

    def latex(self) -> list[str]:
        """The equations in LaTeX."""
        return typeset.equations(self)

    def conc(self, state: Symbols, p: Symbols) -> Expression:
        """The concentration that drives the response."""
        return self.driver_outputs(state, p)[self.pk.outputs[0]]

    def observables(self, t: Expression, state: Symbols, p: Symbols) -> Mapping[str, Expression]:
        """Concentration and response."""
        return {
            **self.driver_outputs(state, p),
            self.response: self.observed(self.conc(state, p), state, p),
        }
