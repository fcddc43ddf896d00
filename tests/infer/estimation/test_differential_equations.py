"""Estimation of models written as differential equations, against closed forms and NONMEM."""

import numpy as np
import pytest

from popbayes import covariate, ode, prior, residual, variability
from popbayes.infer.estimation.estimate import estimate
from popbayes.infer.estimation.linearised import FirstOrder, Foce
from popbayes.infer.subject_logp import LOG_2PI
from popbayes.model import PopModel
from popbayes.parameters.parameter import Parameter
from tests.infer.estimation.studies import density_at, theophylline_model

pytestmark = pytest.mark.slow  # each model compiles its solver


def oral(parameters, elimination, concentration) -> ode.System:
    """A depot and a central compartment with the given elimination rate constant."""

    def rhs(t, state, p):
        absorbed = p.ka * state.depot
        return {"depot": -absorbed, "central": absorbed - elimination(p) * state.central}

    return ode.System(
        states=("depot", "central"), parameters=parameters, rhs=rhs, outputs={"conc": concentration}
    )


def test_an_ode_is_estimated_as_its_closed_form(theophylline):
    """FOCEI of theophylline: 116.8034, see test_estimate."""
    closed = theophylline_model()
    system = oral(("ka", "CL", "V"), lambda p: p.CL / p.V, lambda state, p: state.central / p.V)
    model = PopModel(system, closed.parameters, closed.variability, closed.residual)
    found = estimate(model, theophylline, method=Foce(), seed=1, progress=False)
    expected = estimate(closed, theophylline, method=Foce(), seed=1, progress=False)
    np.testing.assert_allclose(found["objective"]["ofv"], expected["objective"]["ofv"], atol=1e-4)
    for name in ("value", "se"):
        np.testing.assert_allclose(found["estimates"][name], expected["estimates"][name], rtol=1e-3)


def test_first_order_with_additive_etas_equals_nonmem(theophylline):
    """The FO example of NONMEM's distribution (CONTROL5): OFV 104.561066, additive etas, full OMEGA."""
    system = oral(("ka", "K", "CL"), lambda p: p.K, lambda state, p: state.central * p.K / p.CL)
    weight = covariate.Power("WT", ref=1.0, exponent=1.0)
    model = PopModel(
        system,
        {
            "ka": Parameter(prior.Normal(2.0, 2.0), scale="identity"),
            "K": Parameter(prior.Normal(0.08, 0.05), scale="identity"),
            "CL": Parameter(prior.Normal(0.04, 0.05), scale="identity", covariates=[weight]),
        },
        variability.Correlated(
            ["ka", "K", "CL"],
            sd={"ka": prior.HalfNormal(2.0), "K": prior.HalfNormal(0.05), "CL": prior.HalfNormal(1.0)},
        ),
        residual.Additive(prior.HalfNormal(1.0)),
    )
    covariance = np.array(
        [
            [5.54976, 0.00523932, -0.127668],
            [0.00523932, 0.000239848, 0.00910643],
            [-0.127668, 0.00910643, 0.515206],
        ]
    )
    sd = np.sqrt(np.diag(covariance))
    values = {"ka_pop": 2.77387, "K_pop": 0.0781286, "CL_pop": 0.0363073, "sigma_add": np.sqrt(0.387501)}
    values |= {"omega": sd, "corr": covariance / np.outer(sd, sd)}
    density, complete = density_at(model, theophylline, values)
    each = FirstOrder().objective(density, complete, np.zeros((12, 3)))
    assert abs(each.sum() - 132 * LOG_2PI - 104.561066) < 1e-4
    found = estimate(model, theophylline, method=FirstOrder(), seed=1, progress=False)
    assert float(found["objective"]["ofv"][0]) < 104.561066 + 1e-3
    expected = [2.77387, 0.0781286, 0.0363073, *sd]
    np.testing.assert_allclose(found["estimates"]["value"][:6], expected, rtol=1e-2)
