"""Random effects of subjects: which parameters differ, how much, whether together, and with what tails."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

import numpy as np

from popbayes.parameters.family import AbstractPrior, real_number
from popbayes.parameters.priors import Fixed as Known
from popbayes.parameters.priors import as_prior
from popbayes.parameters.spread import InverseWishart
from popbayes.wording import listed, nearest


def by_parameter(given: Any, names: Sequence[str], what: str) -> Mapping[str, Any]:
    """One value for each parameter, from a mapping that has them all, or from one value for all.

    Raises
    ------
    ValueError
        With the parameter that is not among `names`, or those that the mapping leaves out.
    """
    each = given if isinstance(given, Mapping) else dict.fromkeys(names, given)
    for name in each:
        if name not in names:
            raise ValueError(
                f"{what} has {name!r}, which is not among its parameters {listed(names)}."
                f"{nearest(name, names)}"
            )
    missing = [name for name in names if name not in each]
    if missing:
        raise ValueError(f"{what} has no prior for {listed(missing)}.")
    return each


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
    nu : prior or number, optional
        Degrees of freedom, above 2, of a multivariate Student-t distribution in place of the normal: a few
        outlying subjects do not blow up :math:`\omega`, which is then the scale. Correlated ones are always
        non-centred.
    """

    least: ClassVar[int] = 1
    names: Sequence[str]
    sd: Any = None
    centred: bool | None = None
    nu: Any = None

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
        self._check_tails()
        self.check()

    def _check_tails(self) -> None:
        if self.nu is None:
            return
        nu = as_prior(self.nu, f"nu of variability.{self.kind}")
        if nu.support[0] < 0 or nu.discrete or (isinstance(nu, Known) and nu.value <= 0):
            raise ValueError(
                f"nu of variability.{self.kind} is positive, but {nu.describe()} allows other values. Use "
                "a number "
                "such as 4, or prior.Gamma(alpha=2, beta=0.1)."
            )
        object.__setattr__(self, "nu", nu)
        if self.correlated and self.centred:
            raise ValueError(
                f"variability.{self.kind} with nu (Student-t) is sampled non-centred; leave centred out."
            )
        if self.correlated:
            object.__setattr__(self, "centred", False)

    def _priors(self, names: tuple[str, ...]) -> dict[str, AbstractPrior]:
        """The prior of each effect's SD, checked."""
        each = by_parameter(self.sd, names, f"sd of variability.{self.kind}")
        return {name: positive_prior(each[name], f"sd of the random effect of {name}") for name in names}

    def check(self) -> None:
        """Check what a subclass adds."""

    def sampled(self, centred: bool) -> Self:
        """The same random effects, said to be sampled centred or not."""
        made = copy(self)
        object.__setattr__(made, "centred", centred)
        return made

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
            **({} if self.nu is None else {"nu": self.nu.to_dict()}),
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
        object.__setattr__(self, "lkj", lkj_shape(self.lkj))

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


@final
@dataclass(frozen=True)
class Block(AbstractVariability):
    r"""Random effects of which some are correlated and the others are not.

    Attributes
    ----------
    correlated_names : sequence of str
        Two or more of `names`, with an LKJ prior of their correlations; the others are independent.
    lkj : float
        As in `Correlated`.
    """

    least = 2
    correlated_names: Sequence[str] = ()
    lkj: float = 2.0
    covariance: ClassVar[None] = None

    def check(self) -> None:
        """Check the correlated names and the shape of the LKJ prior."""
        some = tuple(self.correlated_names)
        for name in some:
            if name not in self.names:
                raise ValueError(
                    f"correlated_names of variability.Block has {name!r}, which is not among its parameters "
                    f"{listed(self.names)}.{nearest(name, self.names)}"
                )
        if len(some) < 2 or len(set(some)) < len(some):
            raise ValueError(f"correlated_names must be two or more different parameters, not {some!r}.")
        object.__setattr__(self, "correlated_names", some)
        object.__setattr__(self, "lkj", lkj_shape(self.lkj))

    @property
    def correlated(self) -> tuple[str, ...]:
        """Those that are named."""
        return tuple(self.correlated_names)

    def to_dict(self) -> dict[str, Any]:
        """The random effects as JSON values."""
        return {**super().to_dict(), "correlated_names": list(self.correlated_names), "lkj": self.lkj}


