"""What a Standard MIDI File holds: its tracks with every note, in ticks.

Nothing is dropped: a note that is never let go lasts until the next one of its channel, the last to
the end of its track; one of no length is still a note; and a file of which a part is missing or
makes no sense is refused as a whole.
"""

import bisect
import struct
from collections.abc import Iterator
from typing import NamedTuple

DRUMS = 9
"""The channel of General MIDI's drums, counted from 0."""
_TRACK_NAME, _TEXT = 0x03, 0x01
_SYSTEM_BYTES = {0xF1: 1, 0xF2: 2, 0xF3: 1, 0xF6: 0, 0xF8: 0, 0xFA: 0, 0xFB: 0, 0xFC: 0, 0xFE: 0}
_SILENCE = frozenset((120, *range(123, 128)))  # controllers that end all notes of a channel


class MidiFileError(ValueError):
    """A file is no MIDI file, is damaged, or doesn't count time in quarter notes; says which."""


class MidiNote(NamedTuple):
    """A note as it was played."""

    start: int
    """Ticks."""
    end: int
    """Ticks; the start for a note of no length."""
    pitch: int
    """MIDI pitch, 0..127."""
    channel: int
    """0..15."""
    program: int
    """The channel's instrument when it began, 0..127."""


class MidiTrack(NamedTuple):
    """A track of a file."""

    name: str
    """As the file has it; may be empty."""
    notes: list[MidiNote]
    """In the order in which they begin."""
    texts: list[str]
    """Its text events."""


class MidiFile(NamedTuple):
    """A whole file."""

    resolution: int
    """Ticks in a quarter note."""
    tracks: list[MidiTrack]
    """In the file's order."""


def read_midi_file(content: bytes) -> MidiFile:
    """Read the content of a MIDI file.

    Tracks beyond those that the header announces are read too.

    Raises:
      MidiFileError: it can't be read whole.
    """
    if not content:
        raise MidiFileError("it is empty")
    if content[:4] != b"MThd":
        raise MidiFileError("not a MIDI file: it doesn't begin with MThd")
    header = _Bytes(content, 4, len(content), "its header")
    header = _Bytes(content, 8, 8 + int.from_bytes(header.take(4)), "its header")
    _, announced, division = struct.unpack(">HHH", header.take(6))
    if division >= 0x8000:
        raise MidiFileError("it counts time in SMPTE frames, not in quarter notes")
    if division == 0:
        raise MidiFileError("its header says that a quarter note has 0 ticks")
    tracks = [_read_track(chunk) for chunk in _track_chunks(content, header.end, announced)]
    if len(tracks) < announced:
        raise MidiFileError(
            f"its header announces {_tracks(announced)}, it has {len(tracks)}: cut off, or damaged"
        )
    return MidiFile(division, tracks)


class _Bytes:
    """A part of a file, read from its beginning to its end."""

    def __init__(self, content: bytes, place: int, end: int, what: str):
        self.content, self.place, self.end, self.what = content, place, end, what

    def take(self, size: int) -> bytes:
        """Return the next bytes; raise MidiFileError if there aren't so many."""
        start = self.place
        self.place += size
        if self.place > len(self.content):
            raise MidiFileError(f"cut off in {self.what}, after {len(self.content):,} bytes")
        if self.place > self.end:
            raise MidiFileError(f"damaged: {self.what} ends within an event, at byte {self.end:,}")
        return self.content[start : self.place]

    def number(self) -> int:
        """Return the next number of variable length."""
        value = 0
        for _ in range(4):
            (byte,) = self.take(1)
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value
        raise self.damaged("a number of more than four bytes")

    def damaged(self, how: str) -> MidiFileError:
        return MidiFileError(f"damaged: {how} in {self.what}, before byte {self.place:,}")


def _tracks(number: int) -> str:
    return f"{number:,} track" + "s" * (number != 1)


