"""How far the data of each subject are overruled by the population: shrinkage and pooling."""

import numpy as np
import pandas as pd
import xarray as xr

from popbayes.diagnostics.gof import endpoint_of_each, weighted_residuals
from popbayes.dims import CHAIN, DRAW, ETA, ETA_OF, OMEGA
from popbayes.infer.pointwise import individual_predictions, mean_of_draws
from popbayes.infer.tree import Study, draws_or_estimate, study_of
from popbayes.model.levels import Grouping

EPSILON = "epsilon"


def shrinkage(dt: xr.DataTree, *, scale: str = "sd") -> pd.DataFrame:
    r"""Shrinkage of the random effects and of the residuals.

    With :math:`\hat\eta_i` the posterior mean of a subject's random effect and :math:`\omega` that of its
    standard deviation,

    .. math::

        \text{sd: } 1 - \frac{\mathrm{sd}_i(\hat\eta_i)}{\omega}, \qquad
        \text{variance: } 1 - \frac{\mathrm{var}_i(\hat\eta_i)}{\omega^2}, \qquad
        \text{pooling} = 1 - \frac{\mathrm{var}_i\{\mathrm{E}(\eta_i \mid y)\}}
                                  {\mathrm{E}\{\mathrm{var}_i(\eta_i) \mid y\}}.

    The row ``epsilon`` is :math:`1 - \mathrm{sd}(\mathrm{iwres})` (or its variance): how far the individual
    fits follow the residual error. With several endpoints there is one for each that has residuals,
    ``epsilon[conc]``: one may be followed closely, and another hardly at all.

    Near 0 the data speak for themselves; near 1 the estimates are pulled to the typical value, and plots of
    them mislead. Sampling variation, of few subjects above all, can make a value negative.

    Parameters
    ----------
    dt : DataTree
        A fit, or an estimate (`popbayes.estimate`): then of its conditional modes, without pooling factors.
    scale : {"sd", "variance"}
        Scale of the column `shrinkage`; NONMEM and most papers use the standard deviation.

    Returns
    -------
    DataFrame
        One row for each random effect, and those of ``epsilon``; columns `omega` (posterior mean), `sd` (of
        the estimates, or of iwres), `shrinkage` and `pooling`, as fractions. `scale` is in its ``attrs``.

    References
    ----------
    Savic & Karlsson, *AAPS Journal* 11 (2009) 558-569; Gelman & Pardoe, *Technometrics* 48 (2006) 241-251.
    """
    if scale not in ("sd", "variance"):
        raise ValueError(f'scale must be "sd" or "variance", not {scale!r}.')
    power = 1 if scale == "sd" else 2
    draws = draws_or_estimate(dt)
    rows = eta_shrinkage(draws, power)
    study = study_of(dt)
    levels = [level_shrinkage(one, draws, power) for one in study.model.groupings if one.eta in draws]
    rows = pd.concat([rows, *levels]) if levels else rows
    iwres = weighted_residuals(study, draws, mean_of_draws(dt, individual_predictions))
    for label, own in _residuals(study, iwres).items():
        sd = float(own.std(ddof=1)) if len(own) > 1 else np.nan
        rows.loc[label] = {"omega": np.nan, "sd": sd, "shrinkage": 1 - sd**power, "pooling": np.nan}
    rows.attrs["scale"] = scale
    return rows


def _residuals(study: Study, iwres: np.ndarray) -> dict[str, np.ndarray]:
    """The residuals that there are, by the label of their row; by endpoint where there are several."""
    known = np.isfinite(iwres)
    if len(study.model.observation.endpoints) < 2:
        return {EPSILON: iwres[known]}
    of = endpoint_of_each(study)
    own = {name: iwres[known & (of == name)] for name in study.model.observation.endpoints}
    return {f"{EPSILON}[{name}]": values for name, values in own.items() if len(values)}


def in_words(label: str) -> str:
    """A row's name as a figure shows it: ``residuals of``, on two lines, and the endpoint."""
    if label == EPSILON:
        return "residuals"
    return f"residuals of\n{label[len(EPSILON) + 1 : -1]}" if label.startswith(f"{EPSILON}[") else label


def eta_shrinkage(draws: xr.Dataset, power: int = 1) -> pd.DataFrame:
    """Shrinkage (`power` 1 for standard deviations, 2 for variances) and pooling factor of each eta."""
    columns = ["omega", "sd", "shrinkage", "pooling"]
    rows = pd.DataFrame(columns=columns, index=pd.Index([], name=ETA_OF, dtype=object), dtype=float)
    if ETA not in draws:
        return rows
    eta = draws[ETA].transpose(CHAIN, DRAW, "subject", ETA_OF)
    omega = draws[OMEGA].mean((CHAIN, DRAW)).sel({ETA_OF: eta[ETA_OF]}).to_numpy()
    values = eta.to_numpy().reshape(-1, eta.sizes["subject"], eta.sizes[ETA_OF])
    sd, pooling = spread(values), pooling_factor(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(omega > 0, sd / omega, np.nan)
    for i, name in enumerate(eta[ETA_OF].to_numpy()):
        rows.loc[str(name)] = [omega[i], sd[i], 1 - ratio[i] ** power, pooling[i]]
    return rows


def level_shrinkage(level: Grouping, draws: xr.Dataset, power: int = 1) -> pd.DataFrame:
    """Shrinkage and pooling factor of each random effect of occasions or sites."""
    values = draws[level.eta].transpose(CHAIN, DRAW, level.dim, level.of).to_numpy()
    values = values.reshape(-1, *values.shape[2:])
    sd, pooling = spread(values), pooling_factor(values)
    known = [float(prior.quantile(0.5)) for prior in level.priors.values()] if level.sd not in draws else None
    omega = draws[level.sd].mean((CHAIN, DRAW)).to_numpy() if known is None else np.array(known)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(omega > 0, sd / omega, np.nan)
    columns = {"omega": omega, "sd": sd, "shrinkage": 1 - ratio**power, "pooling": pooling}
    labels = [f"{name} by {level.key}" for name in level.names]
    return pd.DataFrame(columns, index=pd.Index(labels, name=ETA_OF, dtype=object))


def spread(eta: np.ndarray) -> np.ndarray:
    """Standard deviation over subjects of the posterior means; `eta` is (n_draw, n_subject, n_eta)."""
    if eta.shape[1] < 2:
        return np.full(eta.shape[2], np.nan)
    return eta.mean(axis=0).std(axis=0, ddof=1)


def pooling_factor(eta: np.ndarray) -> np.ndarray:
    """Gelman and Pardoe's factor of each random effect; `eta` is (n_draw, n_subject, n_eta)."""
    if eta.shape[1] < 2 or len(eta) < 2:
        return np.full(eta.shape[2], np.nan)
    within = eta.var(axis=1, ddof=1).mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(within > 0, 1 - spread(eta) ** 2 / within, np.nan)
