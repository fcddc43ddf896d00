"""Occasions in every method, against closed forms where the model is linear and normal."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal

from popbayes import covariate, pk, prior, residual, variability
from popbayes.data.events import EventTable, read_events
from popbayes.diagnostics.gof import gof
from popbayes.diagnostics.shrinkage import shrinkage
from popbayes.diagnostics.summary import summary
from popbayes.infer.effects import Effects
from popbayes.infer.estimation.estimate import estimate
from popbayes.infer.estimation.linearised import FirstOrder, Foce, Laplace
from popbayes.infer.estimation.quadrature import Quadrature
from popbayes.infer.saem.method import Saem
from popbayes.infer.storage import load, save
from popbayes.model import PopModel
from popbayes.parameters.parameter import Parameter
from popbayes.simulation import simulate
from tests.infer.estimation.studies import SHARED, density_at
from tests.tolerances import EXACT

DOSE = 100.0
MINIMUM = {"rtol": 1e-4, "atol": 0.0}  # where -2 log L is flat within 1e-6
SAEM_ERRORS = 0.2  # 2 SE/10
IN_MC_ERRORS = 3.0


def washed_out(n: int = 30, seed: int = 0) -> EventTable:
    """Boluses into an empty body on one to three occasions, two samples at once after each.

    log C(0) = log dose - log V is then linear in the random effects of V, and the likelihood is normal.
    """
    rng = np.random.default_rng(seed)
    rows: list[tuple[float, ...]] = []
    for subject in range(n):
        eta = rng.normal(0, 0.3)
        for k in range(rng.integers(1, 4)):
            time, place = 1000.0 * k, np.log(10.0) + eta + rng.normal(0, 0.2)
            rows.append((subject + 1, time, DOSE, 4, np.nan, k + 1))
            rows += [
                (subject + 1, time, 0.0, 0, DOSE * np.exp(rng.normal(0, 0.1) - place), k + 1)
                for _ in range(2)
            ]
    return read_events(pd.DataFrame(rows, columns=["ID", "TIME", "AMT", "EVID", "DV", "OCC"]))


def volumes() -> PopModel:
    return PopModel(
        structural=pk.OneCompartment(),
        parameters={"CL": Parameter(1.0), "V": Parameter(prior.LogNormal(12, 1))},
        variability=[
            variability.Independent(["V"], sd=prior.HalfNormal(0.5)),
            variability.Occasion(["V"], sd=prior.HalfNormal(0.5)),
        ],
        residual=residual.LogNormal(prior.HalfNormal(0.3)),
    )


def covariances(data, omega, gamma, sigma):
    """Observations of each subject, and the covariance of their logarithms."""
    occasion = np.asarray(data.occ)[data.obs_record]
    for subject in range(data.n_subject):
        own = data.obs_subject == subject
        same = occasion[own][:, None] == occasion[own][None, :]
        yield own, omega**2 + gamma**2 * same + sigma**2 * np.eye(own.sum())


def exact_minus2ll(data, volume, omega, gamma, sigma):
    log = np.log(data.obs_dv)
    total = 0.0
    for own, covariance in covariances(data, omega, gamma, sigma):
        mean = np.full(own.sum(), np.log(DOSE / volume))
        total += multivariate_normal.logpdf(log[own], mean, covariance) - log[own].sum()
    return -2 * total


@pytest.fixture(scope="module")
def data():
    return washed_out()


@pytest.fixture(scope="module")
def focei(data):
    return estimate(volumes(), data, method=Foce(), seed=1, progress=False)


VALUES = {"V_pop": 11.0, "omega": [0.25], "gamma": [0.15], "sigma_log": 0.12}


@pytest.mark.parametrize("method", [FirstOrder(), Foce(), Foce(interaction=False), Laplace(), Quadrature(3)])
def test_the_likelihood_is_the_closed_form_for_subjects_with_any_number_of_occasions(method, data):
    density, values = density_at(volumes(), data, VALUES)
    assert sorted(set(density.layout.real.sum(axis=1).tolist())) == [1, 2, 3]
    eta = method.settle(density, values, np.zeros((density.n_subject, density.n_eta)))
    got = method.objective(density, values, eta).sum()
    np.testing.assert_allclose(got, exact_minus2ll(data, 11.0, 0.25, 0.15, 0.12), rtol=1e-8)


def test_effects_of_subjects_and_occasions_are_the_closed_form(data):
    """Conditional means and covariances of normal vectors."""
    density, values = density_at(volumes(), data, VALUES)
    eta = Foce().settle(density, values, np.zeros((density.n_subject, density.n_eta)))
    spread = np.linalg.inv(density.local(values, eta).information)
    occasion = np.asarray(data.occ)[data.obs_record]
    log = np.log(DOSE / data.obs_dv) - np.log(11.0)
    for subject, (own, covariance) in enumerate(covariances(data, 0.25, 0.15, 0.12)):
        seen = np.unique(occasion[own])
        with_data = np.stack([np.full(own.sum(), 0.25**2), *[0.15**2 * (occasion[own] == k) for k in seen]])
        mean = with_data @ np.linalg.solve(covariance, log[own])
        np.testing.assert_allclose(eta[subject, : len(mean)], mean, rtol=1e-6, atol=1e-9)
        known = np.diag([0.25**2, *[0.15**2] * len(seen)])
        left = known - with_data @ np.linalg.solve(covariance, with_data.T)
        np.testing.assert_allclose(spread[subject, : len(mean), : len(mean)], left, rtol=1e-5, atol=1e-9)
        np.testing.assert_allclose(eta[subject, len(mean) :], 0.0, atol=1e-12)


def test_the_estimate_is_at_the_maximum_of_the_closed_form(data, focei):
    table = focei["estimates"].to_dataset()
    best = table["value"].to_numpy()
    assert table["parameter"].to_numpy().tolist() == ["V_pop", "omega[V]", "gamma[V]", "sigma_log"]
    here = exact_minus2ll(data, *best)
    np.testing.assert_allclose(float(focei["objective"]["minus2ll"][0]), here, rtol=1e-9)
    for k in range(4):
        for factor in (0.999, 1.001):
            moved = best.copy()
            moved[k] *= factor
            assert exact_minus2ll(data, *moved) > here
    # observed information of the closed form, by differences in logarithms
    step, size = 1e-3, len(best)
    hessian = np.empty((size, size))
    for i in range(size):
        for j in range(size):
            ends = [
                exact_minus2ll(data, *(best * np.exp(step * (a * np.eye(size)[i] + b * np.eye(size)[j]))))
                for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))
            ]
            hessian[i, j] = (ends[0] - ends[1] - ends[2] + ends[3]) / (4 * step**2)
    se = best * np.sqrt(np.diag(np.linalg.inv(0.5 * hessian)))
    np.testing.assert_allclose(table["se"], se, rtol=1e-3)


def test_saem_is_within_two_tenths_of_a_standard_error(data, focei):
    found = estimate(volumes(), data, method=Saem(), seed=1, progress=False)
    assert found.attrs["converged"] == 1
    best, table = focei["estimates"].to_dataset(), found["estimates"].to_dataset()
    assert (np.abs(table["value"] - best["value"]) < SAEM_ERRORS * best["se"]).all()
    np.testing.assert_allclose(table["se"], best["se"], rtol=0.15)
    objective = found["objective"].to_dataset().isel(approximation=0)
    away = float(objective["minus2ll"]) - exact_minus2ll(data, *table["value"].to_numpy())
    assert abs(away) < IN_MC_ERRORS * float(objective["mc_error"])
    np.testing.assert_allclose(found["eta"]["eta_occ_mean"], found["eta"]["eta_occ"], atol=0.03)


def test_what_comes_after_knows_the_occasions(data, focei, tmp_path):
    again = load(save(focei, tmp_path / "occasions.nc"))
    assert again["eta"]["eta_occ"].dims == ("occasion", "gamma_of")
    assert again["eta"].sizes["occasion"] == len(set(zip(data.record_subject, data.occ, strict=True)))
    row = summary(again).to_frame().loc["gamma[V]"]
    np.testing.assert_allclose(row["cv_percent"], 100 * np.sqrt(np.expm1(row["estimate"] ** 2)))
    np.testing.assert_allclose(row["lower"] * row["upper"], row["estimate"] ** 2)
    np.testing.assert_allclose(
        row["shrinkage_percent"], 100 * shrinkage(again).loc["V by occasion", "shrinkage"], **EXACT
    )
    fitted = gof(again)
    assert abs(np.mean(fitted["cwres"])) < 0.1
    np.testing.assert_allclose(np.sum(fitted["cwres"] ** 2), data.n_obs, rtol=1e-3)  # at the maximum
    own = simulate(volumes(), data, again, seed=1, n=2, new_subjects=False)["posterior_predictive"]["ipred"]
    np.testing.assert_allclose(own[0, 1], fitted["ipred"], rtol=1e-12)


def test_correlated_effects_of_occasions_are_a_block_of_their_own(data):
    """Two parameters by occasion: the covariance of a subject's vector repeats the block."""
    model = PopModel(
        structural=pk.OneCompartment(),
        parameters={name: Parameter(prior.LogNormal(10, 1)) for name in ("CL", "V")},
        variability=[
            variability.Correlated(["CL", "V"], sd=prior.HalfNormal(0.5)),
            variability.Occasion(["CL", "V"], sd=prior.HalfNormal(0.5), lkj=2),
        ],
        residual=residual.LogNormal(prior.HalfNormal(0.3)),
    )
    values = {"CL_pop": 1.0, "V_pop": 11.0, "omega": [0.3, 0.2], "corr": {("CL", "V"): 0.5}}
    values |= {"gamma": [0.1, 0.4], "corr_occ": {("CL", "V"): -0.3}, "sigma_log": 0.1}
    density, complete = density_at(model, data, values)
    root = density.root(complete)
    got = root @ root.T
    own, each = [[0.09, 0.03], [0.03, 0.04]], [[0.01, -0.012], [-0.012, 0.16]]
    expected = np.zeros((8, 8))
    for k, block in enumerate([own, each, each, each]):
        expected[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = block
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-15)
    layout = Effects.of(density.study.model, density.study.design)
    eta = np.random.default_rng(1).normal(size=(data.n_subject, layout.size))
    subject, levels = layout.split(eta)
    np.testing.assert_array_equal(layout.joined(subject, levels["occasion"]), layout.zeroed(eta))


