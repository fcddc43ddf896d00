"""The outer problem: the population values that minimise a method's objective, by a quasi-Newton method.

The first Hessian is that of the scores (the outer product of the subjects' gradients), which brings every
coordinate to its own scale; BFGS updates refine it; the observed Hessian decides at the end whether the
place is a minimum, and gives the standard errors.
"""

from dataclasses import dataclass, field

import numpy as np

from popbayes.infer.estimation.conditional import AbstractConditional, Slope
from popbayes.infer.estimation.flip_flop import INDISTINCT, Verdict, exchanged, verdict
from popbayes.infer.estimation.information import (
    Curvature,
    covariance_of,
    observed_hessian,
    penalty_gradient,
)
from popbayes.infer.estimation.method import Eta, Found, Objective, Problem
from popbayes.infer.estimation.modes import modes
from popbayes.infer.estimation.starting import better_start

MOST_ITERATIONS = 200
CLOSE_ENOUGH = 1e-6
"""Decrease of -2 log L that the next step promises, at which the minimum is found: 0.001 of a standard
error in every direction."""
LONGEST_STEP = 1.0
"""Of a coordinate in one iteration: a factor of e."""
MOST_HALVINGS = 12
ARMIJO = 1e-4
MOST_RESTARTS = 4
HOPE = 10.0
"""Times the decrease that the next step promises: what a walk may still be expected to fall."""
AT_ZERO = 1e-3
"""An omega below this has gone to 0."""
NEAR_ONE = 0.995
"""A correlation beyond this has gone to 1."""


@dataclass(eq=False)
class Walk:
    """Where the minimisation is, and where it has been."""

    x: np.ndarray
    eta: np.ndarray
    value: float
    trace: dict[str, list[np.ndarray | float]] = field(
        default_factory=lambda: {"x": [], "objective": [], "gradient": [], "step": []}
    )

    def note(self, promised: float, length: float) -> None:
        """Add the current place to the trace."""
        for name, one in (
            ("x", self.x.copy()), ("objective", self.value), ("gradient", promised), ("step", length)
        ):  # fmt: skip
            self.trace[name].append(one)


@np.errstate(all="ignore")  # what is not finite is a step that is not taken
def minimise(method: AbstractConditional, problem: Problem) -> Found:
    """Minimise -2 log L (and -2 log prior, where priors are used) and put the result together."""
    walk = _start(method, problem)
    messages: list[str] = []
    converged, curvature = False, None
    told = Verdict(False, [], {})
    try:
        walk, told = _either(method, problem, walk)
        for restart in range(MOST_RESTARTS):
            converged = _descend(method, problem, walk, seed=problem.seed + restart)
            if not converged:
                break
            curvature = observed_hessian(method, problem, walk.x, walk.eta)
            if not _polish(method, problem, walk, curvature) and not _search(method, problem, walk, restart):
                break
    except KeyboardInterrupt:
        if not walk.trace["x"]:
            raise
        converged = False
        messages.append("Interrupted: the values are those of the last iteration, not estimates.")
    if not converged and not messages:
        messages.append(
            f"The minimum was not found in {len(walk.trace['x'])} iterations: the objective still changes. "
            "Start nearer (starts={...}), or use a simpler model: a random effect or coefficient without "
            "information in the data makes the objective flat."
        )
    return _found(method, problem, walk, curvature, converged, messages, told)


def _either(method: AbstractConditional, problem: Problem, walk: Walk) -> tuple[Walk, Verdict]:
    """Go downhill; where absorption and elimination can be exchanged, from there too, and keep the better."""
    nothing = Verdict(False, [], {})
    if not _descend(method, problem, walk, seed=problem.seed):
        return walk, nothing
    coordinates, density = problem.coordinates, problem.density
    values = exchanged(problem.study, coordinates.values(walk.x))
    if values is None:
        return walk, nothing
    x = coordinates.vector(values)
    eta, _ = method.search(density, values, np.zeros_like(walk.eta), problem.seed)
    value = float(np.sum(method.objective(density, values, eta))) + problem.penalty(x)
    if not np.isfinite(value):
        return walk, nothing
    rival = Walk(x, eta, value)
    _descend(method, problem, rival, seed=problem.seed, hopeless=walk.value + INDISTINCT)
    told = verdict(
        problem.study,
        (coordinates.values(walk.x), walk.value),
        (coordinates.values(rival.x), rival.value),
        use_priors=problem.log_prior is not None,
    )
    return (rival if told.keep_rival else walk), told


