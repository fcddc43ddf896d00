import pytest
import xarray as xr

from popbayes.data.datasets import load_dataset
from popbayes.diagnostics.gof import gof
from popbayes.diagnostics.vpc import vpc
from popbayes.infer.estimation.estimate import estimate
from popbayes.infer.estimation.linearised import Foce
from popbayes.simulation import simulate
from tests.diagnostics.posed import censored_fit, posed_fit, theophylline_model, two_endpoints


@pytest.fixture(scope="session")
def posed() -> xr.DataTree:
    return posed_fit()


@pytest.fixture(scope="session")
def fitted(posed) -> xr.Dataset:
    return gof(posed)


@pytest.fixture(scope="session")
def checked() -> xr.Dataset:
    return vpc(simulate(theophylline_model(), load_dataset("theophylline"), seed=3, n=40))


@pytest.fixture(scope="session")
def censored() -> xr.DataTree:
    return censored_fit()


@pytest.fixture(scope="session")
def two() -> xr.DataTree:
    return two_endpoints()


@pytest.fixture(scope="session")
def estimated() -> xr.DataTree:
    return estimate(theophylline_model(), load_dataset("theophylline"), method=Foce(), seed=1, progress=False)
