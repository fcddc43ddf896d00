"""`build(model, data)`: a population model and its data as a `pymc.Model`; nothing else opens a graph."""

from popbayes.building.graph import build
from popbayes.building.observations import check_observations
from popbayes.building.starts import design_for, initial_values

__all__ = ["build", "check_observations", "design_for", "initial_values"]
