"""Sequences cut into the windows from which the prior learns."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from common.error import DataError
from tutor.config import PriorConfig


class PriorWindows(NamedTuple):
    """Sequences end to end, from which windows of `steps` + 1 events are cut."""

    events: Any
    """int32 [n + steps + 1]: the n events, sequence after sequence, then zeros, since a window may
    reach beyond the last event."""
    first: Any
    """Where the window begins that is drawn for each event, int32 [n]."""
    end: Any
    """Where the sequence of each event ends, int32 [n]."""
    beginning: Any
    """Where each of the m sequences begins, int32 [m]."""


def make_windows(sequences: Sequence[np.ndarray], steps: int, masked: int) -> PriorWindows:
    """Put sequences end to end, and find the window that is drawn for each event.

    It is the window that begins at the event or, near the end of the sequence, the last one that
    lies within the sequence. A sequence shorter than a window has one window, from its start.
    Sequences without a prediction beyond the first `masked` are left out.

    Args:
      sequences: each int [length].
      steps: predictions in a window, which has one event more.
      masked: how many predictions at a window's start don't count.

    Raises:
      DataError: no sequence is left.
    """
    long_enough = [sequence for sequence in sequences if len(sequence) > masked + 1]
    if not long_enough:
        raise DataError(
            f"no sequence has more than {masked + 1} events: with prior.masked={masked} nothing is "
            "left to learn from."
        )
    first, end, beginning, start = [], [], [], 0
    for sequence in long_enough:
        beginning.append(start)
        last = start + max(len(sequence) - steps - 1, 0)
        first.append(np.minimum(np.arange(start, start + len(sequence)), last))
        end.append(np.full(len(sequence), start + len(sequence)))
        start += len(sequence)
    return PriorWindows(
        events=np.concatenate([*long_enough, np.zeros(steps + 1, np.int32)]).astype(np.int32),
        first=np.concatenate(first).astype(np.int32),
        end=np.concatenate(end).astype(np.int32),
        beginning=np.array(beginning, np.int32),
    )


def draw_windows(
    key: jax.Array, windows: PriorWindows, config: PriorConfig
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draw a batch of windows.

    The first of them, in number the share `config.beginnings`, are the beginnings of sequences
    chosen uniformly, and all their predictions count. The others are each drawn for an event
    chosen uniformly.

    Args:
      key: of the draw.
      windows: from `make_windows`.
      config: of these settings `batch_size`, `steps`, `masked` and `beginnings` are used.

    Returns:
      Inputs and targets, int32 [batch, steps], and which predictions count, bool [batch, steps]:
      those within their sequence and, but in the beginnings, beyond the first `masked`.
    """
    chosen = jax.random.randint(key, (config.batch_size,), 0, windows.first.shape[0], jnp.int32)
    first, end = windows.first[chosen], windows.end[chosen]
    counts = jnp.arange(config.steps) >= config.masked
    if number := config.beginning_windows:
        drawn = jax.random.choice(jax.random.fold_in(key, 1), windows.beginning, (number,))
        first = jnp.concatenate([drawn, first[number:]])
        end = jnp.concatenate([jnp.asarray(windows.end)[drawn], end[number:]])
        counts = counts | (jnp.arange(config.batch_size) < number)[:, None]
    places = first[:, None] + jnp.arange(config.steps + 1, dtype=jnp.int32)
    events = windows.events[places]
    inside = places[:, 1:] < end[:, None]
    return events[:, :-1], events[:, 1:], inside & counts
