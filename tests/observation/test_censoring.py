"""`censoring`: tails against SciPy, Beal's methods against their definitions, graphs against arrays."""

import json

import numpy as np
import pandas as pd
import pytensor
import pytensor.tensor as pt
import pytest
from scipy import special, stats

from popbayes.data.events import read_events
from popbayes.observation import censoring, residual, tails
from popbayes.observation.endpoints import ObservationModel
from popbayes.observation.observed import Observed, quantification_limit
from popbayes.parameters import prior

HALF = prior.HalfNormal(1.0)
PLAIN = pytensor.compile.mode.Mode(linker="py", optimizer=None)
EXACT = {"rtol": 1e-12, "atol": 0}  # the same probability by another route; issue 5 asks for it
Z = np.array([-1e3, -40.0, -38.0, -10.0, -1.0, -0.5, 0.0, 1.0, 5.0, 10.0, 40.0, 1e3])


def gradient_of(function, at):
    x = pt.dvector()
    y = function(x)
    return pytensor.function([x], [y, pt.grad(y.sum(), x)])(at)


def test_the_log_cdf_of_a_graph_is_scipys_out_to_the_far_tails():
    value, gradient = gradient_of(lambda z: tails.normal_log_cdf(z, pt), Z)
    np.testing.assert_allclose(value, special.log_ndtr(Z), **EXACT)
    mills = np.exp(stats.norm.logpdf(Z) - special.log_ndtr(Z))
    mills[:2] = -Z[:2] / (1 - Z[:2] ** -2.0 + 3 * Z[:2] ** -4.0)  # asymptotic, where the quotient is 0 / 0
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(gradient, mills, rtol=1e-8, atol=1e-300)


