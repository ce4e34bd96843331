"""The replay memory: what lies in it, and what is drawn from it, alone and in the loop."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learner_case import (
    log_softmax,
    make_block_learner,
    make_learner,
    make_lstm,
    make_table,
    of_seed,
    step_with,
    walk,
)
from scipy.stats import chi2, chisquare

from common.error import ConfigError
from tutor.replay import draw_places, make_replay, read, store

# ------------------------------------------------------------------------------------ the memory


def test_the_newest_rows_stay_whole():
    """Row n lies at n mod capacity, in every array, after the memory is full as before."""
    example = {"number": jnp.zeros((), jnp.int32), "pair": (jnp.zeros(2),)}
    memory = make_replay(example, 12, 3)
    assert memory.capacity == 12
    assert memory.rows["number"].dtype == jnp.int32
    for first in range(0, 30, 3):
        numbers = jnp.arange(first, first + 3, dtype=jnp.int32)
        rows = {"number": numbers, "pair": (jnp.stack([numbers, -numbers], 1).astype(float),)}
        memory = jax.jit(store)(memory, rows, jnp.int32(first))
        stored = np.arange(max(0, first - 9), first + 3)
        found = read(memory, jnp.asarray(stored % 12))
        np.testing.assert_array_equal(found["number"], stored)
        np.testing.assert_array_equal(found["pair"][0], np.stack([stored, -stored], 1))


def test_a_capacity_that_would_cut_a_store_in_two():
    with pytest.raises(ConfigError, match=r"memory of 100 .* 3 rows"):
        make_replay(jnp.zeros(()), 100, 3)
    graph, _ = make_table()
    with pytest.raises(ConfigError, match="replay_capacity=100 is no multiple"):
        make_learner(graph, walk(), iterations=150, environments=3, replay_capacity=100)


# ------------------------------------------------------------------------------------ the draws


draw = jax.jit(draw_places, static_argnums=2)


def places(size, batch_size, count, seed=0):
    return np.asarray(draw(jax.random.key(seed), jnp.full(count, size), batch_size))


@pytest.mark.parametrize(
    ("size", "batch_size"), [(32, 32), (33, 32), (40, 8), (100_000, 32), (1, 1)]
)
def test_a_batch_has_no_place_twice_and_none_beyond_the_end(size, batch_size):
    found = places(size, batch_size, 500)
    assert found.shape == (500, batch_size)
    assert found.min() >= 0
    assert found.max() < size
    ordered = np.sort(found, axis=1)
    assert (ordered[:, 1:] > ordered[:, :-1]).all()
    if size == batch_size:
        np.testing.assert_array_equal(ordered, np.tile(np.arange(size), (500, 1)))


@pytest.mark.parametrize(("size", "batch_size"), [(10, 4), (12, 11), (200, 32), (7, 1)])
def test_every_place_is_as_likely(size, batch_size):
    """χ² of how often each is in a batch. Draws without repeats vary less than independent ones,
    by (size − batch) / (size − 1), which is put right."""
    count = 20_000
    often = np.bincount(places(size, batch_size, count).ravel(), minlength=size)
    expected = count * batch_size / size
    statistic = ((often - expected) ** 2).sum() / expected * (size - 1) / (size - batch_size)
    assert 0.005 < chi2.sf(statistic, size - 1) < 0.995


def test_every_pair_of_places_is_as_likely():
    found = np.sort(places(6, 2, 30_000), axis=1)
    pairs = np.bincount(6 * found[:, 0] + found[:, 1], minlength=36).reshape(6, 6)
    assert chisquare(pairs[np.triu_indices(6, 1)]).pvalue > 0.01
    assert pairs.sum() == pairs[np.triu_indices(6, 1)].sum()


def test_sizes_of_their_own_and_keys():
    sizes = jnp.array([4, 9, 50, 4])
    found = np.asarray(draw(jax.random.key(1), sizes, 4))
    assert (found < np.asarray(sizes)[:, None]).all()
    assert (np.sort(found[0]) == np.arange(4)).all()
    assert (places(50, 4, 3, seed=1) == places(50, 4, 3, seed=1)).all()
    assert (places(50, 4, 3, seed=1) != places(50, 4, 3, seed=2)).any()


# -------------------------------------------------------------------------------- in the loop


def test_what_is_stored_is_what_happened():
    """Every row of a run that learns, wraps around and begins sequences anew, lived through again.

    Networks act through a block of 12 steps with the weights of its beginning; the recurrent states
    come down from older weights.
    """
    width, steps, capacity, discount = 3, 4, 30, 0.8
    environment = walk(5, ends=True)
    reward, ends = (np.asarray(table) for table in environment.params)
    graph, prior = make_lstm()
    learner = make_block_learner(
        graph,
        environment,
        method="g",
        environments=width,
        update_every=4,
        replay_capacity=capacity,
        batch_size=9,
        learning_rate=0.05,
        discount=discount,
        c=0.25,
        epsilon_end=1.0,
        bootstrap_at_end=False,
    )
    state = learner.initial_state(prior, (8,))
    before = of_seed(state.seeds)
    zero = jax.tree.map(np.zeros_like, before.actor.policy)
    ended = 0
    rows_by_number = {}
    for block in range(6):
        first = block * width * steps
        state = learner.advance(state, first + width * steps)
        after = of_seed(state.seeds)
        memory = after.replay.rows
        events, policy, of_prior = before.actor.observation, before.actor.policy, before.actor.prior
        for number in range(first, first + width * steps, width):
            at = np.arange(number, number + width) % capacity
            rows = row_of(memory, at)
            rows_by_number |= {number + n: row_of(rows, n) for n in range(width)}
            np.testing.assert_array_equal(rows.observation, events)
            np.testing.assert_array_equal(rows.next_observation, rows.action)
            where = rows.observation, rows.action
            np.testing.assert_array_equal(rows.reward, reward[where] / np.float32(0.25))
            np.testing.assert_array_equal(
                rows.discount, np.float32(discount) * (1 - ends[where].astype(np.float32))
            )
            jax.tree.map(np.testing.assert_array_equal, rows.policy_before, policy)
            policy, _ = step_with(graph, before.params, policy, events)
            of_prior, logits = step_with(graph, prior, of_prior, events)
            assert_close(rows.policy_after, policy)
            assert_close(rows.prior_after, of_prior)
            assert_close(rows.log_prior, log_softmax(np.float64(logits)))

            done = ends[where]
            ended += done.sum()
            events = np.where(done, 0, rows.action)
            begin = partial(np.where, done[:, None])
            policy = jax.tree.map(begin, zero, rows.policy_after)
            of_prior = jax.tree.map(begin, zero, rows.prior_after)
        np.testing.assert_array_equal(after.actor.observation, events)
        jax.tree.map(np.testing.assert_array_equal, after.actor.policy, policy)
        jax.tree.map(np.testing.assert_array_equal, after.actor.prior, of_prior)
        before = after
    assert ended > 10
    assert len(rows_by_number) == 72
    assert after.totals.updates > 10
    for number in range(72 - capacity, 72):  # the newest, none changed since it was stored
        row = row_of(memory, number % capacity)
        jax.tree.map(np.testing.assert_array_equal, row, rows_by_number[number])


def row_of(rows, at):
    return jax.tree.map(lambda leaf: leaf[at], rows)


def assert_close(found, expected):
    """One step of a network, compiled in two ways, rounds differently."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)


