"""Population values beside typical values, coefficients, omegas and sigmas: their names and priors."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from popbayes import dims
from popbayes.parameters.effect import Coefficient
from popbayes.parameters.family import AbstractPrior
from popbayes.parameters.odds import Odds
from popbayes.parameters.priors import Fixed

if TYPE_CHECKING:
    from popbayes.model.popmodel import PopModel


@dataclass(frozen=True)
class Further:
    """One variable: a shape of Box-Cox, a step of a mixture, or a value of the model of a covariate.

    Attributes
    ----------
    name : str
    prior : prior
        Of each number in it.
    kind : str
        As in `Row`.
    parameter : str
        The structural parameter it belongs to; empty where there is none.
    symbol : str
        What it is called in equations.
    labels, dim
        Of several numbers; empty for a scalar.
    """

    name: str
    prior: AbstractPrior
    kind: str
    parameter: str
    symbol: str
    labels: tuple[str, ...] = ()
    dim: str = ""

    @property
    def known(self) -> Any:
        """The value of a fixed one."""
        return np.full(len(self.labels) or (), self.prior.value) if isinstance(self.prior, Fixed) else None


def further(model: "PopModel") -> tuple[Further, ...]:
    """All of them, in the order of tables."""
    return (*_shapes(model), *_steps(model), *_imputations(model))


def _shapes(model: "PopModel") -> list[Further]:
    return [
        Further(dims.shape(name), one.shape, "shape", name, f"λ_{name}")
        for name, one in model.parameters.items()
        if one.scale == "boxcox"
    ]


def _steps(model: "PopModel") -> list[Further]:
    mixture = model.mixture
    if mixture is None:
        return []
    above = mixture.labels[1:]
    labels, dim = (above, dims.STEP) if len(above) > 1 else ((), "")
    found = [
        Further(dims.delta(name), prior, "delta", name, f"δ_{name}", labels, dim)
        for name, prior in mixture.shift.items()
    ]
    return found + _coefficients(mixture.odds.coefficients)


def _coefficients(each: Iterable[Coefficient]) -> list[Further]:
    return [
        Further(one.name, one.prior, "beta", "", one.name.replace("beta_", "β_"), one.labels, one.dim)
        for one in each
    ]


def _imputations(model: "PopModel") -> list[Further]:
    found: list[Further] = []
    for one in model.imputation:
        if not one.discrete:
            found.append(Further(one.typical_name, one.typical, "imputed", "", f"θ_{one.column}"))
            found.append(Further(one.sd_name, one.sd, "imputed", "", f"s_{one.column}"))
        found += _coefficients(one.coefficients)
    return found


def all_odds(model: "PopModel") -> tuple[Odds, ...]:
    """Probabilities of classes and of the levels of imputed categories."""
    mixed = () if model.mixture is None else (model.mixture.odds,)
    return (*mixed, *(one.odds for one in model.imputation if one.discrete))
