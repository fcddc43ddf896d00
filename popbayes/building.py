"""`build(model, data)`: a population model and its data as a `pymc.Model`; nothing else opens a graph."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from popbayes import dims
from popbayes.data.design import Design
from popbayes.data.events import EventTable
from popbayes.data.regimen import as_events
from popbayes.engine.op import predict
from popbayes.engine.solve import evaluate
from popbayes.model import PopModel
from popbayes.parameters.family import AbstractPrior
from popbayes.parameters.priors import Fixed

ETA_RAW = "eta_raw"
"""Standardised random effects, standard normal: sampled where non-centred."""
PHI = "phi"
"""Individual parameters on the scales where random effects are added: sampled where centred."""
PARTIAL = "corr_partial"
"""Canonical partial correlations, from 0 to 1: what `corr` is made of."""
PAIR = "corr_pair"
ROWS_SHOWN = 8


def design_for(model: PopModel, data: EventTable) -> Design:
    """The data laid out for the engine, with the covariates that the model uses."""
    return Design.of(data, model.covariate_columns)


def build(model: PopModel, data: EventTable) -> pm.Model:
    """Write a population model on its data as a PyMC model.

    Names and dimensions are those of the DataTree: `{P}_pop`, `beta_{P}_{COV}`, `omega` (eta_of), `corr`
    (eta_of, eta_of_), `eta` (subject, eta_of), `{P}` (subject, or segment with time-varying covariates),
    `sigma_*`, and the likelihood `dv` (obs). What is sampled beside them: `eta_raw` (non-centred) or
    `phi` (centred) in place of `eta`, and `corr_partial` in place of `corr`.

    Parameters
    ----------
    model : PopModel
    data : EventTable
        With observations; covariate references that the model leaves open are taken from it.

    Returns
    -------
    pymc.Model

    Raises
    ------
    ValueError
        If model and data do not fit: a covariate is not in the table, there are no observed values,
        observations are censored, an observation or a prediction is not positive where the
        residual error needs it, or the structural model cannot take a dosing record.
    """
    data = as_events(data)
    model = model.resolved(data)
    model.check(data)
    check_observations(model, data)
    design = design_for(model, data)
    with pm.Model(coords=_coords(model, data, design)) as graph:
        values = _population(model)
        places = model.locations(values, design, pt)
        eta = _random_effects(model, design, places)
        theta = model.parameters_at(places, eta, design, pt)
        over = dims.SUBJECT if design.one_segment_per_subject else dims.SEGMENT
        theta = {name: pm.Deterministic(name, value, dims=over) for name, value in theta.items()}
        sigma = {name: _variable(name, prior) for name, prior in model.residual.sigmas.items()}
        prediction = predict(model.structural, design, theta)
        family, arguments = model.residual.distribution(prediction, sigma, pt)
        getattr(pm, family)(dims.DV, **arguments, observed=data.obs_dv, dims=dims.OBS)
    return graph


def initial_values(model: PopModel, data: EventTable) -> dict[str, Any]:
    """Prior medians of all free variables of `build(model, data)`, on their natural scales.

    Random effects are zero and correlations none. An improper prior has no median: there, PyMC's
    own start (0 for `Flat`, 1 for `HalfFlat`).

    Returns
    -------
    dict of name -> number or array
    """
    model = model.resolved(as_events(data))
    design = design_for(model, as_events(data))
    found: dict[str, Any] = {}
    for name, (prior, size) in _population_priors(model).items():
        found[name] = np.full(size, prior.start()) if size else prior.start()
    places = model.locations({**model.fixed, **found}, design)
    spread = {name: prior.start() for name, prior in model.omega_priors.items()}
    if spread and _omega_together(model.omega_priors) is not None:
        found[dims.OMEGA] = np.array(list(spread.values()))
    elif spread:
        estimated = (name for name, prior in model.omega_priors.items() if not isinstance(prior, Fixed))
        found |= {f"{dims.OMEGA}_{name}": spread[name] for name in estimated}
    pairs = sum(len(block) * (len(block) - 1) // 2 for block, _ in model.correlated_blocks)
    if pairs:
        found[PARTIAL] = np.full(pairs, 0.5)
    centred, raw = _centred(model)
    if raw:
        found[ETA_RAW] = np.zeros((design.n_subject, len(raw)))
    if centred:
        first = _first_segments(design)
        columns = [np.broadcast_to(places[name], design.n_segment)[first] for name in centred]
        found[PHI] = np.stack(columns, axis=1)
    sigmas = model.residual.sigmas.items()
    return found | {name: prior.start() for name, prior in sigmas if not isinstance(prior, Fixed)}


def check_observations(model: PopModel, data: EventTable) -> None:
    """Refuse observations that the residual error cannot describe.

    Raises
    ------
    ValueError
        With the rows concerned, why, and what to do.
    """
    if not data.has_dv:
        raise ValueError(
            "There are no observed values (DV) to build a likelihood on: this is a design. "
            "Use pb.simulate(model, data) for it, or pb.solve(structural, data, parameters)."
        )
    if np.any(data.cens[data.obs_record] != 0):
        bad = _rows(data, data.cens[data.obs_record] != 0)
        raise ValueError(
            f"Censored observations (CENS) are not supported yet: {bad}. "
            "Leave them out (a biased choice, Beal's M1) until they are."
        )
    if len(np.unique(data.dvid[data.obs_record])) > 1:
        kinds = ", ".join(map(str, np.unique(data.dvid[data.obs_record])))
        raise ValueError(
            f"The observations are of several kinds (DVID {kinds}), but the model has one residual error for one "
            f"output ({model.structural.outputs[0]}). Keep the observations of one DVID."
        )
    residual = model.residual
    if residual.needs_positive_dv and np.any(data.obs_dv <= 0):
        raise ValueError(
            f"residual.{residual.kind} needs positive observations, but DV <= 0 in {_rows(data, data.obs_dv <= 0)}. "
            "Use residual.Combined or residual.Additive, or leave these records out."
        )
    if residual.needs_positive_prediction:
        _check_predictions(model, data)


def _check_predictions(model: PopModel, data: EventTable) -> None:
    """Refuse predictions of zero, of a typical subject at the prior medians, where the error would vanish."""
    model = model.resolved(data)
    design = design_for(model, data)
    theta = model.individual_parameters(initial_values(model, data), None, design)
    prediction = evaluate(model.structural, design, theta)
    if np.any(prediction <= 0):
        what = (
            "scales with the prediction"
            if model.residual.kind == "Proportional"
            else "is that of its logarithm"
        )
        raise ValueError(
            f"residual.{model.residual.kind} has no density where the prediction is 0, since its error {what}; the "
            f"model predicts 0 (as before the first dose) in {_rows(data, prediction <= 0)}. Use "
            "residual.Combined, which has an additive part, or leave these records out."
        )


def _rows(data: EventTable, which: np.ndarray) -> str:
    """Data rows with their subjects, in words."""
    records = data.obs_record[which]
    shown = [f"row {data.row[r]} (ID {data.subjects[data.record_subject[r]]})" for r in records[:ROWS_SHOWN]]
    more = f" and {len(records) - ROWS_SHOWN} more" if len(records) > ROWS_SHOWN else ""
    return ", ".join(shown) + more


def _coords(model: PopModel, data: EventTable, design: Design) -> dict[str, Sequence[Any]]:
    """Labels of all dimensions."""
    coords: dict[str, Sequence[Any]] = {
        dims.SUBJECT: data.subjects.tolist(),
        dims.OBS: np.arange(data.n_obs),
    }
    if not design.one_segment_per_subject:
        coords[dims.SEGMENT] = np.arange(design.n_segment)
    if model.eta_names:
        coords[dims.ETA_OF] = list(model.eta_names)
    if model.correlated_blocks:
        coords[dims.ETA_OF2] = list(model.eta_names)
        coords[PAIR] = [
            f"{block[low]}, {block[high]}"
            for block, _ in model.correlated_blocks
            for high in range(1, len(block))
            for low in range(high)
        ]
    for parameter in model.parameters.values():
        for one in parameter.covariates:
            if one.levels:
                coords[dims.level_dim(one.column)] = list(one.levels)
    centred, raw = _centred(model)
    if centred and raw:
        coords[f"{PHI}_of"], coords[f"{ETA_RAW}_of"] = list(centred), list(raw)
    return coords


def _population_priors(model: PopModel) -> dict[str, tuple[AbstractPrior, int]]:
    """Priors of the estimated typical values and coefficients, with the number of levels (0: a scalar)."""
    found: dict[str, tuple[AbstractPrior, int]] = {}
    for name, parameter in model.parameters.items():
        found[dims.pop(name)] = (parameter.prior, 0)
        for one in parameter.covariates:
            found[dims.beta(name, one.column)] = (one.prior, len(one.levels))
    return {name: pair for name, pair in found.items() if not isinstance(pair[0], Fixed)}


def _variable(name: str, prior: AbstractPrior, over: str | None = None) -> Any:
    """A free variable, or the known value."""
    if isinstance(prior, Fixed):
        return prior.value
    family, arguments = prior.pymc
    return getattr(pm, family)(name, **arguments, dims=over)


def _population(model: PopModel) -> dict[str, Any]:
    """Typical values and coefficients: variables where estimated, numbers where known."""
    levels = {
        dims.beta(name, one.column): dims.level_dim(one.column)
        for name, parameter in model.parameters.items()
        for one in parameter.covariates
    }
    return model.fixed | {
        name: _variable(name, prior, levels[name] if size else None)
        for name, (prior, size) in _population_priors(model).items()
    }


def _omega_together(priors: Mapping[str, AbstractPrior]) -> tuple[str, dict[str, Any]] | None:
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


def _omega(model: PopModel) -> TensorVariable:
    """SDs of the random effects, (eta_of,): one variable where the priors are of one family."""
    together = _omega_together(model.omega_priors)
    if together is not None:
        family, arguments = together
        return getattr(pm, family)(dims.OMEGA, **arguments, dims=dims.ETA_OF)
    each = [_variable(f"{dims.OMEGA}_{name}", prior) for name, prior in model.omega_priors.items()]
    stacked = pt.stack([pt.as_tensor(one, dtype="float64") for one in each])
    return pm.Deterministic(dims.OMEGA, stacked, dims=dims.ETA_OF)


Triangle = list[list[Any]]
"""A lower triangular matrix as scalars, zeros left out."""


def _cholesky(model: PopModel) -> Triangle | None:
    r"""Cholesky factor of the correlation matrix of all random effects; None without correlations.

    The LKJ distribution of a `d` x `d` correlation matrix is that of independent canonical partial
    correlations :math:`r_{ij} = 2 b_{ij} - 1` with :math:`b_{ij} \sim \mathrm{Beta}(a_j, a_j)`,
    :math:`a_j = \text{lkj} + (d - 1 - j) / 2` for `j < i`, counted from 1; then
    :math:`L_{ij} = r_{ij} \prod_{k<j} \sqrt{1 - r_{ik}^2}` and
    :math:`L_{ii} = \prod_{k<i} \sqrt{1 - r_{ik}^2}`.

    References
    ----------
    Lewandowski, Kurowicka & Joe, J. Multivariate Anal. 100 (2009) 1989-2001, section 2.
    """
    blocks = model.correlated_blocks
    if not blocks:
        return None
    shapes = [
        lkj + (len(block) - 2 - low) / 2
        for block, lkj in blocks
        for high in range(1, len(block))
        for low in range(high)
    ]
    shape: Any = shapes[0] if len(set(shapes)) == 1 else np.array(shapes)
    partial = pm.Beta(PARTIAL, alpha=shape, beta=shape, dims=PAIR)
    number = len(model.eta_names)
    factor: Triangle = [[0.0] * row + [1.0] for row in range(number)]
    at = 0
    for block, _ in blocks:
        index = [model.eta_names.index(name) for name in block]
        for row, high in enumerate(index):
            rest: Any = 1.0
            for low in index[:row]:
                share = partial[at]
                factor[high][low] = (2.0 * share - 1.0) * rest
                rest = 2.0 * pt.sqrt(share * (1.0 - share)) * rest
                at += 1
            factor[high][high] = rest
    return factor


def _inverse(factor: Triangle) -> Triangle:
    """Inverse of a lower triangular matrix."""
    out: Triangle = []
    for i, row in enumerate(factor):
        diagonal = 1.0 / row[i]
        new = [-diagonal * sum(row[k] * out[k][j] for k in range(j, i)) for j in range(i)]
        out.append([*new, diagonal])
    return out


def _matrix(triangle: Triangle) -> TensorVariable:
    """A triangle of scalars as a square matrix."""
    number = len(triangle)
    cells = [one for row in triangle for one in [*row, *[0.0] * (number - len(row))]]
    return pt.stack([pt.as_tensor(one, dtype="float64") for one in cells]).reshape((number, number))


def _centred(model: PopModel) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Parameters sampled centred, and those sampled non-centred."""
    centred = model.centred_names
    return centred, tuple(name for name in model.eta_names if name not in centred)