@final
@dataclass(frozen=True, init=False)
class Fixed(AbstractVariability):
    r"""Random effects whose SDs, and correlations, are known: the population of a published model.

    Parameters
    ----------
    sd : mapping of parameter to number
        Standard deviations (of a published variance, its square root).
    corr : mapping of pair to number, optional
        ``{("CL", "V"): 0.6}``; pairs left out are not correlated.
    centred : bool, optional
        As in the others.
    """

    corr: Any = None

    def __init__(self, sd: Mapping[str, float], corr: Any = None, centred: bool | None = None):
        if not isinstance(sd, Mapping) or not sd:
            raise TypeError(f"variability.Fixed needs a mapping of parameter to SD, not {sd!r}.")
        for name, value in (("names", tuple(sd)), ("sd", sd), ("centred", centred), ("nu", None)):
            object.__setattr__(self, name, value)
        object.__setattr__(
            self, "corr", {tuple(pair): float(value) for pair, value in dict(corr or {}).items()}
        )
        self.__post_init__()

    def check(self) -> None:
        """Check that all is known, and that the correlations are those of a matrix."""
        for name, one in self.sd.items():
            if not isinstance(one, Known):
                raise ValueError(f"variability.Fixed needs a number for {name}, not {one.describe()}.")
        for pair in self.corr:
            if len(pair) != 2 or pair[0] == pair[1] or not set(pair) <= set(self.names):
                raise ValueError(f"corr of variability.Fixed has {pair!r}, no pair of {listed(self.names)}.")
        if np.linalg.eigvalsh(self.matrix(tuple(self.names)))[0] <= 0:
            raise ValueError(f"corr of variability.Fixed is no correlation matrix of {listed(self.names)}.")

    def matrix(self, names: Sequence[str]) -> np.ndarray:
        """Correlation matrix of some of its parameters, in this order."""
        made = np.eye(len(names))
        for (one, other), value in self.corr.items():
            i, j = names.index(one), names.index(other)
            made[i, j] = made[j, i] = value
        return made

    @property
    def correlated(self) -> tuple[str, ...]:
        """None whose correlations are estimated."""
        return ()

    def to_dict(self) -> dict[str, Any]:
        """The random effects as JSON values."""
        return {
            "kind": self.kind,
            "sd": {name: one.value for name, one in self.sd.items()},
            "corr": [[*pair, value] for pair, value in self.corr.items()],
            "centred": self.centred,
        }


def lkj_shape(value: Any) -> float:
    """The shape of an LKJ prior, checked."""
    number = real_number(value)
    if number is None or not 0 < number < float("inf"):
        raise ValueError(f"lkj must be a finite number > 0, not {value!r}.")
    return number


def positive_prior(value: Any, where: str, what: str = "is a standard deviation and ") -> AbstractPrior:
    """A prior of a standard deviation, or of `what` else must be positive.

    Raises
    ------
    TypeError, ValueError
        If it is no prior, or allows negative values.
    """
    prior = as_prior(value, where)
    low, _ = prior.support
    if low < 0 or (isinstance(prior, Known) and low <= 0):
        raise ValueError(
            f"{where} {what}must be positive, but {prior.describe()} allows other values. "
            "Use a positive prior such as prior.HalfNormal(0.5)."
        )
    if prior.discrete:
        raise ValueError(
            f"{where} {what}need not be a whole number; {prior.describe()} allows whole numbers only."
        )
    return prior
