"""Where the Q-learning loop comes to rest: at the fixed points of value iteration in NumPy."""

from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest
from learner_case import (
    EVENTS,
    log_softmax,
    make_learner,
    make_table,
    of_seed,
    snapshot,
    table_of,
    walk,
)
from scipy.special import logsumexp
from scipy.stats import chisquare

DISCOUNT, C = 0.5, 0.5


ALL_METHODS = ("q", "psi", "g", "rl_only")


# Rewards and moves are certain, so the errors vanish where the table is right; what is left is the
# jitter of Adam's steps. A wrong target (no prior, a wrong sign, another c) is off by 0.3 and more.
LEARNT = 0.03


STEPS = 24_000


TABLES = 2
"""Processes with random rewards; after them one without, one with c → ∞ and one with c → 0."""


NOTHING, LARGE_C, SMALL_C = TABLES, TABLES + 1, TABLES + 2


SCALE = 12.0


def rewards():
    """Of five walks, [process, event before, event]."""
    normal = np.random.default_rng(7).normal(size=(TABLES, EVENTS, EVENTS))
    others = [np.zeros((EVENTS, EVENTS)), 1e-6 * normal[0], SCALE * normal[0]]
    return np.concatenate([normal, others])


def settings(**changes):
    """Uniform exploration, a small memory, and a target network that follows closely."""
    default = {
        "iterations": STEPS,
        "environments": 4,
        "update_every": 4,
        "replay_capacity": 400,
        "learning_rate": 0.01,
        "target_rate": 0.1,
        "discount": DISCOUNT,
        "c": C,
        "epsilon_end": 1.0,
    }
    return default | changes


@cache
def rest(method, double=False):
    """The loop's tables [process, event, next event] in the end, each seed on another process,
    with the metrics of the last tenth and the memory."""
    graph, prior = make_table()
    learner = make_learner(graph, walk(), method=method, double=double, **settings())
    tables = rewards()
    state = learner.initial_state(prior, tuple(range(len(tables))))
    actor = state.seeds.actor
    each = jnp.broadcast_to(tables[:, None], actor.environment.reward.shape)
    place = actor.environment._replace(reward=jnp.asarray(each, jnp.float32))
    state = state._replace(seeds=state.seeds._replace(actor=actor._replace(environment=place)))
    state, _ = learner.collect(learner.advance(state, STEPS * 9 // 10))
    state, metrics = learner.collect(learner.advance(state, STEPS))
    assert int(state.diverged_at) == -1
    found = [table_of(of_seed(state.seeds.params, n)) for n in range(len(tables))]
    return np.stack(found), metrics, snapshot(state.seeds.replay.rows)


@cache
def log_prior():
    return log_softmax(table_of(make_table()[1]))


def iterate(reward, backup, discount=DISCOUNT):
    """Action values [s, a] where Q(s, a) = reward + γ · backup(Q)(a): an event leads to itself."""
    values = np.zeros((EVENTS, EVENTS))
    for _ in range(300):
        values = reward + discount * backup(values)
    return values


def soft(reward, discount=DISCOUNT):
    """r + γ V(s') with V(s) = log Σ p exp(r + γ V): the optimum under the KL penalty."""
    return iterate(reward, lambda q: logsumexp(log_prior() + q, axis=1), discount)


def hard(reward, discount=DISCOUNT):
    return iterate(reward, lambda q: q.max(axis=1), discount)


def optimum(method, reward, discount=DISCOUNT):
    match method:
        case "q":
            return hard(reward + log_prior(), discount)
        case "rl_only":
            return hard(reward, discount)
        case "psi":
            return log_prior() + soft(reward, discount)
        case "g":
            return soft(reward, discount)


@pytest.mark.parametrize("method", ALL_METHODS)
def test_the_loop_rests_where_value_iteration_does(method):
    found, _, _ = rest(method)
    for process in range(TABLES):
        expected = optimum(method, rewards()[process] / C)
        np.testing.assert_allclose(found[process], expected, atol=LEARNT)
        for other in ALL_METHODS:  # the tolerance tells the methods apart
            apart = np.abs(expected - optimum(other, rewards()[process] / C)).max()
            assert other == method or apart > 10 * LEARNT


def test_double_q_learning_rests_there_too():
    found, _, _ = rest("q", double=True)
    for process in range(TABLES):
        expected = optimum("q", rewards()[process] / C)
        np.testing.assert_allclose(found[process], expected, atol=LEARNT)


def test_g_is_psi_less_the_prior():
    g, psi = rest("g")[0], rest("psi")[0]
    np.testing.assert_allclose(g[:TABLES], psi[:TABLES] - log_prior(), atol=2 * LEARNT)


@pytest.mark.parametrize("process", [NOTHING, LARGE_C])
@pytest.mark.parametrize("method", ["psi", "g"])
def test_without_reward_the_policy_is_the_prior(method, process):
    """Without any, and where c is so large that none is left."""
    found, metrics, _ = rest(method)
    scores = found[process] + (log_prior() if method == "g" else 0)
    np.testing.assert_allclose(log_softmax(scores), log_prior(), atol=LEARNT)
    assert metrics[process]["train/kl_policy_prior"] == pytest.approx(0, abs=1e-4)
    assert metrics[0]["train/kl_policy_prior"] > 0.1
    if method == "g":
        np.testing.assert_allclose(found[process], 0, atol=LEARNT)


def test_plain_q_learning_leaves_the_prior_even_without_reward():
    """It lacks the entropy term: the maximum prefers what leads to certainty."""
    assert rest("q")[1][NOTHING]["train/kl_policy_prior"] > 1e-3


@pytest.mark.parametrize("method", ["psi", "g", "q"])
def test_with_a_small_c_only_the_reward_counts(method):
    """c · values come as near those of RL alone as the prior's share of them allows."""
    alone = hard(rewards()[SMALL_C] / C)
    np.testing.assert_allclose(rest("rl_only")[0][SMALL_C], alone, rtol=1e-3, atol=5 * LEARNT)
    found = rest(method)[0][SMALL_C]
    bound = np.abs(log_prior()).max() / (1 - DISCOUNT)
    assert np.abs(found - alone).max() < bound + LEARNT
    assert bound < 0.2 * np.abs(alone).max()
    np.testing.assert_array_equal(found.argmax(axis=1), alone.argmax(axis=1))


@pytest.mark.parametrize(("method", "bootstrap"), [("q", False), ("g", False), ("psi", True)])
def test_ends_count_only_if_they_are_to(method, bootstrap):
    environment = walk(3, ends=True)
    graph, prior = make_table()
    learner = make_learner(
        graph, environment, method=method, bootstrap_at_end=bootstrap, **settings()
    )
    state = learner.advance(learner.initial_state(prior, (0,)), STEPS)
    reward, ends = (np.float64(table) for table in environment.params)
    discount = DISCOUNT * (np.ones_like(ends) if bootstrap else 1 - ends)
    expected = optimum(method, reward / C, discount)
    np.testing.assert_allclose(table_of(of_seed(state.seeds.params)), expected, atol=LEARNT)
    other = optimum(method, reward / C, DISCOUNT * (1 - ends) if bootstrap else DISCOUNT)
    assert np.abs(expected - other).max() > 10 * LEARNT


def test_full_exploration_is_uniform():
    """Over all events, whatever their values; ε stays at 1."""
    _, _, rows = rest("g")
    assert chisquare(np.bincount(rows.action.ravel(), minlength=EVENTS)).pvalue > 0.01
