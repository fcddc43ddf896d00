"""Subpopulations: subjects are of one of a few classes, which is not observed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

from popbayes.parameters.effect import AbstractCovariate, Values
from popbayes.parameters.family import AbstractPrior
from popbayes.parameters.odds import Odds, by_class, concentrations
from popbayes.parameters.priors import Fixed, as_prior
from popbayes.parameters.random_effects import by_parameter

CLASS = "class"


@final
@dataclass(frozen=True)
class Mixture:
    r"""A finite mixture of subpopulations, which differ in the typical values of some parameters.

    With :math:`\mu` the typical value on the scale where the random effect is added (the logarithm, on the
    log scale), subject `i` of class :math:`k_i` has

    .. math:: \phi_i = \mu + \Delta_{k_i} + \eta_i, \qquad P(k_i = k) = p_k, \qquad \Delta_1 = 0.

    For the first of `names` :math:`\Delta_k = \delta_2 + \dots + \delta_k` with positive steps, so that its
    typical values rise with the class and labels cannot be exchanged; for the others
    :math:`\Delta_k = \delta_k`. The class is summed out of the likelihood.

    Attributes
    ----------
    names : sequence of str
        Parameters whose typical values differ; the first one orders the classes.
    shift : prior, number, or mapping of name to either
        Of :math:`\delta`; positive for the first parameter. ``delta_CL`` in tables: 0.7 on the log scale is a
        factor 2.
    classes : int
        2 or more.
    concentration : float or sequence
        Of the Dirichlet prior of the probabilities; ``(95, 5)`` says that about 5 % are of class 2.
    covariates : sequence of covariate effects
        On the odds of each class against the first.
    centred : bool, optional
        How the random effects of `names` are sampled. Left out or True: individual values :math:`\phi_i`,
        one prediction for all classes; it needs normal random effects on all of `names`. False: random
        effects that all classes share, and a prediction for each class.

    References
    ----------
    Frame, Miller & Lalonde, *J. Pharmacokinet. Pharmacodyn.* 30 (2003) 167-183.
    """

    kind: ClassVar[str] = "Mixture"
    names: Sequence[str]
    shift: Any = None
    classes: int = 2
    concentration: Any = 1.0
    covariates: Sequence[AbstractCovariate] = field(default=())
    centred: bool | None = None

    def __post_init__(self) -> None:
        names = (self.names,) if isinstance(self.names, str) else tuple(self.names)
        if not names or len(set(names)) < len(names) or not all(isinstance(one, str) for one in names):
            raise ValueError(f"variability.Mixture needs names of different parameters, not {self.names!r}.")
        number = self.classes
        if not isinstance(number, int) or isinstance(number, bool) or number < 2:
            raise ValueError(f"classes of variability.Mixture must be a whole number >= 2, not {number!r}.")
        each = (self.covariates,) if isinstance(self.covariates, AbstractCovariate) else self.covariates
        if not all(isinstance(one, AbstractCovariate) for one in each):
            raise TypeError(f"covariates of variability.Mixture must be covariate effects, not {each!r}.")
        made = concentrations(self.concentration, number, "variability.Mixture")
        for name, value in (("names", names), ("covariates", tuple(each)), ("concentration", made)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "shift", self._shifts(names))

    def _shifts(self, names: tuple[str, ...]) -> dict[str, AbstractPrior]:
        each = by_parameter(self.shift, names, "shift of variability.Mixture")
        priors = {name: as_prior(each[name], f"shift of {name} in variability.Mixture") for name in names}
        first = priors[names[0]]
        if first.support[0] < 0 or (isinstance(first, Fixed) and first.value <= 0):
            raise ValueError(
                f"shift of {names[0]} orders the classes and must be positive, but {first.describe()} allows "
                "other values. Use prior.HalfNormal or prior.LogNormal; a parameter whose typical value "
                "falls goes second."
            )
        return priors

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes: "1", "2", ..."""
        return tuple(str(k + 1) for k in range(self.classes))

    @property
    def odds(self) -> Odds:
        """Probabilities of the classes."""
        return Odds(CLASS, self.labels, tuple(self.concentration), tuple(self.covariates))

    def added(self, name: str, steps: Values, codes: Any, xp: Any) -> Values:
        """What the class adds to the location of a parameter, (..., n); see `by_class`."""
        return by_class(steps, codes, self.classes, name == self.names[0], xp)

    def to_dict(self) -> dict[str, Any]:
        """The mixture as JSON values."""
        return {
            "kind": self.kind,
            "names": list(self.names),
            "shift": {name: prior.to_dict() for name, prior in self.shift.items()},
            "classes": self.classes,
            "concentration": list(self.concentration),
            "covariates": [one.to_dict() for one in self.covariates],
            "centred": self.centred,
        }
