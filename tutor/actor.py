"""One event more: what the networks say of sequences in the making, and what an environment does.

The Q-learning loop and composing from a policy both grow sequences with these two functions; which
event is taken is for them to say.
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

    The reward may be any function that JAX can call, `jax.pure_callback` included: the loop makes
    one call a step for all sequences of all seeds.
    """

    reset: Callable[..., Any]
    """(key, params) → (observation, state). Sequences begin empty: only the observation may depend
    on the key."""
    step: Callable[..., Any]
    """(key, state, action, params) → (observation, state, reward, done, info); no reset."""
    params: Any


class Actor(NamedTuple):
    """Sequences in the making, E of them."""

    observation: jax.Array
    """The latest event, int32 [E]."""
    environment: Any
    policy: Any
    """Recurrent state of the value network before that event."""
    prior: Any
    """Recurrent state of the prior before that event."""


class Decision(NamedTuple):
    """What the networks say of the next event of E sequences; A is the number of events."""

    policy: Any
    """Recurrent state of the value network after the latest event."""
    prior: Any
    """Recurrent state of the prior after the latest event."""
    scores: jax.Array
    """The policy is their softmax, [E, A]."""
    log_prior: jax.Array
    """log p(·|s), [E, A]."""


def decide(method: Method, graph: Graph, params: Params, prior: Params, actor: Actor) -> Decision:
    """Asks value network and prior for the next event of every sequence."""
    policy_state, q = nnx.merge(graph, params).step(actor.policy, actor.observation)
    prior_state, logits = nnx.merge(graph, prior).step(actor.prior, actor.observation)
    log_prior = jax.nn.log_softmax(logits)
    scores = kl_control.policy_scores(method, q, log_prior)
    return Decision(policy_state, prior_state, scores, log_prior)


def take(
    environment: Environment, keys: jax.Array, actor: Actor, decision: Decision, action: jax.Array
) -> tuple[Actor, jax.Array, jax.Array]:
    """Takes an event in every sequence.

    Args:
      environment: whose step is taken.
      keys: a PRNG key for each sequence, [E].
      actor: the sequences.
      decision: of `decide` for them.
      action: the events, int32 [E].

    Returns:
      The sequences with the event, its reward [E], and whether it ended its sequence, bool [E].
    """
    observation, state, reward, done, _ = jax.vmap(environment.step, (0, 0, 0, None))(
        keys, actor.environment, action, environment.params
    )
    return Actor(observation, state, decision.policy, decision.prior), reward, done
