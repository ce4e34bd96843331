"""KL control on small random decision processes, against soft value iteration in NumPy."""

from functools import partial
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp, rel_entr

from tutor.config import TITLES, WITH_MAXIMUM, MethodName
from tutor.kl_control import (
    METHODS,
    SOFTMAX,
    Transition,
    entropy,
    kl_policy_prior,
    log_policy,
    policy_scores,
    soft_update,
    squared_loss,
    td_error,
)

STATES, ACTIONS, DISCOUNT = 5, 4, 0.8
TOLERANCE = 2e-5  # float32, values up to about 10
SEEDS = range(4)


class Process:
    """A random decision process with a random prior; float64."""

    def __init__(self, seed, scale=1.0):
        random = np.random.default_rng(seed)
        self.next = random.dirichlet(np.full(STATES, 0.5), (STATES, ACTIONS))  # [s, a, s']
        self.reward = scale * random.normal(size=(STATES, ACTIONS))
        self.log_prior = np.log(random.dirichlet(np.ones(ACTIONS), STATES))

    def evaluate(self, reward, value):
        return reward + DISCOUNT * self.next @ value

    def iterate(self, reward, backup):
        """Values [s] and action values [s, a] where V = backup(reward + γ E V)."""
        value = np.zeros(STATES)
        for _ in range(300):
            value = backup(self.evaluate(reward, value))
        return value, self.evaluate(reward, value)

    def solve_soft(self):
        """V(s) = log Σ p(a|s) exp(r + γ E V): the optimum under the KL penalty."""
        return self.iterate(self.reward, lambda q: logsumexp(self.log_prior + q, axis=1))


@partial(jax.jit, static_argnames=("name", "double"))
def iterate_targets(name, reward, probability, log_prior, double):
    s, a, t = (index.ravel() for index in np.indices((STATES, ACTIONS, STATES)))

    def target(q, s, a, t):
        transition = Transition(
            a_tm1=a,
            r_t=reward[s, a],
            discount_t=jnp.float32(DISCOUNT),
            log_prior_tm1=log_prior[s],
            log_prior_t=log_prior[t],
            q_t=q[t],
            selector_t=q[t] if double else None,
        )
        return q[s, a] + td_error(METHODS[name], q[s], transition)

    def improve(_, q):
        targets = jax.vmap(target, (None, 0, 0, 0))(q, s, a, t)
        return jnp.sum(targets.reshape(probability.shape) * probability, axis=-1)

    return jax.lax.fori_loop(0, 200, improve, jnp.zeros((STATES, ACTIONS)))


def learn(name, process, double=False):
    """The fixed point [s, a] of drawing a table to the method's targets, averaged over s'."""
    arrays = process.reward, process.next, process.log_prior
    return np.asarray(iterate_targets(name, *map(jnp.asarray, arrays), double))


def policy_of(name, q, process):
    return np.asarray(log_policy(METHODS[name], jnp.asarray(q), jnp.asarray(process.log_prior)))


@pytest.mark.parametrize("seed", SEEDS)
def test_psi_and_g_reach_the_optimum_under_the_penalty(seed):
    process = Process(seed, scale=2.0)
    value, action_values = process.solve_soft()
    best = process.log_prior + action_values - value[:, None]  # log π*
    psi, g = learn("psi", process), learn("g", process)
    np.testing.assert_allclose(g, action_values, atol=TOLERANCE)
    np.testing.assert_allclose(psi, process.log_prior + action_values, atol=TOLERANCE)
    np.testing.assert_allclose(g, psi - process.log_prior, atol=TOLERANCE)
    np.testing.assert_allclose(policy_of("psi", psi, process), best, atol=TOLERANCE)
    np.testing.assert_allclose(policy_of("g", g, process), best, atol=TOLERANCE)


