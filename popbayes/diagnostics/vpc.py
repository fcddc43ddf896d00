"""Visual predictive checks: percentiles of the observations against those of simulated studies."""

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from popbayes.data.events import EventTable
from popbayes.diagnostics.gof import of_endpoint
from popbayes.diagnostics.limits import beyond_limits
from popbayes.diagnostics.vpc_bins import Bins, make_bins
from popbayes.diagnostics.vpc_outcomes import check_outcome, is_outcome
from popbayes.diagnostics.vpc_study import Study, aligned, simulated_group
from popbayes.dims import CHAIN, DRAW, OBS, PRED
from popbayes.infer import tree as infer
from popbayes.infer.tree import study_of
from popbayes.observation.observed import upper_limit

MOST_STRATA = 12
ALL = "all"
NOUGHT = 1e-9
"""Fraction of the largest prediction below which one counts as 0: what rounding leaves of nothing."""


def vpc(
    dt: xr.DataTree,
    *,
    pred_corr: bool = False,
    bins: int | str | Sequence[float] | None = None,
    against: str = "time",
    by: str | None = None,
    quantiles: Sequence[float] = (0.05, 0.5, 0.95),
    interval: float = 0.9,
    endpoint: str | None = None,
    observed: EventTable | None = None,
) -> xr.Dataset:
    r"""Visual predictive check, with prediction correction on request.

    In every bin of time the percentiles of the observations stand beside the same percentiles of each
    replicate of the study; their spread over replicates is the interval in which the observed percentile
    should lie.

    Prediction correction takes out what differs by design within a bin (doses, covariates),

    .. math:: y^{pc}_{ij} = y_{ij} \frac{\operatorname{median}_{bin}(\mathrm{pred})}{\mathrm{pred}_{ij}},

    with the same `pred` (median over the draws of the prediction at eta = 0) for observations and replicates,
    so that both go through one fixed transformation. Where `pred` is 0 (before the first dose) nothing is
    corrected, in neither, and the result counts it (attribute `n_uncorrected`).

    Where observations are known only to be below a limit of quantification (or above one), replicates are
    censored as the observations are: both count as the limit in the percentiles, which are then right
    as far as they lie above it. The fraction below the limit is checked in its own right.

    Parameters
    ----------
    dt : DataTree
        Replicates, as `popbayes.simulate` returns them.
    pred_corr : bool
        Whether to correct for the prediction.
    bins : None, "times", int or sequence
        None: each distinct time where these are few, else bins of about equal counts. ``"times"``: each
        distinct time. A number of bins of about equal counts, or their edges.
    against : {"time", "tad"}
        Time, or time after the last dose.
    by : str, optional
        ``"dvid"``, ``"OCC"`` or a covariate with few values: one check for each. Several DVID are always told
        apart.
    quantiles : sequence of float
        Which percentiles, as fractions.
    interval : float
        Probability of the intervals.
    endpoint : str, optional
        One endpoint alone, and the only way to check one of categories or events in time. Of categories
        (`outcome.Binary`, `outcome.Ordered`), the fraction of each by bin; of events, the survival curve
        (Kaplan-Meier) of the time to the first, since the subject's first record.
    observed : EventTable, optional
        For an endpoint of events: the study that was observed, where the replicates are of another design
        (the same subjects, with records of the endpoint close together until the end of the study). It is
        needed where events happened at known times, since replicates have events at their records only.

    Returns
    -------
    Dataset
        `observed`, `simulated` (median over replicates), `lower`, `upper` over (stratum, bin, quantile);
        `middle`, `left`, `right`, `n` over (stratum, bin); and the points: `dv` (corrected, if so), `time`,
        `bin_of`, `stratum_of` over obs, `bin_of` -1 where an observation lies in none. Where a limit is
        known, also the fraction below it: `below`, `below_simulated`, `below_lower`, `below_upper` over
        (stratum, bin), and `lloq` over obs; where observations lie beyond a limit, `cens` over obs (1 below,
        -1 above).

        Of an endpoint of categories: `observed`, `simulated`, `lower`, `upper` over (bin, category), and the
        bins. Of one of events: the same and `at_risk` over `at` (time), steps that hold until the next.

    Raises
    ------
    ValueError
        Where observations and replicates are not the same rows, or there is nothing to compare.

    References
    ----------
    Bergstrand, Hooker, Wallin & Karlsson, *AAPS Journal* 13 (2011) 143-151.
    """
    check_fractions(quantiles, interval)
    fitted, group = study_of(dt), simulated_group(dt)
    if endpoint is not None and is_outcome(fitted, endpoint):
        refused = {"pred_corr": pred_corr, "by": by is not None}
        return check_outcome(dt, endpoint, observed, bins, against, interval, refused)
    if observed is not None:
        raise ValueError(
            "observed is for an endpoint of events in time: vpc(dt, endpoint=..., observed=data)."
        )
    events = study_of(dt).events
    study = aligned(dt, group, events, against)
    strata, stratum = comparable(study_of(dt), *stratify(events, by), endpoint)
    pred = typical(dt, group, events) if pred_corr else None
    points_dv, points_bin, parts, uncorrected = study.observed.copy(), np.full(events.n_obs, -1), [], 0
    for number in range(len(strata)):
        keep = stratum == number
        part = study.where(keep)
        made = make_bins(part.time, part.subject, bins)
        fractions = _below(part, made, interval)
        part = censored(part, events, keep)
        if pred is not None:
            factor, count = correction(pred[keep], made)
            part = replace(part, observed=part.observed * factor, simulated=part.simulated * factor)
            uncorrected += count
        points_dv[keep], points_bin[keep] = part.observed, made.index
        parts.append(_percentiles(part, made, quantiles, interval).assign(fractions))
    result = xr.concat(parts, dim="stratum", join="outer").assign_coords(stratum=list(strata))
    result = result.assign(
        dv=(OBS, points_dv), time=(OBS, study.time), bin_of=(OBS, points_bin), stratum_of=(OBS, stratum)
    )
    own = {f"dvid {number}": name for number, name in study_of(dt).model.observation.endpoint_of.items()}
    if strata_name(events, by) == "dvid" and own:
        units = [events.dv_unit([int(one.removeprefix("dvid "))]) for one in strata]
        result = result.assign_coords(
            endpoint=("stratum", [own.get(one, one) for one in strata]), unit=("stratum", units)
        )
    side, _ = beyond_limits(study_of(dt))
    if side.any():
        result = result.assign(cens=(OBS, side))
    if np.isfinite(study.lloq).any():
        result = result.assign(lloq=(OBS, study.lloq))
    return result.assign_attrs(
        group=group,
        pred_corr=int(pred_corr),
        n_uncorrected=uncorrected,
        against=against,
        by=strata_name(events, by),
        interval=interval,
        etas=str(dt.attrs.get("etas", "none")),
        n_replicate=len(study.simulated),
        time_unit=events.units.get("TIME", ""),
        dv_unit=events.dv_unit(np.unique(events.obs_dvid[stratum >= 0]).tolist()),
    )


