"""Oral one-compartment population PK: the six steps of an analysis, to be changed where you see `<--`.

Run it with ``popbayes run pk_oral_1cmt.py``, or as ``python pk_oral_1cmt.py [DIRECTORY]``.
"""

import sys
from pathlib import Path

import popbayes as pb
from popbayes import covariate, pk, prior, residual, variability

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "results")
SEED = 1


def main() -> None:
    """Read, model, prior check, fit, diagnose, report."""
    OUT.mkdir(parents=True, exist_ok=True)

    # 1. Read. One row for each dose or sample: ID, TIME, AMT, DV, EVID and the covariates.
    data = pb.load_dataset("theophylline")  # <-- pb.read_events("study.csv", covariates=["WT"])
    print(data)

    # 2. Model. A LogNormal prior is (median, SD of the log): 0.5 says "within a factor of 2.7, 95 in 100".
    model = pb.PopModel(
        structural=pk.OneCompartment(absorption=pk.FirstOrder()),
        parameters={
            "ka": pb.Parameter(prior.LogNormal(1.5, 0.5), unit="1/h"),  # <-- your prior knowledge
            "CL": pb.Parameter(
                prior.LogNormal(2.8, 0.5),
                covariates=[covariate.Power("WT", ref=70, exponent=0.75)],
                unit="L/h",
            ),
            "V": pb.Parameter(
                prior.LogNormal(32.0, 0.5),
                covariates=[covariate.Power("WT", ref=70, exponent=1.0)],
                unit="L",
            ),
        },
        variability=variability.Independent(["ka", "CL", "V"], sd=prior.HalfNormal(0.5)),
        residual=residual.Combined(add=prior.HalfNormal(1.0), prop=prior.HalfNormal(0.3)),
        name="oral one-compartment",
    )
    print(model)

    # 3. Prior check. The intervals must hold the data easily, and hold little that is absurd.
    pb.plot_vpc(pb.vpc(pb.simulate(model, data, seed=SEED))).savefig(OUT / "prior_vpc.png", dpi=150)

    # 4. Fit. Four chains of the No-U-Turn sampler; everything needed later is in the file.
    dt = pb.fit(model, data, seed=SEED)
    pb.save(dt, OUT / "fit.nc")

    # 5. Diagnose. Read what `summary` says first; do not use a fit that has not converged.
    summary = pb.summary(dt)
    print(summary)
    summary.to_csv(OUT / "parameters.csv")
    pb.shrinkage(dt).to_csv(OUT / "shrinkage.csv")
    pb.plot_individual(dt).savefig(OUT / "individual.png", dpi=150)
    pb.plot_gof(pb.gof(dt)).savefig(OUT / "gof.png", dpi=150)
    simulated = pb.simulate(model, data, dt, seed=SEED)
    pb.plot_vpc(pb.vpc(simulated, pred_corr=True)).savefig(OUT / "vpc.png", dpi=150)
    print(pb.loo(dt, unit="obs"))

    # 6. Report. One page that needs no other file.
    pb.report(dt, OUT / "report.html")
    print(f"Written to {OUT}/")


if __name__ == "__main__":
    main()
