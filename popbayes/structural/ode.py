"""Structural models that a user writes as differential equations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from popbayes.engine.declaration import Channel, Expression, Formula, Symbols
from popbayes.structural.base import AbstractStructural
from popbayes.structural.driven import check_driver
from popbayes.structural.formula import Program
from popbayes.structural.ode_base import MAX_STEPS, RTOL, AbstractOde
from popbayes.structural.tracing import Trace

__all__ = ["Input", "System"]


@dataclass(frozen=True)
class Input:
    """What happens to doses on their way into a state: names of parameters, None where nothing does.

    Parameters
    ----------
    lag : str, optional
        Parameter by which doses are late.
    F : str, optional
        Parameter that is the fraction of a dose that arrives.
    duration : str, optional
        Parameter over which a dose with RATE = -2 is given.
    rate : str, optional
        Parameter at which a dose with RATE = -1 is given.
    zero_order : bool
        Doses without RATE are given over `duration` too.
    """

    lag: str | None = None
    F: str | None = None
    duration: str | None = None
    rate: str | None = None
    zero_order: bool = False

    def __post_init__(self) -> None:
        for one in (f.name for f in fields(self) if f.name != "zero_order"):
            value = getattr(self, one)
            if value is not None and not isinstance(value, str):
                raise TypeError(
                    f"{one} of ode.Input is the name of a parameter, not {value!r}. A known value is given "
                    f"to that parameter: pb.Parameter({value!r})."
                )
        if self.zero_order and self.duration is None:
            raise ValueError("ode.Input(zero_order=True) needs the name of a duration: duration='D1'.")

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters that it uses."""
        return tuple(name for name in (self.lag, self.F, self.duration, self.rate) if name is not None)

    def channel(self, state: str) -> Channel:
        """The way into `state`."""

        def named(name: str | None) -> Formula | None:
            return None if name is None else lambda p: p[name]

        return Channel(
            state,
            bioavailability=named(self.F),
            lag=named(self.lag),
            rate=named(self.rate),
            duration=named(self.duration),
            zero_order=self.zero_order,
        )


NOTHING_HAPPENS = Input()
SETTINGS = ("solver", "rtol", "atol", "max_steps", "error_control")
"""Arguments of `System` that say how it is solved."""


