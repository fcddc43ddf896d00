"""FO, FOCE, FOCEI and Laplace against NONMEM, Monolix and published exact values."""

import numpy as np
import pytest

from popbayes.infer.estimation.estimate import estimate
from popbayes.infer.estimation.linearised import Foce, Laplace
from popbayes.infer.estimation.modes import searched
from popbayes.infer.estimation.quadrature import Quadrature
from popbayes.infer.subject_logp import LOG_2PI
from tests.infer.estimation.studies import (
    density_at,
    phenobarbital_correlated,
    phenobarbital_covariates,
    theophylline_model,
)

AT_REFERENCE = 1e-3
"""Absolute, of objective functions at values printed with six figures."""


def objective(method, density, values):
    eta, _ = method.search(density, values, np.zeros((density.n_subject, density.n_eta)), 0)
    return float(np.sum(method.objective(density, values, eta))), eta


def ofv(method, model, data, values):
    """NONMEM's objective, without n log(2 pi)."""
    density, complete = density_at(model, data, values)
    return objective(method, density, complete)[0] - data.n_obs * LOG_2PI


def test_focei_of_phenobarbital_equals_nonmem_at_its_estimates():
    """NONMEM 7 FOCEI of Grasela & Donn (1985): 586.276056 (pharmpy's pheno_real)."""
    values = {"CL_pop": 0.00469555, "V_pop": 0.984258, "beta_V_LOW": 0.15892}
    values |= {"omega": np.sqrt([0.0293508, 0.027906]), "sigma_prop": np.sqrt(0.013241)}
    assert abs(ofv(Foce(), *phenobarbital_covariates(), values) - 586.276056) < AT_REFERENCE


def test_focei_of_correlated_effects_equals_nonmem_at_its_estimates():
    """NONMEM 7.4.3 FOCEI: 688.522142 (babelmixr2's phenobarbital with a full 2 x 2 OMEGA)."""
    sd = np.sqrt([0.239209, 0.15477])
    values = {"CL_pop": np.exp(-4.99035), "V_pop": np.exp(0.339869), "sigma_add": 2.86398}
    values |= {"omega": sd, "corr": {("CL", "V"): 0.192072 / sd.prod()}}
    assert abs(ofv(Foce(), *phenobarbital_correlated(), values) - 688.522142) < AT_REFERENCE


THEOPHYLLINE = {
    "ka_pop": np.exp(0.464451), "CL_pop": np.exp(1.012047), "V_pop": np.exp(3.459973), "sigma_add": 0.693839,
    "omega": np.sqrt([0.404625, 0.068796, 0.019222]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("method", "expected"),
    # nlmixr2's FOCEI fit; Laplace and exact values at its estimates: independent calculations
    [
        (Foce(), 116.803781),
        (Foce(interaction=False), 116.803781),
        (Laplace(), 118.530),
        (Quadrature(9), 118.124),
    ],
)
def test_theophylline_at_the_focei_estimates(method, expected, theophylline):
    assert abs(ofv(method, theophylline_model(), theophylline, THEOPHYLLINE) - expected) < AT_REFERENCE


def test_one_node_is_laplace(theophylline):
    one, laplace = (
        ofv(m, theophylline_model(), theophylline, THEOPHYLLINE) for m in (Quadrature(1), Laplace())
    )
    assert abs(one - laplace) < 1e-9


@pytest.fixture(scope="module")
def phenobarbital():
    model, data = phenobarbital_covariates()
    return estimate(model, data, method=Foce(covariance="sandwich"), progress=False)


def test_our_minimum_is_that_of_nonmem(phenobarbital):
    """Estimates within 0.5 %, standard errors (NONMEM's default matrix) within 5 %."""
    expected = {
        "CL_pop": (0.00469555, 0.000210036),
        "V_pop": (0.984258, 0.0268952),
        "beta_V_LOW": (0.15892, 0.0837623),
        "omega[CL]": (np.sqrt(0.0293508), 0.0134153 / 2 / np.sqrt(0.0293508)),
        "omega[V]": (np.sqrt(0.027906), 0.00747651 / 2 / np.sqrt(0.027906)),
        "sigma_prop": (np.sqrt(0.013241), 0.0022794 / 2 / np.sqrt(0.013241)),
    }
    table = phenobarbital["estimates"].to_dataset()
    assert float(phenobarbital["objective"]["ofv"].sel(approximation="focei")) < 586.276056 + 1e-3
    for name, (value, se) in expected.items():
        row = table.sel(parameter=name, parameter_=name)
        np.testing.assert_allclose(row["value"], value, rtol=5e-3, err_msg=name)
        np.testing.assert_allclose(row["se"], se, rtol=5e-2, err_msg=name)


def test_random_effects_equal_nonmems(phenobarbital):
    """The first three subjects' ETA1, ETA2 and conditional variances (NONMEM's phi file)."""
    density, values = density_at(
        *phenobarbital_covariates(),
        {"CL_pop": 0.00469555, "V_pop": 0.984258, "beta_V_LOW": 0.15892, "sigma_prop": np.sqrt(0.013241),
         "omega": np.sqrt([0.0293508, 0.027906])},
    )  # fmt: skip
    eta, here, _ = searched(density, values, np.zeros((59, 2)))
    expected = [[-0.0438608, 0.00543031], [-0.166321, -0.131833], [0.0959341, 0.130868]]
    np.testing.assert_allclose(eta[:3], expected, atol=1e-5)
    covariance = np.linalg.inv(here.information)[0]
    np.testing.assert_allclose(covariance, [[0.0248833, -0.0029992], [-0.0029992, 0.00715713]], atol=1e-4)
    np.testing.assert_allclose(phenobarbital["eta"]["mode"][:3], expected, atol=2e-3)
