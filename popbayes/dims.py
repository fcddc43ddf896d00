"""Names of dimensions, groups and variables in every graph and DataTree.

Everything that reads or writes a `pymc.Model` or a DataTree takes the names from here, so that a
name is spelled once.
"""

CHAIN = "chain"
DRAW = "draw"
SUBJECT = "subject"
OBS = "obs"
RECORD = "record"
SEGMENT = "segment"
ETA_OF = "eta_of"
ETA_OF2 = "eta_of_"

POSTERIOR = "posterior"
SAMPLE_STATS = "sample_stats"
LOG_LIKELIHOOD = "log_likelihood"
PRIOR_PREDICTIVE = "prior_predictive"
POSTERIOR_PREDICTIVE = "posterior_predictive"
PREDICTIONS = "predictions"
OBSERVED_DATA = "observed_data"
CONSTANT_DATA = "constant_data"
EVENTS = "events"

ESTIMATES = "estimates"
OBJECTIVE = "objective"
TRACE = "trace"

PARAMETER = "parameter"
PARAMETER2 = "parameter_"
APPROXIMATION = "approximation"
ITERATION = "iteration"

OMEGA = "omega"
GAMMA = "gamma"
CORR = "corr"
ETA = "eta"
DV = "dv"
IPRED = "ipred"
CLASS = "class"
CLASS_OF = "class_of"
CLASS_PROB = "class_prob"
STEP = "class_step"
STATE = "state"
STATE_PROB = "state_prob"
ETA_BASE = "eta_base"
PRED = "pred"


def pop(parameter: str) -> str:
    """Name of the population (typical) value of a parameter: ``CL`` -> ``CL_pop``."""
    return f"{parameter}_pop"


def beta(parameter: str, column: str) -> str:
    """Name of a covariate coefficient: ``CL, WT`` -> ``beta_CL_WT``."""
    return f"beta_{parameter}_{column}"


def level_dim(column: str) -> str:
    """Name of the dimension of a categorical covariate's non-reference levels."""
    return f"{column}_level"


def shape(parameter: str) -> str:
    """Name of the shape of a Box-Cox random effect: ``shape_CL``."""
    return f"shape_{parameter}"


def delta(parameter: str) -> str:
    """Name of the steps between the classes of a mixture: ``delta_CL``."""
    return f"delta_{parameter}"


def nu(parameters: tuple[str, ...]) -> str:
    """Name of the degrees of freedom of random effects with a Student-t distribution: ``nu_CL_V``."""
    return "nu_" + "_".join(parameters)


def weight(parameters: tuple[str, ...]) -> str:
    """Name of the weight of each subject in a Student-t distribution: ``weight_CL_V``; small is outlying."""
    return "weight_" + "_".join(parameters)
