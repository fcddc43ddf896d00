"""The likelihood of a graph: one variable for each law, PyMC's own where it has it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from popbayes import dims
from popbayes.observation.observed import Observed, Part


def likelihood_name(observed: Observed, part: Part) -> str:
    """``dv``, or ``dv_conc`` where there are several laws."""
    return dims.DV if len(observed.model.kinds) == 1 else f"{dims.DV}{part.kind.suffix}"


def likelihood_coords(observed: Observed) -> dict[str, Any]:
    """Labels of the observations: their numbers in the table, by law where there are several."""
    coords: dict[str, Any] = {dims.OBS: np.arange(observed.events.n_obs)}
    if len(observed.model.kinds) > 1:
        coords |= {f"{dims.OBS}{part.kind.suffix}": part.index for part in observed.parts}
    return coords


def likelihood(observed: Observed, prediction: TensorVariable, sigma: Mapping[str, Any]) -> None:
    """Register the observations in the open graph.

    Parameters
    ----------
    prediction : (n_obs,)
    sigma : name of a prior or of an individual parameter -> scalar, or (n_obs,)
    """
    for part in observed.parts:
        name = likelihood_name(observed, part)
        over = dims.OBS if name == dims.DV else f"{dims.OBS}{part.kind.suffix}"
        predicted, own = part.predicted(prediction), part.own(sigma)
        plain = part.kind.law.plain(predicted, own, pt) if part.rows.all_measured else None
        if plain is not None:
            family, arguments = plain
            getattr(pm, family)(name, **arguments, observed=part.rows.dv, dims=over)
        else:
            _custom(name, over, part, predicted, own)


def _custom(name: str, over: str, part: Part, prediction: TensorVariable, own: Mapping[str, Any]) -> None:
    """A law that PyMC does not have, by its log density and its draws."""
    names = tuple(own)
    law, rows = part.kind.law, part.rows

    def logp(value: TensorVariable, predicted: TensorVariable, *given: TensorVariable) -> TensorVariable:
        # what happened decides which formula a discrete outcome takes, and so must be known
        seen = rows if law.discrete else replace(rows, dv=value)
        return law.log_density(seen, predicted, dict(zip(names, given, strict=True)), pt)

    def random(predicted: np.ndarray, *given: np.ndarray, rng: Any = None, size: Any = None) -> np.ndarray:
        with np.errstate(all="ignore"):
            return law.draw(rng, rows, np.asarray(predicted), dict(zip(names, given, strict=True)))

    pm.CustomDist(
        name,
        prediction,
        *(pt.as_tensor(own[one], dtype="float64") for one in names),
        logp=logp,
        random=random,
        observed=rows.dv,
        dims=over,
    )
