"""Second derivatives of the joint density by the random effects, exact but for the differences taken."""

import numpy as np

from popbayes.infer.subject_logp import Local, Observe, SubjectDensity, Values

ETA_STEP = 1e-3
"""Of a random effect, in conditional SDs: central differences of the gradient err by about its square."""


def exact_curvature(
    density: SubjectDensity,
    values: Values,
    eta: np.ndarray,
    observe: Observe | None = None,
    subjects: np.ndarray | None = None,
    here: Local | None = None,
) -> np.ndarray:
    """Minus the second derivatives of the joint density, by differences of its gradient.

    Where they are not positive definite (no mode, or a saddle) the expected information stands in.

    Parameters
    ----------
    density : SubjectDensity
    values : population values
    eta : (n_subject, n_eta)
    observe
        How observations scatter; None: as the model says.
    subjects
        Numbers of the subjects wanted; None: all.
    here
        The density at `eta`, where it is known.

    Returns
    -------
    (n_subject, n_eta, n_eta)
    """
    if here is None:
        here = density.local(values, eta, observe, subjects=subjects)
    known = np.isfinite(here.information).all(axis=(1, 2))[:, None, None]
    information = np.where(known, here.information, np.eye(density.n_eta))
    sd = np.sqrt(np.einsum("ikk->ik", np.linalg.inv(information)))
    found = np.empty_like(information)
    for m in range(density.n_eta):
        step = np.zeros_like(eta)
        step[:, m] = ETA_STEP * sd[:, m]
        up = density.local(values, eta + step, observe, subjects=subjects).gradient
        down = density.local(values, eta - step, observe, subjects=subjects).gradient
        found[:, :, m] = (down - up) / (2 * step[:, m])[:, None]
    found = 0.5 * (found + np.swapaxes(found, 1, 2))
    fine = np.isfinite(found).all(axis=(1, 2))[:, None, None]
    lowest = np.linalg.eigvalsh(np.where(fine, found, 0.0))[:, 0] if density.n_eta else np.ones(len(eta))
    return np.where((lowest > 0)[:, None, None], found, here.information)
