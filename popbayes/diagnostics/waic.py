"""The widely applicable information criterion, by the formulas of Vehtari, Gelman & Gabry (2017)."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.special import logsumexp

from popbayes.diagnostics.elpd import Elpd, named, pointwise_log_likelihood, the_unit

TOO_VARIABLE = 0.4
"""Pointwise p_waic above which the criterion is not to be trusted (Vehtari, Gelman & Gabry 2017, 2.2)."""


@dataclass(frozen=True, eq=False)
class PointwiseWaic:
    """Contribution of each observation: `elpd` and `p`, both (n_obs,)."""

    elpd: np.ndarray
    p: np.ndarray


def pointwise_waic(log_likelihood: np.ndarray) -> PointwiseWaic:
    r"""Contribution of every observation to elpd_waic and p_waic.

    .. math::

        \mathrm{lpd}_i = \log \frac{1}{S} \sum_s p(y_i \mid \theta^s), \quad
        p_i = \operatorname{var}_s \log p(y_i \mid \theta^s), \quad
        \mathrm{elpd}_i = \mathrm{lpd}_i - p_i,

    with the sample variance (divisor S - 1).

    Parameters
    ----------
    log_likelihood : (n_draw, n_obs)
        Log density of each observation given each draw.

    References
    ----------
    Vehtari, Gelman & Gabry, *Statistics and Computing* 27 (2017) 1413-1432, equations 3, 10 to 12.
    """
    lpd = logsumexp(log_likelihood, axis=0) - np.log(log_likelihood.shape[0])
    p = log_likelihood.var(axis=0, ddof=1)
    return PointwiseWaic(lpd - p, p)


def waic(dt: xr.DataTree, *, unit: str = "obs") -> Elpd:
    r"""Widely applicable information criterion, given each subject's own random effects.

    .. math::

        \widehat{\mathrm{elpd}}_{waic} = \sum_i \mathrm{elpd}_i, \qquad
        \mathrm{se} = \sqrt{n \operatorname{var}_i(\mathrm{elpd}_i)},

    on the scale of the log density: higher is better (the deviance scale is -2 times this). `popbayes.loo`
    estimates the same quantity, is more robust, and says when it fails; prefer it.

    Parameters
    ----------
    dt : DataTree
        A fit. The pointwise log-likelihood is taken from its group `log_likelihood`, or else computed.
    unit : {"obs"}
        What is left out: one observation of a known subject. ``"subject"`` comes later.

    Returns
    -------
    Elpd
        With `elpd`, `se`, `p` and `pointwise`; `messages` names the observations whose p_waic exceeds 0.4.

    Raises
    ------
    NotImplementedError
        For ``unit="subject"``.

    References
    ----------
    Vehtari, Gelman & Gabry, *Statistics and Computing* 27 (2017) 1413-1432.
    """
    unit = the_unit(unit, "waic")
    values = pointwise_log_likelihood(dt)
    draws = values.to_numpy().reshape(-1, values.sizes["obs"])
    result = pointwise_waic(draws)
    n = len(result.elpd)
    pointwise = values.isel(chain=0, draw=0, drop=True).to_dataset(name="elpd")
    pointwise = pointwise.assign(elpd=("obs", result.elpd), p=("obs", result.p))
    return Elpd(
        method="waic",
        unit=unit,
        elpd=float(result.elpd.sum()),
        se=float(np.sqrt(n * result.elpd.var(ddof=1))) if n > 1 else float("nan"),
        p=float(result.p.sum()),
        n=n,
        n_draw=len(draws),
        pointwise=pointwise,
        messages=_messages(pointwise, result.p),
    )


def _messages(pointwise: xr.Dataset, p: np.ndarray) -> tuple[str, ...]:
    bad = np.flatnonzero(~(p <= TOO_VARIABLE))
    if len(bad) == 0:
        return ()
    return (
        f"WAIC is unreliable: p_waic is above {TOO_VARIABLE} for {len(bad)} of {len(p)} observations "
        f"({named(pointwise, bad)}), where the log density varies too much over the posterior. "
        "Use popbayes.loo instead, which checks itself.",
    )
