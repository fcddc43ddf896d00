"""A fit without sampling: prior draws that pose as a posterior, for tests of plumbing."""

import numpy as np
import xarray as xr

from popbayes import dims
from popbayes.data.events import EventTable
from popbayes.infer.new_levels import new_effects
from popbayes.infer.population import prior_values, random_effects
from popbayes.infer.states import drawn_states
from popbayes.infer.tree import Study, drawn_dataset, new_tree, root_attrs, study_groups
from popbayes.model import PopModel
from popbayes.model.states import missing_subjects


def _coefficients(model):
    return [one for name in model.parameters for one in model.coefficients(name)]


def posed(model: PopModel, data: EventTable, n: int = 6, seed: int = 5) -> xr.DataTree:
    """A DataTree as `fit` makes it, 2 chains x n draws."""
    study = Study(model.resolved(data), data)
    rng = np.random.default_rng(seed)
    values = prior_values(study.model, 2 * n, rng)
    shape = (2 * n, study.design.n_subject, len(study.model.eta_names))
    eta = random_effects(study.model, values, rng.standard_normal(shape))
    values |= drawn_states(study.model, study.design, values, 2 * n, rng, data.subjects)
    levels = new_effects(study.model, study.design, values, 2 * n, rng)
    over = dims.SUBJECT if study.design.one_segment_per_subject else dims.SEGMENT
    theta = study.model.individual_parameters(values, eta, study.design, np, levels)
    theta = {name: np.broadcast_to(one, (2 * n, study.design.n_segment)) for name, one in theta.items()}
    dims_of = {
        dims.OMEGA: (dims.ETA_OF,),
        dims.CORR: (dims.ETA_OF, dims.ETA_OF2),
        dims.ETA: (dims.SUBJECT, dims.ETA_OF),
        **dict.fromkeys(theta, (over,)),
    }
    labels = {
        dims.ETA_OF: study.model.eta_names,
        dims.ETA_OF2: study.model.eta_names,
        dims.SUBJECT: data.subjects,
        dims.SEGMENT: range(study.design.n_segment),
    }
    for one in study.model.groupings:
        dims_of |= {one.sd: (one.of,), one.corr: (one.of, one.of2), one.eta: (one.dim, one.of)}
        labels |= {one.of: one.names, one.of2: one.names, one.dim: study.design.groups[one.key].labels}
    for one in (*study.model.further, *study.model.odds, *_coefficients(study.model)):
        if one.labels:
            dims_of[one.name], labels[one.dim] = (one.dim,), one.labels
    for one in study.model.imputation:
        dims_of[one.name] = (one.dim,)
        labels[one.dim] = data.subjects[missing_subjects(study.design, one)].astype(str)
    dims_of |= {dims.CLASS_OF: (dims.SUBJECT,)}
    values |= {one.eta: levels[one.key] for one in study.model.groupings}
    draws = values | theta | ({} if eta is None else {dims.ETA: eta})
    arrays = {
        name: value.reshape(2, n, *(value.shape[1:] if name in dims_of else ()))
        for name, value in draws.items()
    }
    posterior = drawn_dataset(arrays, dims_of, labels)
    return new_tree({dims.POSTERIOR: posterior, **study_groups(study)}, root_attrs(study, seed))
