"""Training of a language model: cost, optimiser, and the pure update that the learner repeats."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh

from common.compute import SCAN, Compute
from common.learner import ModelLearner, apply_finite, zero_totals
from common.mesh import require_even, shared
from common.window import Windows
from highway.config import LanguageModelConfig, TrainConfig
from highway.language_model import MASK_AXES, DropoutMasks, Graph, LanguageModel, Params, make_graph


class LanguageModelTotals(NamedTuple):
    """Sums over the updates since they were last collected; scalars."""

    loss: jax.Array
    """Cross entropy in nats, summed over tokens."""
    gradient_norm: jax.Array
    """Global norm of the gradient before clipping, summed over updates."""
    updates: jax.Array
    """How many updates there were."""


class TrainState(NamedTuple):
    """Everything that an update reads and writes; saved whole in a checkpoint."""

    params: Params
    """See `LanguageModel`."""
    optimizer: optax.OptState
    """The optimiser's state."""
    recurrent: Any
    """The core's state at the end of the last window."""
    key: jax.Array
    """Never changes: update k draws its masks from fold_in(key, k)."""
    step: jax.Array
    """Updates done, int32; also the position in the data."""
    diverged_at: jax.Array
    """The update at which cost or gradient was not finite, int32, or −1. It was not applied."""
    totals: LanguageModelTotals
    """Since they were last collected."""


class LanguageModelLearner(ModelLearner):
    """The pure functions that train one language model on one set of windows.

    The data of a `common.population.Population` of such models are its windows.
    """

    def __init__(
        self,
        config: LanguageModelConfig,
        vocabulary_size: int,
        windows: Windows,
        compute: Compute = SCAN,
        mesh: Mesh | None = None,
    ):
        """Put the windows on the devices.

        Args:
          config: of these settings `model` and `train` are used.
          vocabulary_size: of the model.
          windows: the data; each epoch runs through them in order. Of several processes each
            gives only its own rows, `common.mesh.own_places`.
          compute: how the recurrence is computed.
          mesh: devices among which each batch is divided, or None for one device.

        Raises:
          ConfigError: the devices can't divide a batch evenly.
        """
        self.config = config
        require_even(mesh, config.train.batch_size, "train.batch_size")
        super().__init__(windows, mesh, axis=1)
        self.steps_per_epoch, self.batch_size, self.window_steps = self.windows.inputs.shape
        self.vocabulary_size = vocabulary_size
        self.optimizer = make_optimizer(config.train, self.steps_per_epoch)
        self.graph = make_graph(config, vocabulary_size, compute)

    def initial_state(self, seed: int) -> TrainState:
        """Draw parameters and a random key from an integer seed."""
        parameter_key, mask_key = jax.random.split(jax.random.key(seed))
        model = LanguageModel(
            self.vocabulary_size, self.config.model, rngs=nnx.Rngs(params=parameter_key)
        )
        params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
        state = TrainState(
            params=params,
            optimizer=self.optimizer.init(params),
            recurrent=model.initial_state(self.batch_size),
            key=mask_key,
            step=jnp.zeros((), jnp.int32),
            diverged_at=jnp.full((), -1, jnp.int32),
            totals=zero_totals(LanguageModelTotals),
        )
        return self.placed(state)

    def metrics(self, totals: LanguageModelTotals, step: int) -> dict[str, float]:
        """Compute the metrics of totals.

        Args:
          totals: NumPy scalars.
          step: updates that the model has behind it.

        Returns:
          Metrics by name; the learning rate is that of the last update. Empty where the totals are
          of no updates.
        """
        updates = float(totals.updates)
        if not updates:
            return {}
        tokens = updates * self.batch_size * self.window_steps
        rate = learning_rate(self.config.train, (step - 1) // self.steps_per_epoch)
        return {
            "train/loss": float(totals.loss) / tokens,
            "train/gradient_norm": float(totals.gradient_norm) / updates,
            "train/learning_rate": float(rate),
            "train/tokens": tokens,
        }

    def round(self, state: TrainState, step: jax.Array, windows: Windows) -> TrainState:
        """Do one update; pure, to be traced by jit.

        An update that isn't finite is not applied, and none is after it.

        Args:
          state: of one model.
          step: number of the update, int32 scalar; it says which window is read.
          windows: the learner's.
        """
        position = step % self.steps_per_epoch
        model = nnx.merge(self.graph, state.params)
        recurrent = jax.tree.map(
            lambda new, old: jnp.where(position == 0, new, old),
            model.initial_state(self.batch_size),
            state.recurrent,
        )
        masks = model.sample_masks(jax.random.fold_in(state.key, step), self.batch_size)
        updated = update(
            self.graph,
            self.optimizer,
            self.config.train,
            state.params,
            state.optimizer,
            recurrent,
            windows.inputs[position],
            windows.targets[position],
            masks,
            mesh=self.mesh,
        )
        totals = state.totals._replace(
            loss=state.totals.loss + updated.loss,
            gradient_norm=state.totals.gradient_norm + updated.gradient_norm,
            updates=state.totals.updates + 1,
        )
        done = state._replace(
            params=updated.params,
            optimizer=updated.optimizer,
            recurrent=updated.recurrent,
            step=step + 1,
            totals=totals,
        )
        return apply_finite(updated.finite, done, state, step)


class Update(NamedTuple):
    """The result of one update."""

    params: Params
    """After the update."""
    optimizer: optax.OptState
    """The optimiser's state after it."""
    recurrent: Any
    """The recurrent state after the window, under the parameters from before the update."""
    loss: jax.Array
    """Cross entropy in nats, summed over the window's tokens; scalar."""
    gradient_norm: jax.Array
    """Global norm of the gradient before the optimiser; scalar."""
    finite: jax.Array
    """Whether cost and gradient norm are finite, bool scalar. If not, the other fields hold
    unusable numbers: discard them."""


def update(
    graph: Graph,
    optimizer: optax.GradientTransformation,
    config: TrainConfig,
    params: Params,
    optimizer_state: optax.OptState,
    recurrent: Any,
    inputs: jax.Array,
    targets: jax.Array,
    masks: DropoutMasks | None,
    *,
    mesh: Mesh | None = None,
) -> Update:
    """Compute one gradient step on one window; pure, to be traced by jit.

    The learner's updates are calls of this function, with the optimiser of `make_optimizer` and
    masks from `LanguageModel.sample_masks`.

    Args:
      graph: the model's structure, from `make_graph`.
      optimizer: any optax optimiser. Gradients are clipped only if it clips them.
      config: of these settings `weight_decay`, `recurrence_chunk` and `softmax_chunk` are
        used.
      params: see `LanguageModel`.
      optimizer_state: from `optimizer.init(params)` or the last update.
      recurrent: the recurrent state before the window, from `LanguageModel.initial_state` or the
        last update.
      inputs: tokens, int32 [batch, steps].
      targets: the tokens to predict, int32 [batch, steps].
      masks: of dropout, or None to drop nothing.
      mesh: devices that divide the batch evenly among them, or None for one.
    """
    devices = 1 if mesh is None else mesh.size

    def share(params: Params, *window: Any) -> tuple[Any, Any]:
        (mean, (recurrent, loss)), gradient = jax.value_and_grad(mean_loss, has_aux=True)(
            params, graph, config, *window, devices=devices
        )
        return (mean, loss, gradient), recurrent

    mask_axes = 0 if masks is None else MASK_AXES
    (mean, loss, gradient), recurrent = shared(
        share, mesh, params, (recurrent, inputs, targets, masks), (0, 0, 0, mask_axes)
    )

    def decayed(decay: Any) -> Params:
        return jax.tree.map(lambda leaf, param: leaf + decay * param, gradient, params)

    norm = optax.tree.norm(decayed(config.weight_decay))
    finite = jnp.isfinite(mean + penalty(params, config)) & jnp.isfinite(norm)
    # The gradient is needed twice, for its norm and after it. As two expressions that XLA can't
    # take for one, they are computed twice, and written to memory not even once.
    changes, optimizer_state = optax.with_extra_args_support(optimizer).update(
        decayed(jnp.where(finite, config.weight_decay, 0.0)),
        optimizer_state,
        params,
        gradient_norm=norm,
    )
    return Update(
        params=optax.apply_updates(params, changes),
        optimizer=optimizer_state,
        recurrent=recurrent,
        loss=loss,
        gradient_norm=norm,
        finite=finite,
    )


def mean_loss(
    params: Params,
    graph: Graph,
    config: TrainConfig,
    recurrent: Any,
    inputs: jax.Array,
    targets: jax.Array,
    masks: DropoutMasks | None,
    *,
    devices: int = 1,
) -> tuple[jax.Array, tuple[Any, jax.Array]]:
    """Compute the cross entropy, summed over time and averaged over the batch.

    With `penalty` it is what gradient descent minimises on a window, as in the authors' code.
    Arguments are those of `update`. Where the sequences are the share that one of several `devices`
    has of a batch, the mean's share is that of the whole batch's mean.

    Returns:
      The mean, and besides it the recurrent state after the window and the cross entropy in nats,
      summed over the window's tokens.
    """
    model = nnx.merge(graph, params)
    recurrent, losses = model.token_losses(
        recurrent,
        inputs,
        targets,
        masks,
        recurrence_chunk=config.recurrence_chunk,
        softmax_chunk=config.softmax_chunk,
    )
    loss = jnp.sum(losses)
    return loss / (devices * inputs.shape[0]), (recurrent, loss)


def penalty(params: Params, config: TrainConfig) -> jax.Array:
    """Compute 0.5 · weight_decay · Σw² over all parameters."""
    squares = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params))
    return 0.5 * config.weight_decay * jnp.asarray(squares)


