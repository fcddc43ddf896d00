"""Which metric nutpie learns where `fit` is not told."""

from types import SimpleNamespace

import numpy as np
import pytest

import popbayes as pb
from popbayes import pk, prior, residual, variability
from popbayes.infer.adaptation import ENTANGLED, FEW, moves_all, with_adaptation

LOW = {"adaptation": "low_rank"}


def saturable(names):
    """Michaelis-Menten elimination with random effects of some parameters."""
    return pb.PopModel(
        pk.MichaelisMenten(),
        {
            name: pb.Parameter(prior.LogNormal(value, 0.5))
            for name, value in (("V", 40), ("Vmax", 15), ("Km", 3))
        },
        variability.Independent(names, sd=prior.HalfNormal(0.5)),
        residual.Proportional(prior.HalfNormal(0.3)),
    )


def graph(size):
    """What is asked of a graph: a point."""
    return SimpleNamespace(initial_point=lambda: {"a": np.zeros(size - 1), "b": np.zeros(())})


def warm(model, inflation):
    """A warm start that says how much of each parameter hangs on the random effects."""
    names = [f"{name}_pop" for name in model.parameters]
    coordinates = [SimpleNamespace(name=name) for name in names]
    return SimpleNamespace(
        run=SimpleNamespace(layout=SimpleNamespace(coordinates=coordinates)),
        inflation=np.array([inflation.get(name, 1.0) for name in names]),
    )


def test_parameters_that_move_all_subjects_are_those_without_random_effect():
    assert moves_all(saturable(["V", "Vmax"])) == ("Km",)
    assert moves_all(saturable(["V", "Vmax", "Km"])) == ()


@pytest.mark.parametrize(
    ("names", "size", "inflation", "expected"),
    [
        (["V", "Vmax", "Km"], FEW, {}, LOW),
        (["V", "Vmax", "Km"], FEW + 1, {"Vmax_pop": 1000.0}, {}),
        (["V", "Vmax"], FEW + 1, {"Km_pop": ENTANGLED * 1.1}, LOW),
        (["V", "Vmax"], FEW + 1, {"Km_pop": ENTANGLED / 1.1, "Vmax_pop": 1000.0}, {}),
    ],
)
def test_low_rank_is_for_small_models_and_parameters_that_hang_on_the_effects(
    names, size, inflation, expected
):
    model = saturable(names)
    assert with_adaptation({}, "nutpie", model, graph(size), warm(model, inflation)) == expected


def test_without_a_warm_start_a_parameter_without_effect_is_enough():
    assert with_adaptation({}, "nutpie", saturable(["V", "Vmax"]), graph(FEW + 1), None) == LOW


def test_what_was_asked_for_is_kept_and_other_samplers_have_none():
    model = saturable(["V", "Vmax"])
    assert with_adaptation({"adaptation": "diag"}, "nutpie", model, graph(9), None) == {"adaptation": "diag"}
    assert with_adaptation({}, "pymc", model, graph(9), None) == {}
