"""Solutions of differential equations that failed: how many, and whose."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from popbayes.engine.failures import watching
from popbayes.engine.ode_declaration import is_ode
from popbayes.engine.op import route
from popbayes.infer.tree import Study
from popbayes.wording import listed

FAILED = "failed_solves"
"""Attribute of a DataTree: JSON, what was done -> subject -> number of solutions that failed."""
MOST_NAMED = 5

Counts = dict[str, int]


@contextmanager
def counted(study: Study) -> Iterator[Counts]:
    """Collect subject -> number of failed solutions; filled when the block ends.

    Empty for a model with a closed form, which has nothing that could fail.
    """
    found: Counts = {}
    if not is_ode(study.model.structural):
        yield found
        return
    schedule = route(study.model.structural, study.design, study.observed.output).schedule
    with watching(schedule) as counts:
        yield found
        labels = study.events.subjects
        found.update({str(labels[i]): int(counts[i]) for i in np.flatnonzero(counts)})


def as_attribute(**stages: Counts) -> dict[str, str]:
    """The attribute `FAILED`, stage by stage; only stages in which something failed."""
    return {FAILED: json.dumps({name: counts for name, counts in stages.items() if counts})}


def failed_text(counts: Mapping[str, int]) -> str:
    """``17 times: for subject 7 (15), 3 (2)``."""
    order = sorted(counts, key=lambda subject: -counts[subject])
    named = listed(f"{subject} ({counts[subject]})" for subject in order[:MOST_NAMED])
    more = f" and {len(order) - MOST_NAMED} more" if len(order) > MOST_NAMED else ""
    return f"{sum(counts.values())} times, for subject {named}{more}"


WHY = (
    "a solution fails where it needs more than max_steps steps, or where rates are not finite (a power or a "
    "logarithm of a state that went below 0)"
)
