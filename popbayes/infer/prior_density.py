"""Log densities of priors as numbers, for methods that look for a mode."""

from collections.abc import Callable, Sequence

import numpy as np
import pytensor
import pytensor.tensor as pt

from popbayes.building.families import density
from popbayes.parameters.family import AbstractPrior

Densities = Callable[[np.ndarray], np.ndarray]


def log_densities(priors: Sequence[AbstractPrior]) -> Densities:
    """One compiled function for the log densities of several priors, those of the graph.

    Parameters
    ----------
    priors : sequence of n priors, none of them fixed

    Returns
    -------
    function of (n, m) values to (n, m) log densities; -inf outside the support
    """
    if not priors:
        return lambda values: np.zeros(np.shape(values))
    x = pt.dmatrix("x")
    rows = []
    for k, prior in enumerate(priors):
        family, arguments = prior.pymc
        rows.append(density(family, x[k], **arguments))
    compiled = pytensor.function([x], pt.stack(rows), mode="FAST_COMPILE")

    def evaluate(values: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(compiled(np.asarray(values, dtype=np.float64)))

    return evaluate
