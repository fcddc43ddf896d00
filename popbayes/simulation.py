"""What a model predicts: observations drawn from its priors, from a posterior, or at given values.

Population values come first, then random effects, then individual parameters and predictions, then
residual error. Population values, subjects and residuals have random streams of their own.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import xarray as xr

from popbayes import dims
from popbayes.data.events import EventTable
from popbayes.data.regimen import Regimen, as_events
from popbayes.infer.failed import WHY, as_attribute, counted, failed_text
from popbayes.infer.finite import broken, complaint
from popbayes.infer.new_levels import kept, new_effects
from popbayes.infer.pointwise import chunks, predictions, sigmas
from popbayes.infer.population import (
    Values,
    given_values,
    outlying,
    posterior_values,
    prior_values,
    random_effects,
)
from popbayes.infer.settings import checked_seed
from popbayes.infer.states import drawn_states
from popbayes.infer.tree import (
    Study,
    draws_or_estimate,
    is_estimate,
    new_tree,
    root_attrs,
    study_groups,
    study_of,
)
from popbayes.model import PopModel

DRAWS = 500
"""Draws from the priors or the posterior unless told otherwise."""
SIMULATED = (dims.DV, dims.IPRED, dims.PRED)


@dataclass(frozen=True, eq=False)
class Source:
    """Where population values come from, and how the draws are labelled.

    `etas` is the random effects of the subjects of the design, (n_draw, n_subject, n_eta), or None
    where new subjects are to be drawn. `states` holds classes and missing covariates that are known, by
    variable: labels of subjects and draws. `levels` holds the effects of occasions, sites and studies that
    are known, by level: labels and (n_draw, n_group, n_names).
    """

    kind: str
    group: str
    values: Values
    chain: np.ndarray
    draw: np.ndarray
    etas: np.ndarray | None = None
    levels: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    states: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


def simulate(
    model: PopModel,
    data: EventTable | Regimen,
    dt: xr.DataTree | Mapping[str, Any] | None = None,
    *,
    seed: int | None = None,
    n: int | None = None,
    new_subjects: bool = True,
    new_levels: bool = False,
) -> xr.DataTree:
    r"""Draw observations from a model.

    .. math::

        \theta \sim p(\theta \mid \cdot), \quad \eta_i \mid \theta \sim \mathrm{Normal}(0, \Omega), \quad
        y_{ij} \mid \eta_i, \theta \sim p(y \mid f(t_{ij}; \eta_i, \theta), \sigma)

    Parameters
    ----------
    model : PopModel
    data : EventTable or Regimen
        The design: doses, sampling times and covariates; observed values are not needed. The study of the
        fit, or any other.
    dt : DataTree or mapping, optional
        None draws population values from the priors; the result of a fit, from its posterior; that of
        `popbayes.estimate` keeps them at the estimates, and draws subjects and errors. A mapping
        gives them: ``{"CL_pop": 2.8, ..., "omega": {"CL": 0.3, ...}, "sigma_prop": 0.1}``, every one that is
        not fixed; `corr` as a matrix or ``{("CL", "V"): 0.5}``.
    seed : int, optional
        The same seed gives the same bits on one machine; without one a fresh seed is drawn. It is in
        ``attrs["seed"]``.
    n : int, optional
        Draws: 500 from the priors; about 500 of the posterior, evenly spaced in every chain; 500 replicates
        at estimates; 1 at given values.
    new_subjects : bool
        True draws random effects anew, as for subjects not seen before: what a visual predictive check
        wants. False takes those of the posterior for the subjects with the same labels: another sample of
        the same patients. Occasions that the fit does not know are drawn anew; those it knows are its own.
    new_levels : bool
        True draws the random effects of sites and studies (`variability.Level`) anew; False takes those of
        the posterior where the label is known, and draws those of other labels anew.

    Returns
    -------
    DataTree
        `dv`, `ipred` and `pred` (chain, draw, obs) in the group `prior_predictive`, `posterior_predictive`
        (the design of the fit) or `predictions` (another design, or given values); the population values
        of the prior in `prior`; the design in `constant_data` and `events`, and `observed_data` where there
        are observations. ``attrs["etas"]`` is "new", "own" or "none".

    Raises
    ------
    ValueError
        If model, design and posterior do not fit together.

    Warns
    -----
    UserWarning
        Where individual parameters or simulated values are not finite: which, and in what share of draws;
        where differential equations could not be solved: how often, and for which subjects.
    """
    events = as_events(data)
    seed = checked_seed(seed)
    streams = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(6)]
    model, source = _source(model, events, dt, n, new_subjects, new_levels, streams[0])
    model.check(events)
    study = Study(model, events)
    with counted(study) as failed:
        simulated = _simulated(study, source, streams[1:])
    if failed:
        warnings.warn(
            f"Differential equations could not be solved {failed_text(failed)}: {WHY}. Their predictions "
            "are nan from there on.",
            stacklevel=2,
        )
    etas = "none" if not model.eta_names else "new" if source.etas is None else "own"
    groups = {source.group: _dataset(simulated, source), **study_groups(study)}
    if source.kind == "prior":
        groups["prior"] = _population_dataset(model, source)
    said = {"source": source.kind, "etas": etas, "n": len(source.draw), **as_attribute(simulation=failed)}
    return new_tree(groups, root_attrs(study, seed, **said))


def as_data(dt: xr.DataTree, *, chain: int = 0, draw: int = 0) -> EventTable:
    """One simulated data set, as an event table to fit.

    Parameters
    ----------
    dt : DataTree
        As made by `simulate`.
    chain, draw : int
        Which replicate, by position.
    """
    group = next(name for name in _GROUPS if name in dt.children)
    events = study_of(dt).events
    dv = events.dv.copy()
    dv[events.obs_record] = dt[group][dims.DV].isel(chain=chain, draw=draw).to_numpy()
    return replace(events, dv=dv)


_GROUPS = (dims.PRIOR_PREDICTIVE, dims.POSTERIOR_PREDICTIVE, dims.PREDICTIONS)


def _source(
    model: PopModel,
    events: EventTable,
    dt: xr.DataTree | Mapping[str, Any] | None,
    n: int | None,
    new_subjects: bool,
    new_levels: bool,
    rng: np.random.Generator,
) -> tuple[PopModel, Source]:
    """The model with its covariate references, and the source of the population values."""
    if n is not None and n < 1:
        raise ValueError(f"n must be at least 1, not {n!r}.")
    if isinstance(dt, xr.DataTree):
        return _from_posterior(model, events, dt, n or DRAWS, new_subjects, new_levels)
    if not new_subjects:
        raise ValueError(
            "new_subjects=False needs the result of a fit, which holds the subjects' random effects."
        )
    model = model.resolved(events)
    if dt is None:
        size = n or DRAWS
        values = prior_values(model, size, rng)
        return model, Source("prior", dims.PRIOR_PREDICTIVE, values, np.arange(1), np.arange(size))
    values = {name: np.repeat(value, n or 1, axis=0) for name, value in given_values(model, dt).items()}
    return model, Source("given", dims.PREDICTIONS, values, np.arange(1), np.arange(n or 1))


def _from_posterior(
    model: PopModel, events: EventTable, dt: xr.DataTree, n: int, new_subjects: bool, new_levels: bool
) -> tuple[PopModel, Source]:
    fitted = study_of(dt)
    if dims.POSTERIOR not in dt.children and not is_estimate(dt):
        raise ValueError("This DataTree has no posterior: it is not the result of a fit or an estimate.")
    if model.resolved(fitted.events) != fitted.model:
        raise ValueError(
            "The model is not the one whose posterior the DataTree holds. "
            "Pass the model of that fit: popbayes.PopModel.from_json(dt.attrs['model'])."
        )
    posterior = _repeated(dt, n) if is_estimate(dt) else _thinned(dt[dims.POSTERIOR].to_dataset(), n)
    same = same_design(events, fitted.events)
    etas = None if new_subjects or not fitted.model.eta_names else _own_etas(posterior, events)
    return fitted.model, Source(
        "estimate" if is_estimate(dt) else "posterior",
        dims.POSTERIOR_PREDICTIVE if same else dims.PREDICTIONS,
        posterior_values(posterior),
        posterior[dims.CHAIN].to_numpy(),
        posterior[dims.DRAW].to_numpy(),
        etas,
        _known_levels(fitted.model, posterior, new_subjects, new_levels),
        {} if new_subjects else _known_states(fitted.model, posterior),
    )


def _repeated(dt: xr.DataTree, n: int) -> xr.Dataset:
    """Point estimates, `n` times."""
    values = draws_or_estimate(dt).isel({dims.DRAW: np.zeros(n, dtype=int)})
    return values.assign_coords({dims.DRAW: np.arange(n)})


def _thinned(posterior: xr.Dataset, n: int) -> xr.Dataset:
    """About `n` draws, the same ones of every chain, evenly spaced."""
    length = posterior.sizes[dims.DRAW]
    size = min(length, -(-n // posterior.sizes[dims.CHAIN]))
    return posterior.isel({dims.DRAW: np.linspace(0, length - 1, size).round().astype(int)})


def _own_etas(posterior: xr.Dataset, events: EventTable) -> np.ndarray:
    """The random effects of the subjects of the design, by their labels, (n_draw, n_subject, n_eta)."""
    place = {str(label): index for index, label in enumerate(posterior[dims.SUBJECT].to_numpy())}
    absent = [str(label) for label in events.subjects if str(label) not in place]
    if absent:
        raise ValueError(
            f"The posterior has no random effects of subject(s) {', '.join(absent[:10])}; "
            "use new_subjects=True to draw them."
        )
    etas = posterior_values(posterior[[dims.ETA]])[dims.ETA]
    return etas[:, [place[str(label)] for label in events.subjects]]


def _known_levels(
    model: PopModel, posterior: xr.Dataset, new_subjects: bool, new_levels: bool
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Effects of occasions, sites and studies that a fit has and that are to be kept."""
    return {
        one.key: (posterior[one.dim].to_numpy(), posterior_values(posterior[[one.eta]])[one.eta])
        for one in kept(model, new_subjects, new_levels)
    }


