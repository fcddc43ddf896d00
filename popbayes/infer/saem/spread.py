"""The covariance of random effects: its pattern, and its estimate from sums of squares."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize

from popbayes import dims
from popbayes.infer.effects import Effects
from popbayes.infer.saem.layout import Coordinate, Layout, positive
from popbayes.model import PopModel
from popbayes.parameters.priors import Fixed

STEPS = 8
"""Iterations of the numerical search at each call; it goes on from the last result at the next."""
DIFFERENCE = 1e-5


@dataclass(frozen=True, eq=False)
class Quadratic:
    """Slope and curvature (of minus the log density) of priors at a point, one for each coordinate."""

    slope: np.ndarray
    curvature: np.ndarray

    @classmethod
    def none(cls, n: int) -> "Quadratic":
        """No priors."""
        return cls(np.zeros(n), np.zeros(n))


@dataclass(frozen=True, eq=False)
class Pattern:
    """Which random effects vary by how much and together: those of subjects, then those of an occasion.

    Attributes
    ----------
    effects : Effects
        How the covariance of the basic effects is repeated in a subject's vector.
    known : (n_basic,)
        Fixed SDs; nan where they are estimated.
    blocks : tuple of (indices, lkj)
        Correlated effects.
    """

    effects: Effects
    known: np.ndarray
    blocks: tuple[tuple[tuple[int, ...], float], ...]
    coordinates: tuple[Coordinate, ...]

    @classmethod
    def of(cls, model: PopModel, effects: Effects) -> "Pattern":
        """Of a model."""
        priors = [(dims.OMEGA, one) for one in model.omega_priors.values()]
        place = {name: k for k, name in enumerate(model.eta_names)}
        blocks = [(tuple(place[n] for n in names), lkj) for names, lkj in model.correlated_blocks]
        if effects.occasion is not None:
            own = effects.occasion
            priors += [(own.sd, one) for one in own.priors.values()]
            if own.block.correlated:
                blocks.append((tuple(range(effects.n_eta, effects.n_basic)), float(own.block.lkj)))
        known = [prior.value if isinstance(prior, Fixed) else np.nan for _, prior in priors]
        free = tuple(positive(name, prior) for name, prior in priors if not isinstance(prior, Fixed))
        return cls(effects, np.array(known), tuple(blocks), free)

    @property
    def estimated(self) -> np.ndarray:
        """Which SDs are estimated, (n_basic,)."""
        return np.isnan(self.known)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Correlated pairs, in the order of the parameter table."""
        return [
            (block[low], block[high])
            for block, _ in self.blocks
            for high in range(1, len(block))
            for low in range(high)
        ]

    def start(self, least: float) -> np.ndarray:
        """Covariance to start from: SDs at their prior medians, or `least` where that is more."""
        medians = np.full(len(self.known), np.nan)
        medians[self.estimated] = [max(one.prior.start(), least) for one in self.coordinates]
        return np.diag(np.where(self.estimated, medians, self.known) ** 2)

    def covariance(self, values: Mapping[str, Any]) -> np.ndarray:
        """Covariance of the basic effects at population values by name."""
        n, own = self.effects.n_eta, self.effects.occasion
        sds = self.known.copy()
        for place, name in ((slice(0, n), dims.OMEGA), (slice(n, None), "" if own is None else own.sd)):
            if name in values:
                sds[place] = values[name]
        corr = self.effects.correlations(values)
        return np.outer(sds, sds) * (np.eye(len(sds)) if corr is None else corr)

    def log_lkj(self, omega: np.ndarray) -> float:
        """Log density of the correlations under their priors, up to a constant."""
        sds = np.sqrt(np.diag(omega))
        total = 0.0
        for block, lkj in self.blocks:
            place = np.ix_(block, block)
            total += (lkj - 1.0) * float(np.linalg.slogdet((omega / np.outer(sds, sds))[place])[1])
        return total

    def likeliest(self, squares: np.ndarray, before: np.ndarray, prior: Quadratic | None) -> np.ndarray:
        r"""Covariance that makes the random effects likeliest, with priors where they are given.

        Parameters
        ----------
        squares : (n_basic, n_basic)
            Mean over subjects (or occasions) of :math:`\eta_i \eta_i^\top`.
        before : (n_basic, n_basic)
            The estimate so far, where a search begins.
        prior : Quadratic or None
            Of the logarithms of estimated SDs, around `before`; None: maximum likelihood.
        """
        inside = {k for block, _ in self.blocks for k in block}
        out = np.zeros_like(squares)
        place = np.cumsum(self.estimated) - 1
        quadratic = prior or Quadratic.none(len(self.coordinates))
        counts = self.effects.counts
        for k in range(len(self.known)):
            if k not in inside:
                out[k, k] = self.known[k] ** 2
                if self.estimated[k]:
                    slope, curvature = quadratic.slope[place[k]], quadratic.curvature[place[k]]
                    out[k, k] = _one_variance(squares[k, k], int(counts[k]), before[k, k], slope, curvature)
        for block, lkj in self.blocks:
            index = np.ix_(block, block)
            whole = prior is None and np.all(self.estimated[list(block)])
            if whole:
                out[index] = squares[index]
            else:
                own = place[list(block)]
                free = self.estimated[list(block)]
                slope = np.where(free, quadratic.slope[own], 0.0)
                curvature = np.where(free, quadratic.curvature[own], 0.0)
                exponent = 0.0 if prior is None else lkj - 1
                n = int(counts[block[0]])
                search = _Block(squares[index], n, before[index], slope, curvature, free, exponent)
                out[index] = search.best()
        return out


