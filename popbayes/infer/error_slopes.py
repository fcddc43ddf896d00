r"""Derivatives of the log density of each observation by its prediction.

A residual error that is normal on some scale, :math:`h(y) = h(f) + s(f)\,\varepsilon`, has

.. math:: l' = \frac{z h' + (z^2 - 1) s'}{s}, \qquad
   I = \left(\frac{h'}{s}\right)^2 + 2 \left(\frac{s'}{s}\right)^2, \qquad z = \frac{h(y) - h(f)}{s},

with `I` the expected information about `f`. The derivatives of `h` and `s` are taken by differences of
order four of these formulas, which are smooth and cost nothing beside a prediction.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np

from popbayes.infer.pointwise import Draws, observation_logp
from popbayes.infer.tree import Study
from popbayes.observation.observed import Part
from popbayes.observation.residual import AbstractResidual

STEP = 1e-3
"""Of the differences, relative to the prediction or the error: they err by about STEP**4 / 30."""
COARSE = 2e-2
"""The same where second differences are taken of the density itself."""
NOUGHT = 1e-9


@dataclass(frozen=True, eq=False)
class Slopes:
    """Log density of each observation, its derivative by the prediction, and the expected information.

    Each is (n_obs,).
    """

    logp: np.ndarray
    slope: np.ndarray
    information: np.ndarray


def refuse_unless_normal(study: Study, method: str) -> None:
    """Refuse observations that are not normal on any scale, for methods that linearise."""
    for part in study.observed.parts:
        law = part.kind.law
        if not isinstance(law, AbstractResidual) or law.nu is not None:
            what = "Student-t (nu)" if isinstance(law, AbstractResidual) else f"{law.namespace}.{law.kind}"
            raise ValueError(
                f"pb.{method} linearises a normal residual error, but this one is {what}. Use "
                "pb.Laplace() or pb.Quadrature(), or another residual error."
            )
        if not part.rows.all_measured:
            raise ValueError(
                f"pb.{method} linearises a normal residual error, but there are observations beyond a limit, "
                "which contribute a probability. Use pb.Laplace() or pb.Quadrature(), or put values in their "
                "place (censoring.M5)."
            )


def is_separate(study: Study) -> bool:
    """Whether the density of every observation depends on its own prediction and known numbers alone."""
    correlated = any("rho" in part.kind.law.given for part in study.observed.parts)
    return not (correlated or study.model.observation.parameters)


def refuse_unless_separate(study: Study) -> None:
    """Refuse observations whose densities depend on more than their own prediction and known numbers."""
    individual = study.model.observation.parameters
    if individual:
        raise ValueError(
            f"Here an observation depends on its prediction alone, but {', '.join(individual)} of its "
            "distribution differs between subjects. Use pb.fit, which samples it."
        )
    if any("rho" in part.kind.law.given for part in study.observed.parts):
        raise ValueError(
            "Here an observation depends on its own prediction alone, but these have correlated errors "
            "(rho). Use pb.fit, or leave rho out."
        )


def transformed(study: Study, values: np.ndarray, sigma: Draws) -> np.ndarray:
    """`h`: predictions or observations on the scale where the error is normal, (n_obs,)."""

    def of(part: Part) -> np.ndarray:
        return cast(AbstractResidual, part.kind.law).transform(part.predicted(values), part.own(sigma))

    return study.observed.over_laws(of)


def spread(study: Study, prediction: np.ndarray, sigma: Draws) -> np.ndarray:
    """`s`: SD of the error on the scale where it is normal, (n_obs,)."""

    def of(part: Part) -> np.ndarray:
        return cast(AbstractResidual, part.kind.law).scale(part.predicted(prediction), part.own(sigma))

    return study.observed.over_laws(of)


def is_normal(study: Study) -> bool:
    """Whether all observations are measured, with errors that are normal on some scale."""
    return all(
        isinstance(part.kind.law, AbstractResidual) and part.kind.law.nu is None and part.rows.all_measured
        for part in study.observed.parts
    )


def derivative_of_transform(study: Study, prediction: np.ndarray, sigma: Draws) -> np.ndarray:
    """Derivative of `h` at the predictions, (n_obs,)."""
    step = _step(study, prediction, sigma)
    return derivative(lambda f: transformed(study, f, sigma), prediction, step)


def _step(study: Study, prediction: np.ndarray, sigma: Draws) -> np.ndarray:
    """Step of differences in the prediction, (n_obs,)."""
    return STEP * np.where(prediction != 0, np.abs(prediction), spread(study, prediction, sigma))


def derivative(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Derivative of an elementwise function by differences of order four."""
    near = function(x + step) - function(x - step)
    far = function(x + 2 * step) - function(x - 2 * step)
    return (8 * near - far) / (12 * step)


def interaction(study: Study, prediction: np.ndarray, sigma: Draws) -> Slopes:
    """Slopes of the density as it is: the error depends on the individual prediction."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if not is_normal(study):
            return _by_differences(study, prediction, sigma)
        sd = spread(study, prediction, sigma)
        step = _step(study, prediction, sigma)
        dh = derivative(lambda f: transformed(study, f, sigma), prediction, step)
        ds = derivative(lambda f: spread(study, f, sigma), prediction, step)
        z = (transformed(study, study.observed.dv, sigma) - transformed(study, prediction, sigma)) / sd
        logp = observation_logp(study, prediction, sigma)
        return Slopes(logp, (z * dh + (z**2 - 1) * ds) / sd, (dh / sd) ** 2 + 2 * (ds / sd) ** 2)


def _by_differences(study: Study, prediction: np.ndarray, sigma: Draws) -> Slopes:
    """Slopes of any density by differences; its curvature, where positive, stands for the information."""
    step = COARSE * study.observed.over_laws(lambda part: _width(part, prediction, sigma))

    def logp(f: np.ndarray) -> np.ndarray:
        return observation_logp(study, f, sigma)

    middle, near, far = (
        logp(prediction),
        *((logp(prediction + k * step), logp(prediction - k * step)) for k in (1, 2)),
    )
    slope = (8 * (near[0] - near[1]) - (far[0] - far[1])) / (12 * step)
    curvature = (16 * (near[0] + near[1]) - (far[0] + far[1]) - 30 * middle) / (12 * step**2)
    return Slopes(middle, slope, np.maximum(-curvature, 0.0))


def _width(part: Part, prediction: np.ndarray, sigma: Draws) -> np.ndarray:
    """Change of a prediction over which the density of an observation changes, (n,)."""
    own = part.predicted(prediction)
    law = part.kind.law
    if not isinstance(law, AbstractResidual):
        return np.maximum(np.abs(own), NOUGHT)
    if not law.needs_positive_prediction:
        return law.scale(own, part.own(sigma))
    width = law.scale(own, part.own(sigma)) * np.exp(-law.log_slope(own, part.own(sigma)))
    return np.where(own > 0, width, NOUGHT)


def no_interaction(study: Study, prediction: np.ndarray, typical: np.ndarray, sigma: Draws) -> Slopes:
    """Slopes where the error has the SD of the typical subject's prediction (`typical`, eta = 0)."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        sd = spread(study, typical, sigma)
        dh = derivative_of_transform(study, prediction, sigma)
        dv = study.observed.dv
        z = (transformed(study, dv, sigma) - transformed(study, prediction, sigma)) / sd
        # the density of an observation at its own prediction holds the constants and the Jacobian of h
        at_own = observation_logp(study, dv, sigma) + np.log(spread(study, dv, sigma))
        return Slopes(at_own - 0.5 * z**2 - np.log(sd), z * dh / sd, (dh / sd) ** 2)
