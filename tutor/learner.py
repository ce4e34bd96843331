"""KL-controlled Q-learning: act, store, learn, as one jitted scan over many environment steps.

**Blocks and rounds.** With E environments side by side, an update every U environment steps falls
due in the middle of a step of all environments, unless steps are counted in *blocks*: the fewest
environment steps that make a whole number of updates, the least common multiple of E and U. In a
block all environments act lcm / E times; then lcm / U batches are drawn, what the target network
says of them is computed in one go, the updates are made one after the other, and the target network
moves once, by as much as after each of them. A *round* is some blocks, about `ROUND_STEPS` steps,
whose random numbers are drawn at once; metrics of the policy are taken at its end, and a training
stops, reports and resumes between rounds.

For example, 40 environments with an update every 5 steps: a block is 40 steps (each environment
acts once) and 8 updates on batches of 32, after which the target network moves by 1 − (1 − η)^8;
5 blocks make a round of 200 steps. One environment: a block is 5 steps and one update, a round 40
blocks.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from common.error import ConfigError
from common.population import is_finite, keep_finite, zero_totals
from tutor import kl_control, replay
from tutor.actor import Actor, Environment, decide, take
from tutor.config import LearnConfig
from tutor.kl_control import METHODS, Method, Transition
from tutor.learn_state import (
    BootstrapValues,
    Draws,
    LearnState,
    LearnTotals,
    StepDraws,
    StoredTransition,
)
from tutor.replay import Replay
from tutor.sequence_model import Graph, Params

ROUND_STEPS = 200
"""About how many environment steps draw their random numbers at once."""

_GUARDED = ("params", "target", "prior", "optimizer", "totals")
"""What a round that isn't finite leaves as it was. The memory goes on: to hold back a copy of it
would take longer than the round."""


class Quirks(NamedTuple):
    """Departures from the paper that the released code makes; off by default."""

    stores_best_action: bool = False
    """Boltzmann exploration stores the best action; reward and next state are the drawn one's."""
    trains_prior: bool = False
    """G's target passes its gradient into the prior, which so drifts from the data."""