@pytest.mark.parametrize("seed", SEEDS)
def test_that_optimum_is_one(seed):
    """No other policy earns more of Σ γ^k (r − KL); the learnt one earns what it says."""
    process = Process(seed, scale=2.0)
    value, _ = process.solve_soft()

    def worth(policy):
        gain = (policy * process.reward).sum(1) - rel_entr(policy, np.exp(process.log_prior)).sum(1)
        follow = np.einsum("sa,sat->st", policy, process.next)
        return np.linalg.solve(np.eye(STATES) - DISCOUNT * follow, gain)

    learnt = np.exp(policy_of("g", learn("g", process), process))
    np.testing.assert_allclose(worth(learnt), value, atol=TOLERANCE)
    random = np.random.default_rng(seed)
    for noise in (0.1, 1.0):
        other = learnt * np.exp(noise * random.normal(size=learnt.shape))
        assert (worth(other / other.sum(1, keepdims=True)) < value).all()


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_q_and_rl_only_reach_the_best_action_values(seed, double):
    """With and without log p among the rewards. A selector equal to q_t changes nothing."""
    process = Process(seed)
    _, with_prior = process.iterate(process.reward + process.log_prior, lambda q: q.max(axis=1))
    _, without = process.iterate(process.reward, lambda q: q.max(axis=1))
    np.testing.assert_allclose(learn("q", process, double), with_prior, atol=3 * TOLERANCE)
    rl_only = learn("rl_only", process, double)
    np.testing.assert_allclose(rl_only, without, atol=TOLERANCE)
    expected = without - logsumexp(without, axis=1, keepdims=True)
    np.testing.assert_allclose(policy_of("rl_only", rl_only, process), expected, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["psi", "g"])
@pytest.mark.parametrize("scale", [0.0, 1e-7])  # no reward; c → ∞
def test_without_reward_the_policy_stays_the_prior(name, scale):
    process = Process(0, scale)
    found = policy_of(name, learn(name, process), process)
    np.testing.assert_allclose(found, process.log_prior, atol=TOLERANCE)
    divergence = kl_policy_prior(jnp.asarray(found), jnp.asarray(process.log_prior))
    np.testing.assert_allclose(divergence, 0, atol=1e-6)


@pytest.mark.parametrize("name", ["q", "psi", "g"])
def test_with_great_rewards_only_these_count(name):
    """c → 0: values · c are those of RL alone."""
    process, c = Process(1), 1e-4
    scaled = Process(1, scale=1 / c)
    np.testing.assert_allclose(c * learn(name, scaled), learn("rl_only", process), atol=5e-3)


def transition(**changes):
    default = Transition(
        a_tm1=jnp.int32(1),
        r_t=jnp.float32(2.0),
        discount_t=jnp.float32(0.5),
        log_prior_tm1=jnp.log(jnp.array([0.5, 0.3, 0.2])),
        log_prior_t=jnp.log(jnp.array([0.2, 0.2, 0.6])),
        q_t=jnp.array([1.0, 3.0, -1.0]),
    )
    return default._replace(**changes)


SOFT = np.log(np.exp([1.0, 3.0, -1.0]).sum())
TILTED = np.log(np.dot([0.2, 0.2, 0.6], np.exp([1.0, 3.0, -1.0])))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("q", np.log(0.3) + 2 + 0.5 * 3),
        ("psi", np.log(0.3) + 2 + 0.5 * SOFT),
        ("g", 2 + 0.5 * TILTED),
        ("rl_only", 2 + 0.5 * 3),
    ],
)
def test_targets_by_hand(name, expected):
    method, q_tm1 = METHODS[name], jnp.array([7.0, 4.0, 7.0])
    assert method.target(transition()) == pytest.approx(expected, abs=1e-6)
    assert td_error(method, q_tm1, transition()) == pytest.approx(expected - 4, abs=1e-6)
    assert squared_loss(method, q_tm1, transition()) == pytest.approx((expected - 4) ** 2, rel=1e-5)
    ended = transition(discount_t=jnp.float32(0))
    prior = np.log(0.3) if name in ("q", "psi") else 0
    assert method.target(ended) == pytest.approx(2 + prior, abs=1e-6)


def test_double_q_takes_the_value_that_the_online_network_chooses():
    chosen = transition(selector_t=jnp.array([0.0, 1.0, 2.0]))
    assert METHODS["rl_only"].target(chosen) == 2 + 0.5 * -1
    assert METHODS["q"].target(chosen) == pytest.approx(np.log(0.3) + 1.5, abs=1e-6)
    for name in ("psi", "g"):
        with pytest.raises(ValueError, match="maximum"):
            td_error(METHODS[name], jnp.zeros(3), chosen)


def test_settings_know_the_methods_and_which_have_a_maximum():
    """Settings are read without JAX, so that they can't look at the methods themselves."""
    assert get_args(MethodName) == tuple(TITLES) == tuple(METHODS)
    assert tuple(name for name, one in METHODS.items() if one.takes_maximum) == WITH_MAXIMUM


def test_softmax_is_of_the_networks_outputs_alone():
    outputs, log_prior = jnp.array([1.0, 3.0, -1.0]), jnp.log(jnp.array([0.2, 0.2, 0.6]))
    found = log_policy(METHODS[SOFTMAX], outputs, log_prior)
    np.testing.assert_array_equal(found, jax.nn.log_softmax(outputs))


