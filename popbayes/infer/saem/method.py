"""`Saem` as a method of `popbayes.estimate`, and as the warm start of `popbayes.fit`."""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from popbayes.infer.estimation.coordinates import Coordinates
from popbayes.infer.estimation.method import Eta, Found, Objective, Problem
from popbayes.infer.estimation.modes import modes
from popbayes.infer.saem import algorithm
from popbayes.infer.saem.algorithm import Iterations
from popbayes.infer.saem.conditional import Conditional, conditional_draws
from popbayes.infer.saem.either import either
from popbayes.infer.saem.importance import importance
from popbayes.infer.saem.louis import louis
from popbayes.infer.saem.settings import AbstractSaem
from popbayes.infer.saem.spread import Spread, as_values
from popbayes.infer.tree import Study
from popbayes.model.checks import check_separate_priors

STEP = 1e-6
"""Of differences between two systems of coordinates."""
UNDETERMINED = (
    "Standard errors could not be computed: the information is not positive in every direction. Some value "
    "is not determined by these data (look for an omega near 0 or a correlation near 1), or there are too "
    "few draws (Saem(draws=2000))."
)


@final
@dataclass(frozen=True)
class Saem(AbstractSaem):
    r"""Stochastic approximation EM: for `popbayes.estimate`, and the warm start of `popbayes.fit`.

    In each iteration the random effects of all subjects move by Metropolis kernels (proposals from the
    population and from each subject's conditional distribution, random walks of one component and of all);
    then the population values are those that make them and the observations likeliest: by regression where
    individual parameters are linear in them, by a Newton step elsewhere. In the *exploratory* phase each
    iteration forgets the last, and SDs shrink slowly; it ends when nothing drifts. In the *smoothing*
    phase iterations are averaged with gains :math:`k^{-0.7}`, until the average stands still within
    `tolerance` standard errors. At the end the random effects are drawn for the conditional means and SDs,
    for standard errors by Louis' formula, and for the marginal likelihood by importance sampling.

    Parameters
    ----------
    chains : int, optional
        Copies of the random effects; by default enough for 240 subjects in all.
    exploratory, smoothing : int
        At most so many iterations in each phase.
    tolerance : float
        Drift, in standard errors, below which the averages count as converged.
    draws : int
        Draws of each subject's random effects at the end.
    importance : int
        Draws for each subject in the marginal likelihood.

    References
    ----------
    Kuhn & Lavielle, *Comput. Stat. Data Anal.* 49 (2005) 1020-1038. Karimi, Lavielle & Moulines,
    *Comput. Stat. Data Anal.* 141 (2020) 123-138, on proposals from the conditional distribution. Louis,
    *J. R. Stat. Soc. B* 44 (1982) 226-233, on standard errors.
    """

    name: ClassVar[str] = "Saem"

    def check(self, study: Study) -> None:
        """Refuse what has no random effects, or priors that are not of one quantity each."""
        check_separate_priors(study.model, "pb.Saem")
        if not study.model.eta_names and not study.model.groupings:
            raise ValueError(
                "pb.Saem estimates models with random effects; this one has none (variability is empty). "
                "Use pb.FirstOrder(), which is exact for it."
            )

    def run(self, problem: Problem) -> Found:
        """Iterate, then draw."""
        run = Iterations(problem.density, self, problem.seed, use_priors=problem.log_prior is not None)
        run.begin_at(problem.coordinates.start)
        run, found, said = either(run, problem.seed, lambda k, value, phase: problem.report(k, value, phase))
        conditional = conditional_draws(run, found, self.draws)
        own, slopes = _covariance(run, found, conditional), _slopes(run, found, problem.coordinates)
        drift = drift_in_standard_errors(run, found, own)
        converged = not found.interrupted and bool(np.all(drift < self.tolerance))
        values = as_values(run.layout, run.pattern, found.x, found.omega)
        mode, _ = modes(problem.density, values, conditional.likeliest(run.population(found.omega)))
        return Found(
            x=problem.coordinates.vector(values),
            covariance=None if own is None else slopes @ own @ slopes.T,
            eta=Eta(mode, conditional.covariance, conditional.mean),
            objectives=self._objectives(run, found, conditional),
            trace=_trace(run, found, problem.coordinates),
            converged=converged,
            messages=[
                *_messages(found, converged, drift, self),
                *([] if own is not None else [UNDETERMINED]),
            ],
            notes=said.notes,
            information="Louis",
            drift=drift[np.argmax(np.abs(slopes), axis=1)],
            attrs={"exploratory_iterations": found.exploratory, **said.attrs},
        )

    def _objectives(
        self, run: Iterations, found: algorithm.Found, conditional: Conditional
    ) -> dict[str, Objective]:
        values, population = run.layout.values(found.x[None]), run.population(found.omega)
        of_subjects, error = importance(
            run.likelihood,
            values,
            population,
            conditional.mean,
            conditional.covariance,
            self.importance,
            run.rng,
        )
        return {"importance_sampling": Objective(of_subjects, error)}


