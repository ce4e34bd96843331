"""Melodies as MIDI files and sound: writing them, and finding the melody in any MIDI file."""

import io
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pretty_midi
import scipy.io.wavfile

from common.error import ConfigError, DataError
from common.melody import (
    HIGHEST_PITCH,
    LOWEST_PITCH,
    NOTE_OFF,
    Events,
    NoMelody,
    Note,
    Span,
    canonical,
    decode_events,
    encode_notes,
    fit_range,
    quantise,
)
from common.midi_file import (
    DRUMS,
    MidiFile,
    MidiFileError,
    MidiNote,
    MidiTrack,
    read_midi_file,
)

SAMPLE_RATE = 22_050
"""Of WAV files, in Hz."""
LONGEST = 300_000
"""Sixteenths in a file: ten hours at 120 beats a minute."""
_TICKS = 120  # in a quarter note
_VELOCITY = 100
_LEAD_NAMES = ("melody", "vocal", "lead")
# What notes can't tell: how long the silence at the end is, and NOTE_OFF in silence.
_TEXT = re.compile(r"highway-tutor melody, (\d{1,6}) sixteenths(?:; silent already at ([\d ]+))?")


def write_melody(
    events: Sequence[int] | np.ndarray,
    path: Path,
    beats_per_minute: float = 120,
    *,
    transpose: int = 0,
) -> None:
    """Write events as a MIDI file of one piano track; equal events make equal bytes.

    A text event beside the notes has the length and the places of NOTE_OFF in silence, so that
    `read_melody` returns the same events (unless they are transposed).

    Args:
      events: integers in 0..37, [length]; at most 300,000.
      path: the file, overwritten.
      beats_per_minute: the tempo, in quarter notes.
      transpose: semitones by which each note is written higher than its event.

    Raises:
      ConfigError: the tempo is not in 4..1000.
      ValueError: an event is outside 0..37, or there are more than 300,000.
    """
    score = _score(_transposed(events, transpose), beats_per_minute)
    if len(events) > LONGEST:
        raise ValueError(f"{len(events):,} events: a MIDI file holds no more than {LONGEST:,}")
    text = f"highway-tutor melody, {len(events)} sixteenths"
    silent = np.flatnonzero(np.asarray(events) != canonical(events))
    if len(silent):
        text += f"; silent already at {' '.join(map(str, silent))}"
    score.text_events.append(pretty_midi.Text(text, 0.0))
    content = io.BytesIO()
    score.write(content)
    path.write_bytes(content.getvalue())


def write_wav(
    events: Sequence[int] | np.ndarray,
    path: Path,
    beats_per_minute: float = 120,
    *,
    transpose: int = 0,
) -> None:
    """Write events as a WAV file: sine tones, 16 bits, one channel, 22,050 Hz.

    Args:
      events: integers in 0..37, [length].
      path: the file, overwritten.
      beats_per_minute: the tempo, in quarter notes.
      transpose: semitones by which each note sounds higher than its event.

    Raises:
      ConfigError: the tempo is not in 4..1000.
      ValueError: an event is outside 0..37.
    """
    score = _score(_transposed(events, transpose), beats_per_minute)
    sound = _sine_tones(score, len(events) * 15 / beats_per_minute, SAMPLE_RATE)
    loudest = np.iinfo(np.int16).max
    scipy.io.wavfile.write(path, SAMPLE_RATE, np.round(sound * loudest).astype(np.int16))


class HeardNote(NamedTuple):
    """A note of a MIDI file as it is heard; times in seconds."""

    start: float
    """When it begins."""
    end: float
    """When it stops."""
    pitch: int
    """MIDI pitch, 0..127."""


def hear(content: bytes, *, rate: int, longest: float) -> tuple[list[HeardNote], bytes]:
    """Play a MIDI file into a small WAV file: sine tones, 8 bits, one channel.

    Args:
      content: the MIDI file's bytes.
      rate: samples a second.
      longest: seconds after which it is cut off.

    Returns:
      All notes but drums in order, those after the cut included; and the WAV file's bytes.

    Raises:
      MidiFileError: the content can't be read whole.
    """
    read_midi_file(content)
    score = pretty_midi.PrettyMIDI(io.BytesIO(content))
    notes = sorted(
        HeardNote(float(note.start), float(note.end), note.pitch)
        for player in score.instruments
        if not player.is_drum
        for note in player.notes
    )
    seconds = min(max((note.end for note in notes), default=0.0), longest)
    sound = _sine_tones(score, seconds, rate)
    wav = io.BytesIO()
    scipy.io.wavfile.write(wav, rate, np.round(127.5 + 127 * sound).astype(np.uint8))
    return notes, wav.getvalue()


