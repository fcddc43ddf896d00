r"""The random effects of a subject as one vector: its own, and those of its occasions.

.. math:: b_i = (\eta_i, \kappa_{i1}, \dots, \kappa_{iK}) \sim \mathrm{Normal}\big(0,
          \mathrm{diag}(\Omega, \Gamma, \dots, \Gamma)\big)

`K` is the largest number of occasions of any subject. Subjects with fewer have effects that act on nothing:
their density is that of the population, so that they integrate to 1 and add nothing to a likelihood, by
any of the approximations. Everything that integrates over random effects takes this vector.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from popbayes import dims
from popbayes.data.design import Design
from popbayes.model import PopModel
from popbayes.model.levels import Grouping
from popbayes.parameters.priors import Fixed


@dataclass(frozen=True, eq=False)
class Effects:
    """Where each random effect of a subject stands in its vector.

    *Basic* effects are those of subjects and of one occasion: their covariance is what is estimated, and
    the covariance of the vector repeats it.

    Attributes
    ----------
    names : tuple of str
        Parameters with random effects of subjects.
    occasion : Grouping or None
        The random effects of occasions.
    group : (n_subject, K) int
        Number of each occasion among all, -1 where the subject has no such.
    n_group : int
        Occasions in all.
    """

    names: tuple[str, ...]
    occasion: Grouping | None
    group: np.ndarray
    n_group: int

    @classmethod
    def of(cls, model: PopModel, design: Design) -> "Effects":
        """Of a model on a design; its levels above the subject have been refused."""
        nothing = np.zeros((design.n_subject, 0), dtype=np.int64)
        if not model.groupings:
            return cls(model.eta_names, None, nothing, 0)
        (one,) = model.groupings
        groups = design.groups[one.key]
        number, first = np.unique(groups.of_segment, return_index=True)
        owner = design.segment_subject[first]
        most = int(np.bincount(owner, minlength=design.n_subject).max())
        place = np.full((design.n_subject, most), -1, dtype=np.int64)
        for subject in range(design.n_subject):
            own = number[owner == subject]
            place[subject, : len(own)] = own
        return cls(model.eta_names, one, place, groups.size)

    @property
    def n_eta(self) -> int:
        """Random effects of the subject itself."""
        return len(self.names)

    @property
    def n_kappa(self) -> int:
        """Random effects of one occasion."""
        return 0 if self.occasion is None else len(self.occasion.names)

    @property
    def n_basic(self) -> int:
        """Random effects whose covariance is estimated."""
        return self.n_eta + self.n_kappa

    @property
    def size(self) -> int:
        """Length of the vector."""
        return self.n_eta + self.group.shape[1] * self.n_kappa

    @cached_property
    def basic(self) -> np.ndarray:
        """Which of the basic effects each one is, (size,)."""
        occasions = np.tile(self.n_eta + np.arange(self.n_kappa), self.group.shape[1])
        return np.concatenate([np.arange(self.n_eta), occasions]).astype(np.int64)

    @cached_property
    def _together(self) -> np.ndarray:
        """Pairs of effects of the subject, or of one occasion, (size, size)."""
        occasions = np.repeat(np.arange(self.group.shape[1]), self.n_kappa)
        place = np.concatenate([np.full(self.n_eta, -1), occasions])
        return place[:, None] == place[None, :]

    @cached_property
    def real(self) -> np.ndarray:
        """Occasions that subjects have, (n_subject, K)."""
        return self.group >= 0

    @cached_property
    def counts(self) -> np.ndarray:
        """How often each basic effect is there: subjects, or occasions, (n_basic,)."""
        return np.concatenate(
            [np.full(self.n_eta, len(self.group)), np.full(self.n_kappa, max(1, int(self.real.sum())))]
        )

    @cached_property
    def _present(self) -> np.ndarray:
        """1 where a subject has the effect, 0 where it has no such occasion, (n_subject, size)."""
        occasions = np.repeat(self.real, self.n_kappa, axis=1)
        return np.concatenate([np.ones((len(self.group), self.n_eta)), occasions], axis=1)

    def zeroed(self, vector: np.ndarray) -> np.ndarray:
        """The vector with effects that act on nothing at 0."""
        return vector if self.occasion is None else vector * self._present

    def log_determinants(self, matrix: np.ndarray) -> np.ndarray:
        """Log of the determinant of the covariance of the effects that each subject has, (n_subject,)."""
        n = self.n_eta
        own = np.linalg.slogdet(matrix[:n, :n])[1]
        return own + self.real.sum(axis=1) * np.linalg.slogdet(matrix[n:, n:])[1]

    def repeated(self, matrix: np.ndarray) -> np.ndarray:
        """A covariance of basic effects, or its triangular root, as that of the vector: (..., size, size).

        Parameters
        ----------
        matrix : (..., n_basic, n_basic)
            Subjects and occasions apart: entries between them are not read.
        """
        if self.occasion is None:
            return matrix
        return np.where(self._together, matrix[..., self.basic[:, None], self.basic[None, :]], 0.0)

    def split(self, vector: Any) -> tuple[Any, dict[str, Any] | None]:
        """Random effects of subjects (..., n_subject, n_eta), and of the levels as a model takes them."""
        own = vector[..., : self.n_eta] if self.n_eta else None
        if self.occasion is None:
            return own, None
        return own, {self.occasion.key: self.of_groups(vector)}

    def of_groups(self, vector: np.ndarray) -> np.ndarray:
        """Random effects of all occasions, (..., n_group, n_kappa), from (..., n_subject, size)."""
        lead = vector.shape[:-2]
        each = vector[..., self.n_eta :].reshape(*lead, *self.group.shape, self.n_kappa)
        out = np.zeros((*lead, self.n_group, self.n_kappa), dtype=vector.dtype)
        out[..., self.group[self.real], :] = each[..., self.real, :]
        return out

    def blocks_of_groups(self, matrix: np.ndarray) -> np.ndarray:
        """Of every occasion its own block, (n_group, n_kappa, n_kappa), from (n_subject, size, size)."""
        out = np.zeros((self.n_group, self.n_kappa, self.n_kappa))
        for k in range(self.group.shape[1]):
            have = self.real[:, k]
            own = slice(self.n_eta + k * self.n_kappa, self.n_eta + (k + 1) * self.n_kappa)
            out[self.group[have, k]] = matrix[have, own, own]
        return out

    def joined(self, eta: np.ndarray, kappa: np.ndarray) -> np.ndarray:
        """The vector (..., n_subject, size), from random effects of subjects and of all occasions."""
        if self.occasion is None:
            return eta
        each = np.where(self.real[..., None], kappa[..., np.maximum(self.group, 0), :], 0.0)
        return np.concatenate([eta, each.reshape(*each.shape[:-3], len(self.group), -1)], axis=-1)

    def number(self, parameter: str, of_occasion: bool) -> int:
        """Which of the basic effects that of a parameter is."""
        if of_occasion and self.occasion is not None:
            return self.n_eta + self.occasion.names.index(parameter)
        return self.names.index(parameter)

    def of_one(self, table: np.ndarray, basic: int) -> np.ndarray:
        """Values of one basic effect in all subjects, or in all their occasions, from (n_subject, size)."""
        if basic < self.n_eta:
            return table[:, basic]
        each = table[:, self.n_eta :].reshape(*self.group.shape, self.n_kappa)
        return each[self.real][:, basic - self.n_eta]

    def sds(self, model: PopModel, values: Mapping[str, Any]) -> np.ndarray:
        """SDs of the basic effects, (..., n_basic), known ones included."""
        found = []
        if self.n_eta:
            found.append(_given(values, dims.OMEGA, lambda: model.omega_priors))
        if self.occasion is not None:
            own = self.occasion
            found.append(_given(values, own.sd, lambda: own.priors))
        if len(found) == 1:
            return found[0]
        return np.concatenate(found, axis=-1) if found else np.zeros(0)

    def correlations(self, values: Mapping[str, Any]) -> np.ndarray | None:
        """Correlations of the basic effects, (..., n_basic, n_basic); None where there are none."""
        corr = values.get(dims.CORR)
        other = None if self.occasion is None else values.get(self.occasion.corr)
        if corr is None and other is None:
            return None
        own = np.eye(self.n_eta) if corr is None else np.asarray(corr, dtype=np.float64)
        if self.occasion is None:
            return own
        each = np.eye(self.n_kappa) if other is None else np.asarray(other, dtype=np.float64)
        lead = np.broadcast_shapes(own.shape[:-2], each.shape[:-2])
        out = np.zeros((*lead, self.n_basic, self.n_basic))
        out[..., : self.n_eta, : self.n_eta] = own
        out[..., self.n_eta :, self.n_eta :] = each
        return out

    def squares(self, vector: np.ndarray) -> np.ndarray:
        """Mean products of basic effects, over batches and subjects or occasions, (n_basic, n_basic).

        Entries between subjects and occasions are 0.

        Parameters
        ----------
        vector : (n, n_subject, size)
        """
        own = vector[..., : self.n_eta]
        eta = np.einsum("cni,cnj->ij", own, own) / max(1, own.shape[0] * own.shape[1])
        if self.occasion is None:
            return eta
        each = vector[..., self.n_eta :].reshape(len(vector), *self.group.shape, self.n_kappa)[:, self.real]
        out = np.zeros((self.n_basic, self.n_basic))
        out[: self.n_eta, : self.n_eta] = eta
        out[self.n_eta :, self.n_eta :] = np.einsum("cni,cnj->ij", each, each) / (len(vector) * each.shape[1])
        return out


def _given(values: Mapping[str, Any], name: str, priors: Callable[[], Mapping[str, Any]]) -> np.ndarray:
    """SDs among the values, or known ones."""
    if name in values:
        return np.asarray(values[name], dtype=np.float64)
    return np.array([float(prior.quantile(0.5)) for prior in priors().values()])


def is_known(priors: Mapping[str, Any]) -> list[bool]:
    """Of SDs with these priors: which are known."""
    return [isinstance(prior, Fixed) for prior in priors.values()]
