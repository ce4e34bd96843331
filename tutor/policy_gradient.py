"""REINVENT's augmented likelihood: a policy gradient under the same prior as the tutor's methods.

Olivecrona et al. 2017: the log-likelihood of a whole sequence A under the agent is moved toward
log P_prior(A) + σ · S(A), where S is its score; here σ = 1/c and S(A) the sum of rewards, so that
the optimum is the tutor's own, ∝ p(A) · exp(r/c). The loss is the squared difference, averaged over
a batch of sequences that the agent has just drawn; nothing is replayed.

A `PolicyGradientLearner` trains members of a `common.population.Population`, as a
`tutor.learner.TutorLearner` does.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh

from common.error import ConfigError
from common.learner import apply_finite, is_finite, zero_totals
from common.mesh import constrain, require_even, spec
from tutor import kl_control
from tutor.actor import Actor, Environment, decide, take
from tutor.config import PolicyGradientConfig
from tutor.kl_control import METHODS, SOFTMAX
from tutor.optimizer import clip_each_by_norm
from tutor.sequence_model import Graph, Params


class Sequences(NamedTuple):
    """B sequences of at most T events, drawn by the agent; arrays [B, T]."""

    inputs: jax.Array
    """The event before each, int32."""
    events: jax.Array
    """int32."""
    counted: jax.Array
    """Whether the event belongs to its sequence, bool: true up to the one that ended it."""
    reward: jax.Array
    """Of the environment, not divided by c."""
    log_prior: jax.Array
    """log p(a|s) of the event."""
    kl: jax.Array
    """KL(π ‖ p) before the event, in nats."""
    entropy: jax.Array
    """H(π) before the event, in nats."""


class PolicyGradientTotals(NamedTuple):
    """Sums since they were last collected; scalars."""

    loss: jax.Array
    """Mean squared difference of a batch, summed over updates."""
    reward: jax.Array
    """Summed over events."""
    log_prior: jax.Array
    """Of events, summed over them."""
    kl: jax.Array
    """KL(π ‖ p), summed over events."""
    entropy: jax.Array
    """H(π), summed over events."""
    events: jax.Array
    """How many there were."""
    updates: jax.Array
    """How many updates there were."""


class PolicyGradientState(NamedTuple):
    """Everything that the training of one member reads and writes, except its count of steps."""

    params: Params
    """Of the agent."""
    prior: Params
    """Never changes."""
    optimizer: optax.OptState
    """The optimiser's state."""
    key: jax.Array
    """It never changes: update n draws from fold_in(key, n)."""
    diverged_at: jax.Array
    """The step that began the update which wasn't finite, int32, or −1. It was not applied."""
    totals: PolicyGradientTotals
    """Since they were last collected."""


