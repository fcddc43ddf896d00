import pytest
import xarray as xr

from popbayes.data.datasets import load_dataset
from popbayes.diagnostics.gof import gof
from popbayes.diagnostics.vpc import vpc
from popbayes.simulation import simulate
from tests.diagnostics.posed import posed_fit, theophylline_model


@pytest.fixture(scope="session")
def posed() -> xr.DataTree:
    return posed_fit()


@pytest.fixture(scope="session")
def fitted(posed) -> xr.Dataset:
    return gof(posed)


@pytest.fixture(scope="session")
def checked() -> xr.Dataset:
    return vpc(simulate(theophylline_model(), load_dataset("theophylline"), seed=3, n=40))
