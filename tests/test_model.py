"""`PopModel`: names are checked, equations are printed and computed, JSON brings back an equal model."""

import json

import numpy as np
import pandas as pd
import pytest

from popbayes import pk
from popbayes.building import design_for
from popbayes.data.events import read_events
from popbayes.model import PopModel
from popbayes.observation import residual
from popbayes.parameters import covariate, prior, variability
from popbayes.parameters.parameter import Parameter
from tests.tolerances import EXACT

ORAL = pk.OneCompartment(absorption=pk.FirstOrder())
SPREAD = variability.Independent(["ka", "CL", "V"], sd=prior.HalfNormal(0.5))
COMBINED = residual.Combined(add=prior.HalfNormal(1.0), prop=prior.HalfNormal(0.3))
PARAMETERS = {
    "ka": Parameter(prior.LogNormal(1.5, 1.0), unit="1/h"),
    "CL": Parameter(
        prior.LogNormal(2.8, 1.0),
        covariates=[
            covariate.Power("WT", ref=70, exponent=0.75),
            covariate.Categorical("RACE", ref="w", coefficient=prior.Normal(0, 0.3)),
        ],
    ),
    "V": Parameter(
        prior.LogNormal(32.0, cv=0.5), covariates=[covariate.Power("WT", exponent=prior.Normal(1, 0.2))]
    ),
}


KNOWN = {"ka": Parameter(1.0), "CL": Parameter(1.0), "V": Parameter(10.0)}


def make(parameters=PARAMETERS, spread=SPREAD, error=COMBINED, structural=ORAL):
    return PopModel(structural, parameters, spread, error, name="study")


@pytest.fixture(scope="module")
def data():
    """Three subjects; the weight of the second changes; three races."""
    rows = [
        (i, t, 0.0 if t else None, 100.0 if t == 0 else None, weight + (t if i == 2 else 0), race)
        for i, weight, race in ((1, 60.0, "w"), (2, 70.0, "a"), (3, 90.0, "b"))
        for t in (0.0, 1.0, 4.0, 8.0)
    ]
    table = pd.DataFrame(rows, columns=["ID", "TIME", "DV", "AMT", "WT", "RACE"])
    table.loc[table["AMT"].isna(), "DV"] = 1.0 + table["TIME"] / 10
    return read_events(table, covariates=["WT", "RACE"])


MODELS = {
    "independent": make(),
    "correlated": make(
        spread=variability.Correlated(["CL", "V"], sd={"CL": 0.3, "V": prior.Gamma(2, 8)}, lkj=3)
    ),
    "several": make(
        spread=[
            variability.Independent(["ka"], sd=prior.HalfNormal(1), centred=True),
            variability.Correlated(["V", "CL"], sd=prior.HalfNormal(0.5)),
        ]
    ),
    "nobody": make(spread=None, error=residual.LogNormal(prior.Exponential(2))),
    "scales": make(
        {
            "ka": Parameter(prior.Uniform(0.1, 4), scale="logit", lower=0.1, upper=4),
            "CL": Parameter(prior.TruncatedNormal(3, 1, lower=0), scale="identity"),
            "V": Parameter(32),
        },
        error=residual.Additive(0.5),
    ),
    "two compartments": PopModel(
        pk.TwoCompartment(),
        {name: Parameter(prior.LogNormal(2, 1)) for name in ("V2", "Q", "CL", "V1")},
        variability.Independent(["Q"], sd=1),
        residual.Proportional(prior.HalfNormal(0.3)),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_survives_json(name):
    model = MODELS[name]
    again = PopModel.from_json(model.to_json())
    assert again == model
    assert again.to_json() == model.to_json()
    assert list(again.parameters) == list(model.parameters)


def test_json_of_another_format_is_refused():
    text = json.dumps({**MODELS["nobody"].to_dict(), "format": 99})
    with pytest.raises(ValueError, match=r"format 99; this popbayes reads 1"):
        PopModel.from_json(text)


def test_models_that_differ_in_anything_differ():
    texts = {model.to_json() for model in MODELS.values()}
    assert len(texts) == len(MODELS)
    assert make() == make()
    assert make() != MODELS["correlated"]


def test_changing_the_mapping_given_does_not_change_the_model():
    given = dict(PARAMETERS)
    model = make(given)
    given["ka"] = Parameter(1.0)
    assert model == make()


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (
            {"parameters": {**PARAMETERS, "Cl": Parameter(1)}},
            ValueError,
            r"'Cl'; it has ka, CL, V.*'CL'",
        ),
        ({"parameters": {"ka": Parameter(1), "V": Parameter(1)}}, ValueError, r"\(or a number\) for CL"),
        ({"parameters": {**PARAMETERS, "ka": 1.5}}, TypeError, r"parameters\['ka'\] must be a pb.Parameter"),
        ({"parameters": [1]}, TypeError, r"must map names to pb.Parameter"),
        ({"spread": variability.Independent(["Ka"], sd=1)}, ValueError, r"names 'Ka'.*ka, CL, V.*'ka'"),
        ({"spread": [SPREAD, variability.Independent(["CL"], sd=1)]}, ValueError, r"CL is in more than one"),
        ({"spread": ["CL"]}, TypeError, r"variability must be .* not 'CL'"),
        ({"error": None}, TypeError, r"residual must be a residual error .* not None"),
        ({"error": 0.3}, TypeError, r"not 0.3"),
        ({"structural": "oral"}, TypeError, r"structural must be .* not str 'oral'"),
    ],
)
def test_names_that_do_not_fit_are_refused_when_the_model_is_made(change, error, match):
    with pytest.raises(error, match=match):
        make(**change)


