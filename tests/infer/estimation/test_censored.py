"""Observations below a limit in the marginal likelihood, against NONMEM and independent exact values."""

import numpy as np
import pytest

from popbayes import censoring, pk, prior, residual, variability
from popbayes.data.events import read_events
from popbayes.infer.estimation.linearised import Foce, Laplace
from popbayes.infer.estimation.quadrature import marginal
from popbayes.infer.subject_logp import LOG_2PI
from popbayes.model import PopModel
from popbayes.parameters.parameter import Parameter
from tests.infer.estimation.studies import SD, density_at, shared_table

LLOQ = np.exp(-3.5)
NONMEM_PRINTED = 1e-3  # absolute, of a subject's objective at values printed with six figures
IMPORTANCE_SAMPLED = 1.5  # the tolerance that the reference states for its importance-sampled objective

AT_LAPLACE = (
    (1.69938, 1.65161, 0.809101, 2.45301),
    0.291704,
    [[0.170227, -0.00446472, -0.0197379, -0.00723288], [-0.00446472, 0.0976946, -0.0251672, 0.0119151],
     [-0.0197379, -0.0251672, 0.0645438, 0.0373195], [-0.00723288, 0.0119151, 0.0373195, 0.177864]],
)  # fmt: skip
AT_IMP = (
    (1.67521, 1.60802, 0.737699, 2.37246),
    0.274265,
    [[0.166658, -0.000898634, -0.00263869, -0.0331252], [-0.000898634, 0.138145, -0.0133853, 0.00964809],
     [-0.00263869, -0.0133853, 0.11239, 0.0401963], [-0.0331252, 0.00964809, 0.0401963, 0.147802]],
)  # fmt: skip
NAMES = ["CL", "V1", "Q", "V2"]


def study():
    """ad3tr4 of R. Bauer's tutorials: log-normal concentrations, 104 of 500 below the limit."""
    table = shared_table("estimation", "blq_m3_ad3tr4", "data.csv")
    if table is None:
        pytest.skip("the reference data are not there")
    kept = table.assign(
        DV=np.exp(table["DV"]), LLOQ=LLOQ, BLQ=((table["DV"] < -3.5) & (table["MDV"] == 0)).astype(int)
    )
    data = read_events(kept[["ID", "TIME", "AMT", "EVID", "MDV", "CMT", "DV", "LLOQ", "BLQ"]])
    model = PopModel(
        pk.TwoCompartment(),
        {name: Parameter(prior.LogNormal(5.0, 1)) for name in NAMES},
        variability.Correlated(NAMES, sd=SD),
        residual.LogNormal(prior.HalfNormal(0.5)),
        censoring=censoring.M3(),
    )
    return model, data


def values(estimates):
    theta, sigma, omega = estimates
    sd = np.sqrt(np.diag(omega))
    corr = np.array(omega) / np.outer(sd, sd)
    return {f"{name}_pop": np.exp(one) for name, one in zip(NAMES, theta, strict=True)} | {
        "sigma_log": sigma, "omega": sd, "corr": corr
    }  # fmt: skip


def constants(data):
    """What NONMEM's objective leaves out, and the Jacobian of the logarithm that its data were, (n_obs,)."""
    measured = data.cens[data.obs_record] == 0
    return np.where(measured, -LOG_2PI - 2 * np.log(data.obs_dv), 0.0)


def modes_of(density, complete):
    return Laplace().search(density, complete, np.zeros((density.n_subject, density.n_eta)), 0)[0]


def test_laplace_of_m3_is_that_of_nonmem_subject_by_subject():
    """All but subject 10, whose censored sample leaves a ridge along which the curvature changes."""
    model, data = study()
    assert (data.cens == 1).sum() == 104
    density, complete = density_at(model, data, values(AT_LAPLACE))
    own = np.bincount(data.obs_subject, weights=constants(data), minlength=data.n_subject)
    got = Laplace().objective(density, complete, modes_of(density, complete)) + own
    expected = shared_table("estimation", "blq_m3_ad3tr4", "ebe_laplace.csv")["OBJ"].to_numpy()
    alike = data.subjects != 10
    np.testing.assert_allclose(got[alike], expected[alike], rtol=0, atol=NONMEM_PRINTED)


def test_the_likelihood_of_m3_is_that_of_nonmems_importance_sampling():
    model, data = study()
    density, complete = density_at(model, data, values(AT_IMP))
    got = marginal(density, complete, modes_of(density, complete), 7).sum() + constants(data).sum()
    assert abs(got - -125.3447) < IMPORTANCE_SAMPLED


def test_methods_that_linearise_refuse_what_lies_beyond_a_limit():
    model, data = study()
    density, _ = density_at(model, data, values(AT_IMP))
    with pytest.raises(ValueError, match=r"Foce linearises .* Use pb\.Laplace"):
        Foce().check(density.study)
