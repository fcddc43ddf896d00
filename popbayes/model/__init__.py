"""The population model: structural, parameter and observation layers as one frozen value."""

from popbayes.model.popmodel import PopModel
from popbayes.model.rows import Row

__all__ = ["PopModel", "Row"]