def _known_states(model: PopModel, posterior: xr.Dataset) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Classes and missing covariates that were drawn for the subjects of a fit."""
    over = {dims.CLASS_OF: dims.SUBJECT} | {one.name: one.dim for one in model.imputation}
    return {
        name: (posterior[dim].to_numpy(), posterior_values(posterior[[name]])[name])
        for name, dim in over.items()
        if name in posterior
    }


def same_design(one: EventTable, other: EventTable) -> bool:
    """Whether two event tables are the same but for the observed values and what they are called."""
    ignored = {"dv", "name", "source", "columns", "unused", "units", "row"}
    for one_field in fields(EventTable):
        mine, theirs = getattr(one, one_field.name), getattr(other, one_field.name)
        if one_field.name in ignored:
            continue
        pairs = (
            [(mine.get(k), theirs.get(k)) for k in {*mine, *theirs}]
            if isinstance(mine, dict)
            else [(mine, theirs)]
        )
        if not all(_equal(a, b) for a, b in pairs):
            return False
    return True


def _equal(one: Any, other: Any) -> bool:
    one, other = np.asarray(one), np.asarray(other)
    numbers = one.dtype.kind == "f" and other.dtype.kind == "f"
    return bool(np.array_equal(one, other, equal_nan=numbers))


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def _simulated(study: Study, source: Source, streams: Sequence[np.random.Generator]) -> dict[str, np.ndarray]:
    """`dv`, `ipred` and `pred`, each (n_draw, n_obs), computed in chunks of draws."""
    model, design = study.model, study.design
    subjects, residuals, levels, tails, states = streams
    n_draw = len(source.chain) * len(source.draw)
    out = {name: np.empty((n_draw, design.n_obs)) for name in SIMULATED}
    found = {name: np.zeros(n_draw, dtype=bool) for name in model.parameters}
    for rows in chunks(n_draw, design.n_obs):
        values = {name: value[rows] for name, value in source.values.items()}
        if source.etas is None:
            shape = (rows.stop - rows.start, design.n_subject, len(model.eta_names))
            etas = random_effects(model, values, subjects.standard_normal(shape))
            if etas is not None:
                etas = outlying(model, values, etas, tails)
        else:
            etas = source.etas[rows]
        known = {key: (labels, own[rows]) for key, (labels, own) in source.levels.items()}
        more = new_effects(model, design, values, rows.stop - rows.start, levels, known)
        size = rows.stop - rows.start
        states_known = {name: (labels, own[rows]) for name, (labels, own) in source.states.items()}
        labels = study.events.subjects
        values = values | drawn_states(model, design, values, size, states, labels, states_known)
        typical = model.individual_parameters(values, None, design, np)
        none = etas is None and not more
        own = typical if none else model.individual_parameters(values, etas, design, np, more)
        for name, theta in own.items():
            found[name][rows] = broken(theta)
        out[dims.PRED][rows] = predictions(study, typical)
        out[dims.IPRED][rows] = predictions(study, own)
        sigma = sigmas(study, values, own)
        out[dims.DV][rows] = study.observed.draw(residuals, out[dims.IPRED][rows], sigma)
    found |= {name: broken(values) for name, values in out.items()}
    if text := complaint(model, design, source.values, found):
        warnings.warn(text, stacklevel=4)  # past errstate and simulate
    return out


def _dataset(simulated: dict[str, np.ndarray], source: Source) -> xr.Dataset:
    shape = (len(source.chain), len(source.draw), -1)
    return xr.Dataset(
        {
            name: ((dims.CHAIN, dims.DRAW, dims.OBS), values.reshape(shape))
            for name, values in simulated.items()
        },
        coords={
            dims.CHAIN: source.chain,
            dims.DRAW: source.draw,
            dims.OBS: np.arange(simulated[dims.DV].shape[-1]),
        },
    )


def _population_dataset(model: PopModel, source: Source) -> xr.Dataset:
    """The population values drawn from the priors, named and shaped as in a posterior."""
    several: list[Any] = [one for name in model.parameters for one in model.coefficients(name)]
    levels = {
        one.name: (one.dim, one.labels) for one in (*several, *model.further, *model.odds) if one.labels
    }
    labels = {dims.ETA_OF: list(model.eta_names), dims.ETA_OF2: list(model.eta_names)}
    own = {dims.OMEGA: (dims.ETA_OF,), dims.CORR: (dims.ETA_OF, dims.ETA_OF2)}
    own |= {name: (dim,) for name, (dim, _) in levels.items()}
    for one in model.groupings:
        own |= {one.sd: (one.of,), one.corr: (one.of, one.of2)}
        labels |= {one.of: list(one.names), one.of2: list(one.names)}
    labels |= {dim: list(names) for dim, names in levels.values()}
    arrays = {}
    for name, value in source.values.items():
        shape = (1, len(value), *(value.shape[1:] if name in own else ()))
        arrays[name] = ((dims.CHAIN, dims.DRAW, *own.get(name, ())), value.reshape(shape))
    used = {dim for shape, _ in arrays.values() for dim in shape}
    coords = {name: names for name, names in labels.items() if name in used}
    return xr.Dataset(arrays, coords={dims.CHAIN: source.chain, dims.DRAW: source.draw, **coords})
