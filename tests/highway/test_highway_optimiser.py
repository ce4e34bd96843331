"""The optimiser's pass over the parameters: optax's own results, in no memory of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cost_case import cost
from flax import nnx
from highway_case import assert_same_bits, experiment, random_params, snapshot, tokens_of

from common.window import make_windows
from highway.config import TrainConfig
from highway.language_model import make_graph
from highway.learner import LanguageModelLearner, clip, learning_rate, make_optimizer, update


@pytest.mark.parametrize("length", [1.0, 9.99, 10.0, 250.0])
def test_clipping_by_a_norm_that_is_known_is_optaxs_own(length):
    keys = jax.random.split(jax.random.key(0))
    gradient = {"a": jax.random.normal(keys[0], (5, 3)), "b": jax.random.normal(keys[1], (7,))}
    gradient = jax.tree.map(lambda leaf: leaf * (length / optax.tree.norm(gradient)), gradient)
    plain = optax.clip_by_global_norm(10.0)
    expected, state = plain.update(gradient, plain.init(gradient))
    own = clip(10.0)
    assert jax.tree.structure(own.init(gradient)) == jax.tree.structure(state)
    norm = optax.tree.norm(gradient)
    for known in ({}, {"gradient_norm": norm}):
        clipped, _ = own.update(gradient, own.init(gradient), None, **known)
        assert_same_bits(snapshot(clipped), snapshot(expected))
    told, _ = own.update(gradient, own.init(gradient), None, gradient_norm=jnp.float32(100.0))
    np.testing.assert_allclose(told["a"], gradient["a"] / 10, rtol=1e-6)


@pytest.mark.parametrize("clip_norm", [0.5, pytest.param(1e6, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_an_update_is_optaxs_own_with_the_costs_gradient(kind, clip_norm):
    """Weight decay is among what is clipped, what moments are taken of, and what is reported."""
    config, vocabulary = experiment(
        units=5, train={"optimizer": kind, "clip_norm": clip_norm, "weight_decay": 0.3}
    )
    train, params = config.train, random_params(config, vocabulary)
    graph = make_graph(config, vocabulary)
    model = nnx.merge(graph, params)
    tokens = tokens_of(vocabulary, train.batch_size * train.steps)
    inputs = jnp.asarray(tokens.reshape(train.batch_size, train.steps))
    window = model.initial_state(train.batch_size), inputs, inputs[:, ::-1]
    rate = float(learning_rate(train, 0))
    plain = optax.chain(
        optax.clip_by_global_norm(clip_norm), optax.sgd(rate) if kind == "sgd" else optax.adam(rate)
    )
    gradient = jax.grad(cost, has_aux=True)(params, graph, train, *window, None)[0]
    changes, _ = plain.update(gradient, plain.init(params), params)
    optimizer = make_optimizer(train, 100)
    done = update(graph, optimizer, train, params, optimizer.init(params), *window, None)
    np.testing.assert_allclose(done.gradient_norm, optax.tree.norm(gradient), rtol=1e-5)
    expected = optax.apply_updates(params, changes)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), done.params, expected
    )


def test_an_infinite_penalty_is_not_a_finite_cost():
    config, vocabulary = experiment(units=4, tied=False, train={"weight_decay": 1e-7})
    train, params = config.train, random_params(config, vocabulary)
    params["embedding"] = params["embedding"].at[-1].set(1e20)  # of a word that isn't read
    graph, optimizer = make_graph(config, vocabulary), make_optimizer(train, 1)
    state = nnx.merge(graph, params).initial_state(train.batch_size)
    tokens = jnp.zeros((train.batch_size, train.steps), jnp.int32)
    given = graph, optimizer, train, params, optimizer.init(params), state, tokens, tokens, None
    assert not update(*given).finite


@pytest.mark.usefixtures("full_optimisation")
def test_parameters_are_updated_where_they_lie_without_a_second_gradient():
    config, vocabulary = experiment(vocabulary_size=4096, batch_size=2, steps=2, units=64)
    tokens = tokens_of(vocabulary, 40)
    windows = make_windows(tokens, 2, 2, split="train")
    learner = LanguageModelLearner(config, vocabulary, windows)
    state = learner.initial_state(0)
    stop = jnp.int32(1)
    analysis = learner._advance.lower(state, learner.windows, stop).compile().memory_analysis()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state.params))
    assert analysis.alias_size_in_bytes >= size
    assert analysis.temp_size_in_bytes < 1.5 * size


def test_the_configured_optimisers_state_is_that_of_old_checkpoints():
    params = {"w": jnp.ones(3)}
    for kind, plain in (("sgd", optax.sgd), ("adam", optax.adam)):
        old = optax.chain(optax.clip_by_global_norm(10.0), plain(lambda count: 0.1)).init(params)
        new = make_optimizer(TrainConfig(optimizer=kind), 1).init(params)
        assert jax.tree.structure(new) == jax.tree.structure(old)
