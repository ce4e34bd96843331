"""Values that a tuning starts from."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from common.lstm import LSTM
from tutor.config import PriorConfig
from tutor.prior import PriorLearner, evaluate
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


def test_a_prior_that_is_normalised_has_logits_near_log_p():
    """Its setting reaches the loss, and the predictions hardly suffer."""
    sequences = [np.tile(np.array([0, 1, 2, 3], np.int32), 6)]

    def learned(normalise: float) -> tuple[float, float]:
        config = PriorConfig(
            iterations=150,
            batch_size=8,
            steps=10,
            masked=0,
            learning_rate=0.02,
            normalise=normalise,
        )

        def core(width, rngs):
            return LSTM(width, 7, initial_range=0.1, forget_bias=1.0, rngs=rngs)

        learner = PriorLearner(config, 5, core, sequences, initial_range=0.1)
        state = learner.advance(learner.initial_state(0), 150)
        model = nnx.merge(learner.graph, state.params)
        _, found = model.unroll(model.initial_state(1), jnp.asarray(sequences[0])[None])
        size = float(jnp.mean(jnp.square(jax.nn.logsumexp(found, axis=-1))))
        return size, evaluate(learner.graph, state.params, sequences, masked=0).loss

    (plain, _), (normalised, loss) = learned(0.0), learned(0.1)
    assert normalised < 0.05 < plain
    assert loss < 0.1
