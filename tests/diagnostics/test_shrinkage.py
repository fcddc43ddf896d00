import numpy as np
import pytest
import xarray as xr

from popbayes.diagnostics.gof import gof
from popbayes.diagnostics.shrinkage import eta_shrinkage, in_words, pooling_factor, shrinkage
from popbayes.observation import residual
from popbayes.parameters import priors
from tests.diagnostics.posed import posed_fit, theophylline_model, two_endpoints
from tests.tolerances import EXACT


def draws_of(eta: np.ndarray, omega: float) -> xr.Dataset:
    """Posterior of one random effect; `eta` is (chain, draw, subject)."""
    shape = eta.shape[:2]
    return xr.Dataset(
        {
            "eta": (("chain", "draw", "subject", "eta_of"), eta[..., None]),
            "omega": (("chain", "draw", "eta_of"), np.full((*shape, 1), omega)),
        },
        coords={"eta_of": ["CL"], "subject": np.arange(eta.shape[2])},
    )


def test_estimates_as_spread_as_the_population_are_not_shrunk():
    subjects = np.array([-1.0, 1.0, -1.0, 1.0, 0.0])
    draws = draws_of(np.broadcast_to(subjects, (2, 10, 5)), omega=1.0)
    row = eta_shrinkage(draws).loc["CL"]
    assert row["shrinkage"] == pytest.approx(0)
    assert row["pooling"] == pytest.approx(0)


def test_subjects_without_information_are_shrunk_and_pooled_entirely():
    eta = 0.5 * np.random.default_rng(0).standard_normal((4, 5000, 8))
    row = eta_shrinkage(draws_of(eta, omega=0.5)).loc["CL"]
    assert 0.98 < row["shrinkage"] < 1
    assert row["pooling"] > 0.999


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_a_normal_posterior_is_shrunk_by_its_share_of_information(kept):
    """With prior N(0, 1) and estimates of variance `kept`, the posterior variance of each is 1 - `kept`."""
    rng = np.random.default_rng(1)
    n_subject = 200
    centre = rng.standard_normal(n_subject)
    centre = np.sqrt(kept) * (centre - centre.mean()) / centre.std(ddof=1)
    eta = centre + np.sqrt(1 - kept) * rng.standard_normal((2, 4000, n_subject))
    row = eta_shrinkage(draws_of(eta, omega=1.0), power=2).loc["CL"]
    assert row["shrinkage"] == pytest.approx(1 - kept, abs=0.01)
    assert row["pooling"] == pytest.approx(1 - kept, abs=0.01)


def test_pooling_is_the_formula_of_gelman_and_pardoe():
    eta = np.random.default_rng(2).standard_normal((30, 6, 2)) + np.arange(6)[:, None]
    for k in range(2):
        mean_of_variances = np.mean([np.var(draw[:, k], ddof=1) for draw in eta])
        variance_of_means = np.var([eta[:, i, k].mean() for i in range(6)], ddof=1)
        assert pooling_factor(eta)[k] == pytest.approx(1 - variance_of_means / mean_of_variances)


def test_the_variance_scale_is_the_square_of_the_sd_scale(posed):
    sd, variance = shrinkage(posed)["shrinkage"], shrinkage(posed, scale="variance")["shrinkage"]
    np.testing.assert_allclose(1 - variance, (1 - sd) ** 2, **EXACT)


def test_epsilon_shrinkage_is_one_minus_the_spread_of_iwres(posed):
    table = shrinkage(posed)
    assert table.index.tolist() == ["ka", "CL", "V", "epsilon"]
    assert table.loc["epsilon", "shrinkage"] == pytest.approx(1 - gof(posed)["iwres"].to_numpy().std(ddof=1))


def test_each_endpoint_has_an_epsilon_of_its_own():
    two = two_endpoints()
    table, iwres = shrinkage(two), gof(two)["iwres"].to_numpy()
    assert table.index.tolist() == ["ka", "CL", "V", "epsilon[conc]", "epsilon[A_central]"]
    for dvid, name in ((1, "conc"), (2, "A_central")):
        own = iwres[gof(two)["dvid"].to_numpy() == dvid]
        assert table.loc[f"epsilon[{name}]", "shrinkage"] == pytest.approx(1 - own.std(ddof=1))
    assert in_words("epsilon[conc]") == "residuals of\nconc"


def test_without_random_effects_there_is_only_epsilon():
    model = theophylline_model(variability=None, residual=residual.Additive(priors.HalfNormal(1)))
    assert shrinkage(posed_fit(model, draws=5)).index.tolist() == ["epsilon"]


def test_one_subject_has_no_spread_and_so_no_shrinkage():
    row = eta_shrinkage(draws_of(np.random.default_rng(3).standard_normal((2, 5, 1)), 1.0)).loc["CL"]
    assert np.isnan(row["shrinkage"])
    assert np.isnan(row["pooling"])


def test_an_unknown_scale_is_refused(posed):
    with pytest.raises(ValueError, match="scale must be"):
        shrinkage(posed, scale="log")
