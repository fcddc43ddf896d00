"""`fit`: sample the posterior of a model given data, into a DataTree."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from popbayes import building, dims
from popbayes.building.between import Information
from popbayes.building.starts import population_priors
from popbayes.data.events import EventTable
from popbayes.data.regimen import as_events
from popbayes.infer.adaptation import with_adaptation
from popbayes.infer.centring import CENTRINGS, centred_model
from popbayes.infer.chains import Draws, Task
from popbayes.infer.failed import as_attribute, counted
from popbayes.infer.nuts import chosen
from popbayes.infer.pointwise import add_log_likelihood
from popbayes.infer.progress import working
from popbayes.infer.saem.method import Saem
from popbayes.infer.settings import Clock, checked_seed, processors
from popbayes.infer.starts import Layout, Starts, explain_start, made_starts, starts_of
from popbayes.infer.states import KEPT, resolved_states
from popbayes.infer.tree import Study, drawn_dataset, new_tree, root_attrs, study_groups
from popbayes.infer.warm_start import NotHonoured, WarmStart, started
from popbayes.model import PopModel
from popbayes.parameters.priors import Fixed
from popbayes.wording import listed

TARGET_ACCEPT = 0.8
MAX_TREEDEPTH = 10
TUNE = 1000
"""Warm-up iterations of chains that start at prior medians."""
TUNE_WARM = 200
"""The same after a warm start: four times what the step size and the scales took in the benchmarks."""
WARM_START = Saem(tolerance=0.3, smoothing=150)
"""A short estimate: chains need its neighbourhood, not its last digit."""


STATES = 7
"""Apart from the seeds of the chains: the stream from which classes and missing categories are drawn."""


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
    tune: int | None = None,
    chains: int = 4,
    sampler: str = "nutpie",
    seed: int | None = None,
    target_accept: float | None = None,
    cores: int | None = None,
    progress: bool = True,
    starts: Mapping[str, Any] | None = None,
    warm_start: Saem | None = WARM_START,
    centring: str = "auto",
    log_likelihood: bool = False,
    max_treedepth: int = MAX_TREEDEPTH,
    save_warmup: bool = False,
    **sampler_kwargs: Any,
) -> xr.DataTree:
    """Sample the posterior with the No-U-Turn sampler.

    A short SAEM estimate comes first (`warm_start`): every chain starts at population values drawn around it
    with their standard errors, and at a draw of each subject's parameters given its data; and the random
    effects of each subject are sampled in coordinates that fit what its data say (`centring`). Neither
    changes the posterior. With ``warm_start=None`` chains start near the prior medians, with jitter in every
    coordinate. Starts are where density and gradient were found finite. Ctrl-C ends sampling early and
    returns the draws so far; in warm-up there are none yet, and KeyboardInterrupt is raised.

    Parameters
    ----------
    model : PopModel
    data : EventTable
        With observations.
    draws, tune : int
        Draws of each chain that are kept, and warm-up iterations before them; by default 200 after a warm
        start, 1000 without one.
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
        In place of the prior medians, on the natural scale: ``{"CL_pop": 3.0}``: where the warm start begins,
        or the chains without one, jitter added.
    warm_start : Saem or None
        The estimate that chains start from, ``pb.Saem(...)``; None for none. A model that it cannot be made
        for is sampled without it: ``dt.attrs["warm_start"]`` says why, and a warning where it was asked for.
    centring : "auto", "centred" or "non-centred"
        How random effects are sampled whose `centred` the model leaves open. "auto": after a warm start,
        between centred and non-centred, for each subject and occasion; without one, part by part as the
        information in the data suggests. The posterior and its names are the same.
    log_likelihood : bool
        Also store the log density of every observation given every draw, which `popbayes.loo` needs; it
        computes it by itself where it is absent. Draws x observations numbers.
    max_treedepth : int
        At most ``2 ** max_treedepth`` gradients for a draw.
    save_warmup : bool
        Also store the warm-up (groups `warmup_posterior`, `warmup_sample_stats`; nutpie and pymc).
    **sampler_kwargs
        What the sampler takes beside these: ``adaptation`` for nutpie ("diag" or "low_rank"; by default of
        low rank in small models, and where a parameter without random effect moves all subjects along),
        ``chain_method`` ("sequential" or "vectorized") and ``dense_mass`` for numpyro and blackjax, ...;
        another name is refused with those that exist.

    Returns
    -------
    DataTree
        `posterior`, `sample_stats`, `observed_data`, `constant_data`, `events`; the model, the seed, the
        versions, the time it took (`stages`: warm start, compiling, sampling), and how often differential
        equations could not be solved, by subject (`failed_solves`), are in the attributes of the root.

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
    _check_warm_start(warm_start, centring)
    numbers = {"draws": draws, "tune": tune, "chains": chains, "cores": cores, "max_treedepth": max_treedepth}
    _check_numbers(**numbers)
    _check_acceptance(target_accept)
    settings: dict[str, Any] = {
        "draws": int(draws),
        "chains": int(chains),
        "cores": int(cores or min(chains, processors())),
        "seed": checked_seed(seed),
        "target_accept": float(target_accept or TARGET_ACCEPT),
        "max_treedepth": int(max_treedepth),
    }
    asked = {"sampler": sampler, "centring": centring}
    with working("popbayes: building the model", progress):
        study = Study(model.resolved(data), data)
        _check_unknowns(study.model)
        study.model.check(data)
        building.check_observations(study.model, data)
    lap = Clock.start()
    with counted(study) as failed_warm:
        warm, said = _warm(study, warm_start, settings["seed"], starts or {}, progress)
    stages = {"warm_start": lap.stop()}
    settings["tune"] = int(tune or (TUNE if warm is None else TUNE_WARM))
    with working("popbayes: writing the graph", progress):
        plan = _plan(study, warm, centring, starts or {}, settings["seed"])
        asked["warm_start"] = json.dumps(said)
        options = with_adaptation(sampler_kwargs, sampler, study.model, plan.graph, warm)
        task = _task(plan, settings, progress, save_warmup, options)
        groups = study_groups(study)
    graph = plan.graph
    lap = Clock.start()
    with counted(study) as failed:
        drawn = backend.run(task)
    stages |= {"compiling": dict(drawn.compiling), "sampling": lap.since(drawn.compiling)}
    solves = as_attribute(warm_start=failed_warm, sampling=failed)
    asked["sampler_options"] = json.dumps(options)
    attrs = {**settings, **asked, **clock.stop(), **solves, "stages": json.dumps(stages)}
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
        if name in ("cores", "tune") and number is None:
            continue
        whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
        if not whole or number < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, not {number!r}.")


