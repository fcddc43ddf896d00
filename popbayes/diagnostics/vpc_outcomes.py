"""Visual predictive checks of categories (the fraction of each) and of events (survival curves)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from popbayes.data.events import EventTable
from popbayes.diagnostics.gof import of_endpoint
from popbayes.diagnostics.vpc_bins import make_bins
from popbayes.diagnostics.vpc_study import aligned, simulated_group
from popbayes.dims import CHAIN, DRAW, DV
from popbayes.infer.tree import Study, study_of
from popbayes.observation.outcome import Binary, EventRate, Ordered
from popbayes.observation.rows import MEASURED
from popbayes.observation.time_to_event import AbstractEvent

Bins = int | str | Sequence[float] | None


def is_outcome(study: Study, endpoint: str) -> bool:
    """Whether an endpoint is of categories or events.

    Raises
    ------
    ValueError
        For a name that is no endpoint of the model.
    """
    of_endpoint(study, endpoint)
    return isinstance(study.model.observation.endpoints[endpoint], Binary | Ordered | AbstractEvent)


def check_outcome(
    dt: xr.DataTree,
    endpoint: str,
    observed: EventTable | None,
    bins: Bins,
    against: str,
    interval: float,
    refused: Mapping[str, bool],
) -> xr.Dataset:
    """The check of an endpoint of categories or events; see `popbayes.vpc`.

    Raises
    ------
    ValueError
        For options that make no sense of it (`refused`), and replicates that cannot show when events happen.
    """
    study = study_of(dt)
    law = study.model.observation.endpoints[endpoint]
    for name, asked in refused.items():
        if asked:
            raise ValueError(f"{name} does not apply to {endpoint}, which is of {_of(law)}.")
    if isinstance(law, AbstractEvent):
        checked = _survival(dt, study, endpoint, observed, interval)
    elif observed is not None:
        raise ValueError(f"observed is for events in time; {endpoint} is of categories.")
    else:
        checked = _categories(dt, study, endpoint, bins, against, interval)
    events = study.events
    return checked.assign_attrs(
        group=simulated_group(dt),
        endpoint=endpoint,
        interval=interval,
        etas=str(dt.attrs.get("etas", "none")),
        against=against,
        time_unit=events.units.get("TIME", ""),
    )


def _of(law: Any) -> str:
    return "events in time" if isinstance(law, AbstractEvent) else "categories"


def _categories(
    dt: xr.DataTree, study: Study, endpoint: str, bins: Bins, against: str, interval: float
) -> xr.Dataset:
    """Fraction of each category by bin, observed and over replicates."""
    part = aligned(dt, simulated_group(dt), study.events, against).where(of_endpoint(study, endpoint))
    if not len(part.observed):
        raise ValueError(f"The study has no observations of {endpoint}.")
    made = make_bins(part.time, part.subject, bins)
    labels = np.arange(int(study.model.observation.endpoints[endpoint].highest) + 1)
    shape, tails = (made.n, len(labels)), ((1 - interval) / 2, 0.5, (1 + interval) / 2)
    seen, low, middle, high = (np.empty(shape) for _ in range(4))
    for b in range(made.n):
        inside = made.index == b
        for k in labels:
            seen[b, k] = (part.observed[inside] == k).mean()
            low[b, k], middle[b, k], high[b, k] = np.quantile(
                (part.simulated[:, inside] == k).mean(axis=1), tails
            )
    over = ("bin", "category")
    values = {"observed": seen, "simulated": middle, "lower": low, "upper": high}
    edges = {"middle": made.middle, "left": made.left, "right": made.right}
    count = np.bincount(made.index[made.index >= 0], minlength=made.n).astype(float)
    return xr.Dataset(
        {name: (over, v) for name, v in values.items()}
        | {name: ("bin", v) for name, v in edges.items()}
        | {"n": ("bin", count)},
        coords={"bin": np.arange(made.n), "category": labels},
        attrs={"n_replicate": len(part.simulated)},
    )


def _survival(
    dt: xr.DataTree, study: Study, endpoint: str, observed: EventTable | None, interval: float
) -> xr.Dataset:
    """Survival curve until the first event, observed and over replicates."""
    law = study.model.observation.endpoints[endpoint]
    if isinstance(law, EventRate):
        raise ValueError(
            f"{endpoint} (outcome.EventRate) holds the hazard at known events only; check the endpoint of "
            "outcome.Survival."
        )
    seen = Study(study.model, observed) if observed is not None else study
    mine = of_endpoint(seen, endpoint)
    if not seen.events.has_dv or not mine.any():
        raise ValueError(f"There are no observations of {endpoint} to compare with; give observed=data.")
    _check_grid(seen, mine, endpoint, given=observed is not None)
    times, happened = _first_events(seen, mine, seen.events.obs_dv[None], exact=True)
    at = np.unique(np.r_[0.0, _elapsed(study)[of_endpoint(study, endpoint)], times.ravel()])
    curve, at_risk = kaplan_meier(times[0], happened[0], at)
    drawn = dt[simulated_group(dt)][DV].transpose(CHAIN, DRAW, ...).to_numpy()
    drawn = drawn.reshape(-1, drawn.shape[-1])
    many = _first_events(study, of_endpoint(study, endpoint), drawn, exact=False)
    curves = np.stack([kaplan_meier(t, h, at)[0] for t, h in zip(*many, strict=True)])
    low, middle, high = np.nanquantile(curves, ((1 - interval) / 2, 0.5, (1 + interval) / 2), axis=0)
    values = {"observed": curve, "simulated": middle, "lower": low, "upper": high, "at_risk": at_risk}
    return xr.Dataset(
        {name: ("at", v) for name, v in values.items()},
        coords={"at": at},
        attrs={"n_replicate": len(drawn)},
    )


def _check_grid(seen: Study, mine: np.ndarray, endpoint: str, given: bool) -> None:
    """Refuse replicates with events at the observed times only."""
    state = seen.observed.state[mine]
    exact = bool(np.any((state == MEASURED) & (seen.events.obs_dv[mine] == 1)))
    rates = [name for name, law in seen.model.observation.endpoints.items() if isinstance(law, EventRate)]
    exact = exact or any(of_endpoint(seen, name).any() for name in rates)
    if exact and not given:
        raise ValueError(
            f"Events of {endpoint} happened at known times, but a replicate can have events at its records "
            "only, which end at the observed ones. Simulate a design with records of the endpoint (DV 0) "
            "close together until the end of the study for every subject, and give the study as "
            f"vpc(replicates, endpoint={endpoint!r}, observed=data)."
        )


def _elapsed(study: Study) -> np.ndarray:
    """Time of each observation since the subject's first record, (n_obs,)."""
    events = study.events
    first = events.time[np.searchsorted(events.record_subject, np.arange(events.n_subject))]
    return events.obs_time - first[events.obs_subject]


