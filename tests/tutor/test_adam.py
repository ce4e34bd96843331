"""Adam with fewer divisions: optax's numbers to rounding, and its states."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tutor.config import LearnConfig
from tutor.learner import Quirks, make_optimizer
from tutor.update import adam


def test_equals_that_of_optax():
    params = {"a": jnp.ones((3, 4)), "b": jnp.zeros(5)}
    plain, ours = optax.adam(0.01), adam(0.01)
    state = plain.init(params)
    assert jax.tree.structure(state) == jax.tree.structure(ours.init(params))
    other = state
    for step in range(30):
        keys = jax.random.split(jax.random.key(step))
        gradient = {
            name: jax.random.normal(key, params[name].shape) ** 3 * 10.0 ** -(step % 12)
            for name, key in zip(params, keys, strict=True)
        }
        expected, state = plain.update(gradient, state)
        actual, other = ours.update(gradient, other)
        assert jax.tree.structure(state) == jax.tree.structure(other)
        for one, two in zip(
            jax.tree.leaves((actual, other)), jax.tree.leaves((expected, state)), strict=True
        ):
            assert one.dtype == two.dtype
            # 1 − 0.999^n has few digits at first, and rounds as the compiler likes.
            np.testing.assert_allclose(one, two, 1e-4, 1e-30)


@pytest.mark.parametrize("early", [False, True])
def test_epsilon_before_the_bias_of_v_is_corrected(early):
    """By the rule that TensorFlow's documentation of Adam gives, with gradients that feel ε."""
    optimizer = make_optimizer(LearnConfig(learning_rate=0.01), Quirks(early_epsilon=early))
    gradients = np.random.default_rng(3).normal(size=(20, 4)) * 1e-7
    state, m, v = optimizer.init(jnp.zeros(4)), np.zeros(4), np.zeros(4)
    for step, gradient in enumerate(gradients, 1):
        change, state = optimizer.update(jnp.float32(gradient), state)
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        rate = 0.01 * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        expected = -rate * m / (np.sqrt(v) + 1e-8)
        assert np.allclose(change, expected, rtol=1e-3) == early
    plain = -0.01 * m / (1 - 0.9**20) / (np.sqrt(v / (1 - 0.999**20)) + 1e-8)
    assert np.allclose(change, plain, rtol=1e-3) != early


def test_the_learning_rate_falls_linearly_to_its_end():
    config = LearnConfig(
        learning_rate=0.01, learning_rate_end=0.002, iterations=100, update_every=5
    )
    optimizer = make_optimizer(config)
    gradient = {"a": jnp.ones(())}  # always the same: a change is then the rate itself
    state, changes = optimizer.init(gradient), []
    for _ in range(24):
        change, state = optimizer.update(gradient, state)
        changes.append(-float(change["a"]))
    expected = [*np.linspace(0.01, 0.002, 21), *[0.002] * 3]
    np.testing.assert_allclose(changes, expected, rtol=1e-4)
