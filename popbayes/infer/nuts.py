"""The samplers by name, and the choice of one that can do all that is asked of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from popbayes.infer.chains import AbstractSampler
from popbayes.infer.nuts_blackjax import BlackJAX
from popbayes.infer.nuts_numpyro import NumPyro
from popbayes.infer.nuts_nutpie import Nutpie
from popbayes.infer.nuts_pymc import PyMC
from popbayes.wording import listed, nearest

SAMPLERS: dict[str, AbstractSampler] = {
    sampler.name: sampler for sampler in (Nutpie(), PyMC(), NumPyro(), BlackJAX())
}
"""Every NUTS implementation that `popbayes.fit` can run, the default first."""


def chosen(
    name: str, options: Mapping[str, Any], known: Sequence[str], *, cores: int | None, save_warmup: bool
) -> AbstractSampler:
    """The sampler of this name.

    Parameters
    ----------
    name : str
    options : mapping
        Arguments of `popbayes.fit` that are not its own.
    known : sequence of str
        Its own arguments, for messages.
    cores, save_warmup
        As given to `popbayes.fit`.

    Raises
    ------
    TypeError, ValueError
        For a sampler that does not exist, and for arguments that it does not take.
    """
    if name not in SAMPLERS:
        raise ValueError(
            f"There is no sampler {name!r}; there are {listed(SAMPLERS)}.{nearest(name, SAMPLERS)}"
        )
    sampler = SAMPLERS[name]
    for option in options:
        if option not in sampler.options:
            raise TypeError(
                f"fit() has no argument {option!r} with sampler={name!r}; it takes {listed(known)}, "
                f"and for {name} {listed(sampler.options)}.{nearest(option, [*known, *sampler.options])}"
            )
    if cores is not None and not sampler.parallel:
        raise ValueError(f"cores: {name} runs one chain after the other here; leave cores out.")
    if save_warmup and not sampler.saves_warmup:
        able = [one.name for one in SAMPLERS.values() if one.saves_warmup]
        raise ValueError(f"save_warmup: {name} does not keep its warm-up; {' and '.join(able)} do.")
    return sampler
