r"""How random effects are sampled where the model leaves it open and no coordinates fit each subject.

Centred moves well where the data on a subject say more of it than the population does, non-centred where
they say less. What decides is the variance of a subject's random effect given its data relative to that
of the population, :math:`1 / (1 + \omega^2 \Lambda_i)`, with the information :math:`\Lambda_i` of the
subject's observations.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from popbayes.building.starts import initial_values, no_selection
from popbayes.engine.sensitivities import Solver
from popbayes.infer.pointwise import observation_logp, sigmas
from popbayes.infer.tree import Study
from popbayes.model import PopModel
from popbayes.parameters.mixture import Mixture
from popbayes.parameters.priors import Fixed

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
    if centring != "auto":
        chosen = dict.fromkeys(model.eta_names, centring == "centred")
    else:
        ratio = variance_ratios(study) if warm is None else warm.variance_ratios
        chosen = dict(zip(model.eta_names, np.median(ratio, axis=0) < HALF, strict=True))
    blocks = [
        block
        if isinstance(block, Mixture) or block.centred is not None
        # the effects of one part are sampled together: most of them decide
        else replace(block, centred=bool(np.mean([chosen[name] for name in block.names]) > HALF))
        for block in model.variability
    ]
    return replace(model, variability=tuple(blocks))


def variance_ratios(study: Study) -> np.ndarray:
    r"""Conditional over population variance of each subject's effects at the prior medians, (subject, eta).

    Each effect alone, the others known:
    :math:`\Lambda_{ik} = \sum_j (\partial f_j / \partial \eta_k)^2 I_j`, with the information :math:`I_j` of
    an observation about its prediction, by differences.
    """
    model, design = study.model, study.design
    mixed = tuple(replace(one, centred=None) for one in model.variability if isinstance(one, Mixture))
    values = initial_values(replace(model, variability=mixed), study.events)
    draws = {name: np.reshape(value, (1, -1)) for name, value in {**no_selection(model), **values}.items()}
    omega = np.array(
        [prior.value if isinstance(prior, Fixed) else prior.start() for prior in model.omega_priors.values()]
    )
    solver = Solver.of(model.structural, design, study.observed.output)
    number = len(model.eta_names)
    eta = np.concatenate([np.zeros((1, number)), STEP * np.eye(number)])[:, None, :]
    eta = np.broadcast_to(eta, (number + 1, design.n_subject, number))
    with np.errstate(all="ignore"):
        prediction = solver.predict(model.individual_parameters(draws, eta, design, np))
        here, slope = prediction[:1], (prediction[1:] - prediction[:1]) / STEP
        size = STEP * np.maximum(np.abs(here), 1e-12)
        near = np.concatenate([here - size, here, here + size])
        logp = observation_logp(study, near, sigmas(study, draws))
        information = -(logp[0] - 2 * logp[1] + logp[2]) / size[0] ** 2
        each = slope**2 * np.maximum(information, 0.0)
    each = np.where(np.isfinite(each), each, 0.0)
    gained = np.stack(
        [np.bincount(design.obs_subject, weights=row, minlength=design.n_subject) for row in each], axis=1
    )
    return 1.0 / (1.0 + gained * omega**2)
