"""Values that a tuning starts from."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from common.lstm import LSTM
from tutor.sequence_model import make_model
from tutor.start import centred, without_values

EVENTS = jax.random.randint(jax.random.key(0), (4, 6), 0, 5)
COUNTED = jnp.arange(6) < jnp.array([[1], [3], [6], [2]])


def logits(graph, params):
    model = nnx.merge(graph, params)
    return model.unroll(model.initial_state(4), EVENTS)[1]


def test_values_are_centred_and_probabilities_stay():
    def core(width, rngs):
        return LSTM(width, 7, initial_range=1.0, forget_bias=1.0, rngs=rngs)

    graph, params = make_model(5, core, jax.random.key(1), initial_range=1.0)
    before, after = logits(graph, params), logits(graph, centred(graph, params, EVENTS, COUNTED))
    normaliser = np.asarray(jax.nn.logsumexp(after, axis=-1))
    np.testing.assert_allclose(normaliser[np.asarray(COUNTED)].mean(), 0.0, atol=1e-5)
    assert abs(normaliser.mean()) > 1e-3  # those that don't count differ
    np.testing.assert_allclose(jax.nn.softmax(before), jax.nn.softmax(after), atol=1e-6)
    np.testing.assert_array_equal(logits(graph, without_values(params)), 0.0)
    assert np.any(params["output_kernel"] != 0)
