"""Conditional weighted residuals: the model linearised around each subject's random effects."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from popbayes.infer.error_slopes import derivative_of_transform, is_normal, is_separate, spread, transformed
from popbayes.infer.pointwise import sigmas
from popbayes.infer.subject_logp import SubjectDensity
from popbayes.infer.tree import Study
from popbayes.model.checks import beyond_subject_effects


def cwres(
    study: Study, values: Mapping[str, Any], eta: np.ndarray, *, interaction: bool = True
) -> np.ndarray:
    r"""Conditional weighted residuals of every observation.

    .. math::

        \mathrm{CWRES}_i = V_i^{-1/2} (y_i - f_i + J_i \hat\eta_i), \qquad
        V_i = J_i \Omega J_i^\top + R_i,

    with predictions `f`, their derivatives `J` by the random effects and error variances `R` at
    :math:`\hat\eta_i`, on the scale where the error is normal (a logarithm for a log-normal error), and the
    symmetric root. Under the right model they are about independent standard normal.

    Parameters
    ----------
    study : Study
    values : population values, as `popbayes.infer.subject_logp` has them
    eta : (n_subject, n_eta)
        Conditional modes, or means, of the random effects, those of occasions included
        (`popbayes.infer.effects`).
    interaction : bool
        Take the error at the individual prediction; False: at that of the typical subject.

    Returns
    -------
    (n_obs,); nan where the variance is 0, and throughout where errors are not normal on any scale, are
    correlated in time or have individual parameters, where observations lie beyond a limit, and where there
    are random effects of sites, Student-t ones, or selected covariates.

    References
    ----------
    Hooker, Staatz & Karlsson, *Pharm Res* 24 (2007) 2187-2197.
    """
    if (
        not (is_normal(study) and is_separate(study))
        or beyond_subject_effects(study.model)
        or study.model.selections
    ):
        return np.full(study.design.n_obs, np.nan)
    density = SubjectDensity(study)
    pred, slopes = density.sensitivities(values, eta)
    sigma = sigmas(study, dict(values))
    typical = pred if interaction else density.predictions(values, None)
    with np.errstate(all="ignore"):
        variance = spread(study, typical, sigma) ** 2
        jacobian = derivative_of_transform(study, pred, sigma) * slopes
        expected = transformed(study, pred, sigma) - np.einsum(
            "ko,ok->o", jacobian, eta[study.design.obs_subject]
        )
        residual = transformed(study, study.observed.dv, sigma) - expected
    covariance = np.linalg.inv(density.precision(values)) if density.n_eta else np.zeros((0, 0))
    found = np.full(len(pred), np.nan)
    for i in range(density.n_subject):
        own = study.design.obs_subject == i
        total = jacobian[:, own].T @ covariance @ jacobian[:, own] + np.diag(variance[own])
        found[own] = _weighted(residual[own], total)
    return found


def _weighted(residual: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Residuals times the symmetric inverse root of their covariance; nan where it has none."""
    fine = np.isfinite(residual) & (np.diag(covariance) > 0)
    out = np.full(len(residual), np.nan)
    if fine.any():
        size, vectors = np.linalg.eigh(covariance[np.ix_(fine, fine)])
        if size[0] > 0:
            out[fine] = vectors @ ((vectors.T @ residual[fine]) / np.sqrt(size))
    return out