def test_levels_above_the_subject_are_refused_with_the_reason(data):
    model = volumes()
    site = variability.Level("SITE", ["CL"], sd=prior.HalfNormal(0.5))
    table = data.to_frame().assign(SITE=1)
    model = PopModel(model.structural, model.parameters, [*model.variability, site], model.residual)
    for method in (Foce(), Saem()):
        with pytest.raises(ValueError, match="subjects that share an effect are not independent"):
            estimate(model, read_events(table, covariates=["SITE"]), method=method, progress=False)


def test_a_patient_on_four_occasions():
    """Monolix' mode quoted by posologyr; independently 10.576, 23.993, 18.387, 26.278."""
    place = SHARED / "individual" / "map_posologyr_tdm_a" / "piperacillin.csv"
    if not place.exists():
        pytest.skip("the reference data are not beside the repository")
    table = pd.read_csv(place).assign(ID=1)
    table["RATE"] = np.where(table["EVID"] == 1, table["AMT"] / table["DUR"], 0.0)
    weight = covariate.Power("TBW", ref=70, exponent=1.0)
    model = PopModel(
        structural=pk.TwoCompartment(iv=pk.Intravenous(Tlag=True)),
        parameters={
            "Tlag": Parameter(0.07), "CL": Parameter(17.1, covariates=[weight]), "V1": Parameter(7.2),
            "Q": Parameter(52.0), "V2": Parameter(17.8),
        },
        variability=[
            variability.Independent(["Tlag", "CL", "V1", "Q", "V2"], sd=prior.HalfNormal(0.5)),
            variability.Occasion(["CL", "V1"], sd=prior.HalfNormal(0.5)),
        ],
        residual=residual.CombinedSD(add=3.2, prop=0.253),
    )  # fmt: skip
    omega2 = {"Tlag": 0.1747673, "CL": 0.08507985, "V1": 0.0673745, "Q": 0.2247455, "V2": 0.429067}
    values = {"omega": {name: np.sqrt(one) for name, one in omega2.items()}}
    values["gamma"] = {"CL": np.sqrt(0.1934626), "V1": np.sqrt(0.05783106)}
    data = read_events(table[["ID", "TIME", "EVID", "AMT", "RATE", "DV", "TBW", "OCC"]], covariates=["TBW"])
    density, complete = density_at(model, data, values)
    vector, _ = Foce().search(density, complete, np.zeros((1, density.n_eta)), 0)
    eta, levels = density.layout.split(vector)
    theta = model.resolved(data).individual_parameters(complete, eta, density.study.design, np, levels)
    occasion = density.study.design.groups["occasion"].of_segment
    clearance = [theta["CL"][occasion == k][0] for k in range(4)]
    np.testing.assert_allclose(clearance, [10.576, 23.993, 18.387, 26.278], rtol=1e-3)
