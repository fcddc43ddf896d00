"""Both solutions of an oral model explored, and the better one taken: none is a flip-flop by chance."""

from dataclasses import dataclass

import numpy as np

from popbayes.infer.estimation.flip_flop import DECIDED, Verdict, exchanged, verdict
from popbayes.infer.saem.algorithm import WINDOW, Found, Iterations, NotHonoured, Progress, Report
from popbayes.infer.saem.importance import importance
from popbayes.infer.saem.metropolis import Walk
from popbayes.infer.saem.spread import as_values

ENOUGH = 500
"""Draws for each subject by which solutions are compared."""
LOOK = 2 * WINDOW
"""Iterations after which a rival is looked at: it begins with its own covariance, and is near its end."""


@dataclass(frozen=True, eq=False)
class Height:
    """-2 log L of a place, priors included where they are used, and its Monte-Carlo error."""

    value: float
    error: float


def either(run: Iterations, seed: int, report: Report | None = None) -> tuple[Iterations, Found, Verdict]:
    """Run SAEM; where absorption and elimination can be exchanged, from the exchanged place too.

    The rival starts at the values exchanged where the first phase ends. Unless it is hopeless after a few
    iterations, or where its first phase ends, both go to their ends.

    Returns
    -------
    run, found
        Of the solution that is kept.
    verdict : Verdict
    """
    state = run.explored(report)
    other = None if state.interrupted else _rival(run, state, seed)
    its = None if other is None else _screened(run, state, other, report)
    if other is None or its is None:
        return run, run.smoothed(state, report), Verdict(False, [], {})
    found, rival = run.smoothed(state, report), other.smoothed(its, report)
    told = _verdict(run, state, other, its)
    return (other, rival, told) if told.keep_rival else (run, found, told)


def _screened(run: Iterations, state: Progress, other: Iterations, report: Report | None) -> Progress | None:
    """The rival after its first phase; None where it is hopeless, after a few iterations or at the end."""
    first, its = height(run, state), None
    for most, behind in ((LOOK, DECIDED), (None, DECIDED / 2)):
        try:
            its = other.explored(report, its, most)
        except NotHonoured:
            return None
        second = height(other, its)
        hopeless = second.value - first.value > behind + 3 * (first.error + second.error)
        if hopeless or its.interrupted:
            return None
    return its


def _verdict(run: Iterations, state: Progress, other: Iterations, its: Progress) -> Verdict:
    first, second = height(run, state), height(other, its)
    here = as_values(run.layout, run.pattern, state.x, state.omega)
    there = as_values(other.layout, other.pattern, its.x, its.omega)
    error = float(np.hypot(first.error, second.error))
    return verdict(
        run.layout.study, (here, first.value), (there, second.value), error, run.priors is not None
    )


def _rival(run: Iterations, state: Progress, seed: int) -> Iterations | None:
    """A run that begins at the exchanged solution; None where there is none."""
    x, omega = run.from_row(np.array(state.trace[-WINDOW:]).mean(axis=0))
    values = exchanged(run.layout.study, as_values(run.layout, run.pattern, x, omega))
    if values is None:
        return None
    other = Iterations(run.likelihood.density, run.settings, seed + 1, run.priors is not None)
    other.begin_at(values, exactly=True)
    return other


def height(run: Iterations, state: Progress) -> Height:
    """-2 log L at the averages of the last iterations, by importance sampling."""
    x, omega = run.from_row(np.array(state.trace[-WINDOW:]).mean(axis=0))
    walk: Walk = state.walk
    mean = walk.mean - run.layout.centre(x[: len(run.layout.linear)])
    values, population = run.layout.values(x[None]), run.population(omega)
    of_subjects, error = importance(
        run.likelihood, values, population, mean, walk.covariance, ENOUGH, run.rng
    )
    return Height(float(of_subjects.sum()) + run.penalty(x, omega), error)
