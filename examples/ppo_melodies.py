"""PPO on the melodies' task, written against gymnax's interface alone.

    python examples/ppo_melodies.py                # the reward of music theory
    python examples/ppo_melodies.py --prior RUN    # plus log p of a Note RNN, from its run's folder

It prints how the mean reward of an event went, once it has trained: below 0 at first, at least 2.0
in the end, after 819,200 events and half a minute.
Nothing here knows of highway-tutor but the lines that make the environment: put your own algorithm
in place of this one. Schulman et al. 2017, "Proximal Policy Optimization Algorithms".
"""

import argparse
from functools import partial
from pathlib import Path
from typing import NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import optax
from flax import nnx

ENVIRONMENTS, EPOCHS, MINIBATCHES = 64, 4, 4
DISCOUNT, SMOOTHING, CLIP, ENTROPY = 0.9, 0.95, 0.2, 0.01


class Agent(nnx.Module):
    """A policy and a value of what is seen."""

    def __init__(self, seen: int, actions: int, rngs: nnx.Rngs):
        """Two layers, and a head for each."""
        self.first = nnx.Linear(seen, 128, rngs=rngs)
        self.second = nnx.Linear(128, 128, rngs=rngs)
        self.policy = nnx.Linear(128, actions, rngs=rngs)
        self.value = nnx.Linear(128, 1, rngs=rngs)

    def __call__(self, seen: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Logits of the policy, and the value."""
        hidden = nnx.tanh(self.second(nnx.tanh(self.first(seen))))
        return self.policy(hidden), self.value(hidden)[..., 0]


class Step(NamedTuple):
    """What was seen, done and given; leaves [time, environments]."""

    seen: jax.Array
    action: jax.Array
    log_policy: jax.Array
    value: jax.Array
    reward: jax.Array
    done: jax.Array


def train(env, params, iterations: int, steps: int, seed: int = 0) -> list[float]:
    """Train an agent.

    Args:
      env: a gymnax environment with discrete actions and vectors as observations.
      params: its settings.
      iterations: how often experience is gathered and learned from.
      steps: of every environment in an iteration.
      seed: of everything random.

    Returns:
      The mean reward of a step in each iteration.
    """
    width = env.observation_space(params).shape[0]
    agent = Agent(width, env.num_actions, nnx.Rngs(seed))
    graph, weights = nnx.split(agent)
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(1e-3))

    def act(carry, key):
        weights, seen, state = carry
        logits, value = nnx.merge(graph, weights)(seen)
        action_key, step_key = jax.random.split(key)
        action = jax.random.categorical(action_key, logits)
        log_policy = jnp.take_along_axis(jax.nn.log_softmax(logits), action[:, None], 1)[:, 0]
        keys = jax.random.split(step_key, ENVIRONMENTS)
        after, state, reward, terminated, truncated, _ = jax.vmap(env.step, (0, 0, 0, None))(
            keys, state, action, params
        )
        made = Step(seen, action, log_policy, value, reward, terminated | truncated)
        return (weights, after, state), made

    def loss(weights, batch):
        made, advantage, target = batch
        logits, value = nnx.merge(graph, weights)(made.seen)
        log_policy = jax.nn.log_softmax(logits)
        chosen = jnp.take_along_axis(log_policy, made.action[:, None], 1)[:, 0]
        ratio = jnp.exp(chosen - made.log_policy)
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        clipped = jnp.clip(ratio, 1 - CLIP, 1 + CLIP)
        gain = jnp.minimum(ratio * advantage, clipped * advantage).mean()
        entropy = -jnp.sum(jnp.exp(log_policy) * log_policy, axis=-1).mean()
        return 0.5 * jnp.mean((value - target) ** 2) - gain - ENTROPY * entropy

    @jax.jit
    def iterate(weights, moments, seen, state, key):
        act_key, *keys = jax.random.split(key, 1 + EPOCHS)
        carry, made = jax.lax.scan(act, (weights, seen, state), jax.random.split(act_key, steps))
        _, seen, state = carry
        _, last = nnx.merge(graph, weights)(seen)

        def back(carry, step):
            advantage, value = carry
            stays = 1.0 - step.done
            error = step.reward + DISCOUNT * value * stays - step.value
            advantage = error + DISCOUNT * SMOOTHING * stays * advantage
            return (advantage, step.value), advantage

        _, advantage = jax.lax.scan(back, (jnp.zeros_like(last), last), made, reverse=True)
        flat = jax.tree.map(
            lambda leaf: leaf.reshape(-1, *leaf.shape[2:]),
            (made, advantage, advantage + made.value),
        )

        def update(carry, batch):
            weights, moments = carry
            gradient = jax.grad(loss)(weights, batch)
            changes, moments = optimizer.update(gradient, moments)
            return (optax.apply_updates(weights, changes), moments), None

        for shuffle in keys:
            order = jax.random.permutation(shuffle, steps * ENVIRONMENTS).reshape(MINIBATCHES, -1)
            batches = jax.tree.map(lambda leaf, order=order: leaf[order], flat)
            (weights, moments), _ = jax.lax.scan(update, (weights, moments), batches)
        return weights, moments, seen, state, made.reward.mean()

    reset_key, key = jax.random.split(jax.random.key(seed))
    seen, state = jax.vmap(env.reset, (0, None))(jax.random.split(reset_key, ENVIRONMENTS), params)
    moments, rewards = optimizer.init(weights), []
    for number in range(iterations):
        weights, moments, seen, state, reward = iterate(
            weights, moments, seen, state, jax.random.fold_in(key, number)
        )
        rewards.append(float(reward))
    return rewards


def make_environment(prior: Path | None, c: float):
    """Make the environment, with the log p of a run's prior in its reward if one is given."""
    from tutor.music import PriorReward, register

    register()
    env, params = gymnax.make("Melody-v0")
    if prior is not None:
        from experiments import trained

        kept = trained.load(prior)
        env = PriorReward(env, kept.graph, kept.policy.prior, c)
    return env, params


def main() -> None:
    """Train, then print how the mean reward of a step went."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--prior", type=Path, help="folder of a run of note_rnn")
    parser.add_argument("--c", type=float, default=0.5, help="what the task's reward is divided by")
    parser.add_argument("--iterations", type=int, default=100)
    arguments = parser.parse_args()
    env, params = make_environment(arguments.prior, arguments.c)
    rewards = train(env, params, arguments.iterations, steps=128)
    show = partial("iteration {:4d}   reward of a step {:7.3f}".format)
    for number in range(0, len(rewards), max(1, len(rewards) // 10)):
        print(show(number, rewards[number]))
    print(show(len(rewards) - 1, rewards[-1]))


if __name__ == "__main__":
    main()
