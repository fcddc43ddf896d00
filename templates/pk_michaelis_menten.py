"""Saturable elimination (Michaelis-Menten): six steps of an analysis, to be changed where you see `<--`.

Run it with ``popbayes run pk_michaelis_menten.py``, or as ``python pk_michaelis_menten.py [DIRECTORY]``.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

import popbayes as pb
from popbayes import pk, prior, residual, variability

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "results")
SEED = 1


def saturable_model() -> pb.PopModel:
    """Elimination by Vmax C / (Km + C); `linear=True` adds a clearance beside it."""
    return pb.PopModel(
        structural=pk.MichaelisMenten(absorption=pk.FirstOrder()),  # <-- or an ode.System of your own
        parameters={
            "ka": pb.Parameter(prior.LogNormal(1.0, 0.5), unit="1/h"),
            "V": pb.Parameter(prior.LogNormal(40.0, 0.5), unit="L"),
            "Vmax": pb.Parameter(prior.LogNormal(15.0, 0.5), unit="mg/h"),
            "Km": pb.Parameter(prior.LogNormal(3.0, 0.5), unit="mg/L"),
        },
        variability=variability.Independent(["ka", "V", "Vmax"], sd=prior.HalfNormal(0.4)),
        residual=residual.Proportional(prior.HalfNormal(0.3)),
        name="saturable elimination",
    )


def simulated_study(n_subject: int = 20) -> pb.EventTable:
    """A study to begin with: half of the subjects get 100 mg, half 500 mg, so that Km shows."""
    times = [0.5, 1, 2, 4, 8, 12, 24, 36, 48]
    rows = [
        {"ID": i, "TIME": t, "AMT": amt, "EVID": int(amt > 0), "GROUP": 100 if i % 2 else 500}
        for i in range(1, n_subject + 1)
        for t, amt in ((0.0, 100.0 if i % 2 else 500.0), *((t, 0.0) for t in times))
    ]
    units = {"TIME": "h", "AMT": "mg", "DV": "mg/L", "GROUP": "mg"}
    design = pb.read_events(pd.DataFrame(rows), covariates=["GROUP"], units=units)
    truth = {"ka_pop": 1.1, "V_pop": 38.0, "Vmax_pop": 16.0, "Km_pop": 2.5, "sigma_prop": 0.1}
    drawn = pb.simulate(
        saturable_model(), design, {**truth, "omega": {"ka": 0.3, "V": 0.15, "Vmax": 0.2}}, seed=SEED
    )
    table = design.to_frame()
    table.loc[table["EVID"] == 0, "DV"] = drawn["predictions"]["dv"].to_numpy().ravel()
    return pb.read_events(table, covariates=["GROUP"], units=units, name="simulated, two doses")


def main() -> None:
    """Read, model, prior check, fit, diagnose, report."""
    OUT.mkdir(parents=True, exist_ok=True)

    # 1. Read. Doses that reach well above Km, and samples that fall well below it, tell Vmax and Km apart.
    data = simulated_study()  # <-- pb.read_events("study.csv")
    print(data)

    # 2. Model. Vmax is an amount per time, Km a concentration; Vmax / Km is the clearance at low doses.
    model = saturable_model()
    print(model)

    # 3. Prior check. What do the priors imply, and do simulated data look like data?
    print(pb.prior_table(model, seed=SEED))
    pb.plot_vpc(pb.vpc(pb.simulate(model, data, seed=SEED), by="GROUP")).savefig(
        OUT / "prior_vpc.png", dpi=150
    )

    # 4. Fit. Km moves the Vmax of all subjects together: `low_rank` lets the sampler learn such directions.
    dt = pb.fit(model, data, seed=SEED, adaptation="low_rank", tune=500)
    pb.save(dt, OUT / "fit.nc")

    # 5. Diagnose. Read what `summary` says first: Vmax and Km are the ones that data leave correlated.
    summary = pb.summary(dt)
    print(summary)
    summary.to_csv(OUT / "parameters.csv")
    log = [np.log(dt["posterior"][name].to_numpy().ravel()) for name in ("Vmax_pop", "Km_pop")]
    print(f"Correlation of log Vmax and log Km: {np.corrcoef(log)[0, 1]:.2f}")
    pb.plot_individual(dt).savefig(OUT / "individual.png", dpi=150)
    pb.plot_gof(pb.gof(dt)).savefig(OUT / "gof.png", dpi=150)
    simulated = pb.simulate(model, data, dt, seed=SEED)
    pb.plot_vpc(pb.vpc(simulated, by="GROUP"), log=True).savefig(OUT / "vpc.png", dpi=150)

    # 6. Report. One page that needs no other file.
    pb.report(dt, OUT / "report.html", simulated=simulated)
    print(f"Written to {OUT}/")


if __name__ == "__main__":
    main()
