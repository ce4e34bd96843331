"""Replay memory on the device: a ring of rows, and batches of different rows drawn from it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from common.error import ConfigError
from common.mesh import AXIS, spec


class Replay(NamedTuple):
    """The newest rows, at most `capacity`; the n-th row ever stored lies at n mod capacity.

    The memory doesn't count its rows. Its user does, who has a count of steps anyway.
    """

    rows: Any
    """Pytree of arrays [capacity, ...]."""

    @property
    def capacity(self) -> int:
        """The most rows that it holds."""
        return jax.tree.leaves(self.rows)[0].shape[0]


def make_replay(example: Any, capacity: int, width: int) -> Replay:
    """Make an empty memory.

    Args:
      example: a row, as a pytree of arrays or of their shapes and dtypes.
      capacity: the most rows.
      width: rows that will be stored at a time.

    Raises:
      ConfigError: the width doesn't divide the capacity, so that rows stored together could wrap
        around.
    """
    if capacity % width:
        raise ConfigError(
            f"a replay memory of {capacity} can't be filled {width} rows at a time: choose a "
            "multiple."
        )
    return Replay(
        jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), example)
    )


def store(replay: Replay, rows: Any, stored: jax.Array, mesh: Mesh | None = None) -> Replay:
    """Store rows in place of the oldest ones.

    Args:
      replay: the memory.
      rows: a pytree of arrays [width, ...].
      stored: how many rows were stored before, int32 scalar.
      mesh: devices that divide the memory, each holding at least `width` rows; None for one.
    """
    start = stored % replay.capacity
    if mesh is not None:
        # Else every device would ask for all of the memory.
        write = jax.shard_map(
            _store_share,
            mesh=mesh,
            in_specs=(spec(0), spec(None), spec(None)),
            out_specs=spec(0),
            check_vma=False,
        )
        return Replay(write(replay.rows, rows, start))
    return Replay(
        jax.tree.map(
            lambda memory, new: jax.lax.dynamic_update_slice_in_dim(memory, new, start, 0),
            replay.rows,
            rows,
        )
    )


def _store_share(rows: Any, new: Any, start: jax.Array) -> Any:
    """Store those of new rows [width, ...] whose places lie in a device's part of the memory."""
    size, width = jax.tree.leaves(rows)[0].shape[0], jax.tree.leaves(new)[0].shape[0]
    first = start - size * jax.lax.axis_index(AXIS)
    # A window of the part, as wide as the new rows; which of them belongs to each of its places.
    window = jnp.clip(first, 0, size - width)
    belongs = window - first + jnp.arange(width)
    inside = (belongs >= 0) & (belongs < width)

    def write(memory: jax.Array, new: jax.Array) -> jax.Array:
        old = jax.lax.dynamic_slice_in_dim(memory, window, width, 0)
        taken = new[jnp.clip(belongs, 0, width - 1)]
        kept = jnp.where(inside.reshape(-1, *[1] * (new.ndim - 1)), taken, old)
        return jax.lax.dynamic_update_slice_in_dim(memory, kept, window, 0)

    return jax.tree.map(write, rows, new)


def read(replay: Replay, places: jax.Array) -> Any:
    """Return the rows at some places, int [n]; leaves [n, ...]."""
    return jax.tree.map(lambda memory: memory[places], replay.rows)


def draw_places(key: jax.Array, sizes: jax.Array, batch_size: int) -> jax.Array:
    """Draw batches of different places, each set of places being as likely as any other.

    This is Floyd's algorithm (Bentley & Floyd 1987), with all batches drawn side by side.

    Args:
      key: of the draws.
      sizes: for each batch, the number of places to draw from, int [n].
      batch_size: places in a batch.

    Returns:
      Places from 0 to size − 1, int32 [n, batch_size]. A batch whose size is less than `batch_size`
      has no meaning.
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


def draw_sequences(
    key: jax.Array, stored: jax.Array, *, capacity: int, width: int, count: int, length: int
) -> jax.Array:
    """Draw batches of different sequences: consecutive rows of one environment.

    Args:
      key: of the draws.
      stored: for each batch, the rows stored before it, int [n]; the newest `capacity` are there.
      capacity: places of the memory.
      width: environments, whose rows of a step lie side by side.
      count: sequences in a batch.
      length: rows of a sequence.

    Returns:
      Places, int32 [n, length · count]; first those with which sequences begin, then the second of
      each, and so on.
    """
    sizes = jnp.minimum(stored, capacity)
    if length == 1:
        return draw_places(key, sizes, count)
    # A sequence's rows lie `width` apart; its last row must have all others before it.
    span = (length - 1) * width
    last = stored[:, None] - sizes[:, None] + span
    last = last + draw_places(key, sizes - span, count)
    back = width * jnp.arange(length - 1, -1, -1)
    places = (last[:, None, :] - back[:, None]) % capacity
    return places.reshape(len(stored), length * count)
