"""One residual error for each value of a column: assay, study, site."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from popbayes.observation.law import AbstractLaw


@final
@dataclass(frozen=True)
class Stratified:
    """A residual error for each stratum; their arguments are told apart by the level's name.

    Parameters
    ----------
    column : str
        A covariate of the event table (number or text), or ``"DVID"`` or ``"OCC"``.
    laws : mapping of level to residual error
        Every level that occurs; numbers are compared as text, ``{"1": ..., "2": ...}``.

    Examples
    --------
    >>> from popbayes import prior, residual
    >>> assays = {"LCMS": residual.Proportional(prior.HalfNormal(0.2)), "ELISA": residual.Proportional(0.3)}
    >>> residual.Stratified("ASSAY", assays).column
    'ASSAY'
    """

    column: str
    laws: Mapping[Any, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.laws, Mapping) or not self.laws:
            raise TypeError(
                "residual.Stratified needs a residual error for each level of "
                f"{self.column}: {{'1': residual.Proportional(...), '2': ...}}, not {self.laws!r}."
            )
        for level, law in self.laws.items():
            if not isinstance(law, AbstractLaw):
                raise TypeError(f"The level {level} of {self.column} needs a residual error, not {law!r}.")
        object.__setattr__(self, "laws", {level_text(level): law for level, law in self.laws.items()})

    def to_dict(self) -> dict[str, Any]:
        """The strata as JSON values."""
        laws = {level: law.to_dict() for level, law in self.laws.items()}
        return {"kind": "Stratified", "column": self.column, "laws": laws}


def level_text(level: Any) -> str:
    """A level as text: whole numbers without a point."""
    return level if isinstance(level, str) else f"{level:g}"
