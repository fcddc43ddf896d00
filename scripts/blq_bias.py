"""What Beal's methods do to estimates where a third of the observations are below the limit: the docs' table.

Simulates studies of known truth, estimates each with every method by Laplace's approximation, prints the
mean estimates, and writes all of them to ``docs/blq_bias.csv``. ``python scripts/blq_bias.py [STUDIES]``.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

import popbayes as pb
from popbayes import censoring, pk, prior, residual, variability
from popbayes.simulation import as_data

TRUTH = {"CL_pop": 5.0, "V_pop": 50.0, "omega": {"CL": 0.5, "V": 0.2}, "sigma_prop": 0.2, "sigma_add": 0.05}
LLOQ = 0.3
METHODS = ("M1", "M3", "M5", "M6", "M7")
STUDIES = 10
RESULTS = Path(__file__).parents[1] / "docs" / "blq_bias.csv"


def model(method: censoring.AbstractCensoring) -> pb.PopModel:
    """One compartment, bolus, combined error."""
    return pb.PopModel(
        pk.OneCompartment(),
        {"CL": pb.Parameter(prior.LogNormal(5, 0.5)), "V": pb.Parameter(prior.LogNormal(50, 0.5))},
        variability.Independent(["CL", "V"], sd=prior.HalfNormal(0.5)),
        residual.Combined(add=prior.HalfNormal(0.2), prop=prior.HalfNormal(0.3)),
        censoring=method,
    )


def study(seed: int) -> pb.EventTable:
    """Sixty subjects, four samples each, what is below the limit known as that only."""
    design = pb.Regimen(times=[1, 8, 16, 24]).dose(100).to_events(60)
    table = as_data(pb.simulate(model(censoring.M3()), design, TRUTH, seed=seed)).to_frame()
    sample = table["EVID"] == 0
    table.loc[sample, "LLOQ"] = LLOQ
    table.loc[sample, "BLQ"] = (table["DV"] < LLOQ).astype(int)
    return pb.read_events(table.drop(columns="CENS", errors="ignore"))


def estimates(seed: int, name: str, data: pb.EventTable) -> dict[str, float | str]:
    """One row of the table: what a method makes of a study."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pb.estimate(model(getattr(censoring, name)()), data, method=pb.Laplace(), progress=False)
    below = float(np.mean(data.cens[data.obs_record] == 1))
    table = found["estimates"]["value"].to_series()
    return {"study": seed, "method": name, "below": below, **table.round(5).to_dict()}


def main() -> None:
    """Print the table."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else STUDIES
    rows = []
    for seed in range(number):
        data = study(seed)
        rows += [estimates(seed, name, data) for name in METHODS]
        print(f"study {seed + 1} of {number}", flush=True)
    table = pd.DataFrame(rows)
    if number == STUDIES:
        table.to_csv(RESULTS, index=False)
    print(table.drop(columns="study").groupby("method").mean().round(3).to_string())


if __name__ == "__main__":
    main()