class TutorLearner:
    """The pure functions that tune one model in one environment; of a `Population`'s members.

    Nothing in it changes: state goes in, state comes out.
    """

    def __init__(
        self,
        config: LearnConfig,
        graph: Graph,
        num_events: int,
        environment: Environment,
        quirks: Quirks = Quirks(),  # noqa: B008 - immutable
    ):
        """Divides the training into blocks and rounds.

        Raises:
          ConfigError: the iterations don't fit the blocks, or a quirk the method.
        """
        if quirks.trains_prior and not METHODS[config.method].tilts_prior:
            raise ConfigError(f"only G's target can train the prior, not that of {config.method}.")
        self.config, self.graph, self.environment, self.quirks = config, graph, environment, quirks
        self.method = METHODS[config.method]
        width = config.environments
        block = math.lcm(width, config.update_every)
        self.steps_per_block = block // width
        self.updates_per_block = block // config.update_every
        self.blocks = max(1, round(ROUND_STEPS / block))
        while config.iterations % (self.blocks * block) and self.blocks > 1:
            self.blocks -= 1
        self.round_steps = self.blocks * block
        if config.iterations % self.round_steps:
            raise ConfigError(
                f"learn.iterations={config.iterations} is no multiple of {block}, which "
                f"{width} environments with an update every {config.update_every} steps need."
            )
        self.optimizer = make_optimizer(config)
        self.num_events = num_events
        self.keeps_prior_state = self.method.tilts_prior

    def initial_state(self, prior: Params, seed: int) -> LearnState:
        """Value and target networks as copies of the prior, an empty memory, sequences begun."""
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
        _, rows = jax.eval_shape(
            lambda: self._step(
                prior, prior, actor, self._example_draw(), self._environment_keys(key, zero), zero
            )
        )
        row = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), rows[0])
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
        """Share of uniform events after `step` environment steps."""
        config = self.config
        passed = jnp.minimum(step / config.epsilon_iterations, 1.0)
        return config.epsilon_start + (config.epsilon_end - config.epsilon_start) * passed

    def metrics(self, totals: LearnTotals, step: int) -> dict[str, float]:
        """Metrics of totals (NumPy scalars); {} where they are of no steps.

        Reward (the environment's) and log p(a|s) are means over the events of behaviour, with its
        exploration; KL and entropy of the policy are exact in each of a batch of replayed states.
        """
        sums = {name: float(total) for name, total in totals._asdict().items()}
        if not sums["steps"]:
            return {}
        metrics = {
            "train/reward": sums["reward"] / sums["steps"] * self.config.c,
            "train/log_prior": sums["log_prior"] / sums["steps"],
            "train/kl_policy_prior": sums["kl"] / sums["looks"],
            "train/entropy": sums["entropy"] / sums["looks"],
        }
        if sums["updates"]:
            metrics["train/loss"] = sums["loss"] / sums["updates"]
        return metrics

    def round(self, state: LearnState, step: jax.Array) -> LearnState:
        """Acts and learns for `round_steps` environment steps, from `step` (int32 scalar) on.

        Pure, to be traced by jit and vmap. Where loss or weights aren't finite afterwards, what was
        learned stays as it was and `diverged_at` is set.
        """
        draws = self._draw(jax.random.fold_in(state.key, step // self.round_steps), step)
        begun = step + jnp.arange(self.blocks, dtype=jnp.int32) * self._block_size
        done, _ = jax.lax.scan(self._block, state, (begun, draws))
        done = done._replace(totals=self._add_policy_statistics(done, draws.places[-1, -1]))
        finite = is_finite((done.totals.loss, done.params, done.prior))
        goes_on = state.diverged_at < 0
        new, old = ({name: getattr(one, name) for name in _GUARDED} for one in (done, state))
        return done._replace(
            **keep_finite(finite & goes_on, new, old),
            diverged_at=jnp.where(finite | ~goes_on, state.diverged_at, step),
        )

    def _add_policy_statistics(self, state: LearnState, places: jax.Array) -> LearnTotals:
        """Totals with KL and entropy of the policy in the replayed states at some places."""
        rows = replay.read(state.replay, places)
        _, q = nnx.merge(self.graph, state.params).step(rows.policy_before, rows.observation)
        log_policy = kl_control.log_policy(self.method, q, rows.log_prior)
        kl = kl_control.kl_policy_prior(log_policy, rows.log_prior)
        return state.totals._replace(
            kl=state.totals.kl + jnp.mean(kl),
            entropy=state.totals.entropy + jnp.mean(kl_control.entropy(log_policy)),
            looks=state.totals.looks + 1,
        )

    @property
    def _block_size(self) -> int:
        return self.steps_per_block * self.config.environments

    def _block(self, state: LearnState, xs: tuple[jax.Array, Draws]) -> tuple[LearnState, None]:
        begun, draws = xs

        def act(carry: tuple[Actor, Replay, LearnTotals], xs: Any) -> tuple[Any, None]:
            actor, memory, totals = carry
            step, draw = xs
            # Made here, step by step: nothing is computed for environments that ignore their keys.
            keys = self._environment_keys(state.key, step)
            actor, (row, action) = self._step(state.params, state.prior, actor, draw, keys, step)
            taken = jnp.take_along_axis(row.log_prior, action[:, None], 1)
            totals = totals._replace(
                reward=totals.reward + jnp.sum(row.reward),
                log_prior=totals.log_prior + jnp.sum(taken),
                steps=totals.steps + self.config.environments,
            )
            return (actor, replay.store(memory, row, step), totals), None

        steps = begun + self.config.environments * jnp.arange(self.steps_per_block, dtype=jnp.int32)
        (actor, memory, totals), _ = jax.lax.scan(
            act, (state.actor, state.replay, state.totals), (steps, draws.steps)
        )
        state = state._replace(actor=actor, replay=memory, totals=totals)

        rows = replay.read(memory, draws.places.reshape(-1))
        values = self._bootstrap_values(state, rows)
        batches = jax.tree.map(
            lambda leaf: leaf.reshape(self.updates_per_block, -1, *leaf.shape[1:]), (rows, values)
        )

        def learn(number: jax.Array, state: LearnState) -> LearnState:
            return self._learn(state, *jax.tree.map(lambda leaf: leaf[number], batches))

        stored = begun + self._block_size
        updates = jnp.where(stored >= self.config.batch_size, self.updates_per_block, 0)
        state = jax.lax.fori_loop(0, updates, learn, state)
        rate = 1.0 - (1.0 - self.config.target_rate) ** updates
        target = kl_control.soft_update(state.target, state.params, rate)
        return state._replace(target=target), None

    def _step(
        self,
        params: Params,
        prior: Params,
        actor: Actor,
        draw: StepDraws,
        keys: jax.Array,
        step: jax.Array,
    ) -> tuple[Actor, tuple[StoredTransition, jax.Array]]:
        """One event in every environment, the transitions [E] that it makes, and the actions [E]
        behind them."""
        config = self.config
        decision = decide(self.method, self.graph, params, prior, actor)
        best = jnp.argmax(decision.scores, axis=-1).astype(jnp.int32)
        if config.exploration == "boltzmann":
            action = jnp.argmax(decision.scores + draw.action, axis=-1).astype(jnp.int32)
        else:
            action = jnp.where(draw.explore < self.epsilon(step), draw.action, best)
        after, reward, done = take(self.environment, keys, actor, decision, action)
        ends = 1.0 if config.bootstrap_at_end else 1.0 - done
        row = StoredTransition(
            observation=actor.observation,
            action=best if self.quirks.stores_best_action else action,
            next_observation=after.observation,
            reward=reward / config.c,
            discount=config.discount * jnp.ones_like(reward) * ends,
            policy_before=actor.policy,
            policy_after=decision.policy,
            prior_after=decision.prior if self.keeps_prior_state else None,
            log_prior=decision.log_prior,
        )
        return self._begin_anew(after, done, draw.first, prior), (row, action)

    def _begin_anew(self, actor: Actor, done: jax.Array, first: jax.Array, prior: Params) -> Actor:
        """The sequences, where one is done an empty one that begins with an observation `first`."""
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

    def _bootstrap_values(self, state: LearnState, rows: StoredTransition) -> BootstrapValues:
        """What target network and prior say of where transitions led: the same for all a block."""
        target = nnx.merge(self.graph, state.target)
        _, q_t = target.step(rows.policy_after, rows.next_observation)
        asked = self.keeps_prior_state and not self.quirks.trains_prior
        return BootstrapValues(
            q_t, log_prior_after(self.graph, state.prior, rows) if asked else None
        )

    def _learn(
        self, state: LearnState, rows: StoredTransition, values: BootstrapValues
    ) -> LearnState:
        """One gradient step on transitions [batch]."""
        done = update(
            self.graph,
            self.method,
            self.optimizer,
            state.params,
            state.optimizer,
            rows,
            values,
            double=self.config.double,
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
        """The random numbers of a round, its blocks first: leaves [blocks, per block, ...]."""
        keys = jax.random.split(key, 4)
        steps = (self.blocks, self.steps_per_block, self.config.environments)
        events = self.num_events
        if self.config.exploration == "boltzmann":
            action = jax.random.gumbel(keys[1], (*steps, events))
        else:
            action = jax.random.randint(keys[1], steps, 0, events, jnp.int32)
        resets = jax.random.split(keys[2], math.prod(steps))
        first = jax.vmap(self.environment.reset, (0, None))(resets, self.environment.params)[0]
        stored = step + self._block_size * (1 + jnp.arange(self.blocks))
        sizes = jnp.minimum(jnp.repeat(stored, self.updates_per_block), self.config.replay_capacity)
        places = replay.draw_places(keys[3], sizes, self.config.batch_size)
        return Draws(
            steps=StepDraws(
                explore=jax.random.uniform(keys[0], steps),
                action=action,
                first=first.reshape(steps),
            ),
            places=places.reshape(self.blocks, self.updates_per_block, -1),
        )

    def _environment_keys(self, key: jax.Array, step: jax.Array) -> jax.Array:
        """A key for each environment's step, [E]; no round has so large a number."""
        keys = jax.random.fold_in(jax.random.fold_in(key, 2**32 - 1), step)
        return jax.random.split(keys, self.config.environments)

    def _example_draw(self) -> StepDraws:
        draws = self._draw(jax.random.key(0), jnp.zeros((), jnp.int32))
        return jax.tree.map(lambda leaf: leaf[0, 0], draws.steps)


class Update(NamedTuple):
    """What comes out of one update."""

    params: Params
    drifting_prior: Params | None
    optimizer: optax.OptState
    loss: jax.Array
    """Mean over the batch of (y − q(s, a))², before the update; scalar."""


def update(
    graph: Graph,
    method: Method,
    optimizer: optax.GradientTransformation,
    params: Params,
    optimizer_state: optax.OptState,
    batch: StoredTransition,
    values: BootstrapValues,
    *,
    double: bool = False,
    drifting_prior: Params | None = None,
) -> Update:
    """Computes one gradient step of the value network on a batch; pure, to be traced by jit.

    The learner's own updates are these, with `make_optimizer`'s optimiser.

    Args:
      graph: the structure of all networks, of `tutor.sequence_model.make_model`.
      method: one of `tutor.kl_control.METHODS`.
      optimizer: any optax optimiser; clipping is its business.
      params: the value network's, see `SequenceModel`.
      optimizer_state: `optimizer.init(params)`, or that of the last update.
      batch: transitions, leaves [batch, ...].
      values: what target network and prior say of the states that they led to, [batch, A].
      double: the value network itself chooses the action whose target value counts (double
        Q-learning), for the methods with a maximum.
      drifting_prior: the prior's parameters, to train them as well through G's target, which the
        released code does; `optimizer_state` is then that of the pair (params, drifting_prior).
    """
    leaks = drifting_prior is not None

    def loss(trained: Any) -> jax.Array:
        params, prior = trained if leaks else (trained, None)
        model = nnx.merge(graph, params)
        _, q_tm1 = model.step(batch.policy_before, batch.observation)
        log_prior_t = batch.log_prior if values.log_prior is None else values.log_prior
        selector = None
        if leaks:
            log_prior_t = log_prior_after(graph, prior, batch)
        if double:
            _, selector = model.step(batch.policy_after, batch.next_observation)
        transition = Transition(
            a_tm1=batch.action,
            r_t=batch.reward,
            discount_t=batch.discount,
            log_prior_tm1=batch.log_prior,
            log_prior_t=log_prior_t,
            q_t=values.q,
            selector_t=selector,
        )
        error = _leaky_loss if leaks else kl_control.squared_loss
        return jnp.mean(jax.vmap(partial(error, method))(q_tm1, transition))

    trained = (params, drifting_prior) if leaks else params
    value, gradient = jax.value_and_grad(loss)(trained)
    changes, optimizer_state = optimizer.update(gradient, optimizer_state)
    trained = optax.apply_updates(trained, changes)
    params, drifting_prior = trained if leaks else (trained, None)
    return Update(params, drifting_prior, optimizer_state, value)


def log_prior_after(graph: Graph, prior: Params, batch: StoredTransition) -> jax.Array:
    """log p(·|s') of the states that transitions [batch] led to, [batch, A]."""
    _, logits = nnx.merge(graph, prior).step(batch.prior_after, batch.next_observation)
    return jax.nn.log_softmax(logits)


def make_optimizer(config: LearnConfig) -> optax.GradientTransformation:
    """Clips each array's gradient by itself, then Adam."""
    return optax.chain(clip_each_by_norm(config.clip_norm), optax.adam(config.learning_rate))


def clip_each_by_norm(limit: float) -> optax.GradientTransformation:
    """Clips the gradient of every parameter array by its own norm, as the released code does."""

    def clip(gradient: jax.Array) -> jax.Array:
        norm = jnp.linalg.norm(gradient)
        return gradient * (limit / jnp.maximum(norm, limit))

    return optax.stateless(lambda gradients, _: jax.tree.map(clip, gradients))


def _leaky_loss(method: Method, q_tm1: jax.Array, transition: Transition) -> jax.Array:
    """`kl_control.squared_loss` whose target lets the gradient through."""
    return jnp.square(method.target(transition) - q_tm1[transition.a_tm1])