def _track_chunks(content: bytes, place: int, announced: int) -> Iterator[_Bytes]:
    """Find the tracks; chunks of other kinds are passed over, as the standard demands."""
    found = 0
    while place + 8 <= len(content):
        kind = content[place : place + 4]
        start, size = place + 8, int.from_bytes(content[place + 4 : place + 8])
        place = start + size
        if kind == b"MTrk":
            found += 1
            yield _Bytes(content, start, place, f"track {found}")
        elif found >= announced:  # whatever programs leave behind the music
            return
        elif place > len(content):
            raise MidiFileError(f"damaged: no track, but {kind!r}, at byte {start - 8:,}")
    if found < announced and place < len(content):
        raise MidiFileError(f"cut off in track {found + 1}, after {len(content):,} bytes")


class _Keys:
    """The notes of a track, and the keys that are down while it is read."""

    def __init__(self) -> None:
        self.notes: list[MidiNote] = []
        self._down: dict[tuple[int, int], list[tuple[int, int]]] = {}  # → starts, programs

    def press(self, channel: int, pitch: int, now: int, program: int) -> None:
        self._down.setdefault((channel, pitch), []).append((now, program))

    def release(self, channel: int, pitch: int, now: int) -> None:
        """End the notes of a key: those that began just now only if there are no others."""
        down = self._down.pop((channel, pitch), [])
        fresh = [pressed for pressed in down if pressed[0] == now]
        if 0 < len(fresh) < len(down):
            self._down[channel, pitch] = fresh
            down = [pressed for pressed in down if pressed[0] < now]
        self.notes += [MidiNote(start, now, pitch, channel, program) for start, program in down]

    def release_all(self, channel: int, now: int) -> None:
        """End all notes of a channel."""
        for key in [key for key in self._down if key[0] == channel]:
            down = self._down.pop(key)
            self.notes += [
                MidiNote(start, now, key[1], channel, program) for start, program in down
            ]

    def finish(self, now: int) -> list[MidiNote]:
        """Return all notes; those that were never let go end with the next one or the track."""
        held = [
            MidiNote(start, now, pitch, channel, program)
            for (channel, pitch), down in self._down.items()
            for start, program in down
        ]
        starts: dict[int, list[int]] = {}
        for note in sorted([*self.notes, *held]):
            starts.setdefault(note.channel, []).append(note.start)
        for note in held:
            later = bisect.bisect_right(begun := starts[note.channel], note.start)
            self.notes.append(note._replace(end=begun[later]) if later < len(begun) else note)
        return self.notes


def _read_track(data: _Bytes) -> MidiTrack:
    keys, texts, name = _Keys(), [], ""
    programs = [0] * 16
    now, running = 0, None
    while data.place < data.end:
        now += data.number()
        (status,) = data.take(1)
        if status == 0xFF:
            (kind,) = data.take(1)
            text = data.take(data.number())
            if kind == _TRACK_NAME and not name:
                name = text.decode("latin1")
            elif kind == _TEXT:
                texts.append(text.decode("latin1"))
        elif status in (0xF0, 0xF7):
            data.take(data.number())
        elif status > 0xF0:
            if status not in _SYSTEM_BYTES:
                raise data.damaged(f"the undefined event 0x{status:02X}")
            data.take(_SYSTEM_BYTES[status])
        else:
            if status < 0x80:
                if running is None:
                    raise data.damaged(f"the byte 0x{status:02X} where an event should begin")
                data.place -= 1
            else:
                running = status
            _play(data, running, now, programs, keys)
    return MidiTrack(name, keys.finish(now), texts)


def _play(data: _Bytes, status: int, now: int, programs: list[int], keys: _Keys) -> None:
    """Read what follows the status byte of an event of a channel, and do it."""
    kind, channel = status & 0xF0, status & 0x0F
    values = data.take(1 if kind in (0xC0, 0xD0) else 2)
    if max(values) > 0x7F:
        raise data.damaged(f"the value 0x{max(values):02X}, over 127,")
    if kind == 0x90 and values[1]:
        keys.press(channel, values[0], now, programs[channel])
    elif kind in (0x80, 0x90):
        keys.release(channel, values[0], now)
    elif kind == 0xC0:
        programs[channel] = values[0]
    elif kind == 0xB0 and values[0] in _SILENCE:
        keys.release_all(channel, now)