def _sine_tones(score: Any, seconds: float, rate: int) -> np.ndarray:
    """The sound of a score in −1..1, cut or filled with silence to a length."""
    sound = np.zeros(round(seconds * rate))
    if any(player.notes for player in score.instruments if not player.is_drum):
        tones = score.synthesize(fs=rate)[: len(sound)]
        sound[: len(tones)] = tones
    return sound


def read_melody(path: Path) -> Events:
    """Read the melody of a MIDI file, transposed into the range if need be; see `find_melody`.

    Returns:
      Events, int32 [length].

    Raises:
      DataError: the file can't be read or has no melody; names it.
    """
    return find_melody(_read(path), str(path))


def read_primer(path: Path) -> Events:
    """Read the melody of a MIDI file without transposing it, for a composition to continue.

    Returns:
      Events, int32 [length].

    Raises:
      DataError: the file can't be read or has no melody, or a pitch is outside 48..83; names it.
    """
    return find_melody(_read(path), str(path), transpose=False)


def find_melody(content: bytes, name: str, transpose: bool = True) -> Events:
    """Find the melody in the content of a MIDI file.

    It is a track that plays one note at a time, drums aside, on however many channels and
    instruments. Of several such tracks, those called melody, vocal or lead come first, then those
    that lie mostly in 48..83, then the one with most notes. If one track has all the notes of the
    file and they are more than one at a time, its instruments count as tracks of their own where
    they play at the same time. Overlaps of less than half a sixteenth count as legato and are
    trimmed; a note that never ends lasts until the next one, the last to the end of its track.
    Times are moved to the nearest sixteenth of the quarter notes that the file counts in. For a
    file of `write_melody` the result is the events that it was written from, unless its notes have
    been edited since.

    Args:
      content: the file's bytes.
      name: what errors call the file.
      transpose: whether to move all notes by the fewest semitones into 48..83 if they aren't there.

    Returns:
      Events, int32 [length].

    Raises:
      NoMelody: the file is unreadable, without notes, polyphonic, off the grid (two notes fall
        into one sixteenth), out of range or wider than the range.
    """
    try:
        file = read_midi_file(content)
    except MidiFileError as error:
        raise NoMelody("unreadable", name, str(error)) from error
    notes = quantise(_melody_line(file, name))
    if notes is None:
        raise NoMelody("off the grid", name, "two notes begin in one sixteenth; quantise it first")
    if (events := _written_by_us(file, notes)) is not None:
        return events
    if not notes:
        raise NoMelody("without notes", name, "no track but drums has any")
    if notes[-1].end > LONGEST:
        raise NoMelody("too long", name, f"more than {LONGEST:,} sixteenths")
    if transpose:
        notes = fit_range(notes)
        if notes is None:
            raise NoMelody("wider than the range", name, "its notes span more than three octaves")
    for note in notes:
        if not LOWEST_PITCH <= note.pitch <= HIGHEST_PITCH:
            pitch = pretty_midi.note_number_to_name(note.pitch)
            raise NoMelody(
                "out of range",
                name,
                f"{pitch} (MIDI {note.pitch}) at sixteenth {note.start} is not in"
                f" C3..B5 ({LOWEST_PITCH}..{HIGHEST_PITCH}); transpose the file",
            )
    return encode_notes(notes, notes[-1].end)


def _transposed(events: Sequence[int] | np.ndarray, semitones: int) -> list[Note]:
    return [note._replace(pitch=note.pitch + semitones) for note in decode_events(events)]


