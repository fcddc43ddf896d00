"""Student-t random effects: a weight for each subject, by which its normal effects are divided."""

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from popbayes import dims
from popbayes.building.omegas import variable
from popbayes.data.design import Design
from popbayes.model import PopModel
from popbayes.parameters.priors import Fixed


def spreads(model: PopModel) -> dict[str, TensorVariable]:
    r"""Factor on the standardised effects of each parameter with a Student-t distribution, (subject,).

    A multivariate Student-t is a normal divided by the square root of a weight,
    :math:`w_i \sim \mathrm{Gamma}(\nu/2, \nu/2)`, shared by the effects of a part of `variability`: an
    outlying subject has a small weight in all of them.

    References
    ----------
    Lange, Little & Taylor, J. Am. Stat. Assoc. 84 (1989) 881-896.
    """
    found: dict[str, TensorVariable] = {}
    for names, prior in model.tails:
        nu = pt.as_tensor(variable(dims.nu(names), prior), dtype="float64")
        weight = pm.Gamma(dims.weight(names), alpha=0.5 * nu, beta=0.5 * nu, dims=dims.SUBJECT)
        found |= dict.fromkeys(names, 1.0 / pt.sqrt(weight))
    return found


def tail_starts(model: PopModel, design: Design) -> dict[str, Any]:
    """Where chains start: the prior median of the degrees of freedom, all weights 1."""
    found: dict[str, Any] = {}
    for names, prior in model.tails:
        found[dims.weight(names)] = np.ones(design.n_subject)
        if not isinstance(prior, Fixed):
            found[dims.nu(names)] = prior.start()
    return found
