"""Values per observation from a DataTree alone: predictions and log densities, a chunk of draws at a time."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from popbayes import dims
from popbayes.engine.solve import evaluate
from popbayes.infer.tree import Study, draws_or_estimate, posterior, study_of

CHUNK = 2**20
"""Values (draws x observations) computed at a time: 8 MiB."""

Draws = Mapping[str, np.ndarray]
"""Posterior variables with one leading axis for the draws; scalars as (n_draw, 1)."""
Pointwise = Callable[[Study, Draws], np.ndarray]
"""From draws to one value for each draw and observation, (n_draw, n_obs)."""


def ipred(dt: xr.DataTree) -> xr.DataArray:
    """Individual predictions of every draw: each subject with its own random effects; (chain, draw, obs)."""
    return of_every_draw(dt, individual_predictions)


def pred(dt: xr.DataTree) -> xr.DataArray:
    """Population predictions of every draw: random effects at zero, own covariates; (chain, draw, obs)."""
    return of_every_draw(dt, population_predictions)


def log_likelihood(dt: xr.DataTree) -> xr.DataArray:
    """Log density of every observation given each draw, own random effects included; (chain, draw, obs)."""
    posterior(dt)  # refuses point estimates, which have no draws
    return of_every_draw(dt, log_density)


def add_log_likelihood(dt: xr.DataTree) -> xr.DataTree:
    """The same DataTree with the group `log_likelihood`, which `popbayes.loo` then need not compute again.

    Parameters
    ----------
    dt : DataTree
        As made by `popbayes.fit`.

    Returns
    -------
    DataTree
        A new one, with ``dt["log_likelihood"]["dv"]`` (chain, draw, obs), given the random effects.
    """
    out = dt.copy()
    out[dims.LOG_LIKELIHOOD] = xr.DataTree(log_likelihood(dt).to_dataset(name=dims.DV))
    return out


def of_every_draw(dt: xr.DataTree, function: Pointwise) -> xr.DataArray:
    """One value for each draw and observation, computed in chunks and kept; (chain, draw, obs)."""
    parts = [part for _, part in in_chunks(dt, function)]
    draws = draws_or_estimate(dt)
    shape = (draws.sizes[dims.CHAIN], draws.sizes[dims.DRAW], parts[0].shape[-1])
    return xr.DataArray(
        np.concatenate(parts).reshape(shape),
        dims=(dims.CHAIN, dims.DRAW, dims.OBS),
        coords={
            dims.CHAIN: draws[dims.CHAIN],
            dims.DRAW: draws[dims.DRAW],
            dims.OBS: np.arange(shape[-1]),
        },
    )


def mean_of_draws(dt: xr.DataTree, function: Pointwise) -> np.ndarray:
    """Posterior mean of a value of every observation, (n_obs,), without keeping those of the draws."""
    total: Any = 0.0
    count = 0
    for _, part in in_chunks(dt, function):
        total, count = total + part.sum(axis=0), count + len(part)
    return np.asarray(total / count)


def in_chunks(dt: xr.DataTree, function: Pointwise) -> Iterator[tuple[slice, np.ndarray]]:
    """Values of `function` for one run of draws after the other, chains in turn.

    Yields
    ------
    slice, (n_draw, n_obs)
        Which draws (chains laid end to end), and their values.
    """
    study, draws = study_of(dt), flat_draws(draws_or_estimate(dt))
    count = len(next(iter(draws.values())))
    for rows in chunks(count, study.design.n_obs):
        yield rows, function(study, {name: values[rows] for name, values in draws.items()})


def chunks(n_draw: int, n_obs: int) -> Iterator[slice]:
    """Runs of draws such that no array of draws x observations is larger than `CHUNK`."""
    size = max(1, CHUNK // max(1, n_obs))
    for start in range(0, n_draw, size):
        yield slice(start, min(start + size, n_draw))


def flat_draws(posterior: xr.Dataset) -> dict[str, np.ndarray]:
    """Posterior variables with chains laid end to end: (n_draw, ...), scalars as (n_draw, 1)."""
    flat = {}
    for name, variable in posterior.data_vars.items():
        values = variable.transpose(dims.CHAIN, dims.DRAW, ...).to_numpy()
        flat[str(name)] = values.reshape(values.shape[0] * values.shape[1], *(values.shape[2:] or (1,)))
    return flat


def individual_predictions(study: Study, draws: Draws) -> np.ndarray:
    """Predictions with the subjects' own parameters, (n_draw, n_obs)."""
    return predictions(study, individual_theta(study, draws))


def population_predictions(study: Study, draws: Draws) -> np.ndarray:
    """Predictions with random effects at zero, (n_draw, n_obs)."""
    return predictions(study, study.model.individual_parameters(draws, None, study.design, np))


def predictions(study: Study, theta: Draws, threads: int | None = None) -> np.ndarray:
    """Predictions (..., n_obs) of the output that each observation is of, at parameters (..., n_segment)."""
    return evaluate(study.model.structural, study.design, theta, study.observed.output, threads)


def log_density(study: Study, draws: Draws) -> np.ndarray:
    """Log density of the observations given the subjects' own parameters, (n_draw, n_obs)."""
    theta = individual_theta(study, draws)
    return observation_logp(study, predictions(study, theta), sigmas(study, draws, theta))


def observation_logp(study: Study, prediction: np.ndarray, sigma: Draws) -> np.ndarray:
    """Log density of each observation given its prediction: the one place that says how it is observed.

    Parameters
    ----------
    study : Study
        The model and its data.
    prediction : (..., n_obs)
        Individual predictions, in the units of the observations.
    sigma : mapping
        Residual parameters as `sigmas` gives them: scalars, (..., 1) or (..., n_obs). Those that the
        model makes individual (``model.observation.parameters``) are among them by the parameter's name.

    Returns
    -------
    (..., n_obs), -inf where the model cannot have made the observation.
    """
    return study.observed.log_density(prediction, sigma)


def individual_theta(study: Study, draws: Draws) -> dict[str, np.ndarray]:
    """Parameters of every segment of every subject, (n_draw, n_segment), as the sampler saw them."""
    design, names = study.design, tuple(study.model.parameters)
    if not all(name in draws for name in names):
        levels = {one.key: draws[one.eta] for one in study.model.groupings}
        return study.model.individual_parameters(draws, draws.get(dims.ETA), design, np, levels)
    per_segment = (1, design.n_segment)
    return {
        name: values if values.shape[-1] in per_segment else values[..., design.segment_subject]
        for name, values in ((name, draws[name]) for name in names)
    }


def sigmas(study: Study, draws: Draws, theta: Draws | None = None) -> dict[str, np.ndarray]:
    """Residual parameters, (n_draw, 1) or a constant; individual ones (n_draw, n_obs), from `theta`.

    Parameters
    ----------
    theta : mapping, optional
        Individual parameters (n_draw, n_segment); taken from the draws where they are needed and not given.
    """
    observation, at = study.model.observation, study.design.obs_segment
    found = {
        name: draws[name] if name in draws else prior.quantile(0.5)
        for name, prior in observation.priors.items()
    }
    if observation.parameters:
        theta = individual_theta(study, draws) if theta is None else theta
        found |= {name: theta[name][..., at] for name in observation.parameters}
    return found
