r"""Methods that approximate each subject's integral around its conditional mode, and their gradient.

.. math:: -2 \log L_i(\theta) \approx O_i(\theta, \hat\eta_i(\theta))

where :math:`\hat\eta_i` is a stationary point of the joint density (the inner problem) and `O` the
method's formula. Along a coordinate :math:`\theta_k` the mode moves by the implicit function theorem,

.. math:: \frac{d\hat\eta_i}{d\theta_k} = -\Big[\frac{\partial^2 l_i}{\partial\eta^2}\Big]^{-1}
          \frac{\partial^2 l_i}{\partial\eta\,\partial\theta_k},

and the derivative of the objective is the central difference of `O` along
:math:`(\theta_k, \hat\eta_i + h\,d\hat\eta_i/d\theta_k)`: the modes are not searched again, and what
they miss is of second order and cancels.
"""

from abc import abstractmethod
from dataclasses import dataclass, field

import numpy as np

from popbayes.infer.error_slopes import refuse_unless_normal
from popbayes.infer.estimation.coordinates import Coordinates
from popbayes.infer.estimation.curvature import exact_curvature
from popbayes.infer.estimation.information import COVARIANCES
from popbayes.infer.estimation.method import AbstractMethod
from popbayes.infer.estimation.modes import modes, searched
from popbayes.infer.subject_logp import LOG_2PI, Local, Observe, SubjectDensity, Values
from popbayes.infer.tree import Study

STEP = 1e-4
"""Of a coordinate in central differences: they err by about STEP**2, rounding by 1e-12 / STEP."""


@dataclass(frozen=True, eq=False)
class Slope:
    """Derivatives of the objective at one point.

    Attributes
    ----------
    scores : (n_subject, size)
        Of each subject's -2 log L by the coordinates.
    moves : (size, n_subject, n_eta)
        Of the modes by the coordinates.
    """

    scores: np.ndarray
    moves: np.ndarray


@dataclass(frozen=True)
class AbstractConditional(AbstractMethod):
    """A formula for -2 log L of each subject around a point in its random effects.

    Parameters
    ----------
    covariance : {"observed", "scores", "sandwich"}
        Where standard errors come from: the observed information (NONMEM's MATRIX=R), the subjects' scores
        (MATRIX=S), or both (NONMEM's default).
    """

    covariance: str = field(default="observed", kw_only=True)

    def __post_init__(self) -> None:
        if self.covariance not in COVARIANCES:
            raise ValueError(
                f"covariance of pb.{self.name} must be one of {', '.join(COVARIANCES)}, "
                f"not {self.covariance!r}."
            )

    def check(self, study: Study) -> None:
        """Refuse residual errors that the formula does not hold for."""
        if self.linearises:
            refuse_unless_normal(study, self.name)

    @abstractmethod
    def objective(self, density: SubjectDensity, values: Values, eta: np.ndarray) -> np.ndarray:
        """-2 log L of each subject from the density around `eta`, (n_subject,), with its n log(2 pi)."""

    def observe(self, density: SubjectDensity, values: Values) -> Observe | None:
        """How observations scatter in the inner problem; None: as the model says."""
        return None

    def settle(self, density: SubjectDensity, values: Values, eta: np.ndarray) -> np.ndarray:
        """The points that the formula is taken around, from ones nearby."""
        return modes(density, values, eta, self.observe(density, values))[0]

    def search(
        self, density: SubjectDensity, values: Values, eta: np.ndarray, seed: int
    ) -> tuple[np.ndarray, bool]:
        """The same, from several starts; and whether a better one was found than that near `eta`."""
        found, _, moved = searched(density, values, eta, self.observe(density, values), seed)
        return found, bool(moved.any())

    def curvature(self, density: SubjectDensity, values: Values, eta: np.ndarray) -> np.ndarray:
        """Minus the second derivatives of the joint density by the random effects, (n_subject, n, n)."""
        return exact_curvature(density, values, eta, self.observe(density, values))

    def slope(
        self, density: SubjectDensity, coordinates: Coordinates, x: np.ndarray, eta: np.ndarray
    ) -> Slope:
        """Scores at `x` and the modes that belong to it."""
        moves = self.moves(density, coordinates, x, eta)
        scores = np.empty((density.n_subject, coordinates.size))
        for k in range(coordinates.size):
            step = np.zeros(coordinates.size)
            step[k] = STEP * coordinates.steps[k]
            up = self.objective(density, coordinates.values(x + step), eta + step[k] * moves[k])
            down = self.objective(density, coordinates.values(x - step), eta - step[k] * moves[k])
            scores[:, k] = (up - down) / (2 * step[k])
        return Slope(scores, moves)

    def moves(
        self, density: SubjectDensity, coordinates: Coordinates, x: np.ndarray, eta: np.ndarray
    ) -> np.ndarray:
        """Derivatives of the modes by the coordinates, (size, n_subject, n_eta)."""
        moves = np.zeros((coordinates.size, density.n_subject, density.n_eta))
        if density.n_eta == 0:
            return moves
        values = coordinates.values(x)
        known = density.sensitivities(values, eta)
        curvature = self.curvature(density, values, eta)
        for k in range(coordinates.size):
            step = np.zeros(coordinates.size)
            step[k] = STEP * coordinates.steps[k]
            reuse = None if coordinates.is_structural(k) else known
            up = self._gradient(density, coordinates.values(x + step), eta, reuse)
            down = self._gradient(density, coordinates.values(x - step), eta, reuse)
            mixed = (up - down) / (2 * step[k])
            moves[k] = np.linalg.solve(curvature, mixed[..., None])[..., 0]
        return moves

    def _gradient(
        self,
        density: SubjectDensity,
        values: Values,
        eta: np.ndarray,
        known: tuple[np.ndarray, np.ndarray] | None,
    ) -> np.ndarray:
        return density.local(values, eta, self.observe(density, values), known=known).gradient


def laplace(density: SubjectDensity, here: Local, log_determinant: np.ndarray) -> np.ndarray:
    r"""-2 log of Laplace's approximation, :math:`-2 l_i - n_\eta \log 2\pi + \log |H_i|`, (n_subject,)."""
    return -2.0 * here.logp - density.n_eta * LOG_2PI + log_determinant
