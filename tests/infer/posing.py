"""A fit without sampling: prior draws that pose as a posterior, for tests of plumbing."""

import numpy as np
import xarray as xr

from popbayes import dims
from popbayes.data.events import EventTable
from popbayes.infer.population import prior_values, random_effects
from popbayes.infer.tree import Study, drawn_dataset, new_tree, root_attrs, study_groups
from popbayes.model import PopModel


def posed(model: PopModel, data: EventTable, n: int = 6, seed: int = 5) -> xr.DataTree:
    """A DataTree as `fit` makes it, 2 chains x n draws."""
    study = Study(model.resolved(data), data)
    rng = np.random.default_rng(seed)
    values = prior_values(study.model, 2 * n, rng)
    shape = (2 * n, study.design.n_subject, len(study.model.eta_names))
    eta = random_effects(study.model, values, rng.standard_normal(shape))
    over = dims.SUBJECT if study.design.one_segment_per_subject else dims.SEGMENT
    theta = study.model.individual_parameters(values, eta, study.design, np)
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
    draws = values | theta | ({} if eta is None else {dims.ETA: eta})
    arrays = {
        name: value.reshape(2, n, *(value.shape[1:] if name in dims_of else ()))
        for name, value in draws.items()
    }
    posterior = drawn_dataset(arrays, dims_of, labels)
    return new_tree({dims.POSTERIOR: posterior, **study_groups(study)}, root_attrs(study, seed))
