"""MIDI files of other programs: every note is read, or the file is left out with a true reason."""

import random

import pytest
from midi_bytes import END, meta, midi_bytes, number, off, on, program, scale, track

from common.error import DataError
from common.melody import NoMelody, decode_events
from common.midi import find_melody, read_primer
from common.midi_file import read_midi_file

PITCHES = [60, 62, 64, 65, 67, 69, 71, 72]


def pitches(content: bytes) -> list[int]:
    return [note.pitch for note in decode_events(find_melody(content, "x"))]


def times(content: bytes) -> list[tuple[int, int]]:
    return [(note.start, note.duration) for note in decode_events(find_melody(content, "x"))]


def one_track(*events: tuple[int, bytes], **header: int) -> bytes:
    return midi_bytes(track(*events, (0, END)), **header)


def refused(content: bytes) -> str:
    with pytest.raises(NoMelody) as caught:
        find_melody(content, "song.mid")
    message = str(caught.value)
    assert message.startswith(f"song.mid: {caught.value.reason}: ")
    return message


# What one track plays is one melody


def by_channel(channels: list[int], *before: bytes, longer: int = 0) -> list[tuple[int, bytes]]:
    """Play the scale with a channel for each note, each held a little into the next."""
    events = [(0, event) for event in before]
    held = None
    for pitch, channel in zip(PITCHES, channels, strict=True):
        events.append((480 - longer if held else 0, on(pitch, channel)))
        if held:
            events.append((longer, held))
        held = off(pitch, channel)
    return [*events, (480, held or b"")]


ALTERNATING = [0, 0, 1, 1, 0, 1, 0, 1]


@pytest.mark.parametrize("form", [0, 1])
@pytest.mark.parametrize(
    "events",
    [
        [(0, program(40)), *scale(*PITCHES[:4]), (0, program(73)), *scale(*PITCHES[4:])],
        [event for i, p in enumerate(PITCHES) for event in [(0, program(i)), *scale(p)]],
        # Channels: for each note its own, two ways to play the violin, one instrument after another
        by_channel([0, 1, 2, 3, 4, 5, 6, 7]),
        by_channel(ALTERNATING, program(40), program(45, 1)),
        by_channel(ALTERNATING, program(40), program(45, 1), longer=30),
        by_channel([0] * 4 + [3] * 4, program(40), program(73, 3)),
        # Changed under a note that sounds
        [(0, on(60)), (240, program(9)), (240, off(60)), *scale(*PITCHES[1:])],
    ],
)
def test_changes_of_instrument_or_channel_do_not_cut_a_track(events, form, tmp_path):
    content = one_track(*events, form=form)
    assert pitches(content) == PITCHES
    path = tmp_path / "primer.mid"
    path.write_bytes(content)
    assert [note.pitch for note in decode_events(read_primer(path))] == PITCHES


def test_a_change_of_instrument_beside_other_tracks():
    cut = track((0, program(1)), *scale(*PITCHES[:4]), (0, program(2)), *scale(*PITCHES[4:]))
    drums = track(*scale(36, 38, channel=9))
    assert pitches(midi_bytes(drums, track(*scale(30, 31)), cut)) == PITCHES


@pytest.mark.parametrize("form", [0, 1])
def test_parts_of_one_track_are_apart_only_if_they_sound_together(form):
    def together(*before: bytes) -> bytes:
        events = [(0, event) for event in before]
        for high, low in zip(PITCHES, range(36, 44), strict=True):
            events += [(0, on(high)), (0, on(low, 1)), (480, off(high)), (0, off(low, 1))]
        return one_track(*events, form=form)

    assert pitches(together(program(73), program(32, 1))) == PITCHES
    for same in ((), (program(24), program(24, 1))):  # perhaps the strings of a guitar
        assert "polyphonic: no track plays one note at a time" in refused(together(*same))
    # Two ways to play one violin that overlap for longer than legato: no half of it is the melody.
    overlapping = by_channel(ALTERNATING, program(40), program(45, 1), longer=120)
    assert "polyphonic" in refused(one_track(*overlapping, form=form))


# Ends of notes


def test_notes_without_an_end():
    assert times(one_track(*scale(*PITCHES[:7]), (0, on(72)), (960, meta(6, b"")))) == [
        *((4 * i, 4) for i in range(7)),
        (28, 8),
    ]
    # The last event of all is the beginning of the last note
    assert times(midi_bytes(track(*scale(60), (0, on(62))))) == [(0, 4), (4, 1)]
    # None has an end
    assert times(one_track((0, on(60)), (480, on(62)), (480, on(60)), (480, END))) == [
        (0, 4),
        (4, 4),
        (8, 4),
    ]
    # One in the middle has none
    assert times(one_track(*scale(60), (0, on(62)), (480, on(64)), (480, off(64)))) == [
        (0, 4),
        (4, 4),
        (8, 4),
    ]
    assert "polyphonic" in refused(one_track((0, on(60)), (0, on(64)), (480, END)))


