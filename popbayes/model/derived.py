"""Half-life and highest concentration of typical subjects, for many draws at once."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from popbayes.data.design import Design
from popbayes.data.regimen import Regimen
from popbayes.engine.declaration import Symbols
from popbayes.engine.solve import evaluate
from popbayes.parameters.derived import AbstractDerived, Cmax, HalfLife

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
    for (source, target), rate in structural.body_rates(Symbols(values)).items():
        matrix[:, body.index(source), body.index(source)] -= rate
        if target is not None:
            matrix[:, body.index(target), body.index(source)] += rate
    ok = np.isfinite(matrix).all(axis=(1, 2))
    rates = np.full((n, len(body)), np.nan)
    rates[ok] = -np.linalg.eigvals(matrix[ok]).real
    with np.errstate(divide="ignore"):
        return np.log(2.0) / rates.min(axis=1)


def body_states(structural: Any) -> tuple[str, ...]:
    """Compartments of the body, without those of the absorption.

    Raises
    ------
    ValueError
        If the model has no terminal half-life that follows from its parameters alone.
    """
    if not hasattr(structural, "body_rates"):
        raise ValueError(
            f"{type(structural).__name__} has no terminal half-life that follows from its parameters alone "
            "(its elimination is not linear, or it is no compartmental model). State priors on its "
            "parameters."
        )
    return tuple(structural.body_states)
