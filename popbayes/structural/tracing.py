"""A user's functions of states and parameters, called once on symbols: what they return becomes programs."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from popbayes.engine.declaration import Symbols
from popbayes.structural.formula import Program


def called(formula: Callable[..., Any], what: str, how: str, *arguments: Any) -> Any:
    """Call a user's function on symbols; where that goes wrong, say which it is and `how` it is called."""
    try:
        inspect.signature(formula).bind(*arguments)
    except TypeError as error:
        raise TypeError(f"{what} is called as {how}; this function does not take that: {error}.") from error
    except ValueError:
        pass  # a callable that does not tell its signature
    try:
        return formula(*arguments)
    except ValueError as error:
        if "array element" not in str(error):
            raise
        raise TypeError(
            f"{what} uses a function of arrays, such as np.where: write that of expressions, pt.switch."
        ) from error
    except AttributeError as error:
        named = " Names of states are given in states=, those of p in parameters= and covariates=."
        raise AttributeError(f"{what}: {error}{named}") from error
    except TypeError as error:
        if "converted to python float" in str(error).lower():
            raise TypeError(
                f"{what} uses a function of numbers, such as math.exp: write that of expressions, pt.exp "
                "(import pytensor.tensor as pt)."
            ) from error
        if "boolean" not in str(error).lower():
            raise
        raise TypeError(
            f"{what} takes the truth of an expression (if, and, or, not): it has none before numbers are put "
            "in. Write pt.switch(condition, where_true, where_false), with & and | for and and or."
        ) from error


class Trace:
    """Symbols with which a user's functions are called once."""

    def __init__(self, states: Sequence[str], parameters: Sequence[str]):
        self.t = pt.dscalar("t")
        self.states = {name: pt.dscalar(name) for name in states}
        self.p = {name: pt.dscalar(name) for name in parameters}

    @property
    def names(self) -> dict[Variable, str]:
        """Variable -> its name in a program."""
        return {
            self.t: "t",
            **{v: f"state.{name}" for name, v in self.states.items()},
            **{v: f"p.{name}" for name, v in self.p.items()},
        }

    def rates(self, rhs: Any, own: Sequence[str]) -> dict[str, Program]:
        """Programs of the rates of change."""
        if isinstance(rhs, Mapping):
            return {name: Program.from_dict(rhs[name]) for name in own}
        found = called(rhs, "rhs", "rhs(t, state, p)", self.t, Symbols(self.states), Symbols(self.p))
        if not isinstance(found, Mapping):
            raise TypeError(f"rhs must return a mapping of state -> rate of change, not {found!r}.")
        missing = [name for name in own if name not in found]
        unknown = [name for name in found if name not in own]
        if missing or unknown:
            raise ValueError(
                (f"rhs returns no rate of change for {', '.join(missing)}." if missing else "")
                + (" " if missing and unknown else "")
                + (f"rhs returns one for {', '.join(map(str, unknown))}, " if unknown else "")
                + (f"but the states that are integrated are {', '.join(own)}." if unknown else "")
            )
        return {name: Program.of(found[name], self.names, f"The rate of change of {name!r}") for name in own}

    def outputs(self, given: Any, before: Sequence[str]) -> dict[str, Program]:
        """Programs of the outputs; `before` are names that the driver has given already."""
        if not isinstance(given, Mapping):
            raise TypeError(
                f"outputs must map names to functions, {{'conc': lambda s, p: ...}}, not {given!r}."
            )
        for name in given:
            if name in before:
                raise ValueError(f"outputs has {name!r}, which is an output of pk= already; rename it.")
        return {name: self._output(name, formula) for name, formula in given.items()}

    def _output(self, name: str, formula: Any) -> Program:
        if isinstance(formula, Mapping):
            return Program.from_dict(formula)
        if not callable(formula):
            raise TypeError(
                f"The output {name!r} must be a function of states and parameters, such as "
                f"lambda s, p: s.central / p.V, not {formula!r}."
            )
        arguments = [Symbols(self.states), Symbols(self.p)]
        asked = [one for one in inspect.signature(formula).parameters.values() if one.default is one.empty]
        if len(asked) == 3:
            arguments = [self.t, *arguments]
        found = called(formula, f"The output {name!r}", "f(state, p) or f(t, state, p)", *arguments)
        return Program.of(found, self.names, f"The output {name!r}")

    def initials(self, given: Mapping[str, Any], own: Sequence[str]) -> dict[str, Program]:
        """Programs of the states at the beginning."""
        unknown = [name for name in given if name not in own]
        if unknown:
            raise ValueError(f"initial has {unknown[0]!r}, which is not one of the states {', '.join(own)}.")
        p = {v: f"p.{name}" for name, v in self.p.items()}
        found = {}
        for name, value in given.items():
            if isinstance(value, Mapping):
                found[name] = Program.from_dict(value)
            else:
                what = f"The initial state {name!r}"
                expression: Callable[..., Any] | Any = value
                if callable(value):
                    expression = called(value, what, "f(p)", Symbols(self.p))
                found[name] = Program.of(expression, p, what)
        return found
