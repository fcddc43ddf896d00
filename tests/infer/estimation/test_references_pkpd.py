"""Public reference results of response models, present beside the repository or not."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from popbayes import covariate, ode, prior, residual, variability
from popbayes.data.events import EventTable, read_events
from popbayes.infer.estimation.estimate import estimate
from popbayes.infer.estimation.linearised import Foce
from popbayes.infer.estimation.quadrature import Quadrature
from popbayes.infer.fit import fit
from popbayes.infer.saem.method import Saem
from popbayes.model import PopModel
from popbayes.parameters.parameter import Parameter
from tests.infer.estimation.studies import SD, SHARED, density_at

pytestmark = pytest.mark.skipif(
    not (SHARED / "pkpd").exists(), reason="the reference data are not beside the repository"
)
WARFARIN = SHARED / "pkpd" / "pkpd_warfarin_turnover"
NAMES = ("ktr", "ka", "cl", "v", "emax", "ec50", "kout", "e0")
DRAWS, DEGREES = 1000, 5


def absorbed_twice(t, state, p):
    """A transit compartment before absorption, and turnover whose production the drug inhibits."""
    conc = state.center / p.v
    return {
        "depot": -p.ktr * state.depot,
        "gut": p.ktr * state.depot - p.ka * state.gut,
        "center": p.ka * state.gut - p.cl / p.v * state.center,
        "effect": p.e0 * p.kout * (1 - p.emax * conc / (p.ec50 + conc)) - p.kout * state.effect,
    }


def warfarin_model(**changes) -> PopModel:
    """The model of the other program, as a user writes it."""
    near = {"ktr": 1.0, "ka": 1.0, "cl": 0.13, "v": 8.0, "ec50": 1.0, "kout": 0.05, "e0": 97.0}
    parameters = {name: Parameter(prior.LogNormal(near.get(name, 1.0), 1)) for name in NAMES}
    parameters["emax"] = Parameter(prior.Uniform(0, 1), scale="logit")
    parts = {
        "structural": ode.System(
            ("depot", "gut", "center", "effect"),
            NAMES,
            absorbed_twice,
            {"conc": lambda s, p: s.center / p.v, "pca": lambda s, p: s.effect},
            initial={"effect": lambda p: p.e0},
        ),
        "parameters": parameters,
        "variability": variability.Independent(NAMES, sd=SD),
        "residual": {
            "conc": residual.Combined(prior.HalfNormal(1.0), prior.HalfNormal(0.3)),
            "pca": residual.Additive(prior.HalfNormal(10.0)),
        },
    }
    return PopModel(**(parts | changes))


def warfarin_data() -> EventTable:
    table = pd.read_csv(WARFARIN / "data.csv").rename(columns={"YTYPE": "DVID"})
    return read_events(table[["ID", "TIME", "EVID", "AMT", "DV", "DVID"]])


def monolix(folder: str) -> tuple[dict[str, object], dict[str, float]]:
    """Population values under our names, and standard errors of the typical values."""
    given = json.loads((SHARED / "pkpd" / folder / "reference.json").read_text(encoding="utf-8"))
    found = {one["parameter"]: one["value"] for one in given["monolix"]}
    values = {f"{name}_pop": found[f"{name}_pop"] for name in NAMES}
    values["omega"] = [found[f"omega_{name}"] for name in NAMES]
    values |= {"sigma_add_conc": found["pkadd__err"], "sigma_prop_conc": found["prop__err"]}
    values["sigma_add_pca"] = found["pdadd__err"]
    errors = {one["parameter"]: one["se_lin"] for one in given["monolix"]}
    return values, errors


def importance(density, complete, eta, rng) -> tuple[float, float]:
    """-2 log L by importance sampling around the modes, with its Monte-Carlo error; written here anew."""
    information = density.local(complete, eta).information
    root = np.linalg.cholesky(np.linalg.inv(information))
    n, k = eta.shape
    scale = np.sqrt(DEGREES / rng.chisquare(DEGREES, (DRAWS, n, 1)))
    drawn = eta + np.einsum("nij,dnj->dni", root, rng.standard_normal((DRAWS, n, k))) * scale
    proposed = np.stack(
        [stats.multivariate_t(eta[i], root[i] @ root[i].T, df=DEGREES).logpdf(drawn[:, i]) for i in range(n)],
        axis=1,
    )
    wide = {name: np.asarray(value)[None] for name, value in complete.items()}
    log_weight = density.observations(wide, drawn) + density.effects(complete, drawn) - proposed
    top = log_weight.max(axis=0)
    weight = np.exp(log_weight - top)
    error = 2 * np.sqrt((weight.var(axis=0) / (DRAWS * weight.mean(axis=0) ** 2)).sum())
    return float(-2 * (top + np.log(weight.mean(axis=0))).sum()), float(error)


def linearised(density, complete, eta) -> float:
    """-2 log of the normal density of observations whose predictions are linear around the modes."""
    study = density.study
    pred, jacobian = density.sensitivities(complete, eta)
    conc = study.events.dvid[study.events.obs_record] == 1
    sigma = {name: float(np.asarray(complete[name]).item()) for name in complete if name.startswith("sigma")}
    combined = np.hypot(sigma["sigma_add_conc"], sigma["sigma_prop_conc"] * pred)
    variance = np.where(conc, combined, sigma["sigma_add_pca"]) ** 2
    root, total = density.root(complete), 0.0
    for i in range(density.n_subject):
        mine = study.design.obs_subject == i
        slopes = jacobian[:, mine].T
        mean = pred[mine] - slopes @ eta[i]
        covariance = slopes @ root @ root.T @ slopes.T + np.diag(variance[mine])
        total -= 2 * stats.multivariate_normal(mean, covariance).logpdf(study.events.obs_dv[mine])
    return float(total)


def test_warfarin_pk_and_response_at_monolix_estimates():
    """Modes of every subject, and -2 log L as it was computed independently, exactly and linearised."""
    model, data = warfarin_model(), warfarin_data()
    values, _ = monolix("pkpd_warfarin_turnover")
    density, complete = density_at(model, data, values)
    eta, _ = Foce().search(density, complete, np.zeros((density.n_subject, density.n_eta)), 0)
    exact, error = importance(density, complete, eta, np.random.default_rng(1))
    assert error < 0.5
    assert abs(exact - 2226.59) < 3 * np.hypot(error, 0.1)  # of both Monte-Carlo errors
    given = pd.read_csv(WARFARIN / "random_effects.csv")
    modes = given[[f"eta_{name}_mode" for name in NAMES]].to_numpy()
    assert abs(linearised(density, complete, modes) - 2213.08) < 0.02  # two decimals are given
    ours, theirs = (density.local(complete, at).logp for at in (eta, modes))
    assert np.all(ours > theirs - 1e-3)  # ours are modes; theirs stopped up to 0.44 short of them
    assert np.abs(eta - modes).max() < 0.25
    conc = data.dvid[data.obs_record] == 1
    of = {name: np.asarray(value) for name, value in complete.items()}
    away = np.abs(density.predictions(of, eta) - density.predictions(of, modes))
    assert away[conc].max() < 0.4  # mg/L
    assert away[~conc].max() < 1.5  # %


def test_correlated_warfarin_effects_at_monolix_estimates():
    names = ("emax", "ec50")
    others = [name for name in NAMES if name not in names]
    blocks = [variability.Independent(others, sd=SD), variability.Correlated(names, sd=SD)]
    values, _ = monolix("pkpd_warfarin_turnover_corr")
    corr = np.eye(len(NAMES))
    i, j = NAMES.index("emax"), NAMES.index("ec50")
    corr[i, j] = corr[j, i] = 0.787150125039959
    density, complete = density_at(
        warfarin_model(variability=blocks), warfarin_data(), values | {"corr": corr}
    )
    given = pd.read_csv(SHARED / "pkpd" / "pkpd_warfarin_turnover_corr" / "individual_parameters.csv")
    place = dict.fromkeys(NAMES, np.log) | {"emax": special.logit}
    modes = np.stack(
        [place[name](given[f"{name}_mode"]) - place[name](values[f"{name}_pop"]) for name in NAMES], axis=1
    )
    assert abs(linearised(density, complete, modes) - 2211.378) < 0.02  # six digits of the modes are given
    eta, _ = Foce().search(density, complete, modes, 0)
    ours, theirs = (density.local(complete, at).logp for at in (eta, modes))
    assert np.all(ours > theirs - 1e-3)
    assert np.abs(eta - modes).max() < 0.3


# the likelihood rises as long as emax approaches 1, where its logit has no end and its omega no meaning
@pytest.mark.filterwarnings("default:Standard errors could not be computed:UserWarning")
@pytest.mark.filterwarnings("default:SAEM has not converged:UserWarning")
@pytest.mark.slow
def test_warfarin_pk_and_response_estimated():
    """SAEM within one standard error, at a likelihood that is not below Monolix's; emax is not below it."""
    values, errors = monolix("pkpd_warfarin_turnover")
    found = estimate(
        warfarin_model(),
        warfarin_data(),
        method=Saem(smoothing=300),
        seed=1,
        progress=False,
        use_priors=False,
    )
    value = found["estimates"]["value"].to_series()
    others = [name for name in NAMES if name != "emax"]
    for name in others:
        assert value[f"{name}_pop"] == pytest.approx(values[f"{name}_pop"], abs=errors[f"{name}_pop"]), name
    for name, sd in zip(NAMES, values["omega"], strict=True):
        if name in others:
            assert value[f"omega[{name}]"] == pytest.approx(sd, abs=errors[f"omega_{name}"]), name
    assert values["emax_pop"] - errors["emax_pop"] < value["emax_pop"] <= 1
    objective = found["objective"].to_dataset()
    assert float(objective["minus2ll"][0]) < 2226.59 + 3 * np.hypot(float(objective["mc_error"][0]), 0.1)


