"""How all observations of a model are distributed: a law for each kind (DVID) and stratum."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

from popbayes.data.events import EventTable
from popbayes.observation import outcome as outcomes
from popbayes.observation import residual as residuals
from popbayes.observation.censoring import AbstractCensoring, censoring_from_dict
from popbayes.observation.law import AbstractLaw
from popbayes.observation.stratified import Stratified
from popbayes.parameters.family import AbstractPrior
from popbayes.wording import listed, nearest

STRATIFIED = "Stratified"
KINDS: dict[str, type[AbstractLaw]] = {**residuals.KINDS, **outcomes.KINDS}


@final
@dataclass(frozen=True)
class Kind:
    """One law: of which observations, and what its arguments are called.

    Attributes
    ----------
    endpoint : name of the endpoint: an output of the structural model, or of an outcome that needs none
    law : how its observations are distributed
    dvid : the DVID that it is about; None for all
    column, level : the stratum, empty where there is none
    suffix : what tells its arguments from those of other laws
    """

    endpoint: str
    law: AbstractLaw
    dvid: tuple[int, ...] | None = None
    column: str = ""
    level: str = ""
    suffix: str = ""

    @property
    def output(self) -> str:
        """The output of the structural model that it is about."""
        return output_of(self.endpoint, self.law)

    @property
    def names(self) -> dict[str, str]:
        """The law's own names -> names in graphs and tables, or parameters of the model."""
        return {
            name: value if isinstance(value, str) else f"{name}{self.suffix}"
            for name, value in self.law.given.items()
        }

    @property
    def priors(self) -> dict[str, AbstractPrior]:
        """Priors by their names in graphs and tables."""
        return {self.names[name]: prior for name, prior in self.law.sigmas.items()}


