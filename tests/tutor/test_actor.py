"""Acting: keys that reach the environment, rewards that live in Python, sequences that end."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learner_case import make_learner, make_lstm, make_table, of_seed, walk

from tutor.actor import Environment
from tutor.evaluation import Composer, Compositions, Policy


class Luck(NamedTuple):
    drawn: jax.Array
    """What the last step's key gave."""


def lucky() -> Environment:
    """Rewards are uniform numbers drawn from the key of the step."""

    def reset(key, params):
        return jnp.zeros((), jnp.int32), Luck(jnp.zeros(()))

    def step(key, state, action, params):
        reward = jax.random.uniform(key)
        return action, Luck(reward), reward, False, {}

    return Environment(reset, step, None)


def test_a_stochastic_environment_draws_anew_at_each_step_of_each_sequence_of_each_seed():
    graph, prior = make_table()
    learner = make_learner(
        graph, lucky(), iterations=800, environments=4, update_every=4, replay_capacity=800, c=1.0
    )
    state = learner.advance(learner.initial_state(prior, (1, 2)), 800)
    rewards = np.stack([of_seed(state.seeds, place).replay.rows.reward for place in (0, 1)])
    assert len(np.unique(rewards)) == rewards.size == 1600
    assert abs(rewards.mean() - 0.5) < 0.05
    again = learner.advance(learner.initial_state(prior, (1, 2)), 800)
    np.testing.assert_array_equal(of_seed(again.seeds).replay.rows.reward, rewards[0])


def test_compositions_in_a_stochastic_environment_differ_in_their_luck():
    graph, prior = make_table()
    composer = Composer(graph, "q", lucky(), 5)
    made = composer.compose(Policy(prior, prior), jax.random.key(0), 8)
    assert len(np.unique(made.reward)) == made.reward.size
    again = composer.compose(Policy(prior, prior), jax.random.key(0), 8)
    np.testing.assert_array_equal(made.reward, again.reward)
    other = composer.compose(Policy(prior, prior), jax.random.key(1), 8)
    assert (made.reward != other.reward).all()


def test_a_reward_in_python_is_called_once_a_step_for_all_sequences_of_all_seeds():
    calls = []

    def score(action):
        calls.append(np.shape(action))
        return np.float32(action) / 10

    def reset(key, params):
        return jnp.zeros((), jnp.int32), jnp.zeros(())

    def step(key, state, action, params):
        shape = jax.ShapeDtypeStruct((), jnp.float32)
        reward = jax.pure_callback(score, shape, action, vmap_method="broadcast_all")
        return action, state, reward, False, {}

    graph, prior = make_table()
    learner = make_learner(
        graph,
        Environment(reset, step, None),
        iterations=400,
        environments=4,
        update_every=4,
        replay_capacity=400,
        c=1.0,
    )
    state = learner.advance(learner.initial_state(prior, (1, 2, 3)), 400)
    jax.block_until_ready(state)
    assert len(calls) == 100  # 400 environment steps of each seed, four at a time
    assert {int(np.prod(shape)) for shape in calls} == {3 * 4}
    for place in range(3):
        rows = of_seed(state.seeds, place).replay.rows
        np.testing.assert_allclose(rows.reward, rows.action / 10, rtol=1e-6)


# ------------------------------------------------------------------------- sequences that end


@pytest.fixture(scope="module")
def ending():
    """Compositions of a walk that ends after one pair of events in four."""
    graph, prior = make_lstm()
    _, params = make_lstm(seed=3)
    environment = walk(5, ends=True)
    made = Composer(graph, "psi", environment, 12).compose(
        Policy(params, prior), jax.random.key(2), 200
    )
    return environment, made


def lengths_by_hand(environment, events):
    """How many events each sequence has, from the rules alone."""
    ends = np.asarray(environment.params.ends)
    lengths = []
    for sequence in events:
        before, length = 0, 0
        for event in sequence:
            length += 1
            if ends[before, event]:
                break
            before = event
        lengths.append(length)
    return np.array(lengths)


def test_events_count_up_to_the_one_that_ends_their_sequence(ending):
    environment, made = ending
    lengths = lengths_by_hand(environment, made.events)
    assert len(np.unique(lengths)) > 5
    assert (lengths < 12).any()
    np.testing.assert_array_equal(made.lengths, lengths)
    np.testing.assert_array_equal(made.counted, np.arange(12) < lengths[:, None])


def test_means_are_over_the_events_that_count(ending):
    environment, made = ending
    lengths = lengths_by_hand(environment, made.events)
    columns = {
        "reward": made.reward,
        "log_prior": made.log_prior,
        "kl_policy_prior": made.kl,
        "entropy": made.entropy,
    }
    whole, last = made.metrics("x"), made.metrics("x", last_only=True)
    for name, values in columns.items():
        counted = [v for row, n in zip(values, lengths, strict=True) for v in row[:n]]
        assert whole[f"x/{name}"] == pytest.approx(np.mean(counted), rel=1e-5)
        assert whole[f"x/{name}"] != pytest.approx(np.mean(values), rel=1e-3)
        ends = [row[n - 1] for row, n in zip(values, lengths, strict=True)]
        expected = np.mean(ends if name in ("reward", "log_prior") else counted)
        assert last[f"x/{name}"] == pytest.approx(expected, rel=1e-5)


def test_where_every_event_counts_the_mean_is_that_of_the_whole_array():
    """To the bit: records of melodies stay what they were."""
    random = np.random.default_rng(0)
    arrays = [random.normal(size=(1234, 32)).astype(np.float32) for _ in range(4)]
    made = Compositions(np.zeros((1234, 32), np.int32), *arrays, np.ones((1234, 32), bool))
    assert list(made.metrics("x").values()) == [float(np.mean(values)) for values in arrays]


# ------------------------------------------------------------------------------ target network


def test_the_target_network_moves_once_a_block_as_far_as_after_each_of_its_updates():
    """Eight updates to a block: by 1 − (1 − η)^8 of the way, not by η."""
    graph, prior = make_lstm()
    rate, settings = 0.1, {"environments": 8, "update_every": 1, "replay_capacity": 800}
    learner = make_learner(
        graph,
        walk(3),
        target_rate=rate,
        iterations=8 * 1009,
        batch_size=8,
        learning_rate=0.01,
        **settings,
    )
    assert learner.round_steps == 8
    assert learner.updates_per_block == 8
    state = learner.advance(learner.initial_state(prior, (0,)), 80)
    before = of_seed(state.seeds)
    after = of_seed(learner.advance(state, 88).seeds)
    way = 1 - (1 - rate) ** 8
    expected = jax.tree.map(
        lambda old, new: (1 - way) * old + way * new, before.target, after.params
    )
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), after.target, expected)
    moved = [
        np.abs(a - b).max()
        for a, b in zip(*map(jax.tree.leaves, (after.target, before.target)), strict=True)
    ]
    assert max(moved) > 1e-3


@pytest.mark.parametrize(
    ("environments", "block", "updates", "blocks", "steps"),
    [(40, 40, 8, 5, 200), (1, 5, 1, 40, 200)],
)
def test_blocks_and_rounds_are_those_of_the_modules_example(
    environments, block, updates, blocks, steps
):
    graph, _ = make_table()
    learner = make_learner(graph, walk(), environments=environments)
    assert learner.steps_per_block * environments == block
    assert (learner.updates_per_block, learner.blocks) == (updates, blocks)
    assert learner.round_steps == steps
