"""A program of a user's, checked by mypy in strict mode."""

import jax
import jax.numpy as jnp
from flax import nnx

from common.datasets import load
from highway import DeepTransitionCell, FastRNN, Highway, RHNCell
from tutor.kl_control import METHODS, Transition, log_policy, squared_loss


def outputs(xs: jax.Array) -> jax.Array:
    """Read sequences [batch, time, 8] in both directions."""
    rngs = nnx.Rngs(0)
    forward = FastRNN(RHNCell(8, 16, depth=3, state_dropout=0.1, rngs=rngs))
    backward = FastRNN(DeepTransitionCell(8, 16, depth=2, rngs=rngs))
    both = jnp.concatenate([forward(xs), backward(xs, reverse=True, keep_order=True)], axis=-1)
    return Highway(32, depth=4, rngs=rngs)(both)


def loss(values: jax.Array, step: Transition) -> jax.Array:
    """Return the squared error of Ψ-learning."""
    return squared_loss(METHODS["psi"], values, step)


corpus = load("tiny_shakespeare")
policy: jax.Array = log_policy(METHODS["g"], jnp.zeros((1, 3)), jnp.zeros((1, 3)))
print(corpus.name, outputs(jnp.ones((2, 5, 8))).shape, policy.shape)
