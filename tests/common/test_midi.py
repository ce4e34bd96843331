"""MIDI files: the way there and back, and finding the melody in what others wrote."""

import io
import wave

import numpy as np
import pretty_midi
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.error import ConfigError, DataError
from common.melody import NO_EVENT, NOTE_OFF, NoMelody
from common.midi import find_melody, hear, read_melody, read_primer, write_melody, write_wav
from common.midi_file import MidiFileError

EVENTS = st.lists(st.one_of(st.sampled_from([NOTE_OFF, NO_EVENT]), st.integers(0, 37)), max_size=60)
C_MAJOR = [(0, 1, 60), (1, 2, 62), (2, 4, 64)]  # beginning and end in quarters, pitch


def midi(*tracks, resolution=480, tempo=120.0) -> bytes:
    """Write tracks: (name, notes in quarters) or (name, notes, whether it is a drum)."""
    score = pretty_midi.PrettyMIDI(resolution=resolution, initial_tempo=tempo)
    for name, notes, *drum in tracks:
        track = pretty_midi.Instrument(0, is_drum=bool(drum), name=name)
        track.notes = [
            pretty_midi.Note(80, pitch, start * 60 / tempo, end * 60 / tempo)
            for start, end, pitch in notes
        ]
        score.instruments.append(track)
    content = io.BytesIO()
    score.write(content)
    return content.getvalue()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EVENTS, st.floats(4, 1000))
def test_there_and_back(tmp_path, events, tempo):
    path = tmp_path / "melody.mid"
    write_melody(events, path, tempo)
    first = path.read_bytes()
    again = read_melody(path)
    assert again.dtype == np.int32
    assert again.tolist() == events
    assert read_primer(path).tolist() == events
    write_melody(again, path, tempo)
    assert path.read_bytes() == first


def test_transposed_files_sound_like_higher_events(tmp_path):
    high, low = tmp_path / "high", tmp_path / "low"
    events = np.array([14, 1, 0, 16, 35])
    write_melody(events, low, transpose=2)
    assert read_melody(low).tolist() == [16, 1, 0, 18, 37]
    write_melody([37], low, transpose=2)  # beyond the events' range
    assert pretty_midi.PrettyMIDI(str(low)).instruments[0].notes[0].pitch == 85
    write_wav(events, low, transpose=2)
    write_wav(np.where(events > 1, events + 2, events), high)
    assert low.read_bytes() == high.read_bytes()


def test_the_notes_are_the_events(tmp_path):
    path = tmp_path / "melody.mid"
    write_melody([1, 2, 1, 0, 0, 37, 37, 1], path, 60)
    (track,) = pretty_midi.PrettyMIDI(str(path)).instruments
    assert track.program == 0
    assert [note.pitch for note in track.notes] == [48, 83, 83]
    assert {note.velocity for note in track.notes} == {100}
    times = [(note.start, note.end) for note in track.notes]
    np.testing.assert_allclose(times, [(0.25, 0.75), (1.25, 1.5), (1.5, 2.0)])
    for event in range(2, 38):
        write_melody([event], path)
        assert pretty_midi.PrettyMIDI(str(path)).instruments[0].notes[0].pitch == event + 46


def test_edited_notes_win_over_what_was_written(tmp_path):
    path = tmp_path / "melody.mid"
    write_melody([14, 0, 0, 0, 16, 1, 1, 1], path)
    score = pretty_midi.PrettyMIDI(str(path))
    score.instruments[0].notes[0].end *= 3
    score.write(str(path))
    assert read_melody(path).tolist() == [14, 1, 1, 0, 16, 1, 1, 1]


def test_a_tempo_that_is_none_is_refused(tmp_path):
    for tempo in (0, -1, 3.9, 1001):
        with pytest.raises(ConfigError, match="choose from 4 to 1000"):
            write_melody([14], tmp_path / "melody.mid", tempo)
        with pytest.raises(ConfigError, match="choose from 4 to 1000"):
            write_wav([14], tmp_path / "melody.wav", tempo)


@pytest.mark.parametrize("resolution", [96, 220, 480])
def test_a_file_of_another_program(resolution):
    content = midi(("flute", C_MAJOR), resolution=resolution, tempo=97.0)
    assert find_melody(content, "x").tolist() == [14, 1, 1, 1, 16, 1, 1, 1, 18] + [1] * 7


def test_the_melody_is_the_track_called_so_else_the_one_in_range_else_the_longest():
    low = [(i, i + 1, 30 + i) for i in range(9)]
    long = [(i, i + 1, 60) for i in range(7)]
    chords = [(0, 1, 60), (0, 1, 64), (1, 2, 65)]
    for tracks, notes in (
        ([("a", long), ("Vocals", C_MAJOR), ("b", low)], 3),
        ([("a", C_MAJOR), ("b", long), ("c", low)], 7),
        ([("a", chords), ("b", C_MAJOR)], 3),
        ([("melody", long, "drum"), ("b", C_MAJOR)], 3),
        ([("melody", chords), ("b", low)], 9),
    ):
        events = find_melody(midi(*tracks), "x")
        assert (events >= 2).sum() == notes


