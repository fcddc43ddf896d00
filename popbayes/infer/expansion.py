"""The stored variables of every draw, computed from unconstrained coordinates after sampling.

All draws of a block go through one function over arrays with a leading axis of draws, run operation by
operation: nothing is compiled.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.mode import Mode
from pytensor.graph.replace import clone_replace, vectorize_graph

from popbayes.infer.chains import Arrays
from popbayes.infer.compiled_density import split_point

BLOCK_BYTES = 2**25
"""About what one block of draws takes for each variable."""


def expanded(graph: Any, names: Sequence[str], positions: np.ndarray) -> Arrays:
    """Values of variables of a graph at draws of its joined unconstrained coordinates.

    Parameters
    ----------
    graph : pymc.Model
    names : sequence of str
        Free variables and deterministics.
    positions : (chain, draw, size)

    Returns
    -------
    dict of name -> (chain, draw, ...)
    """
    point = pt.TensorType("float64", shape=(positions.shape[-1],))("position")
    draws = pt.matrix("positions", dtype="float64", shape=(None, positions.shape[-1]))
    single = clone_replace(
        graph.replace_rvs_by_values([graph[name] for name in names]), split_point(graph, point)
    )
    single = [pt.as_tensor(one) for one in single]
    several = vectorize_graph(single, {point: draws})
    evaluate = pytensor.function([draws], several, mode=Mode(linker="py", optimizer="fast_compile"))
    flat = positions.reshape(-1, positions.shape[-1])
    size = max(1, BLOCK_BYTES // (8 * flat.shape[1]))
    # what no coordinate decides (a known parameter) comes without an axis of draws
    known = [after.ndim == before.ndim for before, after in zip(single, several, strict=True)]
    blocks = [evaluate(flat[k : k + size]) for k in range(0, len(flat), size)]
    columns = [
        np.broadcast_to(column[0], (len(flat), *column[0].shape)) if same else np.concatenate(column)
        for same, column in zip(known, zip(*blocks, strict=True), strict=True)
    ]
    return {
        name: column.reshape(*positions.shape[:2], *column.shape[1:])
        for name, column in zip(names, columns, strict=True)
    }
