"""SDs whose priors are of one family are one variable of the graph."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from popbayes.parameters.family import AbstractPrior
from popbayes.parameters.priors import Fixed


def omega_together(priors: Mapping[str, AbstractPrior]) -> tuple[str, dict[str, Any]] | None:
    """Family and vector arguments where all SDs have priors of one family, else None."""
    if any(isinstance(prior, Fixed) for prior in priors.values()):
        return None
    families, arguments = zip(*(prior.pymc for prior in priors.values()), strict=True)
    same = len(set(families)) == 1 and len({tuple(one) for one in arguments}) == 1
    if not same or not all(np.isscalar(value) for one in arguments for value in one.values()):
        return None
    stacked = {name: np.array([one[name] for one in arguments]) for name in arguments[0]}
    plain = {name: value[0] if np.all(value == value[0]) else value for name, value in stacked.items()}
    return families[0], plain
