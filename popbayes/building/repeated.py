"""A design in which every subject is there once for each of its states."""

from dataclasses import replace

import numpy as np

from popbayes.data.design import Design
from popbayes.data.events import EventTable
from popbayes.model import PopModel
from popbayes.model.states import States


def repeated_design(
    model: PopModel, events: EventTable, states: States
) -> tuple[EventTable, Design, np.ndarray]:
    """The table with a subject for each state, its design, and the segment that each of its segments is.

    Returns
    -------
    EventTable, Design, (n_segment,) int
        Groups of the design (occasions, sites) are those of the original one: states share their effects.
    """
    table = events.repeated(states.subject)
    design = model.design(table)
    old = states.design
    bounds = np.searchsorted(old.segment_subject, np.arange(old.n_subject + 1))
    segment = np.concatenate([np.arange(bounds[k], bounds[k + 1]) for k in states.subject])
    groups = {key: replace(one, of_segment=one.of_segment[segment]) for key, one in old.groups.items()}
    return table, replace(design, groups=groups), segment
