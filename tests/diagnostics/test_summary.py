import json

import arviz_stats
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from popbayes.data.datasets import load_dataset
from popbayes.diagnostics.convergence import mixing
from popbayes.diagnostics.shrinkage import shrinkage
from popbayes.diagnostics.summary import significant, summary
from popbayes.observation import residual
from popbayes.parameters import priors, variability
from popbayes.parameters.parameter import Parameter
from tests.diagnostics.posed import posed_fit, theophylline_model, with_posterior
from tests.tolerances import EXACT

ORDER = [
    "ka_pop", "CL_pop", "beta_CL_WT", "V_pop", "beta_V_WT", "omega[ka]", "omega[CL]", "omega[V]", "corr[ka, "
    "V]",
    "sigma_add", "sigma_prop",
]  # fmt: skip


@pytest.fixture(scope="module")
def table(posed) -> pd.DataFrame:
    return summary(posed).table


def test_rows_are_every_population_quantity_in_model_order(table):
    assert table.index.tolist() == ORDER


def test_estimates_are_moments_and_quantiles_of_all_draws(posed, table):
    draws = posed["posterior"]["CL_pop"].to_numpy().ravel()
    expected = [draws.mean(), draws.std(ddof=1), *np.quantile(draws, [0.025, 0.975])]
    columns = ["mean", "sd", "lower", "upper"]
    np.testing.assert_allclose(table.loc["CL_pop", columns].astype(float), expected, **EXACT)
    assert table.loc["CL_pop", "rse_percent"] == pytest.approx(100 * expected[1] / expected[0])


def test_point_and_interval_are_those_asked_for(posed):
    table = summary(posed, point="median", interval=0.5).table
    draws = posed["posterior"]["V_pop"].to_numpy()
    assert table.loc["V_pop", "median"] == pytest.approx(np.median(draws))
    assert table.loc["V_pop", "upper"] == pytest.approx(np.quantile(draws, 0.75))
    assert "mean" not in table


@pytest.mark.parametrize(
    ("index", "name", "place"),
    [
        ("omega[CL]", "omega", {"eta_of": "CL"}),
        ("corr[ka, V]", "corr", {"eta_of": "ka", "eta_of_": "V"}),
    ],
)
def test_rows_of_vectors_and_matrices_are_their_own_elements(posed, table, index, name, place):
    assert table.loc[index, "mean"] == pytest.approx(float(posed["posterior"][name].sel(place).mean()))


def test_cv_percent_is_that_of_a_log_normal_parameter(table):
    omega = table.loc["omega[ka]", "mean"]
    assert table.loc["omega[ka]", "cv_percent"] == pytest.approx(100 * np.sqrt(np.exp(omega**2) - 1))
    assert table["cv_percent"].notna().sum() == 3


def test_cv_percent_is_not_given_off_the_log_scale():
    parameters = dict(theophylline_model().parameters) | {
        "ka": Parameter(priors.Normal(1.5, 0.1), scale="identity")
    }
    table = summary(posed_fit(theophylline_model(parameters=parameters), draws=10)).table
    assert np.isnan(table.loc["omega[ka]", "cv_percent"])
    assert np.isfinite(table.loc["omega[CL]", "cv_percent"])


def test_shrinkage_of_omega_is_that_of_shrinkage(posed, table):
    expected = 100 * shrinkage(posed)["shrinkage"].drop("epsilon")
    np.testing.assert_allclose(
        table.loc[[f"omega[{p}]" for p in expected.index], "shrinkage_percent"], expected, **EXACT
    )


def test_rhat_and_ess_are_those_of_arviz(posed, table):
    draws = posed["posterior"]["sigma_add"]
    assert table.loc["sigma_add", "rhat"] == pytest.approx(float(arviz_stats.rhat(draws)))
    assert table.loc["sigma_add", "ess_bulk"] == pytest.approx(float(arviz_stats.ess(draws, method="bulk")))
    assert table.loc["sigma_add", "ess_tail"] == pytest.approx(float(arviz_stats.ess(draws, method="tail")))