@final
@dataclass(frozen=True)
class ObservationModel:
    """The laws of all observations; made by `PopModel` from its residual, dvid and censoring."""

    given: Any
    outputs: tuple[str, ...]
    dvid: Mapping[int, str] | None = None
    censoring: AbstractCensoring | None = None

    def __post_init__(self) -> None:
        if self.censoring is not None and not isinstance(self.censoring, AbstractCensoring):
            raise TypeError(
                f"censoring must be a method such as censoring.M3(), not {self.censoring!r}."
                + (" Write it with brackets." if isinstance(self.censoring, type) else "")
            )
        for endpoint, one in self.endpoints.items():
            self._check_law(endpoint, one)
        self._check_dvid()
        names = [name for kind in self.kinds for name in kind.priors]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"{listed(sorted(twice))} would name two things; rename a level of the strata.")

    def _check_law(self, endpoint: str, one: Any) -> None:
        laws = list(one.laws.values()) if isinstance(one, Stratified) else [one]
        for law in laws:
            if not isinstance(law, AbstractLaw):
                raise TypeError(
                    "residual must be a residual error such as residual.Proportional(prior.HalfNormal(0.3)), "
                    f"or a mapping of outputs to residual errors; not {law!r}."
                )
            needed = (output_of(endpoint, law),) if law.uses_prediction else ()
            for output in needed:
                if output not in self.outputs:
                    raise ValueError(
                        f"residual names the output {output!r}, which the structural model does not have; "
                        f"it has {listed(self.outputs)}.{nearest(output, self.outputs)}"
                    )

    def _check_dvid(self) -> None:
        if self.dvid is None:
            return
        if not isinstance(self.given, Mapping):
            raise ValueError(
                "dvid says which DVID is which output, and so needs residual to be a mapping of outputs to "
                'residual errors: residual={"conc": ...}.'
            )
        for number, endpoint in self.dvid.items():
            if isinstance(number, bool) or not isinstance(number, int):
                raise TypeError(f"dvid maps whole numbers to outputs, not {number!r}.")
            if endpoint not in self.endpoints:
                raise ValueError(
                    f"dvid maps {number} to {endpoint!r}, which residual does not have; it has "
                    f"{listed(self.endpoints)}.{nearest(endpoint, self.endpoints)}"
                )
        absent = [name for name in self.endpoints if name not in self.dvid.values()]
        if absent:
            raise ValueError(f"dvid has no number for {listed(absent)}, which residual describes.")

    @cached_property
    def endpoints(self) -> dict[str, Any]:
        """Endpoint -> its law, or its laws by stratum."""
        return dict(self.given) if isinstance(self.given, Mapping) else {self.outputs[0]: self.given}

    @property
    def endpoint_of(self) -> dict[int, str]:
        """DVID -> endpoint; empty where there is one endpoint and nothing was said."""
        if self.dvid is not None:
            return dict(self.dvid)
        if len(self.endpoints) == 1:
            return {}
        return dict(enumerate(self.endpoints, start=1))

    @cached_property
    def kinds(self) -> tuple[Kind, ...]:
        """One for each endpoint and stratum."""
        several = len(self.endpoints) > 1
        return tuple(self._kinds(several))

    def _kinds(self, several: bool) -> Iterator[Kind]:
        for endpoint, one in self.endpoints.items():
            dvid = tuple(k for k, name in self.endpoint_of.items() if name == endpoint) or None
            suffix = f"_{endpoint}" if several else ""
            if isinstance(one, Stratified):
                for level, law in one.laws.items():
                    yield Kind(endpoint, law, dvid, one.column, level, f"{suffix}_{level}")
            else:
                yield Kind(endpoint, one, dvid, suffix=suffix)

    @cached_property
    def priors(self) -> dict[str, AbstractPrior]:
        """Priors of all arguments by their names in graphs and tables."""
        return {name: prior for kind in self.kinds for name, prior in kind.priors.items()}

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        """Lowest and highest value of each argument by its name in graphs and tables."""
        return {
            graph: kind.law.support(name)
            for kind in self.kinds
            for name, graph in kind.names.items()
            if graph in self.priors
        }

    @property
    def parameters(self) -> tuple[str, ...]:
        """Parameters of the model that the laws use beside those of the structural model."""
        return tuple(dict.fromkeys(name for kind in self.kinds for name in kind.law.parameters))

    @property
    def in_units(self) -> frozenset[str]:
        """Names in graphs and tables that have the units of the observations."""
        return frozenset(kind.names[name] for kind in self.kinds for name in kind.law.in_units)

    def units(self, events: EventTable) -> dict[str, str]:
        """Endpoint -> unit of its observations."""
        return {kind.endpoint: events.dv_unit(kind.dvid) for kind in self.kinds}

    @property
    def symbols(self) -> dict[str, tuple[str, str]]:
        """Names in graphs and tables -> symbols as text and in LaTeX."""
        return {graph: _symbol(kind, name) for kind in self.kinds for name, graph in kind.names.items()}

    def text_lines(self) -> list[str]:
        """What the observations are, one line for each law and one for what is beyond limits."""
        lines = [
            f"{_left(kind)} ~ {_named(kind, kind.law.text(f'{kind.endpoint}_ij'), 0)}" for kind in self.kinds
        ]
        if self.censoring is not None:
            lines.append(f"Beyond a limit: {self.censoring.says} ({self.censoring.kind})")
        return lines

    def latex_lines(self) -> list[str]:
        """The laws as lines of an ``aligned`` block."""
        several = len(self.kinds) > 1
        lines = []
        for kind in self.kinds:
            of = rf",\ \mathrm{{{kind.endpoint}{' ' if kind.level else ''}{kind.level}}}" if several else ""
            law = _named(kind, kind.law.latex("f_{ij}"), 1)
            lines.append(rf"\mathrm{{dv}}_{{ij{of}}} &\sim {law}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """The fields of `PopModel` that it was made from, as JSON values."""
        laws = {name: one.to_dict() for name, one in self.endpoints.items()}
        return {
            "residual": {"endpoints": laws} if isinstance(self.given, Mapping) else self.given.to_dict(),
            "dvid": None if self.dvid is None else {str(number): name for number, name in self.dvid.items()},
            "censoring": None if self.censoring is None else self.censoring.to_dict(),
        }


def output_of(endpoint: str, law: AbstractLaw) -> str:
    """The output of the structural model that a law is about: its own, or that of the endpoint's name."""
    return getattr(law, "output", "") or endpoint


def _left(kind: Kind) -> str:
    """What is distributed: ``dv_ij``, and of which observations."""
    of = [f"DVID {', '.join(map(str, kind.dvid))}"] if kind.dvid else []
    of += [f"{kind.column} {kind.level}"] if kind.column else []
    return f"dv_ij ({', '.join(of)})" if of else "dv_ij"


def _symbol(kind: Kind, name: str) -> tuple[str, str]:
    """Symbol of an argument, with the suffix that tells it from others, or the parameter that it is."""
    given = kind.law.given[name]
    if isinstance(given, str):
        return f"{given}_i", rf"\mathrm{{{given}}}_i"
    text, latex = kind.law.symbol(name)
    if not kind.suffix:
        return text, latex
    below = kind.suffix[1:].replace("_", ",")
    inside = rf"{latex[:-1]},{below}}}" if latex.endswith("}") else rf"{latex}_\mathrm{{{below}}}"
    return f"{text}{',' if '_' in text else '_'}{below}", inside


def _named(kind: Kind, words: str, which: int) -> str:
    """A law's text with the arguments' own symbols."""
    own = {kind.law.symbol(name)[which]: _symbol(kind, name)[which] for name in kind.law.given}
    if not own:
        return words
    longest = sorted(map(re.escape, own), key=len, reverse=True)
    pattern = rf"(?<![A-Za-z_\\])(?:{'|'.join(longest)})(?![A-Za-z_])"
    return re.sub(pattern, lambda found: own[found[0]], words)


def law_from_dict(values: Mapping[str, Any]) -> Any:
    """Make a law, or laws by stratum, from what `to_dict` gave.

    Raises
    ------
    ValueError
        If the kind is unknown.
    """
    given = dict(values)
    kind = given.pop("kind", None)
    if kind == STRATIFIED:
        laws = {level: law_from_dict(one) for level, one in given["laws"].items()}
        return Stratified(given["column"], laws)
    if kind not in KINDS:
        raise ValueError(f"There is no residual {kind!r}; there are {listed(KINDS)}.{nearest(kind, KINDS)}")
    return KINDS[kind].from_dict(given)


def observation_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `PopModel` that say how it is observed, from its JSON values."""
    written = values["residual"]
    residual = (
        {name: law_from_dict(one) for name, one in written["endpoints"].items()}
        if "endpoints" in written
        else law_from_dict(written)
    )
    dvid = values.get("dvid")
    return {
        "residual": residual,
        "dvid": None if dvid is None else {int(number): name for number, name in dvid.items()},
        "censoring": censoring_from_dict(values.get("censoring")),
    }
