"""`sequential`: the response fitted after the pharmacokinetics, which an earlier fit makes known."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import xarray as xr

from popbayes import dims
from popbayes.data.events import EventTable
from popbayes.data.regimen import as_events
from popbayes.infer.tree import draws_or_estimate, study_of
from popbayes.model import PopModel
from popbayes.observation.law import AbstractLaw
from popbayes.parameters.effect import AbstractCovariate
from popbayes.parameters.equation import Equation
from popbayes.parameters.family import AbstractPrior
from popbayes.parameters.parameter import Parameter
from popbayes.parameters.priors import Fixed
from popbayes.parameters.random_effects import Fixed as FixedEffects
from popbayes.parameters.random_effects import Independent
from popbayes.parameters.variability import AbstractVariability
from popbayes.wording import listed, nearest

IPP, PPP, PPPD = "IPP", "PPP", "PPP&D"
METHODS = (IPP, PPP, PPPD)
OTHER_EVENT = 2
"""EVID of a record that is neither a dose nor an observation."""


def sequential(
    model: PopModel, data: EventTable, dt: xr.DataTree, *, method: str = IPP, draw: int | None = None
) -> tuple[PopModel, EventTable]:
    r"""Model and data of the second of two fits: the response, given the pharmacokinetics of the first.

    What the fit `dt` of the pharmacokinetics found takes the place of the priors of its parameters:

    ========= ============================================================ =====================
    `method`  known                                                        PK observations
    ========= ============================================================ =====================
    "IPP"     each subject's PK parameters                                 left out
    "PPP"     population values of the PK (typical values, coefficients,   left out
              omegas, correlations)
    "PPP&D"   the same, and the residual error of the PK                   kept
    ========= ============================================================ =====================

    The names are those of Zhang, Beal & Sheiner. What is known is the posterior mean of `dt` on the scale of
    each parameter (log, logit, identity), the conditional mode of an estimate, or one draw. IPP is fastest,
    and treats the individual parameters as exact: intervals of the response's parameters come out too narrow
    where the PK data are sparse. With "PPP&D" each subject's PK parameters are estimated anew from both kinds
    of observations; it comes closest to the joint fit. To carry the uncertainty of the PK over, fit the
    response for several draws and combine the fits by `popbayes.pool`.

    Parameters
    ----------
    model : PopModel
        The joint model. Its parameters that `dt` has too are those of the PK.
    data : EventTable
        Doses, and observations of both kinds.
    dt : DataTree
        Fit (or estimate) of the pharmacokinetics alone.
    method : "IPP", "PPP" or "PPP&D"
    draw : int, optional
        Take this draw, counted through the chains, in place of the posterior mean.

    Returns
    -------
    PopModel, EventTable
        For `fit`, `estimate`, `simulate` and all else. With "IPP" the table has a column ``{P}_PK`` for
        each PK parameter, and the model takes it as it is (`Parameter.from_column`). PK observations
        that are left out become other events (EVID 2); subjects without any observation left are dropped.

    Raises
    ------
    ValueError
        Where model, data and fit do not belong together, or the method cannot honour a part of the model:
        the message says which.

    References
    ----------
    Zhang, Beal & Sheiner, *Simultaneous vs. sequential analysis for population PK/PD data I and II*, J.
    Pharmacokinet. Pharmacodyn. 30 (2003) 387-404 and 405-416.
    """
    if method not in METHODS:
        raise ValueError(
            f"method must be one of {listed(METHODS)}, not {method!r}.{nearest(method, METHODS)}"
        )
    data = as_events(data)
    first = study_of(dt)
    _check_belongs(model, first.model)
    known = _Known.of(first.model, draws_or_estimate(dt), draw)
    given = method != PPPD
    endpoints = _endpoints(model, known, given)
    known_variability = [] if method == IPP else known.variability()
    if given:
        data = _without_observations(data, _left_out(model, endpoints))
    if method == IPP:
        data = _with_columns(data, known.by_subject(data))
        own = {name: Parameter.from_column(column(name), one.unit) for name, one in known.parameters.items()}
    else:
        own = {name: known.parameter(name) for name in known.parameters}
    needed = _needed(model, endpoints)
    dvid = {number: name for number, name in model.observation.endpoint_of.items() if name in endpoints}
    changed = replace(
        model,
        parameters={name: own.get(name, one) for name, one in model.parameters.items() if name in needed},
        variability=[*_others(model, known.parameters), *known_variability],
        residual=endpoints,
        dvid=dvid or None,
        derived=(),
        name=f"{model.name or 'PK/PD'}, PK known ({method})",
    )
    return changed, data


def column(parameter: str) -> str:
    """Name of the column that holds the known values of a parameter."""
    return f"{parameter}_PK"


@dataclass(frozen=True, eq=False)
class _Known:
    """What a fit of the pharmacokinetics knows: its resolved model, and one value of everything."""

    model: PopModel
    values: xr.Dataset

    @classmethod
    def of(cls, model: PopModel, draws: xr.Dataset, draw: int | None) -> "_Known":
        stacked = draws.stack(sample=(dims.CHAIN, dims.DRAW), create_index=False)
        if draw is not None:
            if not 0 <= draw < stacked.sizes["sample"]:
                raise ValueError(f"draw must lie from 0 to {stacked.sizes['sample'] - 1}, not {draw!r}.")
            return cls(model, stacked.isel(sample=draw))
        return cls(model, _means(model, stacked))

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """The parameters of the pharmacokinetics."""
        return self.model.parameters

    def by_subject(self, data: EventTable) -> dict[str, np.ndarray]:
        """Column -> value of each record, (n_record,): the parameters of the subjects."""
        found = {}
        for name in self.parameters:
            values = self.values[name]
            if values.dims != (dims.SUBJECT,):
                raise ValueError(
                    f"{name} changes within subjects in the fit of the pharmacokinetics (occasions, or "
                    'covariates that change), so that no one value is known. Use method="PPP&D".'
                )
            place = {str(label): k for k, label in enumerate(values[dims.SUBJECT].to_numpy().tolist())}
            absent = [str(label) for label in data.subjects.tolist() if str(label) not in place]
            if absent:
                raise ValueError(
                    f"The fit of the pharmacokinetics does not have the subject(s) {', '.join(absent[:10])}, "
                    'whose parameters are therefore not known. Use method="PPP&D", or leave them out.'
                )
            of_subject = values.to_numpy()[[place[str(label)] for label in data.subjects.tolist()]]
            found[column(name)] = of_subject[data.record_subject]
        return found

    def parameter(self, name: str) -> Parameter:
        """A parameter with its typical value and coefficients known."""
        one = self.parameters[name]
        covariates = tuple(self._fixed(effect, name) for effect in one.covariates)
        return replace(one, prior=Fixed(self._number(dims.pop(name), one.prior)), covariates=covariates)

    def _fixed(self, effect: AbstractCovariate, name: str) -> AbstractCovariate:
        """A covariate effect with its coefficients known."""
        own = effect.coefficients(name)
        free = [one for one in own if not one.is_fixed]
        if not free:
            return effect
        if isinstance(effect, Equation):
            known = {one.symbol: Fixed(self._number(one.name, one.prior)) for one in own}
            return Equation(effect.text, **known)
        given = {f.name: getattr(effect, f.name) for f in fields(effect)}  # type: ignore[arg-type]
        place = {one.name: key for one in free for key, value in given.items() if value is one.prior}
        if len(place) < len(free) or any(len(one.labels) > 1 for one in free):
            raise ValueError(
                f"The coefficients of covariate.{effect.kind} on {name} cannot be held at known values one "
                'by one. Use method="IPP".'
            )
        known = {place[one.name]: Fixed(self._number(one.name, one.prior)) for one in free}
        return replace(effect, **known)  # type: ignore[type-var]

    def law(self, endpoint: str) -> Any:
        """The residual error of an endpoint with its arguments known."""
        kinds = [kind for kind in self.model.observation.kinds if kind.endpoint == endpoint]
        if any(kind.column for kind in kinds):
            raise ValueError(
                f"residual.Stratified of {endpoint} cannot be held at known values. Use another method."
            )
        (kind,) = kinds
        graph = {
            own: kind.names[variable]
            for own, variable in kind.law.variables.items()
            if variable in kind.law.given
        }
        known = {
            own: Fixed(self._number(name, getattr(kind.law, own)))
            for own, name in graph.items()
            if isinstance(getattr(kind.law, own), AbstractPrior)
        }
        law = replace(kind.law, **known)
        free = [name for name, prior in law.sigmas.items() if not isinstance(prior, Fixed)]
        if free:
            raise ValueError(
                f"{listed(free)} of {endpoint} cannot be held at known values. Use another method."
            )
        return law

    def variability(self) -> list[AbstractVariability]:
        """Random effects whose SDs and correlations are known."""
        beyond = [f"variability.{one.block.kind}" for one in self.model.groupings]
        beyond += ["Student-t effects" for _ in self.model.tails]
        if beyond:
            raise ValueError(
                f"{listed(dict.fromkeys(beyond))} of the pharmacokinetics cannot be held at known values. "
                "Fit both kinds of observations together."
            )
        names = self.model.eta_names
        if not names:
            return []
        sds = {name: self._omega(name, prior) for name, prior in self.model.omega_priors.items()}
        if not self.model.has_correlations:
            return [Independent(names, sd=sds)]
        matrix = self.values[dims.CORR].to_numpy()
        pairs = {(names[j], names[i]): matrix[j, i] for i in range(len(names)) for j in range(i)}
        return [FixedEffects(sds, corr={pair: value for pair, value in pairs.items() if value != 0.0})]

    def _omega(self, name: str, prior: AbstractPrior) -> float:
        if isinstance(prior, Fixed):
            return float(prior.value)
        return float(self.values[dims.OMEGA].sel({dims.ETA_OF: name}))

    def _number(self, name: str, prior: AbstractPrior) -> float:
        return float(prior.value) if isinstance(prior, Fixed) else float(self.values[name].to_numpy().item())


def _means(model: PopModel, stacked: xr.Dataset) -> xr.Dataset:
    """Posterior means over `sample`, of parameters on their own scales."""
    scales = {dims.pop(name): one for name, one in model.parameters.items()} | dict(model.parameters)
    found = {}
    for name, values in stacked.data_vars.items():
        if str(name) in scales:
            one = scales[str(name)]
            place = xr.apply_ufunc(one.place, values)
            found[name] = xr.apply_ufunc(lambda x, one=one: one.value(x, np), place.mean("sample"))
        else:
            found[name] = values.mean("sample")
    return xr.Dataset(found)


def _check_belongs(model: PopModel, first: PopModel) -> None:
    """Refuse a fit of other pharmacokinetics than the model's."""
    absent = [name for name in first.parameters if name not in model.parameters]
    if absent:
        raise ValueError(
            f"The fit of the pharmacokinetics has {listed(absent)}, which the joint model does not have; it "
            f"has {listed(model.parameters)}.{nearest(absent[0], tuple(model.parameters))}"
        )
    if len(first.parameters) == len(model.parameters):
        raise ValueError(
            "The fit has every parameter of the model: nothing is left to estimate. Give the fit of the "
            "pharmacokinetics alone."
        )
    driver = getattr(model.structural, "driver", None)
    if driver is not None and driver != first.structural:
        raise ValueError(
            f"The model is driven by {driver!r}, but the fit is of {first.structural!r}. Fit the same "
            "pharmacokinetics first."
        )


