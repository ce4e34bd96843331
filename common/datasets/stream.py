"""Token streams on their way into a dataset: numbered, narrow, and cut into splits."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TokenStreams:
    """A preprocessed text: its vocabulary and the ids of each split, uint8 or uint16 [tokens]."""

    vocabulary: tuple[str, ...]
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def split_90_5_5(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut ids [n] into its first 90 %, the next 5 % and the rest (90M/5M/5M for 10^8).

    Integer arithmetic, each share rounded down; what rounding leaves goes to the last.
    """
    valid_start = len(ids) * 90 // 100
    test_start = valid_start + len(ids) * 5 // 100
    return ids[:valid_start], ids[valid_start:test_start], ids[test_start:]
