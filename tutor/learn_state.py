"""The data of the Q-learning loop: transitions, totals, random numbers, the state of a member."""

from typing import Any, NamedTuple

import jax
import optax

from tutor.actor import Actor
from tutor.replay import Replay
from tutor.sequence_model import Params


class StoredTransition(NamedTuple):
    """One transition in the replay memory, with the recurrent states from when it was made."""

    observation: jax.Array
    """The event before the action, int32."""
    action: jax.Array
    """The event taken, int32."""
    next_observation: jax.Array
    """The event that the environment returned, int32."""
    reward: jax.Array
    """The environment's reward less the learner's baseline, over c, without log p(a|s)."""
    discount: jax.Array
    """γ, or 0 after a sequence's last event if values end there."""
    policy_before: Any
    """The value network's state before the observation."""
    policy_after: Any
    """Its state after the observation, before the action."""
    prior_after: Any
    """The prior's state after the observation; None where the target doesn't need log p(·|s')."""
    log_prior: jax.Array
    """log p(·|s), [A]."""


class BootstrapValues(NamedTuple):
    """The networks' outputs for the states that transitions led to."""

    q: jax.Array
    """Values of the target network, [..., A]."""
    log_prior: jax.Array | None
    """log p(·|s'), [..., A]; None where the target doesn't need it."""


class LearnTotals(NamedTuple):
    """Sums since they were last collected; scalars."""

    loss: jax.Array
    """Mean squared error of a batch, summed over updates."""
    kl: jax.Array
    """Mean of KL(π ‖ p) over a batch of replayed states, summed over rounds."""
    entropy: jax.Array
    """Mean of H(π) over the same states, summed over rounds."""
    # Checkpoints know the fields by name: renaming this one would keep old runs from resuming.
    looks: jax.Array
    """How many rounds there were."""
    reward: jax.Array
    """The environment's reward over c, summed over environment steps."""
    log_prior: jax.Array
    """log p(a|s) of the actions taken, summed over environment steps."""
    updates: jax.Array
    """How many gradient steps there were."""
    steps: jax.Array
    """How many environment steps there were."""


class LearnState(NamedTuple):
    """Everything that the training of one member reads and writes, except its count of steps.

    The population counts the steps, which are the same for all members.
    """

    params: Params
    """Of the value network."""
    target: Params
    """Of the target network."""
    prior: Params
    """Of the prior, the paper's Reward RNN. It is frozen, unless a quirk trains it."""
    optimizer: optax.OptState
    """The optimiser's state."""
    replay: Replay
    """The memory of transitions."""
    actor: Actor
    """The environments, and the networks' states in them."""
    key: jax.Array
    """It never changes: round n draws from fold_in(key, n), environments draw from
    fold_in(key, 2³² − 1)."""
    diverged_at: jax.Array
    """The step that began the round which wasn't finite, int32, or −1. That round and those after
    it changed no network."""
    totals: LearnTotals
    """Since they were last collected."""


class StepDraws(NamedTuple):
    """The random numbers of n steps of E environments."""

    explore: jax.Array
    """Uniform in [0, 1), [n, E]."""
    action: jax.Array
    """Uniform events, int32 [n, E]; for Boltzmann exploration Gumbel noise, [n, E, A]."""
    first: jax.Array
    """Observations with which new sequences begin, int32 [n, E]."""


class Draws(NamedTuple):
    """The random numbers of one round, or of a block of it."""

    steps: StepDraws
    """Of its environment steps."""
    places: jax.Array
    """Places in the replay memory, int32 [m, batch] for m updates."""
