"""`variability`: which parameters differ between subjects, how much, and whether together."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

from popbayes.parameters.family import AbstractPrior, real_number
from popbayes.parameters.naming import listed, nearest
from popbayes.parameters.priors import Fixed, as_prior, prior_from_dict
from popbayes.parameters.spread import InverseWishart

__all__ = ["AbstractVariability", "Correlated", "Independent", "variability_from_dict"]


@dataclass(frozen=True)
class AbstractVariability:
    r"""Random effects of some parameters, normal with mean 0 on each parameter's own scale.

    Attributes
    ----------
    names : sequence of str
        The parameters.
    sd : prior, number, or mapping of name to either
        Of each effect's standard deviation :math:`\omega`; a number is known and not estimated.
    centred : bool, optional
        True: sample the individual parameter itself (:math:`\phi_i = \mu_i + \eta_i`); False: the
        standardised effect. The posterior is the same; centred moves better with informative
        data on each subject, non-centred with sparse data. Left out, `popbayes.fit` decides for each
        subject from its data.
    """

    least: ClassVar[int] = 1
    names: Sequence[str]
    sd: Any = None
    centred: bool | None = None

    def __post_init__(self) -> None:
        names = (self.names,) if isinstance(self.names, str) else tuple(self.names)
        if len(names) < self.least or not all(isinstance(one, str) for one in names):
            raise ValueError(
                f"variability.{self.kind} needs the names of {self.least} or more parameters, "
                f"not {self.names!r}."
            )
        if len(set(names)) < len(names):
            raise ValueError(f"variability.{self.kind} names a parameter more than once: {listed(names)}.")
        if self.centred is not None and not isinstance(self.centred, bool):
            raise TypeError(
                f"centred must be True, False or None (popbayes.fit decides), not {self.centred!r}."
            )
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "sd", self._priors(names))
        self.check()

    def _priors(self, names: tuple[str, ...]) -> dict[str, AbstractPrior]:
        """The prior of each effect's SD, checked."""
        each = self.sd if isinstance(self.sd, Mapping) else dict.fromkeys(names, self.sd)
        for name in each:
            if name not in names:
                raise ValueError(
                    f"sd of variability.{self.kind} has {name!r}, which is not among its parameters "
                    f"{listed(names)}.{nearest(name, names)}"
                )
        missing = [name for name in names if name not in each]
        if missing:
            raise ValueError(f"sd of variability.{self.kind} has no prior for {listed(missing)}.")
        return {name: positive_prior(each[name], f"sd of the random effect of {name}") for name in names}

    def check(self) -> None:
        """Check what a subclass adds."""

    @property
    def kind(self) -> str:
        """Independent or Correlated."""
        return type(self).__name__

    @property
    @abstractmethod
    def correlated(self) -> tuple[str, ...]:
        """The parameters whose effects are correlated; empty where none are."""

    def to_dict(self) -> dict[str, Any]:
        """The random effects as JSON values."""
        return {
            "kind": self.kind,
            "names": list(self.names),
            "sd": {name: prior.to_dict() for name, prior in self.sd.items()},
            "centred": self.centred,
        }


@final
@dataclass(frozen=True)
class Independent(AbstractVariability):
    r"""Random effects that are independent: :math:`\eta_{ip} \sim \mathrm{Normal}(0, \omega_p^2)`."""

    @property
    def correlated(self) -> tuple[str, ...]:
        """None."""
        return ()


@final
@dataclass(frozen=True)
class Correlated(AbstractVariability):
    r"""Random effects that are correlated, the correlations with an LKJ prior.

    .. math:: \eta_i \sim \mathrm{Normal}(0, \mathrm{diag}(\omega)\, R\, \mathrm{diag}(\omega)),
              \qquad p(R) \propto |R|^{\text{lkj} - 1}

    Attributes
    ----------
    lkj : float
        1 is uniform over correlation matrices; larger is closer to no correlation.
    covariance : prior.InverseWishart, optional
        In place of `sd` and `lkj`: an inverse-Wishart prior of the covariance matrix, in the order of
        `names`.

    References
    ----------
    Lewandowski, Kurowicka & Joe, J. Multivariate Anal. 100 (2009) 1989-2001.
    """

    least = 2
    lkj: float = 2.0
    covariance: InverseWishart | None = None

    def _priors(self, names: tuple[str, ...]) -> dict[str, AbstractPrior]:
        if self.covariance is None:
            return super()._priors(names)
        if not isinstance(self.covariance, InverseWishart):
            raise TypeError(f"covariance must be prior.InverseWishart(nu, omega), not {self.covariance!r}.")
        if self.covariance.size != len(names):
            raise ValueError(
                f"covariance is a prior of {self.covariance.size} random effects, but variability.Correlated "
                f"names {len(names)}: {listed(names)}."
            )
        marginals = {name: self.covariance.marginal(k) for k, name in enumerate(names)}
        if self.sd not in (None, marginals):
            raise ValueError("variability.Correlated takes sd (with lkj) or covariance, not both.")
        return marginals

    def check(self) -> None:
        """Check the shape of the LKJ prior."""
        number = real_number(self.lkj)
        if number is None or not 0 < number < float("inf"):
            raise ValueError(f"lkj must be a finite number > 0, not {self.lkj!r}.")
        object.__setattr__(self, "lkj", number)

    @property
    def correlated(self) -> tuple[str, ...]:
        """All of its parameters."""
        return tuple(self.names)

    def to_dict(self) -> dict[str, Any]:
        """The random effects as JSON values."""
        if self.covariance is None:
            return {**super().to_dict(), "lkj": self.lkj}
        given = {name: one for name, one in super().to_dict().items() if name != "sd"}
        return {**given, "covariance": self.covariance.to_dict()}


def positive_prior(value: Any, where: str) -> AbstractPrior:
    """A prior of a standard deviation: one that allows positive values only.

    Raises
    ------
    TypeError, ValueError
        If it is no prior, or allows negative values.
    """
    prior = as_prior(value, where)
    low, _ = prior.support
    if low < 0 or (isinstance(prior, Fixed) and low <= 0):
        raise ValueError(
            f"{where} is a standard deviation and must be positive, but {prior.describe()} allows other "
            "values. Use a positive prior such as prior.HalfNormal(0.5)."
        )
    if prior.discrete:
        raise ValueError(f"{where} is a standard deviation; {prior.describe()} allows whole numbers only.")
    return prior


def variability_from_dict(values: Mapping[str, Any]) -> AbstractVariability:
    """Make random effects from what `to_dict` gave.

    Raises
    ------
    ValueError
        If the kind is unknown.
    """
    given = dict(values)
    known = {kind.__name__: kind for kind in (Independent, Correlated)}
    kind = given.pop("kind", None)
    if kind not in known:
        raise ValueError(
            f"There is no variability {kind!r}; there are {listed(known)}.{nearest(kind, known)}"
        )
    if given.get("covariance") is not None:
        given["covariance"] = InverseWishart.from_dict(given["covariance"])
    else:
        given["sd"] = {name: prior_from_dict(one) for name, one in given["sd"].items()}
    return known[kind](**given)