def check_fractions(quantiles: Sequence[float], interval: float) -> None:
    """Refuse percentiles and probabilities that are not fractions."""
    if (
        not len(quantiles)
        or not all(0 < q < 1 for q in quantiles)
        or list(quantiles) != sorted(set(quantiles))
    ):
        raise ValueError(f"quantiles must be increasing fractions between 0 and 1, not {tuple(quantiles)!r}.")
    if not 0 < interval < 1:
        raise ValueError(f"interval must be a probability between 0 and 1, not {interval!r}.")


def censored(part: Study, events: EventTable, keep: np.ndarray) -> Study:
    """A study with its replicates censored as its observations are; as it is where none is censored."""
    cens = events.cens[events.obs_record][keep]
    floor = part.lloq if (cens == 1).any() else np.full(len(cens), np.nan)
    ceiling = upper_limit(events)[keep] if (cens == -1).any() else np.full(len(cens), np.nan)
    observed = np.fmin(np.fmax(part.observed, floor), ceiling)
    return replace(part, observed=observed, simulated=np.fmin(np.fmax(part.simulated, floor), ceiling))


def _below(part: Study, bins: Bins, interval: float) -> dict[str, tuple[str, np.ndarray]]:
    """Fraction of observations below their limit by bin, and its interval over replicates."""
    known = np.isfinite(part.lloq)
    if not known.any():
        return {}
    out = np.full((4, bins.n), np.nan)
    tails = ((1 - interval) / 2, 0.5, (1 + interval) / 2)
    for b in range(bins.n):
        inside = (bins.index == b) & known
        if inside.any():
            out[0, b] = part.below[inside].mean()
            fraction = (part.simulated[:, inside] < part.lloq[inside]).mean(axis=1)
            out[1:, b] = np.quantile(fraction, tails)
    names = ("below", "below_lower", "below_simulated", "below_upper")
    return {name: ("bin", values) for name, values in zip(names, out, strict=True)}


def typical(dt: xr.DataTree, group: str, events: EventTable) -> np.ndarray:
    """Median over draws of the prediction at eta = 0, (n_obs,).

    Raises
    ------
    ValueError
        Where the tree has none, or a negative one.
    """
    if PRED not in dt[group].data_vars:
        raise ValueError(
            f"Prediction correction needs the variable pred in the group {group}; it is not there."
        )
    pred = dt[group][PRED].median((CHAIN, DRAW)).to_numpy()
    negative = pred < -NOUGHT * np.abs(pred).max(initial=0.0)
    if negative.any():
        i = int(np.flatnonzero(negative)[0])
        raise ValueError(
            f"Prediction correction is for outcomes that cannot be negative, but pred of subject "
            f"{events.subjects[events.obs_subject[i]]} at time {events.obs_time[i]:g} is {pred[i]:g}."
        )
    return pred


