"""Where chains begin after a SAEM estimate, and the coordinates that fit each subject's data.

Every chain gets population values drawn around the estimates with their standard errors, and for each
subject a draw of its individual parameters given its data; the graph gets what the data say of each
subject (`popbayes.building.between`).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from popbayes import dims
from popbayes.building.between import ETA_WHITE, Information
from popbayes.building.occasions import group_places
from popbayes.building.starts import ETA_RAW, PARTIAL, PHI, centring, no_selection, omega_together
from popbayes.infer.saem.algorithm import Found, Iterations, NotHonoured
from popbayes.infer.saem.conditional import Conditional, conditional_draws
from popbayes.infer.saem.either import either
from popbayes.infer.saem.louis import louis
from popbayes.infer.saem.method import Saem
from popbayes.infer.saem.spread import Spread, as_values
from popbayes.infer.subject_logp import SubjectDensity
from popbayes.infer.tree import Study
from popbayes.model.checks import check_separate_priors
from popbayes.model.levels import Grouping
from popbayes.parameters.priors import Fixed
from popbayes.wording import listed, nearest

Report = Callable[[int, float, str], None]

FARTHEST = 0.7
"""Standard deviation of chains' starts, at most, of logarithms and logits: a factor of 2."""
LEAST_INFORMATION = 1e-3
"""Part of the information, were random effects observed, below which draws do not tell it from none."""
POINTS = 8
"""Draws of the random effects at which the information of the data on them is averaged."""


