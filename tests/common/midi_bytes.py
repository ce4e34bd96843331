"""MIDI files written byte by byte, as no library would write them."""

import struct


def number(value: int) -> bytes:
    """Write a number of variable length."""
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(0x80 | value & 0x7F)
    return bytes(reversed(digits))


def track(*events: tuple[int, bytes]) -> bytes:
    """Write a track of events, each with the ticks from the one before it."""
    body = b"".join(number(wait) + event for wait, event in events)
    return b"MTrk" + struct.pack(">L", len(body)) + body


def midi_bytes(
    *tracks: bytes, announced: int | None = None, form: int = 1, division: int = 480
) -> bytes:
    header = struct.pack(">HHH", form, len(tracks) if announced is None else announced, division)
    return b"MThd" + struct.pack(">L", 6) + header + b"".join(tracks)


def on(pitch: int, channel: int = 0) -> bytes:
    return bytes((0x90 | channel, pitch, 80))


def off(pitch: int, channel: int = 0) -> bytes:
    return bytes((0x80 | channel, pitch, 0))


def program(instrument: int, channel: int = 0) -> bytes:
    return bytes((0xC0 | channel, instrument))


def meta(kind: int, content: bytes) -> bytes:
    return b"\xff" + bytes((kind,)) + number(len(content)) + content


END = meta(0x2F, b"")


def scale(*pitches: int, channel: int = 0, ticks: int = 480) -> list[tuple[int, bytes]]:
    """Play notes one after the other, each so many ticks long."""
    return [
        event
        for pitch in pitches
        for event in ((0, on(pitch, channel)), (ticks, off(pitch, channel)))
    ]
