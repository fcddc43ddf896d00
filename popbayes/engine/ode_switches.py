"""Kernel templates: compartments of an ODE model that a negative CMT turns off (see `switches.py`).

A compartment that is off is empty and stays so: its rate of change is 0 whatever flows to it, and what flows
is lost. Which are off stands in the scratch `w`: as bits at `P_OFF`, and as 0 (off) or 1 for each state at
`ON`, where rates and their derivatives look. Every change is a row of the tape.

Nothing depends on what a compartment held when it was turned off, nor, while it is off, on its state: the
adjoint there is 0.
"""

from popbayes.engine.ode_steps import C_STEP, P_OFF, T_SWITCH
from popbayes.engine.ode_walk import UNTIMED
from popbayes.engine.schedule import BOLUS, S_CHANNEL, S_KIND

# Bound by ode.py; the values here only let the module be read and checked.
N_STATES = N_OWN = X = MU = ON = 0
INFUSIONS = SWITCHES = True
TARGET: tuple[int, ...] = ()


def _unbound(*_):
    raise RuntimeError("a kernel template is compiled by popbayes.engine.specialise, not called")


note = interrupt = infuse = running_infusions = _unbound


def is_off(i, w):
    """Whether state `i` is off now."""
    if SWITCHES:
        return w[ON + i] == 0.0
    return False


def set_off(off, w):
    """Take up which states are off, as bits."""
    w[P_OFF] = 1.0 * off
    for i in range(N_STATES):
        w[ON + i] = 0.0 if (off >> (i % N_OWN)) & 1 else 1.0


def empty(at, w):
    """What lies at ``w[at:]`` is 0 for states that are off."""
    if SWITCHES:
        for i in range(N_STATES):
            if w[ON + i] == 0.0:
                w[at + i] = 0.0


def switch(t, off, seg, w, tape, slots):
    """From now on these states are off, and empty; the others are on."""
    note(tape, slots, T_SWITCH, seg, t, w[P_OFF], 0.0, w)
    set_off(off, w)
    empty(X, w)
    interrupt(w)


def drop_off(t, running, active, seg, coefs, si, streams, w, tape, slots):
    """End the streams into states that are off; returns how many stay active."""
    j = 0
    while j < running:
        s = active[j]
        if not is_off(TARGET[si[s, S_CHANNEL]], w):
            j += 1
            continue
        if INFUSIONS:
            number = running_infusions(s, streams)
            if si[s, S_KIND] != BOLUS and number > 0.0:
                infuse(s, t, -number, UNTIMED, seg, coefs, si, streams, w, tape, slots)
        running -= 1
        active[j] = active[running]
    return running


def pull_switch(row, tape, w):
    """Adjoint of `switch`: states that were or are off have none."""
    empty(MU, w)
    set_off(int(tape[row + C_STEP]), w)
    empty(MU, w)


def without_off(matrix, w):
    """States that are off are no part of a system of equations: theirs are those of the unit matrix."""
    if SWITCHES:
        for i in range(N_OWN):
            if w[ON + i] == 0.0:
                for j in range(N_OWN):
                    matrix[i * N_OWN + j] = 0.0
                    matrix[j * N_OWN + i] = 0.0
                matrix[i * N_OWN + i] = 1.0


# In the order in which they are compiled; `LAST` after the walk's `infuse` and `running_infusions`.
TEMPLATES = (is_off, set_off, empty, without_off, pull_switch)
LAST = (switch, drop_off)