def test_legato_is_trimmed_and_times_are_rounded():
    legato = [(0.02, 1.1, 60), (1.0, 1.49, 62), (1.51, 2, 64)]
    assert find_melody(midi(("a", legato)), "x").tolist() == [14, 1, 1, 1, 16, 1, 18, 1]


def test_what_is_out_of_range_is_transposed_but_not_for_a_primer(tmp_path):
    path = tmp_path / "low.mid"
    path.write_bytes(midi(("a", [(0, 1, 60), (1, 2, 45)])))
    assert read_melody(path).tolist() == [17, 1, 1, 1, 2, 1, 1, 1]
    with pytest.raises(DataError) as caught:
        read_primer(path)
    message = str(caught.value)
    assert all(part in message for part in (str(path), "A2 (MIDI 45)", "sixteenth 4", "(48..83)"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "unreadable"),
        (b"MThd, but no more", "unreadable"),
        (midi(("a", C_MAJOR))[:-9], "unreadable"),
        (midi(("a", [(0, 1, 60), (0, 1, 64)])), "polyphonic"),
        (midi(("a", [(0, 1, 60), (0.75, 2, 64)])), "polyphonic"),
        (midi(), "without notes"),
        (midi(("a", C_MAJOR, "drum")), "without notes"),
        (midi(("a", [(0, 0.1, 60), (0.1, 1, 62)])), "off the grid"),
        (midi(("a", [(0, 1, 40), (1, 2, 76)])), "wider than the range"),
    ],
)
def test_what_has_no_melody_is_named_with_the_reason(content, reason):
    with pytest.raises(NoMelody, match=f"^song.mid: {reason}: ") as caught:
        find_melody(content, "song.mid")
    assert caught.value.reason == reason


@given(st.data())
def test_a_damaged_file_is_a_melody_or_an_error_for_people(data):
    content = bytearray(midi(("a", C_MAJOR)))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    try:
        events = find_melody(bytes(content), "x")
    except NoMelody:
        return
    assert ((events >= 0) & (events < 38)).all()


def test_a_missing_file_is_named(tmp_path):
    for read in (read_melody, read_primer):
        with pytest.raises(DataError, match=r"cannot read .*none.mid: No such file"):
            read(tmp_path / "none.mid")


def test_sound(tmp_path):
    path = tmp_path / "melody.wav"
    for events, heard in (([14, 1, 1, 1, 0, 1], True), ([0, 1, 0, 1, 1, 1], False)):
        write_wav(events, path, beats_per_minute=60)
        first = path.read_bytes()
        write_wav(events, path, beats_per_minute=60)
        assert path.read_bytes() == first
        with wave.open(str(path)) as file:
            assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (22050, 2, 1)
            assert file.getnframes() == 33075
            sound = np.frombuffer(file.readframes(33075), np.int16)
        assert bool(sound.any()) == heard
    write_wav([23, *[1] * 15], path, beats_per_minute=60)
    with wave.open(str(path)) as file:
        sound = np.frombuffer(file.readframes(22050), np.int16)
    assert abs(np.abs(np.fft.rfft(sound)).argmax() - 440) <= 1  # event 23 is A4


def test_any_file_is_heard():
    drums = ("drums", [(0, 9, 35)], True)
    content = midi(("low", [(0, 2, 57)]), ("high", [(1, 4, 69)]), drums, tempo=60.0)
    notes, sound = hear(content, rate=8000, longest=3.0)
    assert [(round(n.start, 2), round(n.end, 2), n.pitch) for n in notes] == [
        (0, 2, 57),
        (1, 4, 69),
    ]
    with wave.open(io.BytesIO(sound)) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (8000, 1, 1)
        assert file.getnframes() == 3 * 8000  # cut
        heard = np.frombuffer(file.readframes(24000), np.uint8).astype(float) - 127.5
    assert heard[:100].any()
    strongest = np.abs(np.fft.rfft(heard[16000:])).argmax()
    assert abs(strongest - 440) <= 1  # of the last second


def test_what_has_no_notes_but_drums_is_silent():
    notes, sound = hear(midi(("drums", [(0, 1, 35)], True)), rate=8000, longest=3.0)
    assert notes == []
    with wave.open(io.BytesIO(sound)) as file:
        assert file.getnframes() == 0


def test_a_damaged_file_is_not_heard():
    with pytest.raises(MidiFileError):
        hear(b"MThd", rate=8000, longest=3.0)