def drift_in_standard_errors(
    run: Iterations, found: algorithm.Found, covariance: np.ndarray | None
) -> np.ndarray:
    """How far averages still move, in standard errors of the estimates, in the order of the trace.

    Correlations, and everything where there is no covariance, in standard errors as if the random effects
    were observed.
    """
    drift = found.drift.copy()
    if covariance is not None:
        n = len(run.coordinates)
        drift[:n] *= np.minimum(1.0, run.complete_errors(found)[:n] / np.sqrt(np.diag(covariance)[:n]))
    return drift


def _covariance(run: Iterations, found: algorithm.Found, conditional: Conditional) -> np.ndarray | None:
    """Covariance of the estimates in the coordinates of the run, or None where some are not determined."""
    information = louis(run, found, conditional).matrix + np.diag(run.prior_curvature(found))
    errors = run.complete_errors(found)
    size = np.linalg.eigvalsh(information * np.outer(errors, errors))
    return np.linalg.inv(information) if size[0] > 1e-6 else None


def _slopes(run: Iterations, found: algorithm.Found, coordinates: Coordinates) -> np.ndarray:
    """Derivatives of the coordinates of `estimate` by those of the run."""
    spread = Spread.of(run.pattern, found.omega)
    n = len(found.x)

    def there(moved: np.ndarray) -> np.ndarray:
        return coordinates.vector(
            as_values(run.layout, run.pattern, found.x + moved[:n], spread.covariance(moved[n:]))
        )

    steps = STEP * np.eye(n + len(spread.free))
    return np.stack([(there(step) - there(-step)) / (2 * STEP) for step in steps], axis=1)


def _trace(run: Iterations, found: algorithm.Found, coordinates: Coordinates) -> dict[str, np.ndarray]:
    """Iterations in the coordinates of `estimate`; the objective is -2 log p(y | eta), mean over chains."""
    rows = [coordinates.vector(as_values(run.layout, run.pattern, *run.from_row(row))) for row in found.trace]
    smoothing = np.arange(len(rows)) >= found.exploratory
    return {"x": np.array(rows), "objective": -2.0 * found.loglik, "smoothing": smoothing.astype(np.int64)}


def _messages(
    found: algorithm.Found, converged: bool, drift: np.ndarray, settings: AbstractSaem
) -> list[str]:
    if found.interrupted:
        return ["Interrupted: the values are averages of the iterations so far."]
    if converged:
        return []
    return [
        f"SAEM has not converged: after {found.exploratory} exploratory and "
        f"{len(found.trace) - found.exploratory} smoothing iterations an average still drifts by "
        f"{drift.max():.2f} standard errors (tolerance {settings.tolerance:g}). Allow more iterations "
        "(Saem(smoothing=3000)), or look for a value that these data do not determine."
    ]
