"""Equations in LaTeX: as a paper prints them, from the expressions that are solved."""

import re

import pytensor.tensor as pt
import pytest

import popbayes as pb
from popbayes import pd, pk, prior, residual, variability
from popbayes.structural.formula import Program
from popbayes.structural.typeset import symbol, tree, written

X, K = pt.dscalar("x"), pt.dscalar("k")
NAMES = {X: "state.x", K: "p.k"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ka", "k_{a}"), ("kout", r"k_{\mathrm{out}}"), ("V1", "V_{1}"), ("slope", r"\mathrm{slope}"),
        ("Vmax", r"V_{\mathrm{max}}"), ("IC50", r"\mathrm{IC}_{50}"), ("lambda0", r"\lambda_{0}"),
        ("gamma", r"\gamma"), ("Circ0", r"\mathrm{Circ}_{0}"),
    ],
)  # fmt: skip
def test_parameters_have_the_symbols_of_the_field(name, expected):
    assert symbol(name) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (-K * X, "-k x"), (X - (K - X), r"x - \left(k - x\right)"), (X + -K, "x - k"),
        (X / (K + X), r"\frac{x}{k + x}"), (K * (X + 1.0), r"k \left(x + 1\right)"),
        (pt.exp(-K * X), "e^{-k x}"), ((X + K) ** 2, r"\left(x + k\right)^{2}"),
        (pt.maximum(X, 1e-12), r"\max\left(x, 1 \times 10^{-12}\right)"),
        (pt.log1p(X), r"\log\left(1 + x\right)"), (X * -K, r"x \left(-k\right)"),
        (pt.switch(pt.gt(X, K), X, K), r"\begin{cases} x & x > k \\ k & \text{else} \end{cases}"),
    ],
)  # fmt: skip
def test_operations_are_written_as_by_hand(expression, expected):
    text = written(tree(Program.of(expression, NAMES, "it")), {"state.x": "x", "p.k": "k"})
    assert text.replace(r"\, ", "") == expected


def test_a_turnover_model_reads_as_in_its_paper():
    model = pd.Turnover(pk.OneCompartment(), effect=pd.Imax(full=True))
    assert [line.replace(r"\, ", "") for line in model.latex()] == [
        r"\frac{dA_{central}}{dt} = - \frac{CL}{V} A_{central}",
        r"C = \frac{A_{central}}{V}",
        r"\frac{d\,\mathrm{response}}{dt} = k_{\mathrm{out}} "
        r"\left(R_{0} \left(1 - \frac{C}{\mathrm{IC}_{50} + C}\right) - \mathrm{response}\right)",
        r"\mathrm{response}(0) = R_{0}",
    ]


def test_what_is_eliminated_is_written_by_its_concentration():
    rate, conc = pk.MichaelisMenten().latex()
    assert rate.replace(r"\, ", "") == (
        r"\frac{d\,A_{central}}{dt} = -\frac{V_{\mathrm{max}} \mathrm{conc}}{K_{m} + \mathrm{conc}}"
    )
    assert conc == r"\mathrm{conc} = \frac{A_{central}}{V}"


def test_braces_are_balanced_in_every_model_of_a_notebook():
    """What MathJax needs; the model's own block too."""
    one = pk.OneCompartment(pk.FirstOrder())
    bodies = [pk.TargetMediated(approximation=a) for a in ("full", "QE", "QSS", "constant target", "MM")]
    responses = [pd.Direct(one), pd.FribergKarlsson(one), pd.SimeoniTumour(one), pd.ClaretTumour(one)]
    for structural in (*bodies, *responses, pk.ParentMetabolite(pk.FirstOrder(), peripheral=True)):
        parameters = {name: pb.Parameter(prior.LogNormal(1.0, 1.0)) for name in structural.parameters}
        model = pb.PopModel(
            structural,
            parameters,
            variability.Independent([structural.parameters[0]], sd=prior.HalfNormal(0.5)),
            residual.Additive(prior.HalfNormal(1.0)),
        )
        text = model._repr_latex_()
        assert text.count("{") == text.count("}")
        assert text.count(r"\left") == text.count(r"\right")
        assert pb.PopModel.from_json(model.to_json()) == model


NONLINEAR = [
    pk.MichaelisMenten,
    pk.ParentMetabolite,
    pk.TargetMediated,
    *(getattr(pd, n) for n in pd.__all__),
]


@pytest.mark.parametrize("model", NONLINEAR, ids=lambda m: m.__name__)
def test_every_model_of_the_library_has_its_equations_and_its_source(model):
    assert "math:" in model.__doc__
    source = model.__doc__.split("References")[1]
    assert re.search(r"\d{4}", source), "a source has a year"


def test_drivers_and_effects_that_cannot_be_are_refused_by_name():
    one = pk.OneCompartment()
    with pytest.raises(TypeError, match=r"effect must be .*Write it with brackets"):
        pd.Turnover(one, effect=pd.Emax)
    with pytest.raises(TypeError, match=r"pk of pd.Direct must be .*Write it with brackets"):
        pd.Direct(pk.OneCompartment)
    with pytest.raises(ValueError, match="OneCompartment absorbs through transit compartments"):
        pd.Turnover(pk.OneCompartment(pk.Transit(3)))
    with pytest.raises(ValueError, match="MichaelisMenten is not linear"):
        pd.EffectCompartment(pk.MichaelisMenten())
    with pytest.raises(TypeError, match=r"absorption must be .*Write it with brackets"):
        pk.MichaelisMenten(pk.FirstOrder)
