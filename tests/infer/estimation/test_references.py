"""Public reference results, present beside the repository or not: NONMEM, Monolix and exact values."""

import numpy as np
import pandas as pd
import pytest

from popbayes import censoring, covariate, pk, prior, residual, variability
from popbayes.data.events import EventTable, read_events
from popbayes.diagnostics.cwres import cwres
from popbayes.infer.estimation.estimate import estimate
from popbayes.infer.estimation.linearised import FirstOrder, Foce, Laplace
from popbayes.infer.estimation.quadrature import Quadrature
from popbayes.infer.subject_logp import LOG_2PI
from popbayes.model import PopModel
from popbayes.parameters.parameter import Parameter
from tests.infer.estimation.studies import SD, SHARED, density_at, phenobarbital_covariates

ESTIMATION, INDIVIDUAL = SHARED / "estimation", SHARED / "individual"
pytestmark = pytest.mark.skipif(
    not ESTIMATION.exists(), reason="the reference data are not beside the repository"
)
PRINTED = 1e-3
"""Of objective functions: the last digits of what is printed."""


def at(method, model, data, values):
    """OFV of each subject at given values, with the random effects and the density there."""
    density, complete = density_at(model, data, values)
    eta, _ = method.search(density, complete, np.zeros((density.n_subject, density.n_eta)), 0)
    each = method.objective(density, complete, eta) - np.bincount(data.obs_subject) * LOG_2PI
    return each, eta, density, complete


def typical(value: float) -> Parameter:
    return Parameter(prior.LogNormal(value, 1))


ROOT = float(np.sqrt(0.1))
ERRORS = {
    "prop": residual.Proportional(ROOT),
    "add": residual.Additive(ROOT),
    "add+prop (combined2)": residual.Combined(add=ROOT, prop=ROOT),
    "add+prop (combined1)": residual.CombinedSD(add=ROOT, prop=ROOT),
    "power 0.5": residual.Power(sigma=ROOT, exponent=0.5),
    "lognormal": residual.LogNormal(ROOT),
    "boxcox lambda .5, add": residual.BoxCox(sigma=ROOT, lam=0.5),
}
METHODS = {
    "FO": FirstOrder(),
    "FOCE": Foce(interaction=False),
    "FOCEI": Foce(),
    "LAPLACE_I": Laplace(),
    "exact_marginal": Quadrature(31),
}


def wang() -> EventTable:
    table = pd.read_csv(ESTIMATION / "foce_wang2007" / "data.csv")
    doses = pd.DataFrame({"ID": table["ID"].unique(), "TIME": 0.0, "AMT": 10.0, "EVID": 1})
    samples = pd.DataFrame(
        {"ID": table["ID"], "TIME": table["Time"], "AMT": 0.0, "DV": table["Y"], "EVID": 0}
    )
    order = {"by": ["ID", "TIME", "EVID"], "ascending": [True, True, False]}
    return read_events(pd.concat([doses, samples]).sort_values(**order).reset_index(drop=True))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("error", ERRORS)
def test_wang_2007(error, method):
    reference = pd.read_csv(ESTIMATION / "foce_wang2007" / "reference_ofv.csv").set_index("error_model")
    expected = reference.loc[error, method]
    if np.isnan(expected):
        pytest.skip("no value was computed")
    model = PopModel(
        structural=pk.OneCompartment(),
        parameters={"CL": Parameter(0.5), "V": Parameter(1.0)},
        variability=variability.Independent(["CL"], sd=0.2),
        residual=ERRORS[error],
    )
    each, *_ = at(METHODS[method], model, wang(), {"omega": [0.2]})
    assert abs(each.sum() - expected) < PRINTED


def test_phenobarbital_random_effects_and_cwres_of_every_subject():
    folder = ESTIMATION / "foce_pheno_real"
    model, data = phenobarbital_covariates()
    values = {"CL_pop": 0.00469555, "V_pop": 0.984258, "beta_V_LOW": 0.15892, "sigma_prop": np.sqrt(0.013241)}
    each, eta, density, complete = at(Foce(), model, data, values | {"omega": np.sqrt([0.0293508, 0.027906])})
    ebe, table = pd.read_csv(folder / "ebe.csv"), pd.read_csv(folder / "sdtab.csv")
    np.testing.assert_allclose(eta, ebe[["ETA1", "ETA2"]], atol=1e-5)
    np.testing.assert_allclose(each, ebe["OBJ"], atol=1e-4)
    expected = table.loc[table["DV"] != 0, "CWRES"]
    np.testing.assert_allclose(cwres(density.study, complete, eta), expected, atol=1e-3)


