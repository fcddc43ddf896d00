"""Time after the last dose, additional doses included."""

from __future__ import annotations

import numpy as np


def time_after_dose(
    subject: np.ndarray,
    time: np.ndarray,
    evid: np.ndarray,
    ss: np.ndarray,
    ii: np.ndarray,
    addl: np.ndarray,
) -> np.ndarray:
    """Time since the last dose at every record.

    Additional doses (ADDL, II) count from the time they are given; EVID 3 and 4 and a dose with SS 1 cancel
    those still to come. At equal times an additional dose comes before the records, and these keep their
    order: a sample written before a dose of the same time does not see it. A lag time is not counted.

    Parameters
    ----------
    subject, time, evid, ss, ii, addl : (n_record,) columns of an event table

    Returns
    -------
    (n_record,) in the unit of time; nan before the first dose and after a reset without one.
    """
    n = len(time)
    dose = np.isin(evid, (1, 4))
    new = np.r_[True, subject[1:] != subject[:-1]]
    period = np.cumsum(new | np.isin(evid, (3, 4)) | (dose & (ss == 1)))
    end = np.full(int(period[-1]) + 1, -np.inf)
    np.maximum.at(end, period, time)
    repeating = np.flatnonzero(dose & (addl > 0))
    span = np.floor((end[period[repeating]] - time[repeating]) / ii[repeating]).astype(np.int64)
    count = np.minimum(addl[repeating], span)
    parent = np.repeat(repeating, count)
    step = np.arange(len(parent)) - np.repeat(np.cumsum(count) - count, count) + 1
    all_time = np.r_[time, time[parent] + step * ii[parent]]
    all_period = np.r_[period, period[parent]]
    all_order = np.r_[np.arange(n), np.full(len(parent), -1)]
    all_dose = np.r_[dose, np.ones(len(parent), dtype=bool)]
    order = np.lexsort((all_order, all_time, all_period))
    last = np.maximum.accumulate(np.where(all_dose[order], np.arange(len(order)), -1))
    source = order[np.maximum(last, 0)]
    since = all_time[order] - all_time[source]
    since[(last < 0) | (all_period[source] != all_period[order])] = np.nan
    result = np.empty(len(order))
    result[order] = since
    return result[:n]
