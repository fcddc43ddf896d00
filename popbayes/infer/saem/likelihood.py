"""The log density of each subject's observations given its random effects, for many candidates at once."""

from dataclasses import dataclass

import numpy as np

from popbayes.infer.pointwise import observation_logp, sigmas
from popbayes.infer.subject_logp import SubjectDensity

Values = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class SubjectLikelihood:
    """log p(y_i | eta_i, population), (n_row, n_subject); -inf where it is undefined."""

    density: SubjectDensity

    def predictions(self, values: Values, eta: np.ndarray | None) -> np.ndarray:
        """Individual predictions, (n_row, n_obs); `values` (1 or n_row, 1), `eta` (n_row, subject, n_eta).

        Without random effects (None) one row for each row of `values`.
        """
        with np.errstate(all="ignore"):
            found = self.density.predictions(values, eta)
        if eta is None:
            return found
        return np.broadcast_to(found, (len(eta), self.density.study.design.n_obs))

    def each(self, prediction: np.ndarray, values: Values) -> np.ndarray:
        """Log density of each observation, (n_row, n_obs)."""
        study = self.density.study
        with np.errstate(all="ignore"):
            found = observation_logp(study, prediction, sigmas(study, values))
        return np.where(np.isnan(found), -np.inf, found)

    def of_predictions(self, prediction: np.ndarray, values: Values) -> np.ndarray:
        """Log density of each subject, (n_row, n_subject), from predictions."""
        return self.density.by_subject(self.each(prediction, values))

    def __call__(self, values: Values, eta: np.ndarray) -> np.ndarray:
        """Log density of each subject, (n_row, n_subject)."""
        return self.of_predictions(self.predictions(values, eta), values)
