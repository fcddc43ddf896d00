"""Population values as free coordinates: those that a linear regression estimates, and the rest.

A coefficient is *linear* when individual parameters shift by the same amount whatever the other
coefficients are, and by one amount for all records of a subject (mu-referencing): typical values on
the scale of their random effect, covariate coefficients that enter as exponents. It is found by trying,
not by a list of kinds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import special

from popbayes import dims
from popbayes.building.starts import population_priors
from popbayes.infer.effects import Effects
from popbayes.infer.tree import Study
from popbayes.parameters.family import AbstractPrior
from popbayes.parameters.parameter import Parameter
from popbayes.parameters.priors import Fixed

LINEAR = 1e-8
"""Relative difference of two shifts that are the same but for rounding."""
TRIED = 0.1
"""Size of the steps by which linearity is tried."""


@dataclass(frozen=True, eq=False)
class Coordinate:
    """One population number without bounds.

    Attributes
    ----------
    name : str
        Variable in graphs and DataTrees.
    level : int or None
        Place in the variable, of a coefficient with several levels.
    prior : prior
        Of the natural value.
    natural, free : functions
        From the coordinate to the natural value, and back.
    """

    name: str
    level: int | None
    prior: AbstractPrior
    natural: Callable[[Any], Any]
    free: Callable[[Any], Any]

    @property
    def is_natural(self) -> bool:
        """Whether it is the natural value itself, in the user's units; else a logarithm or a logit."""
        return self.natural is _same


def _same(x: Any) -> Any:
    return x


def positive(name: str, prior: AbstractPrior) -> Coordinate:
    """A standard deviation by its logarithm."""
    return Coordinate(name, None, prior, np.exp, np.log)


def within_support(name: str, prior: AbstractPrior) -> Coordinate:
    """A residual parameter: by its logarithm, its logit or itself, as its prior allows values."""
    low, high = prior.support
    if high == np.inf:
        return positive(name, prior) if low >= 0 else Coordinate(name, None, prior, _same, _same)
    return bounded(name, prior, low, high - low)


def bounded(name: str, prior: AbstractPrior, low: float, width: float) -> Coordinate:
    """A number between two bounds, by its logit."""
    return Coordinate(
        name,
        None,
        prior,
        lambda x: low + width * special.expit(x),
        lambda value: special.logit((np.asarray(value) - low) / width),
    )


def typical(name: str, parameter: Parameter) -> Coordinate:
    """A typical value on the scale of its parameter."""
    prior = parameter.prior
    if parameter.scale == "log":
        return Coordinate(name, None, prior, np.exp, np.log)
    if parameter.scale == "identity":
        return Coordinate(name, None, prior, _same, _same)
    return bounded(name, prior, parameter.lower, parameter.upper - parameter.lower)


