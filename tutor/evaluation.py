"""Composing with a tuned model, and what is measured of its compositions."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tutor import kl_control
from tutor.actor import Actor, Environment, decide, take
from tutor.kl_control import METHODS
from tutor.sequence_model import Graph, Params

CHUNK = 1000
"""Compositions that grow side by side; a matter of speed and memory only."""


class Policy(NamedTuple):
    """What chooses events: values, and the prior that it is compared with, or tilted by."""

    params: Params
    """Of the value network; of the prior itself, to compose as the prior does."""
    prior: Params


class Compositions(NamedTuple):
    """N finished sequences of at most T events, and what was so at each event; arrays [N, T]."""

    events: Any
    """int32; the priming events aren't among them."""
    reward: Any
    """The environment's, not divided by c."""
    log_prior: Any
    """log p(a|s) of the event, in nats."""
    kl: Any
    """KL(π(·|s) ‖ p(·|s)) before the event, exact, in nats."""
    entropy: Any
    """H(π(·|s)) before the event, exact, in nats."""
    counted: Any
    """bool: whether the event belongs to its sequence, up to and with the one that ended it."""

    @property
    def lengths(self) -> np.ndarray:
        """Events of each sequence, int [N]."""
        return np.sum(self.counted, axis=1)

    def metrics(self, split: str, *, last_only: bool = False) -> dict[str, float]:
        """Means over all events that count, by their names in a record.

        With `last_only` reward and log p are those of each sequence's last event, as in the
        evaluations of the released code.
        """
        places = np.arange(self.counted.shape[1])
        last = places == self.lengths[:, None] - 1
        rewarded = last if last_only else self.counted
        means = {
            "reward": self.reward[rewarded],
            "log_prior": self.log_prior[rewarded],
            "kl_policy_prior": self.kl[self.counted],
            "entropy": self.entropy[self.counted],
        }
        return {f"{split}/{name}": float(np.mean(values)) for name, values in means.items()}


class Composer:
    """Draws sequences from the softmax policy of a method, and scores them as they grow."""

    def __init__(self, graph: Graph, method: str, environment: Environment, length: int):
        """A composer of sequences that end with their environment, after `length` events at most.

        `method` is a name of METHODS.
        """
        self.graph, self.method, self.environment = graph, METHODS[method], environment
        self.length = length
        self._chunk = jax.jit(self._compose, static_argnames="count")

    def compose(
        self,
        policy: Policy,
        key: jax.Array,
        count: int,
        *,
        primer: np.ndarray | None = None,
        tick: Callable[[], None] = lambda: None,
    ) -> Compositions:
        """Composes `count` sequences; returns arrays in host memory.

        Each begins with zero recurrent states and an event from `environment.reset`, which isn't
        part of it; or with the events of `primer`, int [P], which aren't either. `tick` is called
        now and then and may raise to stop.
        """
        size = min(count, CHUNK)
        chunks = []
        for number in range(math.ceil(count / size)):
            chunk_key = jax.random.fold_in(key, number)
            chunks.append(jax.device_get(self._chunk(policy, chunk_key, primer, count=size)))
            tick()
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *chunks)

    def _compose(
        self, policy: Policy, key: jax.Array, primer: jax.Array | None, *, count: int
    ) -> Compositions:
        reset_key, draw_key = jax.random.split(key)
        actor = self._begin(policy, reset_key, primer, count)

        def step(carry: tuple[Actor, jax.Array], xs: Any) -> tuple[Any, Compositions]:
            actor, alive = carry
            noise, keys = xs
            decision = decide(self.method, self.graph, policy.params, policy.prior, actor)
            log_policy = jax.nn.log_softmax(decision.scores)
            action = jnp.argmax(log_policy + noise, axis=-1).astype(jnp.int32)
            actor, reward, done = take(self.environment, keys, actor, decision, action)
            made = Compositions(
                events=action,
                reward=reward,
                log_prior=jnp.take_along_axis(decision.log_prior, action[:, None], 1)[:, 0],
                kl=kl_control.kl_policy_prior(log_policy, decision.log_prior),
                entropy=kl_control.entropy(log_policy),
                counted=alive,
            )
            return (actor, alive & ~done.astype(bool)), made

        num_events = nnx.merge(self.graph, policy.params).num_events
        noise = jax.random.gumbel(draw_key, (self.length, count, num_events))
        keys = jax.random.split(jax.random.fold_in(key, 2), (self.length, count))
        _, made = jax.lax.scan(step, (actor, jnp.ones(count, bool)), (noise, keys))
        return jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), made)

    def _begin(self, policy: Policy, key: jax.Array, primer: jax.Array | None, count: int) -> Actor:
        """Empty sequences, the networks' states those after all of the primer but its last."""
        value, prior = (nnx.merge(self.graph, params) for params in policy)
        observation, state = jax.vmap(self.environment.reset, (0, None))(
            jax.random.split(key, count), self.environment.params
        )
        value_state, prior_state = value.initial_state(count), prior.initial_state(count)
        if primer is not None:
            events = jnp.broadcast_to(primer, (count, len(primer)))
            observation = events[:, -1]
            if len(primer) > 1:
                value_state, _ = value.unroll(value_state, events[:, :-1])
                prior_state, _ = prior.unroll(prior_state, events[:, :-1])
        return Actor(observation, state, value_state, prior_state)
