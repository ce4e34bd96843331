"""The LSTM with a hand-written backward pass: equal to differentiating the plain scan."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from common.compute import Compute
from common.lstm import LSTM, LSTMState

WAYS = ("scan", "jax")
TIME, BATCH, UNITS, EVENTS = 6, 4, 7, 5


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def make_core(kernel):
    core = LSTM(
        EVENTS,
        UNITS,
        initial_range=0.8,
        forget_bias=1.0,
        rngs=nnx.Rngs(0),
        compute=Compute(kernel),
    )
    graph, params = nnx.split(core)
    return graph, nnx.to_pure_dict(params)


def make_state():
    cell, output = jax.random.normal(jax.random.key(1), (2, BATCH, UNITS))
    return LSTMState(cell, output)


def assert_same_values_and_gradients(plain, fused, *arguments):
    weigh = jax.random.normal(jax.random.key(2), (TIME + 2, BATCH, UNITS))

    def weighed(run, *arguments):
        last, outputs = run(*arguments)
        return jnp.sum(jnp.concatenate([outputs, jnp.stack(last)]) * weigh)

    places = tuple(range(1, len(arguments) + 1))
    expected, actual = (
        jax.value_and_grad(weighed, places)(run, *arguments) for run in (plain, fused)
    )
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert one.dtype == np.float64
        np.testing.assert_allclose(one, other, 0, 1e-10)


@pytest.mark.parametrize(("separate", "rate"), [(False, 0.0), (False, 0.4), (True, 0.4)])
def test_gradients_equal_those_of_the_scan(separate, rate):
    xs = jax.random.normal(jax.random.key(3), (TIME, BATCH, EVENTS))
    graphs, params = zip(*map(make_core, WAYS), strict=True)
    core = nnx.merge(graphs[0], params[0])
    masks = core.sample_masks(jax.random.key(4), BATCH, rate, rate, separate=separate)
    plain, by_hand = (
        lambda params, state, xs, graph=graph: nnx.merge(graph, params).unroll(state, xs, masks)
        for graph in graphs
    )
    assert_same_values_and_gradients(plain, by_hand, params[0], make_state(), xs)
    text = str(jax.make_jaxpr(by_hand)(params[1], make_state(), xs))
    assert "custom_vjp" in text


def test_looking_events_up_equals_one_hot_inputs():
    events = jax.random.randint(jax.random.key(5), (TIME, BATCH), 0, EVENTS)
    graphs, params = zip(*map(make_core, WAYS), strict=True)
    plain, by_hand = (
        lambda params, state, graph=graph: nnx.merge(graph, params).unroll_events(state, events)
        for graph in graphs
    )
    assert_same_values_and_gradients(plain, by_hand, params[0], make_state())


def test_members_side_by_side():
    """Under vmap, as a population runs them."""
    graph, params = make_core("jax")
    events = jax.random.randint(jax.random.key(6), (3, TIME, BATCH), 0, EVENTS)

    def gradient(events):
        def total(params):
            core = nnx.merge(graph, params)
            return jnp.sum(core.unroll_events(core.initial_state(BATCH), events)[1])

        return jax.grad(total)(params)

    together = jax.vmap(gradient)(events)
    for place in range(3):
        alone = gradient(events[place])
        jax.tree.map(
            lambda one, other: np.testing.assert_allclose(one, other, 0, 1e-10),
            jax.tree.map(lambda leaf, place=place: leaf[place], together),
            alone,
        )