def test_fixed_quantities_are_marked_and_have_no_spread(posed, table):
    assert table.index[table["fixed"]].tolist() == ["beta_CL_WT"]
    assert table.loc["beta_CL_WT", "mean"] == 0.75
    assert np.isnan(table.loc["beta_CL_WT", "sd"])
    line = next(line for line in str(summary(posed)).splitlines() if line.startswith("beta_CL_WT"))
    assert line.split() == ["beta_CL_WT", "0.750", "FIX"]


def test_a_fixed_omega_is_marked_and_does_not_trouble_convergence():
    spread = [
        variability.Independent(["ka", "CL", "V"], sd={"ka": priors.HalfNormal(0.3), "CL": 0.3, "V": 0.1})
    ]
    result = summary(posed_fit(theophylline_model(variability=spread), draws=1000))
    assert result.table.loc["omega[CL]", ["mean", "fixed"]].tolist() == [0.3, True]
    assert result.messages == ()


def test_units_are_those_of_parameters_and_observations(table):
    assert table["unit"].to_dict() | {} == dict.fromkeys(ORDER, "") | {
        "ka_pop": "1/h", "CL_pop": "L/h", "V_pop": "L", "sigma_add": "mg/L",
    }  # fmt: skip


def test_a_model_without_random_effects_has_a_table():
    model = theophylline_model(variability=None, residual=residual.Additive(priors.HalfNormal(1)))
    table = summary(posed_fit(model, draws=10)).table
    assert table.index.tolist() == ["ka_pop", "CL_pop", "beta_CL_WT", "V_pop", "beta_V_WT", "sigma_add"]
    assert table["shrinkage_percent"].isna().all()


def test_csv_holds_the_unrounded_numbers(posed, tmp_path):
    result = summary(posed)
    result.to_csv(tmp_path / "parameters.csv")
    back = pd.read_csv(tmp_path / "parameters.csv", index_col="parameter")
    np.testing.assert_allclose(back["mean"], result.table["mean"], **EXACT)


def test_independent_draws_raise_no_message():
    assert summary(posed_fit(draws=1000)).messages == ()


def changed(dt: xr.DataTree, **how) -> xr.DataTree:
    posterior = dt["posterior"].to_dataset()
    return with_posterior(dt, posterior.assign({name: f(posterior[name]) for name, f in how.items()}))


def test_chains_that_disagree_are_said_first_with_the_quantity_and_a_remedy():
    dt = changed(posed_fit(draws=1000), CL_pop=lambda x: x + 2.0 * (x["chain"] == 3))
    result = summary(dt)
    assert any(
        "R-hat is above 1.01 for 1 of" in m and "CL_pop" in m and "tune=2000" in m for m in result.messages
    )
    assert str(result).startswith("! Chains are trapped in different modes: CL_pop of the population")
    assert "! The chains do not agree" in str(result)
    assert str(result).index("R-hat is above") < str(result).index("ka_pop")


def test_a_posterior_beyond_its_prior_is_said():
    """As of concentrations in ng/mL under priors for mg/L."""

    def raised(dt):
        return changed(dt, CL_pop=lambda x: x * 3.0, omega=lambda x: 0.1 * x, sigma_add=lambda x: x + 9.0)

    (message,) = summary(raised(posed_fit(draws=1000))).messages
    assert "medians of CL_pop (8." in message
    assert "is 2.0" in message
    assert "sigma_add (9." in message
    assert "omega" not in message
    assert "same units" in message


def test_an_estimate_near_zero_has_no_printed_rse_of_many_digits():
    dt = changed(posed_fit(draws=100), beta_V_WT=lambda x: x - x.mean() + 1e-6)
    result = summary(dt)
    assert result.table.loc["beta_V_WT", "rse_percent"] > 1e5
    assert result.printed.loc["beta_V_WT", "RSE%"] == ">999"


def test_a_subjects_random_effect_that_disagrees_is_named():
    dt = changed(posed_fit(draws=1000), eta=lambda x: x + 5.0 * ((x["chain"] == 0) & (x["subject"] == 7)))
    assert any("R-hat" in m and "eta[7, ka]" in m for m in summary(dt).messages)


