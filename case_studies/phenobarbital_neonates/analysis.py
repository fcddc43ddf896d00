"""Phenobarbital in newborns: two or three samples each; FOCEI, SAEM and full Bayes side by side; covariates.

Run it with ``popbayes run phenobarbital_neonates``, or as ``python analysis.py [DIRECTORY]``.
"""

import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd

import popbayes as pb
from popbayes import covariate, pk, prior, residual, variability

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "phenobarbital_neonates")
SEED = 59
STEPS = 8


def step(number: int, words: str) -> None:
    """Say which of the steps comes now."""
    print(f"\n[{number}/{STEPS}] {words}", flush=True)


def the_data() -> pb.EventTable:
    """The bundled table, with a low 5-minute Apgar score (below 5) and days of treatment as covariates."""
    study = pb.load_dataset("phenobarb")
    table = study.to_frame().assign(
        LOW=lambda t: (t["APGR"] < 5).astype(int),
        DAY=lambda t: t["TIME"] / 24,  # treated from birth on: nearly the postnatal age
    )
    return pb.read_events(table, covariates=["WT", "LOW", "DAY"], units=study.units, name="phenobarbital")


def the_model() -> pb.PopModel:
    """One compartment; CL and V in proportion to weight, V another one where the Apgar score is low."""
    per_kg = covariate.Power("WT", ref=1.0, exponent=1.0)
    low = covariate.Linear("LOW", ref=0, coefficient=prior.Normal(0, 0.25))
    return pb.PopModel(
        structural=pk.OneCompartment(),
        parameters={
            "CL": pb.Parameter(prior.LogNormal(0.005, 1.0), covariates=[per_kg], unit="L/h"),
            "V": pb.Parameter(prior.LogNormal(1.0, 0.5), covariates=[per_kg, low], unit="L"),
        },
        variability=variability.Independent(["CL", "V"], sd=prior.HalfNormal(0.5)),
        residual=residual.Proportional(prior.HalfNormal(0.3)),
        name="weight and Apgar",
    )


def without_apgar(model: pb.PopModel) -> pb.PopModel:
    """The same model with weight alone."""
    volume = replace(model.parameters["V"], covariates=model.parameters["V"].covariates[:1])
    return replace(model, parameters={**model.parameters, "V": volume}, name="weight")


def covariate_model(model: pb.PopModel, *, exponent: bool = True, day: bool = True) -> pb.PopModel:
    """CL in proportion to a power of weight that is estimated, and maturing by the day; V as before."""
    power = covariate.Power("WT", ref=1.0, exponent=prior.Normal(1, 0.25) if exponent else 1.0)
    maturing = covariate.Exponential("DAY", ref=0, coefficient=prior.Normal(0, 0.1))
    clearance = replace(model.parameters["CL"], covariates=[power, maturing] if day else [power])
    return replace(model, parameters={**model.parameters, "CL": clearance}, name="phenobarbital in newborns")


def side_by_side(results: dict[str, object]) -> pd.DataFrame:
    """Estimate and standard error (posterior mean and SD) of each method."""
    columns = {}
    for name, dt in results.items():
        table = pb.summary(dt).to_frame()
        fixed = table["fixed"].astype(bool)
        point, error = ("estimate", "se") if "se" in table else ("mean", "sd")
        columns[name] = table.loc[~fixed, point]
        columns[f"{name} SE"] = table.loc[~fixed, error]
    return pd.DataFrame(columns)


def main() -> None:
    """Read, estimate by FOCEI, SAEM, sample, set side by side, covariates of clearance, report."""
    OUT.mkdir(parents=True, exist_ok=True)

    step(1, "Read the data")
    data = the_data()
    print(data)

    step(2, "FOCEI, with and without the Apgar score")
    model = the_model()
    focei = pb.estimate(model, data, method=pb.Foce(), seed=SEED)
    weight = pb.estimate(without_apgar(model), data, method=pb.Foce(), seed=SEED)
    pb.save(focei, OUT / "focei.nc")
    comparison = pb.compare({"weight": weight, "weight and Apgar": focei})
    comparison.to_csv(OUT / "comparison.csv")
    print(comparison)

    step(3, "How much do the data say of each newborn?")
    pb.shrinkage(focei).to_csv(OUT / "shrinkage.csv")
    pb.plot_shrinkage(focei).savefig(OUT / "shrinkage.png", dpi=150)
    print(pb.shrinkage(focei))

    step(4, "SAEM")
    saem = pb.estimate(model, data, method=pb.Saem(smoothing=2000), seed=SEED)
    pb.save(saem, OUT / "saem.nc")

    step(5, "The full posterior")
    dt = pb.fit(model, data, seed=SEED)
    pb.save(dt, OUT / "fit.nc")

    step(6, "Side by side")
    table = side_by_side({"FOCEI": focei, "SAEM": saem, "posterior": dt})
    table.to_csv(OUT / "side_by_side.csv")
    print(table.to_string(float_format="{:.4g}".format))

    step(7, "Does clearance grow in proportion to weight, and with age?")
    wider = covariate_model(model)
    changes = {
        words: float(pb.estimate(one, data, method=pb.Foce(), seed=SEED)["objective"]["ofv"][0])
        for words, one in {
            "as before": model,
            "exponent of weight estimated": covariate_model(model, day=False),
            "by the day of treatment": covariate_model(model, exponent=False),
            "both": wider,
        }.items()
    }
    print(pd.Series(changes, name="-2 log L").to_string())
    matured = pb.fit(wider, data, draws=2000, seed=SEED)
    pb.save(matured, OUT / "covariates.nc")
    print(pb.summary(matured))
    effects = pb.covariate_table(matured)
    effects.to_csv(OUT / "covariates.csv")
    print(effects)
    pb.plot_forest(effects).savefig(OUT / "forest.png", dpi=150)

    step(8, "Diagnose and report")
    pb.gof(focei).to_dataframe().to_csv(OUT / "gof.csv")
    pb.plot_gof(pb.gof(focei)).savefig(OUT / "gof.png", dpi=150)
    simulated = pb.simulate(model, data, dt, seed=SEED)
    pb.plot_vpc(pb.vpc(simulated, pred_corr=True)).savefig(OUT / "vpc.png", dpi=150)
    pb.report(dt, OUT / "report.html", simulated=simulated)
    print(f"\nWritten to {OUT}/: {', '.join(sorted(path.name for path in OUT.iterdir()))}")


if __name__ == "__main__":
    main()
