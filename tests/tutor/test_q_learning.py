"""The Q-learning loop: where it comes to rest, what an update is, and that it repeats itself."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from learner_case import (
    EVENTS,
    assert_same_bits,
    log_softmax,
    make_block_learner,
    make_learner,
    make_lstm,
    make_table,
    of_seed,
    snapshot,
    table_of,
    walk,
)
from scipy.special import logsumexp
from scipy.stats import chisquare

from common.checkpoint import Checkpoints, abstract
from common.error import ConfigError
from common.melody import NUM_EVENTS
from tutor.actor import Environment
from tutor.config import LearnConfig
from tutor.learner import Quirks, clip_each_by_norm
from tutor.music import theory

DISCOUNT, C = 0.5, 0.5
ALL_METHODS = ("q", "psi", "g", "rl_only")

# ------------------------------------------------------------------- where learning comes to rest

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


# ----------------------------------------------------------------------------- one update by hand


def squared_error(learner, networks, rows, config):
    """Mean over rows of (target − value)², from formulas; networks: params, target, prior."""

    def numbers(which, state, events):
        return nnx.merge(learner.graph, networks[which]).step(state, events)[1]

    pick = partial(jnp.take_along_axis, axis=1)
    own = rows.action[:, None]
    q_tm1 = numbers("params", rows.policy_before, rows.observation)
    q_t = jax.lax.stop_gradient(numbers("target", rows.policy_after, rows.next_observation))
    log_prior_tm1 = pick(jax.lax.stop_gradient(rows.log_prior), own)[:, 0]
    if config.method == "g":
        logits = numbers("prior", rows.prior_after, rows.next_observation)
        log_prior_t = logits - jax.nn.logsumexp(logits, axis=1, keepdims=True)
        value = jnp.log(jnp.sum(jnp.exp(log_prior_t + q_t), axis=1))
    elif config.method == "psi":
        value = jnp.log(jnp.sum(jnp.exp(q_t), axis=1))
    elif config.double:
        online = numbers("params", rows.policy_after, rows.next_observation)
        value = pick(q_t, jnp.argmax(online, axis=1)[:, None])[:, 0]
    else:
        value = jnp.max(q_t, axis=1)
    target = rows.reward + rows.discount * value
    if config.method in ("q", "psi"):
        target = target + log_prior_tm1
    return jnp.mean((target - pick(q_tm1, own)[:, 0]) ** 2)


UPDATE = {
    "update_every": 5,
    "replay_capacity": 10,
    "batch_size": 10,
    "discount": 0.8,
    "bootstrap_at_end": False,
    "clip_norm": 0.05,
    "learning_rate": 0.01,
    "target_rate": 0.25,
    "epsilon_end": 1.0,
}


@pytest.mark.parametrize(
    ("method", "double", "leaks"),
    [
        ("q", False, False),
        ("psi", False, False),
        ("g", False, False),
        ("g", False, True),
        ("q", True, False),
        ("rl_only", True, False),
    ],
)
def test_an_update_is_adams_step_on_the_squared_error(method, double, leaks):
    """From three different networks; the batch is the whole memory, so that it is known.

    `leaks` is the quirk of the released code that G's target trains the prior.
    """
    graph, prior = make_lstm(seed=1)
    learner = make_block_learner(
        graph,
        walk(2, ends=True),
        quirks=Quirks(trains_prior=leaks),
        method=method,
        double=double,
        **UPDATE,
    )
    config = learner.config
    state = learner.initial_state(prior, (4,))
    others = {name: make_lstm(seed=seed)[1] for name, seed in (("params", 2), ("target", 3))}
    begun = jax.tree.map(lambda leaf: leaf[None], others)
    state = learner.advance(state._replace(seeds=state.seeds._replace(**begun)), 5)
    before = of_seed(state.seeds)
    networks = {name: getattr(before, name) for name in ("params", "target", "prior")}
    assert before.totals.updates == 0  # 5 of 10 transitions
    assert_same_bits(networks, others | {"prior": prior})

    after = of_seed(learner.advance(state, 10).seeds)
    rows = jax.tree.map(jnp.asarray, after.replay.rows)
    trained = {name: networks[name] for name in (("params", "prior") if leaks else ("params",))}

    def error(trained):
        return squared_error(learner, networks | trained, rows, config)

    loss, gradient = jax.jit(jax.value_and_grad(error))(trained)
    assert after.totals.updates == 1
    assert after.totals.loss == pytest.approx(float(loss), rel=1e-5)

    def clip(array):
        return array * min(1.0, config.clip_norm / max(np.linalg.norm(np.ravel(array)), 1e-30))

    clipped = jax.tree.map(lambda array: clip(np.asarray(array)), gradient)
    assert any(
        np.linalg.norm(np.ravel(leaf)) > 2 * config.clip_norm for leaf in jax.tree.leaves(gradient)
    )
    adam = optax.adam(config.learning_rate)
    changes, _ = adam.update(clipped, adam.init(trained))
    expected = networks | optax.apply_updates(trained, changes)
    rate = config.target_rate
    expected["target"] = jax.tree.map(
        lambda old, new: (1 - rate) * old + rate * new, networks["target"], expected["params"]
    )
    for name in ("params", "target", "prior"):
        # Adam's first step is the sign of the gradient: entries near 0 are as uncertain as it is
        jax.tree.map(
            partial(np.testing.assert_allclose, atol=2e-5), getattr(after, name), expected[name]
        )
    if leaks:
        moved = jax.tree.map(lambda a, b: (a != b).any(), after.prior, networks["prior"])
        assert all(jax.tree.leaves(moved))
    else:
        assert_same_bits(after.prior, networks["prior"])


def test_the_gradient_of_each_array_is_clipped_by_its_own_norm():
    clip = clip_each_by_norm(5.0)
    gradients = {
        "long": jnp.array([[6.0, 0.0], [0.0, 8.0]]),
        "just": jnp.array([3.0, 4.0]),
        "short": jnp.array([0.3, -0.4]),
        "nothing": jnp.zeros(3),
        "scalar": jnp.array(-20.0),
    }
    clipped, _ = clip.update(gradients, clip.init(gradients))
    np.testing.assert_allclose(clipped["long"], [[3.0, 0.0], [0.0, 4.0]])
    np.testing.assert_allclose(clipped["just"], [3.0, 4.0])
    np.testing.assert_allclose(clipped["short"], [0.3, -0.4])
    np.testing.assert_array_equal(clipped["nothing"], 0.0)
    np.testing.assert_allclose(clipped["scalar"], -5.0)


# -------------------------------------------------------------------------------- divergence


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


# ------------------------------------------------------------- melodies: bits, seeds, learning

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


# ------------------------------------------------------------------------------------ settings


def test_settings_that_exclude_each_other():
    for method in ("psi", "g"):
        with pytest.raises(ConfigError, match="double"):
            LearnConfig(method=method, double=True)
    with pytest.raises(ConfigError, match="holds no batch"):
        LearnConfig(replay_capacity=31)
    with pytest.raises(ConfigError, match=r"no multiple of learn\.environments=3"):
        LearnConfig(environments=3, replay_capacity=100)
    graph, _ = make_table()
    with pytest.raises(ConfigError, match="no multiple of 15"):
        make_learner(graph, walk(), iterations=100, environments=3, replay_capacity=99)
    with pytest.raises(ConfigError, match="only G's target"):
        make_learner(graph, walk(), method="psi", quirks=Quirks(trains_prior=True))
