"""Text drawn from a language model, one token after the other."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from highway.language_model import Graph, Params


@partial(jax.jit, static_argnums=(0, 4))
def sample(
    graph: Graph,
    params: Params,
    key: jax.Array,
    prompt: jax.Array,
    count: int,
    temperature: float = 1.0,
) -> jax.Array:
    """Continue a text by tokens drawn from softmax(logits / temperature).

    Args:
      graph: the model's structure.
      params: its parameters.
      key: of the draws.
      prompt: the tokens to continue, int [n ≥ 1].
      count: how many tokens to draw.
      temperature: at 0 the most probable token is taken each time.

    Returns:
      The tokens drawn, int [count].
    """
    model = nnx.merge(graph, params)
    state, features = model.features(model.initial_state(1), prompt[None])

    def draw(carry, key):
        state, logits = carry
        # The Gumbel trick, with the temperature on the noise so that 0 has a meaning.
        token = jnp.argmax(logits + temperature * jax.random.gumbel(key, logits.shape))
        state, features = model.features(state, token[None, None])
        return (state, model.logits(features[-1, 0])), token

    carry = (state, model.logits(features[-1, 0]))
    _, tokens = jax.lax.scan(draw, carry, jax.random.split(key, count))
    return jnp.asarray(tokens)
