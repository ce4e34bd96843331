"""TFDS builder of melodies, and splits that have no tune in common."""

import abc
import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import tensorflow_datasets as tfds

from common.datasets.builder import SPLITS, Builder, stored_metadata
from common.datasets.corpus import MelodySet
from common.error import DataError, InterruptedRun
from common.melody import NoMelody, Note, encode_notes

Content = TypeVar("Content")
_HELD_OUT = 0.05  # share of the groups of tunes that valid gets, and test
_FEW = 3  # names in a line
_PASSAGE = 16  # steps that tunes of different splits may not have in common
Passage = tuple[tuple[int, ...], tuple[int, ...]]
"""Distances in time and intervals in semitones, step by step; see `tune_passages`."""


class Melodies(NamedTuple):
    """Prepared melodies, and what was left out."""

    splits: Mapping[str, list[np.ndarray]]
    """Split → events of each melody, uint8 [sixteenths]."""
    counts: dict[str, int]
    """How many tunes were found, kept, and left out for which reason."""
    skipped: Sequence[str] = ()
    """`name: reason: details` of each source that gave no melody."""


def make_melodies(
    tunes: Iterable[tuple[str, Content]], read: Callable[[str, Content], Sequence[Note]]
) -> Melodies:
    """Read tunes, leave out those that are no melodies and those that repeat one, split the rest.

    Args:
      tunes: name and content of each.
      read: turns a name and content into notes, or raises NoMelody. Whatever else it raises counts
        as unreadable: one odd file must not stop all the others.

    Returns:
      The melodies. Counted are "found", each reason of `NoMelody`, "repeated" (the same notes
      again), "kept", and as "unrelated groups" how many groups the kept ones form (`group_tunes`).

    Raises:
      DataError: no tune can be used; says how many are left out for which reason.
    """
    counts: Counter[str] = Counter()
    kept: dict[tuple[Note, ...], None] = {}
    skipped = []
    for name, content in tunes:
        counts["found"] += 1
        try:
            notes = tuple(read(name, content))
        except InterruptedRun:
            raise
        except Exception as error:
            known = error if isinstance(error, NoMelody) else unreadable(name, error)
            counts[known.reason] += 1
            skipped.append(str(known).removesuffix("."))
            continue
        counts["repeated" if notes in kept else "kept"] += 1
        kept[notes] = None
    if not kept:
        first = "; ".join(skipped[:_FEW]) + ("; ..." if len(skipped) > _FEW else "")
        raise DataError(f"no melody found: {summary(counts)} ({first})")
    splits, groups = split_tunes(list(kept))
    return Melodies(splits, {**counts, "unrelated groups": groups}, skipped)


def unreadable(name: str, error: Exception) -> NoMelody:
    """Say of a source that a reader failed on it, in the words of its error if it has any."""
    kind = type(error).__name__
    return NoMelody("unreadable", name, f"{kind}: {error}" if str(error) else kind)


def summary(counts: Mapping[str, int]) -> str:
    """Write counts in a line: 1,000 found, 990 kept."""
    return ", ".join(f"{number:,} {what}" for what, number in counts.items())


