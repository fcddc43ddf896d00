"""Dosing scenarios of every kind, written with `Regimen`, for tests of events and gradients."""

import numpy as np

from popbayes.data.regimen import Regimen

SAMPLES = np.array([0.0, 0.5, 1.0, 2.5, 4.0, 7.0, 10.0, 12.0, 13.0, 20.0, 24.0, 30.0, 36.0, 49.0, 60.0])
CENTRAL = "central"


def _r() -> Regimen:
    return Regimen(times=SAMPLES)


#: Name -> regimen for a model with a depot, and with F2, Tlag2, D2 and R2 on doses into central.
SCENARIOS: dict[str, Regimen] = {
    "one oral dose": _r().dose(100),
    "one bolus": _r().dose(100, cmt=CENTRAL),
    "additional oral doses": _r().dose(100, ii=12, addl=3),
    "twenty doses, many between samples": _r().dose(100, ii=2.7, addl=19),
    "a thousand doses between two samples": Regimen(times=[0.0, 1.0, 500.0, 501.0]).dose(
        10, ii=0.4, addl=999
    ),
    "eight dose records": _r().dose(50, time=[0, 6, 12, 18, 24, 30, 36, 42]),
    "infusion": _r().dose(100, cmt=CENTRAL, rate=20),
    "infusions, additional": _r().dose(100, cmt=CENTRAL, rate=20, ii=12, addl=3),
    "infusions that overlap": _r().dose(100, cmt=CENTRAL, rate=4, ii=12, addl=3),
    "infusions, many between samples": Regimen(times=[0.3, 1.0, 40.0, 47.9, 70.0]).dose(
        10, cmt=CENTRAL, rate=20, ii=1.7, addl=25
    ),
    "infusion into the depot": _r().dose(100, rate=20, ii=24, addl=1),
    "modelled duration": _r().dose(100, cmt=CENTRAL, rate=-2, ii=24, addl=1),
    "modelled rate": _r().dose(100, cmt=CENTRAL, rate=-1, ii=24, addl=1),
    "oral and intravenous": _r().dose(100, ii=12, addl=3).dose(30, time=6, cmt=CENTRAL, rate=10),
    "steady state, oral": _r().dose(100, ii=12, ss=1),
    "steady state, bolus with lag": _r().dose(100, cmt=CENTRAL, ii=12, ss=1),
    "steady state, interval shorter than the lag": _r().dose(100, cmt=CENTRAL, ii=0.5, ss=1),
    "steady state, then additional": _r().dose(100, ii=12, ss=1, addl=3),
    "steady state, infusion": _r().dose(100, cmt=CENTRAL, rate=20, ii=12, ss=1, addl=2),
    "steady state, infusion longer than II": _r().dose(100, cmt=CENTRAL, rate=4, ii=8, ss=1, addl=2),
    "steady state, modelled duration": _r().dose(100, cmt=CENTRAL, rate=-2, ii=8, ss=1),
    "steady state, constant infusion": _r().dose(0, cmt=CENTRAL, rate=7, ss=1),
    "steady state after other doses": _r().dose(80, ii=5, addl=9).dose(100, time=12, ii=12, ss=1),
    "steady state on top": _r().dose(100, ii=12, ss=1).dose(60, time=6, ii=12, ss=2, cmt=CENTRAL),
    "reset": _r().dose(100, ii=6, addl=9).reset(25).dose(50, time=30),
    "reset of an infusion": _r().dose(100, cmt=CENTRAL, rate=5).reset(10),
    "reset and dose": _r().dose(100, ii=6, addl=9).dose(70, time=25, evid=4),
    "reset and dose at steady state": _r().dose(100).dose(70, time=25, evid=4, ii=6, ss=1, addl=2),
    "samples before the first dose": Regimen(times=[0, 1, 4, 6]).dose(100, time=4),
}

PARAMETERS = {
    "ka": 1.1,
    "CL": 2.2,
    "V": 17.0,
    "V1": 17.0,
    "Q": 1.3,
    "V2": 25.0,
    "Q2": 0.4,
    "V3": 60.0,
    "F": 0.8,
    "Tlag": 0.37,
    "F2": 0.9,
    "Tlag2": 0.61,
    "D2": 3.3,
    "R2": 11.0,
}

SINGLE = [
    "one oral dose",
    "one bolus",
    "eight dose records",
    "samples before the first dose",
]
REPEATED = [*SINGLE, "additional oral doses", "twenty doses, many between samples",
            "a thousand doses between two samples", "reset", "reset and dose"]  # fmt: skip
#: Kinds of kernel (see `popbayes.engine.schedule.Features`) -> scenarios that bring them about.
LEVELS = {"single doses": SINGLE, "repeated doses": REPEATED, "everything": list(SCENARIOS)}
