r"""An estimate as groups of a DataTree: `estimates`, `eta`, `objective` and `trace`.

| group | variables |
|---|---|
| estimates | the population values, named and shaped as in a posterior; and over `parameter` (rows of the parameter table that are estimated): `value`, `se`, `rse_percent`, `covariance` and `correlation` (parameter, parameter_); ``attrs["condition_number"]`` |
| eta | `mode`, `sd` (subject, eta_of), `covariance`; `mean` where the method has it; `{P}` at the modes; of occasions `eta_occ` (modes), `eta_occ_sd` and `eta_occ_mean` (occasion, gamma_of) |
| objective | over `approximation`: `minus2ll`, `ofv` (without n log 2 pi), `mc_error`, `aic`, `bic_subjects`, `bic_observations`, `bic_mixed`; `minus2ll_subject` (approximation, subject) |
| trace | over `iteration`: `value` (iteration, parameter), `objective`, and what else the method says (`smoothing`: the phase of SAEM; `gradient`: the decrease that the next step promises); `drift` (parameter): of SAEM's averages at the end, in standard errors |
"""  # noqa: E501

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from popbayes import dims
from popbayes.infer.effects import Effects
from popbayes.infer.estimation.coordinates import Coordinates
from popbayes.infer.estimation.method import Found, Objective
from popbayes.infer.subject_logp import LOG_2PI
from popbayes.infer.tree import Study
from popbayes.model import PopModel, Row


def result_groups(study: Study, coordinates: Coordinates, found: Found) -> dict[str, xr.Dataset]:
    """All groups of an estimate."""
    return {
        dims.ESTIMATES: estimates(study.model, coordinates, found),
        dims.ETA: random_effects(study, coordinates, found),
        dims.OBJECTIVE: objectives(study, coordinates, found.objectives),
        dims.TRACE: trace(coordinates, found.trace, found.drift),
    }


def estimates(model: PopModel, coordinates: Coordinates, found: Found) -> xr.Dataset:
    """Population values with their standard errors, by the delta method from the coordinates."""
    labels, value = coordinates.labels, coordinates.natural(found.x)
    pair = (dims.PARAMETER, dims.PARAMETER2)
    unknown = np.full((len(labels), len(labels)), np.nan)
    natural, condition = unknown, np.nan
    if found.covariance is not None and len(labels):
        slopes = coordinates.jacobian(found.x)
        natural = slopes @ found.covariance @ slopes.T
        condition = condition_number(found.covariance)
    se = np.sqrt(np.diag(natural))
    with np.errstate(divide="ignore", invalid="ignore"):
        variables: dict[str, Any] = {
            "value": (dims.PARAMETER, value),
            "se": (dims.PARAMETER, se),
            "rse_percent": (dims.PARAMETER, 100 * se / np.abs(value)),
            "covariance": (pair, natural),
            "correlation": (pair, natural / np.outer(se, se)),
        }
    variables |= _population(model, coordinates.values(found.x))
    coords = {dims.PARAMETER: labels, dims.PARAMETER2: labels, **_labels(model)}
    used = {dim for shape, _ in variables.values() for dim in ((shape,) if isinstance(shape, str) else shape)}
    return xr.Dataset(
        variables,
        coords={name: list(one) for name, one in coords.items() if name in used},
        attrs={"condition_number": float(condition), "information": found.information},
    )


def condition_number(covariance: np.ndarray) -> float:
    """Largest over smallest eigenvalue of the correlation matrix of the estimates; 1 for one estimate."""
    sd = np.sqrt(np.diag(covariance))
    values = np.linalg.eigvalsh(covariance / np.outer(sd, sd))
    return float(values[-1] / values[0]) if values[0] > 0 else float("inf")


def _labels(model: PopModel) -> dict[str, list[str]]:
    labels = {dims.ETA_OF: list(model.eta_names), dims.ETA_OF2: list(model.eta_names)}
    for name in model.parameters:
        labels |= {one.dim: list(one.labels) for one in model.coefficients(name) if one.labels}
    for level in model.groupings:
        labels |= {level.of: list(level.names), level.of2: list(level.names)}
    return labels


def _population(model: PopModel, values: Mapping[str, Any]) -> dict[str, Any]:
    """Population values as a posterior names and shapes them."""
    own = {dims.OMEGA: (dims.ETA_OF,), dims.CORR: (dims.ETA_OF, dims.ETA_OF2)}
    for name in model.parameters:
        own |= {one.name: (one.dim,) for one in model.coefficients(name) if one.labels}
    for level in model.groupings:
        own |= {level.sd: (level.of,), level.corr: (level.of, level.of2)}
    return {name: (own.get(name, ()), np.asarray(value)) for name, value in values.items()}


