"""Half-life and highest concentration of typical subjects, for many draws at once."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import special

from popbayes.data.design import Design
from popbayes.data.regimen import Regimen
from popbayes.engine.declaration import Symbols
from popbayes.engine.solve import evaluate
from popbayes.parameters.derived import AbstractDerived, Cmax, HalfLife
from popbayes.parameters.family import AbstractPrior

CMAX_TIMES = 200


def cmax_design(one: Cmax) -> Design:
    """A single dose, and the times at which the highest prediction is looked for."""
    half = CMAX_TIMES // 2
    grid = np.union1d(np.linspace(0, one.until, half), np.geomspace(one.until / 1000, one.until, half))
    times = np.union1d(grid, [one.duration]) if one.duration else grid
    rate = one.dose / one.duration if one.duration else 0.0
    return Design.of(Regimen().dose(one.dose, cmt=one.cmt, rate=rate).sample(times).to_events())


def derived_values(structural: Any, one: AbstractDerived, theta: Mapping[str, np.ndarray]) -> np.ndarray:
    """The quantity for each set of structural parameters, (n,).

    Parameters
    ----------
    structural : structural model
    one : the quantity
    theta : parameter -> (n,)
    """
    if isinstance(one, HalfLife):
        return half_life(structural, theta)
    assert isinstance(one, Cmax)
    columns = {name: np.asarray(value, dtype=np.float64)[:, None] for name, value in theta.items()}
    return evaluate(structural, cmax_design(one), columns).max(axis=-1)


def half_life(structural: Any, theta: Mapping[str, np.ndarray]) -> np.ndarray:
    """Terminal half-life from the eigenvalues of the body's rate matrix, (n,).

    Raises
    ------
    ValueError
        If the model is no compartmental one with linear elimination.
    """
    body = body_states(structural)
    n = max(np.size(value) for value in theta.values())
    values = {name: np.broadcast_to(np.asarray(v, dtype=np.float64), (n,)) for name, v in theta.items()}
    matrix = np.zeros((n, len(body), len(body)))
    constants = structural.rate_constant(Symbols(values))
    for name, (source, target) in structural.flows.items():
        rate = constants[name]
        matrix[:, body.index(source), body.index(source)] -= rate
        if target is not None:
            matrix[:, body.index(target), body.index(source)] += rate
    ok = np.isfinite(matrix).all(axis=(1, 2))
    rates = np.full((n, len(body)), np.nan)
    rates[ok] = -np.linalg.eigvals(matrix[ok]).real
    with np.errstate(divide="ignore"):
        return np.log(2.0) / rates.min(axis=1)


def has_half_life(structural: Any) -> bool:
    """Whether the model is a compartmental one with linear elimination."""
    return hasattr(structural, "rate_constant") and hasattr(structural, "flows")


def body_parameters(structural: Any) -> tuple[str, ...]:
    """Parameters of the body, without those of the absorption."""
    return tuple(structural.constants if structural.rate_constants else structural.clearances)


def body_states(structural: Any) -> tuple[str, ...]:
    """Compartments of the body, without those of the absorption.

    Raises
    ------
    ValueError
        If the model has no terminal half-life that follows from its parameters alone.
    """
    if not has_half_life(structural):
        raise ValueError(
            f"{type(structural).__name__} has no terminal half-life that follows from its parameters alone "
            "(its elimination is not linear, or it is no compartmental model). State priors on its "
            "parameters."
        )
    return tuple(structural.body_states)


def derived_log_weights(model: Any, values: Mapping[str, np.ndarray]) -> np.ndarray:
    """What the priors of derived quantities add to the log density of each draw of typical values, (n,).

    The Jacobian of a half-life that stands in for a parameter's prior is a central difference.
    """
    names = model.structural.parameters
    n = max((len(value) for value in values.values()), default=1)
    known = {**model.fixed, **values}
    theta = {name: np.broadcast_to(np.ravel(known[f"{name}_pop"]), (n,)) for name in names}
    total = np.zeros(n)
    with np.errstate(divide="ignore", invalid="ignore"):
        for one in model.derived:
            quantity = derived_values(model.structural, one, theta)
            total += log_density(one.prior, quantity)
            if one.replaced is None:
                continue
            step = 1e-5 * theta[one.replaced]
            up, down = ({**theta, one.replaced: theta[one.replaced] + sign * step} for sign in (1, -1))
            slope = derived_values(model.structural, one, up) - derived_values(model.structural, one, down)
            own = log_density(model.parameters[one.replaced].prior, theta[one.replaced])
            total += np.log(np.abs(slope / (2 * step))) - own
    return np.where(np.isfinite(total), total, -np.inf)


def log_density(prior: AbstractPrior, value: np.ndarray) -> np.ndarray:
    """Log density of a continuous prior at positive values, by its quantiles: PyMC is not needed for it.

    The distribution function is tabulated at 20001 probabilities and differentiated, which is good to a
    few digits: enough for weights of draws, not for a sampler.
    """
    p = special.expit(np.linspace(-30.0, 30.0, 20001))
    x = np.asarray(prior.quantile(p), dtype=np.float64)
    density = np.gradient(p, x)
    inside = np.interp(value, x, np.log(np.maximum(density, 1e-300)))
    return np.where((value >= x[0]) & (value <= x[-1]), inside, -np.inf)