def _first_events(
    study: Study, mine: np.ndarray, dv: np.ndarray, exact: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Time of the first event of each subject, or of the last record, and whether it happened.

    Parameters
    ----------
    dv : (n, n_obs)
    exact : bool
        Events of `outcome.EventRate` are among the observations.

    Returns
    -------
    (n, n_subject) each, of the subjects with the endpoint
    """
    time, subject = _elapsed(study), study.events.obs_subject
    hit = (dv == 1) & mine
    if exact:
        laws = study.model.observation.endpoints.items()
        for name in (name for name, law in laws if isinstance(law, EventRate)):
            hit = hit | ((dv == 1) & of_endpoint(study, name))
    subjects = np.unique(subject[mine])
    ends = np.array([time[mine & (subject == s)].max() for s in subjects])
    when = np.stack([np.where(hit, time, np.inf)[:, subject == s].min(axis=1) for s in subjects], axis=1)
    return np.minimum(when, ends), when <= ends


def kaplan_meier(time: np.ndarray, happened: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Product-limit estimate of survival.

    .. math:: \hat S(t) = \prod_{t_j \le t} \left(1 - \frac{d_j}{n_j}\right)

    with :math:`d_j` events at :math:`t_j` among the :math:`n_j` under observation just before.

    Parameters
    ----------
    time : (n,) of the event, or of the end of observation
    happened : (n,) whether it is an event
    at : (k,) increasing

    Returns
    -------
    (k,), (k,)
        Survival, nan after the last subject has left; and how many are under observation just before.

    References
    ----------
    Kaplan & Meier, J. Am. Stat. Assoc. 53 (1958) 457-481.
    """
    steps = np.unique(time[happened])
    risk = (time[None, :] >= steps[:, None]).sum(axis=1)
    events = ((time == steps[:, None]) & happened).sum(axis=1)
    survival = np.r_[1.0, np.cumprod(1.0 - events / np.maximum(risk, 1))]
    found = survival[np.searchsorted(steps, at, side="right")]
    at_risk = (time[None, :] >= at[:, None]).sum(axis=1).astype(float)
    gone = (at_risk == 0) & (found > 0)
    return np.where(gone, np.nan, found), at_risk
