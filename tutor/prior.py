"""Learning the prior by maximum likelihood: the Note RNN of Jaques et al. 2017, section 4."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from common.error import DataError
from common.learner import ModelLearner, apply_finite, zero_totals
from common.mesh import require_even, summed
from tutor.config import OptimizerName, PriorConfig, Reduction
from tutor.sequence_model import CoreFactory, Graph, Params, make_model
from tutor.window import PriorWindows, draw_windows, make_windows

EVALUATION_BATCH = 256
"""Sequences evaluated side by side. It affects speed and memory only."""


class PriorTotals(NamedTuple):
    """Sums over the updates since they were last collected; scalars."""

    loss: jax.Array
    """Cross entropy in nats, summed over predictions."""
    correct: jax.Array
    """Predictions whose most probable event was right."""
    predictions: jax.Array
    """How many predictions counted."""
    gradient_norm: jax.Array
    """Global norm of the gradient before clipping, summed over updates."""
    updates: jax.Array
    """How many updates there were."""


class PriorState(NamedTuple):
    """Everything that an update reads and writes; saved whole in a checkpoint."""

    params: Params
    """See `SequenceModel`."""
    optimizer: optax.OptState
    """The optimiser's state."""
    key: jax.Array
    """Never changes: update k draws its windows from fold_in(key, k)."""
    step: jax.Array
    """Updates done, int32."""
    diverged_at: jax.Array
    """The update at which loss or gradient was not finite, int32, or −1. It was not applied."""
    totals: PriorTotals
    """Since they were last collected."""


class SequenceScore(NamedTuple):
    """How well a model predicts sequences."""

    loss: float
    """Mean cross entropy in nats: the paper's log perplexity."""
    accuracy: float
    """Share of predictions whose most probable event was right."""
    predictions: int
    """How many predictions were counted."""

    def metrics(self, split: str) -> dict[str, float]:
        """Return the score by the names of its metrics, which begin with the split."""
        return {f"{split}/log_perplexity": self.loss, f"{split}/accuracy": self.accuracy}


class PriorLearner(ModelLearner):
    """The pure functions that train one model on one set of sequences.

    The data of a `common.population.Population` of such models are its windows.
    """

    def __init__(
        self,
        config: PriorConfig,
        num_events: int,
        make_core: CoreFactory,
        sequences: Sequence[np.ndarray],
        *,
        initial_range: float,
        mesh: Mesh | None = None,
    ):
        """Put the sequences on the devices.

        Args:
          config: settings of the training.
          num_events: number of different events.
          make_core: makes the model's recurrent core.
          sequences: the data, each int [length].
          initial_range: output weights start uniform in ± this.
          mesh: devices among which each batch is divided, or None for one device.

        Raises:
          ConfigError: the devices can't divide a batch evenly.
          DataError: no sequence has a prediction that counts.
        """
        require_even(mesh, config.batch_size, "prior.batch_size")
        self.config = config
        super().__init__(make_windows(sequences, config.steps, config.masked), mesh)
        self.optimizer = make_optimizer(config)
        self.learning_rate = learning_rate(config)
        self._make = partial(make_model, num_events, make_core, initial_range=initial_range)
        self.graph, _ = self._make(jax.random.key(0))

    def initial_state(self, seed: int) -> PriorState:
        """Draw parameters and a random key from an integer seed."""
        parameter_key, key = jax.random.split(jax.random.key(seed))
        _, params = self._make(parameter_key)
        state = PriorState(
            params=params,
            optimizer=self.optimizer.init(params),
            key=key,
            step=jnp.zeros((), jnp.int32),
            diverged_at=jnp.full((), -1, jnp.int32),
            totals=zero_totals(PriorTotals),
        )
        return self.placed(state)

    def metrics(self, totals: PriorTotals, step: int) -> dict[str, float]:
        """Compute the metrics of totals.

        Args:
          totals: NumPy scalars.
          step: updates that the model has behind it.

        Returns:
          Metrics by name; the learning rate is that of the last update. Empty where the totals are
          of no updates.
        """
        if not totals.updates:
            return {}
        rate = self.learning_rate(step - 1)
        return {
            "train/log_perplexity": float(totals.loss / totals.predictions),
            "train/accuracy": float(totals.correct / totals.predictions),
            "train/gradient_norm": float(totals.gradient_norm / totals.updates),
            "train/learning_rate": float(rate),
        }

    def round(self, state: PriorState, step: jax.Array, windows: PriorWindows) -> PriorState:
        """Do one update; pure, to be traced by jit.

        An update that isn't finite is not applied, and none is after it.

        Args:
          state: of one model.
          step: number of the update, int32 scalar; its windows are drawn from fold_in(key, step).
          windows: the learner's.
        """
        inputs, targets, counted = draw_windows(
            jax.random.fold_in(state.key, step), windows, self.config
        )
        done = update(
            self.graph,
            self.optimizer,
            self.config.weight_decay,
            state.params,
            state.optimizer,
            inputs,
            targets,
            counted,
            reduction=self.config.reduction,
            normalise=self.config.normalise,
            mesh=self.mesh,
        )
        totals = state.totals._replace(
            loss=state.totals.loss + done.sums.loss,
            correct=state.totals.correct + done.sums.correct,
            predictions=state.totals.predictions + done.sums.predictions,
            gradient_norm=state.totals.gradient_norm + done.gradient_norm,
            updates=state.totals.updates + 1,
        )
        new = state._replace(
            params=done.params, optimizer=done.optimizer, step=step + 1, totals=totals
        )
        return apply_finite(done.finite, new, state, step)


