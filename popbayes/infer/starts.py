"""Where chains begin: prior medians with jitter, checked finite, and explained when they are not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytensor
from pymc.distributions.continuous import FlatRV, HalfFlatRV
from pymc.initial_point import make_initial_point_fn

Density = Callable[[np.ndarray], tuple[float, np.ndarray]]
"""Log density and gradient at one point of the unconstrained space."""

JITTER = 0.5
"""Half-width of the jitter, in prior standard deviations of the unconstrained coordinate."""
PRIOR_DRAWS = 64
TRIES = 40
TRIES_BEFORE_SHRINKING = 5
HOPELESS = -1e10
"""Log density below which no step size leads back, finite or not: a chain would stay where it began."""


@dataclass(frozen=True, eq=False)
class Starts:
    """A centre and a spread for every coordinate of the unconstrained space.

    The coordinates are those of the free variables of the graph, in its order, each in C order. With a
    `maker` (a warm start) each start is one that it makes; without, the centre with uniform jitter.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    centre: np.ndarray
    spread: np.ndarray
    maker: Callable[[np.random.Generator], np.ndarray] | None = None

    def draw(self, rng: np.random.Generator, shrink: float = 1.0) -> np.ndarray:
        """One start; with `shrink` below 1 nearer to the centre."""
        if self.maker is not None:
            return self.centre + shrink * (self.maker(rng) - self.centre)
        return self.centre + shrink * JITTER * self.spread * rng.uniform(-1.0, 1.0, self.centre.size)

    def point(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """The same start as a mapping from value variable to array, as PyMC wants it."""
        pieces = np.split(flat, np.cumsum([int(np.prod(shape)) for shape in self.shapes])[:-1])
        return {
            name: piece.reshape(shape)
            for name, shape, piece in zip(self.names, self.shapes, pieces, strict=True)
        }

    def coordinate(self, index: int) -> str:
        """What a coordinate is called, in the words of the graph."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes])
        which = int(np.searchsorted(ends, index, side="right"))
        shape = self.shapes[which]
        within = index - int(ends[which] - np.prod(shape))
        place = ", ".join(map(str, np.unravel_index(within, shape))) if shape else ""
        return self.names[which] + (f"[{place}]" if place else "")


def starts_of(graph: Any, medians: Mapping[str, Any], seed: int) -> Starts:
    """Centre every free variable of the graph at its prior median, and spread it as its prior is.

    Parameters
    ----------
    graph : pymc.Model
    medians : mapping of free variable name to value
        On the natural scale of the variable; variables left out start at PyMC's support point.
    seed : int
        The prior draws that the spread is taken from are reproducible.
    """
    middle = make_initial_point_fn(model=graph, overrides=dict(medians))(seed)
    prior = make_initial_point_fn(model=graph, overrides=_undrawable(graph), default_strategy="prior")
    seeds = np.random.SeedSequence(seed).generate_state(PRIOR_DRAWS)
    with np.errstate(all="ignore"):
        cloud = np.stack([_flat(prior(int(one))) for one in seeds])
        low, high = np.nanquantile(np.where(np.isfinite(cloud), cloud, np.nan), [0.16, 0.84], axis=0)
    spread = (high - low) / 2
    return Starts(
        names=tuple(middle),
        shapes=tuple(np.shape(value) for value in middle.values()),
        centre=_flat(middle),
        spread=np.where(np.isfinite(spread) & (spread > 0), spread, 1.0),
    )


def made_starts(graph: Any, make: Callable[[np.random.Generator], Mapping[str, Any]], seed: int) -> Starts:
    """Starts that `make` draws, as values of the free variables by name on their natural scales.

    Centre and spread are the mean and the SD of `PRIOR_DRAWS` of them in each coordinate.
    """
    shaped = make(np.random.default_rng(seed))
    inputs, outputs, names = [], [], []
    for variable in graph.free_RVs:
        natural = variable.type()
        transform = graph.rvs_to_transforms[variable]
        inputs.append(natural)
        names.append(graph.rvs_to_values[variable].name)
        outputs.append(natural if transform is None else transform.forward(natural, *variable.owner.inputs))
    forward = pytensor.function(inputs, outputs, mode="FAST_COMPILE", on_unused_input="ignore")
    order = [variable.name for variable in graph.free_RVs]

    def flat(rng: np.random.Generator) -> np.ndarray:
        point = make(rng)
        arrays = [np.asarray(point[name], dtype=np.float64) for name in order]
        return np.concatenate([np.ravel(value) for value in forward(*arrays)])

    cloud = np.stack([flat(np.random.default_rng(one)) for one in range(PRIOR_DRAWS)])
    spread = cloud.std(axis=0)
    return Starts(
        names=tuple(names),
        shapes=tuple(
            np.shape(one) for one in forward(*[np.asarray(shaped[n], dtype=np.float64) for n in order])
        ),
        centre=cloud.mean(axis=0),
        spread=np.where(spread > 0, spread, 1.0),
        maker=flat,
    )


def _undrawable(graph: Any) -> dict[str, np.ndarray]:
    """One in place of a draw from an improper prior: such a variable gets a spread of 1."""
    improper = [v for v in graph.free_RVs if isinstance(v.owner.op, FlatRV | HalfFlatRV)]
    return {v.name: np.ones(v.shape.eval()) for v in improper}


def _flat(point: Mapping[str, Any]) -> np.ndarray:
    return np.concatenate([np.ravel(value).astype(np.float64) for value in point.values()])


def is_usable(density: Density, start: np.ndarray) -> bool:
    """Whether a sampler can leave this start: no hopeless density, a finite gradient, no component zero."""
    value, gradient = density(start)
    near = np.isfinite(value) and value > HOPELESS
    return bool(near and np.all(np.isfinite(gradient)) and np.all(gradient != 0))


def usable_start(
    starts: Starts, density: Density, rng: np.random.Generator, explain: Callable[[np.ndarray], str]
) -> np.ndarray:
    """Draw starts, ever closer to the centre, until one is usable.

    Raises
    ------
    ValueError
        If none is, in the words of `explain`.
    """
    start = starts.centre
    for attempt in range(TRIES):
        start = starts.draw(rng, shrink=0.5 ** (attempt // TRIES_BEFORE_SHRINKING))
        if is_usable(density, start):
            return start
    value, gradient = density(start)
    flat = np.flatnonzero(gradient == 0)
    if np.all(np.isfinite(gradient)) and flat.size:
        raise ValueError(
            f"The log density does not depend on {starts.coordinate(int(flat[0]))} near its start "
            f"({flat.size} such coordinate(s)). Give it a proper prior, or fix it with prior.Fixed."
        )
    if np.isfinite(value) and np.all(np.isfinite(gradient)):
        raise ValueError(
            f"The log density is {value:.1e} at the start: predictions are so far from the observations, in "
            "standard deviations of the error, that no chain would arrive. Start elsewhere with "
            "starts={name: value}, or look at the medians of the priors; nothing has been sampled."
        )
    raise ValueError(explain(start))


def usable_starts(task_starts: Starts, density: Density, seed: int, chains: int, explain: Any) -> np.ndarray:
    """One usable start for each chain, (chain, coordinate), a function of the seed alone."""
    children = np.random.SeedSequence(seed).spawn(chains)
    return np.stack(
        [usable_start(task_starts, density, np.random.default_rng(child), explain) for child in children]
    )


@dataclass(frozen=True, eq=False)
class Layout:
    """How the graph of a population model reads: what is observed, and whose parameters are where.

    Attributes
    ----------
    likelihood : str
        Name of the observed variable.
    parameters : sequence of str
        Names of the individual parameters.
    owners : sequence of str
        Label of the subject of each element of an individual parameter.
    observations : sequence of (str, str)
        For each observation the label of its subject, and where its record is.
    """

    likelihood: str
    parameters: Sequence[str]
    owners: Sequence[str]
    observations: Sequence[tuple[str, str]]


def explain_start(graph: Any, layout: Layout, starts: Starts, start: np.ndarray) -> str:
    """Say which variable, subject and parameter make the log density or its gradient non-finite."""
    point = starts.point(start)
    bad = _non_finite_terms(graph, point)
    theta = _individual_parameters(graph, layout, point)
    fine = np.array([np.isfinite(values) for values in theta.values()])
    lost = np.flatnonzero(~np.all(fine, axis=0)) if len(fine) else np.empty(0)
    if layout.likelihood in bad:
        label, record = layout.observations[int(bad[layout.likelihood][0])]
        where = (
            f"The log density is not finite at the start: subject {label}, {record} "
            f"({bad[layout.likelihood].size} observation(s) in all). "
            f"{_listing(theta, layout.owners.index(label))}"
        )
    elif bad:
        where = f"The prior density of {', '.join(bad)} is not finite at the start."
    elif lost.size:
        label = layout.owners[int(lost[0])]
        where = f"The gradient is not finite at the start: subject {label}. {_listing(theta, int(lost[0]))}"
    else:
        where = f"The gradient by {_bad_gradient(graph, starts, start)} is not finite at the start."
    return (
        f"{where} Look at the priors (medians and widths), or start elsewhere with starts={{name: value}}; "
        "nothing has been sampled."
    )


def _non_finite_terms(graph: Any, point: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Indices of the non-finite elements of the log density of every variable that has some."""
    with np.errstate(all="ignore"):
        terms = {
            variable.name: graph.compile_logp(vars=[variable], sum=False, mode="FAST_COMPILE")(point)[0]
            for variable in graph.basic_RVs
        }
    found = {name: np.flatnonzero(~np.isfinite(np.ravel(term))) for name, term in terms.items()}
    return {name: indices for name, indices in found.items() if indices.size}


def _individual_parameters(
    graph: Any, layout: Layout, point: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    variables = graph.replace_rvs_by_values([graph[name] for name in layout.parameters])
    evaluate = graph.compile_fn(
        variables, inputs=graph.value_vars, mode="FAST_COMPILE", on_unused_input="ignore"
    )
    with np.errstate(all="ignore"):
        values = dict(zip(layout.parameters, evaluate(point), strict=True))
    place = {owner: k for k, owner in enumerate(dict.fromkeys(layout.owners))}
    of_subject = np.array([place[owner] for owner in layout.owners])
    every = len(layout.owners)
    return {name: one if len(one) == every else one[of_subject] for name, one in values.items()}


def _listing(theta: Mapping[str, np.ndarray], place: int) -> str:
    """The parameters of one subject in words, with what is wrong with them."""
    shown = {name: float(values[place]) for name, values in theta.items()}
    listing = ", ".join(f"{name} = {value:.4g}" for name, value in shown.items())
    wrong = [name for name, value in shown.items() if not np.isfinite(value)]
    if wrong:
        return f"Its parameter {wrong[0]} is not finite there ({listing})."
    return f"Its parameters there, {listing}, give no finite density."


def _bad_gradient(graph: Any, starts: Starts, start: np.ndarray) -> str:
    evaluate = graph.compile_dlogp(mode="FAST_COMPILE")
    gradient = np.ravel(evaluate(starts.point(start)))
    bad = np.flatnonzero(~np.isfinite(gradient))
    return ", ".join(starts.coordinate(int(index)) for index in bad[:3]) or "in the compiled code only"
