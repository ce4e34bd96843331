"""How the loop explores, and the oddities of the released code, on and off."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learner_case import (
    EVENTS,
    assert_same_bits,
    log_softmax,
    make_block_learner,
    make_learner,
    make_lstm,
    make_table,
    of_seed,
    table_of,
    walk,
    with_table,
)
from scipy.stats import binomtest, chisquare

from tutor.config import Quirks

STEPS = 8000


def behave(values, *, quirks=Quirks(), **settings):  # noqa: B008 - immutable
    """All transitions of a value network that is a table and stays as it is, with log p [s, a]."""
    graph, prior = make_table(1)
    learner = make_learner(
        graph,
        walk(4),
        quirks=quirks,
        iterations=STEPS,
        environments=16,
        update_every=80,
        batch_size=1,
        replay_capacity=STEPS,
        learning_rate=1e-30,
        **settings,
    )
    state = learner.initial_state(prior, (6,))
    table = jax.tree.map(lambda leaf: leaf[None], with_table(prior, values))
    state = state._replace(seeds=state.seeds._replace(params=table))
    seed = of_seed(learner.advance(state, STEPS).seeds)
    np.testing.assert_allclose(table_of(seed.params), np.float32(values), atol=1e-20)
    return seed.replay.rows, log_softmax(table_of(prior))


def values():
    """A table whose best events differ from those that the prior of `behave` makes of them."""
    return np.random.default_rng(12).normal(size=(EVENTS, EVENTS))


def assert_drawn(events, observations, probability):
    """χ² per latest event."""
    for event in range(EVENTS):
        often = np.bincount(events[observations == event], minlength=EVENTS)
        assert often.sum() > 500
        assert chisquare(often, often.sum() * probability[event]).pvalue > 0.01


# ------------------------------------------------------------------------------------ exploration


def test_epsilon_falls_in_a_line_and_stays():
    graph, _ = make_table()
    learner = make_learner(graph, walk(), iterations=1_000_000)
    steps = [0, 250_000, 500_000, 500_001, 1_000_000]
    found = [float(learner.epsilon(jnp.int32(step))) for step in steps]
    assert found == pytest.approx([1.0, 0.55, 0.1, 0.1, 0.1])


def test_epsilon_greedy_takes_the_best_but_for_a_uniform_share():
    """ε falls from 1 to 0 in the first half, where some of the uniform events are the best by
    chance; in the second half all are. The best is G's, tilted by the prior."""
    rows, log_prior = behave(values(), method="g", epsilon_end=0.0, epsilon_iterations=STEPS // 2)
    scores = values() + log_prior
    assert (values().argmax(1) != (values() + log_prior).argmax(1)).any()
    is_best = rows.action == scores.argmax(axis=1)[rows.observation]
    assert is_best[STEPS // 2 :].all()
    for part, chance in ((0, 1 - 0.95), (4, 1 - 0.55), (9, 1 - 0.05)):  # tenths of the first half
        among = is_best[part * STEPS // 20 : (part + 1) * STEPS // 20]
        share = chance + (1 - chance) / EVENTS
        assert binomtest(int(among.sum()), len(among), share).pvalue > 0.01
    others = rows.action[~is_best] - scores.argmax(axis=1)[rows.observation[~is_best]]
    assert chisquare(np.bincount(others % EVENTS, minlength=EVENTS)[1:]).pvalue > 0.01


def test_boltzmann_exploration_draws_from_the_policy_g_tilts_the_prior():
    rows, log_prior = behave(values(), method="g", exploration="boltzmann")
    policy = np.exp(log_softmax(log_prior + values()))
    assert_drawn(rows.action, rows.observation, policy)
    np.testing.assert_array_equal(rows.next_observation, rows.action)


# ------------------------------------------------------------------------------------ quirks


@pytest.mark.parametrize("method", ["q", "psi", "g", "rl_only"])
def test_stores_best_action(method):
    """The stored event is the best; reward and next event are those of the drawn one, and so is
    log p where the target adds it."""
    rows, log_prior = behave(
        values(),
        method=method,
        exploration="boltzmann",
        c=0.5,
        quirks=Quirks(stores_best_action=True),
    )
    scores = values() + (log_prior if method == "g" else 0.0)
    stored, before, drawn = rows.action, rows.observation, rows.next_observation
    np.testing.assert_array_equal(stored, scores.argmax(axis=1)[before])
    assert_drawn(drawn, before, np.exp(log_softmax(scores)))
    assert (drawn != stored).mean() > 0.2
    reward = np.asarray(walk(4).params.reward)[before, drawn] / np.float32(0.5)
    if method in ("q", "psi"):
        gained = rows.reward + log_prior[before, stored]
        np.testing.assert_allclose(gained, reward + log_prior[before, drawn], atol=1e-5)
    else:
        np.testing.assert_array_equal(rows.reward, reward)


def test_epsilon_greedy_exploration_stores_what_it_took():
    settings = {"method": "psi", "epsilon_end": 1.0}
    own, _ = behave(values(), **settings)
    quirk, _ = behave(values(), **settings, quirks=Quirks(stores_best_action=True))
    assert_same_bits(own, quirk)
    np.testing.assert_array_equal(quirk.action, quirk.next_observation)


def test_early_epsilon_is_that_of_the_learners_optimizer():
    """Gradients about as large as ε move the weights less."""
    graph, _ = make_table()
    moved = []
    for early in (False, True):
        optimizer = make_learner(
            graph, walk(), quirks=Quirks(early_epsilon=early)
        ).learner.optimizer
        gradient = jnp.full(3, 1e-8)
        changes, _ = optimizer.update(gradient, optimizer.init(jnp.zeros(3)))
        moved.append(float(-changes[0]))
    assert moved[1] < 0.1 * moved[0]


@pytest.mark.parametrize("trains_prior", [False, True])
def test_g_trains_its_prior_only_as_a_quirk(trains_prior):
    """Then every array of it drifts, and log p of the rows with it."""
    graph, prior = make_lstm()
    learner = make_block_learner(
        graph,
        walk(4),
        quirks=Quirks(trains_prior=trains_prior),
        method="g",
        batch_size=10,
        learning_rate=0.01,
        replay_capacity=1000,
    )
    begun = learner.initial_state(prior, (2,))
    assert_same_bits(of_seed(begun.seeds.prior), prior)
    seed = of_seed(learner.advance(begun, 400).seeds)
    assert seed.totals.updates > 50
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), seed.prior, prior)
    assert set(jax.tree.leaves(moved)) == {trains_prior}
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), seed.params, prior)
    assert all(jax.tree.leaves(moved))
    apart = jax.tree.map(lambda a, b: bool((a != b).any()), seed.params, seed.prior)
    assert all(jax.tree.leaves(apart))
