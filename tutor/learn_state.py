"""What the Q-learning loop reads and writes: environment, transitions, the state of each seed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tutor.replay import Replay
from tutor.sequence_model import Params


class Environment(NamedTuple):
    """Sequences that grow event by event for a reward; functions in gymnax's conventions."""

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


class Row(NamedTuple):
    """One transition in the replay memory, with the recurrent states of when it was made."""

    observation: jax.Array
    action: jax.Array
    next_observation: jax.Array
    reward: jax.Array
    """Divided by c, without log p(a|s)."""
    discount: jax.Array
    policy_before: Any
    """The value network's state before the observation."""
    policy_after: Any
    """Its state after the observation, before the action."""
    prior_after: Any
    """The prior's state after the observation; None where no target asks for log p(·|s')."""
    log_prior: jax.Array
    """log p(·|s), [A]."""


class Future(NamedTuple):
    """What the networks say of the states that transitions led to."""

    q: jax.Array
    """Values of the target network, [..., A]."""
    log_prior: jax.Array | None
    """log p(·|s'), [..., A]; None where it isn't asked for."""


class Totals(NamedTuple):
    """Sums since they were last collected; scalars."""

    loss: jax.Array
    """Mean squared error of a batch, over updates."""
    kl: jax.Array
    """KL(π ‖ p), mean over a batch of replayed states, over rounds."""
    entropy: jax.Array
    """H(π), likewise."""
    looks: jax.Array
    """Rounds."""
    reward: jax.Array
    """The environment's reward over c, over environment steps."""
    log_prior: jax.Array
    """log p(a|s) of the actions taken, over environment steps."""
    updates: jax.Array
    steps: jax.Array


class Seed(NamedTuple):
    """What one seed owns; its leaves have a leading axis [seeds] in a `LearnState`."""

    params: Params
    target: Params
    prior: Params
    """The frozen prior, the paper's Reward RNN."""
    optimizer: optax.OptState
    replay: Replay
    actor: Actor
    key: jax.Array
    """Never changes: round n draws from fold_in(key, n)."""
    diverged_at: jax.Array
    """The step from which on updates were not finite, int32, or −1. None was applied since."""
    totals: Totals


class LearnState(NamedTuple):
    """Everything that learning reads and writes; saved whole in a checkpoint."""

    step: jax.Array
    """Environment steps of each seed, int32 scalar."""
    seeds: Seed

    @property
    def diverged_at(self) -> jax.Array:
        """The step at which the last seed diverged, or −1 while one goes on; int32 scalar."""
        each = self.seeds.diverged_at
        return jnp.where(jnp.all(each >= 0), jnp.max(each), -1)


class Draws(NamedTuple):
    """The random numbers of one round: of n steps of E environments, and of m updates."""

    explore: jax.Array
    """Uniform in [0, 1), [n, E]."""
    action: jax.Array
    """Uniform events, int32 [n, E]; of Boltzmann exploration Gumbel noise [n, E, A]."""
    first: jax.Array
    """Observations with which sequences begin, int32 [n, E]."""
    places: jax.Array
    """Places in the replay memory, int32 [m, batch]."""


def zero_totals() -> Totals:
    """Nothing yet."""
    return Totals(*(jnp.zeros(()) for _ in Totals._fields))
