"""Learning the prior: a sequence model of the data by maximum likelihood (the paper's Note RNN)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from common.error import DataError
from common.population import advance, keep_finite, zero_totals
from tutor.config import PriorConfig
from tutor.sequence_model import CoreFactory, Graph, Params, make_model

EVALUATION_BATCH = 256
"""Sequences evaluated side by side; a matter of speed only."""


class PriorWindows(NamedTuple):
    """Sequences end to end, from which windows of `steps` + 1 events are cut."""

    events: Any
    """int32 [n], sequence after sequence, then as many zeros as a window may overhang."""
    first: Any
    """For each event of the sequences, where the window that it stands for begins, int32."""
    end: Any
    """For each event of the sequences, where its sequence ends, int32."""


class PriorTotals(NamedTuple):
    """Sums over the updates since they were last collected; scalars."""

    loss: jax.Array
    """Cross entropy in nats, summed over predictions."""
    correct: jax.Array
    """Predictions whose most probable event was right."""
    predictions: jax.Array
    gradient_norm: jax.Array
    """Global norm before clipping, summed over updates."""
    updates: jax.Array


class PriorState(NamedTuple):
    """Everything that an update reads and writes; saved whole in a checkpoint."""

    params: Params
    optimizer: optax.OptState
    key: jax.Array
    """Never changes: update k draws its windows from fold_in(key, k)."""
    step: jax.Array
    """Updates done, int32."""
    diverged_at: jax.Array
    """The update at which loss or gradient was not finite, int32, or −1. It was not applied."""
    totals: PriorTotals


class SequenceScore(NamedTuple):
    """How well a model predicts sequences."""

    loss: float
    """Mean cross entropy in nats: the paper's log perplexity."""
    accuracy: float
    """Share of predictions whose most probable event was right."""
    predictions: int

    def metrics(self, split: str) -> dict[str, float]:
        """The score under its names in a record."""
        return {f"{split}/log_perplexity": self.loss, f"{split}/accuracy": self.accuracy}


