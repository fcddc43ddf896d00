"""Observations that the model leaves out have no part in predictive densities."""

import numpy as np

from popbayes import PopModel, censoring, loo, pk, prior, residual, variability
from popbayes.data.events import read_events
from popbayes.data.regimen import Regimen
from popbayes.parameters.parameter import Parameter
from popbayes.simulation import as_data, simulate
from tests.diagnostics.posed import posed_fit


def test_loo_is_that_of_the_observations_that_count():
    model = PopModel(
        pk.OneCompartment(),
        {"CL": Parameter(prior.LogNormal(5.0, 0.05)), "V": Parameter(50.0)},
        variability.Independent(["CL"], sd=prior.HalfNormal(0.05)),
        residual.Proportional(0.2),
        censoring=censoring.M1(),
    )
    design = Regimen(times=[1.0, 12.0, 24.0]).dose(100).to_events(8)
    given = {"CL_pop": 5.0, "omega": [0.05]}
    table = as_data(simulate(model, design, given, seed=3)).to_frame()
    low = (table["EVID"] == 0) & (table["DV"] < 0.3)
    table.loc[low, ["CENS", "DV"]] = [1, 0.3]
    result = loo(posed_fit(model, read_events(table)))
    assert result.n == (~low & (table["EVID"] == 0)).sum() < 24
    assert np.isfinite(result.elpd)
