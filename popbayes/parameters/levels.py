"""Covariate effects of categories: one coefficient for each level but the reference; genotypes."""

import math
from dataclasses import dataclass, replace
from typing import Any, Self, final

import numpy as np

from popbayes.parameters.effect import AbstractColumn, Columns, Values, level
from popbayes.wording import listed, nearest


@dataclass(frozen=True)
class AbstractLevels(AbstractColumn):
    """One multiplier for each level but the reference; see `Categorical` and `Diplotype`."""

    coefficient: Any = None
    others: Any = None

    def _check_reference(self) -> None:
        if self.ref is not None:
            object.__setattr__(self, "ref", self.label(self.ref))
        if self.others is None:
            return
        others = tuple(self.label(one) for one in self.others)
        if self.ref is None or self.ref in others or len(set(others)) < len(others) or not others:
            raise ValueError(
                f"others of covariate.{self.kind}({self.column!r}) must be levels that differ from each "
                f"other and from ref, which must be given; not {self.others!r} with ref {self.ref!r}."
            )
        object.__setattr__(self, "others", others)

    def label(self, value: Any) -> str:
        """The level that a value is of."""
        return level(value)

    @property
    def is_resolved(self) -> bool:
        """Whether the reference and the other levels are known."""
        return self.ref is not None and self.others is not None

    @property
    def levels(self) -> tuple[str, ...]:
        """Labels of the coefficients where there are several; empty where there is one."""
        return self.others if self.others is not None and len(self.others) > 1 else ()

    def resolved(self, first: np.ndarray) -> Self:
        """The same effect with its levels known; the reference is the most frequent where it was left out."""
        if self.is_resolved:
            return self
        names, counts = np.unique([self.label(one) for one in first], return_counts=True)
        found = sorted((str(name) for name in names), key=_numbers_first)
        ref = str(names[np.argmax(counts)]) if self.ref is None else self.ref
        if ref not in found:
            raise ValueError(
                f"No subject has the reference level {ref!r} of column {self.column}; its levels are "
                f"{listed(found)}.{nearest(ref, found)}"
            )
        others = tuple(name for name in found if name != ref)
        if not others:
            raise ValueError(
                f"Column {self.column} has the single level {ref!r}: covariate.{self.kind} has nothing to "
                "estimate. Leave it out."
            )
        return replace(self, ref=ref, others=others)

    def check(self, values: np.ndarray) -> None:
        """Refuse levels that the effect does not know."""
        if self.is_resolved:
            self._codes(values)

    def multiplier(self, values: np.ndarray, beta: Values, xp: Any) -> Values:
        """``exp(beta[level])``, 1 at the reference."""
        return xp.exp(self.log_multiplier(values, beta, xp))

    def log_multiplier(self, values: np.ndarray, beta: Values, xp: Any) -> Values:
        """``beta[level]``, 0 at the reference."""
        codes = self._codes(values)
        if not self.levels:
            return beta * (codes > 0).astype(np.float64)
        is_level = codes[..., None, :] == np.arange(1, len(self.others) + 1)[:, None]
        if codes.ndim > 1:
            return np.matmul(beta[..., None, :], is_level.astype(np.float64))[..., 0, :]
        return xp.matmul(beta, is_level.astype(np.float64))

    def term(self, columns: Columns) -> np.ndarray:
        """1 away from the reference, where there are two levels."""
        if self.levels:
            return super().term(columns)
        return (self._codes(columns[self.column]) > 0).astype(np.float64)

    def _codes(self, values: np.ndarray) -> np.ndarray:
        """0 for the reference, then the place among the other levels, (n,)."""
        known = (self.ref, *(self.others or ()))
        place = {name: code for code, name in enumerate(known)}
        found, inverse = np.unique(values, return_inverse=True)
        labels = [self.label(one) for one in found]
        for label in labels:
            if label not in place:
                raise ValueError(
                    f"Column {self.column} has the level {label!r}, which the model does not know; it knows "
                    f"{listed(known)}.{nearest(label, known)}"
                )
        return np.array([place[label] for label in labels], dtype=np.int64)[inverse].reshape(np.shape(values))

    def text(self, value: str, beta: str) -> str:
        """``exp(beta [SEX = 2])``."""
        if self.others is None or self.levels:
            ref = "the most frequent level" if self.ref is None else self.ref
            return f"exp({beta}[{value}; 0 for {ref}])"
        return f"exp({beta} [{value} = {self.others[0]}])"

    def latex(self, value: str, beta: str) -> str:
        """An exponential of the level's coefficient."""
        if self.others is None or self.levels:
            ref = r"\text{most frequent}" if self.ref is None else rf"\text{{{self.ref}}}"
            return rf"e^{{{beta}[{value}]}}\ (0 \text{{ at }} {ref})"
        return rf"e^{{{beta} \, [{value} = \text{{{self.others[0]}}}]}}"


