"""Q-learning of melodies repeats itself and learns; a seed that diverges leaves others alone."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learner_case import (
    assert_same_bits,
    make_learner,
    make_lstm,
    make_table,
    of_seed,
    snapshot,
    table_of,
    walk,
)

from common.checkpoint import Checkpoints, abstract
from common.melody import NUM_EVENTS
from common.population import Population, whole
from tutor.actor import Environment
from tutor.music import theory


@pytest.mark.usefixtures("full_optimisation")
def test_a_seed_that_diverges_keeps_what_it_had_and_others_go_on():
    """Its batches are its whole memory: the first infinite reward is in the next one."""
    graph, prior = make_table()
    learner = make_learner(
        graph, walk(), iterations=2000, replay_capacity=32, batch_size=32, learning_rate=0.01
    )
    size = learner.round_steps
    breaks_at = size + size // 4  # in the second round

    def run(stop, *breaks):
        state = learner.initial_state(prior, (1, 2))
        actor = state.seeds.actor
        when = jnp.asarray(breaks, jnp.int32)[:, None]
        actor = actor._replace(environment=actor.environment._replace(breaks_at=when))
        return learner.advance(state._replace(seeds=state.seeds._replace(actor=actor)), stop)

    kept = ("params", "target", "prior", "optimizer")
    before = snapshot(run(size, -1, -1))
    sound = snapshot(run(5 * size, -1, -1))
    state = run(5 * size, breaks_at, -1)
    assert state.seeds.diverged_at.tolist() == [size, -1]
    assert int(state.diverged_at) == -1
    assert int(state.step) == 5 * size
    for name in kept:
        assert_same_bits(of_seed(getattr(state.seeds, name)), of_seed(getattr(before.seeds, name)))
        assert_same_bits(
            of_seed(getattr(state.seeds, name), 1), of_seed(getattr(sound.seeds, name), 1)
        )
    assert np.isfinite(table_of(of_seed(state.seeds.params))).all()

    state = run(5 * size, breaks_at + size, breaks_at)
    assert state.seeds.diverged_at.tolist() == [2 * size, size]
    assert int(state.diverged_at) == 2 * size
    assert int(state.step) == 3 * size  # no round after the last has diverged


def test_metrics_go_on_when_a_seed_has_diverged():
    """It has none of its own any more, which is no reason for the others' to end."""
    graph, prior = make_table()
    learner = make_learner(
        graph, walk(), iterations=2000, replay_capacity=32, batch_size=32, learning_rate=0.01
    )
    state = learner.initial_state(prior, (1, 2))
    actor = state.seeds.actor
    when = jnp.array([[10], [-1]], jnp.int32)
    actor = actor._replace(environment=actor.environment._replace(breaks_at=when))
    state = state._replace(seeds=state.seeds._replace(actor=actor))
    state = learner.advance(state, 2 * learner.round_steps)
    assert state.seeds.diverged_at.tolist() == [0, -1]
    state, (_, sound) = learner.collect(state)
    assert sound.keys() >= {"train/reward", "train/loss"}
    assert np.isfinite(list(sound.values())).all()
    state = learner.advance(state, 4 * learner.round_steps)
    _, (_, sound) = learner.collect(state)
    assert np.isfinite(list(sound.values())).all()


SEEDS = (3, 5)


MUSIC = Environment(theory.reset, theory.step_env, theory.DEFAULT)


UNITS = 8


@cache
def music():
    """A learner of melodies, its prior (it learnt nothing), and its state's structure."""
    graph, prior = make_lstm(NUM_EVENTS, UNITS, initial_range=0.3)
    learner = make_learner(
        graph,
        MUSIC,
        num_events=NUM_EVENTS,
        method="g",
        iterations=12_000,
        environments=4,
        update_every=4,
        replay_capacity=2000,
        learning_rate=5e-3,
        target_rate=0.05,
        exploration="boltzmann",
    )
    return learner, prior


@cache
def first_steps(seeds, stop=1200):
    learner, prior = music()
    return snapshot(learner.advance(learner.initial_state(prior, seeds), stop))