def _one_variance(square: float, n: int, before: float, slope: float, curvature: float) -> float:
    """Newton steps for log omega: ``-n u - n square exp(-2u) / 2`` plus the prior's parabola."""
    if slope == 0 and curvature == 0:
        return square
    start = u = 0.5 * np.log(before)
    for _ in range(STEPS):
        away = n * square * np.exp(-2 * u)
        step = (away - n + slope - curvature * (u - start)) / (2 * away + max(curvature, 0.0) + 1e-12)
        u += float(np.clip(step, -0.5, 0.5))
    return float(np.exp(2 * u))


@dataclass(frozen=True, eq=False)
class _Block:
    """Search for the SDs and correlations of one block of effects."""

    squares: np.ndarray
    n: int
    before: np.ndarray
    slope: np.ndarray
    curvature: np.ndarray
    free: np.ndarray
    lkj: float

    def best(self) -> np.ndarray:
        sd = np.sqrt(np.diag(self.before))
        start = np.concatenate([np.log(sd)[self.free], _partial(self.before / np.outer(sd, sd))])
        found = optimize.minimize(
            self._value_and_slope, start, jac=True, method="L-BFGS-B", options={"maxiter": STEPS}
        )
        return self._covariance(found.x[None])[0]

    def _value_and_slope(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        steps = DIFFERENCE * np.eye(len(x))
        values = self._loss(np.concatenate([x[None], x + steps, x - steps]))
        return float(values[0]), (values[1 : len(x) + 1] - values[len(x) + 1 :]) / (2 * DIFFERENCE)

    def _split(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logarithms of SDs, and Cholesky factors of correlations."""
        count = int(self.free.sum())
        logs = np.tile(0.5 * np.log(np.diag(self.before)), (len(x), 1))
        logs[:, self.free] = x[:, :count]
        return logs, _correlation_factor(np.tanh(x[:, count:]), len(self.before))

    def _covariance(self, x: np.ndarray) -> np.ndarray:
        logs, factor = self._split(x)
        root = np.exp(logs)[:, :, None] * factor
        return root @ np.swapaxes(root, 1, 2)

    def _loss(self, x: np.ndarray) -> np.ndarray:
        logs, factor = self._split(x)
        half = np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
        scaled = self.squares / np.exp(logs[:, :, None] + logs[:, None, :])
        inside = np.trace(np.linalg.solve(factor @ np.swapaxes(factor, 1, 2), scaled), axis1=1, axis2=2)
        moved = logs - 0.5 * np.log(np.diag(self.before))
        prior = (self.slope * moved - 0.5 * self.curvature * moved**2).sum(axis=1)
        return self.n * (logs.sum(axis=1) + half + 0.5 * inside) - prior - 2 * self.lkj * half


def _partial(corr: np.ndarray) -> np.ndarray:
    """Hyperbolic arctangents of the canonical partial correlations, row by row."""
    factor = np.linalg.cholesky(corr)
    out = []
    for i in range(1, len(corr)):
        rest = 1.0
        for j in range(i):
            share = np.clip(factor[i, j] / rest, -0.999, 0.999)
            out.append(np.arctanh(share))
            rest *= np.sqrt(1 - share**2)
    return np.array(out)


def _correlation_factor(partial: np.ndarray, size: int) -> np.ndarray:
    """Cholesky factors, (..., size, size), from partial correlations (..., pairs)."""
    factor = np.zeros((len(partial), size, size))
    factor[:, 0, 0] = 1.0
    at = 0
    for i in range(1, size):
        rest = np.ones(len(partial))
        for j in range(i):
            factor[:, i, j] = partial[:, at] * rest
            rest = rest * np.sqrt(np.maximum(1 - partial[:, at] ** 2, 1e-12))
            at += 1
        factor[:, i, i] = rest
    return factor


@dataclass(frozen=True, eq=False)
class Spread:
    """Densities of random effects around an estimate of their covariance, in free coordinates.

    The coordinates are moves of the logarithms of the estimated SDs and of the hyperbolic arctangents of the
    canonical partial correlations of each block.
    """

    pattern: Pattern
    omega: np.ndarray
    free: np.ndarray

    @classmethod
    def of(cls, pattern: Pattern, omega: np.ndarray) -> "Spread":
        """Around `omega`."""
        sds = np.sqrt(np.diag(omega))
        corr = omega / np.outer(sds, sds) if len(sds) else omega
        partial = [_partial(corr[np.ix_(block, block)]) for block, _ in pattern.blocks]
        return cls(pattern, omega, np.concatenate([np.log(sds)[pattern.estimated], *partial]))

    def covariance(self, moved: np.ndarray) -> np.ndarray:
        """Covariance after a move of the coordinates."""
        count = int(self.pattern.estimated.sum())
        x = self.free + moved
        logs = 0.5 * np.log(np.diag(self.omega))
        logs[self.pattern.estimated] = x[:count]
        corr, at = np.eye(len(logs)), count
        for block, _ in self.pattern.blocks:
            pairs = len(block) * (len(block) - 1) // 2
            factor = _correlation_factor(np.tanh(x[None, at : at + pairs]), len(block))[0]
            corr[np.ix_(block, block)] = factor @ factor.T
            at += pairs
        sds = np.exp(logs)
        return np.outer(sds, sds) * corr

    def log_density(self, moved: np.ndarray, eta: np.ndarray) -> np.ndarray:
        """Of random effects (..., n_subject, n_eta) after a move, up to a constant, (..., n_subject).

        Those that act on nothing must be 0 (`Effects.zeroed`): they do not count.
        """
        covariance, effects = self.covariance(moved), self.pattern.effects
        inside = np.sum((eta @ effects.repeated(np.linalg.inv(covariance))) * eta, axis=-1)
        return -0.5 * (effects.log_determinants(covariance) + inside)

    def log_density_of_moments(self, moved: np.ndarray, squares: np.ndarray) -> float:
        """The sum over subjects of its mean, from the mean squares (n_subject, n_eta, n_eta)."""
        if not len(self.omega):
            return 0.0
        covariance, effects = self.covariance(moved), self.pattern.effects
        inside = np.sum(effects.repeated(np.linalg.inv(covariance)) * squares.sum(axis=0))
        return float(-0.5 * (effects.log_determinants(covariance).sum() + inside))


def masked(pattern: Pattern, squares: np.ndarray) -> np.ndarray:
    """Sums of squares with uncorrelated pairs set to 0."""
    allowed = np.eye(len(pattern.known), dtype=bool)
    for block, _ in pattern.blocks:
        allowed[np.ix_(block, block)] = True
    return np.where(allowed, squares, 0.0)


def regression(
    matrix: np.ndarray, zeta: np.ndarray, precision: np.ndarray, now: np.ndarray, prior: Quadratic | None
) -> np.ndarray:
    r"""Coefficients that make individual parameters likeliest: generalised least squares.

    .. math:: c = \Big(\sum_i X_i^\top \Omega^{-1} X_i\Big)^{-1} \sum_i X_i^\top \Omega^{-1} \zeta_i

    with the prior's parabola around `now` added where there is one.

    Parameters
    ----------
    matrix : (n_subject, n_eta, n_linear)
    zeta : (n_subject, n_eta)
    """
    weighted = np.einsum("nik,ij->njk", matrix, precision)
    information = np.einsum("njk,njl->kl", weighted, matrix)
    score = np.einsum("njk,nj->k", weighted, zeta - matrix @ now)
    if prior is not None:
        information = information + np.diag(np.maximum(prior.curvature, 0.0))
        score = score + prior.slope
    if len(now) == 0:
        return now
    return now + np.linalg.lstsq(information, score, rcond=None)[0]


def as_values(layout: Layout, pattern: Pattern, x: np.ndarray, omega: np.ndarray) -> dict[str, Any]:
    """Population values by name, as `popbayes.simulate` takes them, from the coordinates of SAEM."""
    several = {one.name for one in layout.coordinates if one.level is not None}
    values: dict[str, Any] = {
        name: value[0] if name in several else float(value[0, 0])
        for name, value in layout.values(x[None]).items()
    }
    sds, n = np.sqrt(np.diag(omega)), pattern.effects.n_eta
    corr = omega / np.outer(sds, sds) if pattern.blocks else omega
    if n:
        values[dims.OMEGA] = sds[:n]
    if any(block[0] < n for block, _ in pattern.blocks):
        values[dims.CORR] = corr[:n, :n]
    own = pattern.effects.occasion
    if own is not None and pattern.estimated[n:].any():
        values[own.sd] = sds[n:]
    if own is not None and own.block.correlated:
        values[own.corr] = corr[n:, n:]
    return values


def annealed(before: np.ndarray, after: np.ndarray, estimated: np.ndarray, slowest: float) -> np.ndarray:
    """The new covariance, its SDs not below a part of the old ones."""
    if not len(before):
        return after
    old, new = np.sqrt(np.diag(before)), np.sqrt(np.diag(after))
    factor = np.where(estimated, np.maximum(1.0, slowest * old / np.maximum(new, 1e-12)), 1.0)
    return after * np.outer(factor, factor)