@dataclass(frozen=True, eq=False)
class Layout:
    r"""How the population values of a study are estimated.

    The individual parameters, on the scales of their random effects and up to what `others` add, are
    :math:`\zeta_i = X_i c + \eta_i` with the coefficients `c` of `linear`.

    Attributes
    ----------
    study : Study
    linear : tuple of Coordinate
        Estimated by regression of individual parameters.
    others : tuple of Coordinate
        Estimated from the observations: coefficients that are not linear, parameters without random
        effects, residual parameters.
    design_matrix : (n_subject, n_eta, n_linear)
        :math:`X_i`; rows of effects of occasions are 0.
    effects : Effects
        Where random effects stand in the vector of a subject; `n_eta` is its length.
    """

    study: Study
    linear: tuple[Coordinate, ...]
    others: tuple[Coordinate, ...]
    design_matrix: np.ndarray
    effects: Effects

    @classmethod
    def of(cls, study: Study, effects: Effects) -> "Layout":
        """Find out which coefficients are linear."""
        model = study.model
        coordinates: dict[str, list[Coordinate]] = {name: [] for name in model.parameters}
        sizes = population_priors(model)
        for name, parameter in model.parameters.items():
            if dims.pop(name) in sizes:
                coordinates[name].append(typical(dims.pop(name), parameter))
            for one in model.coefficients(name):
                if one.name in sizes:
                    levels: Sequence[int | None] = range(len(one.labels)) if one.labels else (None,)
                    coordinates[name] += [
                        Coordinate(one.name, level, one.prior, _same, _same) for level in levels
                    ]
        everything = [one for group in coordinates.values() for one in group]
        linear: list[Coordinate] = []
        shifts = []
        for k, name in enumerate(model.eta_names):
            for coordinate, shift in _shifts(study, name, coordinates[name], everything):
                column = np.zeros((study.design.n_subject, effects.size))
                column[:, k] = shift
                linear.append(coordinate)
                shifts.append(column)
        others = [one for one in everything if one not in linear]
        residual = model.observation.priors.items()
        others += [within_support(name, prior) for name, prior in residual if not isinstance(prior, Fixed)]
        shape = (study.design.n_subject, effects.size, 0)
        matrix = np.stack(shifts, axis=-1) if shifts else np.zeros(shape)
        return cls(study, tuple(linear), tuple(others), matrix, effects)

    @property
    def coordinates(self) -> tuple[Coordinate, ...]:
        """All coordinates but those of the random effects' distribution: linear ones first."""
        return self.linear + self.others

    @cached_property
    def start(self) -> np.ndarray:
        """Prior medians, (n_linear + n_others,)."""
        return np.array([float(one.free(one.prior.start())) for one in self.coordinates])

    @cached_property
    def moves_predictions(self) -> np.ndarray:
        """Of `others`: whether predictions depend on it; the rest are residual parameters, (n_others,)."""
        residual = self.study.model.observation.priors
        return np.array([one.name not in residual for one in self.others], dtype=bool)

    def values(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Natural values by name from coordinates (..., n): (..., 1), or (..., n_level)."""
        return natural_values(self.coordinates, x)

    def centre(self, coefficients: np.ndarray) -> np.ndarray:
        """Population part of the individual parameters, (n_subject, n_eta)."""
        return self.design_matrix @ coefficients

    def locations(self, x: np.ndarray) -> np.ndarray:
        """Typical values with covariates where effects are added, in first segments, (subject, eta)."""
        study = self.study
        places = study.model.locations(self.values(x), study.design)
        first = np.searchsorted(study.design.segment_subject, np.arange(study.design.n_subject))
        shape = (study.design.n_segment,)
        columns = [np.broadcast_to(places[name], shape)[first] for name in study.model.eta_names]
        return np.stack(columns, axis=-1) if columns else np.zeros((len(first), 0))


def natural_values(coordinates: Sequence[Coordinate], x: np.ndarray) -> dict[str, np.ndarray]:
    """Natural values by name from coordinates (..., n): (..., 1), or (..., n_level)."""
    found: dict[str, list[np.ndarray]] = {}
    for k, one in enumerate(coordinates):
        found.setdefault(one.name, []).append(one.natural(x[..., k]))
    return {name: np.stack(columns, axis=-1) for name, columns in found.items()}


def _shifts(
    study: Study, name: str, own: Sequence[Coordinate], everything: Sequence[Coordinate]
) -> list[tuple[Coordinate, np.ndarray]]:
    """Linear coordinates of one parameter, with the shift of each subject for one unit, (n_subject,)."""
    design = study.design
    rng = np.random.default_rng(0)
    start = np.array([float(one.free(one.prior.start())) for one in everything])
    subject = design.segment_subject
    first = np.searchsorted(subject, np.arange(design.n_subject))

    def place(x: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            found: Mapping[str, Any] = study.model.locations(natural_values(everything, x[None]), design)
        return np.broadcast_to(found[name], (1, design.n_segment))[0]

    linear = []
    for one in own:
        unit = np.array([other is one for other in everything], dtype=float)
        tries = []
        for step in (TRIED, 2 * TRIED, TRIED):
            base = start + 0.05 * rng.standard_normal(len(start))
            tries.append((place(base + step * unit) - place(base)) / step)
        shift = tries[0]
        same = all(np.allclose(shift, other, rtol=LINEAR, atol=LINEAR) for other in tries[1:])
        if same and np.all(np.isfinite(shift)) and np.allclose(shift, shift[first][subject], rtol=LINEAR):
            linear.append((one, shift[first]))
    return linear
