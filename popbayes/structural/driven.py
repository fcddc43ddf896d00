"""The base of response models that a linear pharmacokinetic model drives."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from popbayes.engine.declaration import MODES, Expression, Symbols
from popbayes.structural.base import AbstractStructural
from popbayes.structural.effects import AbstractEffect
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

    def __post_init__(self) -> None:
        """Check what drives the response, and its effect."""
        super().__post_init__()
        check_driver(self.pk, f"pd.{type(self).__name__}")
        effect = getattr(self, "effect", None)
        if effect is not None and not isinstance(effect, AbstractEffect):
            raise TypeError(
                f"effect must be a function of concentration such as pd.Emax(), not {effect!r}."
                + (" Write it with brackets." if isinstance(effect, type) else "")
            )

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

    def conc(self, state: Symbols, p: Symbols) -> Expression:
        """The concentration that drives the response."""
        return self.driver_outputs(state, p)[self.pk.outputs[0]]

    def observables(self, t: Expression, state: Symbols, p: Symbols) -> Mapping[str, Expression]:
        """Concentration and response."""
        return {
            **self.driver_outputs(state, p),
            self.response: self.observed(self.conc(state, p), state, p),
        }


def check_driver(pk: Any, kind: str) -> None:
    """Refuse what cannot drive a response: anything but a linear model that is a sum of exponentials.

    Raises
    ------
    TypeError, ValueError
        With what was given, and what to do.
    """
    if not isinstance(pk, AbstractStructural):
        raise TypeError(
            f"pk of {kind} must be a structural model such as pk.OneCompartment(), not {pk!r}."
            + (" Write it with brackets." if isinstance(pk, type) else "")
        )
    staged = [name for name, way in pk.channels.items() if way.stages is not None]
    if isinstance(pk, AbstractOde) or pk.solution != MODES or staged:
        why = (
            "is not linear" if isinstance(pk, AbstractOde)
            else "absorbs through transit compartments" if staged
            else "is solved by a matrix exponential"
        )  # fmt: skip
        raise ValueError(
            f"{kind} takes pharmacokinetics in closed form (pk.OneCompartment, TwoCompartment or "
            f"ThreeCompartment with first- or zero-order absorption), but {type(pk).__name__} {why}. Write "
            "its compartments as states of ode.System."
        )
