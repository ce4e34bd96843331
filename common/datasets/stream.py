"""Token streams as preprocessing makes them: ids of one or two bytes, cut into splits."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TokenStreams:
    """A preprocessed text."""

    vocabulary: tuple[str, ...]
    """The symbol of each id."""
    train: np.ndarray
    """Ids, uint8 or uint16 [tokens]."""
    valid: np.ndarray
    """As `train`."""
    test: np.ndarray
    """As `train`."""


def split_90_5_5(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut ids [n] into its first 90 %, the next 5 % and the rest (90M/5M/5M for 10^8).

    Integer arithmetic, each share rounded down; what rounding leaves goes to the last.
    """
    valid_start = len(ids) * 90 // 100
    test_start = valid_start + len(ids) * 5 // 100
    return ids[:valid_start], ids[valid_start:test_start], ids[test_start:]
