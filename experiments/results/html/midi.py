"""MIDI files that runs left: a piano roll of each, and sound to play."""

from dataclasses import dataclass
from pathlib import Path

import pretty_midi

from common.midi import HeardNote, hear
from common.midi_file import MidiFileError
from experiments.results.html.media import Allowance, data_uri

RATE = 8_000
"""Samples a second, of one byte each: enough for sine tones below 4 kHz."""
LONGEST = 16.0
"""Seconds of sound and roll."""
SECOND, SEMITONE, EDGE = 110.0, 7.0, 30.0
"""Sizes in the drawing: of a second, of a semitone, of the margin for names of notes."""


@dataclass(frozen=True)
class Bar:
    """A rectangle of the roll."""

    x: float
    y: float
    width: float


@dataclass(frozen=True)
class Roll:
    """A melody to see and to hear."""

    name: str
    alt: str
    width: float
    height: float
    bars: tuple[Bar, ...]
    lines: tuple[tuple[float, str], ...]
    """Height and name of each C, or of the lowest note where there is none."""
    sound: str
    """A data URI; empty where the page has no room for it."""


def read_roll(path: Path, name: str, allowance: Allowance, *, with_sound: bool) -> Roll | None:
    """Read a MIDI file; None where it can't be read or has no notes.

    Args:
      path: the file.
      name: what the page calls it.
      allowance: what its sound may take.
      with_sound: whether it is to be heard.
    """
    try:
        notes, wav = hear(path.read_bytes(), rate=RATE, longest=LONGEST)
    except MidiFileError:
        return None
    shown = [note for note in notes if note.start < LONGEST]
    if not shown:
        return None
    heard = with_sound and allowance.take(4 * len(wav) // 3)
    return _roll(shown, name, data_uri(wav, "audio/wav") if heard else "")


def _roll(notes: list[HeardNote], name: str, sound: str) -> Roll:
    top, bottom = max(n.pitch for n in notes), min(n.pitch for n in notes)
    seconds = min(max(n.end for n in notes), LONGEST)

    def height(pitch: int) -> float:
        return (top - pitch) * SEMITONE

    octaves = [pitch for pitch in range(bottom, top + 1) if pitch % 12 == 0] or [bottom]
    names = [pretty_midi.note_number_to_name(pitch) for pitch in (bottom, top)]
    return Roll(
        name=name,
        alt=f"Piano roll of {name}: {len(notes)} notes from {names[0]} to {names[1]} in "
        f"{seconds:.1f} seconds",
        width=EDGE + seconds * SECOND,
        height=(top - bottom + 1) * SEMITONE,
        bars=tuple(
            Bar(
                round(EDGE + n.start * SECOND, 1),
                height(n.pitch),
                round((min(n.end, LONGEST) - n.start) * SECOND, 1),
            )
            for n in notes
        ),
        lines=tuple((height(p) + SEMITONE, pretty_midi.note_number_to_name(p)) for p in octaves),
        sound=sound,
    )
