"""Molecules that grow: where they end, and what is scored when."""

import jax
import jax.numpy as jnp
import numpy as np

from common.molecule import BEGIN, END, MOSES, PADDING
from tutor.molecules.environment import make_environment

LENGTH = 5
CARBON = int(MOSES.encode("C")[1])


def walk(judge, *rows: str | list[int]):
    """Rewards and done [steps, rows] of molecules that grow side by side."""
    tokens = [MOSES.encode(row)[1:].tolist() if isinstance(row, str) else row for row in rows]
    width = max(map(len, tokens))
    actions = np.array([row + [END] * (width - len(row)) for row in tokens], np.int32)
    environment = make_environment(MOSES, LENGTH, judge)
    keys = jax.random.split(jax.random.key(0), len(rows))
    observation, state = jax.vmap(environment.reset, (0, None))(keys, None)
    assert observation.tolist() == [BEGIN] * len(rows)
    step = jax.jit(jax.vmap(environment.step, (0, 0, 0, None)))
    rewards, dones = [], []
    for action in jnp.array(actions).T:
        seen, state, reward, done, _ = step(keys, state, action, None)
        assert seen.tolist() == action.tolist()
        rewards.append(reward)
        dones.append(done)
    return np.array(rewards), np.array(dones)


def test_the_reward_comes_once_at_the_end():
    asked = []

    def judge(molecules):
        asked.append(sorted(molecules))
        return np.array([10.0 * len(one) for one in molecules], np.float32)

    rewards, dones = walk(judge, "CO", "N", "CCOCC", [CARBON, BEGIN], [CARBON, PADDING])
    assert dones.T.tolist() == [
        [False, False, True, True, True, True],
        [False, True, True, True, True, True],
        [False, False, False, False, True, True],  # the limit: there is no room for its END
        [False, True, True, True, True, True],
        [False, True, True, True, True, True],
    ]
    assert rewards.T.tolist() == [
        [0, 0, 20, 0, 0, 0], [0, 10, 0, 0, 0, 0], [0, 0, 0, 0, 50, 0], [0, 80, 0, 0, 0, 0],
        [0, 100, 0, 0, 0, 0],
    ]  # fmt: skip
    assert asked == [["C<begin>", "C<padding>", "N"], ["CO"], ["CCOCC"]]


def test_without_a_judge_there_is_no_reward():
    rewards, dones = walk(None, "CO")
    assert not rewards.any()
    assert dones[:, 0].tolist() == [False, False, True]