class PolicyGradientLearner:
    """The pure functions that fine-tune one model in one environment; a round is one update.

    Several devices may divide the sequences of an update.
    """

    specs = spec(None)
    """See `common.learner.Divisible`: sequences don't outlive their update."""

    def __init__(
        self,
        config: PolicyGradientConfig,
        graph: Graph,
        environment: Environment,
        length: int,
        mesh: Mesh | None = None,
        baseline: float = 0.0,
    ):
        """Prepare a training.

        Args:
          config: settings of the training.
          graph: the structure of agent and prior.
          environment: what gives the reward, and says where a sequence ends.
          length: the most events of a sequence.
          mesh: devices that divide the sequences of an update, or None for one.
          baseline: what is subtracted from a sequence's reward in the loss; metrics tell the
            environment's own.

        Raises:
          ConfigError: the iterations are no whole number of updates, or the devices can't divide
            the sequences evenly.
        """
        require_even(mesh, config.environments, "learn.environments")
        self.config, self.graph, self.environment = config, graph, environment
        self.length, self.mesh, self.baseline = length, mesh, baseline
        self.round_steps = config.environments * config.sequence_steps
        if config.iterations % self.round_steps:
            raise ConfigError(
                f"learn.iterations={config.iterations} is no multiple of {self.round_steps}, "
                "learn.environments × learn.sequence_steps."
            )
        self.optimizer = optax.chain(
            clip_each_by_norm(config.clip_norm), optax.adam(config.learning_rate)
        )

    def divided(self, mesh: Mesh) -> "PolicyGradientLearner":
        """See `common.learner.Divisible`."""
        return PolicyGradientLearner(
            self.config, self.graph, self.environment, self.length, mesh, self.baseline
        )

    def initial_state(self, prior: Params, seed: int) -> PolicyGradientState:
        """Begin a training of an agent that is the prior."""
        params = jax.tree.map(jnp.copy, prior)
        return PolicyGradientState(
            params=params,
            prior=jax.tree.map(jnp.copy, prior),
            optimizer=self.optimizer.init(params),
            key=jax.random.split(jax.random.key(seed))[1],  # others draw from the seed's own key
            diverged_at=jnp.full((), -1, jnp.int32),
            totals=zero_totals(PolicyGradientTotals),
        )

    def round(self, state: PolicyGradientState, step: jax.Array) -> PolicyGradientState:
        """Draw a batch of sequences and do an update; pure, to be traced by jit and vmap.

        An update that isn't finite is not applied, and none is after it.
        """
        key = jax.random.fold_in(state.key, step // self.round_steps)
        drawn = self.draw(state.params, state.prior, key)
        loss, gradient = jax.value_and_grad(self.loss)(state.params, drawn)
        changes, optimizer = self.optimizer.update(gradient, state.optimizer)
        params = optax.apply_updates(state.params, changes)

        def total(values: jax.Array) -> jax.Array:
            return jnp.sum(jnp.where(drawn.counted, values, 0.0))

        sums = state.totals
        totals = PolicyGradientTotals(
            loss=sums.loss + loss,
            reward=sums.reward + total(drawn.reward),
            log_prior=sums.log_prior + total(drawn.log_prior),
            kl=sums.kl + total(drawn.kl),
            entropy=sums.entropy + total(drawn.entropy),
            events=sums.events + jnp.sum(drawn.counted),
            updates=sums.updates + 1,
        )
        new = state._replace(params=params, optimizer=optimizer, totals=totals)
        return apply_finite(is_finite((loss, params)), new, state, step)

    def draw(self, params: Params, prior: Params, key: jax.Array) -> Sequences:
        """Draw a batch of sequences from the agent, each from its beginning."""
        width = self.config.environments
        reset_key, noise_key, step_key = jax.random.split(key, 3)
        model = nnx.merge(self.graph, params)
        observation, begun = jax.vmap(self.environment.reset, (0, None))(
            jax.random.split(reset_key, width), self.environment.params
        )
        actor = Actor(observation, begun, model.initial_state(width), model.initial_state(width))
        actor = constrain(actor, self.mesh, spec(0))

        def step(carry: tuple[Actor, jax.Array], xs: Any) -> tuple[Any, Sequences]:
            actor, alive = carry
            noise, keys = xs
            decision = decide(METHODS[SOFTMAX], self.graph, params, prior, actor)
            action = jnp.argmax(decision.scores + noise, axis=-1).astype(jnp.int32)
            after, reward, done = take(self.environment, keys, actor, decision, action)
            log_policy = jax.nn.log_softmax(decision.scores)
            row = Sequences(
                inputs=actor.observation,
                events=action,
                counted=alive,
                reward=reward,
                log_prior=jnp.take_along_axis(decision.log_prior, action[:, None], 1)[:, 0],
                kl=kl_control.kl_policy_prior(log_policy, decision.log_prior),
                entropy=kl_control.entropy(log_policy),
            )
            return (after, alive & ~done.astype(bool)), row

        noise = jax.random.gumbel(noise_key, (self.length, width, model.num_events))
        keys = jax.random.split(step_key, (self.length, width))
        _, rows = jax.lax.scan(step, (actor, jnp.ones(width, bool)), (noise, keys))
        drawn = jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), rows)
        return constrain(drawn, self.mesh, spec(0))

    def loss(self, params: Params, drawn: Sequences) -> jax.Array:
        """Compute the mean of (log p(A) + (r(A) − baseline)/c − log π(A))² over sequences.

        Events after a sequence's end count nowhere.
        """
        model = nnx.merge(self.graph, params)
        _, logits = model.unroll(model.initial_state(drawn.events.shape[0]), drawn.inputs)
        log_policy = jnp.take_along_axis(
            jax.nn.log_softmax(logits), drawn.events[..., None], axis=-1
        )[..., 0]

        def sequence(values: jax.Array) -> jax.Array:
            return jnp.sum(jnp.where(drawn.counted, values, 0.0), axis=1)

        reward = sequence(drawn.reward) - self.baseline
        augmented = sequence(drawn.log_prior) + reward / self.config.c
        return jnp.mean(jnp.square(augmented - sequence(log_policy)))

    def metrics(self, totals: PolicyGradientTotals, step: int) -> dict[str, float]:
        """Compute the metrics of totals, of the same names and meanings as a TutorLearner's.

        Args:
          totals: NumPy scalars.
          step: not used; a population passes it to every learner.

        Returns:
          Metrics by name. Empty where the totals are of no updates.
        """
        sums = {name: float(total) for name, total in totals._asdict().items()}
        if not sums["updates"]:
            return {}
        events = sums["events"]
        return {
            "train/reward": sums["reward"] / events,
            "train/log_prior": sums["log_prior"] / events,
            "train/kl_policy_prior": sums["kl"] / events,
            "train/entropy": sums["entropy"] / events,
            "train/loss": sums["loss"] / sums["updates"],
            "train/sequence_events": events / (sums["updates"] * self.config.environments),
        }
