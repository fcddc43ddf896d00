"""`fit`: sample the posterior of a model given data, into a DataTree."""

import json
import warnings
from collections.abc import Mapping
from inspect import signature
from typing import Any

import numpy as np
import xarray as xr

from popbayes import building, dims
from popbayes.data.events import EventTable
from popbayes.data.regimen import as_events
from popbayes.infer.chains import Draws, Task
from popbayes.infer.nuts import chosen
from popbayes.infer.pointwise import add_log_likelihood
from popbayes.infer.progress import working
from popbayes.infer.settings import Clock, checked_seed, processors
from popbayes.infer.starts import Layout, Starts, explain_start, starts_of
from popbayes.infer.tree import Study, drawn_dataset, new_tree, root_attrs, study_groups
from popbayes.model import PopModel

TARGET_ACCEPT = 0.8
MAX_TREEDEPTH = 10
SEED_BITS = 32


class AfterSamplingError(RuntimeError):
    """Sampling was done, but its result could not be put together; `draws` holds what was drawn."""

    def __init__(self, message: str, draws: Draws):
        super().__init__(message)
        self.draws = draws


def fit(
    model: PopModel,
    data: EventTable,
    *,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    sampler: str = "nutpie",
    seed: int | None = None,
    target_accept: float | None = None,
    cores: int | None = None,
    progress: bool = True,
    starts: Mapping[str, Any] | None = None,
    warm_start: Any = None,
    log_likelihood: bool = False,
    max_treedepth: int = MAX_TREEDEPTH,
    save_warmup: bool = False,
    **sampler_kwargs: Any,
) -> xr.DataTree:
    """Sample the posterior with the No-U-Turn sampler.

    Every chain starts near the prior medians, with jitter in every coordinate, where density and
    gradient were found finite. Ctrl-C ends sampling early and returns the draws so far; in warm-up there
    are none yet, and KeyboardInterrupt is raised.

    Parameters
    ----------
    model : PopModel
    data : EventTable
        With observations.
    draws, tune : int
        Draws of each chain that are kept, and warm-up iterations before them.
    chains : int
    sampler : "nutpie", "pymc", "numpyro" or "blackjax"
        Who runs NUTS. All sample the same density and return the same groups, names and dims. The last
        two need ``pip install "popbayes[jax]"``, run one chain after the other, and serve to check the rest.
    seed : int, optional
        The same seed gives the same bits on one machine. Without one a fresh seed is drawn; either
        way it is in ``dt.attrs["seed"]``.
    target_accept : float, optional
        Mean acceptance probability that the step size is tuned to; 0.8. Higher is slower, with fewer
        divergences.
    cores : int, optional
        Chains at a time; as many as there are processors, at most `chains`.
    progress : bool
        Show how far the chains are.
    starts : mapping of variable to value, optional
        In place of the prior medians, on the natural scale: ``{"CL_pop": 3.0}``. Jitter is still added.
    warm_start
        Not yet: a point estimate to start from.
    log_likelihood : bool
        Also store the log density of every observation given every draw, which `popbayes.loo` needs; it
        computes it by itself where it is absent. Draws x observations numbers.
    max_treedepth : int
        At most ``2 ** max_treedepth`` gradients for a draw.
    save_warmup : bool
        Also store the warm-up (groups `warmup_posterior`, `warmup_sample_stats`; nutpie and pymc).
    **sampler_kwargs
        What the sampler takes beside these: ``adaptation`` for nutpie, ``chain_method`` ("sequential" or
        "vectorized") and ``dense_mass`` for numpyro and blackjax, ...; another name is refused with those
        that exist.

    Returns
    -------
    DataTree
        `posterior`, `sample_stats`, `observed_data`, `constant_data`, `events`; the model, the seed, the
        versions and the time it took are in the attributes of the root.

    Raises
    ------
    ValueError
        For arguments that do not fit, data that the model cannot take, and starts at which the density
        is not finite (with the subject and the parameter).
    AfterSamplingError
        If the result could not be put together; its `draws` are what was sampled.
    """
    clock, data = Clock.start(), as_events(data)
    known = [name for name in signature(fit).parameters if name != "sampler_kwargs"]
    backend = chosen(sampler, sampler_kwargs, known, cores=cores, save_warmup=save_warmup)
    _check_numbers(draws=draws, tune=tune, chains=chains, cores=cores, max_treedepth=max_treedepth)
    _check_acceptance(target_accept)
    if warm_start is not None:
        raise NotImplementedError(
            "warm_start comes in a later version of popbayes (a SAEM estimate that hands NUTS its start). "
            "Until then start at values of your own with starts={name: value}."
        )
    settings = {
        "draws": int(draws),
        "tune": int(tune),
        "chains": int(chains),
        "cores": int(cores or min(chains, processors())),
        "seed": checked_seed(seed),
        "target_accept": float(target_accept or TARGET_ACCEPT),
        "max_treedepth": int(max_treedepth),
    }
    asked = {"sampler": sampler, "sampler_options": json.dumps(sampler_kwargs)}
    with working("popbayes: building the model", progress):
        study = Study(model.resolved(data), data)
        graph = building.build(study.model, data)
        _check_unknowns(graph)
        task = _task(study, graph, settings, starts or {}, progress, save_warmup, sampler_kwargs)
        groups = study_groups(study)
    drawn = backend.run(task)
    attrs = {**settings, **asked, **clock.stop()}
    try:
        tree = _tree(study, graph, drawn, groups, attrs)
    except Exception as error:
        raise AfterSamplingError(
            f"Sampling was done, but the DataTree could not be made: {error!r}. "
            "The draws are in the attribute `draws` of this exception.",
            drawn,
        ) from error
    return _with_log_likelihood(tree) if log_likelihood else tree


