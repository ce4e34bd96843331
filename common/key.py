"""The key of a melody, and melodies moved into another one or played slower."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from common.melody import FIRST_NOTE, NO_EVENT, NUM_EVENTS, OCTAVE, PITCH_OFFSET, Events

Mode = Literal["major", "minor"]
SCALES: dict[Mode, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 11),
}
"""Semitones above the tonic. The minor scale is the harmonic one: the natural one has the notes of
the major scale three semitones up, with which a tune in it is moved alike."""
TRIADS: dict[Mode, tuple[int, ...]] = {"major": (0, 4, 7), "minor": (0, 3, 7)}
LEAST_SHARE = 0.8
"""A tune has no key if no scale holds this share of its notes."""
CENTRE = (FIRST_NOTE + NUM_EVENTS - 1) / 2
"""The middle of the events that sound: MIDI 65.5."""
GOLDEN = (5**0.5 - 1) / 2


class MelodyKey(NamedTuple):
    """A tonic and a scale on it."""

    tonic: int
    """Pitch class of the tonic, 0 for C."""
    mode: Mode
    """Which scale."""

    @property
    def major(self) -> int:
        """The tonic of the major key with the same signature: its own, or its relative's."""
        return (self.tonic + (0 if self.mode == "major" else 3)) % OCTAVE


class Moved(NamedTuple):
    """Melodies in C, and what there was to move."""

    melodies: tuple[Events, ...]
    """Events, int32 [sixteenths] each."""
    counts: dict[str, int]
    """How many are in a major and in a minor key, have no key, or fit in no octave of C: the last
    two stay as they were."""


def estimate_key(events: np.ndarray) -> MelodyKey | None:
    """Find the scale that holds most of a melody's notes.

    Of several that hold as many it is the one whose tonic triad holds more, then the one whose
    tonic the melody ends on, then a major one, then the one on the lowest pitch class.

    Args:
      events: int [length]; every note counts once, however long.

    Returns:
      The key; None without notes, and where no scale holds `LEAST_SHARE` of them.
    """
    pitches = (events[events >= FIRST_NOTE] + PITCH_OFFSET) % OCTAVE
    if not pitches.size:
        return None
    count = np.bincount(pitches, minlength=OCTAVE)

    def held(key: MelodyKey, degrees: Sequence[int]) -> int:
        return int(count[[(key.tonic + degree) % OCTAVE for degree in degrees]].sum())

    def rank(key: MelodyKey) -> tuple[int, int, bool]:
        ends = bool(pitches[-1] == key.tonic)
        return held(key, SCALES[key.mode]), held(key, TRIADS[key.mode]), ends

    best = max((MelodyKey(tonic, mode) for mode in SCALES for tonic in range(OCTAVE)), key=rank)
    share = held(best, SCALES[best.mode]) / pitches.size
    return best if share >= LEAST_SHARE else None


def transpose(events: np.ndarray, semitones: int) -> Events:
    """Move the notes of a melody; rests and holds stay."""
    return np.where(events >= FIRST_NOTE, events + semitones, events).astype(np.int32)


def move_to_c(melodies: Iterable[np.ndarray]) -> Moved:
    """Move melodies to C major or, if they are in minor, to A minor, which has C's signature.

    Of the octaves that hold all of a melody's notes it comes into the one in which the middle of
    its range is nearest to MIDI 65.5.

    Args:
      melodies: each int [length].
    """
    moved, counts = [], Counter({"major": 0, "minor": 0, "without a key": 0, "too wide": 0})
    for events in melodies:
        key = estimate_key(events)
        shift = None if key is None else _shift(events, key)
        if key is None or shift is None:
            counts["without a key" if key is None else "too wide"] += 1
            moved.append(events)
        else:
            counts[key.mode] += 1
            moved.append(transpose(events, shift))
    return Moved(tuple(moved), dict(counts))


def _shift(events: np.ndarray, key: MelodyKey) -> int | None:
    """The semitones that bring a melody into C; None where it fits in no octave of it."""
    notes = events[events >= FIRST_NOTE]
    lowest, highest = int(notes.min()), int(notes.max())
    fitting = [
        shift
        for octave in range(-3, 4)
        if lowest + (shift := OCTAVE * octave - key.major) >= FIRST_NOTE
        and highest + shift < NUM_EVENTS
    ]
    return min(fitting, key=lambda s: abs((lowest + highest) / 2 + s - CENTRE), default=None)


def stretch(events: np.ndarray, factor: int) -> Events:
    """Play a melody slower: each event is followed by factor − 1 holds, [length · factor]."""
    slow = np.full((len(events), factor), NO_EVENT, np.int32)
    slow[:, 0] = events
    return slow.reshape(-1)


def stretch_factors(count: int, shares: Sequence[tuple[int, float]]) -> list[int]:
    """Say which of `count` melodies is stretched by which factor.

    Melody k has the factor at the fractional part of (k + 1) · 0.618..., the golden ratio, among
    the shares laid side by side. So its factor depends on its number alone, and each factor has its
    share, to a melody or two, of the first n melodies for any n.

    Args:
      count: number of melodies.
      shares: each factor with its share; the shares add up to 1.
    """
    ends = np.cumsum([share for _, share in shares])
    places = np.modf(GOLDEN * np.arange(1, count + 1))[0]
    chosen = np.minimum(np.searchsorted(ends, places, side="right"), len(shares) - 1)
    return [shares[number][0] for number in chosen]