def _endpoints(model: PopModel, known: _Known, given: bool) -> dict[str, Any]:
    """Endpoint -> law: those of the pharmacokinetics left out (`given`), or with what is known of them."""
    first = known.model.observation.endpoints
    found: dict[str, Any] = {}
    for name, law in model.observation.endpoints.items():
        if name not in first:
            found[name] = law
        elif not given:
            found[name] = known.law(name)
    if not any(name not in first for name in found):
        raise ValueError(
            f"The model observes {listed(model.observation.endpoints)}, as the fit of the pharmacokinetics "
            'does: there is no response to fit. Give residual={"conc": ..., "effect": ...}.'
        )
    return found


def _left_out(model: PopModel, endpoints: Mapping[str, AbstractLaw]) -> list[int]:
    """DVID of the observations that are left out."""
    return [number for number, name in model.observation.endpoint_of.items() if name not in endpoints]


def _without_observations(data: EventTable, dvid: list[int]) -> EventTable:
    """The table with observations of some DVID made other events, of subjects that have others."""
    gone = data.is_obs & np.isin(data.dvid, dvid)
    changed = replace(
        data,
        evid=np.where(gone, OTHER_EVENT, data.evid),
        mdv=np.where(gone, 1, data.mdv),
        dv=np.where(gone, np.nan, data.dv),
        cens=np.where(gone, 0, data.cens),
        limit=np.where(gone, np.nan, data.limit),
        lloq=np.where(gone, np.nan, data.lloq),
    )
    if not changed.n_obs:
        raise ValueError("No observation is left: the data have none of the response. Check DVID.")
    observed = np.unique(changed.obs_subject)
    return changed if len(observed) == data.n_subject else changed.subset(data.subjects[observed])


