"""How sequences grow by an event: the networks are asked, and an environment takes a step.

The Q-learning loop and composing from a policy both use `decide` and `take`; between the two calls
each chooses the event in its own way.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import nnx

from tutor import kl_control
from tutor.kl_control import Method
from tutor.sequence_model import Graph, Params


class Environment(NamedTuple):
    """Sequences that grow event by event for a reward; functions in gymnax's conventions.

    The reward may be any function that JAX can trace, also one that calls Python by
    `jax.pure_callback`: there is one call a step for all sequences of all seeds.
    """

    reset: Callable[..., Any]
    """(key, params) → (observation, state). Only the observation may depend on the key: all
    sequences begin empty."""
    step: Callable[..., Any]
    """(key, state, action, params) → (observation, state, reward, done, info). It doesn't begin
    anew after the last event."""
    params: Any
    """The last argument of `reset` and `step`."""


class Actor(NamedTuple):
    """E sequences that are being made."""

    observation: jax.Array
    """The latest event, int32 [E]."""
    environment: Any
    """State of the environment, leaves [E, ...]."""
    policy: Any
    """Recurrent state of the value network before that event."""
    prior: Any
    """Recurrent state of the prior before that event."""


class Decision(NamedTuple):
    """What the networks make of the next event of E sequences; A is the number of events."""

    policy: Any
    """Recurrent state of the value network after the latest event."""
    prior: Any
    """Recurrent state of the prior after the latest event."""
    scores: jax.Array
    """Numbers whose softmax is the policy, [E, A]."""
    log_prior: jax.Array
    """log p(·|s), [E, A]."""


def decide(method: Method, graph: Graph, params: Params, prior: Params, actor: Actor) -> Decision:
    """Ask value network and prior for the next event of every sequence.

    Args:
      method: by which values make a policy.
      graph: the structure of both networks.
      params: the value network's parameters.
      prior: the prior's parameters.
      actor: the sequences.
    """
    policy_state, q = nnx.merge(graph, params).step(actor.policy, actor.observation)
    prior_state, logits = nnx.merge(graph, prior).step(actor.prior, actor.observation)
    log_prior = jax.nn.log_softmax(logits)
    scores = kl_control.policy_scores(method, q, log_prior)
    return Decision(policy_state, prior_state, scores, log_prior)


def take(
    environment: Environment, keys: jax.Array, actor: Actor, decision: Decision, action: jax.Array
) -> tuple[Actor, jax.Array, jax.Array]:
    """Add an event to every sequence.

    Args:
      environment: the one that the sequences are in.
      keys: a PRNG key for each sequence, [E].
      actor: the sequences.
      decision: what `decide` returned for them.
      action: the events, int32 [E].

    Returns:
      The sequences with their events, the rewards [E], and which sequences have ended, bool [E].
    """
    observation, state, reward, done, _ = jax.vmap(environment.step, (0, 0, 0, None))(
        keys, actor.environment, action, environment.params
    )
    return Actor(observation, state, decision.policy, decision.prior), reward, done
