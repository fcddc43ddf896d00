"""Where the outer problem starts: a few rounds of iterated two-stage estimation.

An objective that is linearised around a poor start can lead into a wrong minimum (a flip-flop, or an omega
of 0). Individual fits with wide random effects do not: their means and spreads are a start from which the
right minimum is downhill.
"""

import numpy as np

from popbayes.infer.error_slopes import interaction
from popbayes.infer.estimation.conditional import AbstractConditional
from popbayes.infer.estimation.coordinates import Coordinates
from popbayes.infer.estimation.method import Problem
from popbayes.infer.estimation.modes import modes, searched
from popbayes.infer.pointwise import sigmas
from popbayes.infer.subject_logp import Local, SubjectDensity

ROUNDS = 8
LEAST_OMEGA = 0.5
"""Random effects are at least this wide at first..."""
SHRINK = 0.7
"""... and become narrower by no more than this factor in a round."""


def better_start(method: AbstractConditional, problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates and random effects to start from, at least as good as the start that was given."""
    density, coordinates = problem.density, problem.coordinates
    zero = np.zeros((density.n_subject, density.n_eta))
    first = coordinates.initial
    eta, _ = method.search(density, coordinates.values(first), zero, problem.seed)
    best = (_value(method, problem, first, eta), first, eta)
    if density.n_eta == 0:
        return best[1], best[2]
    x = _two_stage(problem, first)
    eta, _ = method.search(density, coordinates.values(x), zero, problem.seed)
    value = _value(method, problem, x, eta)
    return (x, eta) if value < best[0] or not np.isfinite(best[0]) else best[1:]


def _value(method: AbstractConditional, problem: Problem, x: np.ndarray, eta: np.ndarray) -> float:
    each = method.objective(problem.density, problem.coordinates.values(x), eta)
    return float(np.sum(each)) + problem.penalty(x)


def _widened(coordinates: Coordinates, x: np.ndarray) -> np.ndarray:
    """The same place with random effects that are wide enough to move."""
    x = x.copy()
    for k, row in enumerate(coordinates.rows):
        if row.kind in ("omega", "level") and row.scale != "identity":
            x[k] = max(x[k], np.log(LEAST_OMEGA))
    return x


def _two_stage(problem: Problem, x: np.ndarray) -> np.ndarray:
    """Rounds of individual fits, each followed by their means and spreads."""
    density, coordinates = problem.density, problem.coordinates
    x = _widened(coordinates, x)
    eta = np.zeros((density.n_subject, density.n_eta))
    for round_ in range(ROUNDS):
        values = coordinates.values(x)
        if round_ % 4 == 0:
            eta, here, _ = searched(density, values, eta, seed=problem.seed)
        else:
            eta, here = modes(density, values, eta)
        if not np.isfinite(here.logp).all():
            break
        x, shift = _second_stage(density, coordinates, x, eta, here)
        eta = eta - shift
    return x


def _second_stage(
    density: SubjectDensity, coordinates: Coordinates, x: np.ndarray, eta: np.ndarray, here: Local
) -> tuple[np.ndarray, np.ndarray]:
    """Typical values by means, SDs by spreads, residual SDs by residuals; and how far the means moved."""
    model, x = density.study.model, x.copy()
    spread = np.linalg.inv(here.information)
    names = list(model.eta_names)
    shift = np.zeros(eta.shape[1])
    old = density.layout.sds(model, coordinates.values(x))
    inflation = np.log(_inflation(density, coordinates, x, here, spread))
    for k, row in enumerate(coordinates.rows):
        if row.kind == "pop" and row.parameter in names:
            place = names.index(row.parameter)
            shift[place] = np.mean(eta[:, place])
            x[k] += shift[place] / (coordinates.identity_scale(row) if row.scale == "identity" else 1.0)
        elif row.kind == "sigma":
            x[k] += np.clip(inflation, -1.0, 1.0)
    layout = density.layout
    squares = (eta - shift) ** 2 + np.einsum("ikk->ik", spread)
    for k, row in enumerate(coordinates.rows):
        if row.kind in ("omega", "level"):
            basic = layout.number(str(row.index), of_occasion=row.kind == "level")
            wide = np.sqrt(np.mean(layout.of_one(squares, basic)))
            x[k] = np.log(max(wide, SHRINK * old[basic]))
    return x, shift


def _inflation(
    density: SubjectDensity, coordinates: Coordinates, x: np.ndarray, here: Local, spread: np.ndarray
) -> float:
    """Factor by which residual SDs are too small: root mean square of residuals and their uncertainty."""
    study = density.study
    sigma = sigmas(study, coordinates.values(x))
    own = spread[study.design.obs_subject]
    uncertain = np.einsum("ko,okl,lo->o", here.jacobian, own, here.jacobian)
    weight = interaction(study, here.pred, sigma).information
    squares = study.observed.scores(here.pred, sigma) ** 2
    total = np.where(np.isfinite(squares), squares, 0.0) + np.minimum(uncertain * weight, 1.0)
    return float(np.sqrt(np.clip(np.mean(total), 1e-4, 1e4)))
