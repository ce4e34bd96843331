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
    targets: np.ndarray


def make_windows(tokens: np.ndarray, batch_size: int, steps: int, *, split: str) -> Windows:
    """Cut tokens [n] into batch_size slices of n // batch_size tokens, and those into windows.

    What doesn't fill a window is dropped, as in the authors' code. Raises ConfigError where the
    split has too few tokens for one window.
    """
    length = len(tokens) // batch_size
    count = (length - 1) // steps
    if count < 1:
        raise ConfigError(
            f"the {split} split has {len(tokens)} tokens, too few for one window of "
            f"{batch_size} × {steps}: lower train.batch_size or train.steps, or take more data."
        )
    rows = np.asarray(tokens[: batch_size * length], np.int32).reshape(batch_size, length)

    def cut(start: int) -> np.ndarray:
        piece = rows[:, start : start + count * steps]
        return np.ascontiguousarray(piece.reshape(batch_size, count, steps).swapaxes(0, 1))

    return Windows(inputs=cut(0), targets=cut(1))
