"""Compartments that a negative CMT turns off: which are off when, and which models can do it."""

from collections.abc import Collection, Mapping

import numpy as np

from popbayes.data.design import Design

OTHER, RESETS = (0, 2), (3, 4)


def switches(
    design: Design, compartments: Mapping[str, str], states: Collection[str]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Compartments that are off before and after each record, as bits (1 for the first state).

    A sample (EVID 0) or other event (EVID 2) with a negative CMT turns its compartment off after what it
    samples; a dose into it or an EVID 2 with its CMT turns it on, EVID 3 and 4 all of them.

    Returns
    -------
    (n_record,) int, (n_record,) int
        Or None, where no CMT is negative.
    """
    if not np.strings.startswith(design.cmt.astype(str), "-").any():
        return None
    labels = [str(one) for one in design.cmt]
    bit = {state: 1 << i for i, state in enumerate(states)}
    before = np.zeros(design.n_record, dtype=np.int64)
    after = np.zeros(design.n_record, dtype=np.int64)
    firsts = set(design.subject_start[:-1].tolist())
    off = 0
    for k, label in enumerate(labels):
        if k in firsts:
            off = 0
        before[k] = off
        own = bit.get(compartments.get(label.removeprefix("-"), ""), 0)
        if design.evid[k] in RESETS:
            off = 0
        if label.startswith("-"):
            off |= own
        elif design.is_dose[k] or (design.evid[k] == 2 and label):
            off &= ~own
        after[k] = off
    return before, after
