"""The posterior of a DataTree, checked to be there."""

import xarray as xr

from popbayes.dims import POSTERIOR


def posterior(dt: xr.DataTree) -> xr.Dataset:
    """Draws of a fit.

    Raises
    ------
    ValueError
        Where the tree is not a fit.
    """
    if POSTERIOR not in dt.children:
        raise ValueError(
            f"This DataTree has no posterior draws (its groups: {', '.join(dt.children) or 'none'}). "
            "Give the tree that popbayes.fit returned, or that popbayes.load read."
        )
    return dt[POSTERIOR].to_dataset()
