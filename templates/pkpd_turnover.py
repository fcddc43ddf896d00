"""PK and an indirect response, together: six steps of an analysis, to be changed where you see `<--`.

Run it with ``popbayes run pkpd_turnover.py``, or as ``python pkpd_turnover.py [DIRECTORY]``.
"""

import sys
from pathlib import Path

import popbayes as pb
from popbayes import covariate, pd, pk, prior, residual, variability

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "results")
SEED = 1


def joint_model() -> pb.PopModel:
    """Concentrations and the response that they drive, each with a residual error of its own."""
    return pb.PopModel(
        structural=pd.Turnover(
            pk.OneCompartment(absorption=pk.FirstOrder(Tlag=True)),  # <-- the PK, in closed form
            action="inhibit production",  # <-- or "inhibit loss", "stimulate production", "stimulate loss"
            effect=pd.Imax(full=True),  # <-- inhibition can be complete: IC50 is its only parameter
        ),
        parameters={
            "ka": pb.Parameter(prior.LogNormal(1.0, 0.7), unit="1/h"),
            "Tlag": pb.Parameter(prior.LogNormal(0.5, 0.5), unit="h"),
            "CL": pb.Parameter(
                prior.LogNormal(0.13, 0.5),
                covariates=[covariate.Power("WT", ref=70, exponent=0.75)],
                unit="L/h",
            ),
            "V": pb.Parameter(
                prior.LogNormal(8.0, 0.5),
                covariates=[covariate.Power("WT", ref=70, exponent=1.0)],
                unit="L",
            ),
            "R0": pb.Parameter(prior.LogNormal(100.0, 0.3), unit="%"),
            "kout": pb.Parameter(prior.LogNormal(0.05, 0.7), unit="1/h"),
            "IC50": pb.Parameter(prior.LogNormal(1.5, 1.0), unit="mg/L"),
        },
        variability=[  # PK and response in parts of their own: `pb.sequential` can take them apart
            variability.Independent(["ka", "CL", "V"], sd=prior.HalfNormal(0.5)),
            variability.Independent(["R0", "kout", "IC50"], sd=prior.HalfNormal(0.5)),
        ],
        residual={
            "conc": residual.Combined(add=prior.HalfNormal(0.5), prop=prior.HalfNormal(0.3)),
            "response": residual.Additive(prior.HalfNormal(10.0)),
        },
        dvid={1: "conc", 2: "response"},  # <-- what DVID means in your table
        name="PK and turnover",
    )


def main() -> None:
    """Read, model, prior check, fit, diagnose, report."""
    OUT.mkdir(parents=True, exist_ok=True)

    # 1. Read. DVID tells the observations apart: 1 concentration, 2 response.
    data = pb.load_dataset("warfarin_like")  # <-- pb.read_events("study.csv", covariates=["WT"])
    print(data)

    # 2. Model. kin = kout R0 keeps the baseline.
    model = joint_model()
    print(model)

    # 3. Prior check. One panel for each kind of observation.
    print(pb.prior_table(model, seed=SEED))
    pb.plot_vpc(pb.vpc(pb.simulate(model, data, seed=SEED))).savefig(OUT / "prior_vpc.png", dpi=150)

    # 4. Fit both kinds of observations together. To fit the response after the PK, fit a PK model first:
    #    model, data = pb.sequential(model, data, dt_pk, method="IPP")  # or "PPP&D"; see `pb.sequential`
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
    pb.plot_vpc(pb.vpc(simulated)).savefig(OUT / "vpc.png", dpi=150)

    # 6. Report. One page that needs no other file.
    pb.report(dt, OUT / "report.html", simulated=simulated)
    print(f"Written to {OUT}/")


if __name__ == "__main__":
    main()
