"""Covariate effects beyond one column and one coefficient: formulas by hand, refusals, JSON, graphs."""

import json

import numpy as np
import pytensor.tensor as pt
import pytest

from popbayes.engine.formula import Formula
from popbayes.model import PopModel
from popbayes.observation import residual
from popbayes.parameters import covariate, prior
from popbayes.parameters.covariates import covariate_from_dict
from popbayes.parameters.parameter import Parameter
from popbayes.structural import pk
from tests.tolerances import EXACT

COLUMNS = {
    "WT": np.array([10.0, 70.0, 140.0]),
    "AGE": np.array([1.0, 40.0, 80.0]),
    "PMA": np.array([0.6, 1.0, 20.0]),
    "SEX": np.array(["F", "M", "F"]),
    "ALLELES": np.array([0.0, 1.0, 2.0]),
    "CYP": np.array(["*1/*1", "*2/*1", "*2/*3"]),
}
EFFECTS = {
    "equation": covariate.Equation(
        "(WT/70)**theta * exp(-k*(AGE-40)) * (1 + s*(SEX == 'M'))",
        theta=0.75,
        k=prior.HalfNormal(0.05),
        s=prior.Normal(0, 1),
    ),
    "maturation": covariate.Maturation("PMA", tm50=prior.LogNormal(0.9, 0.2), hill=3.4),
    "additive": covariate.Genotype("ALLELES", coefficient=prior.Normal(0, 1)),
    "dominant": covariate.Genotype("CYP", coefficient=prior.Normal(0, 1), model="dominant", variant="*2"),
    "recessive": covariate.Genotype(
        "CYP", coefficient=prior.Normal(0, 1), model="recessive", variant=["*2", "*3"]
    ),
    "diplotype": covariate.Diplotype("CYP", "*1/*1", prior.Normal(0, 1), others=["*2/*1", "*3/*2"]),
    "interaction": covariate.Interaction(
        covariate.Power("WT", 70, 0), covariate.Categorical("SEX", "F", 0, others=["M"]), prior.Normal(0, 1)
    ),
}
VALUES = {
    "equation": {"beta_CL_theta": 0.8, "beta_CL_k": 0.01, "beta_CL_s": -0.3},
    "maturation": {"beta_CL_PMA_tm50": 1.0, "beta_CL_PMA_hill": 3.0},
    "additive": {"beta_CL_ALLELES": -0.4},
    "dominant": {"beta_CL_CYP": -0.4},
    "recessive": {"beta_CL_CYP": -0.4},
    "diplotype": {"beta_CL_CYP": np.array([-0.2, -0.6])},
    "interaction": {"beta_CL_WT_SEX": 0.5},
}
EXPECTED = {  # by hand
    "equation": (COLUMNS["WT"] / 70) ** 0.8 * np.exp(-0.01 * (COLUMNS["AGE"] - 40)) * np.array([1, 0.7, 1]),
    "maturation": COLUMNS["PMA"] ** 3 / (1 + COLUMNS["PMA"] ** 3),
    "additive": np.exp([0, -0.4, -0.8]),
    "dominant": np.exp([0, -0.4, -0.4]),
    "recessive": np.exp([0, 0, -0.4]),
    "diplotype": np.exp([0, -0.2, -0.6]),
    "interaction": np.array([1, 1, 1.0]),
}


@pytest.mark.parametrize("name", EFFECTS)
def test_each_effect_is_its_formula_in_arrays_and_graphs(name):
    effect, values = EFFECTS[name], {k: np.asarray(v, dtype=float) for k, v in VALUES[name].items()}
    got = effect.factor(COLUMNS, values, "CL", np)
    np.testing.assert_allclose(got, EXPECTED[name], **EXACT)
    np.testing.assert_allclose(
        effect.log_factor(COLUMNS, values, "CL", np), np.log(EXPECTED[name]), rtol=1e-10, atol=1e-14
    )
    graph = effect.factor(COLUMNS, {k: pt.as_tensor(v) for k, v in values.items()}, "CL", pt)
    np.testing.assert_allclose(pt.as_tensor(graph).eval(), EXPECTED[name], **EXACT)
    assert {one.name for one in effect.coefficients("CL")} == set(values)


@pytest.mark.parametrize("name", EFFECTS)
def test_each_effect_round_trips_and_batches(name):
    effect = EFFECTS[name]
    again = covariate_from_dict(json.loads(json.dumps(effect.to_dict())))
    assert again == effect
    assert effect.written("CL")
    assert effect.written_latex("CL")
    several = {k: np.tile(np.reshape(v, (1, -1)), (4, 1)).astype(float) for k, v in VALUES[name].items()}
    assert np.shape(effect.factor(COLUMNS, several, "CL", np))[-1] == 3
    np.testing.assert_allclose(
        np.broadcast_to(effect.factor(COLUMNS, several, "CL", np), (4, 3))[2], EXPECTED[name], **EXACT
    )


def test_an_interaction_multiplies_the_terms_of_both_effects():
    one = EFFECTS["interaction"]
    columns = {"WT": np.array([35.0, 35.0]), "SEX": np.array(["F", "M"])}
    np.testing.assert_allclose(one.term(columns), [0, np.log(0.5)], **EXACT)
    with pytest.raises(ValueError, match="one coefficient times a term"):
        covariate.Interaction(
            covariate.Linear("WT", 70, 0), covariate.Power("AGE", 40, 0), 1.0
        ).resolved_from(COLUMNS)


