"""The samplers by name."""

from popbayes.infer.chains import AbstractSampler
from popbayes.infer.nuts_blackjax import BlackJAX
from popbayes.infer.nuts_numpyro import NumPyro
from popbayes.infer.nuts_nutpie import Nutpie
from popbayes.infer.nuts_pymc import PyMC

SAMPLERS: dict[str, AbstractSampler] = {
    sampler.name: sampler for sampler in (Nutpie(), PyMC(), NumPyro(), BlackJAX())
}
"""Every NUTS implementation that `popbayes.fit` can run, the default first."""
