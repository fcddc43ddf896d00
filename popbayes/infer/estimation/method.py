"""What an estimation method is given and what it hands back; how a new one plugs in.

A method is a frozen dataclass of settings that derives from `AbstractMethod`. `popbayes.estimate` does
the rest, the same for all of them, in this order:

1. it resolves the model, makes the `Study` and its `Coordinates`, and calls ``method.check(study)``, which
   refuses with a reason what the method cannot honour (nothing has been computed then);
2. it makes a `Problem` and calls ``method.run(problem)``, which returns a `Found`. On Ctrl-C a method returns
   what it has, with ``converged=False`` and a message, or lets KeyboardInterrupt pass if it has nothing;
3. it turns the covariance of the coordinates into standard errors on the natural scale (delta method),
   correlations and condition number, counts parameters for AIC and BIC, and writes the groups
   `estimates`, `eta`, `objective`, `trace` (see `popbayes.infer.estimation.tree`).

So a method computes: the estimates (`Found.x`), the covariance of the coordinates (`Found.covariance`, from
whatever information matrix it has: `popbayes.infer.estimation.information` has the linearised one), the
random effects (`Found.eta`), one or more values of the objective (`Found.objectives`), and its trace. All
coordinates are those of `Problem.coordinates`: unbounded, logarithms of SDs, so that adding numbers to
them always gives a possible population. All densities come from `Problem.density` (`SubjectDensity`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from popbayes.infer.estimation.coordinates import Coordinates
from popbayes.infer.subject_logp import SubjectDensity
from popbayes.infer.tree import Study


@dataclass(frozen=True, eq=False)
class Problem:
    """One estimation: the study, where to start, and what is asked for.

    Attributes
    ----------
    study : Study
        The resolved model and its data.
    density : SubjectDensity
        Log densities of the study's subjects, prepared.
    coordinates : Coordinates
        The estimated values as a vector; ``coordinates.initial`` is the start.
    log_prior : callable or None
        Log density of the priors of the population values as a function of the coordinates, in the natural
        units of the values; None: maximum likelihood.
    seed : int
    report : callable
        ``report(iteration, objective, text)`` after each iteration: what progress shows. It costs nothing
        where nothing is shown.
    """

    study: Study
    density: SubjectDensity
    coordinates: Coordinates
    log_prior: Callable[[np.ndarray], float] | None
    seed: int
    report: Callable[[int, float, str], None]

    def penalty(self, x: np.ndarray) -> float:
        """What the priors add to -2 log L: -2 log prior, or 0."""
        return 0.0 if self.log_prior is None else -2.0 * self.log_prior(x)


@dataclass(frozen=True, eq=False)
class Objective:
    """-2 log of the marginal likelihood by one approximation, with the n log(2 pi), without priors.

    Attributes
    ----------
    of_subjects : (n_subject,)
        Contribution of each subject.
    error : float
        Monte-Carlo standard error of the sum; 0 where there is none.
    """

    of_subjects: np.ndarray
    error: float = 0.0


@dataclass(frozen=True, eq=False)
class Eta:
    """Random effects of the subjects given their data and the estimates.

    Attributes
    ----------
    mode : (n_subject, n_eta)
        Conditional modes (empirical Bayes estimates).
    covariance : (n_subject, n_eta, n_eta)
        Conditional covariance, from the curvature at the mode or from draws.
    mean : (n_subject, n_eta), optional
        Conditional means, where the method has them.
    """

    mode: np.ndarray
    covariance: np.ndarray
    mean: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Found:
    """What a method hands back.

    Attributes
    ----------
    x : (size,)
        Estimates, as coordinates.
    covariance : (size, size) or None
        Covariance of the estimates, in coordinates; None where it could not be computed (say why in
        `messages`).
    eta : Eta
    objectives : name -> Objective
        The first is the method's own; ``"focei"``, ``"importance_sampling"``, ``"quadrature_5"``, ...
    trace : name -> (n_iteration, ...)
        Must hold ``x`` (n_iteration, size) and ``objective`` (n_iteration,); others are (n_iteration,).
    converged : bool
    messages : list of str
        What must be known before the result is used, in plain words; empty where nothing speaks against it.
    notes : list of str
        What belongs to the result and is no fault of it.
    information : str
        Which information matrix the covariance is from: ``"observed"``, ``"scores"``, ``"sandwich"``,
        ``"stochastic approximation"``.
    drift : (size,), optional
        How far each estimate still moves where iterations are drawn, in standard errors: what convergence is
        judged by.
    attrs : name -> text or number
        What else the DataTree should say, such as the settings of the run.
    """

    x: np.ndarray
    covariance: np.ndarray | None
    eta: Eta
    objectives: dict[str, Objective]
    trace: dict[str, np.ndarray]
    converged: bool
    messages: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    information: str = "observed"
    drift: np.ndarray | None = None
    attrs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AbstractMethod(ABC):
    """A way to estimate the population; settings are its fields."""

    name: ClassVar[str]
    """As `pb.` has it: ``Foce``."""
    linearises: ClassVar[bool] = False
    """Whether it needs a residual error that is normal on some scale."""

    @property
    def label(self) -> str:
        """What its objective is called in the DataTree, such as ``focei``."""
        return self.name.lower()

    def check(self, study: Study) -> None:
        """Refuse, with the reason, what the method cannot honour; by default nothing."""
        return

    @abstractmethod
    def run(self, problem: Problem) -> Found:
        """Estimate."""
