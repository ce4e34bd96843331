"""KL-controlled Q-learning: act, store, learn, as one jitted scan over many environment steps."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from common.error import ConfigError
from tutor import kl_control, replay
from tutor.config import LearnConfig
from tutor.kl_control import METHODS, Transition
from tutor.learn_state import (
    Actor,
    Draws,
    Environment,
    Future,
    LearnState,
    Row,
    Seed,
    Totals,
    zero_totals,
)
from tutor.replay import Replay
from tutor.sequence_model import Graph, Params, SequenceModel

ROUND_STEPS = 200
"""About how many environment steps draw their random numbers at once."""


class Quirks(NamedTuple):
    """Oddities of the released code, for whoever wants its very behaviour."""

    stores_best_action: bool = False
    """Boltzmann exploration stores the best action; reward and next state are the drawn one's."""
    trains_prior: bool = False
    """G's target passes its gradient into the prior, which so drifts from the data."""


class Learner:
    """The pure functions that tune one model in one environment, several seeds side by side.

    Nothing in it changes: state goes in, state comes out. A block is the fewest environment steps
    that make a whole number of updates; a round some blocks that draw their random numbers at once.
    """

    def __init__(
        self,
        config: LearnConfig,
        graph: Graph,
        num_events: int,
        environment: Environment,
        quirks: Quirks = Quirks(),  # noqa: B008 - immutable
    ):
        """Raises ConfigError where the iterations don't fit the blocks, or a quirk the method."""
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
        self.optimizer = optax.chain(
            clip_each_by_norm(config.clip_norm), optax.adam(config.learning_rate)
        )
        self.num_events = num_events
        self.keeps_prior_state = self.method.tilts_prior
        self._advance = jax.jit(self._advance_until, donate_argnums=0)

    def initial_state(self, prior: Params, seeds: tuple[int, ...]) -> LearnState:
        """Value and target networks as copies of the prior, an empty memory, sequences begun."""
        each = [self._initial_seed(prior, seed) for seed in seeds]
        return LearnState(
            step=jnp.zeros((), jnp.int32), seeds=jax.tree.map(lambda *leaf: jnp.stack(leaf), *each)
        )

    def advance(self, state: LearnState, stop: int) -> LearnState:
        """Rounds until `stop` environment steps are done in all. Consumes `state`.

        How a training is divided into calls doesn't change its bits.
        """
        return self._advance(state, jnp.asarray(stop, jnp.int32))

    def collect(self, state: LearnState) -> tuple[LearnState, list[dict[str, float]]]:
        """Each seed's metrics over the time since the last call, and the state to go on with.

        A seed that diverged before then has none. Reward (the environment's) and log p(a|s) are
        means over the events of behaviour, with its exploration; KL and entropy of the policy are
        exact in each of a batch of replayed states.
        """
        totals = jax.device_get(state.seeds.totals)
        each: list[dict[str, float]] = []
        for seed in range(len(totals.steps)):
            of = {name: float(total[seed]) for name, total in totals._asdict().items()}
            if not of["steps"]:
                each.append({})
                continue
            metrics = {
                "train/reward": of["reward"] / of["steps"] * self.config.c,
                "train/log_prior": of["log_prior"] / of["steps"],
                "train/kl_policy_prior": of["kl"] / of["looks"],
                "train/entropy": of["entropy"] / of["looks"],
            }
            if of["updates"]:
                metrics["train/loss"] = of["loss"] / of["updates"]
            each.append(metrics)
        zeros = jax.tree.map(jnp.zeros_like, state.seeds.totals)
        return state._replace(seeds=state.seeds._replace(totals=zeros)), each

    def _initial_seed(self, prior: Params, seed: int) -> Seed:
        reset_key, key = jax.random.split(jax.random.key(seed))
        width = self.config.environments
        model = self._model(prior)
        keys = jax.random.split(reset_key, width)
        observation, environment = jax.vmap(self.environment.reset, (0, None))(
            keys, self.environment.params
        )
        actor = Actor(
            observation, environment, model.initial_state(width), model.initial_state(width)
        )
        _, row, _ = jax.eval_shape(
            lambda: self._step(prior, prior, actor, self._example_draw(), jnp.zeros((), jnp.int32))
        )
        rows = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), row)
        copies = [jax.tree.map(jnp.copy, prior) for _ in range(3)]
        trained = (copies[0], copies[2]) if self.quirks.trains_prior else copies[0]
        return Seed(
            params=copies[0],
            target=copies[1],
            prior=copies[2],
            optimizer=self.optimizer.init(trained),
            replay=replay.make_replay(rows, self.config.replay_capacity, width),
            actor=actor,
            key=key,
            diverged_at=jnp.full((), -1, jnp.int32),
            totals=zero_totals(),
        )

    def _advance_until(self, state: LearnState, stop: jax.Array) -> LearnState:
        count = state.seeds.diverged_at.shape[0]
        if count == 1:  # without vmap, which costs even at one
            alone = LearnState(state.step, jax.tree.map(lambda leaf: leaf[0], state.seeds))
            done = self._rounds(self._round, alone, stop)
            return LearnState(done.step, jax.tree.map(lambda leaf: leaf[None], done.seeds))
        return self._rounds(jax.vmap(self._round, in_axes=(0, None)), state, stop)

    def _rounds(
        self, one_round: Callable[[Seed, jax.Array], Seed], state: LearnState, stop: jax.Array
    ) -> LearnState:
        return jax.lax.while_loop(
            lambda state: (state.step < stop) & jnp.any(state.seeds.diverged_at < 0),
            lambda state: LearnState(
                state.step + self.round_steps, one_round(state.seeds, state.step)
            ),
            state,
        )

    def _round(self, seed: Seed, step: jax.Array) -> Seed:
        """Blocks of acting and learning of one seed, from `step` environment steps on."""
        draws = self._draw(jax.random.fold_in(seed.key, step // self.round_steps), step)
        begun = step + jnp.arange(self.blocks, dtype=jnp.int32) * self._block_size
        done, _ = jax.lax.scan(self._block, seed, (begun, draws))
        done = done._replace(totals=self._look_at_policy(done, draws.places[-1, -1]))
        leaves = jax.tree.leaves((done.totals.loss, done.params, done.prior))
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))
        good = finite & (seed.diverged_at < 0)
        return done._replace(
            **{
                name: jax.tree.map(partial(jnp.where, good), getattr(done, name), kept)
                for name in ("params", "target", "prior", "optimizer", "totals")
                for kept in [getattr(seed, name)]
            },
            diverged_at=jnp.where(finite | (seed.diverged_at >= 0), seed.diverged_at, step),
        )

    def _look_at_policy(self, seed: Seed, places: jax.Array) -> Totals:
        rows = replay.read(seed.replay, places)
        _, q = self._model(seed.params).step(rows.policy_before, rows.observation)
        log_policy = kl_control.log_policy(self.method, q, rows.log_prior)
        kl = kl_control.kl_policy_prior(log_policy, rows.log_prior)
        return seed.totals._replace(
            kl=seed.totals.kl + jnp.mean(kl),
            entropy=seed.totals.entropy + jnp.mean(kl_control.entropy(log_policy)),
            looks=seed.totals.looks + 1,
        )

    @property
    def _block_size(self) -> int:
        return self.steps_per_block * self.config.environments

    def _block(self, seed: Seed, xs: tuple[jax.Array, Draws]) -> tuple[Seed, None]:
        begun, draws = xs

        def act(carry: tuple[Actor, Replay, Totals], xs: Any) -> tuple[Any, None]:
            actor, memory, totals = carry
            step, draw = xs
            actor, row, action = self._step(seed.params, seed.prior, actor, draw, step)
            taken = jnp.take_along_axis(row.log_prior, action[:, None], 1)
            totals = totals._replace(
                reward=totals.reward + jnp.sum(row.reward),
                log_prior=totals.log_prior + jnp.sum(taken),
                steps=totals.steps + self.config.environments,
            )
            return (actor, replay.store(memory, row, step), totals), None

        steps = begun + self.config.environments * jnp.arange(self.steps_per_block, dtype=jnp.int32)
        per_step = (draws.explore, draws.action, draws.first)
        (actor, memory, totals), _ = jax.lax.scan(
            act, (seed.actor, seed.replay, seed.totals), (steps, per_step)
        )
        seed = seed._replace(actor=actor, replay=memory, totals=totals)

        rows = replay.read(memory, draws.places.reshape(-1))
        futures = self._look_ahead(seed, rows)
        batches = jax.tree.map(
            lambda leaf: leaf.reshape(self.updates_per_block, -1, *leaf.shape[1:]), (rows, futures)
        )

        def learn(number: jax.Array, seed: Seed) -> Seed:
            return self._update(seed, *jax.tree.map(lambda leaf: leaf[number], batches))

        stored = begun + self._block_size
        updates = jnp.where(stored >= self.config.batch_size, self.updates_per_block, 0)
        seed = jax.lax.fori_loop(0, updates, learn, seed)
        rate = 1.0 - (1.0 - self.config.target_rate) ** updates
        target = kl_control.soft_update(seed.target, seed.params, rate)
        return seed._replace(target=target), None

    def _step(
        self,
        params: Params,
        prior: Params,
        actor: Actor,
        draw: tuple[Any, Any, Any],
        step: jax.Array,
    ) -> tuple[Actor, Row, jax.Array]:
        """One event in every environment, the transitions [E] that it makes, and the actions [E]
        behind them."""
        config, environment = self.config, self.environment
        explore, noise, first = draw
        policy, q = self._model(params).step(actor.policy, actor.observation)
        prior_state, logits = self._model(prior).step(actor.prior, actor.observation)
        log_prior = jax.nn.log_softmax(logits)
        scores = kl_control.policy_scores(self.method, q, log_prior)
        best = jnp.argmax(scores, axis=-1).astype(jnp.int32)
        if config.exploration == "boltzmann":
            action = jnp.argmax(scores + noise, axis=-1).astype(jnp.int32)
        else:
            action = jnp.where(explore < self.epsilon(step), noise, best)
        next_observation, state, reward, done, _ = jax.vmap(environment.step, (None, 0, 0, None))(
            None, actor.environment, action, environment.params
        )
        ends = 1.0 if config.bootstrap_at_end else 1.0 - done
        row = Row(
            observation=actor.observation,
            action=best if self.quirks.stores_best_action else action,
            next_observation=next_observation,
            reward=reward / config.c,
            discount=config.discount * jnp.ones_like(reward) * ends,
            policy_before=actor.policy,
            policy_after=policy,
            prior_after=prior_state if self.keeps_prior_state else None,
            log_prior=log_prior,
        )
        _, start = environment.reset(jax.random.key(0), environment.params)
        zero = self._model(prior).initial_state(1)

        def begin(fresh: jax.Array, old: jax.Array) -> jax.Array:
            ended = done.reshape(done.shape + (1,) * (old.ndim - 1))
            return jnp.where(ended, fresh, old)

        actor = Actor(
            observation=begin(first, next_observation),
            environment=jax.tree.map(begin, start, state),
            policy=jax.tree.map(begin, zero, policy),
            prior=jax.tree.map(begin, zero, prior_state),
        )
        return actor, row, action

    def _look_ahead(self, seed: Seed, rows: Row) -> Future:
        """What target network and prior say of where transitions led; all that stays the same
        during a block."""
        _, q_t = self._model(seed.target).step(rows.policy_after, rows.next_observation)
        asked = self.keeps_prior_state and not self.quirks.trains_prior
        return Future(q_t, self._log_prior_t(seed.prior, rows) if asked else None)

    def _log_prior_t(self, prior: Params, rows: Row) -> jax.Array:
        _, logits = self._model(prior).step(rows.prior_after, rows.next_observation)
        return jax.nn.log_softmax(logits)

    def _update(self, seed: Seed, rows: Row, future: Future) -> Seed:
        """One gradient step on transitions [batch]."""
        leaks = self.quirks.trains_prior

        def loss(trained: Any) -> jax.Array:
            params, prior = trained if leaks else (trained, seed.prior)
            _, q_tm1 = self._model(params).step(rows.policy_before, rows.observation)
            log_prior_t = rows.log_prior if future.log_prior is None else future.log_prior
            selector = None
            if leaks:
                log_prior_t = self._log_prior_t(prior, rows)
            if self.config.double:
                _, selector = self._model(params).step(rows.policy_after, rows.next_observation)
            transition = Transition(
                a_tm1=rows.action,
                r_t=rows.reward,
                discount_t=rows.discount,
                log_prior_tm1=rows.log_prior,
                log_prior_t=log_prior_t,
                q_t=future.q,
                selector_t=selector,
            )
            error = _leaky_loss if leaks else kl_control.squared_loss
            return jnp.mean(jax.vmap(partial(error, self.method))(q_tm1, transition))

        trained = (seed.params, seed.prior) if leaks else seed.params
        value, gradient = jax.value_and_grad(loss)(trained)
        changes, optimizer = self.optimizer.update(gradient, seed.optimizer)
        trained = optax.apply_updates(trained, changes)
        params, prior = trained if leaks else (trained, seed.prior)
        return seed._replace(
            params=params,
            prior=prior,
            optimizer=optimizer,
            totals=seed.totals._replace(
                loss=seed.totals.loss + value, updates=seed.totals.updates + 1
            ),
        )

    def epsilon(self, step: jax.Array) -> jax.Array:
        """Share of uniform events after `step` environment steps."""
        config = self.config
        passed = jnp.minimum(step / config.epsilon_iterations, 1.0)
        return config.epsilon_start + (config.epsilon_end - config.epsilon_start) * passed

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
            explore=jax.random.uniform(keys[0], steps),
            action=action,
            first=first.reshape(steps),
            places=places.reshape(self.blocks, self.updates_per_block, -1),
        )

    def _example_draw(self) -> tuple[jax.Array, jax.Array, jax.Array]:
        draws = self._draw(jax.random.key(0), jnp.zeros((), jnp.int32))
        return draws.explore[0, 0], draws.action[0, 0], draws.first[0, 0]

    def _model(self, params: Params) -> SequenceModel:
        return nnx.merge(self.graph, params)


def clip_each_by_norm(limit: float) -> optax.GradientTransformation:
    """Clips the gradient of every parameter array by its own norm, as the released code does."""

    def clip(gradient: jax.Array) -> jax.Array:
        norm = jnp.linalg.norm(gradient)
        return gradient * (limit / jnp.maximum(norm, limit))

    return optax.stateless(lambda gradients, _: jax.tree.map(clip, gradients))


def _leaky_loss(method: kl_control.Method, q_tm1: jax.Array, transition: Transition) -> jax.Array:
    """`kl_control.squared_loss` whose target lets the gradient through."""
    return jnp.square(method.target(transition) - q_tm1[transition.a_tm1])