class PriorLearner:
    """The pure functions that train one model on one set of sequences.

    Nothing in it changes: state goes in, state comes out. It trains one model by itself, or each
    member of a `common.population.Population` whose data are its windows.
    """

    round_steps = 1
    """Updates of a round."""

    def __init__(
        self,
        config: PriorConfig,
        num_events: int,
        make_core: CoreFactory,
        sequences: Sequence[np.ndarray],
        *,
        initial_range: float,
    ):
        """Puts the sequences, each int [length], on the device.

        Raises DataError if none has an event that counts.
        """
        self.config = config
        self.windows = jax.device_put(make_windows(sequences, config.steps, config.masked))
        self.optimizer = make_optimizer(config)
        self.learning_rate = learning_rate(config)
        self._make = partial(make_model, num_events, make_core, initial_range=initial_range)
        self.graph, _ = self._make(jax.random.key(0))
        self._advance = jax.jit(self._advance_until, donate_argnums=0)

    def initial_state(self, seed: int) -> PriorState:
        """Fresh parameters and a random key from an integer seed."""
        parameter_key, key = jax.random.split(jax.random.key(seed))
        _, params = self._make(parameter_key)
        return PriorState(
            params=params,
            optimizer=self.optimizer.init(params),
            key=key,
            step=jnp.zeros((), jnp.int32),
            diverged_at=jnp.full((), -1, jnp.int32),
            totals=zero_totals(PriorTotals),
        )

    def advance(self, state: PriorState, stop: int) -> PriorState:
        """Updates until `stop` updates are done in all, or one isn't finite. Consumes `state`.

        How a training is divided into calls doesn't change its bits.
        """
        return self._advance(state, self.windows, jnp.asarray(stop, jnp.int32))

    def collect(self, state: PriorState) -> tuple[PriorState, dict[str, float]]:
        """Metrics over the updates since the last call, and the state with its totals at zero."""
        metrics = self.metrics(jax.device_get(state.totals), int(state.step))
        return state._replace(totals=zero_totals(PriorTotals)), metrics

    def metrics(self, totals: PriorTotals, step: int) -> dict[str, float]:
        """Metrics of totals (NumPy scalars) after `step` updates; {} where they are of none."""
        if not totals.updates:
            return {}
        return {
            "train/log_perplexity": float(totals.loss / totals.predictions),
            "train/accuracy": float(totals.correct / totals.predictions),
            "train/gradient_norm": float(totals.gradient_norm / totals.updates),
            "train/learning_rate": float(self.learning_rate(step - 1)),
        }

    def round(self, state: PriorState, step: jax.Array, windows: PriorWindows) -> PriorState:
        """Does update number `step` on windows drawn for it; pure, to be traced by jit.

        An update that isn't finite is not applied, and none is from there on.
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
        )
        new = state._replace(
            params=done.params,
            optimizer=done.optimizer,
            step=step + 1,
            totals=PriorTotals(
                loss=state.totals.loss + done.sums.loss,
                correct=state.totals.correct + done.sums.correct,
                predictions=state.totals.predictions + done.sums.predictions,
                gradient_norm=state.totals.gradient_norm + done.gradient_norm,
                updates=state.totals.updates + 1,
            ),
        )
        goes_on = state.diverged_at < 0
        refused = state._replace(diverged_at=jnp.where(goes_on, step, state.diverged_at))
        return keep_finite(done.finite & goes_on, new, refused)

    def _advance_until(
        self, state: PriorState, windows: PriorWindows, stop: jax.Array
    ) -> PriorState:
        return advance(lambda state: self.round(state, state.step, windows), state, stop)


class LossSums(NamedTuple):
    """Sums over predictions; scalars."""

    loss: jax.Array
    """Cross entropies in nats."""
    correct: jax.Array
    """Those whose most probable event was right."""
    predictions: jax.Array
    """How many there are."""


class Update(NamedTuple):
    """What comes out of one update."""

    params: Params
    optimizer: optax.OptState
    sums: LossSums
    """Of the batch, before the update."""
    gradient_norm: jax.Array
    """Global norm of the gradient before the optimiser; scalar."""
    finite: jax.Array
    """Whether loss and gradient norm are finite, bool scalar. Nothing is held back if not."""


def update(
    graph: Graph,
    optimizer: optax.GradientTransformation,
    weight_decay: float,
    params: Params,
    optimizer_state: optax.OptState,
    inputs: jax.Array,
    targets: jax.Array,
    counted: jax.Array,
) -> Update:
    """Computes one gradient step on one batch of windows; pure, to be traced by jit.

    The loss is the mean cross entropy of the predictions that count, plus
    0.5 · weight_decay · Σw² over all parameters. The learner's own updates are these, with
    `make_optimizer`'s optimiser and windows of `draw_windows`.

    Args:
      graph: the model's structure, of `tutor.sequence_model.make_model`.
      optimizer: any optax optimiser; clipping is its business.
      weight_decay: of the L2 penalty.
      params: see `SequenceModel`.
      optimizer_state: `optimizer.init(params)`, or that of the last update.
      inputs: events, int32 [batch, steps].
      targets: the events to predict, int32 [batch, steps].
      counted: which predictions count, bool [batch, steps].
    """

    (_, sums), gradient = jax.value_and_grad(cost, has_aux=True)(
        params, graph, weight_decay, inputs, targets, counted
    )
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
) -> tuple[jax.Array, LossSums]:
    """What gradient descent lowers on a batch of windows, and the sums behind it; see `update`."""
    model = nnx.merge(graph, params)
    _, logits = model.unroll(model.initial_state(inputs.shape[0]), inputs)
    sums = sum_losses(logits, targets, counted)
    squares = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params))
    penalty = 0.5 * weight_decay * squares
    return sums.loss / jnp.maximum(sums.predictions, 1) + penalty, sums


def sum_losses(logits: jax.Array, targets: jax.Array, counted: jax.Array) -> LossSums:
    """Of predictions [..., A] of targets int [...], where `counted` (bool [...]): the sum of cross
    entropies in nats, how many have their maximum at the target, and how many there are."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    right = jnp.argmax(logits, axis=-1) == targets
    return LossSums(
        loss=jnp.sum(jnp.where(counted, losses, 0.0)),
        correct=jnp.sum(jnp.where(counted, right, 0.0)),
        predictions=jnp.sum(counted.astype(losses.dtype)),
    )