def _start(method: AbstractConditional, problem: Problem) -> Walk:
    density = problem.density
    x, eta = better_start(method, problem)
    each = method.objective(density, problem.coordinates.values(x), eta)
    value = float(np.sum(each)) + problem.penalty(x)
    if not np.isfinite(value):
        broken = problem.study.events.subjects[np.flatnonzero(~np.isfinite(each))]
        raise ValueError(
            "The objective is not finite at the start, because of subject(s) "
            f"{', '.join(map(str, broken[:8]))}: the model cannot make their observations there. Give other "
            "starts (starts={'CL_pop': ...}), or a residual error with an additive part where predictions "
            "are 0."
        )
    return Walk(x, eta, value)


def _descend(
    method: AbstractConditional, problem: Problem, walk: Walk, seed: int, hopeless: float = np.inf
) -> bool:
    """Walk downhill until a step promises nothing; whether it came so far.

    Given up where even ten times what the next step promises would stay above `hopeless`.
    """
    hessian, slope = None, _slope(method, problem, walk)
    gradient = _gradient(problem, walk, slope)
    for _ in range(MOST_ITERATIONS):
        if hessian is None:
            hessian = _first_hessian(problem, slope)
            fresh = True
        step = -np.linalg.solve(hessian, gradient)
        promised = float(-0.5 * gradient @ step)
        if promised < CLOSE_ENOUGH:
            walk.note(promised, 0.0)
            return True
        if walk.value - HOPE * promised > hopeless:
            return False
        step /= max(1.0, float(np.max(np.abs(step) / problem.coordinates.steps)) / LONGEST_STEP)
        moved = _line_search(method, problem, walk, step, float(gradient @ step), slope)
        if moved == 0.0:
            if fresh:
                return promised < 1e3 * CLOSE_ENOUGH
            hessian = None
            continue
        walk.note(promised, moved)
        problem.report(len(walk.trace["x"]), walk.value, f"expected decrease {promised:.2g}")
        slope = _slope(method, problem, walk)
        new = _gradient(problem, walk, slope)
        hessian, fresh = _updated(hessian, moved * step, new - gradient), False
        gradient = new
    return False


def _slope(method: AbstractConditional, problem: Problem, walk: Walk) -> Slope:
    return method.slope(problem.density, problem.coordinates, walk.x, walk.eta)


def _gradient(problem: Problem, walk: Walk, slope: Slope) -> np.ndarray:
    """Gradient of the objective, priors included, (size,)."""
    return slope.scores.sum(axis=0) + penalty_gradient(problem, walk.x)


def _first_hessian(problem: Problem, slope: Slope) -> np.ndarray:
    """Twice the outer product of the scores of log L, made safe where subjects are few."""
    products = 0.5 * slope.scores.T @ slope.scores
    size = np.diag(products)
    floor = 1.0 / problem.coordinates.steps**2
    return products + np.diag(0.1 * size + floor)


def _line_search(
    method: AbstractConditional, problem: Problem, walk: Walk, step: np.ndarray, fall: float, slope: Slope
) -> float:
    """Move along `step` as far as the objective falls enough; the share of the step taken, 0 for none."""
    share = 1.0
    for _ in range(MOST_HALVINGS):
        x = walk.x + share * step
        values = problem.coordinates.values(x)
        guess = walk.eta + share * np.tensordot(step, slope.moves, axes=1)
        limit = 3.0 * problem.density.omega(values)
        eta = method.settle(problem.density, values, np.clip(guess, -limit, limit))
        with np.errstate(all="ignore"):
            value = float(np.sum(method.objective(problem.density, values, eta))) + problem.penalty(x)
        if np.isfinite(value) and value <= walk.value + ARMIJO * share * fall:
            walk.x, walk.eta, walk.value = x, eta, value
            return share
        # the minimum of the parabola through both values, within bounds
        bend = value - walk.value - share * fall
        best = -0.5 * fall * share**2 / bend if np.isfinite(value) and bend > 0 else 0.25 * share
        share = float(np.clip(best, 0.1 * share, 0.5 * share))
    return 0.0