def _check_numbers(**numbers: Any) -> None:
    for name, number in numbers.items():
        if name == "cores" and number is None:
            continue
        whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
        if not whole or number < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, not {number!r}.")


def _check_acceptance(target_accept: float | None) -> None:
    if target_accept is not None and not 0 < target_accept < 1:
        raise ValueError(f"target_accept must be between 0 and 1, both excluded; not {target_accept!r}.")


def _check_unknowns(graph: Any) -> None:
    if not graph.free_RVs:
        raise ValueError("Every value of the model is fixed: there is nothing to estimate. Use pb.simulate.")
    discrete = [
        variable.name for variable in graph.free_RVs if variable.dtype.startswith(("int", "uint", "bool"))
    ]
    if discrete:
        raise ValueError(
            f"{', '.join(discrete)} can take whole numbers only, but NUTS needs continuous values. "
            "Give a continuous prior, or fix the value."
        )


def _task(
    study: Study,
    graph: Any,
    settings: dict[str, Any],
    given: Mapping[str, Any],
    progress: bool,
    save_warmup: bool,
    options: Mapping[str, Any],
) -> Task:
    starts = _starts(study, graph, given, settings["seed"])
    return Task(
        graph=graph,
        starts=starts,
        explain=lambda start: explain_start(graph, _layout(study), starts, start),
        keep=_stored(study.model, graph),
        progress=progress,
        save_warmup=save_warmup,
        options=options,
        **settings,
    )


def _starts(study: Study, graph: Any, given: Mapping[str, Any], seed: int) -> Starts:
    free = [variable.name for variable in graph.free_RVs]
    for name in given:
        if name not in free:
            raise ValueError(f"starts has {name!r}, which is not sampled; sampled are {', '.join(free)}.")
    medians = building.initial_values(study.model, study.events)
    return starts_of(graph, {**medians, **given}, seed)


def _layout(study: Study) -> Layout:
    events, labels = study.events, [str(label) for label in study.events.subjects]
    return Layout(
        likelihood=dims.DV,
        parameters=study.model.structural.parameters,
        owners=[labels[subject] for subject in study.design.segment_subject],
        observations=[
            (labels[events.record_subject[record]], f"row {events.row[record]}, TIME {events.time[record]:g}")
            for record in events.obs_record
        ],
    )


def _stored(model: PopModel, graph: Any) -> tuple[str, ...]:
    """Names that go into `posterior`, in model order: no raw, transformed or per-observation variables."""
    present = {variable.name for variable in graph.unobserved_RVs}
    rows = dict.fromkeys(row.name for row in model.population_rows())
    wanted = [*rows, dims.OMEGA, dims.CORR, dims.ETA, *model.structural.parameters]
    return tuple(name for name in dict.fromkeys(wanted) if name in present)


def _tree(
    study: Study, graph: Any, drawn: Draws, groups: dict[str, xr.Dataset], attrs: dict[str, Any]
) -> xr.DataTree:
    dims_of = {name: tuple(shape) for name, shape in graph.named_vars_to_dims.items()}
    library = {"inference_library": attrs["sampler"]}
    parts = {
        dims.POSTERIOR: drawn.posterior,
        dims.SAMPLE_STATS: drawn.stats,
        f"warmup_{dims.POSTERIOR}": drawn.warmup_posterior,
        f"warmup_{dims.SAMPLE_STATS}": drawn.warmup_stats,
    }
    made = {name: drawn_dataset(part, dims_of, graph.coords, library) for name, part in parts.items() if part}
    if drawn.interrupted:
        kept = drawn.stats["lp"].shape
        warnings.warn(
            f"Interrupted: {kept[0]} of {attrs['chains']} chains with {kept[1]} of {attrs['draws']} draws "
            "each are kept.",
            stacklevel=3,
        )
    return new_tree({**made, **groups}, root_attrs(study, **attrs, interrupted=int(drawn.interrupted)))


def _with_log_likelihood(tree: xr.DataTree) -> xr.DataTree:
    try:
        return add_log_likelihood(tree)
    except (Exception, KeyboardInterrupt) as error:
        warnings.warn(
            f"The draws are complete, but their log-likelihood is not stored: {error!r}. "
            "popbayes.add_log_likelihood(dt) tries again.",
            stacklevel=3,
        )
        return tree
