"""Units of columns, of DV also by DVID."""

from collections.abc import Iterable, Mapping
from typing import Any

from popbayes.data.columns import unknown


def by_dvid(number: int) -> str:
    """The name under which the unit of one DVID is kept."""
    return f"DV {number}"


def flat_units(units: Mapping[str, Any], known: Iterable[str]) -> dict[str, str]:
    """Column or covariate -> unit, with one more name for each DVID that has a unit of its own.

    Raises
    ------
    TypeError, ValueError
        For a column or covariate that is none, and for units that are no text.
    """
    names, flat = list(known), dict[str, str]()
    for name, unit in units.items():
        if name not in names:
            raise unknown("column or covariate", name, names)
        if name == "DV" and isinstance(unit, Mapping):
            flat["DV"] = " or ".join(dict.fromkeys(_text(name, one) for one in unit.values()))
            flat |= {by_dvid(_number(number)): one for number, one in unit.items()}
        else:
            flat[name] = _text(name, unit)
    return flat


def _text(name: str, unit: Any) -> str:
    if not isinstance(unit, str):
        raise TypeError(
            f"The unit of {name} must be text, not {unit!r}."
            + (' Only DV may have several: {"DV": {1: "mg/L", 2: "%"}}.' if isinstance(unit, Mapping) else "")
        )
    return unit


def _number(number: Any) -> int:
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"Units of DV are given by DVID, which is a whole number, not {number!r}.")
    return number