def learning_rate(config: TrainConfig, epoch: Any) -> jax.Array:
    """Compute the learning rate in an epoch, counted from 0.

    It is divided by `learning_rate_decay` once for each epoch after the first `constant_epochs`.
    """
    exponent = jnp.maximum(epoch - config.constant_epochs + 1, 0)
    return config.learning_rate / config.learning_rate_decay ** jnp.asarray(exponent, float)


def make_optimizer(config: TrainConfig, steps_per_epoch: int) -> optax.GradientTransformation:
    """Make the configured optimiser with its decaying rate, after clipping by global norm."""

    def rate(count: jax.Array) -> jax.Array:
        return learning_rate(config, count // steps_per_epoch)

    optimizer = optax.sgd(rate) if config.optimizer == "sgd" else optax.adam(rate)
    return optax.chain(clip(config.clip_norm), optimizer)


def clip(largest: float) -> optax.GradientTransformationExtraArgs:
    """`optax.clip_by_global_norm`, which can be told the norm that it would compute."""

    def update(
        gradient: Params,
        state: optax.OptState,
        params: Any = None,
        *,
        gradient_norm: jax.Array | None = None,
        **_: Any,
    ) -> tuple[Params, optax.OptState]:
        norm = optax.tree.norm(gradient) if gradient_norm is None else gradient_norm
        clipped = jax.tree.map(
            lambda leaf: jnp.where(norm < largest, leaf, leaf / norm * largest), gradient
        )
        return clipped, state

    return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)