def test_one_column_has_one_set_of_categories():
    other = Parameter(1, covariates=[covariate.Categorical("RACE", ref="b", coefficient=0.1)])
    with pytest.raises(ValueError, match=r"Categorical\('RACE'\) has other levels on V than on CL"):
        make({**PARAMETERS, "V": other})


def test_a_covariate_that_the_table_lacks_is_refused_with_the_nearest(data):
    wrong = Parameter(1, covariates=[covariate.Power("WGT", ref=70, exponent=1)])
    model = make({**PARAMETERS, "V": wrong})
    for use in (model.check, model.resolved):
        with pytest.raises(ValueError, match=r"'WGT'.* it has WT, RACE\. Did you mean 'WT'\?"):
            use(data)


def test_an_observation_of_another_compartment_is_refused_with_its_row():
    table = pd.DataFrame({"ID": 7, "TIME": [0.0, 1.0, 2.0], "AMT": [100.0, 0, 0], "DV": [None, 3.0, 2.0]})
    for good in ("2", "central", "."):
        PopModel(ORAL, KNOWN, None, COMBINED).check(read_events(table.assign(CMT=["1", good, good])))
    with pytest.raises(ValueError, match=r"row 3 \(ID 7\).* CMT 1, .* conc of the compartment central"):
        PopModel(ORAL, KNOWN, None, COMBINED).check(read_events(table.assign(CMT=["1", "2", "1"])))


def test_references_come_from_the_first_data_and_stay(data):
    model = make()
    assert not model.is_resolved
    resolved = model.resolved(data)
    assert resolved.parameters["V"].covariates[0].ref == 70.0
    assert resolved.parameters["CL"].covariates[1].others == ("a", "b")
    assert resolved.resolved(data.subset([1])) is resolved
    with pytest.raises(ValueError, match="references are not known yet"):
        model.individual_parameters({}, None, design_for(model, data))


def test_individual_parameters_are_the_equations_by_hand_for_every_segment(data):
    model = make().resolved(data)
    design = design_for(model, data)
    rng = np.random.default_rng(1)
    values = {name: rng.uniform(0.5, 2, (5, 1)) for name in ("ka_pop", "CL_pop", "V_pop", "beta_V_WT")}
    values["beta_CL_RACE"] = rng.normal(size=(5, 2))
    eta = rng.normal(size=(5, 3, 3))
    theta = model.individual_parameters(values, eta, design)
    weight, race = design.covariates["WT"], design.covariates["RACE"]
    assert design.n_segment == 6
    for draw in range(5):
        for segment, subject in enumerate(design.segment_subject):
            own = eta[draw, subject]
            coefficient = dict(zip("ab", values["beta_CL_RACE"][draw], strict=True)).get(race[segment], 0.0)
            relative = weight[segment] / 70
            expected = {
                "ka": values["ka_pop"][draw, 0] * np.exp(own[0]),
                "CL": values["CL_pop"][draw, 0] * relative**0.75 * np.exp(coefficient + own[1]),
                "V": values["V_pop"][draw, 0] * relative ** values["beta_V_WT"][draw, 0] * np.exp(own[2]),
            }
            for name, value in expected.items():
                np.testing.assert_allclose(theta[name][draw, segment], value, **EXACT)