class System(AbstractOde):
    r"""Ordinary differential equations, written as Python functions of PyTensor scalars.

    .. math:: \frac{dx}{dt} = f(t, x, p) + \text{doses}, \qquad x(0) = x_0(p), \qquad y = g(t, x, p)

    Parameters
    ----------
    states : sequence of str
        Names of the states; CMT 1 is the first (after those of `pk`, if given). A dose goes into the state
        that CMT names or numbers.
    parameters : sequence of str
        Names of the parameters (those of `pk` come before them).
    rhs : callable
        ``rhs(t, state, p)`` -> mapping of state -> rate of change, without doses. `t` is the table's TIME;
        ``state.depot`` and ``p.ka`` are scalars: use arithmetic, `pt.exp`, `pt.switch` and the like.
    outputs : mapping of str -> callable
        ``f(state, p)`` or ``f(t, state, p)``; the first is what is observed unless told otherwise.
        Those of `pk` come before them.
    initial : mapping of str -> number or callable
        States at a subject's first record and after EVID 3 or 4: a number, or ``f(p)``; 0 where left out.
    inputs : mapping of str -> Input
        Lag, bioavailability, modelled duration and rate of doses, by the state that they go into.
    covariates : sequence of str
        Columns of the data that the formulas use, as ``p.WT``; they may change in time.
    pk : structural model, optional
        A linear model with a closed form: its states are ``state.central`` and so on in `rhs`, but are not
        integrated, and its parameters, ways in and outputs are the system's too.
    solver, rtol, atol, max_steps, error_control
        See `AbstractOde`.

    Raises
    ------
    ValueError
        A name is given twice or is not known, or a state has no rate.
    TypeError
        A formula is not a scalar expression of time, states, parameters and covariates.

    Notes
    -----
    A state that only decays at a rate of its own (a depot) is recognised and not integrated either.
    The functions are called once, here: what they return is kept, so that models with the same formulas are
    equal and a model can be saved.

    Examples
    --------
    >>> from popbayes import Regimen, ode, solve
    >>> def rhs(t, state, p):
    ...     c = state.central / p.V
    ...     return {"depot": -p.ka * state.depot, "central": p.ka * state.depot - p.Vmax * c / (p.Km + c)}
    >>> model = ode.System(
    ...     states=("depot", "central"),
    ...     parameters=("ka", "V", "Vmax", "Km"),
    ...     rhs=rhs,
    ...     outputs={"conc": lambda state, p: state.central / p.V},
    ... )
    >>> regimen = Regimen().dose(400).sample([1.0, 24.0])
    >>> solve(model, regimen, {"ka": 1, "V": 40, "Vmax": 15, "Km": 3})["conc"].values.round(4)
    array([6.1324, 3.9536])
    """

    _own: tuple[str, ...]
    _pk: AbstractStructural | None
    _parameters: tuple[str, ...]
    _covariates: tuple[str, ...]
    _inputs: dict[str, Input]
    _rhs: dict[str, Program]
    _outputs: dict[str, Program]
    _initial: dict[str, Program]

    def __init__(
        self,
        states: Sequence[str],
        parameters: Sequence[str],
        rhs: Any,
        outputs: Mapping[str, Any],
        initial: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Input] | None = None,
        covariates: Sequence[str] = (),
        pk: AbstractStructural | None = None,
        *,
        solver: str = "auto",
        rtol: float = RTOL,
        atol: float = 0.0,
        max_steps: int = MAX_STEPS,
        error_control: str = "states",
    ):
        keep = object.__setattr__  # the instance is frozen
        given = (solver, rtol, atol, max_steps, error_control)
        for name, value in zip(SETTINGS, given, strict=True):
            keep(self, name, value)
        AbstractOde.__post_init__(self)
        if pk is not None:
            check_driver(pk, "ode.System")
        keep(self, "_own", (states,) if isinstance(states, str) else tuple(states))
        keep(self, "_pk", pk)
        keep(self, "_covariates", (covariates,) if isinstance(covariates, str) else tuple(covariates))
        keep(self, "_inputs", _checked_inputs(inputs or {}))
        keep(self, "_parameters", self._named(parameters))
        self._check_names()
        symbols = Trace(self.states, (*self.parameters, *self.covariates))
        keep(self, "_rhs", symbols.rates(rhs, self._own))
        keep(self, "_outputs", symbols.outputs(outputs, pk.outputs if pk else ()))
        keep(self, "_initial", symbols.initials(initial or {}, self._own))
        if not self.outputs:
            raise ValueError("outputs must name at least one thing that can be observed.")
        self._check_used()

    def _named(self, parameters: Sequence[str]) -> tuple[str, ...]:
        """All parameters: the driver's, the equations', and those of the ways in."""
        given = (parameters,) if isinstance(parameters, str) else tuple(parameters)
        if len(set(given)) < len(given):
            raise ValueError(f"A parameter is named twice: {', '.join(given)}.")
        before = tuple(self._pk.parameters) if self._pk else ()
        ways = tuple(name for one in self._inputs.values() for name in one.names)
        return tuple(dict.fromkeys((*before, *given, *ways)))

    def _check_names(self) -> None:
        twice = [name for name in self.states if self.states.count(name) > 1]
        if twice:
            raise ValueError(f"The state {twice[0]!r} is named twice; states are {', '.join(self.states)}.")
        if not self._own and self._pk is None:
            raise ValueError("states must name at least one state.")
        unknown = [name for name in self._inputs if name not in self._own]
        if unknown:
            raise ValueError(
                f"inputs has {unknown[0]!r}, which is not one of the states {', '.join(self._own)}."
            )
        for name in self.covariates:
            if name in self.parameters:
                raise ValueError(f"{name!r} is both a parameter and a covariate; rename one.")

    def _check_used(self) -> None:
        """Refuse parameters of which nothing depends: they would be sampled from their priors."""
        programs = (*self._rhs.values(), *self._outputs.values(), *self._initial.values())
        used = {name for program in programs for name in program.names}
        elsewhere = {name for one in self._inputs.values() for name in one.names}
        elsewhere |= set(self._pk.parameters) if self._pk else set()
        unused = [name for name in self._parameters if f"p.{name}" not in used and name not in elsewhere]
        if unused:
            raise ValueError(
                f"Nothing depends on the parameter {', '.join(unused)}: no rate, output, initial state or "
                "input of ode.System uses it. Use it or leave it out; parameters of the residual error are "
                "named in PopModel(parameters=...) only."
            )

    @property
    def driver(self) -> AbstractStructural | None:
        """The linear model that drives the equations."""
        return self._pk

    @property
    def integrated(self) -> tuple[str, ...]:
        """The states of the equations."""
        return self._own

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return self._parameters

    @property
    def covariates(self) -> tuple[str, ...]:
        """Columns of the data that the formulas use."""
        return self._covariates

    @property
    def outputs(self) -> tuple[str, ...]:
        """What can be observed: the driver's outputs, then the equations'."""
        before = tuple(self._pk.outputs) if self._pk else ()
        return tuple(dict.fromkeys((*before, *self._outputs)))

    @property
    def channels(self) -> Mapping[str, Channel]:
        """Ways in."""
        driven = dict(self._pk.channels) if self._pk else {}
        own = {state: self._inputs.get(state, NOTHING_HAPPENS).channel(state) for state in self._own}
        return driven | own

    def derivatives(self, t: Expression, state: Symbols, p: Symbols) -> Mapping[str, Expression]:
        """Rate of change of each state of the equations."""
        values = _values(t, state, p)
        return {name: program.build(values) for name, program in self._rhs.items()}

    def observables(self, t: Expression, state: Symbols, p: Symbols) -> Mapping[str, Expression]:
        """Value of each output."""
        values = _values(t, state, p)
        own = {name: program.build(values) for name, program in self._outputs.items()}
        return self.driver_outputs(state, p) | own

    def initials(self, p: Symbols) -> Mapping[str, Expression]:
        """States at the beginning."""
        values = _values(None, Symbols({}), p)
        found = {name: program.build(values) for name, program in self._initial.items()}
        return {name: found.get(name, 0.0) for name in self._own}

    def to_dict(self) -> dict[str, Any]:
        """Formulas and names, as JSON holds them."""
        return {
            "type": type(self).__name__,
            "states": list(self._own),
            "parameters": list(self._parameters),
            "rhs": {name: program.to_dict() for name, program in self._rhs.items()},
            "outputs": {name: program.to_dict() for name, program in self._outputs.items()},
            "initial": {name: program.to_dict() for name, program in self._initial.items()},
            "inputs": {
                state: {f.name: getattr(one, f.name) for f in fields(one)}
                for state, one in self._inputs.items()
            },
            "covariates": list(self._covariates),
            "pk": self._pk.to_dict() if self._pk else None,
            **{name: getattr(self, name) for name in SETTINGS},
        }

    @classmethod
    def from_arguments(cls, **arguments: Any) -> "System":
        """Make the system that `to_dict` described."""
        inputs = {state: Input(**one) for state, one in arguments.pop("inputs").items()}
        return cls(inputs=inputs, **arguments)

    @property
    def _key(self) -> tuple[Any, ...]:
        return (
            *(self._own, self._parameters, tuple(self._rhs.items()), tuple(self._outputs.items())),
            *(tuple(self._initial.items()), tuple(self._inputs.items()), self._covariates, self._pk),
            *(getattr(self, name) for name in SETTINGS),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, System) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"System(states={self._own}, parameters={self._parameters}, outputs={self.outputs})"


def _values(t: Any, state: Symbols, p: Symbols) -> dict[str, Any]:
    """Symbols under the names that programs use."""
    return {
        "t": t,
        **{f"state.{name}": state[name] for name in state},
        **{f"p.{name}": p[name] for name in p},
    }


def _checked_inputs(inputs: Mapping[str, Any]) -> dict[str, Input]:
    """Refuse what does not say what happens to doses."""
    for state, one in inputs.items():
        if not isinstance(one, Input):
            raise TypeError(
                f"inputs[{state!r}] must be an ode.Input, such as ode.Input(lag='Tlag'), not {one!r}."
            )
    return dict(inputs)
