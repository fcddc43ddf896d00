"""Random effects of occasions, sites and studies: their names in graphs, and what they add to a parameter."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from popbayes import dims
from popbayes.data.design import Design
from popbayes.parameters.effect import Values
from popbayes.parameters.family import AbstractPrior
from popbayes.parameters.grouped import AbstractGrouped, Occasion

if TYPE_CHECKING:
    from popbayes.model.popmodel import PopModel


@dataclass(frozen=True)
class Grouping:
    """One level beside the subject: a part of `variability`, with the names of its variables.

    Attributes
    ----------
    block : Occasion or Level
    names : tuple of str
        Its parameters, in model order.
    sd, eta, corr : str
        Variables: ``gamma``, ``eta_occ``, ``corr_occ`` for occasions, ``omega_SITE``, ``eta_SITE``,
        ``corr_SITE`` for a level.
    dim, of, of2 : str
        Dimensions: the groups, and the parameters (twice, for correlations).
    """

    block: AbstractGrouped
    names: tuple[str, ...]
    sd: str
    eta: str
    corr: str
    dim: str
    of: str
    of2: str

    @classmethod
    def of_block(cls, block: AbstractGrouped, order: Mapping[str, Any]) -> "Grouping":
        """The names of a part of `variability`."""
        names = tuple(name for name in order if name in block.names)
        short = "occ" if isinstance(block, Occasion) else block.key
        sd = dims.GAMMA if isinstance(block, Occasion) else f"{dims.OMEGA}_{short}"
        of = f"{sd}_of"
        return cls(block, names, sd, f"{dims.ETA}_{short}", f"{dims.CORR}_{short}", block.key, of, f"{of}_")

    @property
    def key(self) -> str:
        """Name of the groups."""
        return self.block.key

    @property
    def raw(self) -> str:
        """Standardised effects, where they are sampled."""
        return f"{self.eta}_raw"

    @property
    def phi(self) -> str:
        """Parameters of each group on the scales where effects are added, where these are sampled."""
        return f"phi{self.eta.removeprefix(dims.ETA)}"

    @property
    def white(self) -> str:
        """Effects standardised by the information on each group, where they are sampled."""
        return f"{self.eta}_white"

    @property
    def partial(self) -> str:
        """Canonical partial correlations, where they are sampled."""
        return f"{self.corr}_partial"

    @property
    def priors(self) -> dict[str, AbstractPrior]:
        """Prior of each SD, in the order of `names`."""
        return {name: self.block.sd[name] for name in self.names}


type Effects = Values | list[Values]
"""Random effects of a level, (..., n_group, n_names), or for each of its names (..., n_group)."""


def added(model: "PopModel", design: Design, levels: Mapping[str, Effects]) -> dict[str, Values]:
    """What all levels together add to the location of each parameter: name -> (..., n_segment).

    Parameters
    ----------
    levels : name of a level -> its random effects, in the order of `Grouping.names`
    """
    total: dict[str, Values] = {}
    for one in model.groupings:
        if one.key not in levels:
            continue
        effects, of_segment = levels[one.key], design.groups[one.key].of_segment
        for k, name in enumerate(one.names):
            column = effects[k] if isinstance(effects, list) else effects[..., k]
            own = column[..., of_segment]
            total[name] = total[name] + own if name in total else own
    return total


def varying(model: "PopModel", design: Design) -> frozenset[str]:
    """Parameters that change within a subject, by covariates or by groups."""
    first = np.searchsorted(design.segment_subject, np.arange(design.n_subject))[design.segment_subject]
    changes = {name for name, values in design.covariates.items() if np.any(values != values[first])}
    found = {
        name
        for name, parameter in model.parameters.items()
        for one in parameter.covariates
        if changes & set(one.columns)
    }
    for one in model.groupings:
        group = design.groups[one.key].of_segment
        if np.any(group != group[first]):
            found |= set(one.names)
    return frozenset(found)
