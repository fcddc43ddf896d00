"""The base of all structural models: names, ways in, and JSON.

A structural model is a frozen value. It declares compartments, parameters, ways in, rates and outputs
as scalar PyTensor expressions; the engine solves it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from popbayes.engine.declaration import MODES, Channel, ClosedForm, Expression, Symbols

if TYPE_CHECKING:
    from popbayes.data.events import EventTable

REGISTRY: dict[str, type["Declared"]] = {}


@dataclass(frozen=True)
class Declared(ABC):  # noqa: B024  (abstract by what its two families add)
    """A value that round-trips through JSON under its class's name."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make the class known to `declared_from_dict`."""
        super().__init_subclass__(**kwargs)
        REGISTRY[cls.__name__] = cls

    def to_dict(self) -> dict[str, Any]:
        """Class name and fields, as JSON holds them."""
        out: dict[str, Any] = {"type": type(self).__name__}
        for f in fields(self):
            value = getattr(self, f.name)
            out[f.name] = value.to_dict() if isinstance(value, Declared) else value
        return out


def declared_from_dict(value: Mapping[str, Any]) -> Any:
    """Make the value that `to_dict` described.

    Raises
    ------
    ValueError
        If the type is not one that popbayes knows.
    """
    name = value["type"]
    if name not in REGISTRY:
        raise ValueError(f"There is no structural model {name!r}; there are: {', '.join(sorted(REGISTRY))}.")
    make = getattr(REGISTRY[name], "from_arguments", REGISTRY[name])
    return make(**{key: _made(v) for key, v in value.items() if key != "type"})


def _made(value: Any) -> Any:
    """Values inside of values."""
    if isinstance(value, Mapping):
        return declared_from_dict(value) if "type" in value else {key: _made(v) for key, v in value.items()}
    return value