def two_compartments() -> tuple[PopModel, EventTable]:
    table = pd.read_csv(ESTIMATION / "foce_bolus2cpt_acop" / "data.csv")
    model = PopModel(
        structural=pk.TwoCompartment(),
        parameters={"CL": typical(4.0), "V1": typical(70.0), "Q": typical(4.0), "V2": typical(50.0)},
        variability=variability.Independent(["CL", "V1", "Q", "V2"], sd=SD),
        residual=residual.Proportional(prior.HalfNormal(0.3)),
    )
    return model, read_events(table[["ID", "TIME", "DV", "MDV", "AMT", "EVID", "CMT"]])


def test_two_compartments_at_nonmems_estimates():
    """2,280 observations; subject 20 needs second derivatives to arrive at its mode."""
    log = {"CL_pop": 1.37034, "V1_pop": 4.19815, "Q_pop": 1.38003, "V2_pop": 3.87657}
    values = {name: np.exp(value) for name, value in log.items()} | {"sigma_prop": 0.196446}
    values["omega"] = np.sqrt([0.101251, 0.0993872, 0.101303, 0.0730498])
    each, eta, *_ = at(Foce(), *two_compartments(), values)
    ebe = pd.read_csv(ESTIMATION / "foce_bolus2cpt_acop" / "ebe.csv")
    assert abs(each.sum() - 20167.641094) < PRINTED
    np.testing.assert_allclose(eta, ebe[["ETA1", "ETA2", "ETA3", "ETA4"]], atol=1e-4)


@pytest.mark.slow
def test_two_compartments_estimated():
    model, data = two_compartments()
    found = estimate(model, data, method=Foce(covariance="sandwich"), progress=False)
    table = found["estimates"].to_dataset()
    assert float(found["objective"]["ofv"][0]) < 20167.641094 + 0.01
    expected = [*np.exp([1.37034, 4.19815, 1.38003, 3.87657])]
    expected += [*np.sqrt([0.101251, 0.0993872, 0.101303, 0.0730498]), 0.196446]
    np.testing.assert_allclose(table["value"], expected, rtol=5e-3)
    se = np.array([0.02979, 0.02952, 0.05471, 0.03483]) * expected[:4]
    np.testing.assert_allclose(table["se"][:4], se, rtol=0.05)


def bauer() -> tuple[PopModel, EventTable]:
    table = pd.read_csv(ESTIMATION / "bauer504_all_methods" / "data.csv")
    table["EVID"] = (table["AMT"] > 0).astype(int)
    table.loc[table["EVID"] == 1, "DV"] = np.nan

    def effects():
        return [
            covariate.Power("WT", ref=70, exponent=prior.Normal(0.75, 0.5)),
            covariate.Power("AGE", ref=50, exponent=prior.Normal(0, 0.5)),
            covariate.Exponential("SEX", ref=0, coefficient=prior.Normal(0, 0.5)),
        ]

    model = PopModel(
        structural=pk.OneCompartment(),
        parameters={
            "CL": Parameter(prior.LogNormal(3.0, 1), covariates=effects()),
            "V": Parameter(prior.LogNormal(30.0, 1), covariates=effects()),
        },
        variability=variability.Correlated(["CL", "V"], sd=SD),
        residual=residual.Proportional(prior.HalfNormal(0.3)),
    )
    return model, read_events(table, covariates=["WT", "AGE", "SEX"])


def test_infusion_with_three_covariates_at_nonmems_estimates():
    sd = np.sqrt([0.0307235, 0.0466096])
    values = {
        "CL_pop": np.exp(1.10899), "V_pop": np.exp(3.4777), "beta_CL_WT": 0.659764, "beta_V_WT": 1.32154,
        "beta_CL_AGE": -0.534045, "beta_V_AGE": 0.0522912, "beta_CL_SEX": -0.101058, "beta_V_SEX": -0.0547756,
        "sigma_prop": np.sqrt(0.0502578), "omega": sd, "corr": {("CL", "V"): 0.00147874 / sd.prod()},
    }  # fmt: skip
    each, eta, *_ = at(Foce(), *bauer(), values)
    ebe = pd.read_csv(ESTIMATION / "bauer504_all_methods" / "ebe_foce.csv")
    assert abs(each.sum() - 1058.303712) < PRINTED
    np.testing.assert_allclose(eta, ebe[["ETA1", "ETA2"]], atol=1e-5)
    exact, *_ = at(Quadrature(9), *bauer(), values)
    assert abs(exact.sum() - 1053.389) < 0.01  # its own nine nodes


