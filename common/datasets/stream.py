"""Token streams as preprocessing makes them: ids of one or two bytes, cut into splits."""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Tokens = TypeVar("Tokens", Sequence[str], np.ndarray)


@dataclass(frozen=True)
class TokenStreams:
    """A preprocessed text."""

    vocabulary: tuple[str, ...]
    """The symbol of each id."""
    train: np.ndarray
    """Ids, of an unsigned type [tokens]."""
    valid: np.ndarray
    """As `train`."""
    test: np.ndarray
    """As `train`."""


def split_90_5_5(tokens: Tokens) -> tuple[Tokens, Tokens, Tokens]:
    """Cut n tokens or ids into the first 90 %, the next 5 % and the rest (90M/5M/5M for 10^8).

    Integer arithmetic, each share rounded down; what rounding leaves goes to the last.
    """
    valid_start = len(tokens) * 90 // 100
    test_start = valid_start + len(tokens) * 5 // 100
    return tokens[:valid_start], tokens[valid_start:test_start], tokens[test_start:]


def encode_characters(text: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Number the characters of a text in code point order.

    Returns:
      The vocabulary, and ids, uint32 [characters].
    """
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    occurs = np.zeros(sys.maxunicode + 1, bool)
    occurs[codes] = True
    number = np.cumsum(occurs, dtype=np.uint32) - 1
    return tuple(map(chr, np.flatnonzero(occurs))), number[codes]


def by_frequency(words: Iterable[str]) -> tuple[str, ...]:
    """Return the different words, the most frequent first.

    Words of the same count are in alphabetical (code point) order.
    """
    counts = Counter(words)
    return tuple(sorted(counts, key=lambda word: (-counts[word], word)))


def encode_words(words: Sequence[str], vocabulary: Sequence[str]) -> np.ndarray:
    """Number words by their places in a vocabulary that has them all, uint32 [words]."""
    number = {word: i for i, word in enumerate(vocabulary)}
    return np.fromiter(map(number.__getitem__, words), np.uint32, len(words))
