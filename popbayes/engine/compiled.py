"""The kernels of a structural model, whatever its kind: closed form or differential equations.

Both kinds offer `forward`, `pull` and `evaluate` with the same arguments, so that everything above asks
here and does not know which it has.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from popbayes.data.design import Design
from popbayes.engine import jacobian, ode_jacobian
from popbayes.engine.lanes import in_lanes
from popbayes.engine.linear import linear_kernels
from popbayes.engine.ode import ode_kernels
from popbayes.engine.ode_declaration import is_ode
from popbayes.engine.schedule import Features
from popbayes.engine.specialise import Kernel, specialise


def kernels_of(
    structural: Any, outputs: tuple[str, ...], channels: tuple[str, ...], features: Features
) -> Any:
    """Compile (or take from the cache) the kernels of a model; see `popbayes.engine.linear`."""
    make = ode_kernels if is_ode(structural) else linear_kernels
    return make(structural, outputs, channels, features)


@cache
def jacobian_of(
    structural: Any, outputs: tuple[str, ...], channels: tuple[str, ...], features: Features
) -> Kernel:
    """Compile the Jacobian of a model's predictions; see `popbayes.engine.jacobian`."""
    bound = dict(kernels_of(structural, outputs, channels, features).bound)
    templates = ode_jacobian.TEMPLATES if is_ode(structural) else jacobian.TEMPLATES
    rewrite = str if is_ode(structural) else in_lanes
    for template in templates:
        bound[template.__name__] = specialise(template, rewrite=rewrite, **bound)
    entry = ode_jacobian.jacobian if is_ode(structural) else jacobian.jacobian
    return specialise(entry, entry=True, rewrite=rewrite, **bound)


def with_covariates(structural: Any, design: Design, theta: Mapping[str, Any]) -> list[Any]:
    """Parameters in the model's order, then the covariates that its formulas use, by segment."""
    vectors = [theta[name] for name in structural.parameters]
    for name in getattr(structural, "covariates", ()):
        if name not in design.covariates:
            raise ValueError(
                f"{type(structural).__name__} uses the covariate {name!r} in its rates, which the event "
                f"table does not have. Columns become covariates with "
                f"pb.read_events(..., covariates=[{name!r}])."
            )
        vectors.append(np.array(design.covariates[name], dtype=float))
    return vectors
