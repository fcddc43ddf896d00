"""Priors of what follows from the parameters: the half-life, the highest concentration after a dose.

Each is a *potential*: the priors of the parameters are multiplied by its density at the typical values, and
not renormalised. With `instead_of` it replaces the prior of one parameter, by a change of variables.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

from popbayes.parameters.family import AbstractPrior, real_number
from popbayes.parameters.priors import Fixed, as_prior, prior_from_dict

__all__ = ["AbstractDerived", "Cmax", "HalfLife", "derived_from_dict", "on_cmax", "on_half_life"]


@dataclass(frozen=True)
class AbstractDerived:
    """A prior of a quantity that follows from the typical values.

    Attributes
    ----------
    prior : prior
        Of the quantity, in its own units; of positive values.
    """

    name: ClassVar[str]
    """Variable in graphs and DataTrees."""
    words: ClassVar[str]
    prior: AbstractPrior

    def __post_init__(self) -> None:
        where = f"prior.on_{self.name}"
        one = as_prior(self.prior, where)
        if isinstance(one, Fixed) or one.discrete or not one.proper or one.support[0] < 0:
            raise ValueError(
                f"{where} needs a proper, continuous prior of positive values, not {one.describe()}."
            )
        object.__setattr__(self, "prior", one)
        self.check()

    @property
    def replaced(self) -> str | None:
        """Parameter whose prior this one stands in for; None where it is a potential beside all of them."""
        return None

    @abstractmethod
    def check(self) -> None:
        """Check what a subclass adds."""

    @abstractmethod
    def text(self) -> str:
        """The prior as a line of the printed model."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """The prior as JSON values."""


@final
@dataclass(frozen=True)
class HalfLife(AbstractDerived):
    r"""Prior of the terminal half-life of a typical subject, see `on_half_life`."""

    name = "half_life"
    words = "terminal half-life"
    instead_of: str | None = None

    @property
    def replaced(self) -> str | None:
        """Parameter whose prior this one stands in for."""
        return self.instead_of

    def check(self) -> None:
        """Check the name of the parameter."""
        if self.instead_of is not None and not isinstance(self.instead_of, str):
            raise TypeError(f"instead_of must be the name of a parameter, not {self.instead_of!r}.")

    def text(self) -> str:
        """``half_life ~ LogNormal(...)``, and how it is meant."""
        how = (
            f"in place of the prior of {self.instead_of}_pop"
            if self.instead_of
            else "a potential: multiplies the priors"
        )
        return f"half_life ~ {self.prior.describe()}   ({how})"

    def to_dict(self) -> dict[str, Any]:
        """The prior as JSON values."""
        return {"kind": self.name, "prior": self.prior.to_dict(), "instead_of": self.instead_of}


@final
@dataclass(frozen=True)
class Cmax(AbstractDerived):
    """Prior of the highest prediction of a typical subject after one dose; see `on_cmax`."""

    name = "cmax"
    words = "highest prediction after a dose"
    dose: float
    until: float
    cmt: str = ""
    duration: float = 0.0

    def check(self) -> None:
        """Check dose and times."""
        for name in ("dose", "until", "duration"):
            value = real_number(getattr(self, name))
            if value is None or not 0 <= value < math.inf or (value == 0 and name != "duration"):
                raise ValueError(
                    f"prior.on_cmax: {name} must be a finite number > 0, not {getattr(self, name)!r}."
                )
            object.__setattr__(self, name, value)
        object.__setattr__(self, "cmt", str(self.cmt))

    def text(self) -> str:
        """``cmax of a dose of 100 ~ LogNormal(...)``, and how it is meant."""
        infused = f" over {self.duration:g}" if self.duration else ""
        into = f" into {self.cmt}" if self.cmt else ""
        return (
            f"cmax after a dose of {self.dose:g}{infused}{into}, up to {self.until:g} ~ "
            f"{self.prior.describe()}   (a potential: multiplies the priors)"
        )

    def to_dict(self) -> dict[str, Any]:
        """The prior as JSON values."""
        own = {"dose": self.dose, "until": self.until, "cmt": self.cmt, "duration": self.duration}
        return {"kind": self.name, "prior": self.prior.to_dict(), **own}


def on_half_life(half_life: AbstractPrior, *, instead_of: str | None = None) -> HalfLife:
    r"""State a prior on the terminal half-life of a typical subject.

    Goes into ``PopModel(derived=[...])``. The half-life is :math:`t_{1/2} = \log 2 / \lambda_z`, with
    :math:`\lambda_z` the smallest rate constant of the body (absorption left out).

    Parameters
    ----------
    half_life : prior
        In the unit of TIME.
    instead_of : str, optional
        Parameter (such as "V") whose own prior this one replaces, by a change of variables: the joint prior
        is :math:`p(t_{1/2})\,|\partial t_{1/2} / \partial V|` times the priors of the others, so that the
        half-life has exactly the distribution stated. The parameter's own prior then only says where chains
        start. Without it the prior is a *potential*: the priors of all parameters are multiplied by
        :math:`p(t_{1/2})`, and the half-life's own prior is the product of both kinds of knowledge.

    Examples
    --------
    >>> from popbayes import prior
    >>> print(prior.on_half_life(prior.LogNormal(8, 0.3), instead_of="V").text())
    half_life ~ LogNormal(median 8, sd 0.3)   (in place of the prior of V_pop)
    """
    return HalfLife(half_life, instead_of)


def on_cmax(
    dose: float, cmax: AbstractPrior, *, until: float, cmt: str | int = "", duration: float = 0.0
) -> Cmax:
    """State a prior on the highest prediction of a typical subject after one dose.

    Goes into ``PopModel(derived=[...])`` and is a *potential*: the priors of the parameters are multiplied by
    its density. The maximum is taken over 200 times from 0 to `until`, dense at both ends.

    Parameters
    ----------
    dose : float
        In the unit of AMT.
    cmax : prior
        In the unit of DV.
    until : float
        End of the times looked at; well after the highest concentration.
    cmt : str or int
        Compartment of the dose; the model's default where it is left out.
    duration : float
        Of an infusion; 0 for a dose at once.
    """
    return Cmax(cmax, dose, until, str(cmt), duration)


def derived_from_dict(values: Mapping[str, Any]) -> AbstractDerived:
    """Make the prior that `to_dict` described.

    Raises
    ------
    ValueError
        If the kind is unknown.
    """
    given = dict(values)
    kinds: dict[str, type[AbstractDerived]] = {"half_life": HalfLife, "cmax": Cmax}
    kind = given.pop("kind", "")
    if kind not in kinds:
        raise ValueError(f"There is no derived quantity {kind!r}; there are {', '.join(kinds)}.")
    return kinds[kind](**{**given, "prior": prior_from_dict(given["prior"])})
