"""Covariates selected inside the posterior: many candidates, coefficients shrunk together."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self, final

import numpy as np

from popbayes.parameters.effect import AbstractCovariate, Coefficient, Columns, Values, latex_column, plain
from popbayes.parameters.family import real_number
from popbayes.wording import listed

__all__ = ["R2D2", "Horseshoe", "Select"]


def _positive(prior: Any, *names: str) -> None:
    for name in names:
        value = real_number(getattr(prior, name))
        if value is None or not 0 < value < math.inf:
            raise ValueError(
                f"prior.{type(prior).__name__}: {name} must be a finite number > 0, not "
                f"{getattr(prior, name)!r}."
            )
        object.__setattr__(prior, name, value)


@final
@dataclass(frozen=True)
class Horseshoe:
    r"""Regularised horseshoe: most coefficients near 0, a few as large as they like.

    For standardised coefficients (effect of one SD of the covariate on the log parameter)

    .. math::

        b_j = z_j\,\tau\,\tilde\lambda_j, \quad \tilde\lambda_j^2 = \frac{c^2 \lambda_j^2}{c^2 + \tau^2
        \lambda_j^2}, \quad z_j \sim \mathrm{N}(0, 1),\ \lambda_j \sim \mathrm{C}^+(0, 1),\ \tau \sim
        \mathrm{C}^+(0, \tau_0),\ c^2 \sim \mathrm{InvGamma}(\nu/2, \nu s^2/2)

    with :math:`\tau_0 = \frac{m}{D - m} \frac{\omega}{\sqrt{n}}` for `m` expected effects among `D`
    candidates in `n` subjects.

    Parameters
    ----------
    expected : float
        How many of the candidates are thought to have an effect.
    omega : float
        A guess of the SD between subjects that the candidates compete to explain; it sets :math:`\tau_0`.
    slab : float
        `s`: size of a large standardised effect on the log scale.
    slab_nu : float
        Its degrees of freedom.

    References
    ----------
    Piironen & Vehtari, *Electron. J. Stat.* 11 (2017) 5018-5051.
    """

    expected: float = 1.0
    omega: float = 0.3
    slab: float = 0.5
    slab_nu: float = 4.0

    def __post_init__(self) -> None:
        _positive(self, "expected", "omega", "slab", "slab_nu")

    def check(self, number: int) -> None:
        """Refuse more expected effects than there are candidates."""
        if self.expected >= number:
            raise ValueError(
                f"prior.Horseshoe expects {self.expected:g} effects among {number} candidates; with so "
                "many there is "
                "nothing to select. Give a smaller expected, or plain priors."
            )

    def global_scale(self, number: int, n_subject: int) -> float:
        r""":math:`\tau_0`."""
        return self.expected / (number - self.expected) * self.omega / math.sqrt(n_subject)

    def draw(self, rng: np.random.Generator, n: int, number: int, n_subject: int) -> np.ndarray:
        """Standardised coefficients from the prior, (n, number)."""
        tau = self.global_scale(number, n_subject) * np.abs(rng.standard_cauchy((n, 1)))
        local = tau * np.abs(rng.standard_cauchy((n, number)))
        slab = self.slab * np.sqrt(self.slab_nu / rng.chisquare(self.slab_nu, (n, 1)))
        return rng.standard_normal((n, number)) * slab * local / np.hypot(slab, local)

    def describe(self) -> str:
        """The prior in words."""
        return f"Horseshoe(expected {self.expected:g}, omega {self.omega:g}, slab {self.slab:g})"

    def to_dict(self) -> dict[str, Any]:
        """The prior as JSON values."""
        return {"selection": "Horseshoe", **{one.name: getattr(self, one.name) for one in fields(self)}}


@final
@dataclass(frozen=True)
class R2D2:
    r"""A prior on the share of variance that all candidates explain together, split among them.

    .. math::

        b_j = z_j\,\omega \sqrt{\frac{R^2}{1 - R^2}\,\phi_j}, \quad z_j \sim \mathrm{N}(0, 1),\
        R^2 \sim \mathrm{Beta}(\mu \nu, (1 - \mu)\nu),\ \phi \sim \mathrm{Dirichlet}(a)

    Parameters
    ----------
    mean : float
        Of :math:`R^2`: the share of the variance between subjects that covariates are thought to explain.
    nu : float
        How firmly: the sum of both shapes of the beta distribution.
    concentration : float
        `a`: below 1 few candidates take most of it.
    omega : float
        A guess of the SD between subjects that they leave unexplained.

    References
    ----------
    Zhang, Naughton, Bondell & Reich, *J. Am. Stat. Assoc.* 117 (2022) 862-874.
    """

    mean: float = 0.3
    nu: float = 4.0
    concentration: float = 0.5
    omega: float = 0.3

    def __post_init__(self) -> None:
        _positive(self, "mean", "nu", "concentration", "omega")
        if self.mean >= 1:
            raise ValueError(f"prior.R2D2: mean is a share of variance between 0 and 1, not {self.mean:g}.")

    def check(self, number: int) -> None:
        """Any number of candidates will do."""

    def draw(self, rng: np.random.Generator, n: int, number: int, n_subject: int) -> np.ndarray:
        """Standardised coefficients from the prior, (n, number)."""
        share = rng.beta(self.mean * self.nu, (1 - self.mean) * self.nu, (n, 1))
        parts = rng.dirichlet(np.full(number, self.concentration), n)
        return rng.standard_normal((n, number)) * self.omega * np.sqrt(share / (1 - share) * parts)

    def describe(self) -> str:
        """The prior in words."""
        return f"R2D2(mean {self.mean:g}, concentration {self.concentration:g}, omega {self.omega:g})"

    def to_dict(self) -> dict[str, Any]:
        """The prior as JSON values."""
        return {"selection": "R2D2", **{one.name: getattr(self, one.name) for one in fields(self)}}


@final
@dataclass(frozen=True)
class Shrunk:
    """What is said of the prior of a coefficient that is shrunk together with others."""

    together: Any
    proper = False

    def describe(self) -> str:
        """The joint prior in words."""
        return f"{self.together.describe()}, jointly"

    def latex(self) -> str:
        """The joint prior in LaTeX."""
        return rf"\mathrm{{{type(self.together).__name__}}}"


@final
@dataclass(frozen=True)
class Select(AbstractCovariate):
    r"""Candidates of which the posterior selects: effects whose coefficients are shrunk together.

    Each effect is one coefficient times a term on the log scale, such as
    ``Power("WT", ref=70, exponent=0)`` or `Categorical` of two levels. Coefficients are standardised by the
    SD of their terms over the subjects of the first data; in tables and draws they are those of the effects
    themselves (``beta_CL_WT``).

    Attributes
    ----------
    members : sequence of covariate effects
        Their own coefficients are not used, write 0 for them: the prior here is theirs.
    prior : Horseshoe or R2D2
    scales : tuple of float, optional
        SDs of the terms; taken from data where left out.
    n_subject : int, optional
        Subjects of those data.
    """

    members: Sequence[AbstractCovariate]
    prior: Any = None
    scales: Any = None
    n_subject: Any = None

    def __post_init__(self) -> None:
        members = tuple(self.members)
        if len(members) < 2 or not all(isinstance(one, AbstractCovariate) for one in members):
            raise TypeError(f"covariate.Select needs two or more covariate effects, not {self.members!r}.")
        if not isinstance(self.prior, Horseshoe | R2D2):
            raise TypeError(
                "covariate.Select needs prior=prior.Horseshoe(...) or prior=prior.R2D2(...), "
                f"not {self.prior!r}."
            )
        self.prior.check(len(members))
        for one in members:
            if any(part.labels for part in one.coefficients("")) or len(one.coefficients("")) != 1:
                one.term({})
        object.__setattr__(self, "members", members)
        if self.scales is not None:
            object.__setattr__(self, "scales", tuple(float(one) for one in self.scales))

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of all candidates."""
        return tuple(dict.fromkeys(name for one in self.members for name in one.columns))

    def coefficients(self, parameter: str) -> tuple[Coefficient, ...]:
        """One for each candidate, with their joint prior."""
        each = (one.coefficients(parameter)[0] for one in self.members)
        return tuple(replace(one, prior=Shrunk(self.prior), joint=True) for one in each)

    @property
    def is_resolved(self) -> bool:
        """Whether references and scales are known."""
        return self.scales is not None and all(one.is_resolved for one in self.members)

    def resolved_from(self, first: Columns) -> Self:
        """The same with references and scales known.

        Raises
        ------
        ValueError
            If a candidate is the same for all subjects.
        """
        members = tuple(one.resolved_from(first) for one in self.members)
        if self.scales is not None:
            return replace(self, members=members)
        scales = [float(np.std(one.term(first))) for one in members]
        same = [one.columns[0] for one, scale in zip(members, scales, strict=True) if not scale > 0]
        if same:
            raise ValueError(
                f"covariate.Select: {listed(same)} is the same for all subjects, and can explain nothing. "
                "Leave it out."
            )
        return replace(self, members=members, scales=tuple(scales), n_subject=len(next(iter(first.values()))))

    def check_columns(self, columns: Columns) -> None:
        """Refuse what a candidate refuses."""
        for one in self.members:
            one.check_columns(columns)

    def log_factor(self, columns: Columns, values: Mapping[str, Values], parameter: str, xp: Any) -> Values:
        """Sum over candidates of coefficient times term."""
        total: Values = 0.0
        for one in self.members:
            total = total + values[one.coefficients(parameter)[0].name] * one.term(columns)
        return total

    def written(self, parameter: str) -> str:
        """Product of the candidates' factors."""
        return f"exp(Σ β_{parameter},k t_k,i), k among {listed(one.columns[0] for one in self.members)}"

    def written_latex(self, parameter: str) -> str:
        """Product of the candidates' factors."""
        names = r",\ ".join(latex_column(one.columns[0]) for one in self.members)
        return rf"e^{{\sum_k \beta_{{{parameter},k}} t_{{k,i}}}}\ (k \in \{{{names}\}})"

    def to_dict(self) -> dict[str, Any]:
        """The effect as JSON values."""
        scales = None if self.scales is None else list(self.scales)
        return {
            "kind": self.kind,
            "members": [one.to_dict() for one in self.members],
            "prior": plain(self.prior.to_dict()),
            "scales": scales,
            "n_subject": self.n_subject,
        }


def selection_from_dict(values: Mapping[str, Any]) -> Horseshoe | R2D2:
    """Make the joint prior that `to_dict` described."""
    given = dict(values)
    return Horseshoe(**given) if given.pop("selection") == "Horseshoe" else R2D2(**given)