def _first_segments(design: Design) -> np.ndarray:
    """First segment of each subject: where a centred parameter is centred."""
    return np.searchsorted(design.segment_subject, np.arange(design.n_subject))


def _random_effects(
    model: PopModel, design: Design, places: Mapping[str, TensorVariable]
) -> TensorVariable | None:
    """Random effects, (subject, eta_of); None where nobody differs."""
    if not model.eta_names:
        return None
    omega, factor = _omega(model), _cholesky(model)
    if factor is not None:
        whole = _matrix(factor)
        pm.Deterministic(dims.CORR, whole @ whole.T, dims=(dims.ETA_OF, dims.ETA_OF2))
    centred, raw = _centred(model)
    mixed = bool(centred and raw)
    parts: dict[str, TensorVariable] = {}
    for names, make in ((raw, _non_centred), (centred, _centred_effects)):
        if names:
            index = [model.eta_names.index(name) for name in names]
            sd = omega[index] if mixed else omega
            part = None if factor is None else [[factor[i][j] for j in index if j <= i] for i in index]
            correlated = any(name in names for block, _ in model.correlated_blocks for name in block)
            effects = make(sd, part if correlated else None, mixed, design, [places[name] for name in names])
            parts |= (
                {name: effects[:, column] for column, name in enumerate(names)} if mixed else {"": effects}
            )
    eta = parts[""] if not mixed else pt.stack([parts[name] for name in model.eta_names], axis=1)
    return pm.Deterministic(dims.ETA, eta, dims=(dims.SUBJECT, dims.ETA_OF))


