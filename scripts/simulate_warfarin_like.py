"""Simulate popbayes/data/csv/warfarin_like.csv: a study of the form of the warfarin PK/PD study.

Run it with ``uv run python scripts/simulate_warfarin_like.py [DIR]``. The true values stand in `TRUTH`. They
and the design (32 adults, one oral dose of 1.5 mg/kg, concentrations to 120 h and prothrombin complex
activity to 144 h) are like those published of O'Reilly & Aggeler, *Circulation* 38 (1968) 169-177; no number
is of that study.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

import popbayes as pb
from popbayes import covariate, pk, prior, residual, variability
from popbayes import pd as response

CSV = Path(__file__).parents[1] / "popbayes" / "data" / "csv"
SEED = 1968
N_SUBJECT = 32
CONC_TIMES = np.array([0.5, 1.0, 2.0, 3.0, 6.0, 9.0, 12.0, 24.0, 36.0, 48.0, 72.0, 96.0, 120.0])
PCA_TIMES = np.array([0.0, 24.0, 36.0, 48.0, 72.0, 96.0, 120.0, 144.0])
TRUTH = {
    "ka_pop": 1.3, "Tlag_pop": 0.4, "CL_pop": 0.135, "V_pop": 8.0,
    "R0_pop": 96.0, "kout_pop": 0.055, "IC50_pop": 1.2,
    "omega": {"ka": 0.6, "CL": 0.28, "V": 0.18, "R0": 0.06, "kout": 0.12, "IC50": 0.4},
    "sigma_add_conc": 0.15, "sigma_prop_conc": 0.08, "sigma_add_response": 4.0,
}  # fmt: skip


def true_model() -> pb.PopModel:
    """One compartment with lag, and inhibition of the production of clotting factors."""
    start, small = pb.Parameter(prior.LogNormal(1.0, 1.0)), prior.HalfNormal(1.0)
    by_weight = {
        name: pb.Parameter(
            prior.LogNormal(1.0, 1.0), covariates=[covariate.Power("WT", ref=70, exponent=power)]
        )
        for name, power in (("CL", 0.75), ("V", 1.0))
    }
    return pb.PopModel(
        structural=response.Turnover(
            pk.OneCompartment(pk.FirstOrder(Tlag=True)), effect=response.Imax(full=True)
        ),
        parameters={"ka": start, "Tlag": start, **by_weight, "R0": start, "kout": start, "IC50": start},
        variability=variability.Independent(["ka", "CL", "V", "R0", "kout", "IC50"], sd=small),
        residual={"conc": residual.Combined(small, small), "response": residual.Additive(small)},
    )


def design(rng: np.random.Generator) -> pd.DataFrame:
    """Who is dosed and sampled when: half of the subjects early, all of them late; sex and weight."""
    rows = []
    for subject in range(1, N_SUBJECT + 1):
        male = int(rng.random() < 0.8)
        weight = float(np.round(rng.normal(76 if male else 61, 10 if male else 7), 1))
        age = int(rng.integers(21, 45))
        early = subject % 2 == 0
        conc = CONC_TIMES if early else CONC_TIMES[CONC_TIMES >= 12.0]
        base = {"ID": subject, "WT": weight, "AGE": age, "SEX": "M" if male else "F"}
        rows.append({**base, "TIME": 0.0, "AMT": round(1.5 * weight, 1), "EVID": 1, "DVID": 0})
        rows += [{**base, "TIME": t, "AMT": 0.0, "EVID": 0, "DVID": 1} for t in conc]
        rows += [{**base, "TIME": t, "AMT": 0.0, "EVID": 0, "DVID": 2} for t in PCA_TIMES]
    return pd.DataFrame(rows).sort_values(["ID", "TIME", "EVID", "DVID"], ascending=[True, True, False, True])


def simulated() -> pd.DataFrame:
    """The table with observations drawn from the model at the true values."""
    table = design(np.random.default_rng(SEED)).reset_index(drop=True)
    events = pb.read_events(table, covariates=["WT"], columns={"AGE": None, "SEX": None})
    drawn = pb.simulate(true_model(), events, TRUTH, seed=SEED)
    dv = drawn["predictions"]["dv"].to_numpy().ravel()
    rows = (table["EVID"] == 0).to_numpy()
    table.loc[rows, "DV"] = np.where(table.loc[rows, "DVID"] == 1, dv.round(2), dv.round(1))
    table.loc[table["EVID"] == 1, "DVID"] = np.nan
    table["DVID"] = table["DVID"].astype("Int64")
    return table[["ID", "TIME", "AMT", "EVID", "DVID", "DV", "WT", "AGE", "SEX"]]


def main(folder: Path) -> None:
    """Write ``warfarin_like.csv``."""
    table = simulated()
    table.to_csv(folder / "warfarin_like.csv", index=False, na_rep=".", lineterminator="\n")
    print(f"warfarin_like: {len(table)} records, lowest DV {table['DV'].min():g}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else CSV)
