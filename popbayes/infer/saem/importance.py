r"""The marginal likelihood of each subject by importance sampling, with its Monte-Carlo error.

.. math:: \hat L_i = \frac1M \sum_m \frac{p(y_i, \eta_i^{(m)} \mid \theta)}{q_i(\eta_i^{(m)})}, \qquad
          \eta_i^{(m)} \sim q_i

with :math:`q_i` a mixture of Student's t around the conditional mean, in the shape of the conditional
covariance, and the population, which keeps the weights bounded. The error of
:math:`-2 \sum_i \log \hat L_i` is by the delta method.
"""

import numpy as np

from popbayes.infer.saem.likelihood import SubjectLikelihood, Values
from popbayes.infer.saem.metropolis import LEAST, Population, Student

FROM_POPULATION = 0.1
"""Share of the draws that come from the population."""
CHUNK = 2**20
"""Predictions (draws x observations) computed at a time: 8 MiB."""


def importance(
    likelihood: SubjectLikelihood,
    values: Values,
    population: Population,
    mean: np.ndarray,
    covariance: np.ndarray,
    draws: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, float]:
    """-2 log of each subject's likelihood, (n_subject,), and the Monte-Carlo SE of the sum.

    Parameters
    ----------
    mean, covariance : (n_subject, n_eta), (n_subject, n_eta, n_eta)
        Of the random effects given the data, as far as they are known: proposals are shaped by them.
    draws : int
        For each subject.
    """
    proposals = Student.of(mean, covariance + LEAST * population.omega)
    size = max(1, CHUNK // max(1, likelihood.density.study.design.n_obs))
    weights = []
    for start in range(0, draws, size):
        count = min(size, draws - start)
        eta = proposals.sample(rng, count)
        wide = rng.standard_normal(eta.shape) @ population.root.T
        eta = np.where((rng.random(eta.shape[:-1]) < FROM_POPULATION)[..., None], wide, eta)
        prior = population.log_normalised(eta)
        drawn = np.logaddexp(
            np.log(1 - FROM_POPULATION) + proposals.log_density(eta), np.log(FROM_POPULATION) + prior
        )
        weights.append(likelihood(values, eta) + prior - drawn)
    log_weight = np.concatenate(weights)
    top = log_weight.max(axis=0)
    weight = np.exp(log_weight - top)
    average = weight.mean(axis=0)
    relative = weight.var(axis=0, ddof=1) / (draws * average**2)
    return -2.0 * (top + np.log(average)), float(2.0 * np.sqrt(relative.sum()))
