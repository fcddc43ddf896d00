"""Predictions, residuals and random effects of a fit, row by row of the observations."""

import json
from typing import Any

import numpy as np
import xarray as xr

from popbayes.diagnostics.curves import measured_endpoints
from popbayes.diagnostics.cwres import cwres
from popbayes.diagnostics.limits import beyond_limits
from popbayes.dims import CHAIN, DRAW, ETA, ETA_OF, OBS, OMEGA
from popbayes.infer.effects import Effects
from popbayes.infer.pointwise import individual_predictions, mean_of_draws, population_predictions, sigmas
from popbayes.infer.tree import Study, draws_or_estimate, is_estimate, study_of
from popbayes.model.checks import beyond_subject_effects
from popbayes.observation.rows import MEASURED
from popbayes.wording import listed, nearest

LONG_NAMES = {
    "subject": "Subject",
    "time": "Time",
    "tad": "Time after dose",
    "dvid": "Kind of observation",
    "dv": "Observed",
    "cens": "Beyond a limit",
    "endpoint": "Endpoint",
    "pred": "Population prediction",
    "ipred": "Individual prediction",
    "ires": "Individual residual",
    "iwres": "Individual weighted residual",
    "cwres": "Conditional weighted residual",
}
IN_TIME, IN_DV = ("time", "tad"), ("dv", "pred", "ipred", "ires")


