"""Whether prior and data disagree, as where amounts, concentrations and priors are in different units."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from popbayes import dims
from popbayes.diagnostics.convergence import MOST_NAMED
from popbayes.model import PopModel
from popbayes.parameters.family import AbstractPrior

RARE = 1e-3
"""A posterior median beyond this part of its prior is no accident."""


def conflict_messages(model: PopModel, draws: xr.Dataset) -> tuple[str, ...]:
    """One message if posterior medians lie where their priors have next to nothing, else none.

    Typical values are looked at in both directions; standard deviations only in that of more than expected:
    less than expected is what a prior of a standard deviation is for.
    """
    found = []
    for label, prior, values, spread in _quantities(model, draws):
        if prior.discrete or not prior.proper or not np.isfinite(values).all():
            continue
        low, high = np.asarray(prior.quantile(np.array([RARE, 1 - RARE])), dtype=float)
        middle = float(np.median(values))
        if low < high and (middle > high or (middle < low and not spread)):
            found.append(f"{label} ({middle:.3g}; {prior.describe()} is {low:.3g} to {high:.3g})")
    if not found:
        return ()
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return (
        f"Prior and data disagree: the posterior medians of {', '.join(found[:MOST_NAMED])}{more} lie beyond "
        f"{100 * (1 - 2 * RARE):g} % of their priors. Are DV, AMT and priors in the same units? Then state "
        "these priors anew.",
    )


def _quantities(model: PopModel, draws: xr.Dataset) -> Iterator[tuple[str, AbstractPrior, np.ndarray, bool]]:
    """Label, prior, draws of each estimated quantity, and whether it is a standard deviation."""
    for name, parameter in model.parameters.items():
        if dims.pop(name) in draws and isinstance(parameter.prior, AbstractPrior):
            yield dims.pop(name), parameter.prior, draws[dims.pop(name)].to_numpy(), False
    for name, prior in model.omega_priors.items():
        if dims.OMEGA in draws and name in draws[dims.ETA].to_numpy():
            yield f"omega[{name}]", prior, draws[dims.OMEGA].sel({dims.ETA: name}).to_numpy(), True
    for name, prior in model.observation.priors.items():
        if name in draws:
            yield name, prior, draws[name].to_numpy(), name.startswith("sigma")
