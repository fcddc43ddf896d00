"""NUTS by NumPyro, in JAX."""

from collections.abc import Callable
from typing import Any, ClassVar

from popbayes.infer.chains import Task
from popbayes.infer.jax_chains import POSITION, AbstractJaxSampler, Kernel


class NumPyro(AbstractJaxSampler):
    """NumPyro's iterative NUTS with its Stan-like window adaptation."""

    name: ClassVar[str] = "numpyro"

    def kernel(self, logdensity: Callable[[Any], Any], task: Task) -> Kernel:
        """Warm-up and draws share one kernel, which knows from its state where it is."""
        import jax
        from numpyro.infer import NUTS

        nuts = NUTS(
            potential_fn=lambda x: -logdensity(x),
            target_accept_prob=task.target_accept,
            max_tree_depth=task.max_treedepth,
            dense_mass=task.options.get("dense_mass", False),
        )

        def step(state: Any, _: Any) -> tuple[Any, dict[str, Any]]:
            new = nuts.sample(state, (), {})
            depth = jax.numpy.floor(jax.numpy.log2(new.num_steps)).astype(int) + 1
            return new, {
                POSITION: new.z,
                "acceptance_rate": new.accept_prob,
                "diverging": new.diverging,
                "energy": new.energy,
                "lp": -new.potential_energy,
                "n_steps": new.num_steps,
                "reached_max_treedepth": depth >= task.max_treedepth,
                "step_size": new.adapt_state.step_size,
                "tree_depth": depth,
            }

        def warm_up(key: Any, position: Any) -> Any:
            first = nuts.init(key, task.tune, position, (), {})
            return jax.lax.scan(lambda state, _: (step(state, _)[0], None), first, None, length=task.tune)[0]

        return Kernel(warm_up, lambda state, n: jax.lax.scan(step, state, None, length=n))
