"""Warfarin-like PK and response: a joint fit beside sequential ones, on simulated data of known truth.

Run it with ``popbayes run warfarin_like_pkpd``, or as ``python analysis.py [DIRECTORY]``.
"""

import sys
from pathlib import Path

import pandas as pd
import xarray as xr

import popbayes as pb
from popbayes import covariate, pk, prior, residual, variability
from popbayes import pd as response

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "warfarin_like_pkpd")
SEED = 32
STEPS = 7
DRAWS = 500
BODY = pk.OneCompartment(absorption=pk.FirstOrder(Tlag=True))
SHARED = ("R0_pop", "kout_pop", "IC50_pop", "omega[R0]", "omega[kout]", "omega[IC50]")
"""What every fit of the response estimates."""


def step(number: int, words: str) -> None:
    """Say which of the steps comes now."""
    print(f"\n[{number}/{STEPS}] {words}", flush=True)


def concentrations(data: pb.EventTable) -> pb.EventTable:
    """The table without the response."""
    table = data.to_frame()
    return pb.read_events(
        table[table["DVID"] != 2],
        covariates=["WT"],
        columns={"AGE": None, "SEX": None},
        units={"TIME": "h", "DV": "mg/L", "AMT": "mg", "WT": "kg"},
        name="warfarin-like, concentrations",
    )


def body() -> dict[str, pb.Parameter]:
    """Parameters of the pharmacokinetics."""
    return {
        "ka": pb.Parameter(prior.LogNormal(1.0, 0.7), unit="1/h"),
        "Tlag": pb.Parameter(prior.LogNormal(0.5, 0.5), unit="h"),
        "CL": pb.Parameter(
            prior.LogNormal(0.13, 0.5), covariates=[covariate.Power("WT", ref=70, exponent=0.75)], unit="L/h"
        ),
        "V": pb.Parameter(
            prior.LogNormal(8.0, 0.5), covariates=[covariate.Power("WT", ref=70, exponent=1.0)], unit="L"
        ),
    }


def of_concentrations() -> residual.Combined:
    """Residual error of the concentrations."""
    return residual.Combined(add=prior.HalfNormal(0.5), prop=prior.HalfNormal(0.3))


def between_subjects(names: list[str]) -> variability.Independent:
    """Differences between subjects."""
    return variability.Independent(names, sd=prior.HalfNormal(0.5))


def pk_model() -> pb.PopModel:
    """One compartment with lag; CL and V by weight."""
    return pb.PopModel(
        structural=BODY,
        parameters=body(),
        variability=between_subjects(["ka", "CL", "V"]),
        residual=of_concentrations(),
        name="PK",
    )


def joint_model() -> pb.PopModel:
    """The same, and turnover of the response, whose production the drug inhibits."""
    own = {
        "R0": pb.Parameter(prior.LogNormal(100.0, 0.3), unit="%"),
        "kout": pb.Parameter(prior.LogNormal(0.05, 0.7), unit="1/h"),
        "IC50": pb.Parameter(prior.LogNormal(1.5, 1.0), unit="mg/L"),
    }
    return pb.PopModel(
        structural=response.Turnover(BODY, action="inhibit production", effect=response.Imax(full=True)),
        parameters={**body(), **own},
        variability=[
            between_subjects(["ka", "CL", "V"]),
            between_subjects(["R0", "kout", "IC50"]),
        ],
        residual={"conc": of_concentrations(), "response": residual.Additive(prior.HalfNormal(10.0))},
        name="joint",
    )


def side_by_side(fits: dict[str, xr.DataTree]) -> pd.DataFrame:
    """Posterior mean and SD of what all fits of the response estimate."""
    columns = {}
    for name, dt in fits.items():
        table = pb.summary(dt).to_frame()
        columns[name], columns[f"{name} SD"] = table.loc[[*SHARED], "mean"], table.loc[[*SHARED], "sd"]
    return pd.DataFrame(columns)


def main() -> None:
    """Read, fit the PK, fit jointly, fit in sequence, set side by side, diagnose, report."""
    OUT.mkdir(parents=True, exist_ok=True)

    step(1, "Read the data, and check the priors")
    data, model = pb.load_dataset("warfarin_like"), joint_model()
    print(data)
    print(model)
    pb.plot_vpc(pb.vpc(pb.simulate(model, data, seed=SEED))).savefig(OUT / "prior_vpc.png", dpi=150)

    step(2, "The pharmacokinetics alone")
    first = pb.fit(pk_model(), concentrations(data), seed=SEED, draws=DRAWS)
    pb.save(first, OUT / "pk.nc")
    print(pb.summary(first))

    step(3, "Both together")
    joint = pb.fit(model, data, seed=SEED, draws=DRAWS)
    pb.save(joint, OUT / "joint.nc")
    summary = pb.summary(joint)
    summary.to_csv(OUT / "parameters.csv")
    print(summary)

    step(4, "The response after the pharmacokinetics: IPP, and PPP&D")
    fits = {"joint": joint}
    for method in ("IPP", "PPP&D"):
        changed, table = pb.sequential(model, data, first, method=method)
        fits[method] = pb.fit(changed, table, seed=SEED, draws=DRAWS)
        pb.save(fits[method], OUT / f"{method.replace('&', '')}.nc")

    step(5, "Side by side")
    table = side_by_side(fits)
    table.to_csv(OUT / "side_by_side.csv")
    print(table.to_string(float_format="{:.4g}".format))

    step(6, "Diagnose")
    pb.plot_gof(pb.gof(joint)).savefig(OUT / "gof.png", dpi=150)
    pb.plot_individual(joint).savefig(OUT / "individual.png", dpi=150)
    simulated = pb.simulate(model, data, joint, seed=SEED)
    pb.plot_vpc(pb.vpc(simulated)).savefig(OUT / "vpc.png", dpi=150)
    pb.shrinkage(joint).to_csv(OUT / "shrinkage.csv")

    step(7, "Report")
    pb.report(joint, OUT / "report.html", simulated=simulated)
    print(f"\nWritten to {OUT}/: {', '.join(sorted(path.name for path in OUT.iterdir()))}")


if __name__ == "__main__":
    main()
