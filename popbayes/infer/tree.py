"""The DataTree: what it holds beside the draws, and how to read a study back from it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr

from popbayes import dims
from popbayes.data.design import Design
from popbayes.data.events import EventTable
from popbayes.model import PopModel
from popbayes.observation.observed import Observed

FORMAT = 1
"""Number of the layout of a DataTree; it grows when older versions of popbayes could not read it."""
PACKAGES = ("popbayes", "pymc", "pytensor", "numba", "numpy", "xarray")
UNITS = {"time": "TIME", "tad": "TIME", "dv": "DV"}


@dataclass(frozen=True, eq=False)
class Study:
    """A model and its data, as a DataTree remembers them."""

    model: PopModel
    events: EventTable

    @cached_property
    def design(self) -> Design:
        """The events as arrays for the engine."""
        return self.model.design(self.events)

    @cached_property
    def observed(self) -> Observed:
        """How each observation is distributed: densities, draws and residuals."""
        return Observed.of(self.model.observation, self.events)


def study_of(dt: xr.DataTree) -> Study:
    """The model and the data that a DataTree was made from.

    Raises
    ------
    TypeError
        If it is no DataTree.
    ValueError
        If the DataTree was not made by popbayes.
    """
    if not isinstance(dt, xr.DataTree):
        raise TypeError(
            "This needs the DataTree that popbayes.fit or popbayes.simulate returned, or that popbayes.load "
            f"read, not {type(dt).__name__}."
        )
    if "model" not in dt.attrs or dims.EVENTS not in dt.children:
        raise ValueError(
            "This DataTree does not hold a popbayes model with its data: "
            "it was not made by popbayes.fit or popbayes.simulate, or parts of it were dropped."
        )
    return Study(PopModel.from_json(dt.attrs["model"]), EventTable.from_dataset(dt[dims.EVENTS].to_dataset()))


def posterior(dt: xr.DataTree) -> xr.Dataset:
    """Draws of a fit.

    Raises
    ------
    ValueError
        Where the tree is not a fit.
    """
    if is_estimate(dt):
        raise ValueError(
            "This DataTree holds point estimates (popbayes.estimate), which have no posterior draws. "
            "This needs the tree that popbayes.fit returned."
        )
    if dims.POSTERIOR not in dt.children:
        raise ValueError(
            f"This DataTree has no posterior draws (its groups: {', '.join(dt.children) or 'none'}). "
            "Give the tree that popbayes.fit returned, or that popbayes.load read."
        )
    return dt[dims.POSTERIOR].to_dataset()


def is_estimate(dt: xr.DataTree) -> bool:
    """Whether the tree is that of `popbayes.estimate`: point estimates, without posterior draws."""
    groups = dt.children if isinstance(dt, xr.DataTree) else ()
    return dims.ESTIMATES in groups and dims.POSTERIOR not in groups


def draws_or_estimate(dt: xr.DataTree) -> xr.Dataset:
    """Draws of a fit; or the point estimates with the conditional modes, as one chain of one draw.

    Raises
    ------
    ValueError
        Where the tree has neither.
    """
    if not is_estimate(dt):
        return posterior(dt)
    found, own = dt[dims.ESTIMATES].to_dataset(), dt[dims.ETA].to_dataset()
    of_rows = {dims.PARAMETER, dims.PARAMETER2}
    values = found.drop_vars([name for name, one in found.variables.items() if of_rows & set(one.dims)])
    if dims.ETA_OF in own.dims:
        values[dims.ETA] = own["mode"]
    model = study_of(dt).model
    effects = [one.eta for one in model.groupings]
    values = values.assign({name: own[name] for name in (*model.parameters, *effects)})
    return values.expand_dims({dims.CHAIN: [0], dims.DRAW: [0]})


def study_groups(study: Study) -> dict[str, xr.Dataset]:
    """The groups that hold the data: `constant_data`, `events`, and `observed_data` where there is any."""
    events = study.events
    groups = {dims.CONSTANT_DATA: _constant_data(study), dims.EVENTS: events.to_dataset()}
    if events.has_dv:
        groups[dims.OBSERVED_DATA] = xr.Dataset(
            {dims.DV: (dims.OBS, events.obs_dv, _units(events, dims.DV))}, coords=_observations(events)
        )
    return groups


def _observations(events: EventTable) -> dict[str, np.ndarray]:
    return {dims.OBS: np.arange(events.n_obs)}


def _units(events: EventTable, name: str) -> dict[str, str]:
    unit = events.units.get(UNITS.get(name, name))
    return {"units": unit} if unit else {}


def _constant_data(study: Study) -> xr.Dataset:
    events, record = study.events, study.events.obs_record
    columns: dict[str, Any] = {
        "time": events.obs_time,
        "tad": events.obs_tad,
        "obs_subject": events.subjects[events.obs_subject],
        "dvid": events.dvid[record],
        "cens": events.cens[record],
        "lloq": events.lloq[record],
    }
    variables = {name: (dims.OBS, values, _units(events, name)) for name, values in columns.items()}
    for name, values in events.covariates.items():
        varies = name in events.time_varying
        shown = values[record] if varies else events.covariate_by_subject(name)
        variables[name] = (dims.OBS if varies else dims.SUBJECT, shown, _units(events, name))
    coords = {**_observations(events), dims.SUBJECT: events.subjects}
    if not study.design.one_segment_per_subject:
        segments = _segments(study)
        coords[dims.SEGMENT] = np.arange(study.design.n_segment)
        variables |= {name: (dims.SEGMENT, *one) for name, one in segments.items()}
    return xr.Dataset(variables, coords=coords)


def _segments(study: Study) -> dict[str, tuple[np.ndarray, dict[str, str]]]:
    """Whose each segment is and when its first record is, with units."""
    events, design = study.events, study.design
    first = design.segment_record
    groups: dict[str, Any] = {
        f"segment_{key}": (group.labels[group.of_segment], {}) for key, group in design.groups.items()
    }
    return {
        "segment_subject": (events.subjects[design.segment_subject], {}),
        "segment_time": (events.time[first], _units(events, "time")),
        **groups,
    }


def root_attrs(study: Study, seed: int, **more: Any) -> dict[str, Any]:
    """What the root of every DataTree says of itself; all of it text and numbers, as a file can hold."""
    return {
        "popbayes_format": FORMAT,
        "popbayes_version": version("popbayes"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": study.model.to_json(),
        "seed": seed,
        "versions": json.dumps({name: version(name) for name in PACKAGES}),
        **more,
    }


def drawn_dataset(
    arrays: Mapping[str, np.ndarray],
    dims_of: Mapping[str, tuple[str, ...]],
    coords: Mapping[str, Any],
    attrs: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Draws as a Dataset: every array is led by (chain, draw), followed by its own dims."""
    variables = {
        name: ((dims.CHAIN, dims.DRAW, *dims_of.get(name, ())), values) for name, values in arrays.items()
    }
    used = {dim for shape, _ in variables.values() for dim in shape}
    chain, draw = next(iter(arrays.values())).shape[:2]
    places = {dims.CHAIN: np.arange(chain), dims.DRAW: np.arange(draw)}
    own = {name: np.asarray(list(values)) for name, values in coords.items() if name in used}
    return xr.Dataset(variables, coords={**places, **own}, attrs=dict(attrs or {}))


def new_tree(groups: Mapping[str, xr.Dataset], attrs: Mapping[str, Any]) -> xr.DataTree:
    """A DataTree of these groups, with attributes at its root."""
    tree = xr.DataTree.from_dict({f"/{name}": group for name, group in groups.items()})
    tree.attrs.update(attrs)
    return tree
