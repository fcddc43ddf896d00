"""The names of data columns: NONMEM's words, their synonyms, and which column of a file is which.

Nothing here looks at values. `resolve` turns the header of a file into a `Naming`, or refuses it with
the names that exist and the nearest one.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

REQUIRED = ("ID", "TIME")
MAX_LISTED = 20
SYNONYMS: dict[str, tuple[str, ...]] = {
    "ID": ("#ID", "SUBJECT", "SUBJ", "SUBJECT_ID", "SUBJECTID", "USUBJID", "PATIENT"),
    "TIME": ("T", "TAFD", "HOUR", "HOURS"),
    "DV": ("CONC", "CONCENTRATION", "CP", "COBS", "OBSERVATION", "Y"),
    "AMT": ("DOSE", "AMOUNT"),
    "EVID": ("EVENT_ID",),
    "CMT": ("COMPARTMENT", "COMP"),
    "MDV": (),
    "RATE": ("INFUSION_RATE",),
    "DUR": ("TINF", "DURATION", "INFUSION_DURATION"),
    "ADDL": ("ADDITIONAL_DOSES",),
    "II": ("TAU", "INTERVAL", "INTERDOSE_INTERVAL"),
    "SS": ("STEADY_STATE",),
    "DVID": ("YTYPE", "OBSERVATION_ID"),
    "OCC": ("OCCASION",),
    "CENS": ("CENSORED", "CENSORING"),
    "LIMIT": (),
    "LLOQ": ("LOQ", "LLQ"),
    "BLQ": ("BQL", "BLOQ", "BLLOQ"),
}
"""Standard column -> other names under which it is found; case, spaces, dots and hyphens do not matter."""


@dataclass(frozen=True)
class Naming:
    """Which column of the user's table is which.

    Attributes
    ----------
    standard : mapping, standard name -> the user's column
    covariates : mapping, covariate -> the user's column
    unused : the user's columns that nothing reads
    """

    standard: dict[str, str]
    covariates: dict[str, str]
    unused: tuple[str, ...]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Sentence with the nearest known name, or an empty string where none is near."""
    upper = {str(k).upper(): str(k) for k in known}
    near = difflib.get_close_matches(str(name).upper(), list(upper), n=1, cutoff=0.6)
    return f" Did you mean {upper[near[0]]!r}?" if near else ""


def unknown(kind: str, name: str, known: Sequence[str]) -> ValueError:
    """Error for a name that is not among those known."""
    listed = ", ".join(map(str, known)) or "none"
    return ValueError(f"There is no {kind} {name!r}.{did_you_mean(name, known)} There are: {listed}.")


def resolve(
    header: Sequence[str],
    covariates: str | Iterable[str] = (),
    columns: Mapping[str, str | None] | None = None,
) -> Naming:
    """Say which column is which.

    A column goes, in this order, to what `columns` says, to a covariate of its name, to the standard column
    of its name, to the standard column it is a synonym of. An exact name is preferred to one that differs in
    case, and a standard name to a synonym.

    Parameters
    ----------
    header : the names of the user's columns
    covariates : the covariates to read, by column name or by the name that `columns` gives
    columns : the user's column -> standard name or covariate; None to leave a column unread

    Raises
    ------
    ValueError
        For a name that does not exist, is claimed twice, or a required column that is absent.
    """
    names = (covariates,) if isinstance(covariates, str) else tuple(covariates)
    mapped = _explicit(header, names, columns or {})
    dropped = {_find(user, header) for user, target in (columns or {}).items() if target is None}
    free = [c for c in header if c not in mapped.values() and c not in dropped]
    found: dict[str, str] = {}
    for name in names:
        if name in SYNONYMS:
            raise ValueError(
                f"{name!r} is a standard column and cannot be a covariate under that name. Copy it to "
                "another column and name that one."
            )
        found[name] = mapped.pop(name) if name in mapped else _covariate(name, free, header)
    free = [c for c in free if c not in found.values()]
    standard = dict(mapped)
    for name in SYNONYMS:
        column = None if name in standard else _standard(name, free)
        if column is not None:
            standard[name] = column
            free.remove(column)
    for name in REQUIRED:
        if name not in standard:
            raise _absent(name, free)
    standard = {name: standard[name] for name in SYNONYMS if name in standard}
    return Naming(standard, found, tuple(c for c in header if c in free or c in dropped))


def _plain(name: str) -> str:
    return re.sub(r"[\s.\-]+", "_", str(name).strip()).upper()


def _find(user: str, header: Sequence[str]) -> str:
    if user not in header:
        raise unknown("column", user, header)
    return user


def _explicit(
    header: Sequence[str], covariates: Sequence[str], columns: Mapping[str, str | None]
) -> dict[str, str]:
    """Target name -> the user's column, for the names that `columns` gives."""
    mapped: dict[str, str] = {}
    for user, target in columns.items():
        _find(user, header)
        if target is None:
            continue
        name = target if target in covariates else target.upper()
        if name not in SYNONYMS and name not in covariates:
            raise ValueError(
                f"columns maps {user!r} to {target!r}, which is neither a standard column nor a covariate."
                f"{did_you_mean(target, [*SYNONYMS, *covariates])} Standard columns: {', '.join(SYNONYMS)}."
            )
        if name in mapped:
            raise ValueError(f"columns maps both {mapped[name]!r} and {user!r} to {name}. Keep one of them.")
        mapped[name] = user
    return mapped


def _covariate(name: str, free: Sequence[str], header: Sequence[str]) -> str:
    if name in free:
        return name
    alike = [c for c in free if _plain(c) == _plain(name)]
    if len(alike) == 1:
        return alike[0]
    if alike:
        raise ValueError(
            f"Covariate {name!r} fits more than one column: {', '.join(alike)}. Write it exactly."
        )
    raise unknown("column for the covariate", name, header)


def _standard(name: str, free: Sequence[str]) -> str | None:
    if name in free:
        return name
    for wanted in ((name,), SYNONYMS[name]):
        alike = [c for c in free if _plain(c) in wanted]
        if len(alike) == 1:
            return alike[0]
        if alike:
            raise ValueError(
                f"More than one column could be {name}: {', '.join(alike)}. "
                f"Say which: columns={{{alike[0]!r}: {name!r}}}."
            )
    return None


def _absent(name: str, free: Sequence[str]) -> ValueError:
    near = did_you_mean(name, free)
    example = near.split("'")[1] if near else "my_column"
    listed = ", ".join([*free[:MAX_LISTED], "..."] if len(free) > MAX_LISTED else free)
    return ValueError(
        f"The table has no {name} column.{near} Name it, for example columns={{{example!r}: {name!r}}}. "
        f"Columns not yet used: {listed or 'none'}."
    )
