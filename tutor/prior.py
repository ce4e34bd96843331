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
from tutor.config import PriorConfig
from tutor.sequence_model import CoreFactory, Graph, Params, make_model

EVALUATION_BATCH = 256
"""Sequences evaluated side by side; a matter of speed only."""


class Windows(NamedTuple):
    """Sequences end to end, from which windows of `steps` + 1 events are cut."""

    events: Any
    """int32 [n], sequence after sequence, then as many zeros as a window may overhang."""
    first: Any
    """For each event of the sequences, where the window that it stands for begins, int32."""
    end: Any
    """For each event of the sequences, where its sequence ends, int32."""


class Totals(NamedTuple):
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
    totals: Totals


class Score(NamedTuple):
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

    Nothing in it changes: state goes in, state comes out.
    """

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
            totals=_zero_totals(),
        )

    def advance(self, state: PriorState, stop: int) -> PriorState:
        """Updates until `stop` updates are done in all, or one isn't finite. Consumes `state`.

        How a training is divided into calls doesn't change its bits.
        """
        return self._advance(state, self.windows, jnp.asarray(stop, jnp.int32))

    def collect(self, state: PriorState) -> tuple[PriorState, dict[str, float]]:
        """Metrics over the updates since the last call, and the state with its totals at zero."""
        totals = jax.device_get(state.totals)
        metrics = {
            "train/log_perplexity": float(totals.loss / totals.predictions),
            "train/accuracy": float(totals.correct / totals.predictions),
            "train/gradient_norm": float(totals.gradient_norm / totals.updates),
            "train/learning_rate": float(learning_rate(self.config, int(state.step) - 1)),
        }
        return state._replace(totals=jax.tree.map(jnp.zeros_like, state.totals)), metrics

    def update(self, state: PriorState, windows: Windows) -> PriorState:
        """One update on windows drawn for `state.step`; pure, to be traced by jit."""
        config = self.config
        inputs, targets, counted = draw_windows(
            jax.random.fold_in(state.key, state.step), windows, config
        )
        (_, sums), gradient = jax.value_and_grad(self._loss, has_aux=True)(
            state.params, inputs, targets, counted
        )
        norm = optax.tree.norm(gradient)
        finite = jnp.isfinite(sums[0]) & jnp.isfinite(norm)
        changes, optimizer = self.optimizer.update(gradient, state.optimizer, state.params)
        new = (optax.apply_updates(state.params, changes), optimizer)
        params, optimizer = jax.tree.map(
            partial(jnp.where, finite), new, (state.params, state.optimizer)
        )
        totals = [old + more for old, more in zip(state.totals, (*sums, norm, 1.0), strict=True)]
        return PriorState(
            params=params,
            optimizer=optimizer,
            key=state.key,
            step=state.step + finite,
            diverged_at=jnp.where(finite, -1, state.step),
            totals=jax.tree.map(partial(jnp.where, finite), Totals(*totals), state.totals),
        )

    def _loss(
        self, params: Params, inputs: jax.Array, targets: jax.Array, counted: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        """Mean cross entropy of what counts, plus the L2 penalty; and the sums of `Totals`."""
        model = nnx.merge(self.graph, params)
        _, logits = model.unroll(model.initial_state(inputs.shape[0]), inputs)
        loss, correct, count = sum_losses(logits, targets, counted)
        squares = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params))
        penalty = 0.5 * self.config.weight_decay * squares
        return loss / jnp.maximum(count, 1) + penalty, (loss, correct, count)

    def _advance_until(self, state: PriorState, windows: Windows, stop: jax.Array) -> PriorState:
        return jax.lax.while_loop(
            lambda state: (state.step < stop) & (state.diverged_at < 0),
            lambda state: self.update(state, windows),
            state,
        )


def sum_losses(
    logits: jax.Array, targets: jax.Array, counted: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Of predictions [..., A] of targets int [...], where `counted` (bool [...]): the sum of cross
    entropies in nats, how many have their maximum at the target, and how many there are."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    right = jnp.argmax(logits, axis=-1) == targets
    return (
        jnp.sum(jnp.where(counted, losses, 0.0)),
        jnp.sum(jnp.where(counted, right, 0.0)),
        jnp.sum(counted.astype(losses.dtype)),
    )


def make_windows(sequences: Sequence[np.ndarray], steps: int, masked: int) -> Windows:
    """Puts sequences, each int [length], end to end.

    Every event stands for the window that begins there or, near its sequence's end, for the last
    window that lies within the sequence (the first one, where it is shorter than a window).
    Sequences without a prediction beyond the first `masked` are left out. Raises DataError if that
    leaves none.
    """
    long_enough = [sequence for sequence in sequences if len(sequence) > masked + 1]
    if not long_enough:
        raise DataError(
            f"no melody has more than {masked + 1} events: with prior.masked={masked} nothing is "
            "left to learn from."
        )
    first, end, start = [], [], 0
    for sequence in long_enough:
        last = start + max(len(sequence) - steps - 1, 0)
        first.append(np.minimum(np.arange(start, start + len(sequence)), last))
        end.append(np.full(len(sequence), start + len(sequence)))
        start += len(sequence)
    return Windows(
        events=np.concatenate([*long_enough, np.zeros(steps + 1, np.int32)]).astype(np.int32),
        first=np.concatenate(first).astype(np.int32),
        end=np.concatenate(end).astype(np.int32),
    )


def draw_windows(
    key: jax.Array, windows: Windows, config: PriorConfig
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A batch of windows: inputs and targets int32 [batch, steps], and which predictions count."""
    chosen = jax.random.randint(key, (config.batch_size,), 0, windows.first.shape[0], jnp.int32)
    places = windows.first[chosen][:, None] + jnp.arange(config.steps + 1, dtype=jnp.int32)
    events = windows.events[places]
    inside = places[:, 1:] < windows.end[chosen][:, None]
    return events[:, :-1], events[:, 1:], inside & (jnp.arange(config.steps) >= config.masked)


def learning_rate(config: PriorConfig, step: Any) -> jax.Array:
    """The rate of update `step`: decayed every `decay_every` updates, never below the floor."""
    decayed = config.learning_rate * config.learning_rate_decay ** jnp.asarray(
        step // config.decay_every, float
    )
    return jnp.maximum(decayed, config.learning_rate_floor)


def make_optimizer(config: PriorConfig) -> optax.GradientTransformation:
    """Clipping by global norm, then Adam with the decay of its rate."""
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm), optax.adam(partial(learning_rate, config))
    )


def evaluate(
    graph: Graph,
    params: Params,
    sequences: Sequence[np.ndarray],
    *,
    masked: int,
    tick: Callable[[], None] = lambda: None,
) -> Score:
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
            f"no melody has more than {masked + 1} events: with prior.masked={masked} nothing is "
            "left to predict."
        )
    return Score(float(loss / count), float(correct / count), int(count))


@partial(jax.jit, static_argnums=0)
def _evaluate(graph: Graph, params: Params, events: jax.Array, counted: jax.Array) -> jax.Array:
    model = nnx.merge(graph, params)
    _, logits = model.unroll(model.initial_state(events.shape[0]), events[:, :-1])
    return jnp.stack(sum_losses(logits, events[:, 1:], counted))


def _zero_totals() -> Totals:
    return Totals(*(jnp.zeros(()) for _ in Totals._fields))
