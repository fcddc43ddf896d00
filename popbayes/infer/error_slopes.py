r"""Derivatives of the log density of each observation by its prediction.

A residual error that is normal on some scale, :math:`h(y) = h(f) + s(f)\,\varepsilon`, has

.. math:: l' = \frac{z h' + (z^2 - 1) s'}{s}, \qquad
   I = \left(\frac{h'}{s}\right)^2 + 2 \left(\frac{s'}{s}\right)^2, \qquad z = \frac{h(y) - h(f)}{s},

with `I` the expected information about `f`. The derivatives of `h` and `s` are taken by differences of
order four of these formulas, which are smooth and cost nothing beside a prediction.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from popbayes.infer.pointwise import Draws, observation_logp
from popbayes.infer.tree import Study
from popbayes.observation.residual import LogNormal

STEP = 1e-3
"""Of the differences, relative to the prediction or the error: they err by about STEP**4 / 30."""


@dataclass(frozen=True, eq=False)
class Slopes:
    """Log density of each observation, its derivative by the prediction, and the expected information.

    Each is (n_obs,).
    """

    logp: np.ndarray
    slope: np.ndarray
    information: np.ndarray


def refuse_unless_normal(study: Study, method: str) -> None:
    """Refuse residual errors that are not normal on any scale, for methods that linearise."""
    if hasattr(study.model.residual, "nu") and study.model.residual.nu is not None:
        raise ValueError(
            f"pb.{method} linearises a normal residual error, but this one is Student-t (nu). Use "
            "pb.Laplace() or pb.Quadrature(), or leave nu out."
        )


def transformed(study: Study, values: np.ndarray) -> np.ndarray:
    """`h`: predictions or observations on the scale where the error is normal, (n_obs,)."""
    return np.log(values) if isinstance(study.model.residual, LogNormal) else values


def spread(study: Study, prediction: np.ndarray, sigma: Draws) -> np.ndarray:
    """`s`: SD of the error on the scale where it is normal, (n_obs,)."""
    residual = study.model.residual
    if isinstance(residual, LogNormal):
        return sigma["sigma_log"] + np.zeros_like(prediction)
    return residual.sd(prediction, sigma)


def derivative(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Derivative of an elementwise function by differences of order four."""
    near = function(x + step) - function(x - step)
    far = function(x + 2 * step) - function(x - 2 * step)
    return (8 * near - far) / (12 * step)


def interaction(study: Study, prediction: np.ndarray, sigma: Draws) -> Slopes:
    """Slopes of the density as it is: the error depends on the individual prediction."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        sd = spread(study, prediction, sigma)
        step = STEP * np.where(prediction != 0, np.abs(prediction), sd)
        dh = derivative(lambda f: transformed(study, f), prediction, step)
        ds = derivative(lambda f: spread(study, f, sigma), prediction, step)
        z = (transformed(study, study.events.obs_dv) - transformed(study, prediction)) / sd
        logp = observation_logp(study, prediction, sigma)
        return Slopes(logp, (z * dh + (z**2 - 1) * ds) / sd, (dh / sd) ** 2 + 2 * (ds / sd) ** 2)


def no_interaction(study: Study, prediction: np.ndarray, typical: np.ndarray, sigma: Draws) -> Slopes:
    """Slopes where the error has the SD of the typical subject's prediction (`typical`, eta = 0)."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        sd = spread(study, typical, sigma)
        step = STEP * np.where(prediction != 0, np.abs(prediction), sd)
        dh = derivative(lambda f: transformed(study, f), prediction, step)
        dv = study.events.obs_dv
        z = (transformed(study, dv) - transformed(study, prediction)) / sd
        # the density of an observation at its own prediction holds the constants and the Jacobian of h
        at_own = observation_logp(study, dv, sigma) + np.log(spread(study, dv, sigma))
        return Slopes(at_own - 0.5 * z**2 - np.log(sd), z * dh / sd, (dh / sd) ** 2)
