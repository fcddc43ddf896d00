"""Predictions of many parameter sets, or of many subjects: the work of `evaluate` shared among threads."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from popbayes.engine.threads import shared_out


@dataclass(frozen=True, eq=False)
class Batch:
    """Parameter sets, the events of some subjects, and where their predictions go.

    Attributes
    ----------
    thetas : (n, n_segment, n_parameter)
    arrays
        Those of a `Schedule`.
    preds : (n, n_obs)
    """

    thetas: np.ndarray
    arrays: tuple[np.ndarray, ...]
    preds: np.ndarray


def evaluate_batches(kernels: Any, batches: Sequence[Batch], threads: int) -> None:
    """Write the predictions of every batch; a thread uses the same scratch for all that it takes."""
    sizes = {
        "segment": max(one.thetas.shape[1] for one in batches),
        "record": max(len(one.arrays[2]) for one in batches),
        "stream": max(len(one.arrays[3]) for one in batches),
        "observation": max(one.preds.shape[1] for one in batches),
        "one": 1,
    }

    def work(share: Iterable[Batch]) -> None:
        written = kernels.layout.for_values(sizes)
        for one in share:
            kernels.evaluate(one.thetas, *one.arrays, one.preds, *written)

    shared_out(work, batches, threads)
