"""Adam as Sequence Tutor's code uses it: each parameter array's gradient clipped by itself."""

import jax
import jax.numpy as jnp
import optax

from tutor.config import LearnConfig, Quirks


def make_optimizer(
    config: LearnConfig,
    quirks: Quirks = Quirks(),  # noqa: B008 - immutable
) -> optax.GradientTransformation:
    """Make Adam, after clipping the gradient of each parameter array by itself."""
    rate: float | optax.Schedule = config.learning_rate
    if config.learning_rate_end:
        updates = config.iterations // config.update_every
        rate = optax.linear_schedule(config.learning_rate, config.learning_rate_end, updates)
    adam = optax.adam(rate)
    if quirks.early_epsilon:
        adam = optax.inject_hyperparams(optax.adam)(rate, eps=_early_epsilon)
    return optax.chain(clip_each_by_norm(config.clip_norm), adam)


def _early_epsilon(updates: jax.Array) -> jax.Array:
    """ε as it acts on the corrected √v̂ where it was added to √v, after so many updates."""
    return 1e-8 / jnp.sqrt(1 - 0.999 ** (updates + 1))


def clip_each_by_norm(limit: float) -> optax.GradientTransformation:
    """Make a transformation that clips each array's gradient by its own norm.

    So does the released code.

    Args:
      limit: the largest norm.
    """

    def clip(gradient: jax.Array) -> jax.Array:
        norm = jnp.linalg.norm(gradient)
        return gradient * (limit / jnp.maximum(norm, limit))

    return optax.stateless(lambda gradients, _: jax.tree.map(clip, gradients))
