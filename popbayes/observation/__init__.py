"""What the assay adds: residual errors and methods for what lies beyond a limit, as frozen values."""

from popbayes.observation import censoring as censoring
from popbayes.observation import residual as residual

__all__ = ["censoring", "residual"]
