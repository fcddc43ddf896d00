"""Which observations are known only to lie beyond a limit, as the model takes them."""

import numpy as np

from popbayes.infer.tree import Study
from popbayes.observation.observed import quantification_limit

BELOW, ABOVE = 1, -1
"""Sides of a limit, as CENS has them; 0 is a measured value."""


def beyond_limits(study: Study) -> tuple[np.ndarray, np.ndarray]:
    """Side and limit of every observation that is not measured.

    Beside those with CENS, a value below its LLOQ is none where the model has a method for censored ones.

    Returns
    -------
    side : (n_obs,) int
        1 below the limit, -1 above it, 0 where the observation is measured.
    limit : (n_obs,)
        The limit; nan where the observation is measured.
    """
    events = study.events
    record = events.obs_record
    side = events.cens[record].astype(int)
    limit = np.where(side != 0, events.dv[record], np.nan)
    if study.model.observation.censoring is None:
        return side, limit
    under = study.observed.unmarked
    return np.where(under, BELOW, side), np.where(under, quantification_limit(events), limit)
