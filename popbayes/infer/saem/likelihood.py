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

    def predictions(self, values: Values, eta: np.ndarray) -> np.ndarray:
        """Individual predictions, (n_row, n_obs); `values` (1 or n_row, 1), `eta` (n_row, subject, n_eta)."""
        with np.errstate(all="ignore"):
            found = self.density.predictions(values, eta)
        return np.broadcast_to(found, (len(eta), self.density.study.design.n_obs))

    def of_predictions(self, prediction: np.ndarray, values: Values) -> np.ndarray:
        """The same from predictions."""
        study = self.density.study
        with np.errstate(all="ignore"):
            each = observation_logp(study, prediction, sigmas(study, values))
            return self.density.by_subject(np.where(np.isnan(each), -np.inf, each))

    def __call__(self, values: Values, eta: np.ndarray) -> np.ndarray:
        """Log density of each subject, (n_row, n_subject)."""
        return self.of_predictions(self.predictions(values, eta), values)
