"""An observation model on its data: which law each observation has, and all their densities and draws."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from popbayes.data.events import EventTable
from popbayes.observation.censoring import M3, M7
from popbayes.observation.endpoints import Kind, ObservationModel
from popbayes.observation.law import Sigma
from popbayes.observation.rows import BETWEEN, MEASURED, Rows, assemble, cut
from popbayes.observation.stratified import level_text
from popbayes.wording import listed, nearest

ROWS_SHOWN = 8


@dataclass(frozen=True, eq=False)
class Part:
    """The observations (n,) of one law: their numbers, and what is known of them."""

    kind: Kind
    index: np.ndarray
    rows: Rows
    n_obs: int

    def own(self, sigma: Sigma) -> dict[str, Any]:
        """Arguments of the law by its own names, for its own observations."""
        return {name: cut(sigma[graph], self.index, self.n_obs) for name, graph in self.kind.names.items()}

    def predicted(self, prediction: Any) -> Any:
        """Predictions of its own observations."""
        return cut(prediction, self.index, self.n_obs)

    def log_density(self, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """Log density of its observations from the predictions of all, (..., n)."""
        return self.kind.law.log_density(self.rows, self.predicted(prediction), self.own(sigma), xp)


@dataclass(frozen=True, eq=False)
class Observed:
    """All observations of an event table under an observation model.

    In all methods `prediction` is (..., n_obs), and `sigma` maps the names of the observation model's
    priors, and of the parameters that it uses, to scalars, (..., 1) or (..., n_obs).
    """

    model: ObservationModel
    events: EventTable
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, model: ObservationModel, events: EventTable) -> "Observed":
        """Lay out the observations of `events`, which may be a design without values.

        Raises
        ------
        ValueError
            For an observation that the model has no law for, or that its method for censored ones cannot
            take.
        """
        which = _kind_of_each(model, events)
        lloq = quantification_limit(events)
        parts = []
        for number, kind in enumerate(model.kinds):
            index = np.flatnonzero(which == number)
            if len(index):
                rows = _rows(model, kind, events, index, lloq)
                parts.append(Part(kind, index, rows, events.n_obs))
        return cls(model, events, tuple(parts))

    @cached_property
    def output(self) -> Any:
        """What the engine is to predict: one output, or DVID -> output."""
        first = self.model.outputs[0]
        outputs = {part.kind.output if part.kind.law.uses_prediction else first: None for part in self.parts}
        if len(outputs) <= 1:
            return next(iter(outputs), first)
        found: dict[int, str] = {}
        for part in self.parts:
            name = part.kind.output if part.kind.law.uses_prediction else first
            for dvid in np.unique(self.events.dvid[self.events.obs_record[part.index]]).tolist():
                found[dvid] = name
        return found

    def log_density(self, prediction: np.ndarray, sigma: Sigma) -> np.ndarray:
        """Log density of each observation, (..., n_obs)."""
        return self.over_laws(lambda part: part.log_density(prediction, sigma))

    def draw(self, rng: np.random.Generator, prediction: np.ndarray, sigma: Sigma) -> np.ndarray:
        """Draw every observation, without limits of quantification, (..., n_obs)."""
        return self.over_laws(
            lambda part: part.kind.law.draw(rng, part.rows, part.predicted(prediction), part.own(sigma))
        )

    def scores(self, prediction: np.ndarray, sigma: Sigma) -> np.ndarray:
        """Weighted residuals, (..., n_obs); nan where an observation has none."""
        return self.over_laws(
            lambda part: part.kind.law.scores(part.rows, part.predicted(prediction), part.own(sigma))
        )

    def over_laws(self, function: Callable[[Part], np.ndarray]) -> np.ndarray:
        """One value for each observation, (..., n_obs), from a function of every part, (..., n)."""
        return assemble([(part.index, function(part)) for part in self.parts], self.events.n_obs, np)

    @cached_property
    def dv(self) -> np.ndarray:
        """The values that the likelihood takes, (n_obs,): the data's, or those put in their place."""
        return self.over_laws(lambda part: part.rows.dv)

    @cached_property
    def unmarked(self) -> np.ndarray:
        """Whether each measurement lies below its LLOQ but is not marked by CENS, (n_obs,)."""
        events = self.events
        with np.errstate(invalid="ignore"):
            under = (events.cens[events.obs_record] == 0) & (events.obs_dv < quantification_limit(events))
        for part in self.parts:
            if part.kind.law.discrete:  # an event (CENS 1) has no such limit
                under[part.index] = False
        return under

    @cached_property
    def state(self) -> np.ndarray:
        """Whether each observation is measured, known between limits, or left out, (n_obs,)."""
        return self.over_laws(lambda part: part.rows.state)


