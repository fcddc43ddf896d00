"""Text of derivatives: what is divided by more than once is divided by once."""

import numpy as np
import pytensor.scalar as ps
import pytensor.tensor as pt
import pytest
from pytensor import function
from pytensor.graph.traversal import toposort

from popbayes.engine.expression import share_reciprocals

A, B, C = (pt.dscalar(name) for name in "abc")
ROUNDING = 1e-14
"""A quotient, and the product with a reciprocal, may differ in their last bits."""


def divisions(outputs):
    return sum(isinstance(getattr(node.op, "scalar_op", None), ps.TrueDiv) for node in toposort(outputs))


@pytest.mark.parametrize(
    ("outputs", "left"),
    [
        ([A / (B + C), C / (B + C)], 1),
        ([A / (B + C), A * C / ((B + C) * (B + C))], 1),
        ([A / (B + C), A * C / (B + C) ** 2], 1),
        ([A / B, pt.exp(C / B) / (1.0 + C / B)], 2),
        ([A / (1.0 + A / B), C / (1.0 + A / B)], 2),
        ([A / B, C / A], 2),
        ([A / 3.0, C / 3.0], 2),
        ([A + B], 0),
    ],
)
def test_divisors_are_shared_and_values_stay(outputs, left):
    found = share_reciprocals(outputs)
    assert divisions(found) == left
    values = (1.3, 0.7, 2.1)
    numbers = [
        function([A, B, C], list(some), mode="FAST_COMPILE", on_unused_input="ignore")(*values)
        for some in (outputs, found)
    ]
    np.testing.assert_allclose(*numbers, rtol=ROUNDING)
