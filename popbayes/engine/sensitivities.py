"""Predictions with their exact derivatives along given directions, many times on one design."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from popbayes.data.design import Design
from popbayes.engine.batches import Batch, evaluate_batches
from popbayes.engine.compiled import jacobian_of, kernels_of, with_covariates
from popbayes.engine.declaration import LinearDeclaration
from popbayes.engine.ode_declaration import columns
from popbayes.engine.op import Output, route
from popbayes.engine.schedule import Schedule
from popbayes.engine.threads import shared_out

WORTH_A_THREAD = 20_000
"""Pairs of an observation and an earlier record of its subject, below which threads cost more than they
save: about a millisecond of work."""

CORES = os.cpu_count() or 1

Theta = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Solver:
    """A structural model on one design: what does not change between evaluations is made once.

    Make it with `Solver.of`. It holds no state and may be used from several threads.
    """

    structural: LinearDeclaration
    design: Design
    outputs: tuple[str, ...]
    channels: tuple[str, ...]
    schedule: Schedule

    @classmethod
    def of(cls, structural: LinearDeclaration, design: Design, output: Output = None) -> "Solver":
        """Lay out `design` for `structural`; `output` is what is observed (see `engine.op.route`)."""
        way = route(structural, design, output)
        return cls(structural, design, way.outputs, way.channels, way.schedule)

    @cached_property
    def kernels(self) -> Any:
        """Compiled functions of the model."""
        return kernels_of(self.structural, self.outputs, self.channels, self.schedule.features)

    @cached_property
    def _pieces(self) -> list[np.ndarray]:
        """Subjects in runs of about equal work, one for each thread."""
        rows = np.diff(self.design.subject_start)
        seen = np.bincount(self.design.obs_subject, minlength=self.design.n_subject)
        work = np.cumsum(rows * seen)
        threads = int(min(CORES, max(1, work[-1] // WORTH_A_THREAD)))
        ends = np.searchsorted(work, work[-1] * np.arange(1, threads) / threads)
        return np.split(np.arange(self.design.n_subject), ends)

    def predict(self, theta: Theta) -> np.ndarray:
        """Predictions of a batch: parameter -> (..., n_segment), to (..., n_obs)."""
        thetas = self._stacked(theta)
        flat = np.ascontiguousarray(thetas.reshape(-1, *thetas.shape[-2:]))
        preds = np.empty((len(flat), self.design.n_obs))
        threads = min(CORES, len(flat), 1 + len(flat) * self.design.n_record // WORTH_A_THREAD)
        pieces = zip(np.array_split(flat, threads), np.array_split(preds, threads), strict=True)
        batches = [Batch(thetas, self.schedule.arrays, target) for thetas, target in pieces]
        evaluate_batches(self.kernels, batches, threads)
        return preds.reshape(*thetas.shape[:-2], self.design.n_obs)

    def sensitivities(
        self, theta: Theta, directions: Theta, subjects: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        r"""Predictions and their derivatives along directions in parameter space.

        .. math:: \mathrm{dpred}_{do} = \sum_{s, p} \frac{\partial f_o}{\partial \theta_{sp}}\, D_{d,sp}

        over the segments `s` of the observation's subject up to the observation.

        Parameters
        ----------
        theta
            Parameter -> (n_segment,) or a number.
        directions
            Parameter -> (n_direction, n_segment), :math:`D`; parameters that are left out do not move.
        subjects
            Numbers of the subjects to compute; None: all. The others' values are nan.

        Returns
        -------
        pred : (n_obs,)
        dpred : (n_direction, n_obs)
        """
        matrix = np.ascontiguousarray(self._stacked(theta))
        moves = self._moves(directions)
        pred = np.full(self.design.n_obs, np.nan)
        dpred = np.zeros((self.design.n_obs, moves.shape[1]))
        kernel = jacobian_of(self.structural, self.outputs, self.channels, self.schedule.features)
        pieces = self._pieces
        if subjects is not None:
            chosen = np.asarray(subjects, dtype=np.int64)
            dpred[~np.isin(self.design.obs_subject, chosen)] = np.nan
            pieces = np.array_split(chosen, max(1, min(len(pieces), len(chosen))))
        arrays = self.schedule.arrays

        def work(share: Iterable[np.ndarray]) -> None:
            for piece in share:
                kernel(piece, matrix, moves, *arrays, pred, dpred)

        shared_out(work, pieces, len(pieces))
        return pred, dpred.T

    def _stacked(self, theta: Theta) -> np.ndarray:
        """All parameters, (..., n_segment, n_parameter)."""
        vectors = [np.asarray(v, dtype=float) for v in with_covariates(self.structural, self.design, theta)]
        shape = np.broadcast_shapes(*(v.shape for v in vectors), (self.design.n_segment,))
        out = np.empty((*shape, len(vectors)))
        for k, v in enumerate(vectors):
            out[..., k] = v
        return out

    def _moves(self, directions: Theta) -> np.ndarray:
        """Directions as the kernel reads them, (n_segment, n_direction, n_parameter)."""
        names = columns(self.structural)
        unknown = [name for name in directions if name not in names]
        if unknown:
            raise ValueError(f"There is no parameter {unknown[0]!r} to move; there are {', '.join(names)}.")
        number = next((len(one) for one in directions.values()), 0)
        moves = np.zeros((self.design.n_segment, number, len(names)))
        for j, name in enumerate(names):
            if name in directions:
                moves[:, :, j] = np.asarray(directions[name], dtype=float).T
        return moves


def sensitivities(
    structural: LinearDeclaration,
    design: Design,
    theta: Theta,
    directions: Theta,
    output: Output = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and their exact derivatives along directions in parameter space, once.

    Make a `Solver` to do so many times on one design; the arguments are those of `Solver.sensitivities`.

    Parameters
    ----------
    structural
        The model's declaration.
    design
        Records and segments.
    theta
        Parameter -> (n_segment,) or a number.
    directions
        Parameter -> (n_direction, n_segment).
    output
        What is observed; None: the model's first output.

    Returns
    -------
    pred : (n_obs,)
    dpred : (n_direction, n_obs)

    Examples
    --------
    The derivative of a concentration by the logarithm of the volume, a bolus of 100 into 10 litres:

    >>> import numpy as np
    >>> from popbayes.data.design import Design
    >>> from popbayes.data.regimen import Regimen
    >>> from popbayes.structural import pk
    >>> design = Design.of(Regimen().dose(100).sample([0, 5]).to_events())
    >>> pred, dpred = sensitivities(
    ...     pk.OneCompartment(), design, {"CL": 2.0, "V": 10.0}, {"V": np.array([[10.0]])}
    ... )
    >>> np.allclose(dpred, [-10, 0], atol=1e-12)
    True
    """
    return Solver.of(structural, design, output).sensitivities(theta, directions)
