"""The evaluation protocols: batched, full (batch 1) and Monte-Carlo dropout."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from common.window import make_windows
from highway.language_model import DropoutMasks, Graph, LanguageModel, Params

LARGEST_EXPONENT = math.log(np.finfo(float).max)
STREAM_STEPS = 256
"""Tokens of a stream that one call evaluates. It affects speed only."""


class StreamScore(NamedTuple):
    """Mean cross entropy of a stream."""

    loss: float
    """Nats per token."""
    tokens: int
    """Predictions it was averaged over."""

    def metrics(self, prefix: str, *, word_level: bool) -> dict[str, float]:
        """Return the score by the names of its metrics.

        Args:
          prefix: what the names begin with.
          word_level: whether tokens are words; bits per character are left out then.

        Returns:
          Loss, perplexity and bits per character. A perplexity too large for a float is left out.
        """
        metrics = {f"{prefix}/loss": self.loss}
        if self.loss < LARGEST_EXPONENT:
            metrics[f"{prefix}/perplexity"] = math.exp(self.loss)
        if not word_level:
            metrics[f"{prefix}/bits_per_character"] = self.loss / math.log(2)
        return metrics


def batched(
    graph: Graph,
    params: Params,
    tokens: np.ndarray,
    batch_size: int,
    steps: int,
    *,
    split: str,
    softmax_chunk: int = 0,
    tick: Callable[[], None] = lambda: None,
) -> StreamScore:
    """Evaluate by the protocol of model selection: parallel slices, cut as for training.

    The recurrent state is zero at each slice's start and carried on from window to window. Tokens
    at the end that fill no window aren't counted.

    Args:
      graph: the model's structure.
      params: its parameters.
      tokens: int [n].
      batch_size: number of slices.
      steps: tokens predicted in a window.
      split: name of the split, for error messages.
      softmax_chunk: predictions whose logits are in memory at a time, 0 for all of a window.
      tick: is called between windows and may raise to stop.

    Raises:
      ConfigError: the tokens don't fill a window.
    """
    windows = make_windows(tokens, batch_size, steps, split=split)
    state = nnx.merge(graph, params).initial_state(batch_size)
    sums = []
    for inputs, targets in zip(windows.inputs, windows.targets, strict=True):
        state, losses = window_losses(
            graph, params, state, inputs, targets, softmax_chunk=softmax_chunk
        )
        sums.append(jnp.sum(losses))
        _pace(sums, tick)
    return StreamScore(
        float(np.sum(np.asarray(sums, np.float64))) / windows.inputs.size, windows.inputs.size
    )


def full(
    graph: Graph,
    params: Params,
    tokens: np.ndarray,
    *,
    softmax_chunk: int = 0,
    tick: Callable[[], None] = lambda: None,
) -> StreamScore:
    """Evaluate by the published protocol: predict each token but the first, at batch 1.

    Args:
      graph: the model's structure.
      params: its parameters.
      tokens: int [n ≥ 2].
      softmax_chunk: as for `batched`.
      tick: is called between pieces of the stream and may raise to stop.

    Raises:
      ValueError: there is no token to predict.
    """
    _require_prediction(tokens)
    state = nnx.merge(graph, params).initial_state(1)
    sums = []
    for inputs, targets, count in _stream(tokens):
        state, losses = window_losses(
            graph, params, state, inputs[None], targets[None], softmax_chunk=softmax_chunk
        )
        sums.append(jnp.sum(losses[:, :count]))
        _pace(sums, tick)
    return StreamScore(
        float(np.sum(np.asarray(sums, np.float64))) / (len(tokens) - 1), len(tokens) - 1
    )


def mc_dropout(
    graph: Graph,
    params: Params,
    tokens: np.ndarray,
    key: jax.Array,
    *,
    passes: int,
    batch_size: int,
    softmax_chunk: int = 0,
    tick: Callable[[], None] = lambda: None,
) -> StreamScore:
    """Evaluate with Monte-Carlo dropout (Gal & Ghahramani 2016).

    The probability of a token is its mean over passes, each with dropout masks of its own. Pass n
    draws them from fold_in(key, n) and keeps them for the whole stream. Each pass reads the stream
    at batch 1, as `full` does.

    Args:
      graph: the model's structure.
      params: its parameters.
      tokens: int [n ≥ 2].
      key: of the masks. Nothing else should be derived from it: `jax.random.split(key)` gives the
        keys of the first passes.
      passes: number of passes, at least 1.
      batch_size: how many of them run side by side. It affects speed and memory only.
      softmax_chunk: as for `batched`.
      tick: is called between pieces of the stream and may raise to stop.

    Raises:
      ValueError: there is no pass, or no token to predict.
    """
    _require_prediction(tokens)
    if passes < 1:
        raise ValueError(f"passes is 1 or more, not {passes}.")
    model = nnx.merge(graph, params)
    total = np.full(len(tokens) - 1, -np.inf)
    for first in range(0, passes, batch_size):
        width = min(batch_size, passes - first)
        masks = _masks_of_passes(model, key, jnp.arange(first, first + width))
        state = model.initial_state(width)
        pieces: list[jax.Array] = []
        for inputs, targets, count in _stream(tokens):
            rows = (width, STREAM_STEPS)
            inputs, targets = np.broadcast_to(inputs, rows), np.broadcast_to(targets, rows)
            state, losses = window_losses(
                graph, params, state, inputs, targets, masks, softmax_chunk=softmax_chunk
            )
            pieces.append(jax.nn.logsumexp(-losses[:, :count], axis=0))
            _pace(pieces, tick)
        summed = np.concatenate([np.asarray(piece, np.float64) for piece in pieces])
        total = np.logaddexp(total, summed)
    return StreamScore(float(-np.mean(total - np.log(passes))), len(total))


def _masks_of_passes(model: LanguageModel, key: jax.Array, passes: jax.Array) -> DropoutMasks:
    """Draw the masks of passes int [n], as those of a batch of n sequences."""
    each = [model.sample_masks(jax.random.fold_in(key, number), 1) for number in passes]

    def join(axis: int, parts: list[Any]) -> Any:
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis), *parts)

    return DropoutMasks(
        word=join(0, [masks.word for masks in each]),
        core=join(1, [masks.core for masks in each]),  # [gates, batch, width]
        output=join(0, [masks.output for masks in each]),
    )


@partial(jax.jit, static_argnums=0, static_argnames="softmax_chunk")
def window_losses(
    graph: Graph,
    params: Params,
    state: Any,
    inputs: jax.Array,
    targets: jax.Array,
    masks: DropoutMasks | None = None,
    *,
    softmax_chunk: int = 0,
) -> tuple[Any, jax.Array]:
    """Compute `LanguageModel.token_losses` of one window, compiled.

    Args:
      graph: the model's structure.
      params: its parameters.
      state: the recurrent state before the window, of `batch` sequences.
      inputs: int [batch, steps].
      targets: the tokens to predict, int [batch, steps].
      masks: of dropout, or None to drop nothing.
      softmax_chunk: as for `batched`.

    Returns:
      The state after the window, and cross entropies in nats, [batch, steps].
    """
    model = nnx.merge(graph, params)
    return model.token_losses(state, inputs, targets, masks, softmax_chunk=softmax_chunk)


def _require_prediction(tokens: np.ndarray) -> None:
    if len(tokens) < 2:
        raise ValueError(f"a stream to evaluate has two tokens or more, not {len(tokens)}.")


def _stream(tokens: np.ndarray):
    """Yield inputs and targets [STREAM_STEPS] piece by piece, and how many aren't padding."""
    for start in range(0, len(tokens) - 1, STREAM_STEPS):
        piece = np.asarray(tokens[start : start + STREAM_STEPS + 1], np.int32)
        count = len(piece) - 1
        piece = np.pad(piece, (0, STREAM_STEPS - count))
        yield piece[:-1], piece[1:], count


def _pace(results: list[jax.Array], tick: Callable[[], None]) -> None:
    """Call `tick`, and keep the host at most a few windows ahead of the device."""
    if len(results) > 4:
        results[-4].block_until_ready()
    tick()
