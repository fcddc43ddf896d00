"""Population PK with covariates: the six steps of an analysis, to be changed where you see `<--`.

Run it with ``popbayes run pk_covariates.py``, or as ``python pk_covariates.py [DIRECTORY]``.
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

    # 1. Read. Covariates are columns of the table; one that changes in a subject is time-varying.
    data = pb.load_dataset("phenobarb")  # <-- pb.read_events("study.csv", covariates=["WT", "APGR"])
    print(data)

    # 2. Model. `ref` is where the parameter has its typical value: here a newborn of 1.3 kg, Apgar score 7.
    size = covariate.Allometry("WT", ref=1.3)  # 0.75 on clearances, 1 on volumes; sd=0.1 estimates it
    model = pb.PopModel(
        structural=pk.OneCompartment(),  # <--
        parameters={
            "CL": pb.Parameter(prior.LogNormal.from_quantiles(0.002, 0.02), covariates=[size], unit="L/h"),
            "V": pb.Parameter(
                prior.LogNormal.from_quantiles(0.5, 4.0),
                covariates=[size, covariate.Exponential("APGR", ref=7, coefficient=prior.Normal(0, 0.05))],
                unit="L",
            ),
        },
        variability=variability.Correlated(["CL", "V"], sd=prior.HalfNormal(0.5), lkj=2),
        residual=residual.Proportional(prior.HalfNormal(0.3)),  # <-- too few samples to tell Combined apart
        name="phenobarbital in newborns",
    )
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
    effects = pb.covariate_table(dt)  # factors at the 5th and 95th percentile of each covariate
    print(effects)
    effects.to_csv(OUT / "covariates.csv")
    pb.plot_forest(effects).savefig(OUT / "forest.png", dpi=150)
    pb.plot_gof(pb.gof(dt)).savefig(OUT / "gof.png", dpi=150)
    simulated = pb.simulate(model, data, dt, seed=SEED)
    pb.plot_vpc(pb.vpc(simulated, pred_corr=True)).savefig(OUT / "vpc.png", dpi=150)

    # 6. Report. One page that needs no other file.
    pb.report(dt, OUT / "report.html")
    print(f"Written to {OUT}/")


if __name__ == "__main__":
    main()