def random_effects(study: Study, coordinates: Coordinates, found: Found) -> xr.Dataset:
    """Random effects and individual parameters of the subjects, and of their occasions."""
    model, design, eta = study.model, study.design, found.eta
    layout, n = Effects.of(model, design), len(model.eta_names)
    each = (dims.SUBJECT, dims.ETA_OF)
    sd = np.sqrt(np.einsum("ikk->ik", eta.covariance))
    variables: dict[str, Any] = {
        "mode": (each, eta.mode[:, :n]),
        "sd": (each, sd[:, :n]),
        "covariance": ((*each, dims.ETA_OF2), eta.covariance[:, :n, :n]),
    }
    if eta.mean is not None:
        variables["mean"] = (each, eta.mean[:, :n])
    coords: dict[str, Any] = {dims.SUBJECT: study.events.subjects, **_labels(model)}
    used = {dims.SUBJECT, dims.ETA_OF, dims.ETA_OF2} if model.eta_names else {dims.SUBJECT}
    if layout.occasion is not None:
        one = layout.occasion
        parts = {one.eta: eta.mode, f"{one.eta}_sd": sd, f"{one.eta}_mean": eta.mean}
        variables |= {
            name: ((one.dim, one.of), layout.of_groups(part))
            for name, part in parts.items()
            if part is not None
        }
        coords[one.dim] = design.groups[one.key].labels
        used |= {one.dim, one.of}
    own, levels = layout.split(eta.mode)
    theta = model.individual_parameters(coordinates.values(found.x), own, design, np, levels)
    over = dims.SUBJECT if design.one_segment_per_subject else dims.SEGMENT
    for name, values in theta.items():
        variables[name] = (over, np.broadcast_to(values, design.n_segment))
    return xr.Dataset(variables, coords={name: one for name, one in coords.items() if name in used})


def objectives(study: Study, coordinates: Coordinates, found: Mapping[str, Objective]) -> xr.Dataset:
    r"""Objective functions and information criteria.

    With `k` estimated values, of which :math:`k_R` belong to the random effects (typical values and
    coefficients of parameters that vary between subjects, and the covariance of the effects) and :math:`k_F`
    do not:

    .. math:: \mathrm{AIC} = -2 \log L + 2 k, \quad \mathrm{BIC} = -2 \log L + k \log N, \quad
              \mathrm{BIC_{mixed}} = -2 \log L + k_R \log N + k_F \log n

    with `N` the number of subjects, or of observations, and `n` that of observations.

    References
    ----------
    Delattre, Lavielle & Poursat, *Electron J Stat* 8 (2014) 456-475.
    """
    n, total = study.design.n_subject, study.design.n_obs
    size, varying = coordinates.size, sum(_is_random(study.model, row) for row in coordinates.rows)
    minus2ll = np.array([one.of_subjects.sum() for one in found.values()])
    over = dims.APPROXIMATION
    variables: dict[str, Any] = {
        "minus2ll": (over, minus2ll),
        "ofv": (over, minus2ll - total * LOG_2PI),
        "mc_error": (over, np.array([one.error for one in found.values()])),
        "aic": (over, minus2ll + 2 * size),
        "bic_subjects": (over, minus2ll + size * np.log(n)),
        "bic_observations": (over, minus2ll + size * np.log(total)),
        "bic_mixed": (over, minus2ll + varying * np.log(n) + (size - varying) * np.log(total)),
        "minus2ll_subject": ((over, dims.SUBJECT), np.array([one.of_subjects for one in found.values()])),
        "n_parameters": ((), size),
        "n_parameters_random": ((), varying),
    }
    return xr.Dataset(variables, coords={over: list(found), dims.SUBJECT: study.events.subjects})


def _is_random(model: PopModel, row: Row) -> bool:
    """Whether a row belongs to the random effects."""
    varying = {name for level in model.groupings for name in level.names} | set(model.eta_names)
    return row.kind in ("omega", "level", "corr") or row.parameter in varying


def trace(
    coordinates: Coordinates, found: Mapping[str, np.ndarray], drift: np.ndarray | None = None
) -> xr.Dataset:
    """Values and objective of every iteration, and what each value still drifts by at the end."""
    values = np.array([coordinates.natural(x) for x in found["x"]]).reshape(len(found["x"]), coordinates.size)
    variables: dict[str, Any] = {"value": ((dims.ITERATION, dims.PARAMETER), values)}
    variables |= {name: (dims.ITERATION, one) for name, one in found.items() if name != "x"}
    if drift is not None:
        variables["drift"] = (dims.PARAMETER, drift)
    return xr.Dataset(
        variables, coords={dims.PARAMETER: coordinates.labels, dims.ITERATION: np.arange(len(values))}
    )
