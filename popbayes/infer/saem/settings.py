"""The settings of SAEM: how long to look, and with how many chains."""

from dataclasses import dataclass

from popbayes.infer.estimation.method import AbstractMethod


@dataclass(frozen=True)
class AbstractSaem(AbstractMethod):
    """The settings of `Saem`, checked; see there."""

    chains: int | None = None
    exploratory: int = 300
    smoothing: int = 1200
    tolerance: float = 0.1
    draws: int = 400
    importance: int = 2000

    def __post_init__(self) -> None:
        for name, least in (("exploratory", 50), ("smoothing", 50), ("draws", 50), ("importance", 100)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"Saem: {name} must be a whole number of at least {least}, not {value!r}.")
        if self.chains is not None and (
            isinstance(self.chains, bool) or not isinstance(self.chains, int) or self.chains < 1
        ):
            raise ValueError(f"Saem: chains must be a whole number of at least 1, not {self.chains!r}.")
        if not 0 < self.tolerance < 1:
            raise ValueError(f"Saem: tolerance must be between 0 and 1, not {self.tolerance!r}.")
