"""What the Q-learning loop reads and writes: transitions, random numbers, the state of a seed."""

from typing import Any, NamedTuple

import jax
import optax

from tutor.actor import Actor
from tutor.replay import Replay
from tutor.sequence_model import Params


class StoredTransition(NamedTuple):
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


class BootstrapValues(NamedTuple):
    """What the networks say of the states that transitions led to."""

    q: jax.Array
    """Values of the target network, [..., A]."""
    log_prior: jax.Array | None
    """log p(·|s'), [..., A]; None where no target asks for it."""


class LearnTotals(NamedTuple):
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


class LearnState(NamedTuple):
    """Everything that learning with one seed reads and writes, but for the count of its steps.

    That is the population's, which all its members share.
    """

    params: Params
    target: Params
    prior: Params
    """The frozen prior, the paper's Reward RNN."""
    optimizer: optax.OptState
    replay: Replay
    actor: Actor
    key: jax.Array
    """Never changes: round n draws from fold_in(key, n), environments from
    fold_in(key, 2³² − 1)."""
    diverged_at: jax.Array
    """The step from which on updates were not finite, int32, or −1. None was applied since."""
    totals: LearnTotals


class StepDraws(NamedTuple):
    """The random numbers of n steps of E environments."""

    explore: jax.Array
    """Uniform in [0, 1), [n, E]."""
    action: jax.Array
    """Uniform events, int32 [n, E]; of Boltzmann exploration Gumbel noise [n, E, A]."""
    first: jax.Array
    """Observations with which sequences begin, int32 [n, E]."""


class Draws(NamedTuple):
    """The random numbers of one round, or of a block of it."""

    steps: StepDraws
    places: jax.Array
    """Places in the replay memory, int32 [m, batch] for m updates."""
