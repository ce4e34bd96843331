"""Gradient steps that go back through consecutive transitions."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from learner_case import EVENTS, make_lstm, walk

from common.error import ConfigError
from tutor import replay
from tutor.config import LearnConfig
from tutor.kl_control import METHODS
from tutor.learn_state import BootstrapValues
from tutor.learner import TutorLearner
from tutor.update import replayed, update

UNROLL, WIDTH = 4, 3
CONFIG = LearnConfig(
    method="psi",
    iterations=600,
    environments=WIDTH,
    update_every=3,
    replay_capacity=60,
    batch_size=20,
    unroll=UNROLL,
    learning_rate=1e-3,
    discount=1.0,
    exploration="boltzmann",
    bootstrap_at_end=False,
)


def make_learner(**settings):
    graph, params = make_lstm()
    learner = TutorLearner(replace(CONFIG, **settings), graph, EVENTS, walk(ends=True))
    return learner, nnx.merge(graph, params), params


def in_time(rows):
    """Transitions [UNROLL, sequences, ...] as NumPy arrays."""
    return jax.tree.map(lambda leaf: np.asarray(leaf).reshape(UNROLL, -1, *leaf.shape[1:]), rows)


@pytest.fixture(scope="module")
def still():
    """A memory that has been written over several times by networks that hardly moved."""
    learner, model, params = make_learner(learning_rate=1e-12)
    state = learner.initial_state(params, seed=0)
    goes = jax.jit(learner.round)
    stored = 3 * learner.round_steps
    for step in range(0, stored, learner.round_steps):
        state = goes(state, jnp.int32(step))
    return learner, model, state, stored


@pytest.fixture(scope="module")
def batches(still):
    learner, _, state, stored = still
    before = jnp.int32(stored - learner.config.block)  # the first block then fills to `stored`
    keys = jax.random.split(jax.random.key(1), 50)
    places = [learner._draw(key, before).places[0, 0] for key in keys]
    return [replay.read(state.replay, one) for one in places]


def test_a_sequence_is_of_consecutive_transitions_of_one_environment(batches):
    seen, ended = set(), 0
    for rows in batches:
        by_time = in_time(rows)
        goes_on = by_time.discount[:-1] != 0
        ended += np.sum(~goes_on)
        after, before = by_time.policy_after.output[:-1], by_time.policy_before.output[1:]
        assert np.array_equal(after[goes_on], before[goes_on])
        assert not before[~goes_on].any()  # a sequence that begins anew
        seen |= {tuple(output) for output in by_time.policy_after.output[-1]}
    assert ended > 10
    assert len(seen) > 30  # of 60 places, those that have three before them


def test_states_are_the_stored_ones_while_the_network_stays(still, batches):
    _, model, _, _ = still
    rows = batches[0]
    each, values = replayed(model, rows, 1)
    through, same = replayed(model, rows, UNROLL)
    np.testing.assert_allclose(same, values, atol=1e-5)
    np.testing.assert_allclose(through.cell, each.cell, atol=1e-5)
    np.testing.assert_allclose(through.cell, rows.policy_after.cell, atol=1e-5)


def test_a_changed_network_makes_its_own_states_but_for_the_first(still, batches):
    _, model, _, _ = still
    graph, params = nnx.split(model)
    other = nnx.merge(graph, jax.tree.map(lambda leaf: leaf * 1.3, params))
    rows = batches[0]
    states, values = replayed(other, rows, UNROLL)
    count = len(rows.action) // UNROLL
    parts = [slice(k * count, (k + 1) * count) for k in range(UNROLL)]
    slices = [jax.tree.map(lambda leaf, part=part: leaf[part], rows) for part in parts]
    state = slices[0].policy_before
    for part, past, now in zip(parts, [None, *slices], slices, strict=False):
        if past is not None:
            begins = partial(jnp.where, (past.discount == 0)[:, None])
            state = jax.tree.map(begins, now.policy_before, state)
        state, expected = other.step(state, now.observation)
        np.testing.assert_allclose(values[part], expected, atol=1e-5)
        np.testing.assert_allclose(states.cell[part], state.cell, atol=1e-5)


def test_training_depends_on_it_and_goes_back_in_time():
    def trained(**settings):
        learner, _, params = make_learner(**settings)
        return jax.jit(learner.round)(learner.initial_state(params, seed=0), jnp.int32(0))

    several, one = trained(), trained(unroll=1)
    # A batch needs 20 transitions; or 5 that have three before them in each of 3 environments.
    assert [one.totals.updates, several.totals.updates] == [44, 46]
    assert several.totals.looks == 1
    assert several.totals.kl >= 0
    kernels = [np.asarray(state.params["core"]["kernel"]) for state in (several, one)]
    assert np.isfinite(kernels[0]).all()
    assert not np.array_equal(*kernels)


def test_both_networks_go_through_sequences_of_that_length(monkeypatch):
    lengths = []

    def seen(model, rows, length):
        lengths.append(length)
        return replayed(model, rows, length)

    monkeypatch.setattr("tutor.learner.replayed", seen)  # of the target network
    monkeypatch.setattr("tutor.update.replayed", seen)  # of the value network
    learner, _, params = make_learner()
    jax.eval_shape(learner.round, learner.initial_state(params, seed=0), jnp.int32(0))
    assert lengths == [UNROLL, UNROLL]


def test_the_action_of_double_q_learning_is_chosen_by_states_of_its_own(still, batches):
    """Not by the stored ones, which another network left: the loss is that of replayed states."""
    _, model, _, _ = still
    graph, params = nnx.split(model)
    rows = batches[0]
    other = jax.tree.map(lambda leaf: -2 * leaf, params)
    network = nnx.merge(graph, other)
    after, q_tm1 = replayed(network, rows, UNROLL)
    _, chosen = network.step(after, rows.next_observation)
    _, stale = network.step(rows.policy_after, rows.next_observation)
    q_t = jax.random.normal(jax.random.key(3), chosen.shape)

    def loss(selector):
        best = jnp.argmax(selector, axis=-1)
        value = jnp.take_along_axis(q_t, best[:, None], 1)[:, 0]
        log_p = jnp.take_along_axis(rows.log_prior, rows.action[:, None], 1)[:, 0]
        taken = jnp.take_along_axis(q_tm1, rows.action[:, None], 1)[:, 0]
        return jnp.mean(jnp.square(log_p + rows.reward + rows.discount * value - taken))

    optimizer = optax.sgd(0.0)
    done = update(
        graph, METHODS["q"], optimizer, other, optimizer.init(other), rows,
        BootstrapValues(q_t, None), double=True, unroll=UNROLL,
    )  # fmt: skip
    np.testing.assert_allclose(done.loss, loss(chosen), rtol=1e-5)
    assert abs(loss(chosen) - loss(stale)) > 1e-3


def test_gradients_reach_what_was_read_before(still, batches):
    _, model, _, _ = still
    graph, params = nnx.split(model)
    rows = batches[0]
    count = len(rows.action) // UNROLL

    def last_values(observation, length):
        embedded = rows._replace(observation=observation)
        return jnp.sum(replayed(nnx.merge(graph, params), embedded, length)[1][-count:])

    changed = rows.observation.at[:count].set((rows.observation[:count] + 1) % EVENTS)
    assert last_values(changed, 1) == last_values(rows.observation, 1)
    assert last_values(changed, UNROLL) != last_values(rows.observation, UNROLL)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"unroll": 3}, "no multiple of learn.unroll=3"),
        ({"bootstrap_at_end": True}, "learn.bootstrap_at_end=false"),
        ({"discount": 0.0}, "set learn.unroll=1 or a learn.discount above 0"),
        ({"replay_capacity": 12}, "holds no batch of 20"),
    ],
)
def test_settings_that_exclude_each_other(settings, match):
    with pytest.raises(ConfigError, match=match):
        replace(CONFIG, **settings)
