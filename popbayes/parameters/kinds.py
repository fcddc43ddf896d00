"""What a structural parameter is, by the name that the field gives it."""

import re

KINDS: dict[str, tuple[str, ...]] = {
    "clearance": ("CL", "Q", "Q2", "Q3", "Q4", "CLD", "CLR", "Vmax"),
    "volume": ("V", "V1", "V2", "V3", "V4", "VC", "VP", "VSS"),
    "rate": ("ka", "ke0", "kin", "kout", "k", "ke", "k10", "k12", "k21", "k13", "k31", "ktr", "kdeg"),
}
"""Parameters by what they are, as body size scales them: 0.75, 1 and -0.25."""


def kind_of(name: str) -> str:
    """What a parameter is by its name: clearance, volume, rate, or an empty string."""
    return next((kind for kind, names in KINDS.items() if name in names), "")


def never_negative(name: str) -> bool:
    """Whether a parameter of this name cannot be negative: clearances, volumes, rates, times, fractions."""
    return bool(kind_of(name)) or re.fullmatch(r"(Tlag|F|D|R|MTT|Km|EC50|IC50)\d*", name) is not None
