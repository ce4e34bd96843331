"""A random search over hyper-parameters: all settings of one architecture train side by side.

Each member of the search is one setting. The members of a search share the order of the rolls;
they differ in weights, learning rate and the spread and bias of their initial weights. One program
trains them all.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jax.stages import Traced

from common.compute import SCAN, Compute
from common.learner import apply_finite, is_finite
from common.mesh import divide, each, own, placed_shapes, replicate, require_even, spec
from highway.config import ModelConfig, SearchConfig
from highway.roll_model import (
    Params,
    Rolls,
    cut,
    gaussian_params,
    make_graph,
    negative_log_likelihood,
    plan,
)

SEGMENTS = 3
"""Into which a batch is cut at most. More save few row steps, and each is a loop to compile."""


class Setting(NamedTuple):
    """What a member of the search was drawn; float arrays, all of one shape."""

    learning_rate: jax.Array
    """Of gradient descent with momentum."""
    std: jax.Array
    """Standard deviation of the initial weights."""
    transform_bias: jax.Array
    """Initial bias of the transform gates; plain cores have none and don't read it."""


def draw_setting(search: SearchConfig, key: jax.Array) -> Setting:
    """Draw one setting: rate and spread log-uniform, the bias one of those allowed; scalars."""
    rate, spread, bias = jax.random.split(key, 3)

    def log_uniform(key: jax.Array, low: float, high: float) -> jax.Array:
        return jnp.exp(jax.random.uniform(key, minval=jnp.log(low), maxval=jnp.log(high)))

    return Setting(
        learning_rate=log_uniform(rate, search.lowest_rate, search.highest_rate),
        std=log_uniform(spread, search.lowest_std, search.highest_std),
        transform_bias=jax.random.choice(bias, jnp.array(search.transform_biases)),
    )


class Member(NamedTuple):
    """One setting's training; in a `SearchState` every leaf has a leading axis [members]."""

    setting: Setting
    """What was drawn for it; never changes."""
    params: Params
    """Its weights."""
    momentum: optax.TraceState
    """The optimiser's state."""
    best_params: Params
    """Those with which `best_valid` was reached."""
    best_train: jax.Array
    """Lowest training loss of a whole epoch, as measured while learning; nats a step, or inf."""
    best_valid: jax.Array
    """Lowest validation loss after an epoch, likewise."""
    best_epoch: jax.Array
    """The epoch of `best_valid`, counted from 1; int32, 0 before there is one."""
    epochs: jax.Array
    """Epochs done, int32."""
    updates: jax.Array
    """Updates done, int32."""
    diverged_at: jax.Array
    """The update at which cost or gradient was not finite, int32, or −1. It was not applied."""


class SearchState(NamedTuple):
    """All members; saved whole in a checkpoint."""

    step: jax.Array
    """Epochs begun by whoever still trains, int32 scalar."""
    members: Member
    """Leaves [members, ...]."""

    @property
    def diverged_at(self) -> int:
        """Always −1: members diverge, a search doesn't."""
        return -1


