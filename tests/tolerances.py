"""Tolerances by name, each with its reason; a test takes one of these and invents none."""

EXACT = {"rtol": 1e-10, "atol": 0.0}  # the same formula by another route: superposition, limits, JSON
SOLVER = {"rtol": 1e-8, "atol": 1e-10}  # closed form against SciPy's ODE solution at rtol 1e-10
GRADIENT = {"rtol": 1e-6, "atol": 1e-9}  # exact derivatives against central differences
STEADY = {"rtol": 1e-7, "atol": 1e-10}  # steady state against 500 doses, whose rounding adds up
NONMEM_PRINTED = {"rtol": 1e-4, "atol": 1e-3}  # five printed digits, ug/L
PUBLISHED = {"rtol": 5e-3, "atol": 0.0}  # against a table printed with three figures

MCSE = 4.0  # posterior means: within this many Monte-Carlo standard errors of both samples
POSTERIOR_SD_REFERENCE = 0.10  # the same against a reference with a few hundred effective draws
POSTERIOR_SD = 0.08  # posterior SDs: relative difference
ENOUGH_ESS = 400.0  # effective draws below which a Monte-Carlo claim is not made
SUMMED = {"rel": 1e-13}  # a closed form against its sum term by term: a few hundred roundings
