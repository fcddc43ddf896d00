"""Both solutions of an oral model explored, and the better one taken: no start ends in a flip-flop by chance."""

from dataclasses import dataclass

import numpy as np

from popbayes.infer.estimation.flip_flop import DECIDED, Verdict, exchanged, verdict
from popbayes.infer.saem.algorithm import WINDOW, Found, Iterations, NotHonoured, Progress, Report
from popbayes.infer.saem.importance import importance
from popbayes.infer.saem.metropolis import Walk
from popbayes.infer.saem.spread import as_values

ENOUGH = 500
"""Draws for each subject by which solutions are compared."""


@dataclass(frozen=True, eq=False)
class Height:
    """-2 log L of a place, priors included where they are used, and its Monte-Carlo error."""

    value: float
    error: float


def either(run: Iterations, seed: int, report: Report | None = None) -> tuple[Iterations, Found, Verdict]:
    """Run SAEM; where absorption and elimination can be exchanged, from the exchanged place too.

    The rival starts at the values exchanged where the first phase ends. Unless one of the two is then clearly
    better, both go to their ends.

    Returns
    -------
    run, found
        Of the solution that is kept.
    verdict : Verdict
    """
    state = run.explored(report)
    rival = None if state.interrupted else _rival(run, state, seed, report)
    if rival is None:
        return run, run.smoothed(state, report), Verdict(False, [], {})
    other, its = rival
    first, second = height(run, state), height(other, its)
    ahead = second.value - first.value
    if its.interrupted or ahead > DECIDED + 3 * (first.error + second.error):
        return run, run.smoothed(state, report), Verdict(False, [], {"exchanged_difference": ahead})
    found = None
    if ahead > -(DECIDED + 3 * (first.error + second.error)):
        found = run.smoothed(state, report)
    rival_found = other.smoothed(its, report)
    if found is None:
        told = _verdict(run, state, other, its, first, second)
        return other, rival_found, told
    first, second = height(run, state), height(other, its)
    told = _verdict(run, state, other, its, first, second)
    return (other, rival_found, told) if told.keep_rival else (run, found, told)


def _verdict(
    run: Iterations, state: Progress, other: Iterations, its: Progress, first: Height, second: Height
) -> Verdict:
    here = as_values(run.layout, run.pattern, state.x, state.omega)
    there = as_values(other.layout, other.pattern, its.x, its.omega)
    error = float(np.hypot(first.error, second.error))
    return verdict(run.layout.study, (here, first.value), (there, second.value), error)


def _rival(
    run: Iterations, state: Progress, seed: int, report: Report | None
) -> tuple[Iterations, Progress] | None:
    """The exchanged solution after its first phase; None where there is none."""
    x, omega = run.from_row(np.array(state.trace[-WINDOW:]).mean(axis=0))
    values = exchanged(run.layout.study, as_values(run.layout, run.pattern, x, omega))
    if values is None:
        return None
    other = Iterations(run.likelihood.density, run.settings, seed + 1, run.priors is not None)
    other.begin_at(values, exactly=True)
    try:
        return other, other.explored(report)
    except NotHonoured:
        return None


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
