"""Theophylline in twelve subjects, from the table of concentrations to a report.

Run it with ``popbayes run theophylline``, or as ``python analysis.py [DIRECTORY]``.
"""

import sys
from dataclasses import replace
from pathlib import Path

import popbayes as pb
from popbayes import pk, prior, residual, variability

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "theophylline")
SEED = 20
STEPS = 6


def step(number: int, words: str) -> None:
    """Say which of the steps comes now."""
    print(f"\n[{number}/{STEPS}] {words}", flush=True)


def the_model() -> pb.PopModel:
    """One compartment, first-order absorption; every subject has its own ka, CL and V."""
    return pb.PopModel(
        structural=pk.OneCompartment(absorption=pk.FirstOrder()),
        parameters={
            "ka": pb.Parameter(prior.LogNormal(1.5, 0.5), unit="1/h"),
            "CL": pb.Parameter(prior.LogNormal(2.8, 0.5), unit="L/h"),
            "V": pb.Parameter(prior.LogNormal(32.0, 0.5), unit="L"),
        },
        variability=variability.Independent(["ka", "CL", "V"], sd=prior.HalfNormal(0.5)),
        residual=residual.Combined(add=prior.HalfNormal(1.0), prop=prior.HalfNormal(0.3)),
        name="theophylline",
    )


def main() -> None:
    """Read, model, prior check, fit, diagnose and compare, report."""
    OUT.mkdir(parents=True, exist_ok=True)

    step(1, "Read the data")
    data = pb.load_dataset("theophylline")
    print(data)
    print(data.explain(data.subjects[0]))

    step(2, "The model")
    model = the_model()
    print(model)

    step(3, "What the priors alone predict")
    prior_check = pb.vpc(pb.simulate(model, data, seed=SEED))
    pb.plot_vpc(prior_check).savefig(OUT / "prior_vpc.png", dpi=150)

    step(4, "Sample the posterior")
    dt = pb.add_log_likelihood(pb.fit(model, data, draws=2000, seed=SEED, target_accept=0.95))
    pb.save(dt, OUT / "fit.nc")

    step(5, "Diagnose, and compare with additive error alone")
    pb.summary(dt).to_csv(OUT / "parameters.csv")
    pb.shrinkage(dt).to_csv(OUT / "shrinkage.csv")
    fitted = pb.gof(dt)
    fitted.to_dataframe().to_csv(OUT / "gof.csv")
    predictive_check = pb.vpc(pb.simulate(model, data, dt, seed=SEED))
    figures = {
        "individual": pb.plot_individual(dt),
        "gof": pb.plot_gof(fitted),
        "vpc": pb.plot_vpc(predictive_check),
        "shrinkage": pb.plot_shrinkage(dt),
    }
    for name, figure in figures.items():
        figure.savefig(OUT / f"{name}.png", dpi=150)
    additive = replace(model, residual=residual.Additive(prior.HalfNormal(1.0)), name="additive error")
    dt_additive = pb.add_log_likelihood(pb.fit(additive, data, draws=2000, seed=SEED, target_accept=0.95))
    comparison = pb.compare({"combined error": dt, "additive error": dt_additive}, unit="obs")
    comparison.to_csv(OUT / "comparison.csv")
    print(comparison)

    step(6, "Report")
    pb.report(dt, OUT / "report.html")
    print(pb.summary(dt))
    print(f"\nWritten to {OUT}/: {', '.join(sorted(path.name for path in OUT.iterdir()))}")


if __name__ == "__main__":
    main()
