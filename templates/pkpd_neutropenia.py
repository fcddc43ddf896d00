"""Neutropenia after chemotherapy (Friberg-Karlsson): six steps, to be changed where you see `<--`.

Run it with ``popbayes run pkpd_neutropenia.py``, or as ``python pkpd_neutropenia.py [DIRECTORY]``.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

import popbayes as pb
from popbayes import pd as response
from popbayes import pk, prior, residual, variability

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "results")
SEED = 1
UNITS = {"TIME": "h", "AMT": "mg", "DV": "10^9/L", "CL_PK": "L/h", "V_PK": "L"}


def neutropenia_model() -> pb.PopModel:
    """Neutrophils; the PK of each subject is known from an earlier analysis (columns CL_PK, V_PK)."""
    return pb.PopModel(
        structural=response.FribergKarlsson(pk.OneCompartment(), effect=response.Linear()),  # <--
        parameters={
            "CL": pb.Parameter.from_column("CL_PK", unit="L/h"),  # <-- or a prior, with observations of conc
            "V": pb.Parameter.from_column("V_PK", unit="L"),
            "MTT": pb.Parameter(prior.LogNormal(100.0, 0.3), unit="h"),
            "Circ0": pb.Parameter(prior.LogNormal(5.0, 0.3), unit="10^9/L"),
            "gamma": pb.Parameter(prior.LogNormal(0.17, 0.3)),
            "slope": pb.Parameter(prior.LogNormal(0.1, 1.0), unit="L/mg"),
        },
        variability=variability.Independent(["MTT", "Circ0", "slope"], sd=prior.HalfNormal(0.4)),
        residual={"neutrophils": residual.LogNormal(prior.HalfNormal(0.5))},
        name="neutropenia",
    )


def simulated_study(n_subject: int = 24) -> pb.EventTable:
    """A study to begin with: two courses three weeks apart, neutrophils twice a week."""
    rng = np.random.default_rng(SEED)
    days = [0, 4, 7, 10, 14, 17, 21, 25, 28, 32, 36, 42]
    known = {
        i: {"CL_PK": 10 * np.exp(0.3 * a), "V_PK": 70 * np.exp(0.2 * b)}
        for i, (a, b) in enumerate(rng.standard_normal((n_subject, 2)), start=1)
    }
    records = [(0.0, 1000.0), (504.0, 1000.0), *((24.0 * day, 0.0) for day in days)]
    rows = [
        {"ID": i, "TIME": t, "AMT": amt, "EVID": int(amt > 0), **own}
        for i, own in known.items()
        for t, amt in sorted(records)
    ]
    design = pb.read_events(pd.DataFrame(rows), covariates=["CL_PK", "V_PK"], units=UNITS)
    truth = {"MTT_pop": 90.0, "Circ0_pop": 5.0, "gamma_pop": 0.16, "slope_pop": 0.15, "sigma_log": 0.2}
    drawn = pb.simulate(
        neutropenia_model(), design, {**truth, "omega": {"MTT": 0.15, "Circ0": 0.3, "slope": 0.3}}, seed=SEED
    )
    table = design.to_frame()
    table.loc[table["EVID"] == 0, "DV"] = drawn["predictions"]["dv"].to_numpy().ravel()
    return pb.read_events(table, covariates=["CL_PK", "V_PK"], units=UNITS, name="simulated neutropenia")


def main() -> None:
    """Read, model, prior check, fit, diagnose, report."""
    OUT.mkdir(parents=True, exist_ok=True)

    # 1. Read. Doses, neutrophil counts, and what is known of each subject's PK.
    data = simulated_study()  # <-- pb.read_events("study.csv", covariates=["CL_PK", "V_PK"])
    print(data)

    # 2. Model. `pb.sequential` writes such a model and its columns from a joint model and a fit of the PK.
    model = neutropenia_model()
    print(model)

    # 3. Prior check. The nadir, its time and the recovery should look like those of patients.
    pb.plot_vpc(pb.vpc(pb.simulate(model, data, seed=SEED))).savefig(OUT / "prior_vpc.png", dpi=150)

    # 4. Fit. Five states are integrated; the PK keeps its closed form. Small steps: MTT and slope trade off.
    dt = pb.fit(model, data, tune=500, target_accept=0.95, seed=SEED)
    pb.save(dt, OUT / "fit.nc")

    # 5. Diagnose. Read what `summary` says first; do not use a fit that has not converged.
    summary = pb.summary(dt)
    print(summary)
    summary.to_csv(OUT / "parameters.csv")
    pb.plot_individual(dt).savefig(OUT / "individual.png", dpi=150)
    pb.plot_gof(pb.gof(dt)).savefig(OUT / "gof.png", dpi=150)
    simulated = pb.simulate(model, data, dt, seed=SEED)
    pb.plot_vpc(pb.vpc(simulated), log=True).savefig(OUT / "vpc.png", dpi=150)

    # 6. Report. One page that needs no other file.
    pb.report(dt, OUT / "report.html", simulated=simulated)
    print(f"Written to {OUT}/")


if __name__ == "__main__":
    main()
