"""Dropout masks whose rate is a number or an array."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.recurrent import dropout_mask

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