@final
@dataclass(frozen=True)
class Categorical(AbstractLevels):
    r"""One multiplier for each level but the reference: :math:`e^{\beta_\text{level}}`.

    Attributes
    ----------
    ref : str, float or None
        The reference level; the most frequent one among subjects where it is left out.
    coefficient : prior or number
        Of each level's coefficient.
    others : tuple of str or None
        The levels beside the reference; taken from the data where they are left out.
    """


@final
@dataclass(frozen=True)
class Diplotype(AbstractLevels):
    r"""One multiplier for each diplotype but the reference; ``*2/*1`` and ``*1/*2`` are the same.

    The column holds text, two alleles with a slash between them. Arguments are those of `Categorical`.
    """

    def label(self, value: Any) -> str:
        """The diplotype with its alleles in order."""
        alleles = str(value).split("/")
        if len(alleles) != 2 or not all(one.strip() for one in alleles):
            raise ValueError(
                f"Column {self.column} has {value!r}, which is no diplotype: write two alleles with a slash "
                "between them, such as '*1/*2'."
            )
        return "/".join(sorted(one.strip() for one in alleles))


GENETIC_MODELS = ("additive", "dominant", "recessive")


@final
@dataclass(frozen=True)
class Genotype(AbstractColumn):
    r"""Effect of variant alleles: :math:`e^{\beta g}`, with `g` by the genetic model.

    additive: `g` is the number of variant alleles, 0, 1 or 2 (a multiplier for each); dominant: 1 with one
    or two of them; recessive: 1 with two. Multipliers by diplotype: `Diplotype`.

    Attributes
    ----------
    model : "additive", "dominant" or "recessive"
    variant : sequence of str, optional
        Variant alleles, where the column holds diplotypes as text (``"*1/*3"``); without it the column holds
        the number of variant alleles.
    """

    coefficient: Any = None
    model: str = "additive"
    variant: Any = None

    def _check_reference(self) -> None:
        if self.ref not in (None, 0):
            raise ValueError(f"covariate.Genotype({self.column!r}) has no ref: it is no variant allele.")
        object.__setattr__(self, "ref", 0)
        if self.model not in GENETIC_MODELS:
            raise ValueError(
                f"model of covariate.Genotype must be one of {listed(GENETIC_MODELS)}, not {self.model!r}."
                f"{nearest(self.model, GENETIC_MODELS)}"
            )
        if self.variant is not None:
            alleles = (self.variant,) if isinstance(self.variant, str) else tuple(self.variant)
            object.__setattr__(self, "variant", tuple(str(one) for one in alleles))

    def check(self, values: np.ndarray) -> None:
        """Refuse what is not a number of alleles, or no diplotype."""
        self.alleles(values)

    def alleles(self, values: np.ndarray) -> np.ndarray:
        """Number of variant alleles, (n,)."""
        if self.variant is None:
            counts = np.asarray(values)
            if not np.issubdtype(counts.dtype, np.number) or not np.all(np.isin(counts, (0, 1, 2))):
                raise ValueError(
                    f"covariate.Genotype needs 0, 1 or 2 variant alleles in column {self.column}, or "
                    "diplotypes as "
                    f"text with variant=['*2', ...]; it has {np.unique(counts)[:5].tolist()}."
                )
            return counts.astype(np.float64)
        found, inverse = np.unique(values, return_inverse=True)
        pairs = [[part.strip() for part in str(one).split("/")] for one in found]
        for one, pair in zip(found, pairs, strict=True):
            if len(pair) != 2 or not all(pair):
                raise ValueError(
                    f"Column {self.column} has {str(one)!r}, which is no diplotype such as '*1/*2'."
                )
        counts = np.array([sum(one in self.variant for one in pair) for pair in pairs], dtype=np.float64)
        return counts[inverse].reshape(np.shape(values))

    def score(self, values: np.ndarray) -> np.ndarray:
        """`g` of the equation, (n,)."""
        count = self.alleles(values)
        if self.model == "additive":
            return count
        return (count >= (1 if self.model == "dominant" else 2)).astype(np.float64)

    def term(self, columns: Columns) -> np.ndarray:
        """`g` of the equation."""
        return self.score(columns[self.column])

    def multiplier(self, values: np.ndarray, beta: Values, xp: Any) -> Values:
        """``exp(beta * g)``."""
        return xp.exp(self.log_multiplier(values, beta, xp))

    def log_multiplier(self, values: np.ndarray, beta: Values, xp: Any) -> Values:
        """``beta * g``."""
        return beta * self.score(values)

    def text(self, value: str, beta: str) -> str:
        """``exp(beta [CYP2C9 additive])``."""
        return f"exp({beta} [{value}, {self.model}])"

    def latex(self, value: str, beta: str) -> str:
        """An exponential."""
        return rf"e^{{{beta} \, [{value},\ \text{{{self.model}}}]}}"


def _numbers_first(label: str) -> tuple[float, str]:
    try:
        return float(label), label
    except ValueError:
        return math.inf, label
