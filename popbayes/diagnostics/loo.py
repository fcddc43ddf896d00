"""Leave-one-out predictive accuracy by Pareto-smoothed importance sampling, through ArviZ."""

import warnings
from typing import Any

import arviz_stats
import numpy as np
import xarray as xr

from popbayes.diagnostics.elpd import Elpd, named, pointwise_log_likelihood, the_unit
from popbayes.dims import CHAIN, DRAW, OBS
from popbayes.infer.tree import posterior


def loo(dt: xr.DataTree, *, unit: str = "obs") -> Elpd:
    r"""Leave-one-out expected log predictive density, by PSIS.

    .. math::

        \widehat{\mathrm{elpd}}_{loo} = \sum_i \log \frac{\sum_s w_i^s\, p(y_i \mid \theta^s)}{\sum_s w_i^s}

    with the Pareto-smoothed weights :math:`w_i^s \propto 1 / p(y_i \mid \theta^s)`.

    The densities are given each subject's own random effects, so leaving out an observation asks how well
    *another observation of the same subjects* is predicted.

    Parameters
    ----------
    dt : DataTree
        A fit. The pointwise log-likelihood is taken from its group `log_likelihood`, or else computed.
    unit : {"obs"}
        What is left out. ``"subject"`` (how well is a new subject predicted?) comes later.

    Returns
    -------
    Elpd
        With `elpd`, `se`, `p` and `pointwise`; `messages` names the observations whose k-hat is too high.

    Raises
    ------
    NotImplementedError
        For ``unit="subject"``; the conditional value would answer another question.

    References
    ----------
    Vehtari, Gelman & Gabry, *Statistics and Computing* 27 (2017) 1413-1432;
    Vehtari, Simpson, Gelman, Yao & Gabry, *Journal of Machine Learning Research* 25 (2024) 1-58.
    """
    unit = the_unit(unit, "loo")
    values = pointwise_log_likelihood(dt)
    raw = psis(values, relative_efficiency(dt))
    n_draw = values.sizes[CHAIN] * values.sizes[DRAW]
    pointwise = raw.elpd_i.to_dataset(name="elpd")
    pointwise["p"] = _lpd(values) - pointwise["elpd"]
    pointwise["khat"] = raw.pareto_k
    return Elpd(
        method="loo",
        unit=unit,
        elpd=float(raw.elpd),
        se=float(raw.se),
        p=float(raw.p),
        n=values.sizes[OBS],
        n_draw=n_draw,
        pointwise=pointwise,
        messages=_messages(pointwise, float(raw.good_k)),
        raw=raw,
    )


def relative_efficiency(dt: xr.DataTree) -> float:
    """Effective over actual number of draws, the mean over the quantities in the posterior that vary."""
    draws = posterior(dt)
    n = draws.sizes[CHAIN] * draws.sizes[DRAW]
    if draws.sizes[CHAIN] == 1 or draws.sizes[DRAW] < 4:
        return 1.0
    ess = arviz_stats.ess(draws, method="mean")
    moving = draws.std((CHAIN, DRAW)) > 0
    values = np.concatenate([ess[name].values[moving[name].values].ravel() for name in ess.data_vars])
    return float(np.nanmean(values) / n)


def psis(values: xr.DataArray, reff: float) -> Any:
    """ArviZ's leave-one-out of pointwise log densities (chain, draw, obs)."""
    tree = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset(coords={d: values[d] for d in (CHAIN, DRAW) if d in values.coords}),
            "log_likelihood": values.drop_vars(["subject", "time"], errors="ignore").to_dataset(name="dv"),
        }
    )
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # said in plain words by `loo`; weights that overflow end in a k-hat that is said too
        warnings.filterwarnings("ignore", message="Estimated shape parameter of Pareto", category=UserWarning)
        result = arviz_stats.loo(tree, pointwise=True, var_name="dv", reff=reff)
    coords = {name: values[name] for name in ("subject", "time") if name in values.coords}
    result.elpd_i = result.elpd_i.assign_coords(coords)
    result.pareto_k = result.pareto_k.assign_coords(coords)
    return result


def _lpd(values: xr.DataArray) -> xr.DataArray:
    highest = values.max((CHAIN, DRAW))
    density: xr.DataArray = np.exp(values - highest)  # type: ignore[assignment]
    return highest + np.log(density.mean((CHAIN, DRAW)))


def _messages(pointwise: xr.Dataset, good: float) -> tuple[str, ...]:
    khat = pointwise["khat"].to_numpy()
    bad = np.flatnonzero(~(khat <= good))
    if len(bad) == 0:
        return ()
    worst = bad[np.argsort(-khat[bad], kind="stable")]
    return (
        f"Leave-one-out is unreliable for {len(bad)} of {len(khat)} observations: k-hat is above {good:.2f} "
        f"({named(pointwise, worst)}; worst {np.nanmax(khat):.2f}). Leaving out any one of these would "
        "change the posterior more than importance sampling can follow. Look at them and at their subjects' "
        "fits; a model that describes them, or a residual error with heavier tails, mends it; just above the "
        "limit, more draws do.",
    )
