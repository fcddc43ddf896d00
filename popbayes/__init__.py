"""popbayes: fully Bayesian population pharmacokinetics and pharmacodynamics on PyMC.

The public names, loaded when first used; `__init__.pyi` lists them with the module each comes from.
"""

from importlib.metadata import version

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = version("popbayes")