class RollSearch:
    """Trains all members on one set of rolls; a `common.training.Learner`, its steps are epochs.

    Gradient descent with momentum on the mean loss of a time step. A member stops when it diverges
    or hasn't improved its validation loss for `search.patience` epochs, and stays as it was from
    then on; that touches no other.
    """

    def __init__(
        self,
        model: ModelConfig,
        search: SearchConfig,
        train: Rolls,
        valid: Rolls,
        shuffle: jax.Array,
        compute: Compute = SCAN,
        mesh: Mesh | None = None,
    ):
        """Put the rolls on the devices.

        Args:
          model: of the core.
          search: of the training.
          train: what is learned.
          valid: what tells when to stop.
          shuffle: key of the order of the rolls, which changes with every epoch.
          compute: how the recurrence is computed.
          mesh: devices among which the members are divided, or None for one device.

        Raises:
          ConfigError: the devices can't divide the members evenly.
        """
        require_even(mesh, search.settings, "search.settings")
        self.model, self.search, self.shuffle = model, search, shuffle
        self.mesh = mesh
        self.keys = train.keys.shape[-1]
        self.rolls = len(train.lengths)
        self.lengths = np.asarray(train.lengths)
        self.train, self.valid = replicate(jax.device_put((train, in_parts(valid))), mesh)
        self.graph = make_graph(self.keys, model, compute)
        self.trace = optax.trace(search.momentum)
        self._epoch = jax.jit(
            partial(each, jax.vmap(self.epoch, in_axes=(0, None, None, None)), mesh),
            donate_argnums=0,
        )
        self._order = jax.jit(self.order)
        # All batches that there will ever be are known: so a run that is resumed has the same plan.
        orders = jax.jit(jax.vmap(self.order))(jnp.arange(search.epochs))
        self.segments = [
            plan(self.lengths[batches].reshape(-1, batches.shape[-1]), SEGMENTS)
            for batches in self.batches(np.asarray(orders))
        ]
        self._draw = jax.jit(jax.vmap(self.initial_member))
        self._evaluate = jax.jit(partial(each, jax.vmap(self.mean_loss, in_axes=(0, None)), mesh))

    def initial_state(self, settings: jax.Array, weights: jax.Array) -> SearchState:
        """Draw `search.settings` members, from a key of their settings and one of their weights.

        Searches over other models that are given the same first key try the same settings.
        """
        count = self.search.settings
        keys = jax.random.split(settings, count), jax.random.split(weights, count)
        return self._placed(SearchState(jnp.zeros((), jnp.int32), self._draw(*keys)))

    def initial_member(self, setting_key: jax.Array, weight_key: jax.Array) -> Member:
        """Draw one setting and its initial weights."""
        setting = draw_setting(self.search, setting_key)
        params = gaussian_params(
            self.keys, self.model, weight_key, setting.std, setting.transform_bias
        )
        zero, infinite = jnp.zeros((), jnp.int32), jnp.full((), jnp.inf, jnp.float32)
        return Member(
            setting=setting,
            params=params,
            momentum=self.trace.init(params),
            best_params=jax.tree.map(jnp.copy, params),
            best_train=infinite,
            best_valid=jnp.copy(infinite),
            best_epoch=zero,
            epochs=jnp.copy(zero),
            updates=jnp.copy(zero),
            diverged_at=jnp.full((), -1, jnp.int32),
        )

    def advance(self, state: SearchState, stop: int) -> SearchState:
        """Train until `stop` epochs are done in all, or no member goes on.

        How a training is divided into calls doesn't change its bits. Consumes `state`.

        Raises:
          ValueError: `stop` is above `search.epochs`, for which batches are planned.
        """
        if stop > self.search.epochs:
            raise ValueError(f"stop={stop} is above search.epochs={self.search.epochs}")
        step, members = int(state.step), self._placed(state).members
        while step < stop and np.any(self.goes_on(self.without_weights(members))):
            order = replicate(self._order(step), self.mesh)
            members = self._epoch(members, order, self.train, self.valid)
            step += 1
        # The loop of `common.training` measures the time of a call.
        done = SearchState(jnp.asarray(stop, jnp.int32), jax.block_until_ready(members))
        return self._placed(done)

    def traced(self, state: SearchState) -> dict[str, Traced]:
        """Trace an epoch and an evaluation; the state's shapes are enough."""
        order = placed_shapes(jax.eval_shape(self.order, 0), self.mesh, spec(None))
        members = placed_shapes(state.members, self.mesh, spec(0))
        return {
            "epoch": self._epoch.trace(members, order, self.train, self.valid),
            "evaluation": self._evaluate.trace(members.best_params, self.valid),
        }

    def collect(self, state: SearchState) -> tuple[SearchState, dict[str, float]]:
        """Return the state as it is, and where the search stands."""
        members = self.without_weights(state.members)
        found = {
            "search/training": float(np.sum(self.goes_on(members))),
            "search/diverged": float(np.sum(members.diverged_at >= 0)),
        }
        best, median = np.min(members.best_train), np.median(members.best_train)
        for name, loss in {"best": float(best), "median": float(median)}.items():
            found |= {f"train/{name}_nll": loss} if np.isfinite(loss) else {}
        return state, found

    def losses(self, state: SearchState, rolls: Rolls) -> np.ndarray:
        """Return the mean loss of a time step of rolls, float [members], at each one's best."""
        parts = replicate(in_parts(rolls), self.mesh)
        found = self._evaluate(state.members.best_params, parts)
        return np.asarray(own(replicate(found, self.mesh), self.mesh))

    def mean_loss(self, params: Params, parts: list[Rolls]) -> jax.Array:
        """Return one model's mean loss of a time step over all steps of rolls, in nats; scalar."""
        return negative_log_likelihood(self.graph, params, parts) / _steps(parts)

    def goes_on(self, members: Any) -> Any:
        """Return which members still train, bool of the shape of `diverged_at`."""
        waited = members.epochs - members.best_epoch
        return (members.diverged_at < 0) & (waited < self.search.patience)

    def epoch(self, member: Member, order: jax.Array, train: Rolls, valid: list[Rolls]) -> Member:
        """Train one member for an epoch; one that has stopped stays as it is. Pure.

        Args:
          member: of no leading axis.
          order: of the rolls, as `order` returns it.
          train: the learner's.
          valid: the learner's, in parts.
        """

        after, total = member, jnp.zeros(())
        for batches, segments in zip(self.batches(order), self.segments, strict=True):

            def step(carry: tuple[Member, jax.Array], places: jax.Array, segments=segments):
                member, total = carry
                batch = Rolls(train.keys[places], train.lengths[places])
                member, loss = self.update(member, cut(batch, segments))
                return (member, total + loss), None

            (after, total), _ = jax.lax.scan(step, (after, total), batches)
        loss = total / jnp.sum(train.lengths)
        valid_loss = self.mean_loss(after.params, valid)
        whole = after.diverged_at < 0
        better = whole & (valid_loss < after.best_valid)
        epochs = after.epochs + whole
        done = after._replace(
            best_train=jnp.where(whole, jnp.minimum(loss, after.best_train), after.best_train),
            best_valid=jnp.where(better, valid_loss, after.best_valid),
            best_epoch=jnp.where(better, epochs, after.best_epoch),
            best_params=_choose(better, after.params, after.best_params),
            epochs=epochs,
        )
        return _choose(self.goes_on(member), done, member)

    def without_weights(self, members: Member) -> Member:
        """Return a copy in host memory of all but the weights of all members."""
        rest = members._replace(params={}, momentum=None, best_params={})
        return jax.device_get(own(replicate(rest, self.mesh), self.mesh))

    def _placed(self, state: SearchState) -> SearchState:
        """A state whose members are divided among the devices."""
        return SearchState(replicate(state.step, self.mesh), divide(state.members, self.mesh))

    def order(self, number: int | jax.Array) -> jax.Array:
        """Return the order of the rolls in an epoch, counted from 0: int32 [rolls].

        Every roll comes once; within a batch the longest come first.
        """
        order = jax.random.permutation(jax.random.fold_in(self.shuffle, number), self.rolls)
        batch = jnp.arange(self.rolls) // self.search.batch_size
        return order[jnp.lexsort((-jnp.asarray(self.lengths)[order], batch))]

    def batches(self, order: Any) -> list[Any]:
        """Divide an order [..., rolls] into batches of one size, and the smaller last one.

        Returns:
          One or two arrays [..., batches, rolls of a batch].
        """
        size = self.search.batch_size
        whole = self.rolls // size * size
        parts = (order[..., :whole], size), (order[..., whole:], self.rolls - whole)
        return [part.reshape(*part.shape[:-1], -1, rows) for part, rows in parts if part.size]

    def update(self, member: Member, parts: list[Rolls]) -> tuple[Member, jax.Array]:
        """Do one update on the mean loss of a time step of rolls, cut into parts.

        Returns:
          The member after it, or as it was if that isn't finite; and the loss summed over steps.
        """
        steps = _steps(parts)

        def cost(params: Params) -> jax.Array:
            return negative_log_likelihood(self.graph, params, parts) / steps

        loss, gradient = jax.value_and_grad(cost)(member.params)
        direction, momentum = self.trace.update(gradient, member.momentum)
        rate = member.setting.learning_rate
        params = jax.tree.map(lambda p, d: p - rate * d, member.params, direction)
        done = member._replace(params=params, momentum=momentum, updates=member.updates + 1)
        finite = is_finite((loss, gradient, params))
        return apply_finite(finite, done, member, member.updates), loss * steps


def in_parts(rolls: Rolls) -> list[Rolls]:
    """Sort rolls by length and cut them: what is evaluated together."""
    order = np.argsort(-np.asarray(rolls.lengths), kind="stable")
    lengths = np.asarray(rolls.lengths)[order]
    return cut(Rolls(np.asarray(rolls.keys)[order], lengths), plan(lengths[None], SEGMENTS))


def _steps(parts: list[Rolls]) -> jax.Array:
    return sum((jnp.sum(part.lengths) for part in parts), jnp.zeros((), jnp.int32))


def _choose(condition: jax.Array, new: Any, old: Any) -> Any:
    return jax.tree.map(partial(jnp.where, condition), new, old)
