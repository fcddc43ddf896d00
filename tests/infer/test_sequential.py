"""`sequential`: what an earlier fit knows takes the place of priors, exactly; the rest is as it was."""

from dataclasses import replace

import numpy as np
import pytest

import popbayes as pb
from popbayes import covariate, pd, pk, prior, residual, variability
from popbayes.infer.tree import Study
from tests.infer.posing import posed
from tests.tolerances import EXACT

HALF = prior.HalfNormal(0.3)
BODY = pk.OneCompartment(pk.FirstOrder())
WT = covariate.Power("WT", ref=70, exponent=prior.Normal(0.75, 0.1))
PK = {
    "ka": pb.Parameter(prior.LogNormal(1.3, 0.3)),
    "CL": pb.Parameter(prior.LogNormal(0.135, 0.1), covariates=[WT], unit="L/h"),
    "V": pb.Parameter(prior.LogNormal(8.0, 0.1)),
}
PD = {
    "R0": pb.Parameter(prior.LogNormal(96.0, 0.1)),
    "kout": pb.Parameter(prior.LogNormal(0.055, 0.3)),
    "IC50": pb.Parameter(prior.LogNormal(1.2, 0.3)),
}
TOGETHER = variability.Correlated(["CL", "V"], sd=HALF)


def pk_model(**changes):
    parts = {"structural": BODY, "parameters": PK, "variability": TOGETHER}
    return pb.PopModel(**(parts | {"residual": residual.Combined(HALF, HALF)} | changes))


def joint(**changes):
    parts = {
        "structural": pd.Turnover(BODY, effect=pd.Imax(full=True)),
        "parameters": PK | PD,
        "variability": [TOGETHER, variability.Independent(["R0", "IC50"], sd=HALF)],
        "residual": {
            "conc": residual.Combined(HALF, HALF),
            "response": residual.Additive(prior.HalfNormal(5.0)),
        },
        "name": "joint",
    }
    return pb.PopModel(**(parts | changes))


@pytest.fixture(scope="module")
def data():
    return pb.load_dataset("warfarin_like").subset([1, 2, 3, 4])


@pytest.fixture(scope="module")
def concentrations(data):
    table = data.to_frame()
    return pb.read_events(table[table["DVID"] != 2], covariates=["WT"], columns={"AGE": None, "SEX": None})


@pytest.fixture(scope="module")
def first(concentrations):
    return posed(pk_model(), concentrations)


def individual(model, data, eta=None):
    """Parameters of the subjects of a model in which everything but the response is known."""
    study = Study(model.resolved(data), data)
    values = {f"{name}_pop": np.array([[2.0]]) for name in PD}
    found = study.model.individual_parameters(values, eta, study.design, np)
    return {name: np.broadcast_to(one, (1, study.design.n_segment))[0] for name, one in found.items()}


def test_ipp_takes_the_subjects_parameters_as_they_are(first, data):
    model, table = pb.sequential(joint(), data, first)
    theta = individual(model, table)
    for name in PK:
        drawn = first["posterior"][name]
        np.testing.assert_allclose(theta[name], np.exp(np.log(drawn).mean(("chain", "draw"))), rtol=1e-13)
        np.testing.assert_array_equal(theta[name], table.covariate_by_subject(f"{name}_PK"))
        assert model.parameters[name].column == f"{name}_PK"
    assert model.eta_names == ("R0", "IC50")


def test_ipp_takes_the_parameters_of_one_draw_to_the_last_bit(first, data):
    model, table = pb.sequential(joint(), data, first, draw=9)  # of 2 chains of 6: the 4th of the second
    theta = individual(model, table)
    for name in PK:
        np.testing.assert_array_equal(theta[name], first["posterior"][name].isel(chain=1, draw=3))


def test_the_known_parameters_are_no_rows_and_print_as_known(first, data):
    model, _ = pb.sequential(joint(), data, first)
    labels = [row.label for row in model.population_rows()]
    assert labels == ["R0_pop", "kout_pop", "IC50_pop", "omega[R0]", "omega[IC50]", "sigma_add"]
    assert "CL_i = CL_PK_i (known)" in str(model)
    assert r"\mathrm{CL\_PK}_i" in model.latex()
    assert "CL_pop" not in str(model)
    assert pb.PopModel.from_json(model.to_json()) == model
    assert model.name == "joint, PK known (IPP)"


@pytest.mark.parametrize("method", ["IPP", "PPP"])
def test_observations_of_the_pharmacokinetics_become_other_events(method, first, data):
    _, table = pb.sequential(joint(), data, first, method=method)
    assert set(table.dvid[table.is_obs].tolist()) == {2}
    assert table.n_record == data.n_record
    assert (table.evid == 2).sum() == (data.is_obs & (data.dvid == 1)).sum()
    np.testing.assert_array_equal(table.dv[table.is_obs], data.dv[data.is_obs & (data.dvid == 2)])
    Study(joint().resolved(data), data)  # the table that was given is as it was
    assert set(data.dvid[data.is_obs].tolist()) == {1, 2}


