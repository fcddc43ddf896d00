"""The iterations of SAEM: from starts to population values that stand still."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from popbayes.infer.prior_density import log_densities
from popbayes.infer.saem.layout import Coordinate, Layout
from popbayes.infer.saem.likelihood import SubjectLikelihood
from popbayes.infer.saem.metropolis import Population, Walk, sweep
from popbayes.infer.saem.newton import newton_step, observed_expansion
from popbayes.infer.saem.scan import better_start, rescue
from popbayes.infer.saem.settings import AbstractSaem
from popbayes.infer.saem.shared import moved_along, shared_step
from popbayes.infer.saem.spread import Pattern, Quadratic, annealed, as_values, masked, regression
from popbayes.infer.subject_logp import SubjectDensity

SUBJECTS_IN_ALL = 240
"""Subjects times chains, at least: what is averaged over them need not be averaged over iterations, and costs
less there."""
WIDE = 1.0
"""SD of random effects to start with: factors of e between subjects."""
SLOWEST = 0.95
"""In the exploratory phase SDs keep at least this part of themselves in an iteration."""
ANNEALED = 100
"""Iterations in which SDs shrink slowly."""
WINDOW = 25
"""Iterations between looks at convergence."""
GAIN = 0.7
"""Exponent of the gains of the smoothing phase; its iterates are averaged."""
PARABOLA = 1e-3
"""Step of the differences that priors are expanded by."""


Report = Callable[[int, float, str], None]
"""Told after each iteration: its number, -2 log p(y | eta), and the phase."""


def _silent(iteration: int, objective: float, phase: str) -> None:
    """Tell nothing."""


class NotHonoured(ValueError):
    """A model that SAEM cannot estimate on these data."""


@dataclass(eq=False)
class Progress:
    """Where the iterations stand: population values, sufficient statistics, and what has been."""

    x: np.ndarray
    omega: np.ndarray
    walk: Walk
    zeta: np.ndarray
    squares: np.ndarray
    curvature: np.ndarray
    shared: np.ndarray
    trace: list[np.ndarray] = field(default_factory=list)
    loglik: list[float] = field(default_factory=list)
    explored: int = 0
    drift: np.ndarray | None = None
    interrupted: bool = False


@dataclass(frozen=True, eq=False)
class Found:
    """What the iterations ended with.

    Attributes
    ----------
    x, omega
        Coordinates of the layout, and the covariance of random effects.
    curvature : (n_others, n_others)
        Minus the second derivatives of the complete-data log likelihood.
    walk : Walk
        Random effects there.
    trace : (iteration, n)
        Coordinates, logarithms of SDs and correlations at each iteration.
    exploratory : int
        Iterations of the first phase.
    converged : bool
    drift : (n,)
        Of the averages between the last two thirds of the smoothing phase, in standard errors as if the
        random effects were observed (which are the smaller ones).
    """

    x: np.ndarray
    omega: np.ndarray
    curvature: np.ndarray
    walk: Walk
    trace: np.ndarray
    loglik: np.ndarray
    exploratory: int
    converged: bool
    drift: np.ndarray
    interrupted: bool = False


class Iterations:
    """One run of SAEM on one study."""

    def __init__(self, density: SubjectDensity, settings: AbstractSaem, seed: int, use_priors: bool):
        study = density.study
        self.effects = density.layout
        self.layout = Layout.of(study, self.effects)
        self.pattern = Pattern.of(study.model, self.effects)
        self.likelihood = SubjectLikelihood(density)
        self.settings = settings
        self.rng = np.random.default_rng(np.random.SeedSequence(seed))
        self.n_subject = study.design.n_subject
        self.chains = settings.chains or max(1, -(-SUBJECTS_IN_ALL // max(self.n_subject, 1)))
        coordinates = (*self.layout.coordinates, *self.pattern.coordinates)
        self.coordinates: tuple[Coordinate, ...] = coordinates
        self.priors = log_densities([one.prior for one in coordinates]) if use_priors else None
        self.first = self.layout.start
        self.given: Mapping[str, Any] | None = None

    def begin_at(self, given: Mapping[str, Any], exactly: bool = False) -> None:
        """Begin at these typical values, coefficients and residual parameters instead of prior medians.

        Parameters
        ----------
        given : mapping
            The covariance of random effects starts wide whatever it is.
        exactly : bool
            Begin there and with that covariance, rather than at the best of many places around, and wide.
        """
        first = self.layout.start.copy()
        for k, one in enumerate(self.layout.coordinates):
            if one.name in given:
                value = np.asarray(given[one.name], dtype=np.float64)
                first[k] = one.free(value if one.level is None else value[one.level])
        self.first = first
        self.given = given if exactly else None

    def run(self, report: Report | None = None) -> Found:
        """Explore, smooth, average; on Ctrl-C, average what there is."""
        return self.smoothed(self.explored(report), report)

    def explored(
        self, report: Report | None = None, state: Progress | None = None, most: int | None = None
    ) -> Progress:
        """The first phase, or what is left of it; on Ctrl-C, what there is.

        Parameters
        ----------
        state : Progress, optional
            Where to go on.
        most : int, optional
            Iterations at most, in all.
        """
        state, tell = state or self._begin(), report or _silent
        try:
            self._explore(state, tell, most or self.settings.exploratory)
        except KeyboardInterrupt:
            if len(state.trace) < WINDOW:
                raise
            state.interrupted = True
        return state

    def smoothed(self, state: Progress, report: Report | None = None) -> Found:
        """The second phase, and the averages of it; on Ctrl-C, averages of what there is."""
        if not state.interrupted:
            try:
                self._smooth(state, report or _silent)
            except KeyboardInterrupt:
                state.interrupted = True
        explored = state.explored or len(state.trace)
        drift = state.drift if state.drift is not None else np.full(len(state.trace[-1]), np.inf)
        trace = np.array(state.trace)
        late = trace[explored + (len(trace) - explored) // 2 :]
        x, omega = self.from_row((late if len(late) else trace[-WINDOW:]).mean(axis=0))
        self._place(state, x, omega)
        return Found(
            x=x,
            omega=omega,
            walk=state.walk,
            trace=trace,
            loglik=np.array(state.loglik),
            exploratory=explored,
            curvature=state.curvature,
            converged=not state.interrupted and bool(np.all(drift < self.settings.tolerance)),
            drift=drift,
            interrupted=state.interrupted,
        )

    def _begin(self) -> Progress:
        if self.given is None:
            x = better_start(self.layout, self.likelihood, self.first, self.rng)
            omega = self.pattern.start(WIDE)
        else:
            x, omega = self.first, self.pattern.covariance(self.given)
        shape = (self.chains, self.n_subject, self.effects.size)
        values = self.layout.values(x[None])
        eta = np.zeros(shape)
        loglik = self.likelihood(values, eta)
        centre = self.layout.centre(x[: len(self.layout.linear)])
        n = len(self.layout.others)
        walk = Walk.begin(eta, loglik, self.effects.repeated(omega))
        walk.mean = walk.mean + centre
        shared = np.full((len(self.layout.linear),) * 2, np.nan)
        return Progress(x, omega, walk, eta.mean(axis=0) + centre, omega, np.zeros((n, n)), shared)

    def _explore(self, state: Progress, tell: Report, most: int) -> None:
        """Iterate with gain 1 until no quantity drifts."""
        slowly = ANNEALED if self.given is None else 0
        for iteration in range(len(state.trace) + 1, most + 1):
            self._iterate(state, 1.0, annealing=iteration <= slowly, adapt=0.3)
            tell(iteration, -2.0 * state.loglik[-1], "exploratory")
            moved = iteration % (2 * WINDOW) == 0 and self._rescue(state)
            if (
                iteration >= 4 * WINDOW
                and iteration % WINDOW == 0
                and not moved
                and self._is_stationary(state)
            ):
                break
        state.explored = len(state.trace)
        lost = np.flatnonzero(np.all(np.isneginf(state.walk.loglik), axis=0))
        if len(lost):
            label = self.layout.study.events.subjects[lost[0]]
            raise NotHonoured(
                f"SAEM finds no random effects that give the observations of subject {label} a finite "
                f"density ({len(lost)} subject(s) in all)."
            )

    def population(self, omega: np.ndarray) -> Population:
        """The distribution of a subject's random effects, from the covariance of the basic ones."""
        return Population.of(self.effects.repeated(omega))

    def _rescue(self, state: Progress) -> bool:
        """Bring subjects out of minor modes; whether any was in one."""
        values = self.layout.values(state.x[None])
        point = as_values(self.layout, self.pattern, state.x, state.omega)
        seed = int(self.rng.integers(2**31))
        return rescue(self.likelihood, values, point, state.walk, self.population(state.omega), seed)

    def _is_stationary(self, state: Progress) -> bool:
        rows = np.array(state.trace[-3 * WINDOW :])
        early, late = rows[:WINDOW], rows[-WINDOW:]
        noise = np.sqrt(rows[WINDOW:].var(axis=0) + (0.2 * self._errors(state)) ** 2)
        return bool(np.all(np.abs(early.mean(axis=0) - late.mean(axis=0)) < noise))

    def _smooth(self, state: Progress, tell: Report) -> None:
        """Iterate with falling gains until the averages stand still."""
        for k in range(1, self.settings.smoothing + 1):
            self._iterate(state, k**-GAIN, annealing=False, adapt=0.3 * k**-GAIN)
            tell(state.explored + k, -2.0 * state.loglik[-1], "smoothing")
            if k >= 6 * WINDOW and k % WINDOW == 0:
                rows = np.array(state.trace[state.explored :])
                third = len(rows) // 3
                drift = np.abs(rows[third : 2 * third].mean(axis=0) - rows[2 * third :].mean(axis=0))
                state.drift = drift / self._errors(state)
                if np.all(state.drift < self.settings.tolerance):
                    break

    def _iterate(self, state: Progress, gain: float, annealing: bool, adapt: float) -> None:
        """Move the random effects, then the population values."""
        layout, walk, q = self.layout, state.walk, len(self.layout.linear)
        population = self.population(state.omega)
        values = layout.values(state.x[None])
        centre = layout.centre(state.x[:q])
        sweep(walk, population, centre, lambda eta: self.likelihood(values, eta), self.rng, adapt)
        zeta = walk.eta + centre
        walk.learn(zeta, max(gain * 0.1, 0.01))
        mean = zeta.mean(axis=0)
        squares = self.effects.squares(zeta)
        state.zeta = state.zeta + gain * (mean - state.zeta)
        before = state.squares if len(state.trace) else squares
        state.squares = before + gain * (squares - before)
        prior = self._parabolas(state)
        x = state.x.copy()
        pieces = np.split(np.arange(len(self.coordinates)), [q, len(layout.coordinates)])
        x[:q] = regression(
            layout.design_matrix, state.zeta, population.precision, state.x[:q], _part(prior, pieces[0])
        )
        omega = self._spread(state, x[:q], _part(prior, pieces[2]))
        state.omega = annealed(state.omega, omega, self.pattern.estimated, SLOWEST) if annealing else omega
        x[q:] += self._others_step(state, values, gain, annealing, _part(prior, pieces[1]))
        shift = np.zeros(q)
        if len(state.trace) >= 2 * WINDOW:
            shift = shared_step(self.likelihood, layout, state, values, gain, _part(prior, pieces[0]))
        if np.any(shift):
            x[:q] += shift
            zeta = zeta + moved_along(layout, state, shift)
        self._place(state, x, state.omega, zeta)
        state.trace.append(self._row(state))
        state.loglik.append(float(walk.loglik.mean(axis=0).sum()))

    def _spread(self, state: Progress, coefficients: np.ndarray, prior: Quadratic | None) -> np.ndarray:
        """Covariance from the sums of squares around the regression."""
        if not len(state.omega):
            return state.omega
        n = self.effects.n_eta
        centre = self.layout.centre(coefficients)[:, :n]
        cross = state.zeta[:, :n].T @ centre / self.n_subject
        squares = state.squares.copy()
        squares[:n, :n] += centre.T @ centre / self.n_subject - cross - cross.T
        squares = masked(self.pattern, squares) + 1e-8 * np.eye(len(squares))
        return self.pattern.likeliest(squares, state.omega, prior)

    def _others_step(
        self, state: Progress, values: Any, gain: float, annealing: bool, prior: Quadratic | None
    ) -> np.ndarray:
        """Stochastic Newton step of what the regression does not give."""
        if not self.layout.others:
            return np.zeros(0)
        prediction = self.likelihood.predictions(values, state.walk.eta)
        which = np.arange(len(self.layout.linear), len(self.layout.coordinates))
        found = observed_expansion(self.layout, self.likelihood, state.x, state.walk.eta, prediction, which)
        if not np.all(np.isfinite(found.curvature)):
            return np.zeros(len(found.slope))
        state.curvature = (
            found.curvature if gain == 1.0 else state.curvature + gain * (found.curvature - state.curvature)
        )
        step = gain * newton_step(found.slope, state.curvature, prior)
        if annealing:
            sigma = ~self.layout.moves_predictions
            step[sigma] = np.maximum(step[sigma], 2 * np.log(SLOWEST))
        return step

    def _place(
        self, state: Progress, x: np.ndarray, omega: np.ndarray, zeta: np.ndarray | None = None
    ) -> None:
        """Take new population values; individual parameters stay where they are."""
        walk, q = state.walk, len(self.layout.linear)
        if zeta is None:
            zeta = walk.eta + self.layout.centre(state.x[:q])
        state.x, state.omega = x, omega
        walk.eta = zeta - self.layout.centre(x[:q])
        walk.loglik = self.likelihood(self.layout.values(x[None]), walk.eta)

    def penalty(self, x: np.ndarray, omega: np.ndarray) -> float:
        """-2 log density of the priors in natural units; 0 where they are not used."""
        if self.priors is None:
            return 0.0
        free = np.concatenate([x, np.log(np.sqrt(np.diag(omega))[self.pattern.estimated])])
        natural = np.array([one.natural(value) for one, value in zip(self.coordinates, free, strict=True)])
        return -2.0 * (float(np.sum(self.priors(natural[:, None]))) + self.pattern.log_lkj(omega))

    def prior_curvature(self, found: Found) -> np.ndarray:
        """Minus the second derivatives of the log prior at the estimates, not below 0; 0 for correlations."""
        out = np.zeros(found.trace.shape[1])
        prior = self._parabolas(found)
        if prior is not None:
            out[: len(self.coordinates)] = np.maximum(prior.curvature, 0.0)
        return out

    def complete_errors(self, state: Any) -> np.ndarray:
        """Standard errors as if the random effects were observed, in the order of the trace."""
        return self._errors(state)

    def _parabolas(self, state: Any) -> Quadratic | None:
        """Priors to second order around the present values, in free coordinates."""
        if self.priors is None or not self.coordinates:
            return None
        sds = np.sqrt(np.diag(state.omega))[self.pattern.estimated]
        x = np.concatenate([state.x, np.log(sds)])
        moved = x[:, None] + PARABOLA * np.array([0.0, 1.0, -1.0])
        natural = np.stack([one.natural(row) for one, row in zip(self.coordinates, moved, strict=True)])
        centre, up, down = self.priors(natural).T
        with np.errstate(invalid="ignore"):
            slope, curvature = (up - down) / (2 * PARABOLA), -(up - 2 * centre + down) / PARABOLA**2
        usable = np.isfinite(slope) & np.isfinite(curvature)
        return Quadratic(np.where(usable, slope, 0.0), np.where(usable, curvature, 0.0))

    def _row(self, state: Any) -> np.ndarray:
        """Population values as the trace keeps them."""
        sds = np.sqrt(np.diag(state.omega))
        pairs = [state.omega[i, j] / (sds[i] * sds[j]) for i, j in self.pattern.pairs]
        return np.concatenate([state.x, np.log(sds[self.pattern.estimated]), pairs])

    def from_row(self, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates and covariance from a row of the trace."""
        n, k = len(self.layout.coordinates), len(self.pattern.coordinates)
        sds = self.pattern.known.copy()
        sds[self.pattern.estimated] = np.exp(row[n : n + k])
        corr = np.eye(len(sds))
        for (i, j), value in zip(self.pattern.pairs, row[n + k :], strict=True):
            corr[i, j] = corr[j, i] = value
        return row[:n].copy(), np.outer(sds, sds) * corr

    def _errors(self, state: Any) -> np.ndarray:
        """Standard errors as if the random effects were observed, in the order of the trace."""
        precision = self.population(state.omega).precision
        weighted = np.einsum("nik,ij->njk", self.layout.design_matrix, precision)
        information = np.einsum("njk,njl->kl", weighted, self.layout.design_matrix)
        linear = np.sqrt(np.maximum(np.diag(np.linalg.pinv(information)), 1e-12))
        size = np.abs(np.diag(np.linalg.pinv(state.curvature))) if len(state.curvature) else np.zeros(0)
        counts = self.effects.counts
        spread = (2 * counts[self.pattern.estimated]) ** -0.5
        corr = self._row(state)[len(self.coordinates) :]
        pairs = np.maximum(1 - corr**2, 0.05) / np.sqrt([counts[i] for i, _ in self.pattern.pairs])
        return np.concatenate([linear, np.sqrt(np.maximum(size, 1e-12)), spread, pairs])


def _part(prior: Quadratic | None, index: np.ndarray) -> Quadratic | None:
    return None if prior is None else Quadratic(prior.slope[index], prior.curvature[index])
