import numpy as np
import pytest

from popbayes.diagnostics.summary import summary
from popbayes.diagnostics.traps import APART, traps
from tests.diagnostics.posed import posed_fit, theophylline_model, with_posterior


@pytest.fixture(scope="module")
def fit():
    """Chains that agree: every subject's parameters vary little around its own place."""
    dt = posed_fit(draws=200)
    posterior = dt["posterior"].to_dataset().copy(deep=True)
    rng = np.random.default_rng(4)
    eta = posterior["eta"]
    place = 0.2 * rng.standard_normal((1, 1, *eta.shape[2:]))
    posterior["eta"] = eta.copy(data=place + 0.05 * rng.standard_normal(eta.shape))
    return with_posterior(dt, posterior)


def flipped(dt, chain, subject, log_ratio):
    """The same draws with ka and CL/V of one subject in one chain exchanged."""
    posterior = dt["posterior"].to_dataset().copy(deep=True)
    eta = posterior["eta"].copy(deep=True)
    eta.loc[{"chain": chain, "subject": subject, "eta_of": "ka"}] -= log_ratio
    eta.loc[{"chain": chain, "subject": subject, "eta_of": "V"}] -= log_ratio
    posterior["eta"] = eta
    return with_posterior(dt, posterior.drop_vars([n for n in ("ka", "CL", "V") if n in posterior]))


def test_chains_of_one_mode_are_not_apart(fit):
    found = traps(fit)
    assert found.table.empty
    assert found.messages == ()
    assert "no chain is apart" in str(found)


def test_a_flip_flopped_subject_is_named_with_the_values_of_both_modes(fit):
    subject = fit["posterior"]["subject"].to_numpy()[4]
    found = traps(flipped(fit, 2, subject, np.log(17.0)))
    assert set(found.table.index) == {(str(subject), "ka"), (str(subject), "V")}
    row = found.table.loc[(str(subject), "ka")]
    assert row["chains"] == "2"
    assert row["kind"] == "flip-flop"
    np.testing.assert_allclose(row["here"] / row["there"], 17.0, rtol=0.1)
    assert f"subject {subject}" in found.messages[0]
    assert "ka < CL/V" in found.messages[0]


def test_the_chains_in_flip_flop_are_named_though_they_are_half_of_all(fit):
    subject = fit["posterior"]["subject"].to_numpy()[4]
    both = flipped(flipped(fit, 2, subject, np.log(17.0)), 3, subject, np.log(17.0))
    table = traps(both).table
    assert table["chains"].tolist() == ["2, 3", "2, 3"]
    assert np.all(table["here"] > table["there"])


def test_the_gap_is_counted_in_standard_deviations_within_chains(fit):
    posterior = fit["posterior"].to_dataset().copy(deep=True)
    eta = posterior["eta"].copy(deep=True)
    first = eta["subject"].to_numpy()[0]
    place = {"chain": 1, "subject": first, "eta_of": "CL"}
    logs = np.log(posterior["CL_pop"]) + eta.sel(subject=first, eta_of="CL")
    sd = float(logs.std("draw").mean())
    for distance, count in ((APART / 2, 0), (2 * APART, 1)):
        moved = eta.copy(deep=True)
        moved.loc[place] += distance * sd
        posterior["eta"] = moved
        table = traps(with_posterior(fit, posterior)).table
        assert len(table) == count
    assert table["kind"].tolist() == ["two modes"]


def test_a_population_value_in_two_modes_is_named(fit):
    posterior = fit["posterior"].to_dataset().copy(deep=True)
    values = posterior["sigma_add"].to_numpy().copy()
    values[3] *= 1e3
    posterior["sigma_add"] = posterior["sigma_add"].copy(data=values)
    found = traps(with_posterior(fit, posterior))
    assert ("population", "sigma_add") in found.table.index
    assert "sigma_add of the population" in found.messages[0]


def test_the_head_of_the_summary_says_so(fit):
    subject = fit["posterior"]["subject"].to_numpy()[4]
    found = summary(flipped(fit, 2, subject, np.log(17.0)))
    assert found.messages[0].startswith("Chains are trapped in different modes")


def test_one_chain_cannot_disagree():
    assert "only one chain" in traps(posed_fit(chains=1)).messages[0]


def test_a_model_without_random_effects_has_only_its_population():
    model = theophylline_model(variability=None)
    assert traps(posed_fit(model)).table.empty
