"""One update of Q-learning by hand, and settings that exclude each other."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from learner_case import (
    assert_same_bits,
    make_block_learner,
    make_learner,
    make_lstm,
    make_table,
    of_seed,
    walk,
)

from common.error import ConfigError
from tutor.config import LearnConfig, Quirks
from tutor.optimizer import clip_each_by_norm


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
