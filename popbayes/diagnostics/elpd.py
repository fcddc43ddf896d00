"""Expected log predictive densities: what `loo` and `waic` share, and what they return."""

from dataclasses import dataclass
from html import escape
from textwrap import fill
from typing import Any

import numpy as np
import xarray as xr

from popbayes.diagnostics.result import WIDTH, messages_html, messages_text
from popbayes.dims import LOG_LIKELIHOOD, OBS
from popbayes.infer.pointwise import log_likelihood
from popbayes.infer.tree import study_of

MOST_NAMED = 6
"""Observations named in a message; the rest are counted."""

QUESTION = {"obs": "another observation of the same subjects"}
"""What a unit left out asks for, in words."""


@dataclass(frozen=True, eq=False, repr=False)
class Elpd:
    """An estimate of the expected log predictive density for new data of the same kind.

    Attributes
    ----------
    method : {"loo", "waic"}
    unit : {"obs"}
        What was left out, and so what the number is about.
    elpd, se : float
        The estimate, and its standard error over units; the log density, higher is better.
    p : float
        Effective number of parameters.
    n, n_draw : int
        Number of units, and of posterior draws.
    pointwise : Dataset over units
        `elpd` and `p` of each unit, `khat` for loo; coordinates `subject` and `time`.
    messages : tuple of str
        Why the estimate may be wrong, in plain words.
    raw : object or None
        ArviZ's own result (loo only).
    """

    method: str
    unit: str
    elpd: float
    se: float
    p: float
    n: int
    n_draw: int
    pointwise: xr.Dataset
    messages: tuple[str, ...] = ()
    raw: Any = None

    def __str__(self) -> str:
        rows = ((f"elpd_{self.method}", self.elpd, self.se), (f"p_{self.method}", self.p, None))
        lines = [f"{'':<10}{'estimate':>10}{'SE':>8}"]
        for name, value, se in rows:
            lines.append(f"{name:<10}{value:>10.1f}" + (f"{se:>8.1f}" if se is not None else ""))
        return "\n".join([*messages_text(self.messages), fill(self.title, WIDTH), "", *lines])

    __repr__ = __str__

    @property
    def title(self) -> str:
        """What was left out, and the question that this answers."""
        left = {"loo": "Leave-one-out", "waic": "WAIC"}[self.method]
        return (
            f'{left}, unit="{self.unit}": how well is {QUESTION[self.unit]} predicted? '
            f"({self.n} observations, {self.n_draw} draws)"
        )

    def _repr_html_(self) -> str:
        rows = (
            (f"elpd_{self.method}", f"{self.elpd:.1f}", f"{self.se:.1f}"),
            (f"p_{self.method}", f"{self.p:.1f}", ""),
        )
        body = "".join(
            f'<tr><th scope="row">{name}</th><td>{value}</td><td>{se}</td></tr>' for name, value, se in rows
        )
        head = "".join(f'<th scope="col">{name}</th>' for name in ("quantity", "estimate", "SE"))
        return (
            f'{messages_html(self.messages)}<table class="popbayes"><caption>{escape(self.title)}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )


def the_unit(unit: str, what: str) -> str:
    """Check `unit`, and refuse what is not there yet.

    Raises
    ------
    NotImplementedError
        For ``unit="subject"``: it needs the random effects integrated out.
    ValueError
        For any other word.
    """
    if unit == "subject":
        raise NotImplementedError(
            f'{what}(unit="subject") comes in a later version. How well a new subject is predicted needs the '
            "likelihood "
            "with the subject's random effects integrated out; the sum of the observations' conditional "
            "values is not that, since each of them has already been seen by the subject's own random "
            "effects, and must not be "
            f'used in its place. {what}(unit="obs") answers another question: how well {QUESTION["obs"]} is '
            "predicted."
        )
    if unit not in QUESTION:
        raise ValueError(f'unit must be "obs" or "subject", not {unit!r}: it says what is left out.')
    return unit


def pointwise_log_likelihood(dt: xr.DataTree) -> xr.DataArray:
    """Log density of every observation given every draw, with subject and time as coordinates.

    (chain, draw, obs), taken from the group `log_likelihood` where there is one, else computed and not kept.
    Observations whose log density is 0 in every draw are not among them: those that the model's censoring
    method leaves out, and those certainly below a limit since nothing is predicted yet.

    Raises
    ------
    ValueError
        Where a value is not finite.
    """
    events = study_of(dt).events
    stored = LOG_LIKELIHOOD in dt.children
    values = dt[LOG_LIKELIHOOD]["dv"] if stored else log_likelihood(dt)
    values = values.transpose("chain", "draw", OBS)
    values = values.assign_coords(
        subject=(OBS, events.subjects[events.obs_subject]), time=(OBS, events.obs_time)
    )
    finite = np.isfinite(values.to_numpy()).all(axis=(0, 1))
    if not finite.all():
        bad = np.flatnonzero(~finite)
        raise ValueError(
            f"The log-likelihood is not finite in some draws for {len(bad)} of {len(finite)} observations "
            f"({named(values.to_dataset(name='dv'), bad)}): a residual SD of zero, or a solution that "
            "failed, there. No predictive density can be computed from it."
        )
    certain = (values == 0).all(("chain", "draw")).to_numpy()
    return values.isel({OBS: ~certain}) if certain.any() else values


def named(pointwise: xr.Dataset, index: np.ndarray) -> str:
    """Observations in words, the first few by name: ``subject 1 at 0.25 and 24; subject 5 at 2``."""
    times: dict[str, list[str]] = {}
    for i in index[:MOST_NAMED]:
        subject = str(pointwise["subject"].values[i])
        times.setdefault(subject, []).append(f"{pointwise['time'].values[i]:g}")
    text = "; ".join(f"subject {subject} at {' and '.join(when)}" for subject, when in times.items())
    more = len(index) - MOST_NAMED
    return text + (f"; and {more} more" if more > 0 else "")
