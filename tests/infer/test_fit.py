import json

import numpy as np
import pytest

from popbayes import pk, prior, residual
from popbayes.data.regimen import Regimen
from popbayes.infer import fit as fit_module
from popbayes.infer import jax_chains
from popbayes.infer.chains import STATS, AbstractSampler, Draws
from popbayes.infer.fit import AfterSamplingError, fit
from popbayes.infer.nuts import SAMPLERS
from popbayes.infer.settings import checked_seed
from popbayes.infer.tree import study_of
from popbayes.model import PopModel
from popbayes.parameters.parameter import Parameter
from popbayes.simulation import as_data, simulate
from tests.conftest import FIT

DIMS = {
    "ka_pop": (),
    "CL_pop": (),
    "V_pop": (),
    "omega": ("eta_of",),
    "sigma_add": (),
    "sigma_prop": (),
    "eta": ("subject", "eta_of"),
    "ka": ("subject",),
    "CL": ("subject",),
    "V": ("subject",),
}


class FakeSampler(AbstractSampler):
    """Hands back zeros at once."""

    name = "fake"
    options = ()
    parallel = True
    saves_warmup = False

    def run(self, task):
        shape = (task.chains, task.draws)
        stats = {name: np.zeros(shape, dtype) for name, dtype in STATS.items()}
        sizes = {dim: len(labels) for dim, labels in task.graph.coords.items()}
        own = {name: task.graph.named_vars_to_dims.get(name, ()) for name in task.keep}
        return Draws({name: np.zeros((*shape, *(sizes[d] for d in ds))) for name, ds in own.items()}, stats)


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setitem(SAMPLERS, "fake", FakeSampler())


def test_the_posterior_holds_the_names_and_dims_of_the_design_and_nothing_else(fitted):
    posterior = fitted["posterior"].to_dataset()
    assert {name: v.dims for name, v in posterior.data_vars.items()} == {
        name: ("chain", "draw", *own) for name, own in DIMS.items()
    }
    assert posterior["eta_of"].to_numpy().tolist() == ["ka", "CL", "V"]
    assert posterior["subject"].to_numpy().tolist() == list(range(1, 13))
    assert posterior.sizes["chain"] == 2
    assert posterior.sizes["draw"] == 200


def test_the_statistics_have_the_names_and_types_of_arviz(fitted):
    stats = fitted["sample_stats"].to_dataset()
    assert {name: v.dtype for name, v in stats.data_vars.items()} == {
        n: np.dtype(t) for n, t in STATS.items()
    }
    assert np.all(np.isfinite(stats["lp"]))
    assert np.all(2 ** (stats["tree_depth"] - 1) <= stats["n_steps"])


def test_warm_up_is_not_stored_by_default(fitted):
    assert set(fitted.children) == {"posterior", "sample_stats", "observed_data", "constant_data", "events"}


def test_the_root_says_how_the_fit_was_made(fitted, theophylline_model):
    attrs = fitted.attrs
    assert PopModel.from_json(attrs["model"]) == theophylline_model
    assert (attrs["sampler"], attrs["seed"], attrs["interrupted"]) == ("nutpie", FIT["seed"], 0)
    assert (attrs["chains"], attrs["draws"], attrs["tune"]) == (2, 200, 200)
    assert json.loads(attrs["versions"]).keys() >= {"popbayes", "pymc", "numba"}
    assert attrs["wall_time"] > 0
    assert attrs["cpu_time"] > 0


def test_the_study_comes_back_from_the_tree(fitted, theophylline, theophylline_model):
    study = study_of(fitted)
    assert study.model == theophylline_model
    assert study.events.to_frame().equals(theophylline.to_frame())


def test_individual_parameters_are_typical_values_times_random_effects(fitted):
    posterior = fitted["posterior"]
    effect = np.exp(posterior["eta"].sel(eta_of="V", drop=True))
    np.testing.assert_allclose(posterior["V"], (posterior["V_pop"] * effect).transpose(*posterior["V"].dims))


def test_observations_and_constants_carry_their_units(fitted, theophylline):
    assert fitted["observed_data"]["dv"].attrs["units"] == theophylline.units["DV"]
    assert fitted["constant_data"]["time"].attrs["units"] == theophylline.units["TIME"]
    assert fitted["constant_data"]["WT"].dims == ("subject",)


def test_the_same_seed_gives_the_same_bits_on_any_number_of_cores(fitted, theophylline_model, theophylline):
    again = fit(theophylline_model, theophylline, **FIT, cores=1)
    for name, values in fitted["posterior"].data_vars.items():
        assert np.array_equal(values, again["posterior"][name]), name