@dataclass(frozen=True, eq=False)
class WarmStart:
    """An estimate as chains need it.

    Attributes
    ----------
    run, found
        The SAEM run and its end.
    conditional : Conditional
        Draws of every subject's random effects.
    root : (size, size)
        Root of the covariance of the estimates, in the coordinates of the run.
    inflation : (size,)
        Variance of every estimate over what it would be, were the random effects observed.
    seconds : float
        What it took.
    """

    run: Iterations
    found: Found
    conditional: Conditional
    root: np.ndarray
    inflation: np.ndarray
    seconds: float

    @property
    def information(self) -> Information | None:
        """What the data say of each subject; None without random effects.

        The precision is the expected information of the observations about the random effects, averaged
        over `POINTS` draws of them; the place is such that the conditional mean is that of the draws.
        """
        names = self.run.effects.names
        if not names:
            return None
        density, n = self.run.likelihood.density, len(names)
        values = as_values(self.run.layout, self.run.pattern, self.found.x, self.found.omega)
        known = density.precision(values)
        draws = np.linspace(0, len(self.conditional.eta) - 1, POINTS).astype(int)
        each = np.stack([density.local(values, self.conditional.eta[k]).information - known for k in draws])
        precision = np.where(np.isfinite(each), each, 0.0).mean(axis=0)
        mu = self.run.layout.locations(self.found.x)
        own = _of_subjects(precision, known, n)
        found = Information.of_mean(
            names, own, self.conditional.mean[:, :n] + mu, self.found.omega[:n, :n], mu
        )
        one = self.run.effects.occasion
        return found if one is None else replace(found, groups={one.key: self._of_occasions(one, precision)})

    def _of_occasions(self, one: Grouping, precision: np.ndarray) -> Information:
        """What the data say of each occasion, the effects of its subject known."""
        effects, n = self.run.effects, self.run.effects.n_eta
        around = self._around(one, self.run.layout.study.model, self.found.x, self.conditional.mean[:, :n])
        mean = around + effects.of_groups(self.conditional.mean)
        return Information.of_mean(
            one.names, effects.blocks_of_groups(precision), mean, self.found.omega[n:, n:], around
        )

    def _around(self, one: Grouping, model: Any, x: np.ndarray, eta: np.ndarray) -> np.ndarray:
        """Parameters of each occasion without its own effects, (n_group, n_kappa)."""
        layout = self.run.layout
        values = {**model.fixed, **no_selection(model), **self._population_values(x)}
        places = model.locations(values, layout.study.design)
        effects = dict(zip(self.run.effects.names, eta.T, strict=True))
        return np.stack(group_places(one, layout.study.design, places, effects), axis=1)

    @property
    def variance_ratios(self) -> np.ndarray:
        """Conditional over population variance of every random effect, (subject, n_eta)."""
        n = self.run.effects.n_eta
        return self.conditional.sd[:, :n] ** 2 / np.diag(self.found.omega)[:n]

    def population(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coordinates of the layout, covariance of random effects and its free coordinates, jittered."""
        spread = Spread.of(self.run.pattern, self.found.omega)
        moved = self.root @ rng.standard_normal(len(self.root))
        n = len(self.found.x)
        return self.found.x + moved[:n], spread.covariance(moved[n:]), spread.free + moved[n:]

    def point(
        self, study: Study, information: Information | None, rng: np.random.Generator
    ) -> dict[str, Any]:
        """Values of all free variables of ``build(study.model, study.events, information)``.

        Parameters
        ----------
        study : Study
            The model as it is sampled: its centring may be chosen since.
        information : Information or None
            As given to `build`.
        """
        model, layout = study.model, self.run.layout
        x, omega, free = self.population(rng)
        point: dict[str, Any] = self._population_values(x)
        point |= self._spread_values(model, omega, free)
        picked = rng.integers(len(self.conditional.eta), size=layout.study.design.n_subject)
        eta = self.conditional.eta[picked, np.arange(len(picked))]
        q = len(layout.linear)
        # individual parameters stay where the data put them while the population moves
        eta = eta + layout.centre(self.found.x[:q]) - layout.centre(x[:q])
        n, effects = self.run.effects.n_eta, self.run.effects
        point |= _effects(model, information, eta[:, :n], layout.locations(x), omega[:n, :n])
        if effects.occasion is None:
            return point
        own = next(one for one in model.groupings if one.key == effects.occasion.key)
        around = self._around(own, model, x, eta[:, :n])
        known = None if information is None else information.groups.get(own.key)
        return point | _occasions(own, known, effects.of_groups(eta), omega[n:, n:], around)

    def _population_values(self, x: np.ndarray) -> dict[str, Any]:
        """Values of the variables of the graph at coordinates of the layout."""
        layout = self.run.layout
        return {
            name: value[0] if _has_levels(layout.coordinates, name) else value[0, 0]
            for name, value in layout.values(x[None]).items()
        }

    def _spread_values(self, model: Any, omega: np.ndarray, free: np.ndarray) -> dict[str, Any]:
        """SDs and partial correlations of the random effects, as the graph has them."""
        sds, n, own = np.sqrt(np.diag(omega)), self.run.effects.n_eta, self.run.effects.occasion
        found = _sds(dims.OMEGA, model.omega_priors, sds[:n])
        if own is not None:
            found |= _sds(own.sd, own.priors, sds[n:])
        partial = 0.5 + 0.5 * np.tanh(free[int(self.run.pattern.estimated.sum()) :])
        last = len(partial)
        if own is not None and own.block.correlated:
            last -= len(own.names) * (len(own.names) - 1) // 2
            found[own.partial] = partial[last:]
        return found | ({PARTIAL: partial[:last]} if last else {})

    def described(self) -> dict[str, Any]:
        """What the DataTree keeps of it, as JSON values."""
        found, layout = self.found, self.run.layout
        values = {
            name: np.round(value[0], 10).tolist() for name, value in layout.values(found.x[None]).items()
        }
        return {
            "method": "Saem",
            "converged": found.converged,
            "exploratory": found.exploratory,
            "smoothing": len(found.trace) - found.exploratory,
            "seconds": round(self.seconds, 3),
            "estimates": values | self._spread(),
        }

    def _spread(self) -> dict[str, list[float]]:
        """SDs of the random effects by variable."""
        sds, n = np.sqrt(np.diag(self.found.omega)).round(10).tolist(), self.run.effects.n_eta
        own = self.run.effects.occasion
        return {dims.OMEGA: sds[:n]} | ({} if own is None else {own.sd: sds[n:]})


def _has_levels(coordinates: Any, name: str) -> bool:
    return any(one.name == name and one.level is not None for one in coordinates)


def _sds(name: str, priors: Mapping[str, Any], sds: np.ndarray) -> dict[str, Any]:
    """SDs of random effects as one variable of the graph, or one for each that is not known."""
    if len(sds) and omega_together(priors) is not None:
        return {name: sds}
    each = zip(priors.items(), sds, strict=True)
    return {f"{name}_{key}": sd for (key, prior), sd in each if not isinstance(prior, Fixed)}


def _occasions(
    one: Grouping, known: Information | None, kappa: np.ndarray, gamma: np.ndarray, around: np.ndarray
) -> dict[str, np.ndarray]:
    """Random effects of occasions (n_group, n_kappa) in the coordinates that the graph samples."""
    if one.block.centred:
        return {one.phi: around + kappa}
    if one.block.centred is None and known is not None:
        return {one.white: known.standardised(kappa, gamma, around)}
    return {one.raw: np.linalg.solve(np.linalg.cholesky(gamma), kappa.T).T}


def _of_subjects(precision: np.ndarray, known: np.ndarray, n: int) -> np.ndarray:
    """Precision of the data about a subject's own `n` effects, those of its occasions integrated out.

    Parameters
    ----------
    precision : (n_subject, size, size)
        Of the data about all its effects.
    known : (size, size)
        Of the population.
    """
    if len(known) == n:
        return precision
    cross = precision[:, :n, n:]
    occasions = precision[:, n:, n:] + known[n:, n:]
    return precision[:, :n, :n] - cross @ np.linalg.solve(occasions, np.swapaxes(cross, 1, 2))


def _effects(
    model: Any, information: Information | None, eta: np.ndarray, places: np.ndarray, omega: np.ndarray
) -> dict[str, np.ndarray]:
    """Random effects in the coordinates that the graph samples."""
    centred, raw, between = centring(model, information)
    place = {name: k for k, name in enumerate(model.eta_names)}
    found: dict[str, np.ndarray] = {}
    if centred:
        index = [place[name] for name in centred]
        found[PHI] = (places + eta)[:, index]
    if raw:
        index = [place[name] for name in raw]
        found[ETA_RAW] = np.linalg.solve(np.linalg.cholesky(omega[np.ix_(index, index)]), eta[:, index].T).T
    if between and information is not None:
        index = [place[name] for name in between]
        covariance = omega[np.ix_(index, index)]
        found[ETA_WHITE] = information.only(between).standardised(eta[:, index], covariance, places[:, index])
    return found


def started(
    study: Study, settings: Saem, seed: int, starts: Mapping[str, Any], report: Report | None = None
) -> WarmStart:
    """Estimate the population with its priors, and look at every subject.

    Parameters
    ----------
    starts : mapping
        Population values to start the estimate from in place of prior medians.

    Raises
    ------
    NotHonoured
        If SAEM cannot estimate the model on these data, with the reason.
    ValueError
        For starts that it cannot begin at.
    """
    begun = time.perf_counter()
    try:
        density = SubjectDensity(study)
        check_separate_priors(study.model, "The warm start", to_start=True)
    except ValueError as error:
        raise NotHonoured(str(error)) from error
    run = Iterations(density, settings, seed, use_priors=True)
    run.begin_at(_checked(run, starts))
    run, found, _ = either(run, seed, report)
    if found.interrupted:
        raise KeyboardInterrupt("Interrupted during the warm start: there are no draws to keep.")
    conditional = conditional_draws(run, found, settings.draws)
    root, inflation = _root(run, found, conditional)
    root = within_reach(root, run)
    return WarmStart(run, found, conditional, root, inflation, time.perf_counter() - begun)


def _checked(run: Iterations, starts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Refuse starts that the estimate cannot begin at."""
    known = {one.name: one for one in run.layout.coordinates}
    for name, value in starts.items():
        if name not in known:
            raise ValueError(
                f"starts has {name!r}, but the warm start begins at values of {listed(known)}."
                f"{nearest(name, known)} Starts of other variables need warm_start=None."
            )
        with np.errstate(all="ignore"):
            if not np.all(np.isfinite(known[name].free(np.asarray(value, dtype=np.float64)))):
                raise ValueError(f"starts: {name} cannot be {value!r}.")
    return starts


def _root(run: Iterations, found: Found, conditional: Conditional) -> tuple[np.ndarray, np.ndarray]:
    """Root of the covariance of the estimates, and how much larger it is than if effects were observed.

    Where the information is no number, as if they were.
    """
    information = louis(run, found, conditional).matrix + np.diag(run.prior_curvature(found))
    errors = run.complete_errors(found)
    scaled = information * np.outer(errors, errors)
    if not np.all(np.isfinite(scaled)):
        return np.diag(errors), np.ones(len(errors))
    size, vectors = np.linalg.eigh((scaled + scaled.T) / 2)
    # directions that the draws leave undetermined: at most three of these errors
    root = errors[:, None] * vectors / np.sqrt(np.maximum(size, 1 / 9))
    return root, (vectors**2 / np.maximum(size, LEAST_INFORMATION)).sum(axis=1)


def within_reach(root: np.ndarray, run: Iterations) -> np.ndarray:
    """The root with its rows shortened where an estimate at a boundary leaves a direction undetermined.

    Where an additive error is estimated near 0, its logarithm has a standard error without bound, and starts
    drawn by it lie where no chain comes back from.
    """
    size = np.linalg.norm(root, axis=1)
    own = [np.inf if one.is_natural else FARTHEST for one in run.layout.coordinates]
    limit = np.array(own + [FARTHEST] * (len(size) - len(own)))
    return root * np.minimum(1.0, limit / np.maximum(size, 1e-300))[:, None]
