"""How an estimate came about: every value and the objective at each iteration."""

import numpy as np
import xarray as xr

from popbayes.dims import ESTIMATES, ITERATION, PARAMETER, TRACE
from popbayes.infer.tree import is_estimate, study_of

SMOOTHING = "smoothing"
"""1 in the second phase of SAEM."""


def iterations(dt: xr.DataTree) -> xr.Dataset:
    r"""Values and objective of every iteration of an estimate, and how it ended.

    SAEM has two phases. In the exploratory one each iteration forgets the last: values wander, and should
    have stopped to go anywhere. In the smoothing one (`smoothing` 1) iterations are averaged with falling
    gains: lines become flat, and what they still `drift` by between the last two thirds of the phase, in
    standard errors, is what convergence is judged by. Methods that minimise end where the next step promises
    no decrease (`gradient`: that promise).

    Parameters
    ----------
    dt : DataTree
        The result of `popbayes.estimate`.

    Returns
    -------
    Dataset over iteration and parameter
        `value` (iteration, parameter), `estimate` and `se` (parameter), `objective` (iteration): -2 log L
        of methods that minimise, -2 log p(y | eta) of SAEM's draws, `smoothing` (iteration), and where the
        method has them `drift` (parameter) and `gradient` (iteration). ``attrs``: `method`, `converged`,
        `smoothing_from` (the first iteration of the second phase; their number where there is none).

    Raises
    ------
    ValueError
        If the DataTree is no estimate.

    Examples
    --------
    >>> import popbayes as pb
    >>> dt = pb.estimate(model, data, method=pb.Saem())                      # doctest: +SKIP
    >>> pb.plot_iterations(pb.iterations(dt))                                # doctest: +SKIP
    """
    if not is_estimate(dt):
        raise ValueError(
            "This DataTree has no iterations to show: it is not the result of popbayes.estimate. "
            "popbayes.summary and popbayes.traps tell how the chains of a fit went."
        )
    found, ended = dt[TRACE].to_dataset(), dt[ESTIMATES].to_dataset()
    n = found.sizes[ITERATION]
    if SMOOTHING not in found:
        found[SMOOTHING] = (ITERATION, np.zeros(n, dtype=np.int64))
    second = np.flatnonzero(found[SMOOTHING].to_numpy())
    found["estimate"] = (PARAMETER, ended["value"].to_numpy())
    found["se"] = (PARAMETER, ended["se"].to_numpy())
    name = study_of(dt).model.name
    return found.assign_attrs(
        method=dt.attrs["method"],
        converged=int(dt.attrs["converged"]),
        smoothing_from=int(second[0]) if len(second) else n,
        name=name,
    )
