"""Random effects of occasions, sites and studies: drawn anew, or taken from a fit."""

from collections.abc import Mapping

import numpy as np

from popbayes.data.design import Design
from popbayes.model import PopModel
from popbayes.model.levels import Grouping
from popbayes.parameters.grouped import Occasion

Values = dict[str, np.ndarray]
"""Variable -> (n_draw, 1), or (n_draw, ...) where it has dims of its own."""
Known = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Level -> labels of the groups of a fit (n_known,), and their effects (n_draw, n_known, n_names)."""


def level_prior_values(model: PopModel, n: int, rng: np.random.Generator) -> Values:
    """SDs and correlations of every level beside the subject, drawn from their priors."""
    values: Values = {}
    for one in model.groupings:
        values[one.sd] = np.column_stack([prior.sample(rng, n) for prior in one.priors.values()])
        if one.block.correlated:
            values[one.corr] = lkj_correlations(rng, n, len(one.names), float(one.block.lkj))
    return values


def new_effects(
    model: PopModel,
    design: Design,
    values: Values,
    n: int,
    rng: np.random.Generator,
    known: Known | None = None,
) -> dict[str, np.ndarray]:
    """Random effects of every group of the design, by level: (n, n_group, n_names).

    Parameters
    ----------
    values : population values of `n` draws
    known : effects of groups that a fit has; others are drawn anew
    """
    found = {}
    for one in model.groupings:
        group = design.groups[one.key]
        effects = _drawn(one, values, rng.standard_normal((n, group.size, len(one.names))))
        if known and one.key in known:
            labels, own = known[one.key]
            place = {str(label): k for k, label in enumerate(labels)}
            have = [k for k, label in enumerate(group.labels) if str(label) in place]
            effects[:, have] = own[:, [place[str(group.labels[k])] for k in have]]
        found[one.key] = effects
    return found


def _drawn(one: Grouping, values: Values, normal: np.ndarray) -> np.ndarray:
    sd = values[one.sd] if one.sd in values else [[prior.quantile(0.5) for prior in one.priors.values()]]
    if one.corr in values:
        normal = correlated(normal, values[one.corr])
    return normal * np.asarray(sd, dtype=np.float64)[:, None, :]


def kept(model: PopModel, new_subjects: bool, new_levels: bool) -> tuple[Grouping, ...]:
    """Levels whose effects are those of the fit, where the group has the same label.

    Occasions are of a subject, and new with it; sites and studies stay unless new ones are asked for.
    """
    return tuple(
        one
        for one in model.groupings
        if not (new_subjects if isinstance(one.block, Occasion) else new_levels)
    )


def correlated(normal: np.ndarray, corr: np.ndarray) -> np.ndarray:
    """Standard normal numbers (n, ..., k) with correlations (n, k, k)."""
    size, vectors = np.linalg.eigh(corr)
    root = vectors * np.sqrt(np.maximum(size, 0))[:, None, :]
    return normal @ np.swapaxes(root, 1, 2)


def lkj_correlations(rng: np.random.Generator, n: int, size: int, shape: float) -> np.ndarray:
    r"""Correlation matrices with density proportional to :math:`|R|^{\text{shape} - 1}`.

    By the canonical partial correlations of a C-vine: in column `j` of the Cholesky factor they are
    :math:`2 B - 1` with :math:`B \sim \mathrm{Beta}(b_j, b_j)`, :math:`b_j = \text{shape} + (k - 2 - j) / 2`.

    Parameters
    ----------
    rng : numpy Generator
    n, size : int
        How many matrices, of how many rows `k`.
    shape : float
        Of the LKJ distribution, > 0.

    Returns
    -------
    (n, size, size)

    References
    ----------
    Lewandowski, Kurowicka & Joe, J. Multivariate Anal. 100 (2009) 1989-2001.
    """
    chol = np.zeros((n, size, size))
    left = np.ones((n, size))
    for column in range(size - 1):
        beta = shape + (size - 2 - column) / 2
        partial = 2 * rng.beta(beta, beta, (n, size - 1 - column)) - 1
        chol[:, column, column] = np.sqrt(left[:, column])
        chol[:, column + 1 :, column] = partial * np.sqrt(left[:, column + 1 :])
        left[:, column + 1 :] -= chol[:, column + 1 :, column] ** 2
    chol[:, size - 1, size - 1] = np.sqrt(left[:, size - 1])
    corr = chol @ np.swapaxes(chol, 1, 2)
    corr[:, range(size), range(size)] = 1.0
    return corr
