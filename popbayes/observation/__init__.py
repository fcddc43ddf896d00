"""What the assay adds: residual errors, other outcomes, methods for what lies beyond a limit."""

from popbayes.observation import censoring as censoring
from popbayes.observation import outcome as outcome
from popbayes.observation import residual as residual

__all__ = ["censoring", "outcome", "residual"]
