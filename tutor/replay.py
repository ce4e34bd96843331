"""Replay memory on the device: a ring of rows, and batches drawn from it without repeats."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from common.error import ConfigError


class Replay(NamedTuple):
    """The newest rows, at most `capacity`; row n ever stored lies at n mod capacity.

    How many were stored is for whoever stores them to know: it is a count of steps.
    """

    rows: Any
    """Pytree of arrays [capacity, ...]."""

    @property
    def capacity(self) -> int:
        """Most rows that it holds."""
        return jax.tree.leaves(self.rows)[0].shape[0]


def make_replay(example: Any, capacity: int, width: int) -> Replay:
    """An empty memory for rows like `example`, a pytree of arrays or their shapes.

    `width` rows will be stored at a time. Raises ConfigError unless it divides the capacity: a
    store then never wraps around in its middle.
    """
    if capacity % width:
        raise ConfigError(
            f"a replay memory of {capacity} can't be filled {width} rows at a time: choose a "
            "multiple."
        )
    return Replay(
        jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), example)
    )


def store(replay: Replay, rows: Any, stored: jax.Array) -> Replay:
    """Adds rows, a pytree of arrays [width, ...], over the oldest; `stored` counts those before."""
    start = stored % replay.capacity
    return Replay(
        jax.tree.map(
            lambda memory, new: jax.lax.dynamic_update_slice_in_dim(memory, new, start, 0),
            replay.rows,
            rows,
        )
    )


def read(replay: Replay, places: jax.Array) -> Any:
    """The rows at places int [n]."""
    return jax.tree.map(lambda memory: memory[places], replay.rows)


def draw_places(key: jax.Array, sizes: jax.Array, batch_size: int) -> jax.Array:
    """For each size int [n], `batch_size` different places below it, uniformly; int32 [n, batch].

    Floyd's algorithm (Bentley & Floyd 1987), all draws side by side. A row whose size is less than
    `batch_size` has no meaning.
    """
    ends = jnp.maximum(sizes, batch_size)[:, None] - batch_size + jnp.arange(batch_size)
    draws = jax.random.randint(key, ends.shape, 0, ends + 1, jnp.int32)

    def choose(number: jax.Array, chosen: jax.Array) -> jax.Array:
        draw = jax.lax.dynamic_slice_in_dim(draws, number, 1, 1)
        end = jax.lax.dynamic_slice_in_dim(ends, number, 1, 1)
        taken = jnp.any(chosen == draw, axis=1, keepdims=True)
        new = jnp.where(taken, end, draw).astype(jnp.int32)
        return jax.lax.dynamic_update_slice_in_dim(chosen, new, number, 1)

    nothing = jnp.full(ends.shape, -1, jnp.int32)
    return jax.lax.fori_loop(0, batch_size, choose, nothing)
