"""Random effects beyond the subject: occasions within it, sites and studies above it."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from popbayes.parameters.random_effects import AbstractVariability, lkj_shape
from popbayes.wording import listed

SUBJECT_COLUMN = "ID"


@dataclass(frozen=True, init=False)
class AbstractGrouped(AbstractVariability):
    """Random effects that records of one group share; a parameter may have them beside those of subjects."""

    lkj: Any = None

    def __init__(self, names: Sequence[str], sd: Any, lkj: Any, centred: bool | None):
        for name, value in (
            ("names", names),
            ("sd", sd),
            ("centred", centred),
            ("nu", None),
            ("lkj", lkj),
        ):
            object.__setattr__(self, name, value)
        self.__post_init__()

    def check(self) -> None:
        """Check the shape of the LKJ prior, where the effects are correlated."""
        if self.lkj is None:
            return
        if len(self.names) < 2:
            raise ValueError(f"lkj asks for correlated effects, but {listed(self.names)} is one parameter.")
        object.__setattr__(self, "lkj", lkj_shape(self.lkj))

    @property
    @abstractmethod
    def key(self) -> str:
        """Name of the dimension of the groups."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """Columns whose values together say which group a record is of; "ID" is the subject."""

    @property
    def correlated(self) -> tuple[str, ...]:
        """All of its parameters, where there is an LKJ prior."""
        return tuple(self.names) if self.lkj is not None else ()

    @property
    @abstractmethod
    def words(self) -> str:
        """What the groups are, in the plural."""

    @property
    @abstractmethod
    def index(self) -> str:
        """Subscript of the groups in equations."""


@final
@dataclass(frozen=True, init=False)
class Occasion(AbstractGrouped):
    r"""Random effects of occasions within subjects (inter-occasion variability).

    .. math:: P_{ik} = P_{pop}\, e^{\eta_i + \kappa_{ik}}, \qquad \kappa_{ik} \sim \mathrm{Normal}(0,
       \gamma^2)

    on the log scale, likewise on the others. Parameters change in mid-course: what is left of a drug of the
    last occasion is carried over.

    Parameters
    ----------
    names : sequence of str
        The parameters.
    by : str
        Column that numbers the occasions of a subject.
    sd : prior, number, or mapping of name to either
        Of each effect's standard deviation, :math:`\gamma`.
    lkj : float, optional
        Correlated effects, with this shape of the LKJ prior; independent without it.
    centred : bool, optional
        Sample the effects themselves (True) or standardised ones (False). Left out, `popbayes.fit` decides by
        the information in the data; `popbayes.build` takes standardised ones.

    References
    ----------
    Karlsson & Sheiner, *J. Pharmacokinet. Biopharm.* 21 (1993) 735-750.
    """

    by: str = "OCC"

    def __init__(
        self,
        names: Sequence[str],
        by: str = "OCC",
        sd: Any = None,
        lkj: Any = None,
        centred: bool | None = None,
    ):
        object.__setattr__(self, "by", by)
        super().__init__(names, sd, lkj, centred)

    @property
    def key(self) -> str:
        """Occasion."""
        return "occasion"

    @property
    def columns(self) -> tuple[str, ...]:
        """Subject and occasion."""
        return (SUBJECT_COLUMN, self.by)

    @property
    def words(self) -> str:
        """Occasions."""
        return "occasions"

    @property
    def index(self) -> str:
        """Subject and occasion."""
        return "ik"

    def to_dict(self) -> dict[str, Any]:
        """The random effects as JSON values."""
        return {**super().to_dict(), "by": self.by, "lkj": self.lkj}


@final
@dataclass(frozen=True, init=False)
class Level(AbstractGrouped):
    r"""Random effects of a higher level: sites, studies, batches.

    Levels may be crossed (a subject's records may be of several) or nested: labels that are the same in
    different studies are told apart with `within`.

    Parameters
    ----------
    column : str
        Covariate column with the label of the group.
    names : sequence of str
        The parameters.
    sd : prior, number, or mapping of name to either
        Of each effect's standard deviation.
    within : str, optional
        Column of a level above, in which the labels of this one are counted anew.
    lkj, centred
        As in `Occasion`.
    """

    column: str = ""
    within: str | None = None

    def __init__(
        self,
        column: str,
        names: Sequence[str],
        sd: Any = None,
        within: str | None = None,
        lkj: Any = None,
        centred: bool | None = None,
    ):
        if not isinstance(column, str) or not column or column == SUBJECT_COLUMN:
            raise ValueError(
                f"variability.Level needs the name of a covariate column first, not {column!r}. The "
                "random effects "
                "of subjects are variability.Independent or Correlated."
            )
        object.__setattr__(self, "column", column)
        object.__setattr__(self, "within", within)
        super().__init__(names, sd, lkj, centred)

    @property
    def key(self) -> str:
        """The column."""
        return self.column

    @property
    def columns(self) -> tuple[str, ...]:
        """The column, below that of the level above."""
        return (self.column,) if self.within is None else (self.within, self.column)

    @property
    def words(self) -> str:
        """The column's values."""
        return f"values of {self.column}"

    @property
    def index(self) -> str:
        """The column."""
        return self.column

    def to_dict(self) -> dict[str, Any]:
        """The random effects as JSON values."""
        return {**super().to_dict(), "column": self.column, "within": self.within, "lkj": self.lkj}