def _non_centred(
    omega: TensorVariable, factor: Triangle | None, mixed: bool, design: Design, places: Sequence[Any]
) -> TensorVariable:
    """Standard normal variables, scaled and correlated: (subject, effect)."""
    over = (dims.SUBJECT, f"{ETA_RAW}_of" if mixed else dims.ETA_OF)
    raw = pm.Normal(ETA_RAW, 0.0, 1.0, dims=over)
    if factor is None:
        return raw * omega
    return raw @ (omega[:, None] * _matrix(factor)).T


def _centred_effects(
    omega: TensorVariable, factor: Triangle | None, mixed: bool, design: Design, places: Sequence[Any]
) -> TensorVariable:
    """Individual parameters as variables around their locations; their distances: (subject, effect)."""
    over = (dims.SUBJECT, f"{PHI}_of" if mixed else dims.ETA_OF)
    first = _first_segments(design)
    columns = [pt.as_tensor(place) for place in places]
    if any(column.ndim for column in columns):
        spread = [column[first] if column.ndim else column + np.zeros(design.n_subject) for column in columns]
        centre = pt.stack(spread, axis=1)
    else:
        centre = pt.stack(columns)
    if factor is None:
        return pm.Normal(PHI, centre, omega, dims=over) - centre
    scale = omega[:, None] * _matrix(factor)
    whitening = _matrix(_inverse(factor)) / omega[None, :]
    phi = pm.CustomDist(
        PHI,
        centre,
        scale,
        whitening,
        logp=_normal_logp,
        random=_normal_draw,
        support_point=_normal_centre,
        signature="(n),(n,n),(n,n)->(n)",
        class_name="MvNormal",
        dims=over,
    )
    return phi - centre


def _normal_logp(
    value: TensorVariable, centre: TensorVariable, scale: TensorVariable, whitening: TensorVariable
) -> TensorVariable:
    """Log density of a multivariate normal, given the Cholesky factor of its covariance and the inverse."""
    standard = (value - centre) @ whitening.T
    constant = 0.5 * np.log(2 * np.pi) * value.shape[-1]
    return -0.5 * pt.sum(standard**2, axis=-1) + pt.sum(pt.log(pt.diagonal(whitening))) - constant


def _normal_draw(
    centre: np.ndarray,
    scale: np.ndarray,
    whitening: np.ndarray,
    rng: np.random.Generator | None = None,
    size: Any = None,
) -> np.ndarray:
    """Draw from a multivariate normal."""
    generator = rng or np.random.default_rng()
    shape = centre.shape if size is None else (*size, centre.shape[-1])
    return centre + np.einsum("...ij,...j->...i", scale, generator.standard_normal(shape))


def _normal_centre(rv: TensorVariable, size: Any, centre: TensorVariable, *rest: Any) -> TensorVariable:
    """Where PyMC starts: the mean."""
    return pt.broadcast_to(centre, rv.shape)