class LossSums(NamedTuple):
    """Sums over predictions; scalars."""

    loss: jax.Array
    """Cross entropies in nats."""
    correct: jax.Array
    """How many predictions had the right event as their most probable one."""
    predictions: jax.Array
    """How many predictions there are."""


class Update(NamedTuple):
    """The result of one update."""

    params: Params
    """After the update."""
    optimizer: optax.OptState
    """The optimiser's state after it."""
    sums: LossSums
    """Of the batch, before the update."""
    gradient_norm: jax.Array
    """Global norm of the gradient before the optimiser; scalar."""
    finite: jax.Array
    """Whether loss and gradient norm are finite, bool scalar. If not, the other fields hold
    unusable numbers: discard them."""


def update(
    graph: Graph,
    optimizer: optax.GradientTransformation,
    weight_decay: float,
    params: Params,
    optimizer_state: optax.OptState,
    inputs: jax.Array,
    targets: jax.Array,
    counted: jax.Array,
    *,
    reduction: Reduction = "mean",
    normalise: float = 0.0,
    mesh: Mesh | None = None,
) -> Update:
    """Compute one gradient step on one batch of windows; pure, to be traced by jit.

    The learner's updates are calls of this function, with the optimiser of `make_optimizer` and
    windows from `draw_windows`.

    Args:
      graph: the model's structure, from `tutor.sequence_model.make_model`.
      optimizer: any optax optimiser. Gradients are clipped only if it clips them.
      weight_decay: see `cost`.
      params: see `SequenceModel`.
      optimizer_state: from `optimizer.init(params)` or the last update.
      inputs: events, int32 [batch, steps].
      targets: the events to predict, int32 [batch, steps].
      counted: which predictions count, bool [batch, steps].
      reduction: see `cost`.
      normalise: see `cost`.
      mesh: devices that divide the batch evenly among them, or None for one.
    """
    predictions = jnp.sum(counted.astype(jnp.result_type(float)))
    devices = 1 if mesh is None else mesh.size

    def share(whole: tuple[Params, jax.Array], *windows: jax.Array) -> tuple[Params, LossSums]:
        params, predictions = whole
        decay = weight_decay / devices  # the shares of the penalty are added up too
        return jax.grad(cost, has_aux=True)(
            params,
            graph,
            decay,
            *windows,
            reduction=reduction,
            normalise=normalise,
            predictions=predictions,
        )

    gradient, sums = summed(share, mesh, (params, predictions), inputs, targets, counted)
    norm = optax.tree.norm(gradient)
    changes, optimizer_state = optimizer.update(gradient, optimizer_state, params)
    return Update(
        params=optax.apply_updates(params, changes),
        optimizer=optimizer_state,
        sums=sums,
        gradient_norm=norm,
        finite=jnp.isfinite(sums.loss) & jnp.isfinite(norm),
    )


def cost(
    params: Params,
    graph: Graph,
    weight_decay: float,
    inputs: jax.Array,
    targets: jax.Array,
    counted: jax.Array,
    *,
    reduction: Reduction = "mean",
    normalise: float = 0.0,
    predictions: jax.Array | None = None,
) -> tuple[jax.Array, LossSums]:
    """Compute what gradient descent minimises on a batch of windows.

    This is the cross entropy of the predictions that count, plus normalise · (log Σ exp of the
    logits)² where they are made, averaged over them or summed; plus 0.5 · weight_decay · Σw² over
    all parameters. The other arguments are those of `update`.

    Args:
      reduction: whether to average or to sum.
      predictions: how many predictions count in the whole batch, where the windows are a share of
        it.

    Returns:
      The cost, and the sums that it was computed from.
    """
    model = nnx.merge(graph, params)
    _, logits = model.unroll(model.initial_state(inputs.shape[0]), inputs)
    sums = sum_losses(logits, targets, counted)
    squares = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params))
    penalty = 0.5 * weight_decay * squares
    count = sums.predictions if predictions is None else predictions
    divisor = jnp.maximum(count, 1) if reduction == "mean" else 1
    minimised = sums.loss / divisor + penalty
    if normalise:
        normaliser = jnp.square(jax.nn.logsumexp(logits, axis=-1))
        total = jnp.sum(jnp.where(counted, normaliser, 0.0))
        minimised += normalise * total / divisor
    return minimised, sums