def _score(notes: Sequence[Note], beats_per_minute: float) -> Any:
    if not 4 <= beats_per_minute <= 1000:
        raise ConfigError(f"{beats_per_minute} beats per minute: choose from 4 to 1000")
    score = pretty_midi.PrettyMIDI(resolution=_TICKS, initial_tempo=beats_per_minute)
    piano = pretty_midi.Instrument(program=0, name="melody")
    second = 15 / beats_per_minute  # of a sixteenth
    for note in notes:
        piano.notes.append(
            pretty_midi.Note(_VELOCITY, note.pitch, note.start * second, note.end * second)
        )
    score.instruments.append(piano)
    return score


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _melody_line(file: MidiFile, name: str) -> list[Span]:
    """Return the notes of the part that has the melody; [] if no part has notes."""
    parts = list(_parts(file))
    lines = [(called, line) for called, notes in parts if (line := _line(file, notes))]
    if not lines:
        if parts:
            raise NoMelody("polyphonic", name, "no track plays one note at a time")
        return []

    def merit(named_line: tuple[str, list[Span]]) -> tuple[bool, bool, int]:
        called, line = named_line
        inside = sum(LOWEST_PITCH <= span.pitch <= HIGHEST_PITCH for span in line)
        return any(lead in called for lead in _LEAD_NAMES), 2 * inside > len(line), len(line)

    return max(lines, key=merit)[1]


def _parts(file: MidiFile) -> Iterator[tuple[str, list[MidiNote]]]:
    """Yield name and notes of what may be a melody: see `find_melody`."""
    played = [
        MidiTrack(track.name.lower(), notes, [])
        for track in file.tracks
        if (notes := [note for note in track.notes if note.channel != DRUMS])
    ]
    for name, notes, _ in played:
        if len(played) == 1 and _line(file, notes) is None:
            for part in _simultaneous_parts(notes):
                yield name, part
        else:
            yield name, notes


def _simultaneous_parts(notes: list[MidiNote]) -> list[list[MidiNote]]:
    """Divide notes by channel, and put together again what is one player's.

    That are channels with an instrument in common (such as the strings of a guitar) and those that
    mostly take turns (such as two ways to play the violin): only what sounds at the same time for
    at least half of the time of one of them is apart.
    """
    channels: dict[int, list[MidiNote]] = {}
    for note in notes:
        channels.setdefault(note.channel, []).append(note)
    parts: list[list[MidiNote]] = []
    for part in channels.values():
        joined = part
        while same := [other for other in parts if _one_player(other, joined)]:
            parts = [other for other in parts if other not in same]
            joined = [note for other in (*same, joined) for note in other]
        parts.append(joined)
    return parts


def _one_player(one: list[MidiNote], other: list[MidiNote]) -> bool:
    if {note.program for note in one} & {note.program for note in other}:
        return True
    apart, together = (_sounding(one), _sounding(other)), _sounding([*one, *other])
    return 2 * (sum(apart) - together) < min(apart)


def _sounding(notes: list[MidiNote]) -> int:
    """Return in how many ticks any of the notes sounds."""
    ticks, now = 0, 0
    for note in sorted(notes):
        ticks += max(note.end - max(note.start, now), 0)
        now = max(now, note.end)
    return ticks


def _line(file: MidiFile, notes: Sequence[MidiNote]) -> list[Span] | None:
    """Return notes in order, times in sixteenths; None if they are polyphonic."""
    spans: list[Span] = []
    for span in sorted(
        Span(Fraction(4 * start, file.resolution), Fraction(4 * end, file.resolution), pitch)
        for start, end, pitch, *_ in notes
    ):
        before = spans[-1] if spans else None
        if before is not None and before.end > span.start:
            if before.start == span.start or before.end - span.start >= Fraction(1, 2):
                return None
            spans[-1] = before._replace(end=span.start)
        spans.append(span)
    return spans


def _written_by_us(file: MidiFile, notes: Sequence[Note]) -> Events | None:
    """Return the events that a text event describes, if there is one and its notes are these."""
    for match in (_TEXT.fullmatch(text) for track in file.tracks for text in track.texts):
        if match is None or (length := int(match[1])) > LONGEST:
            continue
        try:
            events = encode_notes(notes, length)
            events[[int(position) for position in (match[2] or "").split()]] = NOTE_OFF
        except (ValueError, IndexError, OverflowError):  # the notes have been edited
            continue
        if decode_events(events) == list(notes):
            return events
    return None
