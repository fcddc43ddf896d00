"""Predictions, residuals and random effects of a fit, row by row of the observations."""

from typing import Any

import numpy as np
import xarray as xr

from popbayes.dims import CHAIN, DRAW, ETA, ETA_OF, OBS, OMEGA
from popbayes.infer.pointwise import individual_predictions, mean_of_draws, population_predictions, sigmas
from popbayes.infer.tree import Study, posterior, study_of

LONG_NAMES = {
    "subject": "Subject",
    "time": "Time",
    "tad": "Time after dose",
    "dvid": "Kind of observation",
    "dv": "Observed",
    "pred": "Population prediction",
    "ipred": "Individual prediction",
    "ires": "Individual residual",
    "iwres": "Individual weighted residual",
}
IN_TIME, IN_DV = ("time", "tad"), ("dv", "pred", "ipred", "ires")


def gof(dt: xr.DataTree) -> xr.Dataset:
    r"""Goodness of fit: predictions and residuals of every observation.

    .. math::

        \mathrm{ires} = \mathrm{dv} - \mathrm{ipred}, \qquad
        \mathrm{iwres} = \frac{\mathrm{dv} - \mathrm{ipred}}{\mathrm{sd}(\mathrm{ipred})},

    where `pred` is the posterior mean of the prediction at :math:`\eta = 0`, `ipred` that of the prediction
    with the subject's own random effects, and sd the residual standard deviation at the posterior means of
    its parameters (with ``residual.LogNormal``, iwres is that of the logarithm). The empirical Bayes estimate
    of a random effect is its posterior mean.

    Where the residual standard deviation is 0 an iwres is undefined, and nan; a combined or additive error
    has none such, and a zero `pred` (before the first dose) does no harm.

    Parameters
    ----------
    dt : DataTree
        A fit.

    Returns
    -------
    Dataset over obs
        `subject`, `time`, `tad`, `dvid`, `dv`, `pred`, `ipred`, `ires`, `iwres`; `eta_{P}` (the subject's
        estimate, in every one of its rows; attribute `omega`), and the covariates. Units are attributes.

    References
    ----------
    Savic & Karlsson, *AAPS Journal* 11 (2009) 558-569, on what these estimates hide when shrinkage is high.
    """
    study, draws = study_of(dt), posterior(dt)
    events = study.events
    pred = mean_of_draws(dt, population_predictions)
    ipred = mean_of_draws(dt, individual_predictions)
    values = {
        "subject": events.subjects[events.obs_subject],
        "time": events.obs_time,
        "tad": events.obs_tad,
        "dvid": events.dvid[events.obs_record],
        "dv": events.obs_dv,
        "pred": pred,
        "ipred": ipred,
        "ires": events.obs_dv - ipred,
        "iwres": weighted_residuals(study, draws, ipred),
    }
    variables: dict[str, Any] = {name: (OBS, v, _attrs(name, events.units)) for name, v in values.items()}
    variables |= _etas(draws, events.obs_subject)
    for name, column in events.covariates.items():
        unit = events.units.get(name, "")
        variables[name] = (OBS, column[events.obs_record], {"long_name": name, "units": unit, "covariate": 1})
    return xr.Dataset(variables, coords={OBS: np.arange(events.n_obs)}, attrs={"name": events.name})


def weighted_residuals(study: Study, draws: xr.Dataset, ipred: np.ndarray) -> np.ndarray:
    """Residuals in residual standard deviations, (n_obs,); nan where that is 0."""
    mean = {str(name): np.atleast_1d(draws[name].mean((CHAIN, DRAW))) for name in draws.data_vars}
    with np.errstate(divide="ignore", invalid="ignore"):
        result = study.observed.scores(ipred, sigmas(study, mean))
    return np.where(np.isfinite(result), result, np.nan)


def _etas(draws: xr.Dataset, obs_subject: np.ndarray) -> dict[str, Any]:
    """Estimate of each random effect, in every row of the subject."""
    if ETA not in draws:
        return {}
    estimate = draws[ETA].mean((CHAIN, DRAW))
    omega = draws[OMEGA].mean((CHAIN, DRAW))
    found = {}
    for name in estimate[ETA_OF].to_numpy():
        one = estimate.sel({ETA_OF: name}).to_numpy()[obs_subject]
        attrs = {"long_name": f"Random effect of {name}", "omega": float(omega.sel({ETA_OF: name}))}
        found[f"eta_{name}"] = (OBS, one, attrs)
    return found


def _attrs(name: str, units: dict[str, str]) -> dict[str, str]:
    column = "TIME" if name in IN_TIME else "DV" if name in IN_DV else ""
    return {"long_name": LONG_NAMES[name], "units": units.get(column, "")}
