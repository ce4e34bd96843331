"""Composing with a tuned model, and what is measured of its compositions."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tutor import kl_control
from tutor.kl_control import METHODS
from tutor.learn_state import Environment
from tutor.sequence_model import Graph, Params

CHUNK = 1000
"""Compositions that grow side by side; a matter of speed and memory only."""


class Policy(NamedTuple):
    """What chooses events: values, and the prior that it is compared with, or tilted by."""

    params: Params
    """Of the value network; of the prior itself, to compose as the prior does."""
    prior: Params


class Compositions(NamedTuple):
    """N finished sequences of T events, and what was so at each event; arrays [N, T]."""

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

    def metrics(self, split: str) -> dict[str, float]:
        """Means over all events, by their names in a record."""
        means = {
            "reward": self.reward,
            "log_prior": self.log_prior,
            "kl_policy_prior": self.kl,
            "entropy": self.entropy,
        }
        return {f"{split}/{name}": float(np.mean(values)) for name, values in means.items()}


class Composer:
    """Draws sequences from the softmax policy of a method, and scores them as they grow."""

    def __init__(self, graph: Graph, method: str, environment: Environment, length: int):
        """`method` is a name of METHODS; a sequence has `length` events."""
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
        """`count` sequences, arrays in host memory.

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
        environment = self.environment
        value, prior = (nnx.merge(self.graph, params) for params in policy)
        reset_key, draw_key = jax.random.split(key)
        observation, state = jax.vmap(environment.reset, (0, None))(
            jax.random.split(reset_key, count), environment.params
        )
        value_state, prior_state = value.initial_state(count), prior.initial_state(count)
        if primer is not None:
            events = jnp.broadcast_to(primer, (count, len(primer)))
            observation = events[:, -1]
            if len(primer) > 1:
                value_state, _ = value.unroll(value_state, events[:, :-1])
                prior_state, _ = prior.unroll(prior_state, events[:, :-1])

        def step(carry: Any, noise: jax.Array) -> tuple[Any, Compositions]:
            observation, state, value_state, prior_state = carry
            value_state, q = value.step(value_state, observation)
            prior_state, logits = prior.step(prior_state, observation)
            log_prior = jax.nn.log_softmax(logits)
            scores = kl_control.policy_scores(self.method, q, log_prior)
            log_policy = jax.nn.log_softmax(scores)
            action = jnp.argmax(log_policy + noise, axis=-1).astype(jnp.int32)
            observation, state, reward, _, _ = jax.vmap(environment.step, (None, 0, 0, None))(
                None, state, action, environment.params
            )
            made = Compositions(
                events=action,
                reward=reward,
                log_prior=jnp.take_along_axis(log_prior, action[:, None], 1)[:, 0],
                kl=kl_control.kl_policy_prior(log_policy, log_prior),
                entropy=kl_control.entropy(log_policy),
            )
            return (observation, state, value_state, prior_state), made

        noise = jax.random.gumbel(draw_key, (self.length, count, value.num_events))
        carry = (observation, state, value_state, prior_state)
        _, made = jax.lax.scan(step, carry, noise)
        return jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), made)
