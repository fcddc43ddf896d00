"""Covariates selected inside the posterior: six steps of an analysis, to be changed where you see `<--`.

Run it as ``popbayes run pk_covariate_selection.py`` or ``python pk_covariate_selection.py [DIRECTORY]``.
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

    # 1. Read. Candidates are columns of the table, time-varying ones included.
    data = pb.load_dataset("quinidine")  # <-- pb.read_events("study.csv", covariates=[...])
    print(data)

    # 2. Model. All candidates stay in; the horseshoe shrinks what does nothing, and leaves the rest alone.
    candidates = [  # <-- their coefficients are the horseshoe's: write 0
        covariate.Power("WT", exponent=0),
        covariate.Power("AGE", exponent=0),
        covariate.Power("HT", exponent=0),
        covariate.Power("AAG", exponent=0),
    ]
    select = covariate.Select(candidates, prior=prior.Horseshoe(expected=1, omega=0.3))
    model = pb.PopModel(
        structural=pk.OneCompartment(absorption=pk.FirstOrder()),
        parameters={
            "ka": pb.Parameter(prior.LogNormal(0.7, 0.5), unit="1/h"),
            "CL": pb.Parameter(prior.LogNormal.from_quantiles(4, 40), covariates=[select], unit="L/h"),
            "V": pb.Parameter(prior.LogNormal.from_quantiles(60, 600), unit="L"),
        },
        variability=variability.Independent(["CL", "V"], sd=prior.HalfNormal(0.5)),
        residual=residual.Combined(add=prior.HalfNormal(1.0), prop=prior.HalfNormal(0.3)),
        name="quinidine",
    )
    print(model)

    # 3. Prior check. What do the priors imply, and do simulated data look like data?
    print(pb.prior_table(model, seed=SEED))
    pb.plot_vpc(pb.vpc(pb.simulate(model, data, seed=SEED))).savefig(OUT / "prior_vpc.png", dpi=150)

    # 4. Fit. Four chains of the No-U-Turn sampler; everything needed later is in the file. A horseshoe is
    # narrow where a candidate has no effect and wide where it has: shorter steps, and more of them.
    dt = pb.fit(model, data, draws=2000, target_accept=0.95, seed=SEED)
    pb.save(dt, OUT / "fit.nc")

    # 5. Diagnose. Read what `summary` says first; do not use a fit that has not converged.
    summary = pb.summary(dt)
    print(summary)
    summary.to_csv(OUT / "parameters.csv")
    effects = pb.covariate_table(dt)  # `outside`: probability that it matters
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
