"""A crossover with inter-occasion variability: six steps of an analysis, to be changed where you see `<--`.

Run it with ``popbayes run pk_iov_crossover.py``, or as ``python pk_iov_crossover.py [DIRECTORY]``.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

import popbayes as pb
from popbayes import pk, prior, residual, variability

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "results")
SEED = 1


def crossover_model() -> pb.PopModel:
    """Clearance and absorption differ between occasions too."""
    return pb.PopModel(
        structural=pk.OneCompartment(absorption=pk.FirstOrder()),  # <--
        parameters={
            "ka": pb.Parameter(prior.LogNormal(1.0, 0.5), unit="1/h"),
            "CL": pb.Parameter(prior.LogNormal(3.0, 0.5), unit="L/h"),
            "V": pb.Parameter(prior.LogNormal(30.0, 0.5), unit="L"),
        },
        variability=[
            variability.Independent(["ka", "CL", "V"], sd=prior.HalfNormal(0.5)),
            variability.Occasion(["ka", "CL"], by="OCC", sd=prior.HalfNormal(0.3)),
        ],
        residual=residual.Proportional(prior.HalfNormal(0.3)),
        name="crossover",
    )


def crossover(n_subject: int = 16) -> pb.EventTable:
    """A simulated study to begin with: two periods a week apart, nine samples in each."""
    times = np.array([0.5, 1, 1.5, 2, 4, 8, 12, 16, 24])
    rows = [
        {"ID": i, "TIME": 168.0 * k + t, "AMT": dose, "EVID": evid, "OCC": k + 1}
        for i in range(1, n_subject + 1)
        for k in range(2)
        for t, dose, evid in ((0.0, 100.0, 4), *((t, 0.0, 0) for t in times))
    ]
    design = pb.read_events(pd.DataFrame(rows), units={"TIME": "h", "AMT": "mg", "DV": "mg/L"})
    truth = {"ka_pop": 1.2, "CL_pop": 2.8, "V_pop": 32.0, "sigma_prop": 0.1}
    spread = {"omega": {"ka": 0.4, "CL": 0.3, "V": 0.2}, "gamma": {"ka": 0.3, "CL": 0.15}}
    simulated = pb.simulate(crossover_model(), design, {**truth, **spread}, seed=SEED)
    table = design.to_frame()
    table.loc[table["EVID"] == 0, "DV"] = simulated["predictions"]["dv"].to_numpy().ravel()
    return pb.read_events(table, units=design.units, name="simulated crossover")


def main() -> None:
    """Read, model, prior check, fit, diagnose, report."""
    OUT.mkdir(parents=True, exist_ok=True)

    # 1. Read. OCC numbers the occasions (periods) of a subject; EVID 4 empties the body before a dose.
    data = crossover()  # <-- pb.read_events("study.csv")
    print(data)

    # 2. Model. A parameter may differ between subjects and, for the same subject, between occasions.
    model = crossover_model()
    print(model)

    # 3. Prior check. What do the priors imply, and do simulated data look like data?
    print(pb.prior_table(model, seed=SEED))
    pb.plot_vpc(pb.vpc(pb.simulate(model, data, seed=SEED))).savefig(OUT / "prior_vpc.png", dpi=150)

    # 4. Fit. Four chains of the No-U-Turn sampler; everything needed later is in the file.
    dt = pb.fit(model, data, seed=SEED)
    pb.save(dt, OUT / "fit.nc")

    # 5. Diagnose. Read what `summary` says first; do not use a fit that has not converged.
    summary = pb.summary(dt)
    print(summary)
    summary.to_csv(OUT / "parameters.csv")
    print(pb.shrinkage(dt))  # of subjects and of occasions
    pb.plot_gof(pb.gof(dt)).savefig(OUT / "gof.png", dpi=150)
    simulated = pb.simulate(model, data, dt, seed=SEED)
    pb.plot_vpc(pb.vpc(simulated, pred_corr=True)).savefig(OUT / "vpc.png", dpi=150)

    # 6. Report. One page that needs no other file.
    pb.report(dt, OUT / "report.html")
    print(f"Written to {OUT}/")


if __name__ == "__main__":
    main()