def test_ends_that_are_not_note_offs():
    velocity_zero = bytes((0x90, 60, 0))
    assert times(one_track((0, on(60)), (480, velocity_zero), (480, END))) == [(0, 4)]
    for silence in (120, 123):
        controller = bytes((0xB0, silence, 0))
        content = one_track((0, on(60)), (480, controller), (480, on(62)), (480, off(62)))
        assert times(content) == [(0, 4), (8, 4)]


def test_a_note_of_no_length_is_a_note():
    content = one_track((0, on(60)), (0, off(60)), (480, on(62)), (480, off(62)))
    assert times(content) == [(0, 1), (4, 4)]


def test_a_key_struck_again_when_its_note_ends():
    # The next note begins before the end of this one is told, at the same tick.
    content = one_track((0, on(60)), (480, on(60)), (0, off(60)), (480, off(60)))
    assert times(content) == [(0, 4), (4, 4)]


# What surrounds notes


@pytest.mark.parametrize("division", [1, 24, 96, 480, 15_360, 32_767])
def test_ticks_in_a_quarter(division):
    events = [(0, on(60)), (division, off(60)), *scale(62, ticks=400 * division)]
    assert times(one_track(*events, division=division)) == [(0, 4), (4, 1600)]


def test_time_passes_in_every_event():
    for silent in (
        meta(0x60, b"unknown"),
        meta(0x59, b"\x7f\x00"),  # a key that there isn't
        meta(0x51, b"\x00\x00\x00"),  # no tempo
        meta(0x03, b"\xff\xfe"),
        b"\xf0" + number(3) + b"\x01\x02\xf7",
        b"\xf7" + number(1) + b"\xfe",
        bytes((0xE0, 0, 64)),
        bytes((0xD0, 7)),
    ):
        assert times(one_track((480, silent), *scale(60))) == [(4, 4)]


def test_running_status():
    events = ((0, on(60)), (480, bytes((60, 0))), (0, bytes((62, 80))), (480, bytes((62, 0))))
    assert times(one_track(*events)) == [(0, 4), (4, 4)]


def test_a_header_that_announces_fewer_tracks():
    both = (track(*scale(40, 41)), track(*scale(*PITCHES)))
    assert pitches(midi_bytes(*both, announced=1)) == PITCHES
    assert pitches(midi_bytes(*both, announced=0)) == PITCHES


def test_other_chunks_and_what_follows_the_last_track():
    music, other = track(*scale(*PITCHES)), b"XFIH\0\0\0\x04abcd"
    assert pitches(midi_bytes(other, music, announced=1)) == PITCHES
    for rest in (b"\0", b"\0" * 100, b"TAG of a player", other):
        assert pitches(midi_bytes(music) + rest) == PITCHES
    longer = b"MThd\0\0\0\x08" + midi_bytes()[8:12] + b"\x01\xe0__" + music
    assert pitches(longer.replace(b"\0\1\0\0", b"\0\1\0\1", 1)) == PITCHES


WHOLE = midi_bytes(track(*scale(*PITCHES)), track(*scale(40, 41)))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"RIFF\0\0\0\0RMID", "doesn't begin with MThd"),
        (b"<html>not found</html>", "doesn't begin with MThd"),
        (b"\0" * 1000, "doesn't begin with MThd"),
        (WHOLE[:6], "cut off in its header, after 6 bytes"),
        (WHOLE[:13], "cut off in its header, after 13 bytes"),
        (WHOLE[:14], "announces 2 tracks, it has 0"),
        (WHOLE[:18], "cut off in track 1, after 18 bytes"),
        (WHOLE[:50], "cut off in track 1, after 50 bytes"),
        (WHOLE[:-3], f"cut off in track 2, after {len(WHOLE) - 3} bytes"),
        (midi_bytes(track(*scale(60)), announced=2), "announces 2 tracks, it has 1: cut off"),
        (midi_bytes(), "no track but drums has any"),
        (midi_bytes(track(*scale(60)), division=0xE728), "SMPTE frames, not in quarter notes"),
        (midi_bytes(track(*scale(60)), division=0), "a quarter note has 0 ticks"),
        (midi_bytes(track((0, b"\xf4"))), "the undefined event 0xF4 in track 1, before byte 24"),
        (midi_bytes(track((0, b"\x3c\x50"))), "the byte 0x3C where an event should begin"),
        (midi_bytes(track((0, b"\x90\x3c\xf0"))), "the value 0xF0, over 127"),
        (midi_bytes(track((1 << 28, on(60)))), "a number of more than four bytes"),
        (midi_bytes(track((0, b"\x90\x3c")) + b"\x50"), "track 1 ends within an event"),
        (midi_bytes(track((0, on(60)), ((1 << 28) - 1, off(60)))), "more than 300,000 sixteenths"),
    ],
)
def test_what_cannot_be_read_whole_is_left_out_with_the_reason(content, reason):
    assert reason in refused(content)


