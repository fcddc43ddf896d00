r"""How random effects are sampled where the model leaves it open and no coordinates fit each subject.

Centred moves well where the data on a subject say more of it than the population does, non-centred where
they say less. What decides is the variance of a subject's random effect given its data relative to that
of the population, :math:`1 / (1 + \omega^2 \Lambda_i)`, with the information :math:`\Lambda_i` of the
subject's observations.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from popbayes.building.starts import initial_values, no_selection
from popbayes.engine.sensitivities import Solver
from popbayes.infer.pointwise import observation_logp, sigmas
from popbayes.infer.tree import Study
from popbayes.model import PopModel
from popbayes.parameters.family import AbstractPrior
from popbayes.parameters.grouped import AbstractGrouped
from popbayes.parameters.mixture import Mixture
from popbayes.parameters.priors import Fixed
from popbayes.parameters.random_effects import AbstractVariability

CENTRINGS = ("auto", "centred", "non-centred")
HALF = 0.5
"""Variance ratio below which centred is the better half of the choice."""
STEP = 1e-3
"""Of random effects and relative to predictions, in differences."""


def centred_model(study: Study, centring: str, warm: Any = None) -> PopModel:
    """The model with every part of its variability said to be centred or not.

    Parameters
    ----------
    centring : "auto", "centred" or "non-centred"
    warm : WarmStart, optional
        Where it is known, its conditional variances decide, else the information at the prior medians.
    """
    model = study.model
    if all(isinstance(block, Mixture) or block.centred is not None for block in model.variability):
        return model
    informed = _informed(study, warm) if centring == "auto" else None
    blocks = [
        block
        if isinstance(block, Mixture) or block.centred is not None
        # the effects of one part are sampled together: most of them decide
        else block.sampled(
            centring == "centred"
            if informed is None
            else bool(np.mean([informed[_key(block), name] for name in block.names]) > HALF)
        )
        for block in model.variability
    ]
    return replace(model, variability=tuple(blocks))


def _key(block: AbstractVariability) -> str:
    """Name of a level; empty for the subject."""
    return block.key if isinstance(block, AbstractGrouped) else ""


def _informed(study: Study, warm: Any) -> dict[tuple[str, str], bool]:
    """Whether the data say more of most effects than the population does, by level and parameter."""
    ratios = ratios_of_levels(study)
    if warm is not None:
        own = zip(study.model.eta_names, warm.variance_ratios.T, strict=True)
        ratios |= {("", name): ratio for name, ratio in own}
    return {key: bool(np.median(ratio) < HALF) for key, ratio in ratios.items()}


def variance_ratios(study: Study) -> np.ndarray:
    """Conditional over population variance of each subject's effects at the prior medians, (subject, eta)."""
    ratios = ratios_of_levels(study)
    return np.stack([ratios["", name] for name in study.model.eta_names], axis=1)


def ratios_of_levels(study: Study) -> dict[tuple[str, str], np.ndarray]:
    r"""Conditional over population variance of the effects of subjects and levels at the prior medians.

    Each effect alone, the others known:
    :math:`\Lambda_{ik} = \sum_j (\partial f_j / \partial \eta_k)^2 I_j` over the observations of a subject,
    an occasion or a site, with the information :math:`I_j` of an observation about its prediction, by
    differences.

    Returns
    -------
    dict
        Level ("" for the subject) and parameter -> (n_group,).
    """
    model, design = study.model, study.design
    mixed = tuple(replace(one, centred=None) for one in model.variability if isinstance(one, Mixture))
    values = initial_values(replace(model, variability=mixed), study.events)
    draws = {name: np.reshape(value, (1, -1)) for name, value in {**no_selection(model), **values}.items()}
    number, moves = len(model.eta_names), _moves(study)
    size = 1 + len(moves)
    eta = np.zeros((size, design.n_subject, number))
    levels = {
        one.key: np.zeros((size, design.groups[one.key].size, len(one.names))) for one in model.groupings
    }
    for k, move in enumerate(moves):
        (levels[move.level] if move.level else eta)[k + 1, :, move.place] = STEP
    solver = Solver.of(model.structural, design, study.observed.output)
    with np.errstate(all="ignore"):
        prediction = solver.predict(model.individual_parameters(draws, eta, design, np, levels))
        here, slope = prediction[:1], (prediction[1:] - prediction[:1]) / STEP
        width = STEP * np.maximum(np.abs(here), 1e-12)
        near = np.concatenate([here - width, here, here + width])
        logp = observation_logp(study, near, sigmas(study, draws))
        information = -(logp[0] - 2 * logp[1] + logp[2]) / width[0] ** 2
        each = slope**2 * np.maximum(information, 0.0)
    each = np.where(np.isfinite(each), each, 0.0)
    found = {}
    for move, row in zip(moves, each, strict=True):
        gained = np.bincount(move.of_observation, weights=row, minlength=move.size)
        found[move.level, move.name] = 1.0 / (1.0 + gained * move.sd**2)
    return found


@dataclass(frozen=True, eq=False)
class Move:
    """One random effect: its level ("" for the subject), parameter, and whose observations are whose."""

    level: str
    name: str
    place: int
    sd: float
    size: int
    of_observation: np.ndarray


def _moves(study: Study) -> list[Move]:
    model, design = study.model, study.design
    found = [
        Move("", name, k, _middle(prior), design.n_subject, design.obs_subject)
        for k, (name, prior) in enumerate(model.omega_priors.items())
    ]
    for one in model.groupings:
        group = design.groups[one.key]
        found += [
            Move(one.key, name, k, _middle(prior), group.size, group.of_segment[design.obs_segment])
            for k, (name, prior) in enumerate(one.priors.items())
        ]
    return found


def _middle(prior: AbstractPrior) -> float:
    return float(prior.value if isinstance(prior, Fixed) else prior.start())
