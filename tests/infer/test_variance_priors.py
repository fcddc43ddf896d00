"""Priors stated on variances, against a conjugate Gibbs posterior of 60,000 draws."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import popbayes as pb
from popbayes import covariate, pk, prior, residual, variability

BAUER = Path(__file__).parents[2].parent / "shared" / "data" / "estimation" / "bauer504_all_methods"
MEAN_IN_SD = 0.2  # of the Gibbs posterior: what the reference asks for
SD_RELATIVE = 0.15


@pytest.mark.slow
@pytest.mark.skipif(not BAUER.exists(), reason="the reference data are not at hand")
@pytest.mark.parametrize("nu", [2, 5])
def test_inverse_wishart_and_scaled_inverse_chi_square_give_the_gibbs_posterior(nu):
    data = pb.read_events(
        pd.read_csv(BAUER / "data.csv").assign(EVID=lambda t: (t["AMT"] > 0).astype(int)),
        covariates=["WT", "AGE", "SEX"],
    )
    vague = prior.Normal(0.0, 3.0)  # flat next to posterior SDs of 0.04 to 0.2, as the reference's 316 is

    def effects():
        return [
            covariate.Power("WT", 70, vague),
            covariate.Power("AGE", 50, vague),
            covariate.Exponential("SEX", 0, vague),
        ]

    flat = prior.LogNormal(5.0, 3.0)
    model = pb.PopModel(
        pk.OneCompartment(),
        {"CL": pb.Parameter(flat, covariates=effects()), "V": pb.Parameter(flat, covariates=effects())},
        # the reference's scale matrix is 2 x 0.04 I whatever the degrees of freedom
        variability.Correlated(["CL", "V"], covariance=prior.InverseWishart(nu, np.eye(2) * 0.08 / nu)),
        residual.Proportional(prior.ScaledInverseChiSquared(1, 0.05)),
    )
    starts = {"CL_pop": 3.0, "V_pop": 32.0}
    dt = pb.fit(model, data, seed=1, starts=starts, draws=1500, progress=False)
    p = dt["posterior"].to_dataset().stack(s=("chain", "draw"))
    omega, corr = p["omega"].to_numpy(), p["corr"].to_numpy()[0, 1]
    got = {
        "THETA1": np.log(p["CL_pop"]),
        "THETA2": np.log(p["V_pop"]),
        "THETA3": p["beta_CL_WT"],
        "THETA4": p["beta_V_WT"],
        "THETA5": p["beta_CL_AGE"],
        "THETA6": p["beta_V_AGE"],
        "THETA7": p["beta_CL_SEX"],
        "THETA8": p["beta_V_SEX"],
        "SIGMA11": p["sigma_prop"] ** 2,
        "OMEGA11": omega[0] ** 2,
        "OMEGA21": omega[0] * omega[1] * corr,
        "OMEGA22": omega[1] ** 2,
    }
    table = pd.read_csv(BAUER / "gibbs_summary.csv")
    table = table[table["prior"].str.contains(f"IW({nu},", regex=False)].set_index("param")
    for name, draws in got.items():
        mean, sd = table.loc[name, "mean"], table.loc[name, "sd"]
        assert abs(float(np.mean(draws)) - mean) < MEAN_IN_SD * sd, name
        assert abs(float(np.std(draws)) / sd - 1) < SD_RELATIVE, name
    assert pb.summary(dt).table["ess_bulk"].min() > 400
