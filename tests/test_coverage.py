"""Simulated studies with a known truth: intervals hold it as often as they say."""

import pytest
from scipy import stats

from benchmarks import coverage

RARE = 1e-3  # a correct sampler fails the claim about one quantity less often than this


@pytest.mark.slow
def test_intervals_of_90_percent_hold_the_truth_in_80_to_97_percent_of_40_studies():
    hits = coverage.run(40)
    together = sum(h.inside for h in hits) / sum(h.studies for h in hits)
    assert 0.80 <= together <= 0.97
    for h in hits:
        least = stats.binom.ppf(RARE, h.studies, coverage.LEVEL)
        assert h.inside >= least, f"{h.name}: {h.inside} of {h.studies}"


def test_fixed_priors_of_the_coverage_study_are_its_truth():
    truth = {f"{name}_pop": 2.0 for name in coverage.TYPICAL} | {
        f"omega[{name}]": 0.3 for name in coverage.TYPICAL
    }
    known = coverage.at(coverage.the_model(), truth | {"sigma_log": 0.1})
    assert all(row.fixed for row in known.population_rows())