def make_windows(sequences: Sequence[np.ndarray], steps: int, masked: int) -> PriorWindows:
    """Puts sequences, each int [length], end to end.

    Every event stands for the window that begins there or, near its sequence's end, for the last
    window that lies within the sequence (the first one, where it is shorter than a window).
    Sequences without a prediction beyond the first `masked` are left out. Raises DataError if that
    leaves none.
    """
    long_enough = [sequence for sequence in sequences if len(sequence) > masked + 1]
    if not long_enough:
        raise DataError(
            f"no sequence has more than {masked + 1} events: with prior.masked={masked} nothing is "
            "left to learn from."
        )
    first, end, start = [], [], 0
    for sequence in long_enough:
        last = start + max(len(sequence) - steps - 1, 0)
        first.append(np.minimum(np.arange(start, start + len(sequence)), last))
        end.append(np.full(len(sequence), start + len(sequence)))
        start += len(sequence)
    return PriorWindows(
        events=np.concatenate([*long_enough, np.zeros(steps + 1, np.int32)]).astype(np.int32),
        first=np.concatenate(first).astype(np.int32),
        end=np.concatenate(end).astype(np.int32),
    )


def draw_windows(
    key: jax.Array, windows: PriorWindows, config: PriorConfig
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A batch of windows: inputs and targets int32 [batch, steps], and which predictions count."""
    chosen = jax.random.randint(key, (config.batch_size,), 0, windows.first.shape[0], jnp.int32)
    places = windows.first[chosen][:, None] + jnp.arange(config.steps + 1, dtype=jnp.int32)
    events = windows.events[places]
    inside = places[:, 1:] < windows.end[chosen][:, None]
    return events[:, :-1], events[:, 1:], inside & (jnp.arange(config.steps) >= config.masked)


def learning_rate(config: PriorConfig) -> optax.Schedule:
    """The rate by update: decayed every `decay_every` updates, never below the floor."""
    return optax.exponential_decay(
        config.learning_rate,
        config.decay_every,
        config.learning_rate_decay,
        staircase=True,
        end_value=config.learning_rate_floor,
    )


def make_optimizer(config: PriorConfig) -> optax.GradientTransformation:
    """Clipping by global norm, then Adam with the decay of its rate."""
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm), optax.adam(learning_rate(config))
    )


def evaluate(
    graph: Graph,
    params: Params,
    sequences: Sequence[np.ndarray],
    *,
    masked: int,
    tick: Callable[[], None] = lambda: None,
) -> SequenceScore:
    """Predicts every event of whole sequences, each int [length], beyond the first `masked` ones.

    The state is zero at each sequence's start. `tick` is called between batches and may raise.
    Raises DataError if no prediction counts.
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
        sums += np.asarray(_evaluate(graph, params, events, counted), np.float64)
        tick()
    loss, correct, count = sums
    if not count:
        raise DataError(
            f"no sequence has more than {masked + 1} events: with prior.masked={masked} nothing is "
            "left to predict."
        )
    return SequenceScore(float(loss / count), float(correct / count), int(count))


@partial(jax.jit, static_argnums=0)
def _evaluate(graph: Graph, params: Params, events: jax.Array, counted: jax.Array) -> jax.Array:
    model = nnx.merge(graph, params)
    _, logits = model.unroll(model.initial_state(events.shape[0]), events[:, :-1])
    return jnp.stack(sum_losses(logits, events[:, 1:], counted))