def quantification_limit(events: EventTable) -> np.ndarray:
    """Lower limit of quantification of each observation, (n_obs,); nan where none is known.

    That of the column LLOQ; else the value of an observation that is itself below the limit (CENS 1), or
    the limit of all such observations of the same DVID where they have one.
    """
    record = events.obs_record
    below = events.cens[record] == 1
    limit = np.where(below & np.isnan(events.lloq[record]), events.dv[record], events.lloq[record])
    dvid = events.dvid[record]
    for number in np.unique(dvid[below]):
        mine = dvid == number
        known = np.unique(limit[mine & below])
        if len(known) == 1:
            limit = np.where(mine & np.isnan(limit), known[0], limit)
    return limit


def upper_limit(events: EventTable) -> np.ndarray:
    """Upper limit of each observation, (n_obs,): as `quantification_limit`, of those above one (CENS -1)."""
    record = events.obs_record
    above = events.cens[record] == -1
    limit, dvid = np.where(above, events.dv[record], np.nan), events.dvid[record]
    for number in np.unique(dvid[above]):
        known = np.unique(limit[above & (dvid == number)])
        if len(known) == 1:
            limit = np.where(dvid == number, known[0], limit)
    return limit


def _kind_of_each(model: ObservationModel, events: EventTable) -> np.ndarray:
    """Number of the law of each observation, (n_obs,)."""
    record = events.obs_record
    dvid = events.dvid[record]
    which = np.full(events.n_obs, -1)
    _check_dvid(model, events, dvid)
    for number, kind in enumerate(model.kinds):
        mine = np.ones(len(dvid), dtype=bool) if kind.dvid is None else np.isin(dvid, kind.dvid)
        if kind.column:
            mine &= _levels(events, kind.column)[record] == kind.level
        which[mine] = number
    if np.any(which < 0):
        columns = listed({kind.column for kind in model.kinds if kind.column})
        raise ValueError(
            f"residual.Stratified has no residual error for the value of {columns} in "
            f"{rows_in_words(events, which < 0)}. Name every level that occurs."
        )
    return which


def _check_dvid(model: ObservationModel, events: EventTable, dvid: np.ndarray) -> None:
    """Refuse kinds of observations that the model does not describe."""
    endpoint_of, found = model.endpoint_of, np.unique(dvid).tolist()
    if not endpoint_of:
        strata = {kind.column for kind in model.kinds}
        if len(found) > 1 and "DVID" not in strata:
            kinds = ", ".join(map(str, found))
            raise ValueError(
                f"The observations are of several kinds (DVID {kinds}), but the model has one residual error "
                f"for one output ({model.outputs[0]}). Keep the observations of one DVID, or say how each is "
                'distributed: residual={"conc": ..., "effect": ...}, dvid={1: "conc", 2: "effect"}.'
            )
        return
    unknown = ~np.isin(dvid, list(endpoint_of))
    if unknown.any():
        told = ", ".join(f"{number} is {name}" for number, name in endpoint_of.items())
        raise ValueError(
            f"The model does not say what DVID {dvid[unknown][0]} is ({told}); it is that of "
            f"{rows_in_words(events, unknown)}. Name it in dvid, or leave these records out."
        )


def _levels(events: EventTable, column: str) -> np.ndarray:
    """Values of a column of strata as text, (n_record,)."""
    own = {"DVID": events.dvid, "OCC": events.occ}
    values = own.get(column, events.covariates.get(column))
    if values is None:
        known = [*events.covariates, *(name for name, one in own.items() if one is not None)]
        raise ValueError(
            f"residual.Stratified splits by {column}, which the event table does not have; it has "
            f"{listed(known)}.{nearest(column, known)} Columns become covariates with "
            f"pb.read_events(..., covariates=[{column!r}])."
        )
    return np.array([level_text(value) for value in values.tolist()])