def _check_acceptance(target_accept: float | None) -> None:
    if target_accept is not None and not 0 < target_accept < 1:
        raise ValueError(f"target_accept must be between 0 and 1, both excluded; not {target_accept!r}.")


def _check_unknowns(model: PopModel) -> None:
    priors = {name: prior for name, (prior, _) in population_priors(model).items()}
    spread = {f"{dims.OMEGA}_{name}": prior for name, prior in model.omega_priors.items()}
    named = {**priors, **spread, **model.observation.priors}
    free = {name: prior for name, prior in named.items() if not isinstance(prior, Fixed)}
    if not free and not model.eta_names:
        raise ValueError("Every value of the model is fixed: there is nothing to estimate. Use pb.simulate.")
    discrete = [name for name, prior in free.items() if prior.discrete]
    if discrete:
        raise ValueError(
            f"{', '.join(discrete)} can take whole numbers only, but NUTS needs continuous values. "
            "Give a continuous prior, or fix the value."
        )


def _warm(
    study: Study, method: Saem | None, seed: int, starts: Mapping[str, Any], progress: bool
) -> tuple[WarmStart | None, dict[str, Any]]:
    """The warm start, and what the DataTree says of it; why there is none where there is none."""
    if method is None:
        return None, {"none": "warm_start=None"}
    if not study.model.eta_names:
        return None, {"none": "there are no random effects"}
    try:
        # matrices are of a few rows: threads of the linear algebra would only wait for each other
        with working("popbayes: warm start (SAEM)", progress), threadpool_limits(1, user_api="blas"):
            warm = started(study, method, seed, starts)
    except (NotHonoured, np.linalg.LinAlgError) as error:
        if method is not WARM_START:
            warnings.warn(
                f"There is no warm start: {error} The chains start at the prior medians.", stacklevel=3
            )
        return None, {"none": str(error)}
    return warm, warm.described()


