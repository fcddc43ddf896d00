"""What the assay adds: residual error models, as frozen values."""

from popbayes.observation import residual as residual

__all__ = ["residual"]