@pytest.mark.parametrize("name", METHODS)
def test_a_gradient_for_the_value_of_the_action_taken_and_nothing_else(name):
    method, q_tm1 = METHODS[name], jnp.array([7.0, 4.0, 7.0])
    floats = transition()._asdict()
    action = floats.pop("a_tm1")
    if method.takes_maximum:
        floats["selector_t"] = jnp.array([0.0, 1.0, 2.0])

    def loss(q_tm1, floats):
        return squared_loss(method, q_tm1, Transition(a_tm1=action, **floats))

    for_values, for_others = jax.grad(loss, (0, 1))(q_tm1, floats)
    error = td_error(method, q_tm1, Transition(a_tm1=action, **floats))
    np.testing.assert_allclose(for_values, [0, -2 * error, 0])
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(for_others))


@pytest.mark.parametrize("name", METHODS)
def test_policies_by_hand(name):
    q, prior = np.array([1.0, 3.0, -1.0]), np.array([0.2, 0.2, 0.6])
    weights = np.exp(q) * (prior if name == "g" else 1)
    log_prior = jnp.asarray(np.log(prior), jnp.float32)
    found = log_policy(METHODS[name], jnp.asarray(q, jnp.float32), log_prior)
    np.testing.assert_allclose(np.exp(found), weights / weights.sum(), rtol=1e-6)

    def score(q, log_prior):
        return policy_scores(METHODS[name], q, log_prior)[0]

    for_q, for_prior = jax.grad(score, (0, 1))(jnp.asarray(q, jnp.float32), log_prior)
    assert for_q.tolist() == [1, 0, 0]
    assert not for_prior.any()


def test_divergence_and_entropy_are_exact_and_know_zeros():
    random = np.random.default_rng(3)
    policy, prior = random.dirichlet(np.ones(38), (2, 6, 5))
    policy[0, 0] = np.eye(38)[3]
    prior[0, 1] = policy[0, 1] = np.eye(38)[4]
    with np.errstate(divide="ignore"):
        logs = [jnp.asarray(np.log(p), jnp.float32) for p in (policy, prior)]
    divergence = kl_policy_prior(*logs)
    assert divergence.shape == (6, 5)
    np.testing.assert_allclose(divergence, rel_entr(policy, prior).sum(-1), rtol=1e-5, atol=1e-6)
    expected = -np.where(policy > 0, policy * np.log(np.maximum(policy, 1e-99)), 0).sum(-1)
    np.testing.assert_allclose(entropy(logs[0]), expected, rtol=1e-5, atol=1e-6)
    assert kl_policy_prior(logs[0][0, 0], logs[1][0, 1]) == np.inf
    assert kl_policy_prior(logs[0][0, 1], logs[1][0, 1]) == 0
    uniform = jnp.full(38, -jnp.log(38.0))
    assert entropy(uniform) == pytest.approx(np.log(38), rel=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"q_t": jnp.zeros(4)},
        {"log_prior_t": jnp.zeros((2, 3))},
        {"log_prior_tm1": jnp.zeros(())},
        {"r_t": jnp.zeros(3)},
        {"discount_t": jnp.zeros(1)},
        {"a_tm1": jnp.zeros(3, int)},
        {"selector_t": jnp.zeros(2)},
    ],
)
def test_wrong_shapes_are_named(changes):
    (name,) = changes
    with pytest.raises(ValueError, match=f"^{name} has shape"):
        td_error(METHODS["q"], jnp.zeros(3), transition(**changes))


def test_wrong_use_is_named():
    with pytest.raises(ValueError, match="vmap"):
        td_error(METHODS["q"], jnp.zeros((2, 3)), transition())
    with pytest.raises(TypeError, match="integer"):
        td_error(METHODS["q"], jnp.zeros(3), transition(a_tm1=jnp.float32(1)))
    with pytest.raises(ValueError, match="differ in shape"):
        log_policy(METHODS["q"], jnp.zeros((5, 3)), jnp.zeros(3))


def test_soft_update_moves_the_target_by_its_rate():
    target, online = {"a": jnp.zeros(2), "b": (jnp.ones(()),)}, {"a": jnp.ones(2), "b": (4.0,)}
    moved = soft_update(target, online, 0.25)
    np.testing.assert_allclose(moved["a"], 0.25)
    assert moved["b"][0] == 1.75
    assert jax.tree.structure(moved) == jax.tree.structure(target)
    np.testing.assert_array_equal(soft_update(target, online, 1.0)["a"], online["a"])
    with pytest.raises(ValueError, match="a"):
        soft_update(target, {"a": jnp.ones(2)}, 0.25)