def test_too_few_effective_draws_are_said_with_how_many_more_are_needed():
    def sticky(x):
        return x.copy(data=np.repeat(x.to_numpy()[:, ::20], 20, axis=1))

    messages = summary(changed(posed_fit(draws=1000), V_pop=sticky)).messages
    assert any(
        "fewer than 400 of 4000" in m and "V_pop" in m and "times as many draws" in m for m in messages
    )


@pytest.mark.parametrize("centred", [None, True])
def test_centring_that_the_model_chose_is_blamed_for_few_draws_of_omega(centred):
    effects = variability.Independent(["CL"], sd=priors.Gamma(alpha=40, beta=100), centred=centred)
    dt = posed_fit(theophylline_model(variability=effects), draws=1000)
    dt = changed(dt, omega=lambda x: x.copy(data=np.repeat(x.to_numpy()[:, ::20], 20, axis=1)))
    (message,) = (one for one in summary(dt).messages if "omega[CL]" in one and "fewer than 400" in one)
    assert ("centred=None" in message) == (centred is True)


def test_divergences_are_counted_with_a_remedy():
    dt = posed_fit(draws=1000)
    dt["sample_stats"]["diverging"][0, :7] = True
    assert any(
        m.startswith("7 of 4000 draws diverged") and "target_accept=0.95" in m for m in summary(dt).messages
    )


def test_low_bfmi_names_the_chain():
    dt = posed_fit(draws=1000)
    dt["sample_stats"]["energy"][2] = np.cumsum(dt["sample_stats"]["energy"].to_numpy()[2])
    assert any("BFMI below 0.3) in chain 2 (" in m for m in summary(dt).messages)


def test_a_quantity_that_never_moved_is_said():
    messages = summary(changed(posed_fit(draws=1000), ka_pop=lambda x: x * 0 + 1.5)).messages
    assert any("1 of 46 quantities never moved (ka_pop)" in m for m in messages)


def test_one_chain_cannot_be_judged_and_is_told_so():
    result = summary(posed_fit(chains=1, draws=1000))
    assert any("only one chain" in m for m in result.messages)
    assert result.table["rhat"].isna().all()


def test_missing_sampler_statistics_are_said():
    dt = posed_fit(draws=1000)
    del dt["sample_stats"]
    assert any("divergences cannot be counted" in m for m in summary(dt).messages)


def test_a_tree_of_simulations_is_refused(simulated):
    with pytest.raises(ValueError, match=r"no posterior draws .*popbayes\.fit"):
        summary(simulated)


def test_a_posterior_of_another_model_is_refused(posed):
    dt = with_posterior(posed, posed["posterior"].to_dataset().drop_vars("V_pop"))
    with pytest.raises(ValueError, match="no variable 'V_pop'"):
        summary(dt)


@pytest.mark.parametrize("arguments", [{"point": "mode"}, {"interval": 95}])
def test_what_cannot_be_summarised_is_refused(posed, arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        summary(posed, **arguments)


def test_html_escapes_what_the_user_wrote():
    result = summary(posed_fit(theophylline_model(name="<b>&"), load_dataset("theophylline"), draws=10))
    assert "<b>&:" not in result._repr_html_()
    assert "&lt;b&gt;&amp;" in result._repr_html_()


def test_mixing_of_too_few_draws_is_unknown_and_not_wrong():
    assert np.isnan(mixing(["a"], np.zeros((4, 2, 1))).rhat).all()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.034, "0.0340"),
        (2857.0, "2857"),
        (-0.02541, "-0.0254"),
        (0.99951, "1.00"),
        (0, "0"),
        (1.5e-7, "1.50e-07"),
        (32.176, "32.2"),
        (999.6, "1000"),
    ],
)
def test_numbers_are_printed_with_three_figures(value, text):
    assert significant(value) == text


def test_the_model_of_the_table_comes_from_the_tree_alone(posed):
    assert json.loads(posed.attrs["model"])["name"] == "oral"
    assert "of oral: 4 chains of 50 draws" in summary(posed).title