FORBIDDEN = [
    "__import__('os').system('true')",
    "WT.real",
    "WT[0]",
    "[WT for WT in (1,)]",
    "lambda: WT",
    "WT if AGE else 1",
    "exp(WT, AGE)",
    "open(WT)",
    "(WT).__class__",
    "WT and AGE",
    "f'{WT}'",
    "WT @ AGE",
    "WT := 3",
    "1 < WT < 2",
    "exp(*WT)",
    "WT + 'x'",
    "True * WT",
    "'a' == 'b'",
    "WT; AGE",
    "1j * WT",
]


@pytest.mark.parametrize("text", FORBIDDEN)
def test_a_formula_is_read_by_an_allow_list(text):
    with pytest.raises(ValueError, match="cannot"):
        covariate.Equation(text)


def test_a_formula_says_which_names_and_functions_there_are():
    with pytest.raises(ValueError, match="Did you mean 'exp'"):
        Formula("expp(WT)")
    with pytest.raises(ValueError, match="has no thta; its names are WT, theta"):
        covariate.Equation("(WT/70)**theta", thta=1.0)
    with pytest.raises(ValueError, match="no column in it"):
        covariate.Equation("theta * 2", theta=1.0)
    with pytest.raises(ValueError, match="more than 500"):
        Formula("+".join(["WT"] * 400))
    with pytest.raises(ValueError, match="arithmetic with a column of text"):
        covariate.Equation("SEX * 2").check_columns(COLUMNS)
    with pytest.raises(ValueError, match=r"'sqrt\(WT - 100\)' has no finite value where WT = 70"):
        covariate.Equation("sqrt(WT - 100)").check_columns({"WT": np.array([120.0, 70.0])})
    with pytest.raises(ValueError, match=r"no finite value where WT = 70.*middle of their priors"):
        covariate.Equation("(WT - 70) ** a", a=-1.0).check_columns({"WT": np.array([120.0, 70.0])})


def test_the_logarithm_of_a_formula_does_not_overflow():
    one = covariate.Equation("exp(a*WT) * (WT/70)**b / exp(AGE)", a=1.0, b=2.0)
    wide = {"WT": np.array([5000.0]), "AGE": np.array([3.0])}
    got = one.log_factor(wide, {"beta_CL_a": np.float64(1), "beta_CL_b": np.float64(2)}, "CL", np)
    np.testing.assert_allclose(got, 5000 + 2 * np.log(5000 / 70) - 3, **EXACT)


def model(**effects):
    parameters = {
        name: Parameter(prior.LogNormal(3, 0.5), covariates=effects.get(name, ()))
        for name in ("ka", "CL", "V")
    }
    return PopModel(pk.OneCompartment(pk.FirstOrder()), parameters, residual=residual.Proportional(0.1))


def test_allometry_takes_the_exponent_of_the_parameters_kind():
    size = [covariate.Allometry("WT")]
    made = model(ka=size, CL=size, V=[covariate.Allometry("WT", sd=0.1)])
    assert made.parameters["CL"].covariates == (covariate.Power("WT", 70, 0.75),)
    assert made.parameters["ka"].covariates == (covariate.Power("WT", 70, -0.25),)
    assert made.parameters["V"].covariates == (covariate.Power("WT", 70, prior.Normal(1, 0.1)),)
    assert PopModel.from_json(made.to_json()) == made
    with pytest.raises(ValueError, match="does not know what F is"):
        covariate.Allometry("WT").for_parameter("F")


def test_a_model_with_equations_prints_them_and_round_trips():
    made = model(
        CL=[EFFECTS["equation"], EFFECTS["maturation"]], V=[EFFECTS["interaction"], EFFECTS["recessive"]]
    )
    assert PopModel.from_json(made.to_json()) == made
    text = str(made)
    assert "CL_i = CL_pop · [(WT/70)**theta" in text
    assert "1 / (1 + (β_CL,PMA_tm50 / PMA_i)^3.4)" in text
    assert "β_CL,k ~ HalfNormal" in text
    assert set(made.covariate_columns) == {"WT", "AGE", "SEX", "PMA", "CYP"}
    assert {row.name for row in made.population_rows() if row.kind == "beta"} == {
        *("beta_CL_theta", "beta_CL_k", "beta_CL_s", "beta_CL_PMA_tm50", "beta_CL_PMA_hill"),
        *("beta_V_WT_SEX", "beta_V_CYP"),
    }


@pytest.mark.parametrize(
    ("effect", "column", "match"),
    [
        (EFFECTS["maturation"], np.array([0.0, 1.0]), "positive ages"),
        (EFFECTS["additive"], np.array([0.0, 3.0]), "0, 1 or 2 variant alleles"),
        (EFFECTS["dominant"], np.array(["*1"]), "no diplotype"),
        (EFFECTS["diplotype"], np.array(["*1/*9"]), "does not know"),
    ],
)
def test_values_that_an_effect_is_not_defined_for_are_refused(effect, column, match):
    with pytest.raises(ValueError, match=match):
        effect.check_columns({effect.columns[0]: column})


def test_arguments_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"tm50 of covariate\.Maturation"):
        covariate.Maturation("PMA", tm50=prior.Normal(1, 1), hill=3)
    with pytest.raises(ValueError, match=r"model of covariate\.Genotype"):
        covariate.Genotype("CYP", coefficient=1.0, model="domnant")
    with pytest.raises(ValueError, match="is there more than once"):
        Parameter(prior.LogNormal(1, 1), covariates=[EFFECTS["equation"], EFFECTS["equation"]])