def test_a_typical_subject_has_the_typical_values(data):
    model = MODELS["scales"].resolved(data)
    theta = model.individual_parameters({"ka_pop": 1.0, "CL_pop": 3.0}, None, design_for(model, data))
    for name, value in {"ka": 1.0, "CL": 3.0, "V": 32.0}.items():
        np.testing.assert_allclose(theta[name], np.full(3, value), **EXACT)


def test_rows_are_the_parameter_table_in_model_order(data):
    model = MODELS["several"].resolved(data)
    labels = [row.label for row in model.population_rows("mg/L")]
    assert labels == [
        "ka_pop",
        "CL_pop",
        "beta_CL_WT",
        "beta_CL_RACE[a]",
        "beta_CL_RACE[b]",
        "V_pop",
        "beta_V_WT",
        "omega[ka]",
        "omega[CL]",
        "omega[V]",
        "corr[CL, V]",
        "sigma_add",
        "sigma_prop",
    ]
    by_label = {row.label: row for row in model.population_rows("mg/L")}
    assert (by_label["beta_CL_WT"].fixed, by_label["beta_CL_WT"].value) == (True, 0.75)
    assert by_label["ka_pop"].unit == "1/h"
    assert by_label["sigma_add"].unit == "mg/L"
    assert by_label["corr[CL, V]"].index == ("CL", "V")


def test_rows_need_the_levels_of_categories():
    with pytest.raises(ValueError, match=r"levels of RACE are not known yet: use model.resolved\(data\)"):
        make().population_rows()


def test_text_reads_as_the_equations_of_a_paper():
    lines = "\n".join(MODELS["several"].equations())
    for line in (
        "ka_i = ka_pop · exp(η_ka,i)",
        "CL_i = CL_pop · (WT_i / 70)^0.75 · exp(β_CL,RACE[RACE_i; 0 for w]) · exp(η_CL,i)",
        "V_i = V_pop · (WT_i / median(WT))^β_V,WT · exp(η_V,i)",
        "η_ka,i ~ Normal(0, ω_ka²)   [centred]",
        "(η_CL,i, η_V,i) ~ Normal(0, D R D), D = diag(ω_CL, ω_V)",
        "dv_ij ~ Normal(conc_ij, σ_add² + (σ_prop conc_ij)²)",
        "ka_pop ~ LogNormal(median 1.5, sd 1) 1/h   (90 %: 0.29 to 7.77)",
        "β_CL,WT = 0.75 FIX",
        "ω_CL ~ HalfNormal(sigma 0.5)   (90 %: 0.0314 to 0.98); at its median 90 % of subjects are "
        "within a factor 1.74 of typical",
        "R ~ LKJ(2)",
    ):
        assert f"\n  {line}\n" in lines
    assert str(MODELS["several"]) == lines


def test_other_scales_print_their_own_equations():
    lines = MODELS["scales"].equations()
    assert "  ka_i = 0.1 + 3.9 · expit(logit((ka_pop - 0.1) / 3.9) + η_ka,i)" in lines
    assert "  CL_i = CL_pop + η_CL,i" in lines
    assert "  V_i = 32 · exp(η_V,i)" in lines
    assert "  V_pop = 32 FIX" in lines


@pytest.mark.parametrize("name", MODELS)
def test_latex_is_balanced_and_names_every_quantity(name):
    model = MODELS[name]
    text = model._repr_latex_()
    assert text.startswith("$$\n\\begin{aligned}")
    assert text.count("{") == text.count("}")
    assert text.count("\\left") == text.count("\\right")
    for eta in model.eta_names:
        assert rf"\omega_{{{eta}}}" in text