def correction(pred: np.ndarray, bins: Bins) -> tuple[np.ndarray, int]:
    """Factor of each observation, median `pred` of its bin over its own; and how many a zero leaves at 1."""
    pred = np.where(pred > NOUGHT * pred.max(initial=0.0), pred, 0.0)
    factor = np.ones(len(pred))
    for b in range(bins.n):
        inside = bins.index == b
        factor[inside] = np.median(pred[inside]) / np.where(pred[inside] > 0, pred[inside], np.nan)
    none = ~(np.isfinite(factor) & (factor > 0))
    factor[none] = 1.0
    return factor, int(none.sum())


def strata_name(events: EventTable, by: str | None) -> str:
    """Column by which the check is split; empty if it is not."""
    several = len(np.unique(events.dvid[events.is_obs])) > 1
    return by or ("dvid" if several else "")


def stratify(events: EventTable, by: str | None) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the strata, and the number of the stratum of each observation.

    Raises
    ------
    ValueError
        For an unknown covariate, or one with too many values.
    """
    name = strata_name(events, by)
    if not name:
        return (ALL,), np.zeros(events.n_obs, dtype=int)
    columns = {
        "dvid": events.dvid,
        **({} if events.occ is None else {"OCC": events.occ}),
        **events.covariates,
    }
    if name not in columns:
        raise ValueError(
            f"by must name a column to split the check by; {name!r} is not one of: {', '.join(columns)}."
        )
    values = columns[name][events.is_obs]
    levels, index = np.unique(values, return_inverse=True)
    if len(levels) > MOST_STRATA:
        raise ValueError(
            f"by={name!r} has {len(levels)} values; a check can be split by at most {MOST_STRATA}. Make a "
            "column of groups."
        )
    return tuple(f"{name} {v:g}" if not isinstance(v, str) else f"{name} {v}" for v in levels), index


def comparable(
    fitted: infer.Study, strata: tuple[str, ...], stratum: np.ndarray, endpoint: str | None = None
) -> tuple[tuple[str, ...], np.ndarray]:
    """Strata of one endpoint, or of all but those of which percentiles say nothing; -1 is that of the others.

    Raises
    ------
    ValueError
        Where there are no others.
    """
    if endpoint is not None:
        no = ~of_endpoint(fitted, endpoint)
    elif any(kind.law.categorical for kind in fitted.model.observation.kinds):
        observed = fitted.observed
        no = observed.over_laws(lambda part: np.full(len(part.index), float(part.kind.law.categorical))) > 0
        kinds = sorted({p.kind.endpoint for p in observed.parts if p.kind.law.categorical})
        why = "are categories or events, of which percentiles say nothing"
        how = f"vpc(..., endpoint={kinds[0]!r}) checks them"
        if no.all():
            raise ValueError(f"The observations of {', '.join(kinds)} {why}; {how}.")
        warnings.warn(
            f"The observations of {', '.join(kinds)} {why}; they are left out of the check: {how}.",
            stacklevel=3,
        )
    else:
        return strata, stratum
    left = np.unique(stratum[~no])
    renumbered = np.where(no, -1, np.searchsorted(left, stratum))
    return tuple(strata[k] for k in left), renumbered


def _percentiles(part: Study, bins: Bins, quantiles: Sequence[float], interval: float) -> xr.Dataset:
    """Percentiles of observations and replicates by bin; intervals over replicates."""
    shape = (bins.n, len(quantiles))
    observed, simulated, lower, upper = (np.empty(shape) for _ in range(4))
    tails = ((1 - interval) / 2, 0.5, (1 + interval) / 2)
    for b in range(bins.n):
        inside = bins.index == b
        observed[b] = np.quantile(part.observed[inside], quantiles)
        replicated = np.quantile(part.simulated[:, inside], quantiles, axis=1)
        lower[b], simulated[b], upper[b] = np.quantile(replicated, tails, axis=1)
    over = ("bin", "quantile")
    count = np.bincount(bins.index[bins.index >= 0], minlength=bins.n)
    return xr.Dataset(
        {
            "observed": (over, observed),
            "simulated": (over, simulated),
            "lower": (over, lower),
            "upper": (over, upper),
            "middle": ("bin", bins.middle),
            "left": ("bin", bins.left),
            "right": ("bin", bins.right),
            "n": ("bin", count.astype(float)),
        },
        coords={"bin": np.arange(bins.n), "quantile": list(quantiles)},
    )