def _with_columns(data: EventTable, columns: Mapping[str, np.ndarray]) -> EventTable:
    """The table with further covariates."""
    twice = [name for name in columns if name in data.covariates]
    if twice:
        raise ValueError(
            f"The event table has the covariate {twice[0]!r} already, which would hold what is known of the "
            "pharmacokinetics. Give the table of the joint study."
        )
    return replace(data, covariates={**data.covariates, **columns})


def _needed(model: PopModel, endpoints: Mapping[str, Any]) -> set[str]:
    """Parameters that the structural model and the laws of some endpoints use."""
    used = {
        name for kind in model.observation.kinds if kind.endpoint in endpoints for name in kind.law.parameters
    }
    return used | set(model.structural.parameters)


def _others(model: PopModel, known: Mapping[str, Any]) -> list[AbstractVariability]:
    """The parts of the model's variability that are not of known parameters."""
    kept: list[AbstractVariability] = []
    for block in model.variability:
        names = tuple(name for name in block.names if name not in known)
        if len(names) == len(block.names):
            kept.append(block)
        elif names and isinstance(block, Independent):
            kept.append(replace(block, names=names, sd={name: block.sd[name] for name in names}))
        elif names:
            raise ValueError(
                f"variability.{block.kind} has {listed(block.names)} in one part, of which {listed(names)} "
                "are of the response. Correlations between the pharmacokinetics and the response need a "
                "joint fit; otherwise give the response a part of its own."
            )
    return kept
