"""The 38 events of a melody, one per sixteenth: a note ends, nothing changes, or a note begins.

Event k from 2 on begins the note of MIDI pitch k + 46: 2 is C3 (48), 14 middle C (60), 37 B5 (83).
A melody begins in silence. In silence NOTE_OFF changes nothing, like NO_EVENT, so different
sequences can denote the same music. `canonical` returns the one of them in which every NOTE_OFF
ends a note.
"""

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from common.error import DataError

NOTE_OFF = 0
"""A rest: the note that sounds ends."""
NO_EVENT = 1
"""A hold: nothing changes."""
FIRST_NOTE = 2
"""The event of the lowest note. Events from here on sound."""
NUM_EVENTS = 38
PITCH_OFFSET = 46
"""MIDI pitch of a note minus its event."""
LOWEST_PITCH = FIRST_NOTE + PITCH_OFFSET
"""MIDI 48."""
HIGHEST_PITCH = NUM_EVENTS - 1 + PITCH_OFFSET
"""MIDI 83."""
OCTAVE = 12
"""Semitones."""
BAR = 16
"""Sixteenths of a bar of 4/4."""

Events = npt.NDArray[np.int32]
Time = int | float | Fraction
"""In sixteenths."""


class NoMelody(DataError):
    """A file, or a tune in it, can't be read as a melody."""

    def __init__(self, reason: str, name: str, detail: str):
        """Make the message.

        Args:
          reason: a word or two, by which such errors are counted.
          name: of the file or tune.
          detail: the rest of the message.
        """
        super().__init__(f"{name}: {reason}: {detail}.")
        self.reason = reason


class Note(NamedTuple):
    """A note of a melody; it sounds in the sixteenths start, ..., start + duration - 1."""

    start: int
    """Sixteenths from the beginning."""
    duration: int
    """Sixteenths, at least 1."""
    pitch: int
    """MIDI."""

    @property
    def end(self) -> int:
        """The first sixteenth after it."""
        return self.start + self.duration


class Span(NamedTuple):
    """A note that isn't on the grid yet."""

    start: Time
    """When it begins."""
    end: Time
    """When it stops."""
    pitch: int
    """MIDI."""


def encode_notes(notes: Iterable[Note], length: int) -> Events:
    """Write notes as canonical events.

    Args:
      notes: ordered in time.
      length: of the melody, in sixteenths.

    Returns:
      Events, int32 [length].

    Raises:
      ValueError: a pitch is outside 48..83, or a note is empty, begins before the one before it
        has ended, or goes beyond `length`; names the note.
    """
    events = np.full(length, NO_EVENT, np.int32)
    end = 0
    for note in notes:
        if not LOWEST_PITCH <= note.pitch <= HIGHEST_PITCH:
            raise ValueError(f"{note}: the pitch is outside {LOWEST_PITCH}..{HIGHEST_PITCH}")
        if note.duration < 1 or note.start < end or note.end > length:
            raise ValueError(f"{note} is empty or outside the free sixteenths {end}..{length - 1}")
        events[note.start] = note.pitch - PITCH_OFFSET
        end = note.end
        if end < length:
            events[end] = NOTE_OFF  # the next note, if it begins here, takes its place
    return events


def decode_events(events: Iterable[int] | np.ndarray) -> list[Note]:
    """Read notes from events.

    Args:
      events: integers in 0..37, [length].

    Returns:
      The notes, ordered in time; the last one may sound to the end of the events.

    Raises:
      ValueError: an event is outside 0..37; names it and its position.
    """
    notes: list[Note] = []
    start = pitch = position = -1
    for position, event in enumerate(map(int, events)):
        if not 0 <= event < NUM_EVENTS:
            raise ValueError(f"event {event} at position {position} is outside 0..{NUM_EVENTS - 1}")
        if event == NO_EVENT:
            continue
        if start >= 0:
            notes.append(Note(start, position - start, pitch))
        start, pitch = (position, event + PITCH_OFFSET) if event >= FIRST_NOTE else (-1, -1)
    if start >= 0:
        notes.append(Note(start, position + 1 - start, pitch))
    return notes


def swap_specials(events: np.ndarray) -> np.ndarray:
    """Exchange NOTE_OFF and NO_EVENT in events of any shape."""
    swapped = np.where(events == NOTE_OFF, NO_EVENT, events)
    return np.where(events == NO_EVENT, NOTE_OFF, swapped)


def canonical(events: Sequence[int] | np.ndarray) -> Events:
    """Replace each NOTE_OFF in silence by NO_EVENT: the same music, [length]."""
    return encode_notes(decode_events(events), len(events))


def quantise(spans: Iterable[Span]) -> list[Note] | None:
    """Move notes to the nearest sixteenths; half a sixteenth goes up.

    Args:
      spans: notes ordered in time, without overlaps.

    Returns:
      The notes, each at least a sixteenth long; None if two would begin together, which means
      that the tune is off the grid.
    """
    rounded = [
        (math.floor(span.start + Fraction(1, 2)), math.floor(span.end + Fraction(1, 2)), span.pitch)
        for span in spans
    ]
    notes = []
    for number, (start, end, pitch) in enumerate(rounded):
        end = max(end, start + 1)
        if number + 1 < len(rounded):
            if rounded[number + 1][0] <= start:
                return None
            end = min(end, rounded[number + 1][0])
        notes.append(Note(start, end - start, pitch))
    return notes


def fit_range(notes: Sequence[Note], step: int = 1) -> list[Note] | None:
    """Transpose notes into MIDI 48..83.

    Args:
      notes: in any order.
      step: transpose by multiples of so many semitones.

    Returns:
      The notes moved as little as possible; None if no multiple brings all into the range.
    """
    if not notes:
        return []
    lowest = min(note.pitch for note in notes)
    highest = max(note.pitch for note in notes)
    up = math.ceil(max(LOWEST_PITCH - lowest, 0) / step) * step
    down = math.ceil(max(highest - HIGHEST_PITCH, 0) / step) * step
    shift = up - down
    if not LOWEST_PITCH <= lowest + shift <= highest + shift <= HIGHEST_PITCH:
        return None
    return [note._replace(pitch=note.pitch + shift) for note in notes]