def static(parameters, formula, column):
    """A response that depends on a column of the data alone; the state is not used."""
    return ode.System(
        ("unused",), parameters, lambda t, s, p: {"unused": 0.0}, {"y": formula}, covariates=[column]
    )


def emax_model() -> tuple[PopModel, EventTable]:
    """100 subjects, three doses each, a response to each."""
    table = pd.read_csv(SHARED / "estimation" / "saem_pd1_emax" / "data.csv")
    table = table.rename(columns={"subject": "ID", "response": "DV", "dose": "LEVEL", "gender": "MALE"})
    table["TIME"] = table.groupby("ID").cumcount().astype(float)
    model = PopModel(
        structural=static(
            ("E0", "Emax", "EC50"), lambda s, p: p.E0 + p.Emax * p.LEVEL / (p.EC50 + p.LEVEL), "LEVEL"
        ),
        parameters={
            "E0": Parameter(prior.LogNormal(20, 1)),
            "Emax": Parameter(prior.LogNormal(100, 1)),
            "EC50": Parameter(
                prior.LogNormal(10, 1),
                covariates=[covariate.Exponential("MALE", ref=0, coefficient=prior.Normal(0, 1))],
            ),
        },
        variability=variability.Independent(["E0", "Emax", "EC50"], sd=SD),
        residual=residual.Additive(prior.HalfNormal(10.0)),
    )
    return model, read_events(table[["ID", "TIME", "DV", "LEVEL", "MALE"]], covariates=["LEVEL", "MALE"])


