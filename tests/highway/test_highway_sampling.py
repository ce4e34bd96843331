"""Text drawn from a model."""

import time

import highway_numpy as reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from highway_case import experiment, named, random_params

from highway.language_model import make_graph
from highway.sampling import sample

PROMPT = np.asarray([3, 1, 4], np.int32)


@pytest.fixture(scope="module")
def network():
    config, vocabulary = experiment(units=6, depth=2, layers=2)
    return config, make_graph(config, vocabulary), random_params(config, vocabulary, bound=1.5)


def test_a_key_decides_the_text(network):
    _, graph_, params = network
    one, same, other = (
        np.asarray(sample(graph_, params, jax.random.key(seed), PROMPT, 30)) for seed in (0, 0, 1)
    )

    assert one.shape == (30,)
    assert np.issubdtype(one.dtype, np.integer)
    assert one.min() >= 0
    assert one.max() < 11
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    assert len(set(one.tolist())) > 3  # not one draw repeated


@pytest.mark.parametrize(
    "prompt", [[3], [3, 1, 4], [0, 7, 2], [9, 10, 5], [6, 6, 8], [1, 0, 3]], ids=str
)
@pytest.mark.parametrize("temperature", [0.0, 1e-6])
def test_cold_sampling_takes_the_most_likely_token_each_time(network, prompt, temperature):
    config, graph_, params = network
    numbers = named(params, config.model)
    text = list(prompt)
    for _ in range(8):  # from scratch each time: the state carries no shortcut of ours
        start = reference.zero_state(config.model, 1)
        _, logits, _ = reference.forward(numbers, config.model, start, np.asarray([text]))
        text.append(int(logits[0, -1].argmax()))
    assert len(set(text)) > 2  # no text that repeats itself whatever the state

    drawn = sample(graph_, params, jax.random.key(0), jnp.asarray(prompt), 8, temperature)

    assert np.asarray(drawn).tolist() == text[len(prompt) :]


def test_another_prompt_another_text(network):
    _, graph_, params = network

    texts = {
        tuple(
            np.asarray(sample(graph_, params, jax.random.key(0), jnp.asarray([first, 1]), 8, 1e-6))
        )
        for first in range(11)
    }

    assert len(texts) > 1


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_follow_the_tempered_softmax(network, temperature):
    _, graph_, params = network
    # With all other parameters zero, each token is drawn from softmax(bias / temperature).
    probabilities = np.asarray([0.6, 0.25, 0.1, 0.05] + [1e-9] * 7)
    nothing = jax.tree.map(jnp.zeros_like, params)
    biased = nothing | {"softmax_bias": jnp.log(jnp.asarray(probabilities, jnp.float32))}
    count = 4000

    drawn = np.asarray(sample(graph_, biased, jax.random.key(2), PROMPT, count, temperature))

    expected = probabilities ** (1 / temperature)
    expected /= expected.sum()
    found = np.bincount(drawn, minlength=11) / count
    np.testing.assert_allclose(found, expected, atol=4 * np.sqrt(0.25 / count))
    assert abs(found - expected).max() < 0.02


def test_a_long_text_can_be_stopped(network):
    _, graph_, params = network
    ticks = []

    def tick():
        ticks.append(time.monotonic())
        if len(ticks) > 5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        sample(graph_, params, jax.random.key(0), PROMPT, 10**7, tick=tick)

    assert max(np.diff(ticks)[1:]) < 10  # the first call compiles