def test_only_gs_target_asks_for_the_priors_states():
    graph, prior = make_table()
    for method, kept in (("g", True), ("psi", False)):
        learner = make_learner(graph, walk(), method=method, iterations=100)
        rows = learner.initial_state(prior, (0,)).seeds.replay.rows
        assert (rows.prior_after is not None) is kept


@pytest.mark.parametrize(
    ("environments", "update_every", "batch_size", "steps", "updates"),
    [
        (1, 5, 32, 1000, 1000 // 5 - 6),  # a million steps of the released code: 200,000 − 6
        (3, 2, 13, 600, 3 * (600 // 6 - 2)),  # blocks of 6 steps and 3 updates; 12 are too few
    ],
)
def test_batches_begin_when_one_is_stored_and_hold_nothing_else(
    environments, update_every, batch_size, steps, updates
):
    """What was never stored would poison the loss."""
    graph, prior = make_table()
    learner = make_learner(
        graph,
        walk(),
        iterations=steps,
        environments=environments,
        update_every=update_every,
        batch_size=batch_size,
        replay_capacity=2 * steps,
    )
    state = learner.initial_state(prior, (0,))
    rows = state.seeds.replay.rows
    rows = rows._replace(reward=jnp.full_like(rows.reward, jnp.nan))
    memory = state.seeds.replay._replace(rows=rows)
    state = learner.advance(state._replace(seeds=state.seeds._replace(replay=memory)), steps)
    assert int(state.step) == steps
    assert int(state.diverged_at) == -1
    assert int(state.seeds.totals.updates[0]) == updates
    assert int(state.seeds.totals.steps[0]) == steps
    rewards = np.asarray(state.seeds.replay.rows.reward[0])
    assert np.isfinite(rewards[:steps]).all()
    assert np.isnan(rewards[steps:]).all()
    _, (metrics,) = learner.collect(state)
    mean = rewards[:steps].mean() * learner.config.c
    assert metrics["train/reward"] == pytest.approx(mean, rel=1e-4)
