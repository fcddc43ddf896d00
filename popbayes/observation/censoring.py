"""`censoring`: what is done with observations beyond a limit of quantification, by Beal's names.

References
----------
Beal, J. Pharmacokinet. Pharmacodyn. 28 (2001) 481-504; Ahn, Karlsson, Dunne & Ludden, J. Pharmacokinet.
Pharmacodyn. 35 (2008) 401-421; Bergstrand & Karlsson, AAPS J. 11 (2009) 371-380.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import numpy as np

from popbayes.observation.rows import BETWEEN, LEFT_OUT, MEASURED, Rows
from popbayes.wording import listed, nearest

__all__ = ["M1", "M2", "M3", "M4", "M5", "M6", "M7", "AbstractCensoring", "censoring_from_dict"]

Refuse = Callable[[np.ndarray, str], None]
"""Raises an error about the observations (n,) of which something is said."""


@dataclass(frozen=True)
class AbstractCensoring:
    """What is done with observations that are known only to lie beyond or between limits."""

    says: ClassVar[str]
    """The method in a few words."""
    left_only: ClassVar[bool] = False
    positive_limit: ClassVar[bool] = False

    @property
    def kind(self) -> str:
        """M1, M2, ..."""
        return type(self).__name__

    def apply(self, rows: Rows, lloq: np.ndarray, refuse: Refuse) -> Rows:
        """Say what the likelihood takes.

        Parameters
        ----------
        rows : Rows
            With the limits of every observation that is not measured.
        lloq : (n,)
            Lower limit of quantification of each observation; nan where none is known.
        refuse : function
            Called with the observations that the method cannot take, and why.
        """
        beyond = rows.state == BETWEEN
        if self.left_only:
            refuse(
                beyond & ~np.isfinite(rows.upper),
                f"censoring.{self.kind} is for values below a limit, and this one is above it (CENS -1). Use "
                "censoring.M3",
            )
        if self.positive_limit:
            refuse(
                beyond & ~(rows.upper > 0),
                f"censoring.{self.kind} takes values to lie between 0 and the limit, which is not positive "
                "here (logarithms?). Use censoring.M3",
            )
        return self._apply(rows, beyond, lloq, refuse)

    @abstractmethod
    def _apply(self, rows: Rows, beyond: np.ndarray, lloq: np.ndarray, refuse: Refuse) -> Rows:
        """The rows as the method takes them; `beyond` says which are not measured."""

    def to_dict(self) -> dict[str, Any]:
        """The method as JSON values."""
        return {"kind": self.kind}


@final
@dataclass(frozen=True)
class M1(AbstractCensoring):
    """Observations beyond a limit are left out: biased, since the others are not a random part."""

    says = "observations beyond a limit are left out"

    def _apply(self, rows: Rows, beyond: np.ndarray, lloq: np.ndarray, refuse: Refuse) -> Rows:
        return _left_out(rows, beyond)


@final
@dataclass(frozen=True)
class M2(AbstractCensoring):
    r"""Observations below a limit are left out; the others are known to be above theirs.

    .. math:: p(y) = \frac{p(y \mid f)}{1 - F(\mathrm{LLOQ} \mid f)}
    """

    says = "observations below a limit are left out, the others are known to be above it"
    left_only = True

    def _apply(self, rows: Rows, beyond: np.ndarray, lloq: np.ndarray, refuse: Refuse) -> Rows:
        measured = rows.state == MEASURED
        refuse(
            measured & np.isnan(lloq),
            "censoring.M2 needs the limit of every measured value. Give the column LLOQ, or use censoring.M3",
        )
        return replace(_left_out(rows, beyond), floor=np.where(measured, lloq, rows.floor))


@final
@dataclass(frozen=True)
class M3(AbstractCensoring):
    r"""The probability of lying beyond the limit, or between two; the default.

    .. math:: p(y < \mathrm{LLOQ}) = F(\mathrm{LLOQ} \mid f)

    A LIMIT beside CENS gives the other end: the probability of lying between both.
    """

    says = "the probability of lying beyond the limit"

    def _apply(self, rows: Rows, beyond: np.ndarray, lloq: np.ndarray, refuse: Refuse) -> Rows:
        return rows


@final
@dataclass(frozen=True)
class M4(AbstractCensoring):
    r"""As M3, all observations known to be positive: for error models that can go below zero.

    .. math::

        p(y) = \frac{p(y \mid f)}{1 - F(0 \mid f)}, \qquad
        p(0 < y < \mathrm{LLOQ}) = \frac{F(\mathrm{LLOQ} \mid f) - F(0 \mid f)}{1 - F(0 \mid f)}

    The same as M3 where the error model allows no value below zero (log-normal, Box-Cox). Draws are positive
    too: `popbayes.simulate` cuts the error model at zero, as the likelihood does.
    """

    says = "the probability of lying beyond the limit, of values known to be positive"
    positive_limit = True

    def _apply(self, rows: Rows, beyond: np.ndarray, lloq: np.ndarray, refuse: Refuse) -> Rows:
        refuse(
            (rows.state == MEASURED) & ~(rows.dv > 0),
            "censoring.M4 takes all observations to be positive. Use censoring.M3",
        )
        lower = np.where(beyond, np.maximum(rows.lower, 0.0), rows.lower)
        return replace(rows, lower=lower, floor=np.zeros(len(rows.state)), positive=True)


@final
@dataclass(frozen=True)
class M5(AbstractCensoring):
    """Observations below a limit are put at half of it: for comparison with older analyses."""

    says = "observations below a limit are put at half of it"
    left_only = positive_limit = True

    def _apply(self, rows: Rows, beyond: np.ndarray, lloq: np.ndarray, refuse: Refuse) -> Rows:
        return _put(rows, beyond, rows.upper / 2)


@final
@dataclass(frozen=True)
class M6(AbstractCensoring):
    """Of a run of observations below a limit one is put at half of it, the others are left out.

    The one that stays is the first of the run; of a run that opens a subject's record (concentrations still
    rising) it is the last. Of a subject that has no others all are left out.
    """

    says = "the first of a run of observations below a limit is put at half of it, the others are left out"
    left_only = positive_limit = True

    def _apply(self, rows: Rows, beyond: np.ndarray, lloq: np.ndarray, refuse: Refuse) -> Rows:
        stays = np.zeros(len(beyond), dtype=bool)
        opening = np.zeros(len(beyond), dtype=bool)
        following = np.zeros(len(beyond), dtype=bool)
        for j in np.flatnonzero(beyond):
            before = rows.previous[j]
            opening[j] = before < 0 or (beyond[before] and opening[before])
            stays[j] = not opening[j] and not beyond[before]
        following[rows.previous[(rows.previous >= 0) & ~beyond]] = True
        stays |= opening & following
        return _left_out(_put(rows, stays, rows.upper / 2), beyond & ~stays)


@final
@dataclass(frozen=True)
class M7(AbstractCensoring):
    """Observations below a limit are put at 0, which needs an error model with an additive part."""

    says = "observations below a limit are put at 0"
    left_only = positive_limit = True

    def _apply(self, rows: Rows, beyond: np.ndarray, lloq: np.ndarray, refuse: Refuse) -> Rows:
        return _put(rows, beyond, np.zeros(len(beyond)))


def _left_out(rows: Rows, which: np.ndarray) -> Rows:
    state = np.where(which, LEFT_OUT, rows.state)
    previous, since = rows.previous.copy(), rows.since.copy()
    for j in range(len(state)):  # in order: what is before has been dealt with
        before = rows.previous[j]
        if before >= 0 and state[before] == LEFT_OUT:
            previous[j], since[j] = previous[before], since[before]
    return replace(rows, state=state, previous=previous, since=since)


def _put(rows: Rows, which: np.ndarray, value: np.ndarray) -> Rows:
    return replace(
        rows,
        state=np.where(which, MEASURED, rows.state),
        dv=np.where(which, value, rows.dv),
        lower=np.where(which, -np.inf, rows.lower),
        upper=np.where(which, np.inf, rows.upper),
    )


KINDS: dict[str, type[AbstractCensoring]] = {kind.__name__: kind for kind in (M1, M2, M3, M4, M5, M6, M7)}


def censoring_from_dict(values: Mapping[str, Any] | None) -> AbstractCensoring | None:
    """Make a method from what `to_dict` gave.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if values is None:
        return None
    kind = values["kind"]
    if kind not in KINDS:
        raise ValueError(f"There is no censoring {kind!r}; there are {listed(KINDS)}.{nearest(kind, KINDS)}")
    return KINDS[kind]()