@pytest.mark.parametrize("method", ["PPP", "PPP&D"])
def test_population_values_of_the_pharmacokinetics_are_held_at_their_means(method, first, data):
    model, table = pb.sequential(joint(), data, first, method=method)
    drawn = first["posterior"].to_dataset()
    rows = {row.label: row for row in model.population_rows()}
    for name in PK:
        expected = np.exp(np.log(drawn[f"{name}_pop"]).mean())
        np.testing.assert_allclose(rows[f"{name}_pop"].value, expected, **EXACT)
    np.testing.assert_allclose(rows["beta_CL_WT"].value, drawn["beta_CL_WT"].mean(), **EXACT)
    for name in ("CL", "V"):
        np.testing.assert_allclose(
            rows[f"omega[{name}]"].value, drawn["omega"].sel(eta_of=name).mean(), **EXACT
        )
    (pair,) = [row for row in rows.values() if row.kind == "corr"]
    np.testing.assert_allclose(pair.value, drawn["corr"].sel(eta_of="CL", eta_of_="V").mean(), **EXACT)
    free = {row.label for row in rows.values() if not row.fixed}
    assert free == {"R0_pop", "kout_pop", "IC50_pop", "omega[R0]", "omega[IC50]"} | (
        {"sigma_add"} if method == "PPP" else {"sigma_add_response"}
    )
    kept = {2} if method == "PPP" else {1, 2}
    assert set(table.dvid[table.is_obs].tolist()) == kept
    if method == "PPP&D":
        np.testing.assert_allclose(rows["sigma_prop_conc"].value, drawn["sigma_prop"].mean(), **EXACT)
    assert pb.PopModel.from_json(model.to_json()) == model


def test_an_estimate_gives_its_modes(first, data, concentrations):
    """Point estimates instead of draws: one chain of one draw."""
    one = first.copy()
    one["posterior"] = one["posterior"].to_dataset().isel(chain=[0], draw=[0])
    model, table = pb.sequential(joint(), data, one)
    np.testing.assert_allclose(
        individual(model, table)["CL"], one["posterior"]["CL"].to_numpy()[0, 0], rtol=1e-13
    )


def test_subjects_without_a_response_are_dropped_where_nothing_else_is_observed(first, data):
    table = data.to_frame()
    table = table[(table["ID"] != 3) | (table["DVID"] != 2)]
    less = pb.read_events(table, covariates=["WT"], columns={"AGE": None, "SEX": None})
    assert pb.sequential(joint(), less, first)[1].subjects.tolist() == [1, 2, 4]
    assert pb.sequential(joint(), less, first, method="PPP&D")[1].subjects.tolist() == [1, 2, 3, 4]


LAGGED, TLAG = pk.OneCompartment(pk.FirstOrder(Tlag=True)), {"Tlag": pb.Parameter(prior.LogNormal(0.5, 0.1))}
REFUSED = {
    "method": ({"method": "ipp"}, {}, {}, "method must be one of IPP, PPP, PPP&D"),
    "draw": ({"draw": 12}, {}, {}, "draw must lie from 0 to 11"),
    "correlated": (
        {}, {"variability": variability.Correlated(["CL", "IC50"], sd=HALF)}, {}, "need a joint fit",
    ),
    "parameter": ({}, {}, {"structural": LAGGED, "parameters": PK | TLAG}, "has Tlag, which the joint"),
    "no response": ({}, {"residual": {"conc": residual.Additive(HALF)}}, {}, "no response to fit"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_belong_together_is_refused(case, data, concentrations, first):
    options, joint_changes, pk_changes, words = REFUSED[case]
    fit = posed(pk_model(**pk_changes), concentrations) if pk_changes else first
    with pytest.raises(ValueError, match=words):
        pb.sequential(joint(**joint_changes), data, fit, **options)


def test_another_driver_is_refused(data, concentrations):
    fit = posed(pk_model(structural=pk.OneCompartment(pk.FirstOrder(), also=("AUC",))), concentrations)
    with pytest.raises(ValueError, match="Fit the same pharmacokinetics first"):
        pb.sequential(joint(), data, fit)


def test_subjects_that_the_first_fit_does_not_have_are_refused_by_ipp_alone(first):
    other = pb.load_dataset("warfarin_like").subset([4, 5])
    with pytest.raises(ValueError, match=r"does not have the subject\(s\) 5"):
        pb.sequential(joint(), other, first)
    assert pb.sequential(joint(), other, first, method="PPP")[1].subjects.tolist() == [4, 5]


def test_a_joint_fit_leaves_nothing_to_estimate(data):
    with pytest.raises(ValueError, match="nothing is left"):
        pb.sequential(joint(), data, posed(joint(), data))


def test_pooling_follows_rubins_rules(first, data):
    """Two posed fits with known means: within, between and what is added."""
    model, table = pb.sequential(joint(), data, first)
    fits = [posed(model, table, n=200, seed=seed) for seed in (1, 2, 3)]
    shifted = [dt.copy() for dt in fits]
    for k, dt in enumerate(shifted):
        dt["posterior"] = dt["posterior"].to_dataset().assign(IC50_pop=dt["posterior"]["IC50_pop"] + 0.1 * k)
    table = pb.pool(shifted).to_frame()
    draws = [dt["posterior"]["IC50_pop"].to_numpy() for dt in shifted]
    within, between = np.mean([d.var(ddof=1) for d in draws]), np.var([d.mean() for d in draws], ddof=1)
    row = table.loc["IC50_pop"]
    np.testing.assert_allclose(row["mean"], np.mean(draws), **EXACT)
    np.testing.assert_allclose(row["sd"], np.sqrt(within + 4 / 3 * between), **EXACT)
    np.testing.assert_allclose(
        row["added_percent"], 100 * 4 / 3 * between / (within + 4 / 3 * between), **EXACT
    )
    assert row["added_percent"] > table.loc["R0_pop", "added_percent"]
    assert "3 fits pooled" in str(pb.pool(shifted))


def test_fits_that_cannot_be_pooled_are_refused(first, data):
    model, table = pb.sequential(joint(), data, first)
    one, other = posed(model, table), posed(replace(model, variability=None), table)
    with pytest.raises(ValueError, match="two or more fits, not 1"):
        pb.pool([one])
    with pytest.raises(ValueError, match=r"Fit 2 does not estimate .*omega\[IC50\]"):
        pb.pool([one, other])