@pytest.mark.slow
@pytest.mark.usefixtures("full_optimisation")
def test_the_bits_do_not_depend_on_how_learning_is_divided(tmp_path):
    """One call, several, and a checkpoint between them, read into another learner."""
    learner, prior = music()
    state = learner.initial_state(prior, SEEDS)
    for stop in (200, 600, 1200):
        state = learner.advance(state, stop)
    assert int(state.step) == 1200
    assert_same_bits(state, first_steps(SEEDS))

    checkpoints = Checkpoints(tmp_path / "checkpoints")
    half = learner.advance(learner.initial_state(prior, SEEDS), 600)
    saved = snapshot(half)
    checkpoints.save(half, {})
    learner.advance(half, 800)
    structure = abstract(learner.initial_state(prior, SEEDS))
    restored, _ = checkpoints.restore_latest(structure, pytest.fail)
    checkpoints.close()
    assert_same_bits(restored, saved)
    assert_same_bits(learner.advance(restored, 1200), first_steps(SEEDS))


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    learner, prior = music()
    again = learner.advance(learner.initial_state(prior, SEEDS), 1200)
    assert_same_bits(again, first_steps(SEEDS))
    one, other = (of_seed(again.seeds, place) for place in (0, 1))
    assert (one.replay.rows.action != other.replay.rows.action).any()
    differ = jax.tree.map(lambda a, b: bool((a != b).any()), one.params, other.params)
    assert all(jax.tree.leaves(differ))
    assert_same_bits(one.prior, other.prior)


def test_methods_draw_the_same_random_numbers_for_a_round():
    """Those of exploring, of beginnings, and of places in the memory."""
    graph, _ = make_table()
    drawn = [
        make_learner(graph, walk(), method=method)._draw(jax.random.key(3), jnp.int32(0))
        for method in ("q", "psi", "g", "rl_only")
    ]
    for other in drawn[1:]:
        assert_same_bits(other, drawn[0])


def test_methods_explore_by_the_same_random_numbers():
    """Where all events are drawn uniformly, those of a seed are the same whatever the method."""
    graph, prior = make_table()

    def events(method, *seeds):
        learner = make_learner(
            graph,
            walk(),
            method=method,
            iterations=2000,
            replay_capacity=400,
            epsilon_end=1.0,
        )
        state = learner.advance(learner.initial_state(prior, seeds), 400)
        return of_seed(state.seeds).replay.rows.action

    q = events("q", 3)
    for method in ("psi", "g", "rl_only"):
        np.testing.assert_array_equal(events(method, 3), q, err_msg=method)
    assert (events("q", 4) != q).any()


def test_a_seed_among_others_is_the_seed_alone():
    """Sums round differently in a batch of seeds: after 92 updates the weights, moved by 0.3, still
    agree to 1e-3, and so do the events that are drawn with the same numbers, all 400."""
    among = of_seed(first_steps(SEEDS, 400).seeds)
    alone = of_seed(first_steps(SEEDS[:1], 400).seeds)
    for name in ("observation", "action", "next_observation", "reward", "discount"):
        pair = [getattr(seed.replay.rows, name) for seed in (among, alone)]
        np.testing.assert_array_equal(*pair, err_msg=name)
    assert len(np.unique(alone.replay.rows.action[:400])) > 30
    np.testing.assert_allclose(among.replay.rows.log_prior, alone.replay.rows.log_prior, atol=1e-5)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-3), among.params, alone.params)
    assert_same_bits(among.key, alone.key)


def test_the_bits_do_not_depend_on_the_number_of_threads():
    """A machine with another number of cores goes on with the same training."""
    learner, prior = music()

    def run(threads, seeds=SEEDS):
        population = Population(learner.learner, seeds, threads=threads)
        begun = population.initial_state(partial(learner.learner.initial_state, prior))
        return snapshot(whole(population.advance(begun, 400)))

    one = run(1)
    assert_same_bits(one, run(2))
    assert_same_bits(of_seed(one.seeds), of_seed(run(1, SEEDS[:1]).seeds))


def test_every_parameter_of_the_value_network_learns_and_no_other():
    _, prior = music()
    seed = of_seed(first_steps(SEEDS).seeds)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), seed.params, snapshot(prior))
    assert all(jax.tree.leaves(moved)), moved
    assert_same_bits(seed.prior, prior)


def test_tuning_learns_melodies():
    """The reward of an event rises by 1 and more, from that of nearly uniform events, −0.4."""
    learner, prior = music()
    state, first = learner.collect(learner.advance(learner.initial_state(prior, SEEDS), 800))
    state, _ = learner.collect(learner.advance(state, 10_000))
    state, last = learner.collect(learner.advance(state, 12_000))
    for begun, done in zip(first, last, strict=True):
        assert done["train/reward"] > begun["train/reward"] + 1.0
        assert done["train/reward"] > 1.0
        assert done["train/kl_policy_prior"] > 0.5
        assert done["train/entropy"] < begun["train/entropy"]
