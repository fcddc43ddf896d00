"""Second derivatives of a likelihood whose predictions are solutions of differential equations."""

from dataclasses import replace

import numpy as np
import pandas
import pytest

import popbayes as pb
from popbayes import pd, pk, prior, residual, variability
from popbayes.infer.subject_logp import PRECISE, SubjectDensity
from popbayes.infer.tree import Study

AGREES = 0.02
"""Standard errors at two tolerances; jumps of the derivatives between sequences of steps had made it 0.5."""


def study(n_subject=24):
    """Turnover, with the pharmacokinetics known: samples where the response moves."""
    rows = [
        {"ID": i, "TIME": t, "AMT": 100.0 * (t == 0.0 and dose), "EVID": int(dose)}
        for i in range(1, n_subject + 1)
        for t, dose in [(0.0, True), (0.0, False), *((t, False) for t in (2.0, 6.0, 12.0, 24.0, 36.0, 72.0))]
    ]
    model = pb.PopModel(
        structural=pd.Turnover(pk.OneCompartment(), effect=pd.Imax(full=True)),
        parameters={
            "CL": pb.Parameter(prior.Fixed(3.0)),
            "V": pb.Parameter(prior.Fixed(30.0)),
            "R0": pb.Parameter(prior.LogNormal(10.0, 0.5)),
            "kout": pb.Parameter(prior.LogNormal(0.2, 0.5)),
            "IC50": pb.Parameter(prior.LogNormal(1.0, 0.5)),
        },
        variability=variability.Independent(["R0", "IC50"], sd=prior.HalfNormal(0.5)),
        residual={"response": residual.Proportional(prior.HalfNormal(0.2))},
    )
    design = pb.read_events(pandas.DataFrame(rows))
    truth = {"R0_pop": 10.0, "kout_pop": 0.2, "IC50_pop": 1.0, "omega": {"R0": 0.2, "IC50": 0.3}}
    drawn = pb.simulate(model, design, {**truth, "sigma_prop": 0.05}, seed=3)
    table = design.to_frame()
    table.loc[table["EVID"] == 0, "DV"] = drawn["predictions"]["dv"].to_numpy().ravel()
    return model, pb.read_events(table)


def test_equations_are_solved_closely_where_derivatives_are_compared():
    model, data = study(2)
    density = SubjectDensity(Study(model.resolved(data), data))
    assert density.precise.study.model.structural.rtol == PRECISE
    assert density.precise.precise is density.precise
    assert replace(density.precise.study.model.structural, rtol=1e-7, max_steps=20_000) == model.structural


@pytest.mark.slow
def test_standard_errors_do_not_depend_on_the_tolerance_of_the_equations():
    model, data = study()
    tight = replace(model, structural=replace(model.structural, rtol=1e-10))
    default, close = (
        pb.summary(pb.estimate(one, data, method=pb.Laplace(), seed=1, progress=False)).table
        for one in (model, tight)
    )
    estimated = ~default["fixed"].astype(bool)
    assert np.isfinite(default.loc[estimated, "se"]).all()
    np.testing.assert_allclose(default.loc[estimated, "se"], close.loc[estimated, "se"], rtol=AGREES)
