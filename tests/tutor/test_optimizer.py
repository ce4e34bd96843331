"""The optimiser of a tuning: where its ε is added, and how its rate falls."""

import jax.numpy as jnp
import numpy as np
import pytest

from tutor.config import LearnConfig, Quirks
from tutor.optimizer import make_optimizer


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
