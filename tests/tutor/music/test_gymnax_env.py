"""The melodies' environment in gymnax's protocol, by gymnax's own tools."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.trained import core_factory
from tutor.config import SequenceModelConfig
from tutor.music import theory
from tutor.sequence_model import make_model

gymnax = pytest.importorskip("gymnax")

from gymnax.experimental.rollout import RolloutWrapper  # noqa: E402
from gymnax.wrappers import GymnaxToGymWrapper, purerl  # noqa: E402

from tutor.music import MelodyEnv, PriorReward, register  # noqa: E402

register()


def test_it_is_made_by_its_name_and_rolled_out():
    env, params = gymnax.make("Melody-v0", length=16)
    assert (env.name, env.num_actions, params.max_steps_in_episode) == ("Melody-v0", 38, 16)
    assert env.observation_space(params).shape == (54,)

    def play(policy, seen, key):
        assert env.observation_space(params).contains(seen) is not False
        return jax.random.randint(key, (), 0, policy)

    wrapper = RolloutWrapper(play, env=env, env_params=params)
    seen, actions, rewards, _, done, _ = wrapper.single_rollout(jax.random.key(0), 38)
    assert seen.shape == (16, 54)
    expected = theory.score_composition(actions[None], params.music)["total"][0]
    np.testing.assert_allclose(rewards, expected, atol=1e-5)
    assert done.tolist() == [False] * 15 + [True]


def test_a_composition_ends_and_the_next_begins():
    env = MelodyEnv(length=8)
    params = env.default_params
    seen, state = env.reset(jax.random.key(0))
    first = int(state.event)
    assert seen[:38].argmax() == first
    for place, event in enumerate((14, 1, 16, 18, 1, 0, 21, 1), start=1):
        seen, state, _, terminated, truncated, info = env.step(
            jax.random.key(place), state, event, params
        )
        assert (bool(terminated), bool(truncated)) == (place == 8, False)
        assert info["final_observation"][event] == 1
    assert (int(state.time), info["discount"]) == (0, 0.0)
    assert seen[38] == 1
    assert seen[:38].argmax() == state.event
    for leaf, fresh in zip(
        jax.tree.leaves(state.history), jax.tree.leaves(env.reset(jax.random.key(9))[1].history),
        strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(leaf, fresh)


def test_a_limit_of_steps_truncates_and_an_end_is_no_truncation():
    env = MelodyEnv(length=8)
    for limit, expected in ((4, (False, True)), (8, (True, False))):
        params = env.default_params.replace(max_steps_in_episode=limit)
        _, state = env.reset(jax.random.key(0), params)
        for place in range(limit):
            assert int(state.time) == place
            _, state, _, terminated, truncated, info = env.step(
                jax.random.key(place), state, 14, params
            )
        assert (bool(terminated), bool(truncated)) == expected
        assert info["discount"] == 1.0 - expected[0]
        assert int(state.time) == 0


def test_rules_and_weights_are_settings():
    env = MelodyEnv(length=8)
    params = env.default_params
    doubled = params.replace(music=params.music.weighted(tonic=2.0))
    without = params.replace(music=params.music.without("tonic"))
    _, state = env.reset(jax.random.key(0), params)
    rewards = [
        float(env.step(jax.random.key(1), state, 14, chosen)[2])
        for chosen in (params, doubled, without)
    ]
    assert rewards[1] - rewards[0] == pytest.approx(3.0)  # a C to begin with
    assert rewards[2] - rewards[0] == pytest.approx(-3.0)


def test_wrappers_of_gymnax():
    env = purerl.LogWrapper(purerl.FlattenObservationWrapper(MelodyEnv(length=8)))
    _, state = env.reset(jax.random.key(0))
    total = 0.0
    for place in range(8):
        _, state, reward, *_, info = env.step(jax.random.key(place), state, 14)
        total += float(reward)
    assert info["returned_episode_returns"] == pytest.approx(total, abs=1e-4)


def test_as_an_environment_of_gymnasium():
    env = GymnaxToGymWrapper(MelodyEnv(length=8))
    seen, _ = env.reset(seed=0)
    assert env.observation_space.contains(np.asarray(seen))
    assert env.action_space.n == 38
    ends = [env.step(14)[2] for _ in range(8)]
    assert [bool(end) for end in ends] == [False] * 7 + [True]


def test_log_p_of_a_prior_in_the_reward():
    """As the prior gives it when it reads whole compositions, one after the other."""
    graph, prior = make_model(
        38, core_factory(SequenceModelConfig(units=6)), jax.random.key(0), initial_range=1.0
    )
    from flax import nnx

    model = nnx.merge(graph, prior)
    env = PriorReward(MelodyEnv(length=8), graph, prior, c=0.25)
    step = jax.jit(env.step)
    _, state = env.reset(jax.random.key(0))
    for composition in ((14, 1, 16, 2, 3, 0, 0, 9), (5, 6, 7, 1, 1, 1, 20, 21)):
        inputs = jnp.array([[int(state.event), *composition[:-1]]])
        _, logits = model.unroll(model.initial_state(1), inputs)
        log_p = jax.nn.log_softmax(logits)[0]
        for place, event in enumerate(composition):
            _, state, reward, _, _, info = step(jax.random.key(place), state, event)
            assert info["log_prior"] == pytest.approx(float(log_p[place, event]), abs=1e-5)
            assert reward == pytest.approx(
                float(info["log_prior"] + info["task_reward"] / 0.25), abs=1e-4
            )
