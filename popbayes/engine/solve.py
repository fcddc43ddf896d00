"""Deterministic solutions: a structural model on a design, for one or many parameter sets."""

import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from popbayes import dims
from popbayes.data.design import Design
from popbayes.data.events import EventTable
from popbayes.data.regimen import as_events
from popbayes.engine.batches import Batch, evaluate_batches
from popbayes.engine.compiled import kernels_of, with_covariates
from popbayes.engine.declaration import LinearDeclaration
from popbayes.engine.failures import watching
from popbayes.engine.ode_declaration import is_ode
from popbayes.engine.op import Output, Route, route
from popbayes.engine.schedule import R_OUTPUT

PARTS_A_THREAD = 4
"""Parts into which a batch of parameter sets is cut: a thread that is done early takes another."""


def evaluate(
    structural: LinearDeclaration,
    design: Design,
    theta: Mapping[str, np.ndarray],
    output: Output = None,
    threads: int | None = None,
) -> np.ndarray:
    """Predictions for a batch of parameter sets.

    Parameters
    ----------
    structural
        The model's declaration.
    design
        Records and segments.
    theta
        Parameter -> (..., n_segment) or anything that broadcasts to it.
    output
        What is observed: the name of an output, or a mapping DVID -> output; None: the model's first
        output.
    threads
        Number of threads, over the batch or, where it is smaller than that, over subjects; None: one for
        each processor.

    Returns
    -------
    (..., n_obs)
    """
    return _evaluate(structural, design, theta, route(structural, design, output), threads)