def tune_passages(notes: Sequence[Note]) -> list[Passage]:
    """Cut a tune into its overlapping passages of 16 steps; a shorter tune is one passage.

    A step is the distance between the beginnings of two notes, in units of the passage's common
    divisor, and the interval between their pitches. So transposing a tune, starting it later,
    shortening notes for rests or writing it in notes twice as long doesn't change its passages.
    """
    distances = [later.start - note.start for note, later in itertools.pairwise(notes)]
    intervals = [later.pitch - note.pitch for note, later in itertools.pairwise(notes)]
    passages = []
    for start in range(max(len(distances) - _PASSAGE, 0) + 1):
        part = distances[start : start + _PASSAGE]
        unit = math.gcd(*part) or 1
        scaled = tuple(distance // unit for distance in part)
        passages.append((scaled, tuple(intervals[start : start + _PASSAGE])))
    return passages


def group_tunes(tunes: Sequence[Sequence[Note]]) -> list[list[int]]:
    """Group tunes that have one of `tune_passages` in common, directly or through others.

    Returns:
      Groups of positions in `tunes`. Their order is that of hashes of what is played: as good as
      random, and the same on every machine.
    """
    parent = list(range(len(tunes)))

    def find(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    first_with: dict[Passage, int] = {}
    hashes = []
    for number, notes in enumerate(tunes):
        passages = tune_passages(notes)
        hashes.append(hashlib.sha256(repr(passages).encode()).digest())
        for passage in passages:
            parent[find(number)] = find(first_with.setdefault(passage, number))
    groups: dict[int, list[int]] = {}
    for number in range(len(tunes)):
        groups.setdefault(find(number), []).append(number)
    return sorted(groups.values(), key=lambda group: min(hashes[number] for number in group))


def split_tunes(tunes: Sequence[Sequence[Note]]) -> tuple[dict[str, list[np.ndarray]], int]:
    """Divide tunes 90 : 5 : 5 so that no group of `group_tunes` is in two splits.

    The first groups go to test, the next to valid. With three groups or more no split is empty;
    with fewer, all are for training.

    Returns:
      The events of each split, uint8 [sixteenths], and the number of groups.
    """
    groups = group_tunes(tunes)
    held_out = max(round(len(groups) * _HELD_OUT), 1) if len(groups) >= len(SPLITS) else 0
    parts = {
        "train": groups[2 * held_out :],
        "valid": groups[held_out : 2 * held_out],
        "test": groups[:held_out],
    }
    splits = {
        split: [
            encode_notes(tunes[number], tunes[number][-1].end).astype(np.uint8)
            for group in parts[split]
            for number in group
        ]
        for split in SPLITS
    }
    return splits, len(groups)


class MelodyBuilder(Builder):
    """Melodies in three splits, with the count of what was left out."""

    _FEATURE = "events"

    @abc.abstractmethod
    def preprocess(self, files: Mapping[str, bytes]) -> Melodies:
        """Turn the content of the source files into melodies."""

    @classmethod
    def describe(cls, folder: Path) -> str:
        """Write the counts, and the first few sources that gave no melody, in a line."""
        metadata = stored_metadata(folder)
        if not metadata:  # damaged: `verify` will say so
            return ""
        line = summary(metadata["counts"])
        if skipped := metadata["skipped"]:
            line += f"; left out {'; '.join(skipped[:_FEW])}" + ("; ..." * (len(skipped) > _FEW))
        return line

    def _info(self) -> tfds.core.DatasetInfo:
        events = tfds.features.Tensor(shape=(None,), dtype=np.uint8, encoding="bytes")
        return self._dataset_info({"number": np.int64, "events": events})

    def _examples_of(self, prepared: Melodies) -> dict[str, Any]:
        self.info.metadata["counts"] = prepared.counts
        self.info.metadata["skipped"] = list(prepared.skipped)
        # TFDS can't write a split without records: an empty one is a melody without events.
        nothing = [np.zeros(0, np.uint8)]
        return {
            split: self._generate_examples(prepared.splits[split] or nothing) for split in SPLITS
        }

    def read(self) -> MelodySet:
        """Load the prepared data into memory, events as int32."""
        metadata = self.info.metadata
        return MelodySet(
            name=self.name,
            version=str(self.version),
            checksums=dict(metadata["checksums"]),
            counts=dict(metadata["counts"]),
            skipped=tuple(metadata["skipped"]),
            **{split: self._melodies(split) for split in SPLITS},
        )

    def _melodies(self, split: str) -> tuple[np.ndarray, ...]:
        melodies = [array.astype(np.int32) for array in self._arrays(split) if len(array)]
        for melody in melodies:
            melody.flags.writeable = False
        return tuple(melodies)
