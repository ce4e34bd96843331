"""Fine-tuning by KL-controlled Q-learning: one jitted scan over many steps that act and learn.

**Blocks and rounds.** E environments act at the same time, which makes E environment steps at once.
An update is due every U steps, and so may be due in the midst of them. Therefore learning goes in
*blocks* of lcm(E, U) environment steps, the fewest that make a whole number of updates and of
actions of each environment. In a block all environments act lcm / E times. Then lcm / U batches are
drawn from the memory, the target network is evaluated on all of them at once, the updates follow
one after the other, and the target network moves once, as far as that many moves would take it. A
*round* is some blocks, about `ROUND_STEPS` environment steps, whose random numbers are drawn at
once. At its end the policy is measured; a training stops, reports and resumes between rounds only.

For example, 40 environments with an update every 5 steps: a block is 40 steps (each environment
acts once) and 8 updates on batches of 32, after which the target network moves by 1 − (1 − η)^8;
5 blocks make a round of 200 steps. One environment: a block is 5 steps and one update, a round 40
blocks.

**Several devices** may divide one training: each has its share of the environments, of the memory's
places and of every batch, and all networks whole; gradients are averaged over them. All draw the
same random numbers, so that what is done is what one device does, to rounding.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from common.error import ConfigError
from common.learner import is_finite, keep_finite, zero_totals
from common.mesh import constrain, require_even, spec
from tutor import kl_control, replay
from tutor.actor import Actor, Environment, decide, take
from tutor.config import LearnConfig, Quirks
from tutor.kl_control import METHODS
from tutor.learn_state import (
    BootstrapValues,
    Draws,
    LearnState,
    LearnTotals,
    StepDraws,
    StoredTransition,
)
from tutor.optimizer import make_optimizer
from tutor.replay import Replay
from tutor.sequence_model import Graph, Params
from tutor.update import log_prior_after, replayed, update

ROUND_STEPS = 200
"""About how many environment steps draw their random numbers at once."""

_GUARDED = ("params", "target", "prior", "optimizer", "totals")
"""Fields that keep their values when a round isn't finite. The memory isn't among them: keeping a
copy of it would take longer than the round."""

_WHOLE: Any = spec(None)
_SHARE: Any = spec(0)
"""What devices have of a part of the state where they divide a training."""


class TutorLearner:
    """The pure functions that fine-tune one model in one environment.

    A training lives in its state alone: methods take one and return another. The learner trains the
    members of a `common.population.Population`, which may have only one.
    """

    specs = LearnState(
        params=_WHOLE,
        target=_WHOLE,
        prior=_WHOLE,
        optimizer=_WHOLE,
        replay=_SHARE,
        actor=_SHARE,
        key=_WHOLE,
        diverged_at=_WHOLE,
        totals=_WHOLE,
    )
    """See `common.learner.Divisible`."""

    def __init__(
        self,
        config: LearnConfig,
        graph: Graph,
        num_events: int,
        environment: Environment,
        quirks: Quirks = Quirks(),  # noqa: B008 - immutable
        mesh: Mesh | None = None,
        baseline: float = 0.0,
    ):
        """Divide the training into blocks and rounds.

        Args:
          config: settings of the training.
          graph: the structure of all networks.
          num_events: number of different events, the environment's actions.
          environment: what gives the reward.
          quirks: of the released code.
          mesh: devices that divide the work of a member, or None for one.
          baseline: what is subtracted from the reward of a sequence's last event to learn from;
            metrics tell the environment's own.

        Raises:
          ConfigError: the iterations are no whole number of blocks, the method can't have such
            a quirk, or the devices can't divide the work.
        """
        if quirks.trains_prior and not METHODS[config.method].tilts_prior:
            raise ConfigError(f"only G's target can train the prior, not that of {config.method}.")
        self.config, self.graph, self.environment, self.quirks = config, graph, environment, quirks
        self.method, self.mesh, self.baseline = METHODS[config.method], mesh, baseline
        config.require_whole_blocks()
        _require_divisible(config, mesh)
        width, block = config.environments, config.block
        self.steps_per_block = block // width
        self.updates_per_block = block // config.update_every
        self.blocks = max(1, round(ROUND_STEPS / block))
        while config.iterations % (self.blocks * block) and self.blocks > 1:
            self.blocks -= 1
        self.round_steps = self.blocks * block
        self.optimizer = make_optimizer(config, quirks)
        self.num_events = num_events
        self.keeps_prior_state = self.method.tilts_prior

    def divided(self, mesh: Mesh) -> "TutorLearner":
        """See `common.learner.Divisible`."""
        return TutorLearner(
            self.config,
            self.graph,
            self.num_events,
            self.environment,
            self.quirks,
            mesh,
            self.baseline,
        )

    def initial_state(self, prior: Params, seed: int) -> LearnState:
        """Begin a training.

        Args:
          prior: its parameters, which value network and target network start from.
          seed: of all random numbers.

        Returns:
          A state with an empty memory and, in each environment, an empty sequence.
        """
        reset_key, key = jax.random.split(jax.random.key(seed))
        width = self.config.environments
        model = nnx.merge(self.graph, prior)
        observation, environment = jax.vmap(self.environment.reset, (0, None))(
            jax.random.split(reset_key, width), self.environment.params
        )
        actor = Actor(
            observation, environment, model.initial_state(width), model.initial_state(width)
        )
        zero = jnp.zeros((), jnp.int32)
        _, rows, _ = jax.eval_shape(
            lambda: self._step(
                prior, prior, actor, self._example_draw(), self._environment_keys(key, zero), zero
            )
        )
        row = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), rows)
        copies = [jax.tree.map(jnp.copy, prior) for _ in range(3)]
        trained = (copies[0], copies[2]) if self.quirks.trains_prior else copies[0]
        return LearnState(
            params=copies[0],
            target=copies[1],
            prior=copies[2],
            optimizer=self.optimizer.init(trained),
            replay=replay.make_replay(row, self.config.replay_capacity, width),
            actor=actor,
            key=key,
            diverged_at=jnp.full((), -1, jnp.int32),
            totals=zero_totals(LearnTotals),
        )

    def epsilon(self, step: jax.Array) -> jax.Array:
        """Compute ε, the share of uniform events, after `step` environment steps."""
        config = self.config
        passed = jnp.minimum(step / config.epsilon_iterations, 1.0)
        return config.epsilon_start + (config.epsilon_end - config.epsilon_start) * passed

    def metrics(self, totals: LearnTotals, step: int) -> dict[str, float]:
        """Compute the metrics of totals.

        Reward (not divided by c) and log p(a|s) are means over the events that were chosen,
        exploration included. KL and entropy of the policy are computed exactly for each of a batch
        of replayed states a round, and averaged, once the memory has a batch.

        Args:
          totals: NumPy scalars.
          step: not used; a population passes it to every learner.

        Returns:
          Metrics by name. Empty where the totals are of no steps.
        """
        sums = {name: float(total) for name, total in totals._asdict().items()}
        if not sums["steps"]:
            return {}
        metrics = {
            "train/reward": sums["reward"] / sums["steps"] * self.config.c,
            "train/log_prior": sums["log_prior"] / sums["steps"],
        }
        if sums["looks"]:
            metrics["train/kl_policy_prior"] = sums["kl"] / sums["looks"]
            metrics["train/entropy"] = sums["entropy"] / sums["looks"]
        if sums["updates"]:
            metrics["train/loss"] = sums["loss"] / sums["updates"]
        return metrics

    def round(self, state: LearnState, step: jax.Array) -> LearnState:
        """Act and learn for `round_steps` environment steps; pure, to be traced by jit and vmap.

        Where loss or weights aren't finite afterwards, networks, optimiser and totals stay as they
        were and `diverged_at` is set.

        Args:
          state: of one member.
          step: environment steps before the round, int32 scalar.
        """
        draws = self._draw(jax.random.fold_in(state.key, step // self.round_steps), step)
        begun = step + jnp.arange(self.blocks, dtype=jnp.int32) * self.config.block
        done, _ = jax.lax.scan(self._block, state, (begun, draws))
        filled = step + self.round_steps >= self.config.least_stored
        totals = self._add_policy_statistics(done, draws.places[-1, -1])
        totals = jax.tree.map(lambda new, old: jnp.where(filled, new, old), totals, done.totals)
        done = done._replace(totals=totals)
        finite = is_finite((done.totals.loss, done.params, done.prior))
        goes_on = state.diverged_at < 0
        new, old = ({name: getattr(one, name) for name in _GUARDED} for one in (done, state))
        return done._replace(
            **keep_finite(finite & goes_on, new, old),
            diverged_at=jnp.where(finite | ~goes_on, state.diverged_at, step),
        )

    def _add_policy_statistics(self, state: LearnState, places: jax.Array) -> LearnTotals:
        """Add KL and entropy of the policy in the replayed states at some places to the totals."""
        rows = replay.read(state.replay, places)
        _, q = nnx.merge(self.graph, state.params).step(rows.policy_before, rows.observation)
        log_policy = kl_control.log_policy(self.method, q, rows.log_prior)
        kl = kl_control.kl_policy_prior(log_policy, rows.log_prior)
        return state.totals._replace(
            kl=state.totals.kl + jnp.mean(kl),
            entropy=state.totals.entropy + jnp.mean(kl_control.entropy(log_policy)),
            looks=state.totals.looks + 1,
        )

    def _block(self, state: LearnState, xs: tuple[jax.Array, Draws]) -> tuple[LearnState, None]:
        """Act and learn for a block, given the steps before it and its random numbers."""
        begun, draws = xs

        def act(carry: tuple[Actor, Replay, LearnTotals], xs: Any) -> tuple[Any, None]:
            actor, memory, totals = carry
            step, draw = xs
            # Made here, step by step: nothing is computed for environments that ignore their keys.
            keys = self._environment_keys(state.key, step)
            actor, row, gained = self._step(state.params, state.prior, actor, draw, keys, step)
            reward, log_prior = gained
            totals = totals._replace(
                reward=totals.reward + jnp.sum(reward),
                log_prior=totals.log_prior + jnp.sum(log_prior),
                steps=totals.steps + self.config.environments,
            )
            return (actor, replay.store(memory, row, step, self.mesh), totals), None

        steps = begun + self.config.environments * jnp.arange(self.steps_per_block, dtype=jnp.int32)
        (actor, memory, totals), _ = jax.lax.scan(
            act, (state.actor, state.replay, state.totals), (steps, draws.steps)
        )
        state = state._replace(actor=actor, replay=memory, totals=totals)

        rows = replay.read(memory, draws.places.reshape(-1))
        values = self._bootstrap_values(state, rows)
        batches = constrain(self._by_update((rows, values)), self.mesh, spec(1))

        def learn(number: jax.Array, state: LearnState) -> LearnState:
            return self._learn(state, *jax.tree.map(lambda leaf: leaf[number], batches))

        stored = begun + self.config.block
        updates = jnp.where(stored >= self.config.least_stored, self.updates_per_block, 0)
        state = jax.lax.fori_loop(0, updates, learn, state)
        rate = 1.0 - (1.0 - self.config.target_rate) ** updates
        target = kl_control.soft_update(state.target, state.params, rate)
        return constrain(state._replace(target=target), self.mesh, self.specs), None

    def _step(
        self,
        params: Params,
        prior: Params,
        actor: Actor,
        draw: StepDraws,
        keys: jax.Array,
        step: jax.Array,
    ) -> tuple[Actor, StoredTransition, tuple[jax.Array, jax.Array]]:
        """Take an event in each environment; return transitions to store, and of the events taken
        r/c and log p, [E] each."""
        config = self.config
        decision = decide(self.method, self.graph, params, prior, actor)
        best = jnp.argmax(decision.scores, axis=-1).astype(jnp.int32)
        if config.exploration == "boltzmann":
            action = jnp.argmax(decision.scores + draw.action, axis=-1).astype(jnp.int32)
        else:
            action = jnp.where(draw.explore < self.epsilon(step), draw.action, best)
        after, reward, done = take(self.environment, keys, actor, decision, action)
        gained = reward / config.c
        learned = (reward - jnp.where(done.astype(bool), self.baseline, 0.0)) / config.c
        log_p, log_p_best = (
            jnp.take_along_axis(decision.log_prior, event[:, None], 1)[:, 0]
            for event in (action, best)
        )
        stored = action
        if self.quirks.stores_best_action and config.exploration == "boltzmann":
            stored = best
            if self.method.adds_log_prior:  # of what is stored; it was of what was drawn
                learned += log_p - log_p_best
        ends = 1.0 if config.bootstrap_at_end else 1.0 - done
        row = StoredTransition(
            observation=actor.observation,
            action=stored,
            next_observation=after.observation,
            reward=learned,
            discount=config.discount * jnp.ones_like(learned) * ends,
            policy_before=actor.policy,
            policy_after=decision.policy,
            prior_after=decision.prior if self.keeps_prior_state else None,
            log_prior=decision.log_prior,
        )
        return self._begin_anew(after, done, draw.first, prior), row, (gained, log_p)

    def _begin_anew(self, actor: Actor, done: jax.Array, first: jax.Array, prior: Params) -> Actor:
        """Replace each sequence that is done by an empty one with `first` as observation."""
        _, start = self.environment.reset(jax.random.key(0), self.environment.params)
        zero = nnx.merge(self.graph, prior).initial_state(1)

        def begin(fresh: jax.Array, old: jax.Array) -> jax.Array:
            ended = done.reshape(done.shape + (1,) * (old.ndim - 1))
            return jnp.where(ended, fresh, old)

        return Actor(
            observation=begin(first, actor.observation),
            environment=jax.tree.map(begin, start, actor.environment),
            policy=jax.tree.map(begin, zero, actor.policy),
            prior=jax.tree.map(begin, zero, actor.prior),
        )

    def _by_update(self, rows: Any) -> Any:
        """Divide what is of all batches of a block, leaves [updates · batch, ...], by update."""
        return jax.tree.map(
            lambda leaf: leaf.reshape(self.updates_per_block, -1, *leaf.shape[1:]), rows
        )

    def _bootstrap_values(self, state: LearnState, rows: StoredTransition) -> BootstrapValues:
        """Evaluate target network and prior, which don't change within a block, at all s'."""
        target = nnx.merge(self.graph, state.target)
        after, _ = jax.vmap(lambda batch: replayed(target, batch, self.config.unroll))(
            self._by_update(rows)
        )
        after = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), after)
        _, q_t = target.step(after, rows.next_observation)
        asked = self.keeps_prior_state and not self.quirks.trains_prior
        return BootstrapValues(
            q_t, log_prior_after(self.graph, state.prior, rows) if asked else None
        )

    def _learn(
        self, state: LearnState, rows: StoredTransition, values: BootstrapValues
    ) -> LearnState:
        """Do one gradient step on transitions [batch]."""
        done = update(
            self.graph,
            self.method,
            self.optimizer,
            state.params,
            state.optimizer,
            rows,
            values,
            double=self.config.double,
            unroll=self.config.unroll,
            drifting_prior=state.prior if self.quirks.trains_prior else None,
        )
        totals = state.totals._replace(
            loss=state.totals.loss + done.loss, updates=state.totals.updates + 1
        )
        return state._replace(
            params=done.params,
            prior=state.prior if done.drifting_prior is None else done.drifting_prior,
            optimizer=done.optimizer,
            totals=totals,
        )

    def _draw(self, key: jax.Array, step: jax.Array) -> Draws:
        """Draw the random numbers of a round; leaves [blocks, per block, ...]."""
        keys = jax.random.split(key, 4)
        steps = (self.blocks, self.steps_per_block, self.config.environments)
        events = self.num_events
        if self.config.exploration == "boltzmann":
            action = jax.random.gumbel(keys[1], (*steps, events))
        else:
            action = jax.random.randint(keys[1], steps, 0, events, jnp.int32)
        resets = jax.random.split(keys[2], math.prod(steps))
        first = jax.vmap(self.environment.reset, (0, None))(resets, self.environment.params)[0]
        stored = step + self.config.block * (1 + jnp.arange(self.blocks))
        stored = jnp.repeat(stored, self.updates_per_block)
        places = replay.draw_sequences(
            keys[3],
            stored,
            capacity=self.config.replay_capacity,
            width=self.config.environments,
            count=self.config.batch_size // self.config.unroll,
            length=self.config.unroll,
        )
        return Draws(
            steps=StepDraws(
                explore=jax.random.uniform(keys[0], steps),
                action=action,
                first=first.reshape(steps),
            ),
            places=places.reshape(self.blocks, self.updates_per_block, -1),
        )

    def _environment_keys(self, key: jax.Array, step: jax.Array) -> jax.Array:
        """Make the keys [E] with which the environments take the step."""
        # Rounds draw from fold_in(key, number), and no number of a round is as large as this one.
        keys = jax.random.fold_in(jax.random.fold_in(key, 2**32 - 1), step)
        return jax.random.split(keys, self.config.environments)

    def _example_draw(self) -> StepDraws:
        """Draw the random numbers of one step, for their shapes."""
        draws = self._draw(jax.random.key(0), jnp.zeros((), jnp.int32))
        return jax.tree.map(lambda leaf: leaf[0, 0], draws.steps)


def _require_divisible(config: LearnConfig, mesh: Mesh | None) -> None:
    """Raise ConfigError where devices can't divide a single training's work."""
    if mesh is None:
        return
    if config.environments == 1:
        raise ConfigError(
            f"learn.environments=1: one sequence at a time leaves {mesh.size} devices nothing to "
            "divide.\nChoose several environments, a seed for each device (--seeds), or --mesh "
            "data=1."
        )
    for name in ("environments", "replay_capacity", "batch_size"):
        require_even(mesh, getattr(config, name), f"learn.{name}")
    if config.replay_capacity < mesh.size * config.environments:
        raise ConfigError(
            f"learn.replay_capacity={config.replay_capacity} leaves each of {mesh.size} devices "
            f"fewer places than there are environments ({config.environments}): choose a larger "
            "one."
        )