def emax_expected() -> tuple[dict[str, object], float]:
    """The exact maximum likelihood under our names, and its -2 log L."""
    place = SHARED / "estimation" / "saem_pd1_emax" / "reference.json"
    given = json.loads(place.read_text(encoding="utf-8"))["exact_mle"]
    x = given["x"]
    values: dict[str, object] = {f"{name}_pop": np.exp(x[f"l{name}"]) for name in ("E0", "Emax", "EC50")}
    values |= {"beta_EC50_MALE": x["beta_gender_EC50"], "sigma_add": np.exp(x["log_a"])}
    values["omega"] = np.exp([x[f"log_om_{name}"] for name in ("E0", "Emax", "EC50")])
    return values, given["m2ll_with_2pi"]


def test_the_exact_likelihood_of_a_dose_response():
    """The reference took 7 nodes, which leave 0.05: ours are 2452.380 (7), .440 (9), .427 (15), .428 (21)."""
    model, data = emax_model()
    values, expected = emax_expected()
    density, complete = density_at(model, data, values)
    method = Quadrature(15)
    eta, _ = method.search(density, complete, np.zeros((density.n_subject, density.n_eta)), 0)
    assert abs(method.objective(density, complete, eta).sum() - expected) < 0.05


@pytest.mark.slow
def test_a_dose_response_estimated_by_saem():
    """Within a quarter of a standard error of the exact solution."""
    values, _ = emax_expected()
    found = estimate(*emax_model(), method=Saem(smoothing=3000), seed=1, progress=False, use_priors=False)
    value, error = (found["estimates"][name].to_series() for name in ("value", "se"))
    wanted = {name: one for name, one in values.items() if name != "omega"}
    wanted |= {f"omega[{n}]": one for n, one in zip(("E0", "Emax", "EC50"), values["omega"], strict=True)}
    for name, one in wanted.items():
        assert value[name] == pytest.approx(one, abs=0.25 * error[name]), name


@pytest.mark.slow
def test_the_posterior_of_a_sigmoid_emax_curve():
    """Factor Xa: within 0.15 SD of an independent sampler of 140,000 draws, SDs within 10 %."""
    table = pd.read_csv(SHARED / "posterior" / "bayes_fxa_emax" / "data.csv").assign(TIME=0.0)
    data = read_events(table[["ID", "TIME", "DV", "CONC"]], covariates=["CONC"])
    model = PopModel(
        structural=static(
            ("Emax", "EC50", "hill"),
            lambda s, p: 100 * p.Emax * p.CONC**p.hill / (p.EC50**p.hill + p.CONC**p.hill),
            "CONC",
        ),
        parameters={
            "Emax": Parameter(prior.LogitNormal(0, np.sqrt(2)), scale="logit"),
            "EC50": Parameter(prior.LogNormal(np.exp(5.5), 1)),
            "hill": Parameter(prior.LogNormal(np.exp(0.75), np.sqrt(0.5))),
        },
        residual=residual.Additive(prior.LogNormal(np.exp(2.3), 1)),
    )
    posterior = fit(model, data, seed=1, draws=1000, progress=False)["posterior"]
    expected = {"Emax_pop": (0.8679, 0.0636), "EC50_pop": (109.4, 17.6), "hill_pop": (1.045, 0.096)}
    for name, (mean, sd) in (expected | {"sigma_add": (6.081, 0.496)}).items():
        assert float(posterior[name].mean()) == pytest.approx(mean, abs=0.15 * sd), name
        assert float(posterior[name].std()) == pytest.approx(sd, rel=0.1), name
