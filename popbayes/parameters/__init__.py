"""Who differs and why: priors, covariates, parameters and random effects, as frozen values."""

from popbayes.parameters import covariates as covariate
from popbayes.parameters import prior as prior
from popbayes.parameters import variability as variability

__all__ = ["covariate", "prior", "variability"]
