"""The models of five studies: what popbayes is measured with, and what its posteriors are compared on.

The studies' names are those of the table of anchors: two that have closed forms, three in differential
equations.
"""

from collections.abc import Callable, Mapping

import popbayes as pb
from popbayes import covariate, pk, prior, residual, variability
from popbayes import pd as response


def half(scale: float) -> prior.HalfNormal:
    """Half-normal prior of a standard deviation."""
    return prior.HalfNormal(scale)


def typical(
    values: Mapping[str, float], sd: Mapping[str, float], powers: Mapping[str, float]
) -> dict[str, pb.Parameter]:
    """Log-normal priors around `values`, with fixed powers of the weight."""
    return {
        name: pb.Parameter(
            prior.LogNormal(value, sd.get(name, 0.5)),
            covariates=[covariate.Power("WT", ref=70, exponent=powers[name])] if name in powers else [],
        )
        for name, value in values.items()
    }


def combined() -> residual.Combined:
    """Additive and proportional error of a concentration."""
    return residual.Combined(add=half(1.0), prop=half(0.3))


def theoph() -> pb.PopModel:
    """One compartment, oral."""
    return pb.PopModel(
        structural=pk.OneCompartment(pk.FirstOrder()),
        parameters=typical({"ka": 1.5, "CL": 2.8, "V": 32.0}, {}, {}),
        variability=variability.Independent(["ka", "CL", "V"], sd=half(0.5)),
        residual=combined(),
    )


def two_compartments() -> pb.PopModel:
    """Two compartments, oral; weight; five correlated effects."""
    return pb.PopModel(
        structural=pk.TwoCompartment(pk.FirstOrder()),
        parameters=typical(
            {"CL": 5.0, "V1": 30.0, "Q": 4.0, "V2": 50.0, "ka": 1.0},
            {"V1": 0.2, "ka": 0.2},
            {"CL": 0.75, "V1": 1.0, "Q": 0.75, "V2": 1.0},
        ),
        variability=variability.Correlated(["CL", "V1", "Q", "V2", "ka"], sd=half(0.5), lkj=2),
        residual=residual.Combined(add=half(0.3), prop=half(0.3)),
    )


def saturable() -> pb.PopModel:
    """Michaelis-Menten elimination, oral and intravenous."""
    return pb.PopModel(
        structural=pk.MichaelisMenten(pk.FirstOrder()),
        parameters=typical({"ka": 1.0, "V": 40.0, "Vmax": 15.0, "Km": 3.0}, {}, {}),
        variability=variability.Independent(["ka", "V", "Vmax"], sd=half(0.5)),
        residual=residual.Combined(add=half(0.5), prop=half(0.3)),
    )


def warfarin() -> pb.PopModel:
    """One compartment with lag, and the response that it inhibits."""
    values = {"Tlag": 1.0, "ka": 1.0, "CL": 0.15, "V": 8.0, "R0": 100.0, "kout": 0.05, "IC50": 1.0}
    return pb.PopModel(
        structural=response.Turnover(
            pk.OneCompartment(pk.FirstOrder(Tlag=True)), effect=response.Imax(full=True)
        ),
        parameters=typical(values, {"R0": 0.25}, {"CL": 0.75, "V": 1.0}),
        variability=variability.Independent(["ka", "CL", "V", "R0", "kout", "IC50"], sd=half(0.5)),
        residual={"conc": combined(), "response": residual.Additive(half(10.0))},
        dvid={1: "conc", 2: "response"},
    )


def neutropenia() -> pb.PopModel:
    """Two compartments, oral, and the neutrophils of Friberg and Karlsson."""
    values = {"CL": 10.0, "V1": 35.0, "Q": 15.0, "V2": 105.0, "ka": 2.0, "MTT": 125.0, "Circ0": 5.0}
    values |= {"slope": 0.3, "gamma": 0.17}
    return pb.PopModel(
        structural=response.FribergKarlsson(pk.TwoCompartment(pk.FirstOrder())),
        parameters=typical(
            values,
            {"MTT": 0.2, "Circ0": 0.2, "gamma": 0.2},
            {"CL": 0.75, "V1": 1.0, "Q": 0.75, "V2": 1.0},
        ),
        variability=variability.Independent(["CL", "V1", "MTT", "Circ0", "slope"], sd=half(0.5)),
        residual={"conc": residual.LogNormal(half(0.5)), "neutrophils": residual.LogNormal(half(0.5))},
        dvid={1: "conc", 2: "neutrophils"},
    )


MODELS: dict[str, Callable[[], pb.PopModel]] = {
    "theoph": theoph,
    "twocpt_md": two_compartments,
    "mm": saturable,
    "warfarin": warfarin,
    "fk": neutropenia,
}
