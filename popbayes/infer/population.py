"""Population values from priors, from a posterior or given; and the random effects that follow from them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from popbayes import dims
from popbayes.infer.new_levels import correlated, level_prior_values, lkj_correlations
from popbayes.infer.pointwise import flat_draws
from popbayes.model import PopModel
from popbayes.model.derived import derived_log_weights
from popbayes.parameters.family import AbstractPrior
from popbayes.parameters.priors import Fixed
from popbayes.wording import listed, nearest

CANDIDATES = 50
"""Draws from the priors of the parameters for each one that priors of derived quantities keep."""
LEAST_ESS = 5
"""Effective candidates for each draw, without which those kept would not be draws from the prior."""
Values = dict[str, np.ndarray]
"""Variable -> (n_draw, 1), or (n_draw, ...) where it has dims of its own."""


def prior_values(model: PopModel, n: int, rng: np.random.Generator) -> Values:
    """Draw all population values from their priors; fixed ones are left out, save in `omega`.

    Where the model has priors of derived quantities, candidates from the priors of the parameters are drawn
    again with weights (sampling importance resampling).

    Raises
    ------
    ValueError
        If a prior is improper, or the two kinds of prior disagree so much that hardly a candidate is left.
    """
    if not model.derived:
        return _independent_values(model, n, rng)
    candidates = _independent_values(model, CANDIDATES * n, rng)
    log_weight = derived_log_weights(model, candidates)
    top = log_weight.max()
    weight = np.exp(log_weight - top) if np.isfinite(top) else np.zeros(len(log_weight))
    if weight.sum() ** 2 < LEAST_ESS * n * np.sum(weight**2) or not np.isfinite(top):
        raise ValueError(
            "The priors of the parameters and those of derived quantities (half-life, Cmax) disagree: "
            "hardly a draw of the ones is probable under the others. Widen or move them."
        )
    keep = rng.choice(len(weight), n, p=weight / weight.sum())
    return {name: value[keep] for name, value in candidates.items()}


def _independent_values(model: PopModel, n: int, rng: np.random.Generator) -> Values:
    values: Values = {}
    for name, parameter in model.parameters.items():
        _draw(values, dims.pop(name), parameter.prior, (n, 1), rng)
        for one in model.coefficients(name):
            if not one.joint:
                _draw(values, one.name, one.prior, (n, len(one.labels) or 1), rng)
    if model.eta_names:
        values[dims.OMEGA] = np.column_stack([prior.sample(rng, n) for prior in model.omega_priors.values()])
    if model.has_correlations:
        values[dims.CORR] = _prior_correlations(model, n, rng)
    for names, prior in model.covariance_priors:
        place = [model.eta_names.index(name) for name in names]
        sd, corr = prior.sample(rng, n)
        values[dims.OMEGA][:, place] = sd
        values[dims.CORR][np.ix_(range(n), place, place)] = corr
    for on, chosen in model.selections:
        standardised = chosen.prior.draw(rng, n, len(chosen.members), chosen.n_subject)
        for k, one in enumerate(chosen.coefficients(on)):
            values[one.name] = standardised[:, [k]] / chosen.scales[k]
    for more in model.further:
        _draw(values, more.name, more.prior, (n, len(more.labels) or 1), rng)
    for odds in model.odds:
        values[odds.name] = rng.dirichlet(odds.concentration, n)
    for names, nu in model.tails:
        _draw(values, dims.nu(names), nu, (n, 1), rng)
    values |= level_prior_values(model, n, rng)
    for name, own in model.observation.priors.items():
        _draw(values, name, own, (n, 1), rng)
    return values


def _draw(
    values: Values, name: str, prior: AbstractPrior, shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    if not isinstance(prior, Fixed):
        values[name] = np.asarray(prior.sample(rng, shape), dtype=np.float64)


def _prior_correlations(model: PopModel, n: int, rng: np.random.Generator) -> np.ndarray:
    """Correlation matrices of all random effects, blocks from their LKJ priors, (n, n_eta, n_eta)."""
    size = len(model.eta_names)
    corr = np.tile(np.eye(size), (n, 1, 1))
    for names, shape in model.correlated_blocks:
        place = [model.eta_names.index(name) for name in names]
        corr[np.ix_(range(n), place, place)] = lkj_correlations(rng, n, len(place), shape)
    for names, known in model.fixed_correlations:
        place = [model.eta_names.index(name) for name in names]
        corr[np.ix_(range(n), place, place)] = known
    return corr


def posterior_values(posterior: xr.Dataset) -> Values:
    """All variables of a posterior, with chains laid end to end."""
    return flat_draws(posterior)


def given_values(model: PopModel, given: Mapping[str, Any]) -> Values:
    """One set of population values, checked for names and shapes.

    Parameters
    ----------
    model : PopModel
        Resolved.
    given : mapping
        Every population value that is not fixed: ``CL_pop``, ``beta_CL_WT``, ``sigma_prop`` as numbers;
        `omega` as a sequence in the order of `eta_names` or a mapping of parameter to SD; `corr` as a
        matrix, or as a mapping of pairs to correlations in which absent pairs are 0; coefficients of several
        levels as a sequence or a mapping.

    Raises
    ------
    ValueError
        For names that are missing or do not exist, shapes that do not fit, and values that cannot be.
    """
    labels = _labels(model)
    for name in given:
        if name not in labels:
            fixed = " It is fixed in the model." if name in model.fixed else ""
            raise ValueError(
                f"The model has no population value {name!r}; it has {listed(labels)}.{fixed}"
                f"{nearest(name, labels)}"
            )
    known = {dims.OMEGA: _fixed_omega(model)[0]} if _all_known(model) and dims.OMEGA in labels else {}
    given = {**known, **given}
    missing = [name for name in labels if name not in given]
    if missing:
        raise ValueError(f"These population values are missing: {listed(missing)}.")
    values: dict[str, Any] = {
        name: _vector(name, given[name], own) for name, own in labels.items() if not _is_matrix(name)
    }
    values |= {name: _matrix(given[name], own) for name, own in labels.items() if _is_matrix(name)}
    if dims.CORR not in values and model.fixed_correlations:
        values[dims.CORR] = _prior_correlations(model, 1, np.random.default_rng(0))[0]
    _check_possible(model, values, labels)
    return {name: np.asarray(value, dtype=np.float64)[None] for name, value in values.items()}


def _check_possible(
    model: PopModel, values: Mapping[str, Any], labels: Mapping[str, tuple[str, ...]]
) -> None:
    """Refuse values that no population can have: not finite, or outside their bounds."""
    typical = {dims.pop(name): parameter for name, parameter in model.parameters.items()}
    observed = model.observation.limits
    odds = {one.name for one in model.odds}
    positive = {one.sd_name for one in model.imputation if not one.discrete}
    for name, numbers in values.items():
        if _is_matrix(name):
            continue
        if name in odds and (min(numbers) < 0 or abs(sum(numbers) - 1) > 1e-8):
            raise ValueError(f"{name} must be probabilities that add up to 1, not {list(numbers)}.")
        for label, number in zip(labels[name] or ("",), numbers, strict=True):
            shown = f"{name}[{label}]" if label else name
            if not np.isfinite(number):
                raise ValueError(f"{shown} must be a finite number, not {number}.")
            if name in (dims.OMEGA, *positive, *(one.sd for one in model.groupings)) and number < 0:
                raise ValueError(f"{shown} is a standard deviation and must be >= 0, not {number:g}.")
            if name in observed and not observed[name][0] <= number <= observed[name][1]:
                low, high = observed[name]
                kind = "is a standard deviation and " if name.startswith("sigma") else ""
                wanted = f"be >= {low:g}" if high == np.inf else f"lie between {low:g} and {high:g}"
                raise ValueError(f"{shown} {kind}must {wanted}, not {number:g}.")
            if name in typical and not typical[name].allows(number):
                raise ValueError(f"{shown} must be {typical[name].range_text()}, not {number:g}.")


def _is_matrix(name: str) -> bool:
    """Whether a population value is a matrix of correlations."""
    return name == dims.CORR or name.startswith(f"{dims.CORR}_")


def _labels(model: PopModel) -> dict[str, tuple[str, ...]]:
    """Names of the population values that are not fixed, with their labels (none for a scalar)."""
    labels: dict[str, tuple[str, ...]] = {}
    for row in model.population_rows():
        level = next((one for one in model.groupings if row.name in (one.sd, one.corr)), None)
        if row.name == dims.CORR and not model.correlated_blocks:
            continue
        if row.name in (dims.OMEGA, dims.CORR):
            labels[row.name] = model.eta_names
        elif level is not None and row.name not in model.fixed:
            labels[row.name] = level.names
        elif not row.fixed:
            own = (row.index,) if isinstance(row.index, str) else ()
            labels[row.name] = (*labels.get(row.name, ()), *own)
    return labels


def _vector(name: str, given: Any, labels: tuple[str, ...]) -> list[float]:
    """One number for each label; a scalar has none, and one number."""
    if isinstance(given, Mapping):
        wrong = set(given) ^ set(labels)
        if wrong:
            raise ValueError(f"{name} needs one value for each of {listed(labels)}; given: {listed(given)}.")
        return [float(given[label]) for label in labels]
    numbers = np.atleast_1d(np.asarray(given, dtype=np.float64))
    if numbers.shape != (max(1, len(labels)),):
        wanted = f"one value for each of {listed(labels)}" if labels else "one number"
        raise ValueError(f"{name} needs {wanted}, not an array of shape {np.shape(given)}.")
    return numbers.tolist()


def _matrix(given: Any, names: tuple[str, ...]) -> np.ndarray:
    """A correlation matrix, from itself or from its pairs."""
    if isinstance(given, Mapping):
        corr = np.eye(len(names))
        for (one, other), value in given.items():
            if one not in names or other not in names:
                raise ValueError(
                    f"corr has the pair ({one}, {other}); random effects are on {listed(names)}."
                )
            row, column = names.index(one), names.index(other)
            corr[row, column] = corr[column, row] = value
    else:
        corr = np.asarray(given, dtype=np.float64)
    symmetric = (
        corr.shape == (len(names),) * 2 and np.allclose(corr, corr.T) and np.allclose(np.diag(corr), 1)
    )
    if not symmetric or np.linalg.eigvalsh(corr)[0] < 0:
        raise ValueError(
            f"corr must be a correlation matrix of {listed(names)}: symmetric, 1 on the diagonal, "
            "no negative eigenvalue."
        )
    return corr


def random_effects(model: PopModel, values: Values, normal: np.ndarray) -> np.ndarray | None:
    """Random effects of new subjects from standard normal numbers.

    Parameters
    ----------
    values : population values
        With `omega` (n, n_eta), and `corr` (n, n_eta, n_eta) where effects are correlated.
    normal : (n, n_subject, n_eta)

    Returns
    -------
    (n, n_subject, n_eta), or None where the model has no random effects.
    """
    if not model.eta_names:
        return None
    omega = values[dims.OMEGA] if dims.OMEGA in values else _fixed_omega(model)
    if dims.CORR in values:
        normal = correlated(normal, values[dims.CORR])
    return normal * omega[:, None, :]


def outlying(model: PopModel, values: Values, etas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Normal random effects of new subjects, made Student-t where the model has them so."""
    for names, prior in model.tails:
        nu = np.asarray(values.get(dims.nu(names), prior.quantile(0.5)), dtype=np.float64)
        weight = rng.gamma(np.broadcast_to(nu / 2, etas.shape[:2])) / (nu / 2)
        place = [model.eta_names.index(name) for name in names]
        etas[..., place] /= np.sqrt(weight)[..., None]
    return etas


def _all_known(model: PopModel) -> bool:
    """Whether no standard deviation of the subjects' random effects is estimated."""
    return all(row.fixed for row in model.population_rows() if row.name == dims.OMEGA)


def _fixed_omega(model: PopModel) -> np.ndarray:
    return np.array([[prior.quantile(0.5) for prior in model.omega_priors.values()]], dtype=np.float64)
