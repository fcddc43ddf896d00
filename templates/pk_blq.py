"""Population PK with samples below the limit of quantification, to be changed where you see `<--`.

Run it with ``popbayes run pk_blq.py``, or as ``python pk_blq.py [DIRECTORY]``.
"""

import sys
from pathlib import Path

import popbayes as pb
from popbayes import censoring, pk, prior, residual, variability

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "results")
SEED = 1
LLOQ = 1.0


def example() -> pb.EventTable:
    """Theophylline as if the assay had ended at `LLOQ` mg/L: what is below is known only as that."""
    table = pb.load_dataset("theophylline").to_frame()
    sample = table["EVID"] == 0
    table.loc[sample, "LLOQ"] = LLOQ
    table.loc[sample, "BLQ"] = (table["DV"] < LLOQ).astype(int)
    kept = table.drop(columns="CENS", errors="ignore")
    return pb.read_events(kept, units={"TIME": "h", "DV": "mg/L", "AMT": "mg"}, name="theophylline, LLOQ 1")


def main() -> None:
    """Read, model, prior check, fit, diagnose, report."""
    OUT.mkdir(parents=True, exist_ok=True)

    # 1. Read. Columns CENS (1: DV holds the limit, LIMIT the other end) or BLQ with LLOQ.
    data = example()  # <-- pb.read_events("study.csv")
    print(data)

    # 2. Model. M3, the probability of lying below the limit; M1 (leaving them out) is biased.
    model = pb.PopModel(
        structural=pk.OneCompartment(absorption=pk.FirstOrder()),
        parameters={
            "ka": pb.Parameter(prior.LogNormal(1.5, 0.5), unit="1/h"),  # <-- your prior knowledge
            "CL": pb.Parameter(prior.LogNormal(2.8, 0.5), unit="L/h"),
            "V": pb.Parameter(prior.LogNormal(32.0, 0.5), unit="L"),
        },
        variability=variability.Independent(["ka", "CL", "V"], sd=prior.HalfNormal(0.5)),
        residual=residual.Combined(add=prior.HalfNormal(1.0), prop=prior.HalfNormal(0.3)),
        censoring=censoring.M3(),  # <-- or censoring.M4(): concentrations are known to be positive
        name="oral one-compartment, M3",
    )
    print(model)

    # 3. Prior check. What do the priors imply? Replicates are censored as the observations are.
    print(pb.prior_table(model, seed=SEED))
    pb.plot_vpc(pb.vpc(pb.simulate(model, data, seed=SEED))).savefig(OUT / "prior_vpc.png", dpi=150)

    # 4. Fit. Four chains of the No-U-Turn sampler; everything needed later is in the file.
    dt = pb.fit(model, data, draws=2000, target_accept=0.95, seed=SEED)
    pb.save(dt, OUT / "fit.nc")

    # 5. Diagnose. The lower panel of the check is the percentage below the limit, observed and simulated.
    summary = pb.summary(dt)
    print(summary)
    summary.to_csv(OUT / "parameters.csv")
    pb.plot_individual(dt).savefig(OUT / "individual.png", dpi=150)
    pb.plot_gof(pb.gof(dt)).savefig(OUT / "gof.png", dpi=150)
    pb.plot_vpc(pb.vpc(pb.simulate(model, data, dt, seed=SEED)), log=True).savefig(OUT / "vpc.png", dpi=150)
    print(pb.loo(dt, unit="obs"))

    # 6. Report. One page that needs no other file.
    pb.report(dt, OUT / "report.html")
    print(f"Written to {OUT}/")


if __name__ == "__main__":
    main()
