from dataclasses import replace

import numpy as np
import pytest

from popbayes import prior, variability
from popbayes.building import build
from popbayes.building.between import ETA_WHITE, Information
from popbayes.building.starts import ETA_RAW, PHI
from tests.tolerances import EXACT

NAMES = ["ka", "CL", "V"]
HALF = prior.HalfNormal(0.5)


def blocks(kind):
    return {
        "independent": variability.Independent(NAMES, sd=HALF),
        "correlated": variability.Correlated(NAMES, sd=HALF),
        "mixed": (
            variability.Independent(["ka"], sd=HALF, centred=True),
            variability.Correlated(["CL", "V"], sd=HALF),
        ),
    }[kind]


def information(n_subject, medians, rng):
    root = rng.standard_normal((n_subject, 3, 3))
    precision = root @ np.swapaxes(root, 1, 2) * 20
    return Information(tuple(NAMES), precision, np.einsum("nij,j->ni", precision, np.log(medians)))


def log_density_of(graph, point):
    """Log density of population values and eta: that of the sampled coordinates, divided by their volume."""
    fast = {"mode": "FAST_COMPILE"}
    wanted = [graph["omega"], graph["eta"]] + ([graph["corr"]] if "corr" in graph.named_vars else [])
    shown = graph.compile_fn(
        graph.replace_rvs_by_values(wanted), inputs=graph.value_vars, on_unused_input="ignore", **fast
    )(point)
    omega, eta, corr = shown[0], shown[1], shown[2] if len(shown) > 2 else np.eye(3)
    root = np.diag(omega) @ np.linalg.cholesky(corr)
    return graph.compile_logp(**fast)(point), eta, root @ root.T


@pytest.mark.parametrize("kind", ["independent", "correlated", "mixed"])
def test_the_density_of_random_effects_is_the_same_between_centred_and_non_centred(
    theophylline_model, theophylline, kind
):
    model, rng = replace(theophylline_model, variability=blocks(kind)), np.random.default_rng(3)
    known = information(theophylline.n_subject, [1.5, 2.8, 32.0], rng)
    between = build(model, theophylline, known)
    point = {k: v + 0.1 * rng.standard_normal(np.shape(v)) for k, v in between.initial_point().items()}
    density, eta, covariance = log_density_of(between, point)
    inside = [0, 1, 2] if kind != "mixed" else [1, 2]
    block = np.ix_(inside, inside)
    data = known.precision[:, inside][:, :, inside]
    volume = -0.5 * np.linalg.slogdet(data + np.linalg.inv(covariance[block]))[1].sum()
    plain = build(model, theophylline)
    root = np.linalg.cholesky(covariance[block])
    point[ETA_RAW] = np.linalg.solve(root, eta[:, inside].T).T
    del point[ETA_WHITE]
    expected = log_density_of(plain, point)[0] - theophylline.n_subject * np.linalg.slogdet(root)[1]
    np.testing.assert_allclose(density - volume, expected, **EXACT)


def test_without_information_the_effects_are_non_centred(theophylline_model, theophylline):
    nothing = Information(tuple(NAMES), np.zeros((12, 3, 3)), np.zeros((12, 3)))
    model = replace(theophylline_model, variability=blocks("independent"))
    graph = build(model, theophylline, nothing)
    point = graph.initial_point()
    point[ETA_WHITE] = np.random.default_rng(1).standard_normal((12, 3))
    _, eta, covariance = log_density_of(graph, point)
    np.testing.assert_allclose(eta, point[ETA_WHITE] * np.sqrt(np.diag(covariance)), **EXACT)


def test_information_gives_back_the_conditional_distribution_it_was_made_of():
    rng = np.random.default_rng(2)
    root = rng.standard_normal((5, 2, 2))
    truth = root @ np.swapaxes(root, 1, 2)
    omega, mu = np.diag([0.09, 0.16]) + 0.05, np.array([[1.0, 2.0]] * 5)
    mean = mu + 0.1 * rng.standard_normal((5, 2))
    found = Information.of_mean(("CL", "V"), truth, mean, omega, mu)
    np.testing.assert_allclose(found.precision, truth, **EXACT)
    covariance = np.linalg.inv(truth + np.linalg.inv(omega))
    again = np.einsum("nij,nj->ni", covariance, found.pull + mu @ np.linalg.inv(omega))
    np.testing.assert_allclose(again, mean, **EXACT)
    worse = Information.of_mean(("CL", "V"), truth - 1e3 * np.eye(2), mean, omega, mu)
    np.testing.assert_allclose(worse.precision, 0.0, atol=1e-10)


def test_centring_that_the_model_says_is_kept(theophylline_model, theophylline):
    model = replace(theophylline_model, variability=blocks("mixed"))
    known = information(12, [1.5, 2.8, 32.0], np.random.default_rng(0))
    free = {one.name for one in build(model, theophylline, known).free_RVs}
    assert {PHI, ETA_WHITE} <= free
    assert ETA_RAW not in free
