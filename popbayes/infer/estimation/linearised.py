r"""FO, FOCE, FOCEI and Laplace: the formulas.

With predictions `f`, their derivatives `J` by the random effects and the error variances `R`
(on the scale where the error is normal):

.. math::

    \text{FO:} \quad & \log|V| + r^\top V^{-1} r, \quad V = J \Omega J^\top + R,
        \quad \text{all at } \eta = 0 \\
    \text{FOCE:} \quad & \sum_j \Big[\frac{(y_j - f_j)^2}{R_j} + \log R_j\Big]
        + \hat\eta^\top \Omega^{-1} \hat\eta + \log|\Omega| + \log|H|, \\
    & H = \Omega^{-1} + \sum_j \frac{J_j J_j^\top}{R_j}

with `R` at :math:`\eta = 0` (FOCE) or at :math:`\hat\eta`, and then
:math:`H = \Omega^{-1} + \sum_j (J_j J_j^\top / R_j + \tfrac12 R'_j R_j'^\top / R_j^2)` (FOCEI); Laplace takes
minus the exact second derivatives of the joint log density for `H`. To each belongs :math:`n \log 2\pi`.

References
----------
Beal & Sheiner, *NONMEM Users Guide* VII (1998); Wang, *J Pharmacokinet Pharmacodyn* 34 (2007) 575-593;
Almquist, Leander & Jirstrand, *J Pharmacokinet Pharmacodyn* 42 (2015) 191-209.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, final

import numpy as np

from popbayes.infer.error_slopes import Slopes, no_interaction
from popbayes.infer.estimation.conditional import AbstractConditional, laplace
from popbayes.infer.estimation.coordinates import Coordinates
from popbayes.infer.estimation.curvature import exact_curvature
from popbayes.infer.estimation.method import Found, Problem
from popbayes.infer.estimation.outer import minimise
from popbayes.infer.pointwise import sigmas
from popbayes.infer.subject_logp import Observe, SubjectDensity, Values


@dataclass(frozen=True)
class AbstractLinearised(AbstractConditional):
    """What the methods of this module share: how they run, and how the error may be taken at eta = 0."""

    def run(self, problem: Problem) -> Found:
        """Minimise the objective over the population values."""
        return minimise(self, problem)


def typical_error(density: SubjectDensity, values: Values) -> Observe:
    """Observations scatter around individual predictions with the SD of the typical subject's."""
    return partial(_no_interaction, density, density.predictions(values, None))


def _no_interaction(density: SubjectDensity, typical: np.ndarray, values: Values, pred: np.ndarray) -> Slopes:
    return no_interaction(density.study, pred, typical, sigmas(density.study, dict(values)))


@final
@dataclass(frozen=True)
class FirstOrder(AbstractLinearised):
    """First-order method (FO): predictions are linear in the random effects, around eta = 0.

    It is the fastest and the most biased: use it to look at old results. The random effects that are
    reported are the conditional modes at its estimates (POSTHOC).
    """

    name: ClassVar[str] = "FirstOrder"
    linearises: ClassVar[bool] = True

    @property
    def label(self) -> str:
        """``fo``."""
        return "fo"

    def observe(self, density: SubjectDensity, values: Values) -> Observe | None:
        """The error has the SD of the typical subject's prediction."""
        return typical_error(density, values)

    def settle(self, density: SubjectDensity, values: Values, eta: np.ndarray) -> np.ndarray:
        """Always 0."""
        return np.zeros_like(eta)

    def search(
        self, density: SubjectDensity, values: Values, eta: np.ndarray, seed: int
    ) -> tuple[np.ndarray, bool]:
        """Always 0."""
        return np.zeros_like(eta), False

    def moves(
        self, density: SubjectDensity, coordinates: Coordinates, x: np.ndarray, eta: np.ndarray
    ) -> np.ndarray:
        """Always 0."""
        return np.zeros((coordinates.size, density.n_subject, density.n_eta))

    def objective(self, density: SubjectDensity, values: Values, eta: np.ndarray) -> np.ndarray:
        """-2 log L of the linear model at eta = 0."""
        here = density.local(values, eta, self.observe(density, values))
        step = np.linalg.solve(here.information, here.gradient[..., None])[..., 0]
        return laplace(density, here, here.log_determinant) - np.sum(here.gradient * step, axis=1)


@final
@dataclass(frozen=True)
class Foce(AbstractLinearised):
    """First-order conditional estimation: predictions are linear in the random effects, around their modes.

    Parameters
    ----------
    interaction : bool
        The error depends on the individual prediction (FOCEI), as the model says; False: on that of the
        typical subject (FOCE).
    """

    interaction: bool = True

    name: ClassVar[str] = "Foce"
    linearises: ClassVar[bool] = True

    @property
    def label(self) -> str:
        """``focei`` or ``foce``."""
        return "focei" if self.interaction else "foce"

    def observe(self, density: SubjectDensity, values: Values) -> Observe | None:
        """As the model says, or with the SD of the typical subject's prediction."""
        return None if self.interaction else typical_error(density, values)

    def objective(self, density: SubjectDensity, values: Values, eta: np.ndarray) -> np.ndarray:
        """-2 log L by the expected information around `eta`."""
        here = density.local(values, eta, self.observe(density, values))
        return laplace(density, here, here.log_determinant)


@final
@dataclass(frozen=True)
class Laplace(AbstractLinearised):
    """Laplace's approximation with exact second derivatives of the joint density.

    It takes residual errors and limits of quantification as they are, where FOCE linearises.
    """

    name: ClassVar[str] = "Laplace"

    def objective(self, density: SubjectDensity, values: Values, eta: np.ndarray) -> np.ndarray:
        """-2 log L by the exact curvature around `eta`."""
        here = density.local(values, eta)
        curvature = exact_curvature(density, values, eta)
        return laplace(density, here, np.linalg.slogdet(curvature)[1])
