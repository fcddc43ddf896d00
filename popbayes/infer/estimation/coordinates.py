"""Estimated population values as one vector of unbounded, well-scaled coordinates, and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from popbayes import dims
from popbayes.data.design import Design
from popbayes.infer.subject_logp import TINY, Values
from popbayes.model import PopModel, Row
from popbayes.model.levels import Grouping
from popbayes.parameters.parameter import Parameter

MOST_CORRELATED = 0.999
"""Correlation at which a start is taken to be when it is nearer to 1."""


@dataclass(frozen=True, eq=False)
class Coordinates:
    r"""The vector that methods move through, one coordinate for each row that is estimated.

    Typical values are on the scale of their parameter (:math:`\log \theta`; logit; on the identity scale
    :math:`\theta` over the size of its start), covariate coefficients as they are, SDs of random effects and
    errors as logarithms, and each block of correlations as the inverse hyperbolic tangents of its canonical
    partial correlations, so that every vector is a possible population.

    Attributes
    ----------
    model : PopModel, resolved
    start : population values
        Where methods start; it also holds what is not estimated.
    design : Design
        Whose covariates tell how far a coefficient reaches.
    """

    model: PopModel
    start: Values
    design: Design

    @cached_property
    def rows(self) -> list[Row]:
        """Rows of the parameter table that are estimated, in order."""
        return [row for row in self.model.population_rows() if not row.fixed]

    @property
    def labels(self) -> list[str]:
        """Names of the rows: ``CL_pop``, ``omega[CL]``, ``corr[CL, V]``."""
        return [row.label for row in self.rows]

    @property
    def size(self) -> int:
        """Number of estimated values."""
        return len(self.rows)

    def is_structural(self, k: int) -> bool:
        """Whether predictions depend on coordinate `k`."""
        return self.rows[k].kind in ("pop", "beta")

    @cached_property
    def initial(self) -> np.ndarray:
        """Coordinates of the start, (size,)."""
        return self.vector(self.start)

    @cached_property
    def steps(self) -> np.ndarray:
        """A step of each coordinate that changes some parameter by a factor of about e, (size,)."""
        return np.array([1.0 if row.kind != "beta" else 1.0 / self._reach(row) for row in self.rows])

    def _reach(self, row: Row) -> float:
        """Largest change of a location by one unit of a coefficient, relative where the scale is identity."""
        value = np.array(self.start[row.name], dtype=complex)
        step = np.zeros(value.shape, dtype=complex)
        step[() if row.index is None else self._levels(row).index(str(row.index))] = TINY * 1j
        place = self.model.locations({**self.start, row.name: value + step}, self.design)[row.parameter]
        change = np.abs(np.imag(place)) / TINY
        if row.scale == "identity":
            change = change / np.maximum(np.abs(np.real(place)), 1e-300)
        reach = float(np.max(change))
        return reach if 0 < reach < np.inf else 1.0

    def vector(self, values: Values) -> np.ndarray:
        """Coordinates of population values, (size,)."""
        partial = self._partial(values)
        return np.array([self._inward(row, values, partial) for row in self.rows], dtype=np.float64)

    def values(self, x: np.ndarray) -> dict[str, Any]:
        """Population values at coordinates `x` (size,)."""
        found: dict[str, Any] = {
            name: np.array(value, dtype=np.float64) for name, value in self.start.items()
        }
        partial: dict[Any, float] = {}
        for row, one in zip(self.rows, x, strict=True):
            if row.kind == "corr":
                partial[row.name, row.index] = float(np.tanh(one))
            elif row.index is None:
                found[row.name] = np.float64(self._outward(row, one))
            else:
                place = self._levels(row).index(str(row.index))
                found[row.name][place] = self._outward(row, one)
        return found | self._correlations(partial)

    def natural(self, x: np.ndarray) -> np.ndarray:
        """The rows' own values (SDs, correlations, typical values) at coordinates `x`, (size,)."""
        values = self.values(x)
        return np.array([self._read(row, values) for row in self.rows])

    def jacobian(self, x: np.ndarray, step: float = 1e-5) -> np.ndarray:
        """Derivatives of `natural`, (size, size): rows by coordinates."""
        columns = []
        for k in range(self.size):
            move = np.zeros(self.size)
            move[k] = step
            columns.append((self.natural(x + move) - self.natural(x - move)) / (2 * step))
        return np.stack(columns, axis=1) if columns else np.zeros((0, 0))

    def _levels(self, row: Row) -> list[str]:
        """Labels along the dimension that `row.index` is a place in."""
        if row.kind == "omega":
            return list(self.model.eta_names)
        if row.kind == "level":
            return list(self._grouping(row.name).names)
        return [one.index for one in self.model.population_rows() if one.name == row.name]  # type: ignore[misc]

    def _read(self, row: Row, values: Mapping[str, Any]) -> float:
        if row.kind == "corr":
            one, other = (self._correlated_names(row.name).index(name) for name in row.index or ())
            return float(np.asarray(values[row.name])[one, other])
        if row.index is None:
            return float(np.asarray(values[row.name]))
        return float(np.asarray(values[row.name])[self._levels(row).index(str(row.index))])

    def identity_scale(self, row: Row) -> float:
        """Size of a typical value on the identity scale, by which its coordinate is divided."""
        start = abs(self._read(row, self.start))
        return start if start > 0 else 1.0

    def _inward(self, row: Row, values: Values, partial: Mapping[Any, float]) -> float:
        if row.kind == "corr":
            return float(np.arctanh(np.clip(partial[row.name, row.index], -MOST_CORRELATED, MOST_CORRELATED)))
        value = self._read(row, values)
        if self._is_positive(row):
            return float(np.log(value))
        if row.kind in ("beta", "sigma"):
            return value
        parameter = self._parameter(row)
        if parameter.scale == "identity":
            return value / self.identity_scale(row)
        return _place(parameter, value)

    def _outward(self, row: Row, x: float) -> float:
        if self._is_positive(row):
            return float(np.exp(x))
        if row.kind in ("beta", "sigma"):
            return float(x)
        parameter = self._parameter(row)
        return (
            float(x) * self.identity_scale(row)
            if parameter.scale == "identity"
            else float(parameter.value(x, np))
        )

    def _is_positive(self, row: Row) -> bool:
        """Whether it is an SD, or another argument of a residual error that is positive."""
        return row.kind in ("omega", "level") or (
            row.kind == "sigma" and self.model.observation.limits[row.name][0] == 0
        )

    def _parameter(self, row: Row) -> Parameter:
        return self.model.parameters[row.parameter]

    def _grouping(self, name: str) -> Grouping:
        """The level whose SDs or correlations a variable holds."""
        return next(one for one in self.model.groupings if name in (one.sd, one.corr))

    def _correlated_names(self, name: str) -> tuple[str, ...]:
        """Parameters along both dimensions of a matrix of correlations."""
        return self.model.eta_names if name == dims.CORR else self._grouping(name).names

    @property
    def _blocks(self) -> list[tuple[str, tuple[str, ...]]]:
        """Matrices of correlations, and parameters whose effects are correlated in them."""
        own = [(dims.CORR, names) for names, _ in self.model.correlated_blocks]
        return own + [(one.corr, one.names) for one in self.model.groupings if one.block.correlated]

    def _partial(self, values: Values) -> dict[Any, float]:
        """Canonical partial correlations by matrix and pair, from the correlation matrices."""
        found: dict[Any, float] = {}
        for matrix, names in self._blocks:
            place = [self._correlated_names(matrix).index(name) for name in names]
            root = np.linalg.cholesky(np.asarray(values[matrix])[np.ix_(place, place)])
            for i in range(len(names)):
                rest = 1.0
                for j in range(i):
                    share = float(root[i, j] / rest)
                    found[matrix, (names[j], names[i])] = share
                    rest *= np.sqrt(max(1e-300, 1.0 - share**2))
        return found

    def _correlations(self, partial: Mapping[Any, float]) -> dict[str, np.ndarray]:
        """Correlation matrices of all random effects from canonical partial correlations."""
        found: dict[str, np.ndarray] = {}
        for matrix, names in self._blocks:
            every = self._correlated_names(matrix)
            place = [every.index(name) for name in names]
            root = np.eye(len(names))
            for i in range(len(names)):
                rest = 1.0
                for j in range(i):
                    share = partial[matrix, (names[j], names[i])]
                    root[i, j] = share * rest
                    rest *= np.sqrt(1.0 - share**2)
                root[i, i] = rest
            corr = found.setdefault(matrix, np.eye(len(every)))
            corr[np.ix_(place, place)] = root @ root.T
            np.fill_diagonal(corr, 1.0)
        return found


def _place(parameter: Parameter, value: float) -> float:
    """A typical value on the scale of its random effect, covariates aside."""
    if parameter.scale == "log":
        return float(np.log(value))
    return float(np.log((value - parameter.lower) / (parameter.upper - value)))