@pytest.mark.slow
def test_infusion_with_three_covariates_estimated():
    model, data = bauer()
    found = estimate(model, data, method=Foce(), progress=False)
    value = found["estimates"]["value"].to_series()
    assert float(found["objective"]["ofv"][0]) < 1058.303712 + 0.01
    expected = {
        "CL_pop": np.exp(1.10899),
        "V_pop": np.exp(3.4777),
        "beta_CL_WT": 0.659764,
        "beta_V_WT": 1.32154,
    }
    expected |= {"beta_CL_AGE": -0.534045, "sigma_prop": np.sqrt(0.0502578), "omega[CL]": np.sqrt(0.0307235)}
    for name, one in expected.items():
        assert value[name] == pytest.approx(one, rel=5e-3), name
    exact = estimate(model, data, method=Quadrature(7), progress=False)
    assert float(exact["objective"]["ofv"][0]) == pytest.approx(1051.4711, abs=0.03)
    log = np.log(exact["estimates"]["value"].to_series()[["CL_pop", "V_pop"]])
    np.testing.assert_allclose(log, [1.0720, 3.4664], atol=2e-3)


def monolix_theophylline() -> tuple[PopModel, EventTable]:
    table = pd.read_csv(ESTIMATION / "saem_theophylline_monolix" / "data.csv")
    data = read_events(table[["ID", "AMT", "TIME", "CONC"]], columns={"CONC": "DV"})
    model = PopModel(
        structural=pk.OneCompartment(absorption=pk.FirstOrder()),
        parameters={"ka": typical(1.5), "CL": typical(0.04), "V": typical(0.5)},
        variability=variability.Independent(["ka", "CL", "V"], sd=SD),
        residual=residual.CombinedSD(add=prior.HalfNormal(1.0), prop=prior.HalfNormal(0.3)),
    )
    return model, data


def test_theophylline_at_monolix_estimates():
    values = {"ka_pop": 1.53264, "V_pop": 0.455504, "CL_pop": 0.0401724, "sigma_add": 0.43328}
    values |= {"sigma_prop": 0.0542595, "omega": [0.671055, 0.270623, 0.126281]}
    model, data = monolix_theophylline()
    exact, eta, *_ = at(Quadrature(9), model, data, values)
    focei, *_ = at(Foce(), model, data, values)
    modes = pd.read_csv(ESTIMATION / "saem_theophylline_monolix" / "random_effects.csv")
    np.testing.assert_allclose(eta, modes[["eta_ka_mode", "eta_Cl_mode", "eta_V_mode"]], atol=1e-4)
    assert abs(exact.sum() + data.n_obs * LOG_2PI - 341.437) < PRINTED
    assert abs(focei.sum() + data.n_obs * LOG_2PI - 340.383) < PRINTED


@pytest.mark.slow
def test_theophylline_exact_maximum_likelihood():
    model, data = monolix_theophylline()
    found = estimate(model, data, method=Quadrature(7), progress=False)
    assert float(found["objective"]["minus2ll"][0]) == pytest.approx(341.4129, abs=5e-3)
    value = found["estimates"]["value"].to_series()
    expected = {
        "ka_pop": 1.5316,
        "CL_pop": 0.04008,
        "V_pop": 0.45672,
        "sigma_add": 0.4322,
        "sigma_prop": 0.0552,
    }
    expected |= {"omega[ka]": 0.6559, "omega[CL]": 0.2670, "omega[V]": 0.1289}
    for name, one in expected.items():
        assert value[name] == pytest.approx(one, rel=5e-3), name


def test_modes_that_compete_are_found_in_warfarin():
    """Exact -2 log L 657.51 (importance sampling, SE 0.11); a single start from eta = 0 ends about 705."""
    table = pd.read_csv(ESTIMATION / "saem_warfarin_pk_monolix" / "data.csv")
    data = read_events(table[["id", "time", "amt", "dv"]])
    model = PopModel(
        structural=pk.OneCompartment(absorption=pk.FirstOrder(Tlag=True)),
        parameters={"Tlag": typical(0.8), "ka": typical(1.5), "CL": typical(0.13), "V": typical(8.0)},
        variability=variability.Independent(["Tlag", "ka", "CL", "V"], sd=SD),
        residual=residual.CombinedSD(add=prior.HalfNormal(1.0), prop=prior.HalfNormal(0.3)),
    )
    values = {"Tlag_pop": 0.764323, "ka_pop": 1.45621, "V_pop": 7.9602, "CL_pop": 0.132482}
    values |= {
        "omega": [0.605116, 1.0821, 0.286211, 0.222523],
        "sigma_add": 0.247146,
        "sigma_prop": 0.0503196,
    }
    each, *_ = at(Quadrature(7), model, data, values)
    assert abs(each.sum() + data.n_obs * LOG_2PI - 657.508) < 0.34  # three of its standard errors


