"""The guarded loop of a learner."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from common.learner import advance, is_finite, keep_finite


def test_the_guarded_loop_of_one():
    class One(NamedTuple):
        step: jax.Array
        diverged_at: jax.Array

    def update(state):
        breaks = state.step == 5
        return One(jnp.where(breaks, state.step, state.step + 1), jnp.where(breaks, state.step, -1))

    start = One(jnp.int32(0), jnp.int32(-1))
    assert jax.tree.map(int, advance(update, start, jnp.int32(4))) == (4, -1)
    assert jax.tree.map(int, advance(update, start, jnp.int32(9))) == (5, 5)


def test_keys_are_kept_and_numbers_chosen():
    one = {"key": jax.random.key(1), "x": jnp.float32(1)}
    other = {"key": jax.random.key(1), "x": jnp.float32(jnp.nan)}
    assert not is_finite((one["x"], other["x"]))
    assert float(keep_finite(is_finite(other["x"]), other, one)["x"]) == 1.0
    assert float(keep_finite(is_finite(one["x"]), one, other)["x"]) == 1.0