def gof(dt: xr.DataTree, *, endpoint: str | None = None) -> xr.Dataset:
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

    An observation beyond a limit (`cens` 1 below, -1 above) has the limit as `dv` and no residual (nan),
    unless the model puts a value in its place (``censoring.M5``). One below its LLOQ counts as such where the
    model has a method for them.

    Parameters
    ----------
    dt : DataTree
        A fit, or an estimate (`popbayes.estimate`): then everything is at the estimates and the conditional
        modes.
    endpoint : str, optional
        Observations of this endpoint alone, of several.

    Returns
    -------
    Dataset over obs
        `subject`, `time`, `tad`, `dvid`, `dv`, `cens`, `pred`, `ipred`, `ires`, `iwres`, `cwres` (see
        `popbayes.diagnostics.cwres`, around the posterior means, or the modes of an estimate), `endpoint`
        where there are several (attributes `measured`: those of measured values, `dv_units`: JSON of their
        units); `eta_{P}` (the subject's estimate, in every one of its rows; attribute `omega`), `eta_occ_{P}`
        of occasions and `eta_SITE_{P}` of a level, and the covariates. Units are attributes.

    References
    ----------
    Savic & Karlsson, *AAPS Journal* 11 (2009) 558-569, on what these estimates hide when shrinkage is high.
    """
    study, draws = study_of(dt), draws_or_estimate(dt)
    events = study.events
    pred = mean_of_draws(dt, population_predictions)
    ipred = mean_of_draws(dt, individual_predictions)
    side, limit = beyond_limits(study)
    values = {
        "subject": events.subjects[events.obs_subject],
        "time": events.obs_time,
        "tad": events.obs_tad,
        "dvid": events.obs_dvid,
        "dv": np.where(side != 0, limit, events.obs_dv),
        "cens": side,
        "pred": pred,
        "ipred": ipred,
        "ires": np.where(study.observed.state == MEASURED, study.observed.dv - ipred, np.nan),
        "iwres": weighted_residuals(study, draws, ipred),
        "cwres": cwres(study, *_centre(study, draws), interaction=_interaction(dt)),
    }
    variables: dict[str, Any] = {name: (OBS, v, _attrs(name, events.units)) for name, v in values.items()}
    variables |= _endpoints(study)
    variables |= _etas(draws, events.obs_subject) | _level_etas(study, draws)
    for name, column in events.covariates.items():
        unit = events.units.get(name, "")
        variables[name] = (OBS, column[events.obs_record], {"long_name": name, "units": unit, "covariate": 1})
    drawn = "cwres" if is_estimate(dt) and np.isfinite(values["cwres"]).any() else "iwres"
    attrs = {"name": events.name, "weighted": drawn, "estimate": int(is_estimate(dt))}
    found = xr.Dataset(variables, coords={OBS: np.arange(events.n_obs)}, attrs=attrs)
    return found if endpoint is None else found.isel({OBS: np.flatnonzero(of_endpoint(study, endpoint))})


def of_endpoint(study: Study, endpoint: str) -> np.ndarray:
    """Whether each observation is of an endpoint, (n_obs,).

    Raises
    ------
    ValueError
        For a name that is no endpoint of the model.
    """
    known = tuple(study.model.observation.endpoints)
    if endpoint not in known:
        raise ValueError(
            f"endpoint must be one of {listed(known)}, not {endpoint!r}.{nearest(endpoint, known)}"
        )
    return endpoint_of_each(study) == endpoint


def endpoint_of_each(study: Study) -> np.ndarray:
    """Name of the endpoint of each observation, (n_obs,)."""
    names = np.full(study.events.n_obs, "", dtype=object)
    for part in study.observed.parts:
        names[part.index] = part.kind.endpoint
    return names.astype(str)


def _endpoints(study: Study) -> dict[str, Any]:
    """The endpoint of each observation, where there are several."""
    if len(study.model.observation.endpoints) < 2:
        return {}
    measured = list(measured_endpoints(study.model))
    units = study.model.observation.units(study.events)
    attrs = {**_attrs("endpoint", {}), "measured": measured, "dv_units": json.dumps(units)}
    return {"endpoint": (OBS, endpoint_of_each(study), attrs)}


def weighted_residuals(study: Study, draws: xr.Dataset, ipred: np.ndarray) -> np.ndarray:
    """Residuals in residual standard deviations, (n_obs,); nan where that is 0."""
    mean = {str(name): np.atleast_1d(draws[name].mean((CHAIN, DRAW))) for name in draws.data_vars}
    with np.errstate(divide="ignore", invalid="ignore"):
        result = study.observed.scores(ipred, sigmas(study, mean))
    return np.where(np.isfinite(result), result, np.nan)


def _centre(study: Study, draws: xr.Dataset) -> tuple[dict[str, Any], np.ndarray]:
    """Posterior means of the population values and of the random effects."""
    levels = study.model.groupings
    effects = [one.eta for one in levels]
    names = [name for name in draws.data_vars if name not in (ETA, *effects, *study.model.parameters)]
    values = {str(name): draws[name].mean((CHAIN, DRAW)).to_numpy() for name in names}
    eta = np.zeros((study.design.n_subject, 0))
    if ETA in draws:
        eta = draws[ETA].mean((CHAIN, DRAW)).transpose("subject", ETA_OF).to_numpy()
    if beyond_subject_effects(study.model) or not levels:
        return values, eta
    layout = Effects.of(study.model, study.design)
    of_groups = draws[effects[0]].mean((CHAIN, DRAW)).transpose(levels[0].dim, levels[0].of).to_numpy()
    return values, layout.joined(eta, of_groups)


def _interaction(dt: xr.DataTree) -> bool:
    """Whether the error is taken at the individual prediction: always, but for FO and FOCE."""
    options = json.loads(dt.attrs.get("method_options", "{}"))
    return dt.attrs.get("method") != "FirstOrder" and bool(options.get("interaction", True))


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


def _level_etas(study: Study, draws: xr.Dataset) -> dict[str, Any]:
    """Estimate of each random effect of occasions and sites, in every row of the group."""
    found = {}
    for level in study.model.groupings:
        if level.eta not in draws:
            continue
        estimate = draws[level.eta].mean((CHAIN, DRAW)).transpose(level.dim, level.of).to_numpy()
        group = study.design.groups[level.key].of_segment[study.design.obs_segment]
        sd = draws[level.sd].mean((CHAIN, DRAW)).to_numpy() if level.sd in draws else None
        for k, name in enumerate(level.names):
            attrs: dict[str, Any] = {"long_name": f"Random effect of {name} by {level.key}"}
            attrs |= {} if sd is None else {"omega": float(np.atleast_1d(sd)[k])}
            found[f"{level.eta}_{name}"] = (OBS, estimate[group, k], attrs)
    return found


def _attrs(name: str, units: dict[str, str]) -> dict[str, Any]:
    column = "TIME" if name in IN_TIME else "DV" if name in IN_DV else ""
    return {"long_name": LONG_NAMES[name], "units": units.get(column, "")}
