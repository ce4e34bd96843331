"""Dropout masks, whose rate is a number or an array; stacks unrolled in chunks of time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from common.compute import Compute
from common.recurrent import dropout_mask
from highway.config import ModelConfig
from highway.core import make_stack

SHAPE = (200, 50)


@pytest.mark.parametrize("rate", [0, 0.0, np.float64(0), np.float32(0)])
def test_the_number_zero_drops_nothing(rate):
    assert dropout_mask(jax.random.key(0), rate, SHAPE) is None


@pytest.mark.parametrize("rate", [0.25, 0.5])
def test_a_traced_rate_draws_the_mask_of_the_number(rate):
    key = jax.random.key(1)
    traced = jax.jit(lambda rate: dropout_mask(key, rate, SHAPE))(rate)
    np.testing.assert_allclose(traced, dropout_mask(key, rate, SHAPE), rtol=1e-6)
    assert set(np.unique(traced)) == {0.0, np.float32(1 / (1 - rate))}
    assert np.mean(traced == 0) == pytest.approx(rate, abs=0.02)


def test_rates_may_differ_between_members():
    """A traced rate of 0 gives a mask, of ones."""
    rates = jnp.array([0.0, 0.5, 0.9])
    masks = jax.vmap(lambda rate: dropout_mask(jax.random.key(2), rate, SHAPE))(rates)
    np.testing.assert_array_equal(masks[0], 1)
    assert np.mean(masks == 0, axis=(1, 2)) == pytest.approx([0, 0.5, 0.9], abs=0.02)
    assert np.mean(masks, axis=(1, 2)) == pytest.approx([1, 1, 1], abs=0.1)


# ------------------------------------------------------------------------------- rematerialisation


@pytest.mark.parametrize("kernel", ["scan", "jax"])
@pytest.mark.parametrize("chunk", [1, 3, 7, 9])  # of 7 time steps
def test_a_stack_in_chunks_of_time(kernel, chunk):
    """Outputs, last states and gradients are those of all time steps at once."""
    with jax.enable_x64(True):
        stack = make_stack(
            5,
            ModelConfig(core="rhn", units=6, depth=2, layers=2, initial_range=0.5),
            rngs=nnx.Rngs(0),
            compute=Compute(kernel),
        )
        graph, params = nnx.split(stack)
        xs = jax.random.normal(jax.random.key(1), (7, 4, 5))
        states = tuple(jax.random.normal(jax.random.key(2), (2, 4, 6)))
        masks = stack.sample_masks(jax.random.key(3), 4, 0.3, 0.3, separate=False)
        weigh = jax.random.normal(jax.random.key(4), (9, 4, 6))

        def weighed(params, states, xs, chunk):
            stack = nnx.merge(graph, params)
            last, outputs = stack.unroll(states, xs, masks, chunk=chunk)
            return jnp.sum(jnp.concatenate([outputs, jnp.stack(last)]) * weigh)

        whole, parts = (
            jax.value_and_grad(weighed, (0, 1, 2))(params, states, xs, steps)
            for steps in (0, chunk)
        )
        for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-10)
