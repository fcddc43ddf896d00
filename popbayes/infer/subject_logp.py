r"""The log density of each subject's data and random effects, once, for every method that needs it.

.. math:: \log p(y_i, \eta_i \mid \theta) = \sum_j \log p(y_{ij} \mid f_{ij}(\eta_i, \theta), \sigma)
          + \log \mathrm{Normal}(\eta_i \mid 0, \Omega)

The random effects :math:`\eta_i` of a subject are one vector, those of its occasions included
(`popbayes.infer.effects`).

Population values, `values`, are a mapping as `popbayes.simulate` takes it: ``CL_pop``, ``beta_CL_WT``,
``sigma_add`` as numbers, ``omega`` (n_eta,), ``corr`` (n_eta, n_eta) where effects are correlated, and
``gamma``, ``corr_occ`` likewise of occasions.
Batches (many draws, each with its own population) have leading axes: scalars (..., 1), ``omega``
(..., n_eta), ``corr`` (..., n_eta, n_eta), random effects (..., n_subject, n_eta).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from popbayes.engine.ode_declaration import is_ode
from popbayes.engine.sensitivities import Solver
from popbayes.infer.effects import Effects
from popbayes.infer.error_slopes import Slopes, interaction, refuse_unless_separate
from popbayes.infer.pointwise import observation_logp, sigmas
from popbayes.infer.tree import Study
from popbayes.model.checks import check_subject_effects_only
from popbayes.structural.base import structural_from_dict

Values = Mapping[str, Any]
Observe = Callable[[Values, np.ndarray], Slopes]
"""From population values and individual predictions (n_obs,) to the slopes of the density."""

LOG_2PI = float(np.log(2 * np.pi))
TINY = 1e-30
"""Step of complex-step derivatives: exact, since nothing is subtracted."""
PRECISE, MORE_STEPS = 1e-10, 10
"""Tolerance of equations whose derivatives are compared, and how many times as many steps it may take."""


@dataclass(frozen=True, eq=False)
class Local:
    """What is known of the joint density of every subject at one point.

    Attributes
    ----------
    logp : (n_subject,)
        Log of the joint density.
    gradient : (n_subject, n_eta)
        By the random effects.
    information : (n_subject, n_eta, n_eta)
        Expected information about the random effects, their prior included: positive definite. It stands
        for minus the second derivatives (Gauss-Newton with the information of the error's SD).
    pred : (n_obs,)
        Individual predictions.
    jacobian : (n_eta, n_obs)
        Their derivatives by the random effects.
    """

    logp: np.ndarray
    gradient: np.ndarray
    information: np.ndarray
    pred: np.ndarray
    jacobian: np.ndarray

    @property
    def log_determinant(self) -> np.ndarray:
        """Log of the determinant of the information, (n_subject,); nan where it is not positive definite."""
        with np.errstate(invalid="ignore"):
            sign, size = np.linalg.slogdet(self.information)
        return np.where(sign > 0, size, np.nan)


@dataclass(frozen=True, eq=False)
class SubjectDensity:
    """Log densities of subjects, with derivatives by their random effects."""

    study: Study

    def __post_init__(self) -> None:
        refuse_unless_separate(self.study)
        check_subject_effects_only(self.study.model, "The marginal likelihood of a subject")

    @cached_property
    def solver(self) -> Solver:
        """The structural model on the design of the study."""
        return Solver.of(self.study.model.structural, self.study.design, self.study.observed.output)

    @cached_property
    def precise(self) -> "SubjectDensity":
        """The same, with equations solved so closely that differences of derivatives can be taken.

        Where a solver changes its steps, the derivatives jump by about what they err. Over a step of a
        hundredth of a standard error that is not small.
        """
        model, given = self.study.model, self.study.model.structural.to_dict()
        if not is_ode(model.structural) or given["rtol"] <= PRECISE:
            return self
        settings = {"rtol": PRECISE, "max_steps": MORE_STEPS * given["max_steps"]}
        structural = structural_from_dict(given | settings)
        return SubjectDensity(Study(replace(model, structural=structural), self.study.events))

    @cached_property
    def layout(self) -> Effects:
        """Where the random effects of a subject stand in its vector."""
        return Effects.of(self.study.model, self.study.design)

    @property
    def n_eta(self) -> int:
        """Random effects of a subject, those of its occasions included."""
        return self.layout.size

    @property
    def n_subject(self) -> int:
        """Number of subjects."""
        return self.study.design.n_subject

    def predictions(self, values: Values, eta: np.ndarray | None) -> np.ndarray:
        """Predictions, (..., n_obs), at random effects (..., n_subject, n_eta); None: typical subjects."""
        own, levels = self.layout.split(eta) if self.n_eta and eta is not None else (None, None)
        theta = self.study.model.individual_parameters(values, own, self.study.design, np, levels)
        return self.solver.predict(theta)

    def observations(self, values: Values, eta: np.ndarray) -> np.ndarray:
        """Log density of each subject's observations given its random effects, (..., n_subject)."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            prediction = self.predictions(values, eta)
            return self.by_subject(observation_logp(self.study, prediction, sigmas(self.study, dict(values))))

    def effects(self, values: Values, eta: np.ndarray) -> np.ndarray:
        """Log density of each subject's random effects, (..., n_subject)."""
        whitening = np.linalg.inv(self.root(values))
        standard = eta @ np.swapaxes(whitening, -1, -2)
        diagonal = np.diagonal(whitening, axis1=-2, axis2=-1)
        size = np.sum(np.log(diagonal), axis=-1)[..., None]
        return size - 0.5 * np.sum(standard**2, axis=-1) - 0.5 * self.n_eta * LOG_2PI

    def joint(self, values: Values, eta: np.ndarray) -> np.ndarray:
        """Log of the joint density, (..., n_subject): what methods integrate over the random effects."""
        return self.observations(values, eta) + self.effects(values, eta)

    def root(self, values: Values) -> np.ndarray:
        """Lower triangular root of the covariance of the random effects, (..., n_eta, n_eta)."""
        sds = self.layout.sds(self.study.model, values)
        corr = self.layout.correlations(values)
        own = np.eye(self.layout.n_basic) if corr is None else np.linalg.cholesky(corr)
        return self.layout.repeated(sds[..., None] * own)

    def omega(self, values: Values) -> np.ndarray:
        """SDs of the random effects, (..., n_eta), known ones included."""
        return self.layout.sds(self.study.model, values)[..., self.layout.basic]

    def sensitivities(
        self, values: Values, eta: np.ndarray, subjects: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predictions (n_obs,) and derivatives (n_eta, n_obs) by random effects, of some subjects or all."""
        model, design = self.study.model, self.study.design
        if self.n_eta == 0:
            pred = self.predictions(values, None)
            return pred, np.zeros((0, len(pred)))
        moved: dict[str, list[np.ndarray]] = {name: [] for name in model.structural.parameters}
        theta: Any = {}
        for k in range(self.n_eta):
            step = np.zeros(self.n_eta, dtype=complex)
            step[k] = TINY * 1j
            own, levels = self.layout.split(eta + step)
            theta = model.individual_parameters(values, own, design, np, levels)
            for name, columns in moved.items():
                columns.append(np.broadcast_to(np.imag(theta[name]) / TINY, design.n_segment))
        real = {name: np.real(value) for name, value in theta.items()}
        directions = {name: np.stack(columns) for name, columns in moved.items()}
        return self.solver.sensitivities(real, directions, subjects)

    def local(
        self,
        values: Values,
        eta: np.ndarray,
        observe: Observe | None = None,
        subjects: np.ndarray | None = None,
        known: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> Local:
        """Joint log density with its derivatives by the random effects.

        Parameters
        ----------
        values : population values, not a batch
        eta : (n_subject, n_eta)
        observe
            How observations scatter; None: as the model says.
        subjects
            Numbers of the subjects wanted; those of the others are nan or 0.
        known
            Predictions and their derivatives by eta, where they have been computed.
        """
        pred, jacobian = known or self.sensitivities(values, eta, subjects)
        seen = self.slopes(values, pred) if observe is None else observe(values, pred)
        precision = self.precision(values)
        with np.errstate(invalid="ignore", over="ignore"):
            logp = self.by_subject(seen.logp) + self.effects(values, eta)
            gradient = self.by_subject(seen.slope * jacobian).T - eta @ precision
            products = seen.information * jacobian[:, None, :] * jacobian[None, :, :]
            information = np.moveaxis(self.by_subject(products), -1, 0) + precision
        return Local(logp, gradient, information, pred, jacobian)

    def precision(self, values: Values) -> np.ndarray:
        """Inverse of the covariance of the random effects, (n_eta, n_eta)."""
        whitening = np.linalg.inv(self.root(values))
        return whitening.T @ whitening

    def slopes(self, values: Values, pred: np.ndarray) -> Slopes:
        """Density of every observation and its derivatives by the prediction."""
        return interaction(self.study, pred, sigmas(self.study, dict(values)))

    def by_subject(self, of_observations: np.ndarray) -> np.ndarray:
        """Sums over each subject's observations: (..., n_obs) to (..., n_subject)."""
        seen, first = self._runs
        out = np.zeros((*of_observations.shape[:-1], self.n_subject))
        out[..., seen] = np.add.reduceat(of_observations, first, axis=-1)
        return out

    @cached_property
    def _runs(self) -> tuple[np.ndarray, np.ndarray]:
        """Subjects with observations, and the first one of each."""
        return np.unique(self.study.design.obs_subject, return_index=True)
