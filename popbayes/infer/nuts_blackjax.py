"""NUTS by BlackJAX, in JAX."""

from collections.abc import Callable
from typing import Any, ClassVar

from popbayes.infer.chains import Task
from popbayes.infer.jax_chains import POSITION, AbstractJaxSampler, Kernel


class BlackJAX(AbstractJaxSampler):
    """BlackJAX's NUTS with its Stan-like window adaptation."""

    name: ClassVar[str] = "blackjax"

    def kernel(self, logdensity: Callable[[Any], Any], task: Task) -> Kernel:
        """The step size and mass matrix of the warm-up travel in the state."""
        import blackjax
        import jax
        from blackjax.adaptation.base import get_filter_adapt_info_fn

        adaptation = blackjax.window_adaptation(
            blackjax.nuts,
            logdensity,
            is_mass_matrix_diagonal=not task.options.get("dense_mass", False),
            target_acceptance_rate=task.target_accept,
            adaptation_info_fn=get_filter_adapt_info_fn(),
            max_num_doublings=task.max_treedepth,
        )
        nuts = blackjax.nuts.build_kernel()

        def warm_up(key: Any, position: Any) -> Any:
            for_tuning, for_draws = jax.random.split(key)
            (state, tuned), _ = adaptation.run(for_tuning, position, num_steps=task.tune)
            return state, tuned["step_size"], tuned["inverse_mass_matrix"], for_draws

        def step(carry: Any, _: Any) -> tuple[Any, dict[str, Any]]:
            state, step_size, inverse_mass, key = carry
            key, now = jax.random.split(key)
            new, info = nuts(
                now, state, logdensity, step_size, inverse_mass, max_num_doublings=task.max_treedepth
            )
            return (new, step_size, inverse_mass, key), {
                POSITION: new.position,
                "acceptance_rate": info.acceptance_rate,
                "diverging": info.is_divergent,
                "energy": info.energy,
                "lp": new.logdensity,
                "n_steps": info.num_integration_steps,
                "reached_max_treedepth": info.num_trajectory_expansions >= task.max_treedepth,
                "step_size": step_size,
                "tree_depth": info.num_trajectory_expansions,
            }

        return Kernel(warm_up, lambda state, n: jax.lax.scan(step, state, None, length=n))
