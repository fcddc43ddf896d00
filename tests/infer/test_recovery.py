"""Simulated studies of known truth: what the population layer adds is found again by the sampler."""

import arviz_stats
import numpy as np
import pandas as pd
import pytest

import popbayes as pb
from popbayes import covariate, pk, prior, residual, variability
from popbayes.simulation import as_data
from tests.tolerances import ENOUGH_ESS

FAR = 3.5  # posterior SDs, with their Monte-Carlo error: missed by chance once in 2,000 quantities


def simulated(model, rows, truth, covariates=(), seed=1):
    """A study with the given records, drawn at the truth."""
    design = pb.read_events(pd.DataFrame(rows), covariates=list(covariates))
    return as_data(pb.simulate(model, design, truth, seed=seed))


def bolus(times, **columns):
    """Records of one subject: a bolus of 100 at time 0 and samples."""
    dose = {"TIME": 0.0, "AMT": 100.0, "EVID": 4, **columns}
    return [dose, *({"TIME": t, "AMT": 0.0, "EVID": 0, **columns} for t in times)]


def check_recovered(draws, truth):
    """Every quantity: enough effective draws, its truth not far from its mean, and learnt from the data.

    `truth` maps a name to the true value and the largest posterior SD that counts as learnt.
    """
    for name, (value, most) in truth.items():
        one = draws[name]
        ess, sd = float(arviz_stats.ess(one)), float(one.std())
        assert ess >= ENOUGH_ESS, f"{name}: ESS {ess:.0f} is too low to judge"
        away = abs(float(one.mean()) - value) / (sd * np.sqrt(1 + 1 / ess))
        assert away < FAR, f"{name}: {float(one.mean()):.3f} (SD {sd:.3f}), in truth {value:g}"
        assert sd < most, f"{name}: SD {sd:.3f}"


def of(posterior, name, **labels):
    return posterior[name].sel(labels, drop=True)


@pytest.mark.slow
def test_occasions_sites_and_outlying_subjects_are_recovered():
    """Three levels of volume and clearance, and four subjects in ten far out by a Student-t."""
    model = pb.PopModel(
        pk.OneCompartment(),
        {"CL": pb.Parameter(prior.LogNormal(5.0, 0.5)), "V": pb.Parameter(prior.LogNormal(50.0, 0.5))},
        [
            variability.Independent(["CL"], sd=prior.HalfNormal(0.5), nu=prior.Gamma(alpha=2.0, beta=0.2)),
            variability.Independent(["V"], sd=prior.HalfNormal(0.5)),
            variability.Occasion(["CL"], sd=prior.HalfNormal(0.5)),
            variability.Level("SITE", ["V"], sd=prior.HalfNormal(0.5)),
        ],
        residual.Proportional(prior.HalfNormal(0.3)),
    )
    rows = [
        {**record, "ID": i, "OCC": k + 1, "SITE": i % 12, "TIME": record["TIME"] + 48.0 * k}
        for i in range(1, 61)
        for k in range(3)
        for record in bolus([1.0, 6.0, 18.0])
    ]
    truth = {"CL_pop": 5.0, "V_pop": 50.0, "nu_CL": 3.0, "omega": [0.25, 0.15], "gamma": [0.2]}
    truth |= {"omega_SITE": [0.3], "sigma_prop": 0.1}
    data = simulated(model, rows, truth, ["SITE"])
    dt = pb.fit(model, data, draws=2500, seed=2, progress=False)  # 12 sites: ESS of V_pop a twelfth of it
    p = dt["posterior"].to_dataset()
    draws = {
        "log CL": np.log(p["CL_pop"]),
        "log V": np.log(p["V_pop"]),
        "omega CL": of(p, "omega", eta_of="CL"),
        "omega V": of(p, "omega", eta_of="V"),
        "gamma CL": of(p, "gamma", gamma_of="CL"),
        "omega_SITE V": of(p, "omega_SITE", omega_SITE_of="V"),
        "log nu": np.log(p["nu_CL"]),
        "sigma": p["sigma_prop"],
    }
    check_recovered(
        draws,
        {
            "log CL": (np.log(5.0), 0.08),
            "log V": (np.log(50.0), 0.15),
            "omega CL": (0.25, 0.08),
            "omega V": (0.15, 0.03),
            "gamma CL": (0.2, 0.03),
            "omega_SITE V": (0.3, 0.12),
            "log nu": (np.log(3.0), 0.8),
            "sigma": (0.1, 0.01),
        },
    )
    # an outlier is the subject with the smallest weight
    weight, eta = p["weight_CL"].mean(("chain", "draw")), of(p, "eta", eta_of="CL").mean(("chain", "draw"))
    assert np.argmax(np.abs(eta.to_numpy())) == np.argmin(weight.to_numpy())


