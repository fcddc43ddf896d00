"""The inner problem: the random effects that fit each subject best, all subjects at once."""

import numpy as np

from popbayes.infer.estimation.curvature import exact_curvature
from popbayes.infer.subject_logp import Local, Observe, SubjectDensity, Values

MOST_STEPS = 100
GAUSS_NEWTON = 12
"""Steps after which a subject that has not arrived goes on with its second derivatives: where residuals are
large Gauss-Newton steps are too long or too short for ever."""
CLOSE_ENOUGH = 1e-13
"""Squared length of the next step, in conditional SDs, at which a mode is found: 3e-7 of an SD."""
ROUNDING = 1e-11
"""A relative loss of log density that is rounding, not a step that failed."""
LONGEST_STEP = 3.0
"""Of a step of one random effect, in population SDs: further out the local model means nothing."""
FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-2, 1e-4, 1e8
N_RANDOM_STARTS = 24
CLEARLY_BETTER = 1e-6


def modes(
    density: SubjectDensity, values: Values, start: np.ndarray, observe: Observe | None = None
) -> tuple[np.ndarray, Local]:
    r"""Modes of the joint density in the random effects, by damped Gauss-Newton steps.

    A step solves :math:`(I + \lambda\,\mathrm{diag}\,I)\,\delta = g` with gradient `g` and information `I` of
    each subject; :math:`\lambda` rises where a step was no improvement and falls where it was. A subject
    whose density is not finite anywhere near its start keeps its start, with log density -inf.

    Parameters
    ----------
    density : SubjectDensity
    values : population values
    start : (n_subject, n_eta)
    observe
        How observations scatter; None: as the model says.

    Returns
    -------
    eta : (n_subject, n_eta)
    local : Local
        The density at the modes.
    """
    eta = np.array(start, dtype=np.float64)
    here = density.local(values, eta, observe)
    if density.n_eta == 0:
        return eta, here
    eta, here = _from_zero_where_broken(density, values, eta, here, observe)
    longest = LONGEST_STEP * density.omega(values)
    damping = np.zeros(density.n_subject)
    newton = here.information
    for number in range(MOST_STEPS):
        step, size = _steps(here, newton if number > GAUSS_NEWTON else here.information, damping, longest)
        active = np.flatnonzero((size > CLOSE_ENOUGH) & (damping < MOST_DAMPING) & np.isfinite(here.logp))
        if len(active) == 0:
            break
        if number >= GAUSS_NEWTON and number % 2 == 0:
            newton = exact_curvature(density, values, eta, observe, active, here)
        trial = eta.copy()
        trial[active] += step[active]
        there = density.local(values, trial, observe, subjects=active)
        with np.errstate(invalid="ignore"):
            gain = there.logp - here.logp
            accepted = np.isin(np.arange(density.n_subject), active) & (
                gain > -ROUNDING * (1 + np.abs(here.logp))
            )
        # the loss of a step that leaves nothing to be gained is rounding
        stuck = np.isin(np.arange(density.n_subject), active) & ~accepted & (size < 1e-9)
        damping = np.where(accepted, np.where(damping > LEAST_DAMPING, damping / 10, 0.0), damping)
        rejected = np.setdiff1d(active, np.flatnonzero(accepted))
        damping[rejected] = np.maximum(FIRST_DAMPING, damping[rejected] * 10)
        damping[stuck] = MOST_DAMPING
        eta[accepted] = trial[accepted]
        here = _merged(density, here, there, accepted)
    return eta, here


def _steps(
    here: Local, curvature: np.ndarray, damping: np.ndarray, longest: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Step of each subject, cut to `longest`, and the squared length of the undamped one."""
    fine = np.isfinite(here.logp) & np.isfinite(curvature).all(axis=(1, 2))
    information = np.where(fine[:, None, None], curvature, np.eye(len(longest)))
    gradient = np.where(fine[:, None], here.gradient, 0.0)
    diagonal = np.einsum("ikk->ik", information)
    damped = information + (damping[:, None] * diagonal)[:, :, None] * np.eye(len(longest))
    step = np.linalg.solve(damped, gradient[..., None])[..., 0]
    undamped = step if not damping.any() else np.linalg.solve(information, gradient[..., None])[..., 0]
    excess = np.max(np.abs(step) / longest, axis=1)
    return step / np.maximum(1.0, excess)[:, None], np.sum(gradient * undamped, axis=1)


def _from_zero_where_broken(
    density: SubjectDensity, values: Values, eta: np.ndarray, here: Local, observe: Observe | None
) -> tuple[np.ndarray, Local]:
    """Begin at 0 where the density is not finite at the start."""
    broken = np.flatnonzero(~np.isfinite(here.logp))
    if len(broken) == 0:
        return eta, here
    eta = eta.copy()
    eta[broken] = 0.0
    again = density.local(values, eta, observe, subjects=broken)
    return eta, _merged(density, here, again, np.isin(np.arange(density.n_subject), broken))


def _merged(density: SubjectDensity, old: Local, new: Local, where: np.ndarray) -> Local:
    """`new` for the subjects `where`, `old` for the others."""
    own = where[density.study.design.obs_subject]
    return Local(
        np.where(where, new.logp, old.logp),
        np.where(where[:, None], new.gradient, old.gradient),
        np.where(where[:, None, None], new.information, old.information),
        np.where(own, new.pred, old.pred),
        np.where(own, new.jacobian, old.jacobian),
    )


def searched(
    density: SubjectDensity, values: Values, eta: np.ndarray, observe: Observe | None = None, seed: int = 0
) -> tuple[np.ndarray, Local, np.ndarray]:
    """The best of several modes, for subjects whose modes compete.

    From `eta`, and from the most probable of a number of points spread over the population of random
    effects; of the modes that are reached, each subject keeps its best.

    Returns
    -------
    eta : (n_subject, n_eta)
    local : Local
    moved : (n_subject,) bool
        Whether a better mode was found than the one near `eta`.
    """
    best, here = modes(density, values, eta, observe)
    moved = np.zeros(density.n_subject, dtype=bool)
    if density.n_eta == 0:
        return best, here, moved
    points = _points(density, values, seed)
    with np.errstate(all="ignore"):
        height = density.joint(values, points)
    height = np.where(np.isfinite(height), height, -np.inf)
    order = np.argsort(-height, axis=0)
    for rank in range(2):
        start = points[order[rank], np.arange(density.n_subject)]
        found, there = modes(density, values, start, observe)
        with np.errstate(invalid="ignore"):
            better = there.logp > here.logp + CLEARLY_BETTER
        best = np.where(better[:, None], found, best)
        here, moved = _merged(density, here, there, better), moved | better
    return best, here, moved


def _points(density: SubjectDensity, values: Values, seed: int) -> np.ndarray:
    """Points to start from, (n_point, n_subject, n_eta): the centre, the axes, and draws."""
    number = density.n_eta
    axes = np.concatenate([np.zeros((1, number)), 1.5 * np.eye(number), -1.5 * np.eye(number)])
    draws = np.random.default_rng(seed).standard_normal((N_RANDOM_STARTS, number))
    points = np.concatenate([axes, draws]) @ density.root(values).T
    return np.broadcast_to(points[:, None, :], (len(points), density.n_subject, number)).copy()
