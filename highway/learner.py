"""Training of a language model: cost, optimiser, and the pure update that is jitted."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from common.window import Windows
from highway.config import LanguageModelConfig, TrainConfig
from highway.language_model import DropoutMasks, LanguageModel

Params = dict[str, Any]
"""A language model's parameters as nested dictionaries of arrays."""


class Totals(NamedTuple):
    """Sums over the updates since they were last collected; scalars."""

    loss: jax.Array
    """Cross entropy in nats, summed over tokens."""
    gradient_norm: jax.Array
    """Global norm of the gradient before clipping, summed over updates."""
    updates: jax.Array


class TrainState(NamedTuple):
    """Everything that an update reads and writes; saved whole in a checkpoint."""

    params: Params
    optimizer: optax.OptState
    recurrent: Any
    """The core's state at the end of the last window."""
    key: jax.Array
    """Never changes: update k draws its masks from fold_in(key, k)."""
    step: jax.Array
    """Updates done, int32; also the position in the data."""
    diverged_at: jax.Array
    """The update at which cost or gradient was not finite, int32, or −1. It was not applied."""
    totals: Totals


class Learner:
    """The pure functions that train one language model on one set of windows.

    Nothing in it changes: state goes in, state comes out.
    """

    def __init__(self, config: LanguageModelConfig, vocabulary_size: int, windows: Windows):
        """Puts the windows on the device; epochs run through them in order."""
        self.config = config
        self.vocabulary_size = vocabulary_size
        self.windows = jax.device_put(windows)
        self.steps_per_epoch, self.batch_size, self.window_steps = windows.inputs.shape
        self.optimizer = make_optimizer(config.train, self.steps_per_epoch)
        self.graph = graph(config, vocabulary_size)
        self._advance = jax.jit(self._advance_until, donate_argnums=0)

    def initial_state(self, seed: int) -> TrainState:
        """Fresh parameters and random keys from an integer seed."""
        parameter_key, mask_key = jax.random.split(jax.random.key(seed))
        model = LanguageModel(
            self.vocabulary_size, self.config.model, rngs=nnx.Rngs(params=parameter_key)
        )
        params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
        return TrainState(
            params=params,
            optimizer=self.optimizer.init(params),
            recurrent=model.initial_state(self.batch_size),
            key=mask_key,
            step=jnp.zeros((), jnp.int32),
            diverged_at=jnp.full((), -1, jnp.int32),
            totals=_zero_totals(),
        )

    def advance(self, state: TrainState, stop: int) -> TrainState:
        """Updates until `stop` updates are done in all, or one isn't finite. Consumes `state`.

        How a training is divided into calls doesn't change its bits.
        """
        return self._advance(state, self.windows, jnp.asarray(stop, jnp.int32))

    def collect(self, state: TrainState) -> tuple[TrainState, dict[str, float]]:
        """Metrics over the updates since the last call, and the state with its totals at zero."""
        updates = float(state.totals.updates)
        tokens = updates * self.batch_size * self.window_steps
        last = int(state.step) - 1
        metrics = {
            "train/loss": float(state.totals.loss) / tokens,
            "train/gradient_norm": float(state.totals.gradient_norm) / updates,
            "train/learning_rate": float(
                learning_rate(self.config.train, last // self.steps_per_epoch)
            ),
            "train/tokens": tokens,
        }
        return state._replace(totals=_zero_totals()), metrics

    def update(self, state: TrainState, windows: Windows) -> TrainState:
        """One update on the window that `state.step` points to; pure, to be traced by jit."""
        position = state.step % self.steps_per_epoch
        inputs, targets = windows.inputs[position], windows.targets[position]
        model = nnx.merge(self.graph, state.params)
        recurrent = jax.tree.map(
            lambda new, old: jnp.where(position == 0, new, old),
            model.initial_state(self.batch_size),
            state.recurrent,
        )
        masks = model.sample_masks(jax.random.fold_in(state.key, state.step), self.batch_size)

        (value, (recurrent, loss)), gradient = jax.value_and_grad(cost, has_aux=True)(
            state.params, self.graph, self.config.train, recurrent, inputs, targets, masks
        )
        norm = optax.tree.norm(gradient)
        finite = jnp.isfinite(value) & jnp.isfinite(norm)
        updates, optimizer = self.optimizer.update(gradient, state.optimizer, state.params)
        done = state._replace(
            params=optax.apply_updates(state.params, updates),
            optimizer=optimizer,
            recurrent=recurrent,
            step=state.step + 1,
            totals=Totals(
                loss=state.totals.loss + loss,
                gradient_norm=state.totals.gradient_norm + norm,
                updates=state.totals.updates + 1,
            ),
        )
        refused = state._replace(diverged_at=state.step)
        return jax.tree.map(lambda new, old: _choose(finite, new, old), done, refused)

    def _advance_until(self, state: TrainState, windows: Windows, stop: jax.Array) -> TrainState:
        return jax.lax.while_loop(
            lambda state: (state.step < stop) & (state.diverged_at < 0),
            lambda state: self.update(state, windows),
            state,
        )


def cost(
    params: Params,
    graph: nnx.GraphDef[LanguageModel],
    config: TrainConfig,
    recurrent: Any,
    inputs: jax.Array,
    targets: jax.Array,
    masks: DropoutMasks,
) -> tuple[jax.Array, tuple[Any, jax.Array]]:
    """What gradient descent lowers on a window [batch, steps], as in the authors' code.

    Cross entropy summed over time and averaged over the batch, plus 0.5 · weight_decay · Σw² over
    all parameters. Also returns the recurrent state after the window and the summed cross entropy.
    """
    model = nnx.merge(graph, params)
    recurrent, losses = model.token_losses(recurrent, inputs, targets, masks)
    squares = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params))
    loss = jnp.sum(losses)
    return loss / inputs.shape[0] + 0.5 * config.weight_decay * squares, (recurrent, loss)


def learning_rate(config: TrainConfig, epoch: Any) -> jax.Array:
    """The rate in an epoch counted from 0: divided by the decay in each after `constant_epochs`."""
    exponent = jnp.maximum(epoch - config.constant_epochs + 1, 0)
    return config.learning_rate / config.learning_rate_decay ** jnp.asarray(exponent, float)


def make_optimizer(config: TrainConfig, steps_per_epoch: int) -> optax.GradientTransformation:
    """Clipping by global norm, then the configured optimiser with the decay of its rate."""

    def rate(count: jax.Array) -> jax.Array:
        return learning_rate(config, count // steps_per_epoch)

    optimizer = optax.sgd(rate) if config.optimizer == "sgd" else optax.adam(rate)
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer)


def graph(config: LanguageModelConfig, vocabulary_size: int) -> nnx.GraphDef[LanguageModel]:
    """The structure into which `nnx.merge` puts a model's parameters; allocates none."""
    model = nnx.eval_shape(
        lambda: LanguageModel(vocabulary_size, config.model, rngs=nnx.Rngs(params=0))
    )
    return nnx.graphdef(model)


def _zero_totals() -> Totals:
    return Totals(*(jnp.zeros(()) for _ in Totals._fields))


def _choose(condition: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    if jnp.issubdtype(new.dtype, jax.dtypes.prng_key):
        return new  # keys never change
    return jnp.where(condition, new, old)
