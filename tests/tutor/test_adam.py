"""Adam with fewer divisions: optax's numbers to rounding, and its states."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tutor.config import LearnConfig
from tutor.learner import make_optimizer
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