def evaluate_all(
    structural: LinearDeclaration, design: Design, theta: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Every output at every observation, output -> (..., n_obs), with one compiled function for all."""
    names = tuple(structural.outputs)
    way = route(structural, design, names[0])
    found = {}
    for number, name in enumerate(names):
        records = way.schedule.records.copy()
        records[:, R_OUTPUT] = number
        one = replace(way, outputs=names, schedule=replace(way.schedule, records=records))
        found[name] = _evaluate(structural, design, theta, one, None)
    return found


def _evaluate(
    structural: LinearDeclaration,
    design: Design,
    theta: Mapping[str, np.ndarray],
    way: Route,
    threads: int | None,
) -> np.ndarray:
    """Predictions along one route."""
    schedule = way.schedule
    kernels = kernels_of(structural, way.outputs, way.channels, schedule.features)
    vectors = [np.asarray(v, dtype=float) for v in with_covariates(structural, design, theta)]
    shape = np.broadcast_shapes(*(v.shape for v in vectors), (design.n_segment,))
    thetas = np.stack([np.broadcast_to(v, shape) for v in vectors], axis=-1)
    thetas = np.ascontiguousarray(thetas.reshape(-1, design.n_segment, len(vectors)))
    preds = np.empty((len(thetas), design.n_obs))
    workers = max(1, threads or os.cpu_count() or 1)
    if len(thetas) >= max(workers, 2) or is_ode(structural):
        number = min(PARTS_A_THREAD * workers if workers > 1 else 1, len(thetas))
        parts = zip(np.array_split(thetas, number), np.array_split(preds, number), strict=True)
        batches = [Batch(piece, schedule.arrays, target) for piece, target in parts]
    else:
        batches = [Batch(thetas, arrays, preds) for arrays in schedule.runs]
    evaluate_batches(kernels, batches, workers)
    return preds.reshape(*shape[:-1], design.n_obs)


def solve(structural: Any, data: Any, parameters: Mapping[str, float] | pd.DataFrame) -> xr.Dataset:
    """Evaluate a structural model at every observation record, with no population layer.

    Parameters
    ----------
    structural
        A structural model, such as ``pk.OneCompartment()``.
    data
        An `EventTable` or a `Regimen`.
    parameters
        Name -> number, the same for all subjects; or a DataFrame with one column for each parameter,
        indexed by subject.

    Returns
    -------
    xarray.Dataset
        One variable for each output of the model, over `obs`, with coordinates `subject` and `time`.

    Raises
    ------
    ValueError
        A parameter is missing or unknown, not finite or negative, a subject has no row, or the model
        cannot take a dosing record, a steady state does not exist, or a closed form has no value.

    Warns
    -----
    UserWarning
        Differential equations could not be solved, and for which subjects: their predictions are nan.

    Examples
    --------
    >>> import popbayes as pb
    >>> regimen = pb.Regimen().dose(100).sample([0, 1, 2])
    >>> float(pb.solve(pb.pk.OneCompartment(), regimen, {"CL": 1.0, "V": 10.0})["conc"][0])
    10.0
    """
    events = as_events(data)
    structural.check_events(events)
    design = Design.of(events, getattr(structural, "covariates", ()))
    by_subject = _theta(structural, events.subjects, parameters)
    theta = {name: value[design.segment_subject] for name, value in by_subject.items()}
    with watching(route(structural, design).schedule) as failed:
        solved = evaluate_all(structural, design, theta)
    out = xr.Dataset(
        {name: (dims.OBS, values) for name, values in solved.items()},
        coords={
            dims.SUBJECT: (dims.OBS, events.subjects[events.obs_subject]),
            "time": (dims.OBS, events.obs_time),
        },
    )
    _check_steady_states(events, out)
    if not is_ode(structural):
        _check_finite(events, out, by_subject)
    _warn_of_failures(structural, events, failed)
    for what, column in (("time", "TIME"), *((name, "DV") for name in structural.outputs)):
        if column in events.units:
            out[what].attrs["units"] = events.units[column]
    return out


def _check_steady_states(events: EventTable, out: xr.Dataset) -> None:
    """Refuse steady states that there are none of: more comes in than can leave."""
    bad = np.zeros(events.n_subject, dtype=bool)
    for values in out.data_vars.values():
        bad[events.obs_subject[~np.isfinite(values.to_numpy())]] = True
    steady = events.is_dose & (events.ss > 0) & bad[events.record_subject]
    if steady.any():
        k = int(np.flatnonzero(steady)[0])
        raise ValueError(
            f"row {events.row[k]} (ID {events.subjects[events.record_subject[k]]}) asks for a steady state "
            "that does not exist with these parameters: nothing is eliminated, or nothing leaves one of the "
            "compartments (a Q of 0), or more comes in than can be eliminated, or more than 10,000 infusions "
            "would run at once, or something only grows, or rates that depend on time do not repeat from "
            "dose to dose. Check the parameters, II and RATE; doses of the past can be given as records."
        )


def _check_finite(events: EventTable, out: xr.Dataset, by_subject: Mapping[str, np.ndarray]) -> None:
    """Refuse parameters with which the formulas have no value: rates that are 0 together, a volume of 0."""
    for name, values in out.data_vars.items():
        bad = np.flatnonzero(~np.isfinite(values.to_numpy()))
        if len(bad):
            i = events.obs_subject[bad[0]]
            given = ", ".join(f"{n} = {v[i]:g}" for n, v in by_subject.items())
            raise ValueError(
                f"{name} of subject {events.subjects[i]} has no value with {given}. Where rates "
                "are 0, the closed form may have none: write the model as a pk.LinearSystem, or leave out a "
                "compartment that nothing reaches; a volume of 0 has no concentration."
            )


def _warn_of_failures(structural: Any, events: EventTable, failed: np.ndarray) -> None:
    """Say whose differential equations could not be solved."""
    if failed.any():
        whose = ", ".join(str(label) for label in events.subjects[failed > 0][:10])
        warnings.warn(
            f"The differential equations could not be solved for subject {whose}: more than "
            f"{structural.max_steps} steps, or rates that are not finite. The predictions are nan from there "
            "on. Check the parameters; raise max_steps, or try solver='stiff'.",
            stacklevel=3,
        )


def _theta(
    structural: LinearDeclaration, subjects: np.ndarray, parameters: Mapping[str, float] | pd.DataFrame
) -> dict[str, np.ndarray]:
    """Parameter -> (n_subject,), checked."""
    names = structural.parameters
    given = list(parameters)
    wrong = [n for n in given if n not in names]
    missing = [n for n in names if n not in given]
    if wrong or missing:
        raise ValueError(
            f"{type(structural).__name__} has the parameters {', '.join(names)}."
            + (f" Missing: {', '.join(missing)}." if missing else "")
            + (f" Unknown: {', '.join(map(str, wrong))}." if wrong else "")
        )
    if isinstance(parameters, pd.DataFrame):
        absent = [s for s in subjects if s not in parameters.index]
        if absent:
            raise ValueError(f"`parameters` has no row for subject(s) {', '.join(map(str, absent[:10]))}.")
        parameters = {n: parameters.loc[subjects, n].to_numpy(dtype=float) for n in names}
    theta = {n: np.broadcast_to(np.asarray(parameters[n], dtype=float), (len(subjects),)) for n in names}
    for name, values in theta.items():
        # rates, volumes, clearances, lags and fractions: none of them can be negative; what the parameters of
        # a system of equations are is not known
        impossible = np.flatnonzero(~np.isfinite(values) | ((values < 0) & (not is_ode(structural))))
        if len(impossible):
            i = int(impossible[0])
            raise ValueError(
                f"Parameter {name} of subject {subjects[i]} is {values[i]:g}; "
                f"give a finite number{'' if is_ode(structural) else ' that is not negative'}."
            )
    return theta