@pytest.mark.parametrize("nu", [1.0, 4.0, 30.0])
def test_the_log_cdf_of_student_is_scipys(nu):
    value, gradient = gradient_of(lambda z: tails.student_log_cdf(z, np.float64(nu), pt), Z)
    expected = stats.t(nu).logcdf(Z)
    np.testing.assert_allclose(value, expected, **EXACT)
    np.testing.assert_allclose(tails.student_log_cdf(Z, nu), expected, **EXACT)
    density = np.exp(stats.t(nu).logpdf(Z) - expected)
    np.testing.assert_allclose(gradient, density, rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(tails.student_log_density(Z, nu), stats.t(nu).logpdf(Z), **EXACT)


@pytest.mark.parametrize("centre", [-40.0, -10.0, -1.0, 0.0, 3.0, 40.0])
def test_the_probability_between_limits_is_exact_in_both_tails(centre):
    error, wide = residual.Additive(HALF), {"sigma_add": np.float64(1.0)}
    low, high = np.array([centre - 0.5]), np.array([centre + 0.5])
    got = error.log_within(low, high, np.zeros(1), wide)
    z = np.linspace(low[0], high[0], 20001)  # Simpson, relative to the largest density
    logs = stats.norm.logpdf(z)
    weights = np.r_[1, np.tile([4, 2], 9999), 4, 1] / 60000.0
    expected = logs.max() + np.log(np.sum(weights * np.exp(logs - logs.max())))
    np.testing.assert_allclose(got, expected, **EXACT)


def table(dv, **columns):
    n = len(dv)
    frame = pd.DataFrame(
        {"ID": 1, "TIME": np.arange(n + 1.0), "AMT": [100.0] + [0.0] * n, "DV": [np.nan, *dv]}
    )
    for name, values in columns.items():
        frame[name] = [np.nan if name in ("LIMIT", "LLOQ") else 0, *values]
    return read_events(frame)


DV = np.array([5.0, 0.5, 3.0, 0.5, 0.5])
CENS = [0, 1, 0, 1, 1]
F = np.array([4.0, 1.0, 2.0, 0.6, 0.1])
SIGMA = {"sigma_add": 0.3, "sigma_prop": 0.1}
ERROR = residual.Combined(HALF, HALF)
SD = np.hypot(0.3, 0.1 * F)
DIST = stats.norm(F, SD)
BELOW = np.array(CENS) == 1


def density(method, data=None, f=F, error=ERROR, sigma=SIGMA):
    data = table(DV, CENS=CENS) if data is None else data
    observed = Observed.of(ObservationModel(error, ("conc",), None, method), data)
    values = observed.log_density(f, {k: np.float64(v) for k, v in sigma.items()})
    graph = observed.parts[0].log_density(pt.as_tensor(f), {k: pt.as_tensor(v) for k, v in sigma.items()}, pt)
    np.testing.assert_allclose(graph.eval(mode=PLAIN), values, **EXACT)
    return values


def test_m3_is_the_probability_below_the_limit_and_the_default():
    expected = np.where(BELOW, DIST.logcdf(DV), DIST.logpdf(DV))
    np.testing.assert_allclose(density(censoring.M3()), expected, **EXACT)
    np.testing.assert_allclose(density(None), expected, **EXACT)


def test_m1_leaves_out_and_m2_conditions_on_being_above():
    left = np.where(BELOW, 0.0, DIST.logpdf(DV))
    np.testing.assert_allclose(density(censoring.M1()), left, **EXACT)
    np.testing.assert_allclose(density(censoring.M2()), left - np.where(BELOW, 0.0, DIST.logsf(0.5)), **EXACT)


def test_m4_conditions_on_being_positive():
    positive = DIST.logsf(0.0)
    below = np.log(DIST.cdf(0.5) - DIST.cdf(0.0))
    expected = np.where(BELOW, below, DIST.logpdf(DV)) - positive
    np.testing.assert_allclose(density(censoring.M4()), expected, **EXACT)


def test_m4_is_m3_where_no_observation_can_be_negative():
    error, sigma = residual.LogNormal(HALF), {"sigma_log": 0.3}
    np.testing.assert_allclose(
        density(censoring.M4(), error=error, sigma=sigma),
        density(censoring.M3(), error=error, sigma=sigma),
        **EXACT,
    )
    expected = stats.lognorm(0.3, scale=F).logcdf(DV)
    np.testing.assert_allclose(density(None, error=error, sigma=sigma)[BELOW], expected[BELOW], **EXACT)


@pytest.mark.parametrize(
    ("method", "put"),
    [(censoring.M5(), [0.25, 0.25, 0.25]), (censoring.M6(), [0.25, 0.25, None]), (censoring.M7(), [0, 0, 0])],
)
def test_m5_to_m7_put_values_in_place(method, put):
    expected = DIST.logpdf(DV)
    for j, value in zip(np.flatnonzero(BELOW), put, strict=True):
        expected[j] = 0.0 if value is None else stats.norm(F[j], SD[j]).logpdf(value)
    np.testing.assert_allclose(density(method), expected, **EXACT)


def test_m6_keeps_the_last_of_a_run_that_opens_the_record():
    observed = Observed.of(
        ObservationModel(ERROR, ("conc",), None, censoring.M6()),
        table([0.5, 0.5, 3.0, 0.5, 0.5], CENS=[1, 1, 0, 1, 1]),
    )
    assert observed.state.tolist() == [2, 0, 0, 0, 2]


def test_limits_above_and_on_both_sides():
    data = table([5.0, 0.5, 3.0, 0.5, 2.0], CENS=[-1, 1, 0, 1, -1], LIMIT=[np.nan, 0.2, np.nan, np.nan, 4.0])
    expected = DIST.logpdf([5.0, 0.5, 3.0, 0.5, 2.0])
    expected[0] = DIST.logsf(5.0)[0]
    expected[1] = np.log(DIST.cdf(0.5) - DIST.cdf(0.2))[1]
    expected[3] = DIST.logcdf(0.5)[3]
    expected[4] = np.log(DIST.sf(2.0) - DIST.sf(4.0))[4]
    np.testing.assert_allclose(density(None, data), expected, **EXACT)


def test_several_limits_by_the_column_lloq():
    data = table(DV, CENS=[0, 0, 0, 0, 0], LLOQ=[1, 1, 1, 0.6, 0.2])
    got = density(censoring.M3(), data)
    expected = DIST.logpdf(DV)
    expected[1], expected[3] = DIST.logcdf(1.0)[1], DIST.logcdf(0.6)[3]
    np.testing.assert_allclose(got, expected, **EXACT)
    np.testing.assert_allclose(
        density(None, data), DIST.logpdf(DV), **EXACT
    )  # taken as measured: said by build


def test_a_value_below_the_limit_is_certain_where_nothing_is_predicted():
    data = table([0.5, 3.0], CENS=[1, 0])
    for error, sigma in (
        (residual.LogNormal(HALF), {"sigma_log": 0.3}),
        (residual.Proportional(HALF), {"sigma_prop": 0.3}),
    ):
        observed = Observed.of(ObservationModel(error, ("conc",)), data)
        f = pt.dvector()
        value = observed.parts[0].log_density(f, {k: pt.as_tensor(v) for k, v in sigma.items()}, pt)
        at = np.array([0.0, 2.0])
        assert value.eval({f: at})[0] == 0.0
        assert np.isfinite(pt.grad(value.sum(), f).eval({f: at})).all()


def test_far_below_the_limit_density_and_gradient_are_finite():
    data = table([0.5, 3.0], CENS=[1, 0])
    observed = Observed.of(ObservationModel(residual.Additive(HALF), ("conc",)), data)
    f = pt.dvector()
    value = observed.parts[0].log_density(f, {"sigma_add": pt.as_tensor(0.1)}, pt)
    at = np.array([4.5, 3.0])  # 40 SD
    np.testing.assert_allclose(value.eval({f: at})[0], stats.norm(4.5, 0.1).logcdf(0.5), **EXACT)
    np.testing.assert_allclose(
        pt.grad(value.sum(), f).eval({f: at})[0],
        -np.exp(stats.norm.logpdf(-40) - stats.norm.logcdf(-40)) / 0.1,
        rtol=1e-9,
    )


def log_difference(high, low):
    """SciPy's, of logarithms of probabilities."""
    return special.logsumexp(np.stack(np.broadcast_arrays(high, low)), axis=0, b=[[1], [-1]])


@pytest.mark.parametrize("nu", [None, 4.0])
def test_m4_is_scipys_out_to_40_sd_and_so_is_its_gradient(nu):
    """Predictions from far below zero to far above the limit, in SDs of the error."""
    f = np.array([-4.0, -0.5, 0.0, 0.05, 0.2, 0.5, 1.0, 4.5])
    data = table(np.full(len(f), 0.5), CENS=[1] * len(f))
    error = residual.Additive(HALF, nu=nu)
    law = stats.norm if nu is None else stats.t(nu)
    observed = Observed.of(ObservationModel(error, ("conc",), None, censoring.M4()), data)
    x = pt.dvector()
    sigma = {"sigma_add": pt.as_tensor(0.1)} | ({} if nu is None else {"nu": np.float64(nu)})
    value = observed.parts[0].log_density(x, sigma, pt)
    got, gradient = pytensor.function([x], [value, pt.grad(value.sum(), x)], mode=PLAIN)(f)
    low, high = -f / 0.1, (0.5 - f) / 0.1
    below = np.where(
        low + high > 0,
        log_difference(law.logsf(low), law.logsf(high)),
        log_difference(law.logcdf(high), law.logcdf(low)),
    )
    np.testing.assert_allclose(got, below - law.logsf(low), rtol=1e-12, atol=1e-13)
    arrays = {"sigma_add": np.float64(0.1)} | ({} if nu is None else {"nu": np.float64(nu)})
    np.testing.assert_allclose(
        observed.log_density(f, arrays), below - law.logsf(low), rtol=1e-12, atol=1e-13
    )
    within = np.exp(law.logpdf(low) - below) - np.exp(law.logpdf(high) - below)
    hazard = np.exp(law.logpdf(low) - law.logsf(low))
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(gradient, (within - hazard) / 0.1, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("method", [censoring.M2(), censoring.M3(), censoring.M4()])
@pytest.mark.parametrize("far", [-40.0, 40.0])
def test_density_and_gradient_are_finite_40_sd_from_every_limit(method, far):
    data = table([0.5, 3.0], CENS=[1, 0], LLOQ=[0.5, 0.5])
    for error, sigma in (
        (residual.Additive(HALF), {"sigma_add": 0.1}),
        (residual.Combined(HALF, HALF), {"sigma_add": 0.05, "sigma_prop": 0.01}),
        (residual.Additive(HALF, nu=4.0), {"sigma_add": 0.1, "nu": 4.0}),
    ):
        observed = Observed.of(ObservationModel(error, ("conc",), None, method), data)
        f, s = pt.dvector(), {name: pt.dscalar(name) for name in sigma}
        value = observed.parts[0].log_density(f, s, pt)
        at = np.array([0.5 - far * 0.1, 0.5 + far * 0.1])
        inputs = [f, *s.values()]
        outputs = [value, *pt.grad(value.sum(), inputs)]
        computed = pytensor.function(inputs, outputs, mode=PLAIN)(at, *sigma.values())
        assert all(np.isfinite(one).all() for one in computed), error


def test_draws_of_m4_are_those_of_an_error_cut_at_zero():
    f = np.array([0.05, 0.2, 1.0])
    data = table([0.5, 0.5, 3.0], CENS=[1, 1, 0])
    for error, sigma, law in (
        (residual.Additive(HALF), {"sigma_add": 0.2}, stats.norm),
        (residual.Additive(HALF, nu=4.0), {"sigma_add": 0.2, "nu": 4.0}, stats.t(4.0)),
    ):
        observed = Observed.of(ObservationModel(error, ("conc",), None, censoring.M4()), data)
        drawn = observed.draw(np.random.default_rng(1), np.tile(f, (4000, 1)), sigma)
        assert np.all(drawn > 0)
        for j, centre in enumerate(f):
            above = law.sf(-centre / 0.2)

            def cdf(y, centre=centre, above=above, law=law):
                return 1 - law.sf((y - centre) / 0.2) / above

            assert stats.kstest(drawn[:, j], cdf).pvalue > 1e-3
    plain = Observed.of(ObservationModel(residual.Additive(HALF), ("conc",), None, censoring.M3()), data)
    assert np.any(plain.draw(np.random.default_rng(1), np.tile(f, (100, 1)), {"sigma_add": 0.2}) < 0)


@pytest.mark.parametrize(
    ("method", "columns", "match"),
    [
        (censoring.M2(), {"CENS": [0, 0, 0, 0, 0]}, r"M2 needs the limit.*row 2 \(ID 1\)"),
        (censoring.M5(), {"CENS": [-1, 0, 0, 0, 0]}, r"M5 is for values below.*row 2 \(ID 1\)"),
    ],
)
def test_what_a_method_cannot_take_is_refused_with_its_rows(method, columns, match):
    with pytest.raises(ValueError, match=match):
        density(method, table(DV, **columns))


def test_m7_is_refused_where_nothing_can_be_zero():
    error = residual.LogNormal(HALF)
    with pytest.raises(ValueError, match=r"M7 puts these at 0, where residual.LogNormal has .*row 3 \(ID"):
        density(censoring.M7(), table(DV, CENS=CENS), error=error, sigma={"sigma_log": 0.3})


@pytest.mark.parametrize("method", [censoring.M2(), censoring.M3(), censoring.M4()])
def test_correlated_errors_refuse_methods_that_know_of_a_limit(method):
    data = table(DV, CENS=CENS, LLOQ=[0.5] * 5)
    error = residual.Combined(HALF, HALF, rho=0.5)
    (part,) = Observed.of(ObservationModel(error, ("conc",), None, method), data).parts
    which, rule, _ = part.kind.law.complaint(part.rows)
    np.testing.assert_array_equal(which, {"M2": ~BELOW, "M3": BELOW}.get(method.kind, BELOW | True))
    assert "known to be above one" in rule


def test_a_limit_that_is_no_concentration_is_refused_by_methods_that_need_one():
    data = table(-DV, CENS=CENS)
    with pytest.raises(ValueError, match=r"M4 takes values to lie between 0 and the limit"):
        density(censoring.M4(), data)
    with pytest.raises(TypeError, match="Write it with brackets"):
        density(censoring.M3)


def test_the_limit_of_an_observation_is_its_own_or_that_of_its_kind():
    np.testing.assert_array_equal(quantification_limit(table(DV, CENS=CENS)), 0.5)
    several = quantification_limit(table([5.0, 0.5, 3.0, 0.2, 0.5], CENS=CENS))
    np.testing.assert_array_equal(several, [np.nan, 0.5, np.nan, 0.2, 0.5])


@pytest.mark.parametrize("method", [kind() for kind in censoring.KINDS.values()])
def test_a_method_survives_json(method):
    assert censoring.censoring_from_dict(json.loads(json.dumps(method.to_dict()))) == method


def test_an_unknown_method_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match="M1, M2, M3"):
        censoring.censoring_from_dict({"kind": "M8"})
