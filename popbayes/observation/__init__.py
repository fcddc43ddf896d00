"""What the assay adds: residual error models, as frozen values."""
