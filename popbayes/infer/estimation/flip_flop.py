r"""The other solution of an oral model: absorption and elimination with their places exchanged.

A dose through a depot gives the sum of exponentials of `ka` and of the body's rates, and the sum does not
tell which is which. In one compartment, with :math:`k = CL/V`,

.. math:: k_a' = k, \qquad k' = k_a, \qquad V' = V \frac{k}{k_a}, \qquad CL' = CL

predict the same concentrations; in two compartments `ka` may change places with a rate of the body between
which and the other one `k21` lies. A population in which all subjects are exchanged differs from the
other one by the distribution of the random effects alone, and an estimate that begins near one stays
there. So the second is looked for and both are compared by their likelihoods.

References
----------
Gibaldi & Perrier, *Pharmacokinetics*, 2nd ed. (1982), ch. 1, on flip-flop; Kass & Raftery, *J Am Stat
Assoc* 90 (1995) 773-795, on evidence.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from popbayes import dims
from popbayes.infer.tree import Study
from popbayes.parameters.priors import Fixed
from popbayes.structural.compartmental import AbstractCompartmental
from popbayes.structural.first_order import FirstOrder

INDISTINCT = 10.0
"""Difference of -2 log L below which data without priors do not tell two solutions apart: a likelihood
ratio of 150, where Kass & Raftery begin to call evidence very strong. Less would be too little: the two differ by
the distribution of their random effects alone, which is an assumption."""
DECIDED = 20.0
"""Difference, priors included where they are used, from which on a solution that is still on its way is given up."""
LEAST_OMEGA = 0.05
"""Of an exchanged parameter whose sources do not differ between subjects."""
DIFFERENCE = 1e-5


@dataclass(frozen=True)
class Verdict:
    """Two solutions compared: which is kept, and what must be said.

    Attributes
    ----------
    keep_rival : bool
    notes : list of str
        What must be said.
    attrs : dict
        For the DataTree: ``exchanged_difference``, -2 log L of the solution that was left minus that of the
        one that is kept.
    """

    keep_rival: bool
    notes: list[str]
    attrs: dict[str, float]


def exchanged(study: Study, values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Population values with absorption and elimination exchanged, or None where there are none.

    Parameters
    ----------
    study : Study
    values : population values, not a batch

    Returns
    -------
    mapping or None
        None for other models than one or two compartments behind first-order absorption, where a parameter
        that would have to change is known, and where the other rates are no rates of such a body.
    """
    model = study.model
    if not _applies(model.structural):
        return None
    with np.errstate(all="ignore"):
        here = _typical(study, values)
        there = _exchange(model.structural, here)
    if there is None:
        return None
    out = {name: np.array(value, dtype=np.float64) for name, value in values.items()}
    for name, value in there.items():
        label = dims.pop(name)
        if abs(np.log(value / here[name])) < 1e-9:
            continue
        if label not in out:
            return None
        moved = out[label] * value / here[name]
        if not model.parameters[name].allows(float(moved)):
            return None
        out[label] = moved
    return out | _spread(study, values, here, there)


def verdict(
    study: Study,
    kept: tuple[Mapping[str, Any], float],
    rival: tuple[Mapping[str, Any], float],
    error: float = 0.0,
    use_priors: bool = False,
) -> Verdict:
    """Which of two solutions is better, by -2 log L; that of faster absorption where none is.

    Parameters
    ----------
    kept, rival : population values and -2 log L (and -2 log prior, where priors are used) of each
    error : float
        Monte-Carlo standard error of the difference.
    use_priors : bool
        Whether the values hold the priors, which then decide: solutions are alike within `error` only.
    """
    difference = rival[1] - kept[1]
    names = _rates(study, kept[0]), _rates(study, rival[0])
    faster = names[1]["ka"] > names[0]["ka"]
    alike = abs(difference) < max(0.0 if use_priors else INDISTINCT, 3 * error)
    swap = bool(faster) if alike else difference < 0
    (own, value), (other, left) = ((names[1], rival[1]), (names[0], kept[1]))[:: 1 if swap else -1]
    attrs = {"exchanged_difference": float(left - value)}
    both = (
        f"-2 log L is {value:.2f} with ka {own['ka']:.3g} and elimination at {own['k']:.3g} (reported), and "
        f"{left:.2f} with ka {other['ka']:.3g} and elimination at {other['k']:.3g}"
    )
    if alike:
        return Verdict(swap, [
            "Absorption and elimination can be exchanged (flip-flop), and these data do not tell which is "
            f"which: {both}. By convention the solution with the faster absorption is reported; an "
            "intravenous dose, or a prior that says which is faster (use_priors=True), would decide."
        ], attrs)  # fmt: skip
    if own["ka"] < own["k"]:
        return Verdict(swap, [
            f"Absorption is slower than elimination in these estimates (flip-flop): {both}."
        ], attrs)  # fmt: skip
    return Verdict(swap, [], attrs)


def _applies(structural: Any) -> bool:
    return (
        isinstance(structural, AbstractCompartmental)
        and isinstance(structural.absorption, FirstOrder)
        and len(structural.body_states) <= 2
    )


