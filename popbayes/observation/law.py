"""What residual errors and other outcomes share: arguments that are priors, numbers or names."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from popbayes.observation.rows import Rows
from popbayes.parameters.family import AbstractPrior
from popbayes.parameters.priors import as_prior, prior_from_dict
from popbayes.parameters.variability import positive_prior

Sigma = Mapping[str, Any]
"""Arguments by their names in graphs and tables: scalars, (..., 1) or (..., n_obs)."""


@dataclass(frozen=True)
class AbstractLaw:
    """A distribution of observations given their predictions.

    Every argument is a prior, a known number, or the name of a parameter of the model (text). A name
    makes it an individual value, with the covariates and random effects of that parameter.
    """

    variables: ClassVar[dict[str, str]]
    """Names in graphs and tables of the arguments: ``{"add": "sigma_add"}``."""
    supports: ClassVar[dict[str, str]] = {}
    """What an argument may be where it is not positive: "real" or "fraction"."""
    symbols: ClassVar[dict[str, tuple[str, str]]] = {}
    """Name -> its symbol as text and in LaTeX, where it is not a sigma."""
    in_units: ClassVar[tuple[str, ...]] = ()
    """Names that have the units of the observations."""
    namespace: ClassVar[str] = "residual"
    uses_prediction: ClassVar[bool] = True
    discrete: ClassVar[bool] = False
    categorical: ClassVar[bool] = False
    """Whether percentiles say nothing of the observations."""
    needs_positive_dv: ClassVar[bool] = False
    needs_positive_prediction: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name in self.variables and not isinstance(value, str):
                if value is None and one.metadata.get("optional"):
                    continue
                object.__setattr__(self, one.name, self._argument(one.name, value))

    def _argument(self, name: str, value: Any) -> AbstractPrior:
        where = f"{name} of {self.namespace}.{self.kind}"
        support = self.supports.get(name, "positive")
        if support == "positive":
            is_sd = self.variables.get(name, "").startswith("sigma")
            return positive_prior(value, where) if is_sd else positive_prior(value, where, "")
        prior = as_prior(value, where)
        low, high = prior.support
        if support == "fraction" and (low < 0 or high > 1):
            raise ValueError(
                f"{where} lies between 0 and 1, but {prior.describe()} allows other values. Use a prior "
                "such as prior.Beta or prior.Uniform(0, 1)."
            )
        return prior

    @property
    def kind(self) -> str:
        """Name of the family: Additive, Poisson, ..."""
        return type(self).__name__

    @cached_property
    def given(self) -> dict[str, Any]:
        """Priors and names of parameters by the names in graphs and tables; what was left out is absent."""
        pairs = ((variable, getattr(self, name)) for name, variable in self.variables.items())
        return {variable: value for variable, value in pairs if value is not None}

    @property
    def sigmas(self) -> dict[str, AbstractPrior]:
        """Priors by their names in graphs and tables."""
        return {name: value for name, value in self.given.items() if not isinstance(value, str)}

    @property
    def parameters(self) -> tuple[str, ...]:
        """Parameters of the model that the distribution uses."""
        return tuple(dict.fromkeys(value for value in self.given.values() if isinstance(value, str)))

    def support(self, variable: str) -> tuple[float, float]:
        """Lowest and highest value of an argument by its name in graphs and tables."""
        name = next(name for name, one in self.variables.items() if one == variable)
        low, high = {"positive": (0.0, np.inf), "fraction": (0.0, 1.0)}.get(
            self.supports.get(name, "positive"), (-np.inf, np.inf)
        )
        return low, high

    def symbol(self, name: str) -> tuple[str, str]:
        """Symbol of an argument as text and in LaTeX."""
        return self.symbols.get(name) or (f"σ_{name[6:]}", rf"\sigma_\mathrm{{{name[6:]}}}")

    @abstractmethod
    def log_density(self, rows: Rows, prediction: Any, sigma: Sigma, xp: Any = np) -> Any:
        """Log density of each observation, what is known only between limits included, (..., n)."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, rows: Rows, prediction: np.ndarray, sigma: Sigma) -> np.ndarray:
        """Draw one observation for each prediction, without limits of quantification, (..., n)."""

    @abstractmethod
    def scores(self, rows: Rows, prediction: np.ndarray, sigma: Sigma) -> np.ndarray:
        """Weighted residuals, (..., n): nan where an observation has none."""

    @abstractmethod
    def text(self, prediction: str) -> str:
        """The distribution as text."""

    @abstractmethod
    def latex(self, prediction: str) -> str:
        """The distribution in LaTeX."""

    def plain(self, prediction: Any, sigma: Sigma, xp: Any) -> tuple[str, dict[str, Any]] | None:
        """PyMC family of a measured observation with its arguments; None where PyMC has none."""
        return None

    def complaint(self, rows: Rows) -> tuple[np.ndarray, str, str]:
        """Which observations the distribution cannot have made, what it needs, and what to do."""
        return np.zeros(len(rows.state), dtype=bool), "", ""

    def to_dict(self) -> dict[str, Any]:
        """The distribution as JSON values."""
        pairs = ((name, getattr(self, name)) for name in self.variables)
        found = {n: v if isinstance(v, str) else v.to_dict() for n, v in pairs if v is not None}
        return {"kind": self.kind, **found}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "AbstractLaw":
        """Make a distribution from what `to_dict` gave, its kind left out."""
        return cls(**cls.arguments(values))

    @staticmethod
    def arguments(values: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments from their JSON values."""
        return {n: v if isinstance(v, str) else prior_from_dict(v) for n, v in values.items()}
