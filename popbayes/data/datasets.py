"""load_dataset: studies that come with popbayes, published ones and a simulated one, with their source.

How the files were made, and what was assumed, stands in ``popbayes/data/csv/README.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from popbayes.data.columns import unknown
from popbayes.data.events import EventTable, read_events

CSV = Path(__file__).parent / "csv"


@dataclass(frozen=True)
class Study:
    """What is known about a bundled study beside its table."""

    description: str
    """A few words: beside the name and the counts it has to fit on a line of 80 characters."""
    source: str
    covariates: dict[str, str] = field(default_factory=dict)
    """Covariate -> unit, empty where it has none."""
    dv_unit: str | dict[int, str] = "mg/L"


STUDIES = {
    "theophylline": Study(
        "Oral, one dose, 11 samples over 25 h",
        "Upton, in Boeckmann, Sheiner & Beal, NONMEM Users Guide V (1994); R datasets::Theoph",
        {"WT": "kg"},
    ),
    "indometh": Study(
        "Intravenous, one dose (25 mg assumed)",
        "Kwan et al., J Pharmacokinet Biopharm 4 (1976) 255-280; R datasets::Indometh",
    ),
    "phenobarb": Study(
        "Newborns, repeated intravenous doses",
        "Grasela & Donn, Dev Pharmacol Ther 8 (1985) 374-383; R nlme::Phenobarb",
        {"WT": "kg", "APGR": ""},
    ),
    "quinidine": Study(
        "Oral, routine, covariates that change",
        "Verme et al., Clin Pharmacokinet 22 (1992) 468-480; R nlme::Quinidine",
        {
            "WT": "kg",
            "AGE": "y",
            "HT": "in",
            "AAG": "g/L",
            "RACE": "",
            "SMOKE": "",
            "ETHANOL": "",
            "HEART": "",
            "CRCL": "",
        },
    ),
    "warfarin_like": Study(
        "Simulated, oral, PK and a response",
        "simulated by scripts/simulate_warfarin_like.py, in the form of the warfarin study of O'Reilly & "
        "Aggeler (1968); no number is of that study",
        {"WT": "kg", "AGE": "y", "SEX": ""},
        dv_unit={1: "mg/L", 2: "%"},
    ),
}


def load_dataset(name: str) -> EventTable:
    """Return a bundled study, with its covariates and units.

    Parameters
    ----------
    name : one of those that `list_datasets` lists

    Raises
    ------
    ValueError
        For another name.

    Examples
    --------
    >>> data = load_dataset("theophylline")
    >>> data.n_subject, data.n_obs
    (12, 132)
    """
    if name not in STUDIES:
        raise unknown("data set", name, list(STUDIES))
    study = STUDIES[name]
    units: dict[str, Any] = {"TIME": "h", "DV": study.dv_unit, "AMT": "mg"} | {
        k: v for k, v in study.covariates.items() if v
    }
    table = read_events(CSV / f"{name}.csv", covariates=study.covariates, units=units, name=name)
    return replace(table, source=study.source)


def list_datasets() -> pd.DataFrame:
    """Return a table of the bundled studies: name, subjects, observations, description.

    It is narrow enough to be printed whole; where a study comes from is `load_dataset(name).source`.
    """
    tables = {name: load_dataset(name) for name in STUDIES}
    return pd.DataFrame(
        {
            "name": list(tables),
            "subjects": [t.n_subject for t in tables.values()],
            "observations": [t.n_obs for t in tables.values()],
            "description": [STUDIES[name].description for name in tables],
        }
    )