def _typical(study: Study, values: Mapping[str, Any]) -> dict[str, float]:
    """Geometric means over subjects of the typical parameters that take part."""
    model = study.model
    structural: Any = model.structural
    theta = model.individual_parameters(values, None, study.design, np)
    own = structural.constants if structural.rate_constants else structural.clearances
    return {
        name: float(np.exp(np.mean(np.log(np.asarray(theta[name])))))
        for name in (structural.absorption.ka, *own)
    }


def _rates(study: Study, values: Mapping[str, Any]) -> dict[str, float]:
    """Typical absorption rate, and the elimination rate that it may be exchanged with."""
    structural: Any = study.model.structural
    with np.errstate(all="ignore"):
        here = _typical(study, values)
        micro = _micro(structural, here)
    return {"ka": here[structural.absorption.ka], "k": micro["k" if "k" in micro else "k10"]}


def _micro(structural: Any, theta: Mapping[str, float]) -> dict[str, float]:
    """Rate constants of the body."""
    if structural.rate_constants:
        return {name: theta[name] for name in structural.ratios}
    return {name: theta[top] / theta[bottom] for name, (top, bottom) in structural.ratios.items()}


def _exchange(structural: Any, theta: Mapping[str, float]) -> dict[str, float] | None:
    """The other parameters with the same predictions, or None."""
    micro, ka = _micro(structural, theta), theta[structural.absorption.ka]
    if "k" in micro:
        return _written(structural, {"k": ka}, micro["k"], ka, theta)
    k10, k12, k21 = micro["k10"], micro["k12"], micro["k21"]
    total, product = k10 + k12 + k21, k10 * k21
    fast = 0.5 * (total + np.sqrt(total**2 - 4 * product))
    for taken, stays in ((fast, product / fast), (product / fast, fast)):
        if min(ka, stays) < k21 < max(ka, stays):
            new = {"k10": ka * stays / k21, "k21": k21}
            new["k12"] = ka + stays - k21 - new["k10"]
            if new["k12"] > 0:
                return _written(structural, new, taken, ka, theta)
    return None


def _written(
    structural: Any, micro: Mapping[str, float], new_ka: float, ka: float, theta: Mapping[str, float]
) -> dict[str, float] | None:
    """The parameters as the model writes them, from rate constants and the new and old `ka`."""
    volume = theta[structural.volume] * new_ka / ka
    found = {structural.absorption.ka: new_ka, structural.volume: volume}
    if structural.rate_constants:
        found |= micro
    elif "k" in micro:
        found["CL"] = micro["k"] * volume
    else:
        found |= {"CL": micro["k10"] * volume, "Q": micro["k12"] * volume}
        found["V2"] = found["Q"] / micro["k21"]
    fine = all(np.isfinite(value) and value > 0 for value in found.values())
    return found if fine else None


def _spread(
    study: Study, values: Mapping[str, Any], here: Mapping[str, float], there: Mapping[str, float]
) -> dict[str, Any]:
    """SDs and correlations of the random effects of the exchanged parameters, to first order."""
    model = study.model
    if dims.OMEGA not in values:
        return {}
    names = list(model.eta_names)
    own = [_unit(model, name, here) for name in names]
    omega = np.array(values[dims.OMEGA], dtype=np.float64) / own
    corr = np.array(values.get(dims.CORR, np.eye(len(names))), dtype=np.float64)
    slopes = np.eye(len(names))
    for j, source in enumerate(names):
        if source not in here:
            continue
        ends = [
            _exchange(model.structural, {**here, source: here[source] * np.exp(sign * DIFFERENCE)})
            for sign in (1, -1)
        ]
        if ends[0] is None or ends[1] is None:
            return {}
        for i, name in enumerate(names):
            if name in ends[0]:
                slopes[i, j] = np.log(ends[0][name] / ends[1][name]) / (2 * DIFFERENCE)
    covariance = slopes @ (np.outer(omega, omega) * corr) @ slopes.T
    sd = np.maximum(np.sqrt(np.diag(covariance)), LEAST_OMEGA)
    new = [_unit(model, name, {**here, **there}) for name in names]
    known = [isinstance(prior, Fixed) for prior in model.omega_priors.values()]
    found: dict[str, Any] = {dims.OMEGA: np.where(known, omega * own, sd * new)}
    if dims.CORR in values:
        # a little towards independence: correlations of 1 are the edge of what can be estimated
        found[dims.CORR] = _blocks(model, 0.9 * covariance / np.outer(sd, sd))
    return found


def _unit(model: Any, name: str, typical: Mapping[str, float]) -> float:
    """What a random effect is relative to: the typical value on the identity scale, 1 on the others."""
    return typical[name] if name in typical and model.parameters[name].scale == "identity" else 1.0


def _blocks(model: Any, corr: np.ndarray) -> np.ndarray:
    """The correlations that the model estimates, the others 0."""
    out = np.eye(len(corr))
    for names, _ in model.correlated_blocks:
        place = np.ix_(*[[model.eta_names.index(name) for name in names]] * 2)
        out[place] = corr[place]
    np.fill_diagonal(out, 1.0)
    return out
