"""The metric that NUTS learns: a diagonal, or one that also learns directions in which values move together.

The coordinates of random effects fit each subject's data (`popbayes.building.between`) for given values of
the parameters that have no random effect; where one of these moves, it takes every subject's values along.
A metric of low rank learns such directions. It costs more for each gradient the more coordinates there are,
and is not worth that where there is nothing of the kind.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from popbayes import dims
from popbayes.infer.warm_start import WarmStart
from popbayes.model import PopModel
from popbayes.parameters.priors import Fixed

FEW = 100
"""Coordinates up to which a metric of low rank costs next to nothing."""
ENTANGLED = 20.0
"""Inflation of a variance above which a diagonal metric mixes badly. Km of 40 subjects: 1000 (132 effective
draws of 4,000; 2,700 with low rank); a lag of 32 subjects: 4 (2,100; 1,500 with low rank, at twice the cost).
"""
ADAPTATION = "adaptation"
LOW_RANK = "low_rank"


def moves_all(model: PopModel) -> tuple[str, ...]:
    """Parameters of the structural model that are estimated and have no random effect of subjects."""
    return tuple(
        name
        for name, one in model.parameters.items()
        if name not in model.eta_names and not one.column and not isinstance(one.prior, Fixed)
    )


def with_adaptation(
    options: Mapping[str, Any], sampler: str, model: PopModel, graph: Any, warm: WarmStart | None
) -> dict[str, Any]:
    """What the sampler is given: nutpie's adaptation is chosen here where it is left open."""
    if sampler != "nutpie" or ADAPTATION in options:
        return dict(options)
    size = sum(one.size for one in graph.initial_point().values())
    alone = moves_all(model) if model.eta_names else ()
    together = bool(alone) and (warm is None or inflation(warm, alone) > ENTANGLED)
    return {**options, ADAPTATION: LOW_RANK} if together or size <= FEW else dict(options)


def inflation(warm: WarmStart, names: Sequence[str]) -> float:
    """How much larger the variance of these parameters is than if random effects were observed, at most."""
    wanted = {dims.pop(name) for name in names}
    place = [k for k, one in enumerate(warm.run.layout.coordinates) if one.name in wanted]
    return float(warm.inflation[place].max(initial=1.0))