def test_below_the_limit_laplace_is_that_of_nonmem():
    """Subjects' OFV and modes of NONMEM's Laplace fit with M3; subject 10's curvature differs there."""
    folder = ESTIMATION / "blq_m3_ad3tr4"
    table = pd.read_csv(folder / "data.csv")
    seen = (table["EVID"] == 0).to_numpy()
    low = seen & (table["DV"] < -3.5).to_numpy()
    log_dv = table["DV"].to_numpy()
    table = table[["ID", "TIME", "AMT", "EVID", "MDV"]].assign(CENS=low.astype(int))
    table["DV"] = np.where(seen, np.exp(np.where(low, -3.5, log_dv)), np.nan)
    names = ["CL", "V1", "Q", "V2"]
    model = PopModel(
        structural=pk.TwoCompartment(),
        parameters={name: typical(5.0) for name in names},
        variability=variability.Correlated(names, sd=SD),
        residual=residual.LogNormal(prior.HalfNormal(0.3)),
        censoring=censoring.M3(),
    )
    lower = [0.170227, -0.00446472, 0.0976946, -0.0197379, -0.0251672, 0.0645438, -0.00723288, 0.0119151,
             0.0373195, 0.177864]  # fmt: skip
    covariance = np.zeros((4, 4))
    covariance[np.tril_indices(4)] = lower
    covariance = covariance + np.tril(covariance, -1).T
    sd = np.sqrt(np.diag(covariance))
    values = {
        f"{n}_pop": np.exp(x) for n, x in zip(names, [1.69938, 1.65161, 0.809101, 2.45301], strict=True)
    }
    values |= {"sigma_log": 0.291704, "omega": sd, "corr": covariance / np.outer(sd, sd)}
    data = read_events(table)
    each, eta, *_ = at(Laplace(), model, data, values)
    # on the scale of NONMEM's data, logarithms, without constants of what is below the limit
    measured = ~low[seen]
    each = each - np.bincount(data.obs_subject, 2 * np.where(measured, log_dv[seen], -LOG_2PI / 2))
    reference = pd.read_csv(folder / "ebe_laplace.csv")
    error = np.abs(each - reference["OBJ"])
    assert np.sum(error > PRINTED) <= 1
    assert error.max() < 0.1
    np.testing.assert_allclose(eta, reference[["ETA1", "ETA2", "ETA3", "ETA4"]], atol=5e-4)
    with pytest.raises(ValueError, match="beyond a limit"):
        Foce().check(density_at(model, data, values)[0].study)


def test_eight_patients_by_nonmem():
    """Individual modes at known population values (mapbayr's comparison)."""
    data = read_events(pd.read_csv(INDIVIDUAL / "map_mapbayr001" / "data.csv"))
    model = PopModel(
        structural=pk.OneCompartment(absorption=pk.FirstOrder()),
        parameters={"CL": Parameter(4.0), "V": Parameter(70.0), "ka": Parameter(1.0)},
        variability=variability.Independent(["CL", "V", "ka"], sd=SD),
        residual=residual.Proportional(float(np.sqrt(0.05))),
    )
    each, eta, density, values = at(Foce(), model, data, {"omega": np.sqrt([0.2] * 3)})
    reference = pd.read_csv(INDIVIDUAL / "map_mapbayr001" / "nonmem_phi.csv")
    np.testing.assert_allclose(eta, reference[["ETA1", "ETA2", "ETA3"]], atol=1e-5)
    np.testing.assert_allclose(each, reference["OBJ"], atol=1e-5)
    covariance = np.linalg.inv(density.local(values, eta).information)
    np.testing.assert_allclose(covariance[:, 0, 0], reference["ETC11"], atol=1e-4)


def test_a_patient_whose_covariates_change():
    """NONMEM's etas with covariates carried backward (quoted by posologyr)."""
    table = pd.read_csv(INDIVIDUAL / "map_posologyr_tdm_a" / "timevarying.csv").assign(ID=1)
    weight = covariate.Power("BW", ref=75, exponent=1.5)
    sex = covariate.Exponential("SEX", ref=0, coefficient=float(np.log(0.75)))
    model = PopModel(
        structural=pk.OneCompartment(),
        parameters={"CL": Parameter(4.0, covariates=[weight, sex]), "V": Parameter(70.0)},
        variability=variability.Independent(["CL", "V"], sd=SD),
        residual=residual.Proportional(float(np.sqrt(0.05))),
    )
    data = read_events(table, covariates=["BW", "SEX"])
    _, eta, *_ = at(Foce(), model, data, {"omega": np.sqrt([0.2, 0.2])})
    np.testing.assert_allclose(eta, [[0.398845969, 0.0762201167]], atol=1e-6)
