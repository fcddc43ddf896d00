"""What is not finite among simulated values, in plain words."""

from collections.abc import Mapping

import numpy as np

from popbayes import dims
from popbayes.data.design import Design
from popbayes.infer.pointwise import Draws
from popbayes.model import PopModel
from popbayes.parameters.continuous import Linear


def broken(values: np.ndarray) -> np.ndarray:
    """Whether a draw has a value that is not finite, (n_draw,)."""
    return ~np.isfinite(values).all(axis=-1)


def complaint(model: PopModel, design: Design, draws: Draws, found: Mapping[str, np.ndarray]) -> str:
    """What is not finite, in what share of draws and why; empty where all is finite.

    Parameters
    ----------
    model : PopModel
        Resolved.
    design : Design
    draws : population values
    found : name of a parameter or a variable -> whether it is `broken` in each draw, (n_draw,)
    """
    shares = {name: draw.mean() for name, draw in found.items() if draw.any()}
    if not shares:
        return ""
    what = ", ".join(f"{name} in {_percent(share)}" for name, share in shares.items())
    text = f"Values that are not finite were simulated: {what} of the draws."
    causes = linear_below_zero(model, design, draws)
    for name, (column, share) in causes.items():
        text += (
            f" The factor of covariate.Linear({column!r}) on {name} went to 0 or below in {_percent(share)} "
            "of the draws: use a narrower prior of its coefficient, or covariate.Power or "
            "covariate.Exponential, whose factors are always positive."
        )
    below = [
        name for name in shares if name in model.parameters and model.parameters[name].scale == "identity"
    ]
    for name in below:
        text += (
            f" {name} is on the identity scale and went below 0, which it cannot be: use scale='log', or a "
            "smaller random effect."
        )
    return (
        text
        if causes or below
        else f"{text} Look at the priors or values of these and of what they depend on."
    )


def linear_below_zero(model: PopModel, design: Design, draws: Draws) -> dict[str, tuple[str, float]]:
    """Parameters of which a linear covariate factor is not positive: name -> column, share of draws."""
    values, found = {**model.fixed, **draws}, {}
    for name, parameter in model.parameters.items():
        for one in parameter.covariates:
            if isinstance(one, Linear):
                column = design.covariates[one.column].astype(np.float64)
                ends = np.array([column.min(), column.max()])
                factor = one.multiplier(ends, values[dims.beta(name, one.column)], np)
                share = float(np.mean((factor <= 0).any(axis=-1)))
                if share:
                    found[name] = (one.column, share)
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 1 else "100 %"
