"""Priors that the field states on variances: scaled inverse chi-square and inverse Wishart."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from scipy import stats

from popbayes.parameters.family import AbstractPrior, argument, real_number

__all__ = ["InverseWishart", "ScaledInverseChiSquared"]


@final
@dataclass(frozen=True)
class ScaledInverseChiSquared(AbstractPrior):
    r"""Prior of a standard deviation whose variance is scaled-inverse-chi-square distributed.

    .. math:: x^2 = \frac{\nu\, s^2}{\chi^2_\nu}, \qquad
       p(x) = \frac{2\,(\nu s^2 / 2)^{\nu/2}}{\Gamma(\nu/2)}\, x^{-\nu-1} e^{-\nu s^2 / (2 x^2)}

    Parameters
    ----------
    nu : float
        Degrees of freedom: the prior weighs as much as `nu` observations.
    sigma2 : float
        Scale of the *variance*, as in NONMEM's ``$SIGMAP``; the prior itself is of the SD.

    References
    ----------
    Gelman et al., *Bayesian Data Analysis*, 3rd ed. (2013), appendix A.
    """

    nu: float = argument("positive")
    sigma2: float = argument("positive")
    bounds = (0.0, math.inf)

    def _inverse_cdf(self, p: np.ndarray) -> Any:
        return np.sqrt(self.nu * self.sigma2 / stats.chi2.isf(p, self.nu))


@final
@dataclass(frozen=True, eq=False)
class InverseWishart:
    r"""Prior of the covariance matrix of correlated random effects.

    .. math:: p(\Omega) \propto |\Omega|^{-(\nu + d + 1)/2}\, e^{-\mathrm{tr}(S\,\Omega^{-1})/2}

    Parameters
    ----------
    nu : float
        Degrees of freedom, at least `d`, the number of random effects.
    omega : square matrix
        A guess of the *covariance* matrix, as in NONMEM's ``$OMEGAP``: the scale matrix is
        :math:`S = \nu\,\text{omega}`.

    Notes
    -----
    Standard deviations and correlations hang together in this prior, and small standard deviations are
    improbable whatever the data say; `variability.Correlated` with priors of the SDs and an LKJ prior has
    neither trait. It is here for comparison with NONMEM and for the Gibbs samplers of old.
    """

    nu: float
    omega: Any

    def __post_init__(self) -> None:
        nu, omega = real_number(self.nu), np.asarray(self.omega, dtype=np.float64)
        square = omega.ndim == 2 and omega.shape[0] == omega.shape[1] and len(omega) > 1
        if not square or not np.allclose(omega, omega.T) or np.linalg.eigvalsh(omega)[0] <= 0:
            raise ValueError(
                "prior.InverseWishart: omega must be a covariance matrix, symmetric and positive definite, "
                f"of two random effects or more; not {np.asarray(self.omega).tolist()}."
            )
        if nu is None or not len(omega) <= nu < math.inf:
            raise ValueError(
                f"prior.InverseWishart: nu must be a number >= {len(omega)}, the number of random effects, "
                f"not {self.nu!r}."
            )
        object.__setattr__(self, "nu", nu)
        object.__setattr__(self, "omega", tuple(tuple(float(x) for x in row) for row in omega))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InverseWishart) and (self.nu, self.omega) == (other.nu, other.omega)

    def __hash__(self) -> int:
        return hash((self.nu, self.omega))

    @property
    def size(self) -> int:
        """Number of random effects."""
        return len(self.omega)

    @property
    def scale(self) -> np.ndarray:
        """The scale matrix, nu times the guess."""
        return self.nu * np.array(self.omega)

    def start(self) -> np.ndarray:
        """Where chains start: SDs at the mode of the prior of the matrix, (d,)."""
        return np.sqrt(np.diag(self.scale) / (self.nu + self.size + 1))

    def marginal(self, index: int) -> AbstractPrior:
        """Prior of one standard deviation: of the SD whose variance is scaled inverse chi-square."""
        nu = self.nu - self.size + 1
        return ScaledInverseChiSquared(nu, self.scale[index, index] / nu)

    def sample(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw standard deviations (n, d) and correlation matrices (n, d, d)."""
        drawn = stats.invwishart(self.nu, self.scale).rvs(size=n, random_state=rng)
        drawn = np.reshape(drawn, (n, self.size, self.size))
        sd = np.sqrt(np.diagonal(drawn, axis1=1, axis2=2))
        return sd, drawn / (sd[:, :, None] * sd[:, None, :])

    def describe(self) -> str:
        """The prior in words."""
        rows = "; ".join(", ".join(f"{x:.4g}" for x in row) for row in self.omega)
        return f"InverseWishart(nu {self.nu:g}, omega [{rows}])"

    def latex(self) -> str:
        """The prior in LaTeX."""
        rows = r" \\ ".join(" & ".join(f"{x:.4g}" for x in row) for row in self.omega)
        matrix = rf"\begin{{pmatrix}}{rows}\end{{pmatrix}}"
        return rf"\mathrm{{InverseWishart}}\left({self.nu:g},\ {self.nu:g} {matrix}\right)"

    def to_dict(self) -> dict[str, Any]:
        """The prior as JSON values."""
        return {"nu": self.nu, "omega": [list(row) for row in self.omega]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "InverseWishart":
        """Make the prior that `to_dict` described."""
        return cls(values["nu"], values["omega"])