def sum_losses(logits: jax.Array, targets: jax.Array, counted: jax.Array) -> LossSums:
    """Sum over predictions.

    Args:
      logits: a prediction each, [..., A].
      targets: the events that were to be predicted, int [...].
      counted: which predictions count, bool [...].
    """
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    right = jnp.argmax(logits, axis=-1) == targets
    return LossSums(
        loss=jnp.sum(jnp.where(counted, losses, 0.0)),
        correct=jnp.sum(jnp.where(counted, right, 0.0)),
        predictions=jnp.sum(counted.astype(losses.dtype)),
    )


def learning_rate(config: PriorConfig) -> optax.Schedule:
    """Make the schedule of the learning rate, a function of the number of updates before.

    The rate decays in steps, every `decay_every` updates, and never falls below its floor.
    """
    decayed = optax.exponential_decay(
        config.learning_rate, config.decay_every, config.learning_rate_decay, staircase=True
    )
    return lambda step: jnp.maximum(decayed(step), config.learning_rate_floor)


OPTIMIZERS: Mapping[OptimizerName, Callable[[optax.Schedule], optax.GradientTransformation]] = {
    "adam": optax.adam,
    "adagrad": partial(optax.adagrad, initial_accumulator_value=0.1, eps=0.0),
}
"""Name → what makes the optimiser of a learning rate. Adagrad is TensorFlow's: squares of gradients
are added to 0.1, and nothing to their root."""


def make_optimizer(config: PriorConfig) -> optax.GradientTransformation:
    """Make the optimiser with its decaying rate, after clipping by global norm."""
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        OPTIMIZERS[config.optimizer](learning_rate(config)),
    )


def require_predictions(sequences: Sequence[np.ndarray], *, masked: int, split: str) -> None:
    """Raise DataError where `evaluate` would find no prediction that counts in a split."""
    if not any(len(sequence) > masked + 1 for sequence in sequences):
        raise DataError(
            f"the {split} split has no sequence of more than {masked + 1} events: with "
            f"prior.masked={masked} nothing is left to predict. Bring more or longer ones."
        )


def evaluate(
    graph: Graph,
    params: Params,
    sequences: Sequence[np.ndarray],
    *,
    masked: int,
    tick: Callable[[], None] = lambda: None,
) -> SequenceScore:
    """Score the predictions of whole sequences, each from a zero state.

    Args:
      graph: the model's structure.
      params: its parameters.
      sequences: each int [length].
      masked: how many predictions at a sequence's start don't count.
      tick: is called between batches and may raise to stop.

    Raises:
      DataError: no prediction counts.
    """
    ordered = sorted(sequences, key=len)
    sums = np.zeros(3)
    for start in range(0, len(ordered), EVALUATION_BATCH):
        batch = ordered[start : start + EVALUATION_BATCH]
        events = np.zeros((EVALUATION_BATCH, -(-len(batch[-1]) // 128) * 128 + 1), np.int32)
        counted = np.zeros((EVALUATION_BATCH, events.shape[1] - 1), bool)
        for row, sequence in enumerate(batch):
            events[row, : len(sequence)] = sequence
            counted[row, masked : len(sequence) - 1] = True
        sums += np.asarray(batch_sums(graph, params, events, counted), np.float64)
        tick()
    loss, correct, count = sums
    if not count:
        raise DataError(
            f"no sequence has more than {masked + 1} events: with prior.masked={masked} nothing is "
            "left to predict."
        )
    return SequenceScore(float(loss / count), float(correct / count), int(count))


@partial(jax.jit, static_argnums=0)
def batch_sums(graph: Graph, params: Params, events: jax.Array, counted: jax.Array) -> jax.Array:
    """Sum the losses of a batch of padded sequences.

    Args:
      graph: the model's structure.
      params: its parameters.
      events: of B sequences, int [B, T + 1]; each is predicted from those before it but the first.
      counted: which of the T predictions count, bool [B, T].

    Returns:
      Sums over the predictions that count, [3] in the order of `LossSums`.
    """
    model = nnx.merge(graph, params)
    _, logits = model.unroll(model.initial_state(events.shape[0]), events[:, :-1])
    return jnp.stack(sum_losses(logits, events[:, 1:], counted))
