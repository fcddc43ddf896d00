"""Weakly informative priors from the size of the data: asked for by name, and printed."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from popbayes.data.events import EventTable
from popbayes.parameters.family import AbstractPrior
from popbayes.parameters.interval import Beta
from popbayes.parameters.kinds import kind_of
from popbayes.parameters.positive import LogNormal
from popbayes.wording import listed

__all__ = ["WeaklyInformative", "weakly_informative"]

BROAD = 1.0


@final
@dataclass(frozen=True)
class WeaklyInformative(Mapping[str, AbstractPrior]):
    """Parameter -> prior, and why; made by `weakly_informative`."""

    priors: dict[str, AbstractPrior]
    reasons: dict[str, str]

    def __getitem__(self, name: str) -> AbstractPrior:
        return self.priors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.priors)

    def __len__(self) -> int:
        return len(self.priors)

    def __str__(self) -> str:
        lines = ["Weakly informative priors, from the doses, times and observations of the data:"]
        for name, one in self.priors.items():
            low, high = one.quantile([0.05, 0.95])
            lines.append(
                f"  {name} ~ {one.describe()}   (90 %: {low:.3g} to {high:.3g}; {self.reasons[name]})"
            )
        return "\n".join(lines)


def weakly_informative(structural: Any, data: EventTable, *, show: bool = True) -> WeaklyInformative:
    """Broad priors of the typical values, from the scale of the data; written to the screen.

    The data are used for their size alone: volumes are a median dose over a high observation, rate constants
    are of the order of one over the span of the samples. Each prior is log-normal with an SD of 1 of the
    logarithm (a factor of 5 either way for 90 %). They are to start with, not to publish: replace them by
    what is known of the drug.

    Parameters
    ----------
    structural : structural model
    data : EventTable
        With observations.
    show : bool
        Write the priors and their reasons to the screen.

    Returns
    -------
    WeaklyInformative
        A mapping: ``{name: pb.Parameter(one) for name, one in weak.items()}``.

    Raises
    ------
    ValueError
        For parameters of which the data's size says nothing (``Emax``, ``gamma`` ...): state those.
    """
    if not data.has_dv or not data.n_dose:
        raise ValueError(
            "prior.weakly_informative needs doses and observed values to take the size of things from."
        )
    found = {name: _guess(name, data) for name in structural.parameters}
    unknown = [name for name, one in found.items() if one is None]
    if unknown:
        raise ValueError(
            f"The size of the data says nothing about {listed(unknown)}: state their priors, and take the "
            "others one by one."
        )
    known = {name: one for name, one in found.items() if one is not None}
    result = WeaklyInformative({n: o[0] for n, o in known.items()}, {n: o[1] for n, o in known.items()})
    if show:
        sys.stdout.write(f"{result}\n")
    return result


def _guess(name: str, data: EventTable) -> tuple[AbstractPrior, str] | None:
    dose = float(np.median(data.amt[data.is_dose & (data.amt > 0)]))
    high = float(np.quantile(data.obs_dv[data.obs_dv > 0], 0.9))
    span = float(
        np.median([np.ptp(data.obs_time[data.obs_subject == i]) for i in np.unique(data.obs_subject)])
    )
    span = span or float(np.ptp(data.obs_time)) or 1.0
    volume, rate = dose / high, 2.0 / span
    what = kind_of(name)
    size = f"dose {dose:.3g} over a high observation {high:.3g}"
    if name.startswith(("F", "fr")) and name not in ("Friberg",):
        return Beta(alpha=2.0, beta=2.0), "a fraction"
    if name.startswith(("Tlag", "MTT", "D", "mtt")):
        return LogNormal(span / 20, BROAD), f"a twentieth of the samples' span {span:.3g}"
    if what == "volume":
        return LogNormal(_round(volume), BROAD), size
    if what == "clearance" and name != "Vmax":
        return LogNormal(_round(volume * rate), BROAD), f"{size}, times 2 over the span {span:.3g}"
    if what == "rate":
        return LogNormal(
            _round(10.0 / span if name == "ka" else rate), BROAD
        ), f"the samples' span {span:.3g}"
    return None


def _round(value: float) -> float:
    return float(f"{value:.2g}")
