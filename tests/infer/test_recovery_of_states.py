"""Mixtures, missing covariates and skewed random effects are recovered from simulated studies.

One simulated study for each: every population value lies within a few posterior SDs of the truth, with
chains that agree and effective draws enough to say so.
"""

import arviz_stats
import numpy as np
import pandas as pd
import pytest

from popbayes import covariate, pk, prior, residual, variability
from popbayes.data.events import read_events
from popbayes.diagnostics.gof import gof
from popbayes.diagnostics.loo import loo
from popbayes.diagnostics.summary import summary
from popbayes.infer.fit import fit
from popbayes.infer.storage import load, save
from popbayes.model import PopModel
from popbayes.parameters.parameter import Parameter
from popbayes.simulation import simulate

pytestmark = pytest.mark.slow

SDS = 3.5  # posterior SDs that one study's means may be off; about 40 quantities in all
RHAT = 1.02
LEAST_ESS = 200
TIMES = (0.5, 2.0, 6.0, 12.0, 24.0)
SIGMA = 0.1


def study(cl, v, columns, missing=(), seed=1):
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(len(cl)):
        own = {"ID": i + 1, **{name: values[i] for name, values in columns.items()}}
        rows.append({**own, "TIME": 0.0, "AMT": 100.0, "DV": np.nan})
        for time in TIMES:
            f = 100.0 / v[i] * np.exp(-cl[i] / v[i] * time)
            rows.append({**own, "TIME": time, "AMT": 0.0, "DV": f * (1 + SIGMA * rng.normal())})
    return read_events(pd.DataFrame(rows), covariates=list(columns), missing=missing)


def model(parts, on_cl=(), imputation=(), **cl):
    return PopModel(
        pk.OneCompartment(),
        {
            "CL": Parameter(prior.LogNormal(3.0, 0.7), covariates=on_cl, **cl),
            "V": Parameter(prior.LogNormal(30.0, 0.7)),
        },
        parts,
        residual.Proportional(prior.HalfNormal(0.3)),
        imputation=imputation,
    )


def check(dt, truth):
    posterior = dt["posterior"].to_dataset()
    for name, value in truth.items():
        draws = posterior[name].transpose("chain", "draw", ...)
        rhat, ess = arviz_stats.rhat(draws), arviz_stats.ess(draws)
        assert np.all(rhat.to_numpy() < RHAT), (name, rhat)
        assert np.all(ess.to_numpy() > LEAST_ESS), (name, ess)
        off = (draws.mean(("chain", "draw")) - value) / draws.std(("chain", "draw"))
        assert np.all(np.abs(off.to_numpy()) < SDS), (name, off.to_numpy(), draws.mean().item())


@pytest.mark.parametrize("way", ["random effects", "predictions"])
def test_a_mixture_is_recovered(way, tmp_path):
    rng = np.random.default_rng(11)
    n, shared = 60, way == "random effects"
    old = rng.integers(0, 2, n)
    chance = np.where(old == 1, 0.5, 0.2)  # odds 1 and 1 / 4
    slow = rng.random(n) < chance
    spread = 0.2 if shared else 0.0
    cl = 2.0 * np.exp(0.9 * slow + spread * rng.normal(size=n))
    v = 30.0 * np.exp(0.2 * rng.normal(size=n))
    data = study(cl, v, {"OLD": old.astype(float)})
    aged = covariate.Categorical("OLD", ref="0", others=["1"], coefficient=prior.Normal(0, 1.5))
    names = ["CL", "V"] if shared else ["V"]
    made = model(
        [
            variability.Independent(names, sd=prior.HalfNormal(0.5)),
            variability.Mixture(["CL"], shift=prior.HalfNormal(1.0), covariates=aged),
        ]
    )
    dt = fit(made, data, draws=600 if shared else 2000, tune=600, chains=2, seed=3, progress=False)
    omega = [0.2, 0.2] if shared else [0.2]
    truth = {"CL_pop": 2.0, "V_pop": 30.0, "delta_CL": 0.9, "p_class": [0.8, 0.2], "omega": omega}
    check(dt, truth | {"beta_class2_OLD": np.log(4.0), "sigma_prop": SIGMA})
    probability = dt["posterior"]["class_prob"].mean(("chain", "draw")).to_numpy()
    assert np.mean((probability[:, 1] > 0.5) == slow) > 0.9
    share = (dt["posterior"]["class_of"] == 2).mean(("chain", "draw")).to_numpy()
    np.testing.assert_allclose(share, probability[:, 1], atol=0.1)
    # everything after the fit
    assert "delta_CL" in str(summary(dt))
    assert np.isfinite(loo(dt).elpd)
    fitted = gof(dt)
    assert float(np.std(fitted["iwres"])) < 1.2
    own = simulate(made, data, dt, n=100, seed=1, new_subjects=False)["posterior_predictive"]
    np.testing.assert_allclose(own["ipred"].mean(("chain", "draw")), fitted["ipred"], rtol=0.05)
    new = simulate(made, data, dt, n=100, seed=1)["posterior_predictive"]
    assert np.isfinite(new["dv"]).all()
    save(dt, tmp_path / "mixture.nc")
    assert load(tmp_path / "mixture.nc")["posterior"]["class_prob"].equals(dt["posterior"]["class_prob"])