@pytest.mark.slow
def test_correlated_errors_and_their_variability_between_subjects_are_recovered():
    def law(rho):
        return residual.Proportional("sigma", rho=rho)

    model = pb.PopModel(
        pk.OneCompartment(),
        {
            "CL": pb.Parameter(prior.LogNormal(5.0, 0.5)),
            "V": pb.Parameter(prior.LogNormal(50.0, 0.5)),
            "sigma": pb.Parameter(prior.LogNormal(0.2, 0.5)),
        },
        variability.Independent(["CL", "V", "sigma"], sd=prior.HalfNormal(0.5)),
        law(prior.Uniform(0.0, 1.0)),
    )
    times = [0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 16.0]
    rows = [{**record, "ID": i} for i in range(1, 51) for record in bolus(times)]
    truth = {"CL_pop": 5.0, "V_pop": 50.0, "sigma_pop": 0.15, "omega": [0.3, 0.2, 0.4], "rho": 0.6}
    dt = pb.fit(model, simulated(model, rows, truth), seed=2, progress=False)
    p = dt["posterior"].to_dataset()
    draws = {"log CL": np.log(p["CL_pop"]), "log sigma": np.log(p["sigma_pop"]), "rho": p["rho"]}
    draws |= {f"omega {name}": of(p, "omega", eta_of=name) for name in ("CL", "V", "sigma")}
    check_recovered(
        draws,
        {
            "log CL": (np.log(5.0), 0.08),
            "log sigma": (np.log(0.15), 0.12),
            "rho": (0.6, 0.06),
            "omega CL": (0.3, 0.06),
            "omega V": (0.2, 0.04),
            "omega sigma": (0.4, 0.09),
        },
    )


@pytest.mark.slow
def test_a_horseshoe_finds_the_two_of_ten_covariates_that_matter():
    names, matter = [f"X{k}" for k in range(1, 11)], {"X2": 0.35, "X7": -0.25}
    candidates = [covariate.Exponential(name, ref=0.0, coefficient=0) for name in names]
    known = [covariate.Exponential(name, ref=0.0, coefficient=value) for name, value in matter.items()]

    def model(effects):
        return pb.PopModel(
            pk.OneCompartment(),
            {
                "CL": pb.Parameter(prior.LogNormal(5.0, 0.5), covariates=effects),
                "V": pb.Parameter(prior.LogNormal(50.0, 0.5)),
            },
            variability.Independent(["CL", "V"], sd=prior.HalfNormal(0.5)),
            residual.Proportional(prior.HalfNormal(0.3)),
        )

    table = np.random.default_rng(3).normal(size=(60, 10))
    rows = [
        {**record, "ID": i, **dict(zip(names, own, strict=True))}
        for i, own in enumerate(table.round(3).tolist(), 1)
        for record in bolus([1.0, 6.0, 12.0, 20.0])
    ]
    truth = {"CL_pop": 5.0, "V_pop": 50.0, "omega": [0.25, 0.2], "sigma_prop": 0.1}
    data = simulated(model(known), rows, truth, names)
    select = covariate.Select(candidates, prior=prior.Horseshoe(expected=2, omega=0.3))
    dt = pb.fit(model([select]), data, seed=2, target_accept=0.95, progress=False)
    p = dt["posterior"].to_dataset()
    draws = {name: p[f"beta_CL_{name}"] for name in names}
    draws |= {"log CL": np.log(p["CL_pop"]), "omega CL": of(p, "omega", eta_of="CL")}
    learnt = {name: (matter.get(name, 0.0), 0.06) for name in names}
    check_recovered(draws, learnt | {"log CL": (np.log(5.0), 0.06), "omega CL": (0.25, 0.04)})
    found = pb.covariate_table(dt).table.query("parameter == 'CL'").groupby("covariate")["outside"]
    assert set(found.groups) == set(names)
    for name, outside in found:
        assert np.all(outside > 0.9) if name in matter else np.all(outside < 0.1), name
