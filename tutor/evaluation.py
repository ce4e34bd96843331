"""Composing with a fine-tuned model, and means over the compositions."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.stages import Traced

from common.error import ConfigError
from tutor import kl_control
from tutor.actor import Actor, Environment, decide, take
from tutor.config import COLDEST
from tutor.kl_control import METHODS
from tutor.sequence_model import Graph, Params

CHUNK = 1000
"""Compositions that grow side by side. Each chunk has a random key of its own, so that another
number here gives other compositions."""


class Policy(NamedTuple):
    """The parameters that choose events."""

    params: Params
    """Of the value network. To compose as the prior does they are the prior's."""
    prior: Params
    """Of the prior, with which the policy is compared and, by some methods, multiplied."""


class Compositions(NamedTuple):
    """N finished sequences of at most T events, with measurements at each event; arrays [N, T]."""

    events: Any
    """The events, int32, without the priming ones."""
    reward: Any
    """The environment's reward of the event, not divided by c."""
    log_prior: Any
    """log p(a|s) of the event, in nats."""
    kl: Any
    """KL(π(·|s) ‖ p(·|s)) before the event, exact, in nats."""
    entropy: Any
    """H(π(·|s)) before the event, exact, in nats."""
    counted: Any
    """Whether the event belongs to its sequence, bool: true up to the event that ended it."""

    @property
    def lengths(self) -> np.ndarray:
        """Events of each sequence, int [N]."""
        return np.sum(self.counted, axis=1)

    def metrics(self, split: str, *, last_only: bool = False) -> dict[str, float]:
        """Average over all events that belong to their sequences.

        Args:
          split: what the metrics' names begin with.
          last_only: whether reward and log p are averaged over each sequence's last event only, as
            in the evaluations of the released code.

        Returns:
          Metrics by name: reward, log_prior, kl_policy_prior and entropy, the last three in nats.
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
    """Draws sequences from the softmax policy of a method, and measures them as they grow."""

    def __init__(
        self,
        graph: Graph,
        method: str,
        environment: Environment,
        length: int,
        *,
        temperature: float = 1.0,
    ):
        """Make a composer.

        Args:
          graph: the structure of value network and prior.
          method: a name of METHODS.
          environment: what gives the reward, and says where a sequence ends.
          length: the most events of a sequence.
          temperature: the policy's scores are divided by it: below 1 likely events become more
            likely, above 1 all more alike.

        Raises:
          ConfigError: the temperature is below `tutor.config.COLDEST`, or not finite.
        """
        if not COLDEST <= temperature < math.inf:
            raise ConfigError(
                f"temperature={temperature:g}: choose one from {COLDEST:g} on, where the best "
                "event is taken already."
            )
        self.temperature = temperature
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
        """Compose sequences.

        Each begins from zero recurrent states with priming events, which aren't part of it.

        Args:
          policy: what chooses events.
          key: of all random numbers: chunk k of the sequences draws from fold_in(key, k). Nothing
            else should be derived from it; `jax.random.split(key)` gives these same keys.
          count: number of sequences.
          primer: the priming events of all sequences, int [P]. By default each sequence has one,
            from the environment's `reset`.
          tick: is called between chunks of sequences and may raise to stop.

        Returns:
          The sequences, in host memory.

        Raises:
          ValueError: the number of sequences isn't positive.
        """
        if count < 1:
            raise ValueError(f"the number of sequences must be positive, not {count}.")
        size = min(count, CHUNK)
        chunks = []
        for number in range(math.ceil(count / size)):
            chunk_key = jax.random.fold_in(key, number)
            chunks.append(jax.device_get(self._chunk(policy, chunk_key, primer, count=size)))
            tick()
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *chunks)

    def traced(self, policy: Policy, count: int) -> Traced:
        """Trace the composing of a chunk; the policy's shapes are enough."""
        key = jax.eval_shape(jax.random.key, 0)
        return self._chunk.trace(policy, key, None, count=min(count, CHUNK))

    def _compose(
        self, policy: Policy, key: jax.Array, primer: jax.Array | None, *, count: int
    ) -> Compositions:
        """Compose a chunk of sequences, to be compiled."""
        reset_key, draw_key = jax.random.split(key)
        actor = self._begin(policy, reset_key, primer, count)

        def step(carry: tuple[Actor, jax.Array], xs: Any) -> tuple[Any, Compositions]:
            actor, alive = carry
            noise, keys = xs
            decision = decide(self.method, self.graph, policy.params, policy.prior, actor)
            # Less the best one's: a quotient's rounding error, large where it is cold, would not
            # cancel for it, and its probability be off by that.
            scores = decision.scores - jnp.max(decision.scores, axis=-1, keepdims=True)
            log_policy = jax.nn.log_softmax(scores / self.temperature)
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
        """Begin empty sequences; the networks have read all of the primer but its last event."""
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