def _updated(hessian: np.ndarray, step: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Powell's damped BFGS update: the Hessian stays positive definite."""
    along = hessian @ step
    size, seen = float(step @ along), float(step @ change)
    if seen < 0.2 * size:
        share = 0.8 * size / (size - seen)
        change = share * change + (1 - share) * along
        seen = float(step @ change)
    return hessian + np.outer(change, change) / seen - np.outer(along, along) / size


def _polish(method: AbstractConditional, problem: Problem, walk: Walk, curvature: Curvature) -> bool:
    """Take the Newton step of the observed Hessian where it still promises something; whether it did."""
    if not curvature.positive:
        return False
    gradient = curvature.gradient
    step = -np.linalg.solve(curvature.hessian, gradient)
    if float(-0.5 * gradient @ step) < 10 * CLOSE_ENOUGH:
        return False
    slope = _slope(method, problem, walk)
    return _line_search(method, problem, walk, step, float(gradient @ step), slope) > 0


def _search(method: AbstractConditional, problem: Problem, walk: Walk, restart: int) -> bool:
    """Look for better modes of the subjects; whether the objective fell because of them."""
    values = problem.coordinates.values(walk.x)
    eta, moved = method.search(problem.density, values, walk.eta, problem.seed + 1 + restart)
    if not moved:
        return False
    value = float(np.sum(method.objective(problem.density, values, eta))) + problem.penalty(walk.x)
    if not value < walk.value - 1e-4:
        return False
    walk.eta, walk.value = eta, value
    return True


def _found(
    method: AbstractConditional,
    problem: Problem,
    walk: Walk,
    curvature: Curvature | None,
    converged: bool,
    messages: list[str],
    told: Verdict,
) -> Found:
    density, values = problem.density, problem.coordinates.values(walk.x)
    # the etas that are reported are conditional modes under the model, whatever the method linearised at
    eta, here = modes(density, values, walk.eta, method.observe(density, values))
    covariance, complaint = (None, "") if curvature is None else covariance_of(curvature, method.covariance)
    messages += [complaint] if complaint else []
    messages += _at_bounds(problem, walk.x)
    trace = {name: np.array(one) for name, one in walk.trace.items()}
    return Found(
        x=walk.x,
        covariance=covariance,
        eta=Eta(eta, np.linalg.inv(here.information)),
        objectives={method.label: Objective(method.objective(density, values, walk.eta))},
        trace=trace,
        converged=converged,
        messages=messages,
        notes=told.notes,
        attrs=dict(told.attrs),
    )


def _at_bounds(problem: Problem, x: np.ndarray) -> list[str]:
    """Estimates that ended at the edge of what is possible, in words."""
    natural = zip(problem.coordinates.rows, problem.coordinates.natural(x), strict=True)
    ends = {(row.kind, row.label): value for row, value in natural}
    zero = [label for (kind, label), value in ends.items() if kind == "omega" and value < AT_ZERO]
    one = [label for (kind, label), value in ends.items() if kind == "corr" and abs(value) > NEAR_ONE]
    messages = []
    if zero:
        messages.append(
            f"{', '.join(zero)} went to 0: the data show no such differences between subjects. Leave the "
            "random effect out, or use priors (use_priors=True)."
        )
    if one:
        messages.append(
            f"{', '.join(one)} went to 1 or -1: the data do not tell these random effects apart. Look for a "
            "covariate that both depend on (body weight), or leave the correlation out."
        )
    return messages
