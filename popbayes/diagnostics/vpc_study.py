"""What a visual predictive check compares: a study and its replicates, row by row the same."""

import warnings
from dataclasses import dataclass

import numpy as np
import xarray as xr

from popbayes.data.events import EventTable
from popbayes.dims import (
    CHAIN,
    DRAW,
    DV,
    OBS,
    OBSERVED_DATA,
    POSTERIOR_PREDICTIVE,
    PREDICTIONS,
    PRIOR_PREDICTIVE,
)
from popbayes.observation.observed import quantification_limit

GROUPS = (POSTERIOR_PREDICTIVE, PREDICTIONS, PRIOR_PREDICTIVE)


@dataclass(frozen=True, eq=False)
class Study:
    """One study and its replicates, row by row the same: what a check compares.

    Attributes
    ----------
    observed : (n_obs,)
    simulated : (n_replicate, n_obs)
    time : (n_obs,), nan where there is none (time after dose, before the first)
    subject : (n_obs,)
    lloq : (n_obs,), lower limit of quantification, nan where none is known
    below : (n_obs,), whether the observation is below it
    """

    observed: np.ndarray
    simulated: np.ndarray
    time: np.ndarray
    subject: np.ndarray
    lloq: np.ndarray
    below: np.ndarray

    def where(self, keep: np.ndarray) -> "Study":
        """Return the part of the study at some observations."""
        return Study(
            self.observed[keep],
            self.simulated[:, keep],
            self.time[keep],
            self.subject[keep],
            self.lloq[keep],
            self.below[keep],
        )


def simulated_group(dt: xr.DataTree) -> str:
    """Name of the group of a tree that holds replicates.

    Raises
    ------
    ValueError
        Where there is none.
    """
    found = [group for group in GROUPS if group in dt.children and DV in dt[group].data_vars]
    if not found:
        raise ValueError(
            f"This DataTree has no simulated observations (its groups: {', '.join(dt.children) or 'none'}). "
            "Give vpc what popbayes.simulate returned: vpc(simulate(model, data, dt, seed=1))."
        )
    return found[0]


def aligned(dt: xr.DataTree, group: str, events: EventTable, against: str) -> Study:
    """Observations and replicates, after checking that they are the same rows in the same order.

    Raises
    ------
    ValueError
        Where they are not, or where there are no observed values.
    """
    if against not in ("time", "tad"):
        raise ValueError(f'against must be "time" or "tad", not {against!r}.')
    if OBSERVED_DATA not in dt.children or not events.has_dv:
        raise ValueError(
            "There are no observations to check the simulations against: the table that they were simulated "
            "for is a design without DV. Simulate for the data of the fit."
        )
    simulated, observed = dt[group][DV], dt[OBSERVED_DATA][DV]
    rows = observed[OBS].to_numpy()
    if simulated.sizes[OBS] != len(rows) or not np.array_equal(simulated[OBS].to_numpy(), rows):
        raise ValueError(
            f"The {simulated.sizes[OBS]} simulated and the {len(rows)} observed rows are not the same rows "
            "(coordinate obs): they cannot be compared."
        )
    if not np.array_equal(observed.to_numpy(), events.obs_dv):
        raise ValueError("The observed values differ from those of the event table in the same DataTree.")
    values = simulated.transpose(CHAIN, DRAW, OBS).to_numpy().reshape(-1, len(rows))
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        warnings.warn(
            f"{(~finite).sum()} of {len(finite)} simulated studies hold values that are not finite; they are "
            "left out of the check.",
            stacklevel=3,
        )
    if not finite.any():
        raise ValueError("No simulated study is finite throughout: there is nothing to check against.")
    time = events.obs_time if against == "time" else events.obs_tad
    lloq = quantification_limit(events)
    with np.errstate(invalid="ignore"):
        below = (events.cens[events.obs_record] == 1) | (events.obs_dv < lloq)
    return Study(events.obs_dv, values[finite], time, events.obs_subject, lloq, below)
