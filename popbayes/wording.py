"""Sentences about names that do not fit: the names that exist, and the nearest one."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: object, known: Iterable[object]) -> str:
    """``" Did you mean 'CL'?"`` where a known name is close, else an empty string."""
    names = [str(one) for one in known]
    folded = {one.casefold(): one for one in reversed(names)}
    close = get_close_matches(str(name).casefold(), folded, n=1, cutoff=0.5)
    return f" Did you mean {folded[close[0]]!r}?" if close else ""


def listed(known: Iterable[object]) -> str:
    """``"ka, CL, V"``, or ``"none"``."""
    return ", ".join(str(one) for one in known) or "none"
