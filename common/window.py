"""Token streams cut into the windows of truncated back-propagation."""

from typing import NamedTuple

import numpy as np

from common.error import ConfigError


class Windows(NamedTuple):
    """Consecutive windows of parallel streams; int32 arrays [windows, batch, steps].

    Row b of the batch is one contiguous slice of the stream, and window i + 1 goes on where window
    i stopped, so that the recurrent state can be carried over. targets are inputs one step later.
    """

    inputs: np.ndarray
    """Tokens that are read."""
    targets: np.ndarray
    """Tokens to predict."""


def windows_bytes(tokens: int, batch_size: int, steps: int) -> int:
    """Return what the windows of so many tokens hold, as `make_windows` cuts them."""
    return 2 * 4 * batch_size * steps * _count(tokens, batch_size, steps)


def make_windows(
    tokens: np.ndarray, batch_size: int, steps: int, *, split: str, rows: np.ndarray | None = None
) -> Windows:
    """Cut tokens [n] into batch_size slices of n // batch_size tokens, and those into windows.

    What doesn't fill a window is dropped, as in the authors' code.

    Args:
      tokens: the stream.
      batch_size: how many slices.
      steps: of a window.
      split: the stream's name, for errors.
      rows: which rows of the batch the windows have, in order; None for all of them.

    Raises:
      ConfigError: the split has too few tokens for one window.
    """
    length = len(tokens) // batch_size
    count = _count(len(tokens), batch_size, steps)
    if count < 1:
        raise ConfigError(
            f"the {split} split has {len(tokens)} tokens, too few for one window of "
            f"{batch_size} × {steps}: lower train.batch_size or train.steps, or take more data."
        )
    slices = np.asarray(tokens[: batch_size * length], np.int32).reshape(batch_size, length)
    if rows is not None and len(rows) < batch_size:
        slices = slices[rows]

    def cut(start: int) -> np.ndarray:
        piece = slices[:, start : start + count * steps]
        return np.ascontiguousarray(piece.reshape(len(slices), count, steps).swapaxes(0, 1))

    return Windows(inputs=cut(0), targets=cut(1))


def _count(tokens: int, batch_size: int, steps: int) -> int:
    """How many windows there are of so many tokens; below 1 if they are too few."""
    return (tokens // batch_size - 1) // steps
