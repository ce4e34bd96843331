"""Text drawn from a language model, one token after the other."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike

from highway.language_model import Graph, Params

CALL_SECONDS = 0.5
"""About how long a call to the device lasts: how soon `tick` is called."""


def sample(
    graph: Graph,
    params: Params,
    key: jax.Array,
    prompt: ArrayLike,
    count: int,
    temperature: float = 1.0,
    tick: Callable[[], None] = lambda: None,
) -> jax.Array:
    """Continue a text by tokens drawn from softmax(logits / temperature).

    Args:
      graph: the model's structure.
      params: its parameters.
      key: of the draws.
      prompt: the tokens to continue, int [n ≥ 1].
      count: how many tokens to draw.
      temperature: at 0 the most probable token is taken each time.
      tick: called now and then; may raise.

    Returns:
      The tokens drawn, int [count].
    """
    carry = begin_text(graph, params, jnp.asarray(prompt), count)
    keys = jax.random.split(key, count)
    done = stride = 0
    while done < count:
        tick()
        begin = time.monotonic()
        stop = min(count, done + max(1, stride))
        carry = jax.block_until_ready(
            draw_tokens(graph, params, carry, keys, temperature, done, stop)
        )
        seconds = max(time.monotonic() - begin, 1e-9)
        fitting = int((stop - done) * CALL_SECONDS / seconds)
        stride, done = min(fitting, 8 * max(1, stride)), stop
    return carry[2]


@partial(jax.jit, static_argnums=(0, 3))
def begin_text(graph: Graph, params: Params, prompt: jax.Array | np.ndarray, count: int) -> Any:
    """Return the state behind the prompt, the next token's logits, and room for tokens.

    Args:
      graph: the model's structure.
      params: its parameters.
      prompt: int [n ≥ 1].
      count: how many tokens there will be room for.

    Returns:
      The recurrent state of one sequence, logits [vocabulary], and zeros int32 [count]: what
      `draw_tokens` carries on.
    """
    model = nnx.merge(graph, params)
    state, features = model.features(model.initial_state(1), jnp.asarray(prompt)[None])
    return state, model.logits(features[-1, 0]), jnp.zeros(count, jnp.int32)


@partial(jax.jit, static_argnums=0)
def draw_tokens(
    graph: Graph,
    params: Params,
    carry: Any,
    keys: jax.Array,
    temperature: float,
    start: int,
    stop: int,
) -> Any:
    """Draw the tokens from `start` to `stop`; arguments are those of `sample`.

    The carry is that of `begin_text`, before and after; keys are [count], one for each token.
    """
    model = nnx.merge(graph, params)

    def draw(place, carry):
        state, logits, tokens = carry
        # The Gumbel trick, with the temperature on the noise so that 0 has a meaning.
        noise = jax.random.gumbel(keys[place], logits.shape)
        token = jnp.argmax(logits + temperature * noise).astype(jnp.int32)
        state, features = model.features(state, token[None, None])
        return state, model.logits(features[-1, 0]), tokens.at[place].set(token)

    return jax.lax.fori_loop(start, stop, draw, carry)