@pytest.mark.parametrize(
    "text",
    [
        "highway-tutor melody, 99999999999999999999 sixteenths",
        "highway-tutor melody, 999999 sixteenths",
        "highway-tutor melody, " + "9" * 5000 + " sixteenths",
        "highway-tutor melody, 4 sixteenths; silent already at 99",
        "highway-tutor melody, 4 sixteenths; silent already at " + "9" * 30,
        "highway-tutor melody, 4 sixteenths; silent already at " + "9" * 5000,
        "highway-tutor melody, 1 sixteenths",
    ],
)
def test_texts_like_ours_in_files_that_are_not(text):
    assert times(one_track((0, meta(1, text.encode())), *scale(60))) == [(0, 4)]


def test_a_primer_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "primer.mid"
    path.write_bytes(WHOLE[:-3])
    with pytest.raises(DataError, match=r"primer\.mid: unreadable: cut off in track 2, after"):
        read_primer(path)


# Damage


BASES = (
    WHOLE,
    one_track((0, meta(3, b"melody")), *scale(60, 62, 64, 65)),
    one_track((0, program(73)), (0, program(32, 1)), *by_channel(ALTERNATING), form=0),
    one_track((0, b"\xf0\x03\x01\x02\xf7"), *scale(60, 62), (0, bytes((0xB0, 123, 0)))),
    midi_bytes(
        track((0, meta(0x51, b"\x07\xa1\x20")), (0, meta(0x58, b"\4\2\x18\x08")), (0, END)),
        track(*scale(60, 62, 64, ticks=120), (0, END)),
        track(*scale(36, 38, channel=9), (0, END)),
        division=120,
    ),
)


def damaged(random_: random.Random) -> bytes:
    content = bytearray(random_.choice(BASES))
    for _ in range(random_.randint(1, 3)):
        place = random_.randrange(len(content))
        size = random_.randint(1, 4)
        match random_.choice(("bit", "byte", "cut", "lose", "insert")):
            case "bit":
                content[place] ^= 1 << random_.randrange(8)
            case "byte":
                content[place] = random_.choice((0, 1, 0x7F, 0x80, 0x90, 0xF0, 0xFF, 0x2F))
            case "cut":
                del content[max(place, 1) :]
            case "lose":
                del content[place + 1 : place + 1 + size]
            case "insert":
                content[place:place] = random_.randbytes(size)
    return bytes(content)


def melody_or_reason(content: bytes) -> None:
    """Check that the notes of a whole part are read, or the file is left out with a reason."""
    try:
        events = find_melody(content, "song.mid")
    except NoMelody as error:
        told = error
    else:
        assert ((events >= 0) & (events < 38)).all()
        tracks = [
            [note.channel for note in track.notes if note.channel != 9]
            for track in read_midi_file(content).tracks
        ]
        whole = [len(channels) for channels in tracks if len(set(channels)) == 1]
        assert len(decode_events(events)) in whole or any(len(set(it)) > 1 for it in tracks)
        return
    name, reason, detail = str(told).split(": ", 2)
    assert (name, reason) == ("song.mid", told.reason)
    assert len(detail) > 8


@pytest.mark.parametrize("seed", range(100))
def test_a_damaged_file_is_a_melody_or_left_out_with_a_reason(seed):
    melody_or_reason(damaged(random.Random(seed)))


@pytest.mark.slow
def test_many_damaged_files():
    for seed in range(100_000):
        melody_or_reason(damaged(random.Random(f"many {seed}")))


@pytest.mark.parametrize("base", BASES)
def test_a_file_cut_anywhere_is_a_melody_or_left_out_with_a_reason(base):
    for end in range(len(base)):
        with pytest.raises(NoMelody, match=r"^song\.mid: unreadable: .{9}"):
            find_melody(base[:end], "song.mid")
