"""`estimate`: point estimates of a population, by any method, into a DataTree."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from popbayes import building, dims
from popbayes.data.events import EventTable
from popbayes.data.regimen import as_events
from popbayes.infer.effects import is_known
from popbayes.infer.estimation.coordinates import Coordinates
from popbayes.infer.estimation.groups import result_groups
from popbayes.infer.estimation.method import AbstractMethod, Found, Problem
from popbayes.infer.estimation.priors import log_prior
from popbayes.infer.failed import as_attribute, counted
from popbayes.infer.population import given_values
from popbayes.infer.progress import iterations
from popbayes.infer.settings import Clock, checked_seed
from popbayes.infer.subject_logp import SubjectDensity
from popbayes.infer.tree import Study, new_tree, root_attrs, study_groups
from popbayes.model import PopModel
from popbayes.model.checks import check_separate_priors, check_subject_effects_only
from popbayes.parameters.priors import Fixed

NOT_USED = (
    "The priors were not used (maximum likelihood): they gave the start only. use_priors=True uses them."
)
USED = (
    "The priors were used: these are modes of likelihood times prior, and AIC and BIC are those of the mode."
)


class AfterEstimationError(RuntimeError):
    """The estimation was done, but its result could not be put together; `found` holds what was found."""

    def __init__(self, message: str, found: Found):
        super().__init__(message)
        self.found = found


def estimate(
    model: PopModel,
    data: EventTable,
    *,
    method: AbstractMethod,
    use_priors: bool = False,
    starts: Mapping[str, Any] | None = None,
    seed: int | None = None,
    progress: bool = True,
) -> xr.DataTree:
    r"""Estimate the population values, the random effects integrated out.

    Maximum of the marginal likelihood

    .. math:: L(\theta) = \prod_i \int p(y_i \mid \eta_i, \theta)\, p(\eta_i \mid \theta)\, d\eta_i

    as the method approximates it, or of :math:`L(\theta)\, p(\theta)` with ``use_priors=True``.

    Parameters
    ----------
    model : PopModel
    data : EventTable
        With observations.
    method : method
        ``pb.Foce(interaction=True)``, ``pb.FirstOrder()``, ``pb.Laplace()``, ``pb.Quadrature(n)``, ...
    use_priors : bool
        Whether the priors count: the mode of the joint density of the population values in their natural
        units (MAP). Without, they only give the start. The result says which.
    starts : mapping, optional
        Population values to start from in place of the prior medians: ``{"CL_pop": 3.0, "omega": {"CL":
        0.3, "V": 0.2}}``, as `popbayes.simulate` takes them; those left out start at the prior medians.
    seed : int, optional
        For methods that draw, and for the several starts of the inner problem.
    progress : bool
        Show the iterations.

    Returns
    -------
    DataTree
        Groups `estimates` (population values, `se`, `rse_percent`, `correlation`; the condition number in
        its attributes), `eta` (conditional modes and SDs), `objective` (-2 log L with and without its
        n log 2 pi, AIC, three kinds of BIC), `trace`, and the study, as a fit has it. ``attrs`` say whether
        it converged (`converged`), what must be known before it is used (`messages`), and whether priors
        were used. `popbayes.summary`, `gof`, `shrinkage`, `simulate`, `vpc`, `report`, `save` take it.

    Raises
    ------
    ValueError
        For a model or data that the method cannot honour, and starts that are impossible.
    AfterEstimationError
        If the result could not be put together; its `found` is what was estimated.
    """
    clock, data = Clock.start(), as_events(data)
    if not isinstance(method, AbstractMethod):
        raise TypeError(f"method must be an estimation method such as pb.Foce(), not {method!r}.")
    seed = checked_seed(seed)
    model = model.resolved(data)
    model.check(data)
    check_subject_effects_only(model, f"pb.estimate({method.name})")
    if use_priors:
        check_separate_priors(model, f"pb.estimate({method.name}, use_priors=True)")
    building.check_observations(model, data)
    study = Study(model, data)
    coordinates = Coordinates(model, starting_values(model, starts or {}), study.design)
    if coordinates.size == 0:
        raise ValueError("Every value of the model is fixed: there is nothing to estimate. Use pb.simulate.")
    method.check(study)
    # matrices are small: more threads of the linear algebra wait for one another
    one_thread = threadpool_limits(1, user_api="blas")
    with one_thread, iterations(f"popbayes: {method.name}", progress) as report, counted(study) as failed:
        prior = log_prior(coordinates) if use_priors else None
        found = method.run(Problem(study, SubjectDensity(study), coordinates, prior, seed, report))
    try:
        attrs = {**clock.stop(), **as_attribute(estimation=failed)}
        return _tree(study, coordinates, method, found, use_priors, seed, attrs)
    except Exception as error:
        raise AfterEstimationError(
            f"The estimation was done, but the DataTree could not be made: {error!r}. "
            "What was found is in the attribute `found` of this exception.",
            found,
        ) from error


def starting_values(model: PopModel, given: Mapping[str, Any]) -> dict[str, Any]:
    """Population values to start from: the prior medians, or what is given.

    Parameters
    ----------
    model : PopModel
        Resolved.
    given : mapping
        As `popbayes.simulate` takes population values; any number of them.
    """
    values: dict[str, Any] = {}
    for name, parameter in model.parameters.items():
        priors = {dims.pop(name): (parameter.prior, 0)}
        priors |= {one.name: (one.prior, len(one.labels)) for one in model.coefficients(name)}
        for label, (prior, size) in priors.items():
            if not isinstance(prior, Fixed):
                values[label] = np.full(size, prior.start()) if size else prior.start()
    if model.eta_names:
        values[dims.OMEGA] = [prior.start() for prior in model.omega_priors.values()]
    if model.correlated_blocks:
        values[dims.CORR] = np.eye(len(model.eta_names))
    for level in model.groupings:
        if not all(is_known(level.priors)):
            values[level.sd] = [prior.start() for prior in level.priors.values()]
        if level.block.correlated:
            values[level.corr] = np.eye(len(level.names))
    for name, prior in model.observation.priors.items():
        if not isinstance(prior, Fixed):
            values[name] = prior.start()
    scalars = {name for name, value in values.items() if np.ndim(value) == 0}
    names = {dims.OMEGA: model.eta_names} | {level.sd: level.names for level in model.groupings}
    for label, own in names.items():
        some = given.get(label)
        if isinstance(some, Mapping) and label in values:
            known = dict(zip(own, values[label], strict=True))
            given = {**given, label: {**known, **some}}
    checked = given_values(model, {**values, **given})
    return {name: float(one[0][0]) if name in scalars else one[0] for name, one in checked.items()}


def _tree(
    study: Study,
    coordinates: Coordinates,
    method: AbstractMethod,
    found: Found,
    use_priors: bool,
    seed: int,
    attrs: dict[str, Any],
) -> xr.DataTree:
    messages = [*found.messages, USED if use_priors else NOT_USED]
    said: dict[str, Any] = {
        "method": method.name,
        "method_options": json.dumps(asdict(method)),
        "use_priors": int(use_priors),
        "converged": int(found.converged),
        "messages": json.dumps(messages),
        "notes": json.dumps(found.notes),
        "n_iteration": len(found.trace["objective"]),
    }
    tree = new_tree(
        {**result_groups(study, coordinates, found), **study_groups(study)},
        root_attrs(study, seed, **attrs, **said, **found.attrs),
    )
    for message in found.messages:
        warnings.warn(message, stacklevel=3)
    return tree