def _rows(
    model: ObservationModel, kind: Kind, events: EventTable, index: np.ndarray, lloq: np.ndarray
) -> Rows:
    """What is known of the observations of one law, as its method for censored ones takes them."""
    record = events.obs_record[index]
    previous, since, reset = _previous(events, record)
    cens, dv, limit = events.cens[record], events.dv[record], events.limit[record]
    state = np.where(cens != 0, BETWEEN, MEASURED)
    end = np.where(np.isnan(limit), np.where(cens == 1, -np.inf, np.inf), limit)
    rows = Rows(
        dv=dv,
        state=state,
        lower=np.where(cens == 1, end, np.where(cens == -1, dv, -np.inf)),
        upper=np.where(cens == 1, dv, np.where(cens == -1, end, np.inf)),
        floor=np.full(len(index), -np.inf),
        previous=previous,
        time=events.time[record],
        since=since,
        reset=reset,
        origin=events.time[np.searchsorted(events.record_subject, events.record_subject[record])],
    )
    refuse = _refuser(events, index)
    if kind.law.discrete:
        return rows
    own = lloq[index]
    if model.censoring is not None:
        with np.errstate(invalid="ignore"):
            under = (state == MEASURED) & (dv < own)
        rows = replace(rows, state=np.where(under, BETWEEN, state), upper=np.where(under, own, rows.upper))
    if kind.law.needs_positive_dv and isinstance(model.censoring, M7):
        refuse(
            rows.state == BETWEEN,
            f"censoring.M7 puts these at 0, where residual.{kind.law.kind} has no density. Use another "
            "method, or an error with an additive part such as residual.Combined",
        )
    rows = (model.censoring or M3()).apply(rows, own, refuse)
    return _positive(rows, refuse) if kind.law.needs_positive_dv else rows


def _positive(rows: Rows, refuse: Callable[[np.ndarray, str], None]) -> Rows:
    """Limits of an observation that is positive in any case."""
    refuse(
        (rows.state == BETWEEN) & ~(rows.upper > 0),
        "The limit is not positive, but the residual error allows positive observations only. Use another",
    )
    return replace(
        rows,
        lower=np.where(rows.lower <= 0, -np.inf, rows.lower),
        floor=np.where(rows.floor <= 0, -np.inf, rows.floor),
    )


def _previous(events: EventTable, record: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Index of the subject's previous observation of this kind, its time, and resets since; see `Rows`."""
    resets = np.isin(events.evid, (3, 4))
    period = np.cumsum(resets)[record]
    subject = events.record_subject[record]
    same = np.zeros(len(record), dtype=bool)
    same[1:] = subject[1:] == subject[:-1]
    before = np.maximum(np.arange(len(record)) - 1, 0)
    # what a reset empties is no longer there; time goes on
    previous = np.where(same & (period == period[before]), before, -1)
    first = events.time[np.searchsorted(events.record_subject, subject)]
    since = np.where(same, events.time[record[before]], first)
    latest = np.maximum.accumulate(np.where(resets, np.arange(len(resets)), -1))[record]
    own = (latest >= 0) & (events.record_subject[np.maximum(latest, 0)] == subject)
    reset = own & (events.time[np.maximum(latest, 0)] > since)
    return previous, since, reset


def _refuser(events: EventTable, index: np.ndarray) -> Callable[[np.ndarray, str], None]:
    """A function that raises about some of the observations `index`."""

    def refuse(which: np.ndarray, why: str) -> None:
        if which.any():
            bad = np.zeros(events.n_obs, dtype=bool)
            bad[index[which]] = True
            raise ValueError(f"{why}: {rows_in_words(events, bad)}.")

    return refuse


def rows_in_words(data: EventTable, which: np.ndarray) -> str:
    """Data rows of some observations with their subjects, in words."""
    records = data.obs_record[which]
    shown = [f"row {data.row[r]} (ID {data.subjects[data.record_subject[r]]})" for r in records[:ROWS_SHOWN]]
    more = f" and {len(records) - ROWS_SHOWN} more" if len(records) > ROWS_SHOWN else ""
    return ", ".join(shown) + more
