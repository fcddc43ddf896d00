"""Random effects as variables: their SDs, correlations and both ways to sample them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.shape_utils import rv_size_is_none
from pytensor.tensor.variable import TensorVariable

from popbayes import dims
from popbayes.building.between import Information, Triangle, informed_effects, inverse_triangle
from popbayes.building.omegas import cholesky, identity, matrix, scales, square, times
from popbayes.building.skewed import skewed_centred
from popbayes.building.starts import (
    ETA_RAW,
    PAIR,
    PARTIAL,
    PHI,
    centred_tails,
    centring,
    first_segments,
    phi_of,
)
from popbayes.building.states import effects_of_states
from popbayes.building.tails import spreads
from popbayes.building.wishart import covariance_potentials
from popbayes.data.design import Design
from popbayes.model import PopModel
from popbayes.model.states import States, shared_names


def _factor(model: PopModel) -> Triangle | None:
    """Cholesky factor of the correlation matrix of all effects of subjects; None without correlations."""
    if not model.has_correlations:
        return None
    number, place = len(model.eta_names), model.eta_names.index
    blocks = [(tuple(place(name) for name in names), lkj) for names, lkj in model.correlated_blocks]
    factor = cholesky(blocks, number, PARTIAL, PAIR) if blocks else identity(number)
    for names, known in model.fixed_correlations:
        lower = np.linalg.cholesky(known)
        for i, high in enumerate(names):
            for j, low in enumerate(names[: i + 1]):
                factor[place(high)][place(low)] = float(lower[i, j])
    return factor


def random_effects(
    model: PopModel,
    design: Design,
    places: Mapping[str, TensorVariable],
    information: Information | None = None,
    states: States | None = None,
    values: Mapping[str, Any] | None = None,
) -> tuple[dict[str, TensorVariable], TensorVariable | None]:
    """Random effect of every parameter that has one, (subject,) each; registers `omega`, `corr` and `eta`.

    Where states (classes, missing categories) share individual values, effects are those in each subject's
    first state, registered as `eta_base`, and the log density of the effects in every state is the second
    of what is returned.

    Each effect is written out over columns and scalars, without matrix products: PyTensor fuses it
    into the loop that computes the parameter, and less is compiled.
    """
    if not model.eta_names:
        return {}, None
    omega, factor = scales(dims.OMEGA, model.omega_priors, dims.ETA_OF), _factor(model)
    covariance_potentials(model, omega, factor)
    if factor is not None:
        pm.Deterministic(dims.CORR, square(factor), dims=(dims.ETA_OF, dims.ETA_OF2))
    shared = () if states is None else shared_names(states)
    ways = tuple(tuple(one for one in way if one not in shared) for way in centring(model, information))
    apart = centred_tails(model)
    mixed = sum(map(bool, ways)) > 1 or bool(shared) or bool(apart)
    effects: dict[str, TensorVariable] = {}
    density = None
    if states is not None and shared:
        index = [model.eta_names.index(name) for name in shared]
        rows = None if factor is None else [[factor[i][j] for j in index if j <= i] for i in index]
        columns, density = effects_of_states(states, values or {}, shared, [omega[k] for k in index], rows)
        effects |= dict(zip(shared, columns, strict=True))
    for names, make in zip(ways, (_centred, _non_centred, _between(information)), strict=True):
        if names:
            index = [model.eta_names.index(name) for name in names]
            sds = omega[np.array(index)] if mixed else omega
            rows = None if factor is None else [[factor[i][j] for j in index if j <= i] for i in index]
            at = [places[name] for name in names]
            shapes = {} if values is None else model.shapes(values)
            if make is _centred and set(shapes) & set(names):
                over, centres = (f"{PHI}_of" if mixed else dims.ETA_OF), _centres(design, at)
                columns = skewed_centred(names, shapes, sds, rows, centres, over)
            else:
                columns = make(sds, rows, mixed, design, at)
            effects |= dict(zip(names, columns, strict=True))
    for name, spread in spreads(model).items():
        if name in apart:
            (centre,) = _centres(design, [places[name]])
            sd = omega[model.eta_names.index(name)] * spread
            effects[name] = pm.Normal(phi_of(name), centre, sd, dims=dims.SUBJECT) - centre
        else:
            effects[name] = effects[name] * spread
    in_order = {name: effects[name] for name in model.eta_names}
    name = dims.ETA_BASE if shared else dims.ETA
    pm.Deterministic(name, pt.stack(list(in_order.values()), axis=1), dims=(dims.SUBJECT, dims.ETA_OF))
    return in_order, density


def _non_centred(
    omega: TensorVariable, factor: Triangle | None, mixed: bool, design: Design, places: Sequence[Any]
) -> list[TensorVariable]:
    """Standard normal variables, correlated and scaled."""
    over = (dims.SUBJECT, f"{ETA_RAW}_of" if mixed else dims.ETA_OF)
    raw = pm.Normal(ETA_RAW, 0.0, 1.0, dims=over)
    columns = [raw[:, k] for k in range(len(places))]
    standard = columns if factor is None else times(factor, columns)
    return [omega[k] * column for k, column in enumerate(standard)]


def _centred(
    omega: TensorVariable, factor: Triangle | None, mixed: bool, design: Design, places: Sequence[Any]
) -> list[TensorVariable]:
    """Individual parameters as variables around their locations: the distances from these."""
    over = (dims.SUBJECT, f"{PHI}_of" if mixed else dims.ETA_OF)
    centres = _centres(design, places)
    if any(one.ndim for one in centres):
        centre = pt.stack([one + np.zeros(design.n_subject) for one in centres], axis=1)
    else:
        centre = pt.stack(centres)
    if factor is None:
        phi = pm.Normal(PHI, centre, omega, dims=over)
    else:
        phi = _correlated_normal(centre, omega, factor, over)
    return [phi[:, k] - one for k, one in enumerate(centres)]


def _between(information: Information | None) -> Any:
    """Standardised by the information on each subject; its place among the ways to sample an effect."""

    def make(
        omega: TensorVariable, factor: Triangle | None, mixed: bool, design: Design, places: Sequence[Any]
    ) -> list[TensorVariable]:
        assert information is not None  # `centring` puts no parameter here without it
        known = None if factor is None else matrix(factor)
        return informed_effects(information, omega, known, _centres(design, places))

    return make


def _centres(design: Design, places: Sequence[Any]) -> list[TensorVariable]:
    """Locations of each subject in its first segment, (subject,); scalars where they are the same for all."""
    first = first_segments(design)
    return [place if place.ndim == 0 else place[first] for place in map(pt.as_tensor, places)]


def _correlated_normal(
    centre: TensorVariable, omega: TensorVariable, factor: Triangle, over: tuple[str, str]
) -> TensorVariable:
    r"""Multivariate normal variable with covariance :math:`D L L^T D`, `D` = diag(omega).

    PyMC's own takes a triangular solve for each evaluation, and twice the time; here the inverse of
    :math:`D L` comes with the factor, as the numbers of its lower triangle.
    """
    scale = omega[:, None] * matrix(factor)
    whitening = [entry / omega[j] for row in inverse_triangle(factor) for j, entry in enumerate(row)]
    return pm.CustomDist(
        PHI,
        centre,
        scale,
        pt.stack(whitening),
        logp=_normal_logp,
        dist=_normal_draw,
        support_point=_normal_centre,
        signature="(n),(n,n),(m)->(n)",
        class_name="MvNormal",
        dims=over,
    )


def _normal_logp(
    value: TensorVariable, centre: TensorVariable, scale: TensorVariable, whitening: TensorVariable
) -> TensorVariable:
    """Log density of `_correlated_normal`, (subject,)."""
    number = scale.type.shape[-1]
    distance = [value[..., k] - centre[..., k] for k in range(number)]
    entries = [whitening[k] for k in range(number * (number + 1) // 2)]
    rows = [entries[i * (i + 1) // 2 : (i + 1) * (i + 2) // 2] for i in range(number)]
    squares = sum(one**2 for one in times(rows, distance))
    return sum(pt.log(row[-1]) for row in rows) - 0.5 * squares - 0.5 * number * np.log(2 * np.pi)


def _normal_draw(
    centre: TensorVariable, scale: TensorVariable, whitening: TensorVariable, size: Any
) -> TensorVariable:
    """The same distribution, to draw from."""
    each = centre.shape if rv_size_is_none(size) else pt.concatenate([size, centre.shape[-1:]])
    return centre + pm.Normal.dist(0.0, 1.0, size=each) @ scale.T


def _normal_centre(rv: TensorVariable, size: Any, centre: TensorVariable, *rest: Any) -> TensorVariable:
    """Where PyMC starts: the mean."""
    return pt.broadcast_to(centre, rv.shape)