class AbstractStructural(Declared):
    """What the engine and the population layer ask of a structural model.

    Subclasses declare states, parameters, channels, rates, outputs and the closed form; see
    `popbayes.engine.declaration.LinearDeclaration` for the meaning of each.
    """

    #: Units of parameters in terms of those of the data, for documentation: name -> text.
    meanings: ClassVar[Mapping[str, str]] = {}

    @property
    @abstractmethod
    def states(self) -> tuple[str, ...]:
        """Names of the compartments; CMT 1 is the first."""

    @property
    @abstractmethod
    def parameters(self) -> tuple[str, ...]:
        """Names of the structural parameters."""

    @property
    @abstractmethod
    def outputs(self) -> tuple[str, ...]:
        """Names of what can be observed; the first is the default."""

    @property
    @abstractmethod
    def channels(self) -> Mapping[str, Channel]:
        """Ways in by name."""

    @abstractmethod
    def rates(self, p: Symbols) -> Mapping[tuple[str, str | None], Expression]:
        """Rate constants ``(from, to)``; ``to = None`` leaves the body."""

    @abstractmethod
    def weights(self, p: Symbols) -> Mapping[str, Mapping[str, Expression]]:
        """Output -> compartment -> factor."""

    @property
    def solution(self) -> str:
        """How the engine solves it."""
        return MODES

    @abstractmethod
    def closed_form(self, p: Symbols) -> ClosedForm:
        """Modes of the system that `rates` describes."""

    @property
    @abstractmethod
    def stencil(self) -> Mapping[str, float]:
        """Direction in parameter space in which coinciding rates part."""

    @abstractmethod
    def equations(self) -> list[str]:
        """The model's equations as lines of text."""

    @abstractmethod
    def latex(self) -> list[str]:
        """The model's equations as lines of LaTeX, without delimiters."""

    @property
    def places(self) -> tuple[str, ...]:
        """What CMT numbers count, from 1: the compartments, unless a model says otherwise."""
        return self.states

    @property
    def entries(self) -> Mapping[str, tuple[str, ...]]:
        """Place -> the ways in that a dose there takes."""
        ways = self.channels.items()
        return {place: tuple(name for name, way in ways if way.state == place) for place in self.places}

    def integrals(self, p: Symbols) -> Mapping[str, Mapping[str, Expression]]:
        """Compartments that only add up others, ``A' = sum of factor * amount``: none unless said."""
        return {}

    @property
    def compartments(self) -> dict[str, str]:
        """CMT label -> place: numbers from 1 in the order of `places`, and the names."""
        numbered = {str(i): place for i, place in enumerate(self.places, start=1)}
        return {"": self.places[0], **numbered, **{place: place for place in self.places}}

    def ways_in(self, cmt: str) -> tuple[str, ...]:
        """Channels that take a dose with this CMT; empty where the model has none."""
        return self.entries.get(self.compartments.get(cmt, ""), ())

    def check_events(self, data: "EventTable") -> None:
        """Refuse dosing records that this model cannot honour.

        Raises
        ------
        ValueError
            A dose into a compartment that does not exist or takes no doses; RATE -1 or -2 without the
            parameter that it asks for; an infusion through transit compartments; a negative CMT on a dose
            or of a compartment that cannot be turned off. The message names row and subject.
        """
        self._check_switches(data)
        for k in np.flatnonzero(data.is_dose):
            cmt, rate = str(data.cmt[k]), data.rate[k]
            where = f"row {data.row[k]} (ID {data.subjects[data.record_subject[k]]})"
            ways = self.ways_in(cmt)
            if not ways:
                known = ", ".join(
                    f"{i} or {place!r}"
                    for i, place in enumerate(self.places, start=1)
                    if self.entries.get(place)
                )
                raise ValueError(
                    f"{where} gives a dose into CMT {cmt}, which {type(self).__name__} does not have "
                    f"or which takes no doses; its compartments that take doses are {known}. "
                    "Correct CMT or choose another model."
                )
            if data.ss[k] > 0 and data.amt[k] == 0 and rate < 0:
                raise ValueError(
                    f"{where} asks for the steady state of a constant infusion (AMT 0) at an estimated rate "
                    f"(RATE = {rate:g}), which is not supported. Give RATE > 0 and let F scale it, or give "
                    "an infusion (AMT > 0, RATE = -1) with II."
                )
            for name in ways:
                self._check_rate(self.channels[name], name, rate, where)

    @property
    def switchable(self) -> tuple[str, ...]:
        """Compartments that a negative CMT can turn off: those that nothing feeds or that nothing leaves."""
        flows = self.rates(Symbols(dict.fromkeys(self.parameters, 1.0)))
        fed, left = {to for _, to in flows}, {source for source, _ in flows}
        return tuple(state for state in self.states if state not in fed or state not in left)

    def _check_switches(self, data: "EventTable") -> None:
        """Refuse a negative CMT where it has no meaning."""
        for k in [k for k, label in enumerate(data.cmt) if str(label).startswith("-")]:
            where = f"row {data.row[k]} (ID {data.subjects[data.record_subject[k]]})"
            place = self.compartments.get(str(data.cmt[k])[1:], "")
            if data.is_dose[k] or data.evid[k] == 3:
                raise ValueError(
                    f"{where} has the negative CMT {data.cmt[k]}, which turns a compartment off and belongs "
                    f"on EVID 0 or 2, not on EVID {data.evid[k]}."
                )
            if place not in self.switchable:
                raise ValueError(
                    f"{where} turns CMT {data.cmt[k][1:]} off, which {type(self).__name__} cannot: only "
                    f"compartments that nothing feeds or that nothing leaves can be turned off "
                    f"({', '.join(self.switchable) or 'here none'}). Differential equations can turn off any."
                )

    def _check_rate(self, channel: Channel, name: str, rate: float, where: str) -> None:
        if rate != 0 and channel.stages is not None:
            raise ValueError(
                f"{where} is an infusion (RATE = {rate:g}) through the transit compartments of the way in "
                f"{name!r}, which take boluses only. Set RATE to 0, or choose pk.Sequential()."
            )
        if rate == -1 and channel.rate is None:
            raise ValueError(
                f"{where} asks for an estimated rate (RATE = -1), but the way in {name!r} has no rate "
                f"parameter. {_give_it('R', 'rate')}"
            )
        if rate == -2 and channel.duration is None:
            raise ValueError(
                f"{where} asks for an estimated duration (RATE = -2), but the way in {name!r} has no "
                f"duration parameter. {_give_it('D', 'duration')}"
            )


def _give_it(letter: str, what: str) -> str:
    """What to do where a way in lacks a parameter that a dose asks for."""
    return (
        f"Give it one: iv=pk.Intravenous({letter}=True), pk.FirstOrder({letter}=True), or "
        f'inputs={{"central": ode.Input({what}="{letter}1")}} of an ode.System; or write the RATE itself.'
    )


def structural_from_dict(value: Mapping[str, Any]) -> AbstractStructural:
    """Make the structural model that `AbstractStructural.to_dict` described."""
    model = declared_from_dict(value)
    if not isinstance(model, AbstractStructural):
        raise ValueError(f"{value['type']!r} is not a structural model.")
    return model