def test_a_fresh_seed_is_drawn_and_recorded(fake, theophylline_model, theophylline):
    seeds = {
        fit(theophylline_model, theophylline, sampler="fake", progress=False, draws=2).attrs["seed"]
        for _ in range(2)
    }
    assert len(seeds) == 2


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, True, "1"])
def test_a_seed_that_is_no_whole_number_is_refused(seed):
    with pytest.raises(ValueError, match="seed must be a whole number"):
        checked_seed(seed)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (
            {"sampler": "nutpy"},
            ValueError,
            "no sampler 'nutpy'; there are nutpie, pymc, numpyro, blackjax. .*'nutpie'",
        ),
        (
            {"chain": 2},
            TypeError,
            "no argument 'chain' with sampler='nutpie'; it takes model, data.* 'chains'",
        ),
        ({"chain_method": "vectorized"}, TypeError, "for nutpie adaptation"),
        ({"draws": 0}, ValueError, "draws must be a whole number of at least 1, not 0"),
        ({"tune": 2.5}, ValueError, "tune must be a whole number"),
        ({"cores": 0}, ValueError, "cores must be a whole number"),
        ({"target_accept": 1.0}, ValueError, "target_accept must be between 0 and 1"),
        ({"seed": -5}, ValueError, "seed must be a whole number"),
        ({"cores": 2, "sampler": "numpyro"}, ValueError, "numpyro runs one chain after the other"),
        ({"save_warmup": True, "sampler": "blackjax"}, ValueError, "nutpie and pymc do"),
        ({"chain_method": "parallel", "sampler": "numpyro"}, ValueError, "'sequential', 'vectorized'"),
        ({"warm_start": 1}, TypeError, r"must be pb.Saem\(...\) or None, not 1"),
        ({"centring": "half"}, ValueError, "centring must be one of auto"),
        ({"starts": {"CL": 2.0}}, ValueError, "the warm start begins at values of ka_pop, CL_pop"),
        (
            {"starts": {"CL": 2.0}, "warm_start": None},
            ValueError,
            "starts has 'CL', which is not sampled; sampled are ka_pop, CL_pop",
        ),
    ],
)
def test_what_fit_cannot_honour_is_refused(theophylline_model, theophylline, arguments, error, match):
    with pytest.raises(error, match=match):
        fit(theophylline_model, theophylline, progress=False, **arguments)


@pytest.mark.parametrize(
    ("typical", "match"),
    [(2.0, "nothing to estimate"), (prior.Poisson(3), "V_pop can take whole numbers only")],
)
def test_a_model_that_nuts_cannot_sample_is_refused(theophylline, typical, match):
    model = PopModel(
        structural=pk.OneCompartment(),
        parameters={"CL": Parameter(1.0), "V": Parameter(typical, scale="identity")},
        residual=residual.Additive(1.0),
    )
    data = as_data(
        simulate(model, Regimen(times=[1]).dose(10), {} if typical == 2.0 else {"V_pop": 2.0}, seed=1)
    )
    with pytest.raises(ValueError, match=match):
        fit(model, data, progress=False)


def test_a_missing_sampler_says_what_to_install(theophylline_model, theophylline, monkeypatch):
    def missing(package):
        raise ImportError(package)

    monkeypatch.setattr(jax_chains, "import_module", missing)
    with pytest.raises(ImportError, match=r'pip install "popbayes\[jax\]"'):
        fit(theophylline_model, theophylline, sampler="numpyro", progress=False)


def test_draws_are_not_lost_when_the_tree_cannot_be_made(fake, theophylline_model, theophylline, monkeypatch):
    def broken(*args):
        raise RuntimeError("no tree")

    monkeypatch.setattr(fit_module, "new_tree", broken)
    with pytest.raises(AfterSamplingError, match="no tree") as caught:
        fit(theophylline_model, theophylline, sampler="fake", draws=3, chains=2, progress=False)
    assert caught.value.draws.posterior["CL"].shape == (2, 3, 12)


@pytest.mark.parametrize("error", [MemoryError("too large"), KeyboardInterrupt()])
def test_draws_are_not_lost_when_the_log_likelihood_fails(
    fake, theophylline_model, theophylline, monkeypatch, error
):
    def broken(tree):
        raise error

    monkeypatch.setattr(fit_module, "add_log_likelihood", broken)
    with pytest.warns(UserWarning, match="log-likelihood is not stored"):
        dt = fit(
            theophylline_model, theophylline, sampler="fake", draws=3, progress=False, log_likelihood=True
        )
    assert dt["posterior"].sizes["draw"] == 3


def test_one_chain_without_progress_prints_nothing(fake, theophylline_model, theophylline, capfd):
    fit(theophylline_model, theophylline, sampler="fake", chains=1, draws=2, progress=False)
    assert capfd.readouterr() == ("", "")