@dataclass(frozen=True, eq=False)
class Plan:
    """What is sampled: the study as its centring was chosen, its graph, and where chains start."""

    study: Study
    graph: Any
    starts: Starts


def _plan(study: Study, warm: WarmStart | None, centring: str, given: Mapping[str, Any], seed: int) -> Plan:
    between: Information | None = None
    if warm is not None and centring == "auto":
        between = warm.information
    if between is None:
        study = Study(centred_model(study, centring, warm), study.events)
    graph = building.build(study.model, study.events, between)
    if warm is None:
        return Plan(study, graph, _starts(study, graph, given, seed))
    return Plan(study, graph, made_starts(graph, lambda rng: warm.point(study, between, rng), seed))


def _task(
    plan: Plan,
    settings: dict[str, Any],
    progress: bool,
    save_warmup: bool,
    options: Mapping[str, Any],
) -> Task:
    layout = _layout(plan.study, plan.graph)
    return Task(
        graph=plan.graph,
        starts=plan.starts,
        explain=lambda start: explain_start(plan.graph, layout, plan.starts, start),
        keep=_stored(plan.study.model, plan.graph),
        progress=progress,
        save_warmup=save_warmup,
        options=options,
        **settings,
    )


def _check_warm_start(warm_start: Any, centring: Any) -> None:
    if warm_start is not None and not isinstance(warm_start, Saem):
        raise TypeError(f"warm_start must be pb.Saem(...) or None, not {warm_start!r}.")
    if centring not in CENTRINGS:
        raise ValueError(f"centring must be one of {listed(CENTRINGS)}, not {centring!r}.")


def _starts(study: Study, graph: Any, given: Mapping[str, Any], seed: int) -> Starts:
    free = [variable.name for variable in graph.free_RVs]
    for name in given:
        if name not in free:
            raise ValueError(f"starts has {name!r}, which is not sampled; sampled are {', '.join(free)}.")
    return starts_of(graph, building.initial_values(study.model, study.events, given=given), seed)


def _layout(study: Study, graph: Any) -> Layout:
    events, labels = study.events, [str(label) for label in study.events.subjects]
    return Layout(
        likelihood=dims.DV,
        parameters=[name for name in study.model.structural.parameters if name in graph.named_vars],
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
    levels = [name for one in model.groupings for name in (one.sd, one.corr, one.eta)]
    weights = [dims.weight(names) for names, _ in model.tails]
    derived = [one.name for one in model.derived]
    wanted = [
        *rows,
        dims.OMEGA,
        dims.CORR,
        *derived,
        dims.ETA,
        *KEPT,
        *(one.name for one in model.imputation),
        *levels,
        *weights,
        *model.structural.parameters,
    ]
    return tuple(name for name in dict.fromkeys(wanted) if name in present)


def _tree(
    study: Study, graph: Any, drawn: Draws, groups: dict[str, xr.Dataset], attrs: dict[str, Any]
) -> xr.DataTree:
    dims_of = {name: tuple(shape) for name, shape in graph.named_vars_to_dims.items()}
    rng = np.random.default_rng([attrs["seed"], STATES])
    resolved = resolved_states(study, drawn.posterior, rng)
    warmup = resolved_states(study, drawn.warmup_posterior, rng)
    dims_of |= resolved.dims_of
    library = {"inference_library": attrs["sampler"]}
    parts = {
        dims.POSTERIOR: resolved.arrays,
        dims.SAMPLE_STATS: drawn.stats,
        f"warmup_{dims.POSTERIOR}": warmup.arrays,
        f"warmup_{dims.SAMPLE_STATS}": drawn.warmup_stats,
    }
    coords = {**resolved.coords, **graph.coords}
    made = {name: drawn_dataset(part, dims_of, coords, library) for name, part in parts.items() if part}
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