def test_missing_covariates_are_recovered():
    rng = np.random.default_rng(12)
    n = 80
    male = rng.random(n) < 0.6
    weight = 65.0 * np.exp(0.2 * male + 0.15 * rng.normal(size=n))
    cl = 3.0 * (weight / 70) ** 1.0 * np.exp(0.6 * male + 0.15 * rng.normal(size=n))
    v = 30.0 * np.exp(0.2 * rng.normal(size=n))
    lost_weight, lost_sex = rng.random(n) < 0.3, rng.random(n) < 0.3
    sex = np.where(lost_sex, None, np.where(male, "M", "F"))
    columns = {"WT": np.where(lost_weight, np.nan, weight), "SEX": sex}
    data = study(cl, v, columns, missing=["WT", "SEX"], seed=2)
    by_sex = covariate.Categorical("SEX", ref="F", others=["M"], coefficient=prior.Normal(0, 1))
    made = model(
        [variability.Independent(["CL", "V"], sd=prior.HalfNormal(0.5))],
        on_cl=[covariate.Power("WT", ref=70, exponent=prior.Normal(0.75, 0.5)), by_sex],
        imputation=[
            covariate.Impute("SEX", law="bernoulli"),
            covariate.Impute(
                "WT", typical=prior.LogNormal(70, 0.3), sd=prior.HalfNormal(0.3), covariates=by_sex
            ),
        ],
    )
    dt = fit(made, data, draws=1500, tune=600, chains=2, seed=3, progress=False)
    truth = {"CL_pop": 3.0, "beta_CL_WT": 1.0, "beta_CL_SEX": 0.6, "omega": [0.15, 0.2], "sigma_prop": SIGMA}
    truth |= {"typical_WT": 65.0, "sd_WT": 0.15, "beta_WT_SEX": 0.2, "p_SEX": [0.4, 0.6]}
    check(dt, truth)
    posterior = dt["posterior"].to_dataset()
    values = np.log(posterior["imputed_WT"])
    z = (values.mean(("chain", "draw")) - np.log(weight[lost_weight])) / values.std(("chain", "draw"))
    assert 0.6 < float((z**2).mean()) ** 0.5 < 1.5  # about 1 where intervals cover as they say
    chance = posterior["imputed_SEX"].mean(("chain", "draw")).to_numpy()
    spread = np.sqrt(np.sum(chance * (1 - chance)))
    assert abs(chance.sum() - male[lost_sex].sum()) < SDS * spread + 0.5


def test_a_skewed_random_effect_is_recovered():
    rng = np.random.default_rng(13)
    n, shape = 120, 1.0
    eta = 0.4 * rng.normal(size=n)
    cl = 3.0 * np.exp(np.expm1(shape * eta) / shape)
    v = 30.0 * np.exp(0.2 * rng.normal(size=n))
    made = model(
        [variability.Independent(["CL", "V"], sd=prior.HalfNormal(0.5))],
        scale="boxcox",
        shape=prior.Normal(0, 1),
    )
    dt = fit(made, study(cl, v, {}), draws=600, tune=600, chains=2, seed=3, progress=False)
    check(dt, {"CL_pop": 3.0, "shape_CL": shape, "omega": [0.4, 0.2], "V_pop": 30.0, "sigma_prop": SIGMA})
